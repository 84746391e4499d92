"""Reading rectangles of a slide as pictures of a given size, in bounded memory."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from msht.errors import InvalidInput
from msht.images.slide_files import forget_slide, load_openslide, unreadable_slide
from msht.images.srgb import Samples, to_srgb

if TYPE_CHECKING:
    from openslide import OpenSlide

Pixels = npt.NDArray[np.uint8]

COARSER = 1.01
"""A level may be this much coarser than the picture asked for: scanners write 4.0001 where they mean 4."""

BLOCK = 2048
"""Longest edge in px of what is decoded at a time; larger regions are read block by block and averaged."""

LARGEST_TILE = 8192
"""Longest edge in px of the picture of a tile."""


@dataclass(frozen=True)
class Tile:
    """A square of a slide, and the size in which it is read.

    Attributes:
        left: of the square, in px of level 0 from the slide's left edge.
        top: the same from its top edge.
        edge: of the square, in px of level 0.
        size: edge of the picture that is read, in px.
    """

    left: int
    top: int
    edge: int
    size: int

    def __post_init__(self) -> None:
        if self.edge < 1 or not 1 <= self.size <= LARGEST_TILE:
            raise InvalidInput(
                f"A tile of {self.edge} px cannot be read as {self.size} px.",
                f"Both must be at least 1 and the picture at most {LARGEST_TILE} px.",
            )


@dataclass(frozen=True)
class Region:
    """A rectangle of a slide, in px of level 0."""

    left: int
    top: int
    width: int
    height: int


def read_region(slide: OpenSlide, path: Path, region: Region, size: tuple[int, int]) -> tuple[Pixels, tuple[str, ...]]:
    """Read a rectangle as a picture of a given size, in bounded memory however large it is.

    Args:
        slide: an open slide.
        path: names it in errors.
        region: what is read; it may reach beyond the slide.
        size: width and height of the picture, in px.

    Returns:
        RGB uint8 of shape (height, width, 3), and words for what was done to the pixels.

    Raises:
        UnreadableImage: if a part cannot be decoded.
    """
    width, height = size
    wanted = min(region.width / width, region.height / height)
    level = best_level(slide.level_downsamples, wanted)
    downsample = slide.level_downsamples[level]
    columns = _cuts(width, region.width / downsample)
    rows = _cuts(height, region.height / downsample)
    picture: Pixels = np.empty((height, width, 3), dtype=np.uint8)
    done: dict[str, None] = {}
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            across = _span(region.left, region.width / width, left, right, downsample)
            down = _span(region.top, region.height / height, top, bottom, downsample)
            # OpenSlide shows whole px of a level from the last one before the place; this one is not before it.
            place = (math.ceil(across[0] * downsample - 1e-6), math.ceil(down[0] * downsample - 1e-6))
            extent = (across[1] - across[0], down[1] - down[0])
            pixels, words = _decoded(slide, path, place, level, extent)
            done.update(dict.fromkeys(words))
            picture[top:bottom, left:right] = _averaged(pixels, (right - left, bottom - top))
    if level:
        done[f"read from level {level}"] = None
    if not math.isclose(wanted, 1.0, rel_tol=1e-9):
        done[f"read at {wanted:.4g} px of the scan per px"] = None
    return picture, tuple(done)


def best_level(downsamples: tuple[float, ...], wanted: float) -> int:
    """Find the coarsest level that is no coarser than `wanted` px of level 0 a px; the finest if all are."""
    fitting = [level for level, downsample in enumerate(downsamples) if downsample <= wanted * COARSER]
    return max(fitting, key=lambda level: downsamples[level], default=0)


def _cuts(size: int, extent: float) -> list[int]:
    """Cut the picture's edge where blocks of at most `BLOCK` px of the level end."""
    blocks = min(size, max(1, math.ceil(extent / BLOCK)))
    return [round(size * number / blocks) for number in range(blocks + 1)]


def _span(origin: int, step: float, first: int, last: int, downsample: float) -> tuple[int, int]:
    """Nearest px of the level to where px `first` to `last` of the picture lie; at least one."""
    start = round((origin + first * step) / downsample)
    return start, max(start + 1, round((origin + last * step) / downsample))


def _decoded(
    slide: OpenSlide, path: Path, place: tuple[int, int], level: int, extent: tuple[int, int]
) -> tuple[Pixels, list[str]]:
    openslide = load_openslide()
    try:
        image = slide.read_region(place, level, extent)
    except openslide.OpenSlideError as error:
        forget_slide(slide)
        raise unreadable_slide(path, error) from error
    if image.getchannel("A").getextrema() == (255, 255):
        profile = image.info.get("icc_profile")
        image = image.convert("RGB")
        if profile is not None:
            image.info["icc_profile"] = profile
    image, words = to_srgb(image, Samples(), path)
    return np.array(image), words


def _averaged(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    shrinks = width >= size[0] and height >= size[1]
    resampling = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size, interpolation=resampling), dtype=np.uint8)
