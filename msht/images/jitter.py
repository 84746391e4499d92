"""Brightness, contrast, saturation and hue as torchvision's ColorJitter turns them, a few passes over the bytes.

The first three are affine in RGB: a matrix product each, cut to the range after each, as published. Hue turns
the H of HSV in steps of 1/256 of the circle, as Pillow does.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the grey of ITU-R BT.601, which Pillow, OpenCV and torchvision use."""
HUES = 256


def colour_jitter(
    pixels: Pixels, brightness: float, contrast: float, saturation: float, hue: float, order: Sequence[int]
) -> Pixels:
    """Turn the colour of a view, RGB uint8 (H, W, 3).

    Args:
        pixels: the view.
        brightness: factor.
        contrast: factor about the mean grey.
        saturation: factor about the grey image.
        hue: share of the circle, from -0.5 to 0.5.
        order: of the four, by their place in the arguments.
    """
    for step in order:
        if step == 0:
            pixels = _affine(pixels, brightness * np.eye(3), 0.0)
        elif step == 1:
            grey = cv2.mean(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))[0]
            pixels = _affine(pixels, contrast * np.eye(3), (1 - contrast) * grey)
        elif step == 2:
            mixed = saturation * np.eye(3) + (1 - saturation) * np.tile(LUMA, (3, 1))
            pixels = _affine(pixels, mixed, 0.0)
        else:
            pixels = turn_hue(pixels, hue)
    return pixels


def _affine(pixels: Pixels, matrix: npt.NDArray[np.float64], offset: float) -> Pixels:
    return np.asarray(cv2.transform(pixels, np.column_stack([matrix, np.full(3, offset)])), dtype=np.uint8)


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
