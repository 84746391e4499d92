"""Which crop of a field a map is shown for, where the score of the field is the mean over several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import cv2
import numpy as np

from msht.images.colour import corrected
from msht.images.preprocessing import Box, Pixels, Preprocessing, crop_boxes, resized, view_of

WHERE_EDGE = 240
"""Longest edge in px of the picture of a whole field."""


class CropRow(TypedDict):
    """What a record says of the crop that is shown."""

    box: list[int]
    number: int
    of: int


@dataclass(frozen=True)
class ShownCrop:
    """One of the crops that a field's score is the mean of.

    Attributes:
        view: what the network sees of it, uint8 of shape (S, S, 3).
        box: where it lies in the field.
        number: which of the different crops, from 1 and row by row.
        of: how many different crops there are.
    """

    view: Pixels
    box: Box
    number: int
    of: int

    def picture(self, pixels: Pixels, edge: int) -> Pixels:
        """The crop as photographed, RGB uint8 of shape (edge, edge, 3)."""
        return resized(pixels[self.box.top : self.box.bottom, self.box.left : self.box.right], edge)

    def row(self) -> CropRow:
        """As a record keeps it."""
        return {"box": list(self.box), "number": self.number, "of": self.of}


def shown_crop(ensemble: Any, pixels: Pixels, *, positive: bool) -> ShownCrop:
    """The crop whose raw logit, the mean over the networks, speaks most for the call.

    Raw logits, since a field's is the mean of its crops': the largest has the largest part in the field's answer.

    Args:
        ensemble: whose answers count.
        pixels: of the field, RGB uint8 of shape (H, W, 3).
        positive: the call: True takes the highest logit, False the lowest.
    """
    preprocessing = ensemble.preprocessing
    boxes = crop_boxes(pixels.shape[1], pixels.shape[0], preprocessing)
    views = view_of(pixels, preprocessing)
    if len(boxes) == 1:
        return ShownCrop(views, boxes[0], 1, 1)
    different = list(dict.fromkeys(boxes))
    chosen = 0
    if len(different) > 1:
        logits = _crop_logits(ensemble, views)
        chosen = int(logits.argmax() if positive else logits.argmin())
    return ShownCrop(views[chosen], boxes[chosen], different.index(boxes[chosen]) + 1, len(different))


def _crop_logits(ensemble: Any, views: np.ndarray) -> np.ndarray:
    """Raw logit of each crop (K, S, S, 3) as if it were a field of its own, mean over the networks, shape (K,)."""
    from msht.ensemble import Ensemble

    alone = Ensemble(ensemble.folds, single_view(ensemble.preprocessing), ensemble.device)
    logits: np.ndarray = alone.score(views).fold_logits.mean(axis=0)
    return logits


def view_of_box(pixels: Pixels, box: Box, preprocessing: Preprocessing) -> Pixels:
    """What the network sees of one square of a field, uint8 of shape (S, S, 3)."""
    square = corrected(pixels, preprocessing.colour)[box.top : box.bottom, box.left : box.right]
    return resized(square, preprocessing.size)


def single_view(preprocessing: Preprocessing) -> Preprocessing:
    """The same with one square alone: what a network sees of a single crop."""
    return preprocessing.model_copy(update={"crops": (1, 1)})


def crops_key(preprocessing: Preprocessing) -> dict[str, str]:
    """What tells maps of the strongest crop from maps of the centred square, which older versions drew."""
    return {} if preprocessing.crops == (1, 1) else {"crop": "strongest"}


def crop_in_words(row: Any) -> str:
    """`crop 2 of 3`; empty where there is but one."""
    return f"crop {row['number']} of {row['of']}" if row and row["of"] > 1 else ""


def field_with_crop(pixels: Pixels, box: Box) -> Pixels:
    """The whole field, small, RGB uint8, with the outline of a crop: white within black, readable on any stain."""
    height, width = pixels.shape[:2]
    factor = min(1.0, WHERE_EDGE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = np.ascontiguousarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    line = max(2, max(size) // 60)
    inset = line
    corner = (round(box.left * factor) + inset, round(box.top * factor) + inset)
    opposite = (round(box.right * factor) - 1 - inset, round(box.bottom * factor) - 1 - inset)
    for colour, thickness in (((0, 0, 0), 2 * line), ((255, 255, 255), line)):
        cv2.rectangle(small, corner, opposite, colour, thickness)
    return np.asarray(small, dtype=np.uint8)
