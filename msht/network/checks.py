"""What a network asks of its settings and its images, checked at the boundary."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from msht.errors import InvalidInput
from msht.network.naming import nearest

POOLS = ("token", "avg", "max", "")
"""Ways to make one vector of the tokens: the first one, their mean, their maximum, or not at all."""


def check_images(images: Tensor, *, in_chans: int = 3) -> None:
    """Refuse a batch that no network should see; call it where images enter, not in the forward pass.

    Args:
        images: floating-point batch (B, in_chans, H, W), scaled to about [0, 1] or normalised.
        in_chans: channels that the network takes.

    Raises:
        InvalidInput: if the shape, the channels or the type are others, or a value is not finite.
    """
    if images.ndim != 4:
        raise InvalidInput(f"The images have the shape {tuple(images.shape)}.", "Give (batch, channel, row, column).")
    if images.shape[1] != in_chans:
        raise InvalidInput(
            f"The images have {images.shape[1]} channels, but the network takes {in_chans}.",
            "Convert them to RGB." if in_chans == 3 else f"Give {in_chans} channels.",
        )
    if not images.is_floating_point():
        raise InvalidInput(f"The images are of type {images.dtype}.", "Scale them to [0, 1] in floating point.")
    bad = ~torch.isfinite(images).flatten(1).all(dim=1)
    if bad.any():
        raise InvalidInput(
            f"Image {int(bad.nonzero()[0])} of the batch has values that are not finite numbers.",
            "Look at how it was read and scaled.",
        )


def checked_size(img_size: int | Sequence[int], stride: int) -> tuple[int, int]:
    """Height and width of images, after checking that they divide into tokens."""
    height, width = (img_size, img_size) if isinstance(img_size, int) else (int(img_size[0]), int(img_size[1]))
    if height < stride or width < stride or height % stride or width % stride:
        raise InvalidInput(
            f"An image of {height} x {width} pixels does not divide into tokens of {stride} x {stride}.",
            f"Choose edges that are multiples of {stride}.",
        )
    return height, width


def check_pool(global_pool: str) -> None:
    """Refuse a pooling that is not one of `POOLS`."""
    if global_pool not in POOLS:
        raise InvalidInput(
            f"The pooling '{global_pool}' is not one of {', '.join(repr(pool) for pool in POOLS)}.",
            nearest(global_pool, POOLS),
        )


def check_settings(embed_dim: int, num_heads: int, stages: Sequence[int], global_pool: str) -> None:
    """Refuse settings of MSHT that do not fit together."""
    check_pool(global_pool)
    if embed_dim % num_heads:
        raise InvalidInput(
            f"An embedding of {embed_dim} does not divide into {num_heads} heads.",
            "Choose embed_dim as a multiple of num_heads.",
        )
    if not stages or list(stages) != sorted(set(stages)) or stages[0] < 1:
        raise InvalidInput(
            f"The stages {list(stages)} are not ascending numbers from 1.", "Give for example [1, 2, 3, 4]."
        )
