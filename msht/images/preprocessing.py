"""From a field of any size to the square that a network sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from msht.images.colour import Colour, corrected
from msht.images.halving import Halves, as_halves, halved

if TYPE_CHECKING:  # describing a geometry must not cost the seconds that torch takes to import
    import torch

Pixels = npt.NDArray[np.uint8]
Triple = tuple[float, float, float]
Count = Annotated[int, Field(ge=1, le=8)]


class Preprocessing(BaseModel):
    """What is done to a field between reading and the network; part of the recipe and of the bundle.

    The published protocol is `Preprocessing(crop=700, size=384)`: a centred square of 700 px out of
    1390 x 1038, shrunk to 384, scaled to [0, 1] and not normalised.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    crop: int | None = Field(default=None, ge=1)
    """Edge of the centred square in px of the field; the largest square if None or if the field is small."""
    size: int = Field(ge=8, le=8192)
    """Edge of the network's input in px."""
    mean: Triple | None = None
    """Subtracted from each channel of [0, 1]; None: nothing is."""
    std: Triple | None = None
    """Each channel is divided by this after subtracting the mean."""
    crops: tuple[Count, Count] = (1, 1)
    """Squares along the longer and along the shorter side of the field; (1, 1) is the centred one alone.

    Several are spread evenly from edge to edge and overlap where they must: (2, 2) of 700 px cover a field of
    1390 x 1038. The field's logit is the mean of theirs."""
    colour: Colour = Colour()
    """What is done to the colour before anything else; nothing by default."""
    microns_per_pixel: float | None = Field(default=None, gt=0, le=100)
    """Scale of the fields that the networks learn from, in um per px, where it is known; photographs are taken as
    they are, slides are read at this scale."""

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


def crop_boxes(width: int, height: int, preprocessing: Preprocessing) -> tuple[Box, ...]:
    """Find the squares of a field that the network sees, row by row; never larger than the field.

    A field that is smaller than the crop gives the largest square it has, and a side that is no longer than the
    square gives the same position as often as positions were asked for: their mean is that of one.
    """
    edge = min(width, height)
    if preprocessing.crop is not None:
        edge = min(edge, preprocessing.crop)
    longer, shorter = preprocessing.crops
    columns, rows = (longer, shorter) if width >= height else (shorter, longer)
    lefts, tops = _positions(width - edge, columns), _positions(height - edge, rows)
    return tuple(Box(left, top, left + edge, top + edge) for top in tops for left in lefts)


def _positions(room: int, count: int) -> list[int]:
    """Starts of `count` squares within `room` px: the middle for one, else evenly from end to end."""
    if count == 1:
        return [room // 2]
    return [round(room * place / (count - 1)) for place in range(count)]


def crop_box(width: int, height: int, preprocessing: Preprocessing, crop: int = 0) -> Box:
    """Find one square of a field that the network sees; see `crop_boxes`.

    Args:
        width: of the field, in px.
        height: of the field, in px.
        preprocessing: the squares.
        crop: which of them, from 0.
    """
    return crop_boxes(width, height, preprocessing)[crop]


HALVED_FROM = 4
"""Reduction from which a square is brought down by halves first, as long as its edge is even."""


def view_of(picture: Pixels | Halves, preprocessing: Preprocessing) -> Pixels:
    """Correct a field's colour, then cut and resize it to the network's square or squares.

    Areas are averaged when shrinking, so that fine chromatin does not alias; growing is linear.

    Args:
        picture: RGB uint8, shape (H, W, 3), or one with halves that something else needs too.
        preprocessing: colour, squares and size.

    Returns:
        RGB uint8, shape (S, S, 3), or (K, S, S, 3) where the preprocessing asks for K > 1 crops; never a view
        on `picture`.
    """
    halves = as_halves(picture)
    seen_to = corrected(halves[0], preprocessing.colour)
    return cut_views(halves if seen_to is halves[0] else seen_to, preprocessing)


def cut_views(picture: Pixels | Halves, preprocessing: Preprocessing) -> Pixels:
    """Do the same for a field whose colour has been seen to."""
    halves = as_halves(picture)
    height, width = halves[0].shape[:2]
    views = [_cut(halves, box, preprocessing.size) for box in crop_boxes(width, height, preprocessing)]
    return views[0] if len(views) == 1 else np.stack(views)


def _cut(halves: Halves, box: Box, size: int) -> Pixels:
    """Cut a square out and resize it: `resized`, from the halves of the whole where the square lies on their grid."""
    times = _halvings(box.right - box.left, size)
    if any(edge % 2**times for edge in box):
        times = 0
    left, top, right, bottom = (edge >> times for edge in box)
    return resized(halves[times][top:bottom, left:right], size)


def _halvings(edge: int, size: int) -> int:
    """How often a square is halved before the rest of its reduction."""
    times = 0
    while edge % 2 == 0 and edge >= HALVED_FROM * size:
        edge, times = edge // 2, times + 1
    return times


def resized(square: Pixels, size: int) -> Pixels:
    """Bring a square, RGB uint8 (E, E, 3), to (S, S, 3) by averaging areas or, where it grows, linearly."""
    for _ in range(_halvings(square.shape[0], size)):
        square = halved(square)
    edge = square.shape[0]
    if edge == size:
        return square.copy()
    interpolation = cv2.INTER_AREA if edge > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size, size), interpolation=interpolation), dtype=np.uint8)


def to_tensor(
    views: Pixels | Sequence[Pixels], preprocessing: Preprocessing, *, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Turn one view, shape (S, S, 3), or a batch, shape (B, S, S, 3) or a list, into a network's input.

    Fields of several crops, shape (B, K, S, S, 3), keep them as an axis of their own.

    Args:
        views: RGB uint8.
        preprocessing: gives mean and standard deviation, where the recipe has them.
        device: where the tensor is made; bytes travel, floats do not.

    Returns:
        float32, shape (B, 3, S, S) or (B, K, 3, S, S), contiguous.
    """
    import torch

    array = np.asarray(views)
    if array.ndim == 3 and torch.device(device).type == "cpu":
        return normalised(planes_of(array)[None], preprocessing)
    batch = torch.from_numpy(np.ascontiguousarray(array if array.ndim >= 4 else array[None])).to(device)
    return normalised(batch.movedim(-1, -3), preprocessing)


def planes_of(view: Pixels) -> torch.Tensor:
    """Turn a view, RGB uint8 (S, S, 3) or (K, S, S, 3), into bytes in the order of a network: (3, S, S), (K, 3, S, S).

    They become a network's input by `normalised`, best where that runs: bytes are a quarter of what floats are.
    """
    import torch

    if view.ndim == 4:
        return torch.stack([planes_of(square) for square in view])
    planes = np.empty((3, *view.shape[:2]), dtype=np.uint8)
    cv2.split(view, list(planes))  # a third of the time of turning axes while scaling
    return torch.from_numpy(planes)


def normalised(batch: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Scale bytes, shape (..., 3, S, S), to the network's range, on the device where they are."""
    import torch

    scaled = batch.to(torch.float32, memory_format=torch.contiguous_format).div_(255.0)
    if preprocessing.mean is not None and preprocessing.std is not None:
        shape = (3, 1, 1)
        scaled.sub_(torch.tensor(preprocessing.mean, device=scaled.device).view(shape))
        scaled.div_(torch.tensor(preprocessing.std, device=scaled.device).view(shape))
    return scaled
