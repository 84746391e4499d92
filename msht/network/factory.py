"""One way to make any network of the project: MSHT, a counterpart, or any other timm model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
from torch import nn

import msht.network.model  # noqa: F401  registers MSHT with timm
from msht.errors import InvalidInput, MissingResource
from msht.network.naming import nearest


def create_network(
    name: str,
    *,
    num_classes: int,
    img_size: int,
    in_chans: int = 3,
    pretrained: bool | Path = False,
    **settings: Any,
) -> nn.Module:
    """Make a network by its timm name, in training mode.

    Args:
        name: timm name, with or without a pretrained tag.
        num_classes: width of the head.
        img_size: edge of the images in pixels.
        in_chans: channels of the images.
        pretrained: True for the hub's weights, or a safetensors file, or False for random weights.
        settings: further arguments of the network.

    Raises:
        InvalidInput: if the name is unknown, or the network does not take images of that size.
        MissingResource: if the weights cannot be fetched.
    """
    if not timm.is_model(name):
        raise InvalidInput(f"There is no network '{name}'.", nearest(name, timm.list_models()))
    settings = {"num_classes": num_classes, "in_chans": in_chans, **settings}
    if _takes_image_size(name):
        settings["img_size"] = img_size
    if isinstance(pretrained, Path):
        settings["pretrained_cfg_overlay"] = {"file": str(pretrained)}
    try:
        return timm.create_model(name, pretrained=bool(pretrained), **settings)
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise MissingResource(
            f"The weights of '{name}' cannot be fetched from the hub ({type(error).__name__}).",
            "Give a file with --pretrained path.safetensors, or start from random weights with --no-pretrained.",
        ) from error


def _takes_image_size(name: str) -> bool:
    config = timm.get_pretrained_cfg(name)
    return bool(config is not None and config.fixed_input_size)
