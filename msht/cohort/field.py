"""One field as training and evaluation need it: what the network sees, what augmentation draws from, its quality."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from msht.images.augmentation import Augmentation
from msht.images.colour import corrected
from msht.images.preprocessing import Pixels, Preprocessing, crop_boxes, cut_views
from msht.images.quality import Quality, measure_quality
from msht.images.reading import DecodedImage
from msht.images.warp import Square

OVERSAMPLING = 1.25
"""Edge of the stored crop in multiples of the network's; no preset magnifies by more, so none enlarges pixels."""

AVERAGED_FROM = 1.5
"""Reduction from which areas are averaged; below, a linear read already touches every pixel, six times as fast."""

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
        source: what augmentation draws from; None where memory was spent.
        quality: measured on the field as it came.
        sha256: digest of the file.
    """

    view: np.ndarray
    source: SourceField | None
    quality: Quality
    sha256: str


def prepare_field(image: DecodedImage, preprocessing: Preprocessing, reach: float) -> StoredField:
    """Make everything that is kept of a field.

    Args:
        image: as read.
        preprocessing: colour, squares and size.
        reach: of the augmentation; see `reach_of`.
    """
    pixels = corrected(image.pixels, preprocessing.colour)
    return StoredField(
        view=cut_views(pixels, preprocessing),
        source=source_of(pixels, preprocessing, reach),
        quality=measure_quality(image.pixels),
        sha256=image.record.sha256,
    )


def reach_of(augmentation: Augmentation) -> float:
    """How far from the centre of a crop its views can read, in multiples of half its edge."""
    diagonal = math.sqrt(2) if augmentation.rotation != (0.0, 0.0) else 1.0
    return diagonal / augmentation.scale[0] + 2 * augmentation.shift


def source_of(pixels: Pixels, preprocessing: Preprocessing, reach: float) -> SourceField:
    """Cut away what no view can reach, and reduce the rest to what the network can use.

    Args:
        pixels: of the field, its colour seen to; uint8 of shape (H, W, 3).
        preprocessing: the squares and the size.
        reach: see `reach_of`.
    """
    height, width = pixels.shape[:2]
    boxes = crop_boxes(width, height, preprocessing)
    edge = boxes[0].right - boxes[0].left
    beyond = math.ceil(min((reach - 1) * edge / 2, max(width, height))) + BORDER
    left, top = max(0, min(b.left for b in boxes) - beyond), max(0, min(b.top for b in boxes) - beyond)
    right, bottom = max(b.right for b in boxes) + beyond, max(b.bottom for b in boxes) + beyond
    part = pixels[top:bottom, left:right]
    height, width = part.shape[:2]
    step = max(1.0, edge / (OVERSAMPLING * preprocessing.size))
    new = (max(1, math.ceil(width / step)), max(1, math.ceil(height / step))) if step > 1 else (width, height)
    if new != (width, height):
        interpolation = cv2.INTER_AREA if step >= AVERAGED_FROM else cv2.INTER_LINEAR
        reduced = cv2.resize(part, new, interpolation=interpolation)
    else:
        reduced = part.copy()
    across, down = new[0] / width, new[1] / height
    squares = tuple(
        ((b.left - left) * across, (b.top - top) * down, (b.right - left) * across, (b.bottom - top) * down)
        for b in boxes
    )
    return SourceField(np.asarray(reduced, dtype=np.uint8), squares)
