"""Rotation, crop, scale, shift, resize and flips as one affine warp, so that every pixel is interpolated once."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from msht.images.scratch import scratch

Pixels = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]
Square = tuple[float, float, float, float]
"""Left, top, right and bottom edge in px; a field that was reduced has squares between the pixels."""


def warp_matrix(
    square: Square,
    size: int,
    angle: float,
    magnification: float = 1.0,
    shifts: tuple[float, float] = (0.0, 0.0),
    flips: tuple[bool, bool] = (False, False),
) -> Matrix:
    """Map the view's pixel indices to the field's, shape (2, 3).

    Args:
        square: of the field, that the view shows.
        size: edge of the view in px.
        angle: counter-clockwise rotation of the content, in radians.
        magnification: above 1 cells look larger.
        shifts: of the window, as shares of the square's edge (across, down).
        flips: of the view (horizontal, vertical).
    """
    left, top, right, bottom = square
    across, down = (right - left) / size / magnification, (bottom - top) / size / magnification
    cosine, sine = math.cos(angle), math.sin(angle)
    mirror_x, mirror_y = -1.0 if flips[0] else 1.0, -1.0 if flips[1] else 1.0
    rows = (
        (across * cosine * mirror_x, -across * sine * mirror_y),
        (down * sine * mirror_x, down * cosine * mirror_y),
    )
    # Indices count pixel centres: the centre of n pixels lies at (n - 1) / 2.
    centre = (
        (left + right - 1) / 2 + shifts[0] * (right - left),
        (top + bottom - 1) / 2 + shifts[1] * (bottom - top),
    )
    middle = (size - 1) / 2
    return np.array([(a, b, start - (a + b) * middle) for (a, b), start in zip(rows, centre, strict=True)])


WIDENED_TO = 8
"""Pixels of the field for each of the view, up to which all are given a fourth byte before they are read."""


def step_of(matrix: Matrix) -> float:
    """How many pixels of the field lie between two neighbours of the view."""
    (a, b, _), (c, d, _) = matrix.tolist()
    return math.sqrt(abs(a * d - b * c))


def warp(pixels: Pixels, matrix: Matrix, size: int) -> Pixels:
    """Read a view, RGB uint8 (S, S, 3), through the map of `warp_matrix`; borders are reflected.

    A bilinear read covers two pixels each way; a view that shrinks the field threefold or more is therefore
    taken from a copy that was averaged over whole blocks first, which keeps it free of aliasing.

    Args:
        pixels: RGB uint8, shape (H, W, 3).
        matrix: from view indices to field indices, shape (2, 3).
        size: S.
    """
    shrink = math.floor(step_of(matrix) + 1e-9)
    if shrink > 2:
        height, width = pixels.shape[0] // shrink, pixels.shape[1] // shrink
        whole = pixels[: height * shrink, : width * shrink]
        pixels = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
        matrix = matrix / shrink
        matrix[:, 2] += 0.5 / shrink - 0.5
    # OpenCV reads pixels of four bytes in 40 % of the time it takes for three, and to the same values.
    widened = pixels.shape[0] * pixels.shape[1] <= WIDENED_TO * size * size
    read = cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA, scratch("widened", *pixels.shape[:2], 4)) if widened else pixels
    view = cv2.warpAffine(
        read,
        matrix,
        (size, size),
        scratch("warped", size, size, 4) if widened else None,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(cv2.cvtColor(view, cv2.COLOR_RGBA2RGB) if widened else view, dtype=np.uint8)
