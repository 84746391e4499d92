"""Brightness, contrast, saturation and hue as torchvision's ColorJitter turns them, a few passes over the bytes.

The first three are affine in RGB: matrix products, cut to the range after each that may leave it, as published. Hue
turns the H of HSV in steps of 1/256 of the circle, as Pillow does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the grey of ITU-R BT.601, which Pillow, OpenCV and torchvision use."""
LUMA_ROW = np.array(LUMA)
HUES = 256


def colour_jitter(
    pixels: Pixels, brightness: float, contrast: float, saturation: float, hue: float, order: Sequence[int]
) -> Pixels:
    """Turn the colour of a view, RGB uint8 (H, W, 3).

    A factor up to 1 moves bytes towards black, the mean grey or their own grey, and so never out of their range: such
    a step is left to be done in one with the next, rounded once.

    Args:
        pixels: the view.
        brightness: factor.
        contrast: factor about the mean grey.
        saturation: factor about the grey image.
        hue: share of the circle, from -0.5 to 0.5.
        order: of the four, by their place in the arguments.
    """
    factors = (brightness, contrast, saturation)
    waiting = NOTHING
    for step in order:
        if step == 3:
            pixels, waiting = turn_hue(waiting.done(pixels), hue), NOTHING
            continue
        if waiting.may_leave_the_range:
            pixels, waiting = waiting.done(pixels), NOTHING
        factor = factors[step]
        if step == 0:
            share_of_grey, constant = 0.0, 0.0
        elif step == 1:
            share_of_grey, constant = 0.0, (1 - factor) * waiting.mean_grey(pixels)
        else:
            share_of_grey, constant = 1 - factor, 0.0
        waiting = waiting.then(Affine(factor, share_of_grey, constant, factor > 1))
    return waiting.done(pixels)


class Affine(NamedTuple):
    """A map of RGB that waits to be done: itself times a factor, its grey times another, and a constant."""

    factor: float
    share_of_grey: float
    constant: float
    may_leave_the_range: bool
    """Whether bytes must be cut to their range after it."""

    def then(self, second: Affine) -> Affine:
        """This map and then another in one; a grey's grey is itself, since the weights add up to one."""
        grey = self.factor + self.share_of_grey
        return Affine(
            second.factor * self.factor,
            second.factor * self.share_of_grey + second.share_of_grey * grey,
            (second.factor + second.share_of_grey) * self.constant + second.constant,
            second.may_leave_the_range,
        )

    def mean_grey(self, pixels: Pixels) -> float:
        """Mean grey of what it will make of RGB uint8 (H, W, 3), where nothing is cut."""
        mean = sum(weight * level for weight, level in zip(LUMA, cv2.mean(pixels), strict=False))
        return (self.factor + self.share_of_grey) * mean + self.constant

    def done(self, pixels: Pixels) -> Pixels:
        """Do it to RGB uint8 (H, W, 3)."""
        if self is NOTHING:
            return pixels
        matrix = np.empty((3, 4))
        matrix[:, :3] = self.share_of_grey * LUMA_ROW
        matrix[0, 0] += self.factor
        matrix[1, 1] += self.factor
        matrix[2, 2] += self.factor
        matrix[:, 3] = self.constant
        return np.asarray(cv2.transform(pixels, matrix), dtype=np.uint8)


NOTHING = Affine(1.0, 0.0, 0.0, False)


def turn_hue(pixels: Pixels, hue: float) -> Pixels:
    """Turn the hue of RGB uint8 (H, W, 3) by a share of the circle."""
    turn = round(hue * HUES) % HUES
    if turn == 0:
        return pixels
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL)
    # One row of added bytes, not one byte a pixel: the addition then runs over whole rows; bytes wrap as hues do.
    rows = hsv.reshape(len(hsv), -1)
    rows += np.tile(np.array([turn, 0, 0], dtype=np.uint8), hsv.shape[1])
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL), dtype=np.uint8)
