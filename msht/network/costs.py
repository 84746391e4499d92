"""What a network costs: parameters, and multiply-accumulates for one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

import msht.network.model  # noqa: F401  registers MSHT with timm


@dataclass(frozen=True)
class Cost:
    """What a network costs."""

    parameters: int
    """Learned numbers."""
    gmacs: float
    """Multiply-accumulates for one image, in units of 1e9; convolutions and matrix products only."""


def measure_cost(name: str, size: int, *, num_classes: int = 2, **settings: Any) -> Cost:
    """Count without computing: the network is built and run on PyTorch's meta device.

    Args:
        name: timm name.
        size: edge of the image in pixels.
        num_classes: width of the head.
        settings: further arguments of the network.
    """
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        settings = {"img_size": size, **settings}
    with torch.device("meta"), torch.no_grad():
        model = timm.create_model(name, num_classes=num_classes, **settings).eval()  # may run its parts, uncounted
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 3, size, size))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(parameters, counter.get_total_flops() / 2e9)
