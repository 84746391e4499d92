"""From a field of any size to the square that a network sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:  # describing a geometry must not cost the seconds that torch takes to import
    import torch

Pixels = npt.NDArray[np.uint8]
Triple = tuple[float, float, float]


class Preprocessing(BaseModel):
    """What is done to a field between reading and the network; part of the recipe and of the bundle.

    The published protocol is `Preprocessing(crop=700, size=384)`: a centred square of 700 px out of
    1390 x 1038, shrunk to 384, scaled to [0, 1] and not normalised.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    crop: int | None = Field(default=None, ge=1)
    """Edge of the centred square in px of the field; the largest square if None or if the field is small."""
    size: int = Field(ge=8)
    """Edge of the network's input in px."""
    mean: Triple | None = None
    """Subtracted from each channel of [0, 1]; None: nothing is."""
    std: Triple | None = None
    """Each channel is divided by this after subtracting the mean."""

    @model_validator(mode="after")
    def _mean_and_std_together(self) -> Preprocessing:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std are given together or not at all")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"std must be positive in every channel, but is {self.std}")
        return self


class Box(NamedTuple):
    """A rectangle of pixels: `left` and `top` belong to it, `right` and `bottom` do not."""

    left: int
    top: int
    right: int
    bottom: int


def crop_box(width: int, height: int, preprocessing: Preprocessing) -> Box:
    """Find the square of a field that the network sees: centred, and never larger than the field."""
    edge = min(width, height)
    if preprocessing.crop is not None:
        edge = min(edge, preprocessing.crop)
    left, top = (width - edge) // 2, (height - edge) // 2
    return Box(left, top, left + edge, top + edge)


def view_of(pixels: Pixels, preprocessing: Preprocessing) -> Pixels:
    """Cut and resize a field to the network's square.

    Areas are averaged when shrinking, so that fine chromatin does not alias; growing is linear.

    Args:
        pixels: RGB uint8, shape (H, W, 3).
        preprocessing: the square and the size.

    Returns:
        RGB uint8, shape (S, S, 3); never a view on `pixels`.
    """
    box = crop_box(pixels.shape[1], pixels.shape[0], preprocessing)
    square = pixels[box.top : box.bottom, box.left : box.right]
    edge, size = box.right - box.left, preprocessing.size
    if edge == size:
        return square.copy()
    interpolation = cv2.INTER_AREA if edge > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size, size), interpolation=interpolation), dtype=np.uint8)


def to_tensor(
    views: Pixels | Sequence[Pixels], preprocessing: Preprocessing, *, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Turn one view, shape (S, S, 3), or a batch, shape (B, S, S, 3) or a list, into a network's input.

    Args:
        views: RGB uint8.
        preprocessing: gives mean and standard deviation, where the recipe has them.
        device: where the tensor is made; bytes travel, floats do not.

    Returns:
        float32, shape (B, 3, S, S), contiguous.
    """
    import torch

    array = np.asarray(views)
    batch = torch.from_numpy(np.ascontiguousarray(array if array.ndim == 4 else array[None])).to(device)
    return normalised(batch.permute(0, 3, 1, 2), preprocessing)


def normalised(batch: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Scale bytes, shape (B, 3, S, S), to the network's range, on the device where they are."""
    import torch

    scaled = batch.to(torch.float32, memory_format=torch.contiguous_format).div_(255.0)
    if preprocessing.mean is not None and preprocessing.std is not None:
        shape = (1, 3, 1, 1)
        scaled.sub_(torch.tensor(preprocessing.mean, device=scaled.device).view(shape))
        scaled.div_(torch.tensor(preprocessing.std, device=scaled.device).view(shape))
    return scaled
