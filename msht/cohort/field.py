"""One field as training and evaluation need it: what the network sees, what augmentation draws from, its quality."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from msht.images.augmentation import Augmentation, Augmenter
from msht.images.colour import corrected
from msht.images.halving import Halves
from msht.images.preprocessing import Box, Pixels, Preprocessing, crop_boxes, cut_views
from msht.images.quality import AVERAGED_FROM, Quality, measure_quality
from msht.images.reading import DecodedImage
from msht.images.scratch import scratch
from msht.images.warp import Matrix, Square, step_of

OVERSAMPLING = 1.25
"""Edge of the stored crop in multiples of the network's; no preset magnifies by more, so none enlarges pixels."""

BLOCK = 16
"""The linear reduction's step is a whole number of sixteenths, so that its grid begins anew at each such block."""

BAND = 64
"""Rows of the source that are reduced together where only what one view reads is made; a multiple of BLOCK."""

BORDER = 2
"""Pixels kept beyond what augmentation can reach, for the width of a linear read."""


@dataclass(frozen=True)
class SourceField:
    """What augmentation draws from.

    Attributes:
        pixels: the reachable part of the field, reduced, its colour seen to; uint8 of shape (H, W, 3).
        squares: the crops, in px of `pixels`.
    """

    pixels: np.ndarray
    squares: tuple[Square, ...]


@dataclass(frozen=True)
class StoredField:
    """What is kept of one field.

    Attributes:
        view: what the network sees in evaluation, uint8 of shape (S, S, 3), or (K, S, S, 3) for K > 1 crops.
        source: what augmentation draws from.
        quality: measured on the field as it came.
        sha256: digest of the file.
    """

    view: np.ndarray
    source: SourceField
    quality: Quality
    sha256: str


def prepare_field(image: DecodedImage, preprocessing: Preprocessing, reach: float) -> StoredField:
    """Make everything that is kept of a field.

    Args:
        image: as read.
        preprocessing: colour, squares and size.
        reach: of the augmentation; see `reach_of`.
    """
    halves = Halves(image.pixels)
    pixels = corrected(image.pixels, preprocessing.colour)
    return StoredField(
        view=cut_views(halves if pixels is image.pixels else pixels, preprocessing),
        source=source_of(pixels, preprocessing, reach),
        quality=measure_quality(halves),
        sha256=image.record.sha256,
    )


def reach_of(augmentation: Augmentation) -> float:
    """How far from the centre of a crop its views can read, in multiples of half its edge."""
    diagonal = math.sqrt(2) if augmentation.rotation != (0.0, 0.0) else 1.0
    return diagonal / augmentation.scale[0] + 2 * augmentation.shift


@dataclass(frozen=True)
class Layout:
    """Where in a field its source lies, and how far that is reduced.

    Attributes:
        part: of the field, that views can reach.
        step: pixels of the field for one of the source, along each axis (across, down).
        size: of the source in px (width, height).
        squares: the crops, in px of the source.
        linear: whether the source is read linearly, on a grid that repeats every `BLOCK` of its pixels.
    """

    part: Box
    step: tuple[float, float]
    size: tuple[int, int]
    squares: tuple[Square, ...]
    linear: bool


@lru_cache(maxsize=256)
def layout_of(width: int, height: int, preprocessing: Preprocessing, reach: float) -> Layout:
    """Cut away what no view can reach, and find how far the rest can be reduced.

    Args:
        width: of the field in px.
        height: of the field in px.
        preprocessing: the squares and the size.
        reach: see `reach_of`.
    """
    boxes = crop_boxes(width, height, preprocessing)
    edge = boxes[0].right - boxes[0].left
    beyond = math.ceil(min((reach - 1) * edge / 2, max(width, height))) + BORDER
    part = Box(
        max(0, min(b.left for b in boxes) - beyond),
        max(0, min(b.top for b in boxes) - beyond),
        min(width, max(b.right for b in boxes) + beyond),
        min(height, max(b.bottom for b in boxes) + beyond),
    )
    across, down = part.right - part.left, part.bottom - part.top
    wanted = max(1.0, edge / (OVERSAMPLING * preprocessing.size))
    linear = wanted < AVERAGED_FROM
    if linear:
        step = math.floor(wanted * BLOCK) / BLOCK
        size = (max(1, round(across / step)), max(1, round(down / step)))
        steps = (step, step)
    else:
        size = (max(1, math.ceil(across / wanted)), max(1, math.ceil(down / wanted)))
        steps = (across / size[0], down / size[1])
    squares = tuple(
        (
            (b.left - part.left) / steps[0],
            (b.top - part.top) / steps[1],
            (b.right - part.left) / steps[0],
            (b.bottom - part.top) / steps[1],
        )
        for b in boxes
    )
    return Layout(part, steps, size, squares, linear)


def source_of(pixels: Pixels, preprocessing: Preprocessing, reach: float) -> SourceField:
    """Cut away what no view can reach, and reduce the rest to what the network can use.

    Args:
        pixels: of the field, its colour seen to; uint8 of shape (H, W, 3).
        preprocessing: the squares and the size.
        reach: see `reach_of`.
    """
    layout = layout_of(pixels.shape[1], pixels.shape[0], preprocessing, reach)
    return SourceField(_reduced(pixels, layout), layout.squares)


def view_once(
    pixels: Pixels, preprocessing: Preprocessing, reach: float, augmenter: Augmenter, *, epoch: int, index: int
) -> Pixels:
    """Make one view of a field that is not kept: the view of its source, of which no more is made than it reads.

    Without augmentation it is that of evaluation, or one of its crops.

    Args:
        pixels: of the field, its colour seen to; uint8 of shape (H, W, 3).
        preprocessing: the squares and the size.
        reach: see `reach_of`.
        augmenter: draws.
        epoch: from 0.
        index: of the row.

    Returns:
        RGB uint8, shape (S, S, 3).
    """
    if augmenter.still:
        return still_view(cut_views(pixels, preprocessing), augmenter, epoch=epoch, index=index)
    layout = layout_of(pixels.shape[1], pixels.shape[0], preprocessing, reach)
    if not layout.linear:
        return augmenter(_reduced(pixels, layout), epoch=epoch, index=index, squares=layout.squares)
    draw = augmenter.draw(layout.squares, epoch=epoch, index=index)
    read = _columns_read(draw.matrix, preprocessing.size, layout)
    return augmenter.apply(_reduced(pixels, layout) if read is None else _reduced_bands(pixels, layout, read), draw)


def still_view(views: Pixels, augmenter: Augmenter, *, epoch: int, index: int) -> Pixels:
    """Give what training without augmentation sees: the evaluation view, of several crops the one that is drawn.

    Args:
        views: uint8 of shape (S, S, 3), or (K, S, S, 3) for K > 1 crops.
        augmenter: draws.
        epoch: from 0.
        index: of the row.

    Returns:
        RGB uint8, shape (S, S, 3), in the memory of `views`.
    """
    return views if views.ndim == 3 else views[augmenter.crop(len(views), epoch, index)]


def _reduced(pixels: Pixels, layout: Layout) -> Pixels:
    left, top, right, bottom = layout.part
    part = pixels[top:bottom, left:right]
    if layout.step == (1.0, 1.0):
        return part.copy()
    if not layout.linear:
        return np.asarray(cv2.resize(part, layout.size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    width, height = layout.size
    reduced = np.empty((height, width, 3), dtype=np.uint8)
    _reduce_into(reduced, part, layout, (0, width), (0, height))
    return reduced


def _reduced_bands(pixels: Pixels, layout: Layout, columns: list[tuple[int, int]]) -> Pixels:
    """Reduce of each band of rows the columns that are read; the rest is left as the memory was.

    Returns:
        Scratch memory: the next call writes over it.
    """
    left, top, right, bottom = layout.part
    part = pixels[top:bottom, left:right]
    width, height = layout.size
    reduced = scratch("reduced", height, width, 3)
    for band, (start, stop) in enumerate(columns):
        if start < stop:
            rows = band * BAND, min((band + 1) * BAND, height)
            _reduce_into(reduced, part, layout, (start, stop), rows)
    return reduced


def _reduce_into(
    reduced: Pixels, part: Pixels, layout: Layout, columns: tuple[int, int], rows: tuple[int, int]
) -> None:
    """Fill some columns and rows of the source, which begin at multiples of BLOCK: there the grid begins anew."""
    step = layout.step[0]
    (left, right), (top, bottom) = columns, rows
    last_column = part.shape[1] if right == layout.size[0] else int(right * step)
    last_row = part.shape[0] if bottom == layout.size[1] else int(bottom * step)
    cut = part[int(top * step) : last_row, int(left * step) : last_column]
    # The step is said, not left to follow from two whole sizes, so that it is the same for every cut.
    cv2.resize(cut, None, reduced[top:bottom, left:right], fx=1 / step, fy=1 / step, interpolation=cv2.INTER_LINEAR)


def _columns_read(matrix: Matrix, size: int, layout: Layout) -> list[tuple[int, int]] | None:
    """Find the columns of the source, band by band, that a view reads; None where it may read any.

    A view is a rotated square, about half of what views can reach. One that leaves the source reads reflections, and
    one that shrinks it averages blocks first: they get the whole.
    """
    width, height = layout.size
    (a, b, left), (c, d, top) = matrix.tolist()
    last = size - 1
    xs = (left, a * last + left, (a + b) * last + left, b * last + left)
    ys = (top, c * last + top, (c + d) * last + top, d * last + top)
    if min(*xs, *ys) < 0 or max(xs) > width - 1 or max(ys) > height - 1 or step_of(matrix) > 2:
        return None
    sides = list(zip(xs, ys, (*xs[1:], xs[0]), (*ys[1:], ys[0]), strict=True))
    found = []
    for row in range(0, height, BAND):
        # Where the sides of the square run within the band, a linear read's pixel and one for rounding beyond.
        low, high = row - 2, row + BAND + 1
        places = [
            x
            for x0, y0, x1, y1 in sides
            if max(y0, y1) >= low and min(y0, y1) <= high
            for x in _crossing(x0, y0, x1, y1, low, high)
        ]
        if places:
            start = max(0, math.floor((min(places) - 2) / BLOCK) * BLOCK)
            found.append((start, min(width, math.ceil((max(places) + 3) / BLOCK) * BLOCK)))
        else:
            found.append((0, 0))
    return found


def _crossing(x0: float, y0: float, x1: float, y1: float, low: float, high: float) -> tuple[float, float]:
    """Find the two ends, across, of what lies between two rows of a side that crosses them."""
    if abs(y1 - y0) < 1e-9:
        return x0, x1
    slope = (x1 - x0) / (y1 - y0)
    above, below = min(y0, y1), max(y0, y1)
    return x0 + (max(low, above) - y0) * slope, x0 + (min(high, below) - y0) * slope
