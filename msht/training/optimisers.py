"""The optimiser of a recipe, and how its rate moves."""

from __future__ import annotations

import math

from timm.optim._optim_factory import create_optimizer_v2
from torch import nn
from torch.optim import Optimizer

from msht.training.sam import SharpnessAware
from msht.training.settings import Optimiser


def make_optimiser(network: nn.Module, settings: Optimiser, rate: float) -> Optimizer:
    """The recipe's optimiser over all of a network's parameters.

    Args:
        network: its layers are known to timm by its `group_matcher`, or by their order.
        settings: of the recipe.
        rate: of the last layer; those below follow by `layer_decay`.
    """
    optimiser = create_optimizer_v2(
        network,
        opt=settings.name,
        lr=rate,
        weight_decay=settings.weight_decay,
        filter_bias_and_bn=not settings.decay_biases,
        layer_decay=settings.layer_decay,
    )
    for group in optimiser.param_groups:
        # timm's own schedulers read the scale of a layer; PyTorch's read its rate.
        group["lr"] = rate * group.pop("lr_scale", 1.0)
    return optimiser if settings.sam is None else SharpnessAware(optimiser, settings.sam)


class RateSchedule:
    """Share of the learning rate at a step: linear rise, then half a cosine down to the floor.

    Args:
        total: steps in all.
        warmup: steps of the rise, from 1 % of the rate.
        floor: share at the end.

    Source: the published protocol, floor + (1 - floor) (1 + cos(pi t / T)) / 2, by epoch and without a rise.
    """

    def __init__(self, total: int, warmup: int, floor: float) -> None:
        self.total = total
        self.warmup = warmup
        self.floor = floor

    def __call__(self, step: int) -> float:
        """Share of the rate at a step, from 0."""
        if step < self.warmup:
            return 0.01 + 0.99 * step / self.warmup
        share = min(1.0, (step - self.warmup) / max(1, self.total - self.warmup))
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * share)) / 2
