"""Pictures brought down by halves: each pixel the mean of four, in a fraction of the time of averaging other areas."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


class Halves:
    """A picture, its half, the half of that and so on, each made once when it is asked for.

    Measuring a field's quality and making its view both begin with the half of the same large picture.

    Args:
        pixels: RGB uint8, shape (H, W, 3); not copied.
    """

    def __init__(self, pixels: Pixels) -> None:
        self._levels = [pixels]

    def __getitem__(self, times: int) -> Pixels:
        """The picture after so many halvings, uint8 of shape (H >> times, W >> times, 3)."""
        while len(self._levels) <= times:
            self._levels.append(halved(self._levels[-1]))
        return self._levels[times]


def as_halves(picture: Pixels | Halves) -> Halves:
    """A picture with its halves, those that it has already among them."""
    return picture if isinstance(picture, Halves) else Halves(picture)


def halved(pixels: Pixels) -> Pixels:
    """Average RGB uint8 (H, W, 3) over blocks of two by two; an odd last row or column is left out.

    Returns:
        uint8, shape (H // 2, W // 2, 3); half levels are rounded to the nearest, up.
    """
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    even = pixels[: 2 * height, : 2 * width]
    return np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
