"""Which tiles of a slide to score: those that hold stained material, at the scale of the fields."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from msht.errors import InvalidInput, UnreadableImage
from msht.images.quality import stained
from msht.images.slide_files import open_slide
from msht.images.slide_regions import Pixels, Region, Tile, read_region
from msht.images.slide_scale import SlideScale, slide_scale

if TYPE_CHECKING:
    from openslide import OpenSlide

Mask = npt.NDArray[np.bool_]

LOW_POWER_EDGE = 2048
"""Longer edge in px of the low-power picture: 20 px of a slide of 40,000 px make one."""

LEAST_FOREGROUND = 0.01
"""Share of a tile that must be stained at low power: a cluster of a few cells in an otherwise empty field has it."""

MOST_ENLARGED = 2.0
"""How many times coarser than the fields a scan may be; beyond, enlarging it shows nothing that cells have."""


SMALLEST_BLOCK = 128
"""Longer edge in px of the low-power picture at which a block that cannot be decoded is not divided again."""


@dataclass(frozen=True, eq=False)
class LowPower:
    """A slide at a glance.

    Attributes:
        region: the scanned part, in px of level 0.
        pixels: its picture, RGB uint8 of shape (h, w, 3); white where nothing was scanned.
        foreground: where it is stained, shape (h, w).
        unread: where it cannot be decoded, shape (h, w); white in the picture.
    """

    region: Region
    pixels: Pixels
    foreground: Mask
    unread: Mask


@dataclass(frozen=True, eq=False)
class SlidePlan:
    """What is to be scored of a slide.

    Attributes:
        width: of level 0, in px.
        height: of level 0, in px.
        scale: size of a pixel of level 0.
        tiles: to score, row by row.
        places: tiles that would cover the scanned part, stained or not.
        stained: how many of these hold enough stained material; more than `tiles` where a limit was set.
        low_power: the slide at a glance.
    """

    width: int
    height: int
    scale: SlideScale
    tiles: tuple[Tile, ...]
    places: int
    stained: int
    low_power: LowPower


def plan_slide(
    path: Path,
    *,
    field_microns_per_pixel: float,
    tile_size: int,
    slide_microns_per_pixel: float | None = None,
    overlap: float = 0.0,
    most_tiles: int | None = None,
    least_foreground: float = LEAST_FOREGROUND,
) -> SlidePlan:
    """Find the tiles of a slide that hold stained material.

    Tiles are spread evenly from edge to edge of the scanned part, so that none reaches beyond it and all of it is
    covered; neighbours overlap by the share asked for, or by a little more. A scan smaller than a tile gives the
    largest square it has, at the same scale. Where less than half of the slide cannot be decoded at low power, the
    tiles there are among those to score. Memory is bounded whatever the size of the slide.

    Args:
        path: a slide.
        field_microns_per_pixel: scale of the fields that the networks know, in um a px.
        tile_size: edge of a tile, in px of such a field.
        slide_microns_per_pixel: size of a pixel of level 0, where the file does not say it, or says it wrongly.
        overlap: share of a tile's edge that its neighbour shows too, from 0 to 0.75.
        most_tiles: keep those with most stained material, if there are more.
        least_foreground: share of a tile that must be stained.

    Raises:
        UnreadableImage: if the slide cannot be read, does not say its resolution, is too coarse for these fields,
            or holds no stained material.
        InvalidInput: if the overlap is beyond its limits.
        MissingResource: if OpenSlide is not installed.
    """
    if not 0 <= overlap <= 0.75:
        raise InvalidInput(f"The overlap of tiles is {overlap}.", "Give a share from 0 to 0.75.")
    path = Path(path)
    slide = open_slide(path)
    width, height = slide.dimensions
    scale = slide_scale(slide.properties, path, slide_microns_per_pixel)
    ratio = field_microns_per_pixel / scale.microns_per_pixel
    if ratio * MOST_ENLARGED < 1:
        raise UnreadableImage(
            f"{path} was scanned at {scale.microns_per_pixel:.4g} um a px ({scale.source}), {1 / ratio:.3g} times "
            f"coarser than the fields of the bundle ({field_microns_per_pixel:.4g} um a px).",
            "Scan it with a stronger objective, or use a bundle trained on such scans.",
        )
    region = scanned_region(slide)
    edge = max(1, round(tile_size * ratio))
    size = tile_size
    if edge > min(region.width, region.height):
        edge = min(region.width, region.height)
        size = max(1, min(tile_size, round(edge / ratio)))
    low_power = read_low_power(slide, path, region)
    lefts = _spread(region.left, region.width, edge, overlap)
    tops = _spread(region.top, region.height, edge, overlap)
    shares = _shares(low_power.foreground, region, lefts, tops, edge)
    # What cannot be seen at low power is tried at full: it is scored, or refused as a tile of its own.
    unseen = _shares(low_power.unread, region, lefts, tops, edge) > 0
    chosen = np.argwhere((shares >= least_foreground) | unseen)
    count = len(chosen)
    if not count:
        raise UnreadableImage(
            f"{path} holds no stained material to speak of: none of {shares.size} tiles is stained over "
            f"{least_foreground:.0%} of its area.",
            "Look at the slide; an empty or unstained one cannot be scored.",
        )
    if most_tiles is not None and count > most_tiles:
        richest = np.argsort(-shares[tuple(chosen.T)], kind="stable")[:most_tiles]
        chosen = chosen[np.sort(richest)]
    tiles = tuple(Tile(lefts[column], tops[row], edge, size) for row, column in chosen)
    return SlidePlan(width, height, scale, tiles, int(shares.size), count, low_power)


def scanned_region(slide: OpenSlide) -> Region:
    """Find the part of level 0 that was scanned: the bounds that the scanner wrote, else all of it."""
    width, height = slide.dimensions
    names = ("x", "y", "width", "height")
    try:
        left, top, across, down = (int(slide.properties[f"openslide.bounds-{name}"]) for name in names)
    except (KeyError, ValueError):
        return Region(0, 0, width, height)
    right, bottom = min(width, left + across), min(height, top + down)
    left, top = max(0, left), max(0, top)
    if right <= left or bottom <= top:
        return Region(0, 0, width, height)
    return Region(left, top, right - left, bottom - top)


def read_low_power(slide: OpenSlide, path: Path, region: Region, edge: int = LOW_POWER_EDGE) -> LowPower:
    """Read a region at low power, and find what is stained in it as the quality of a field does.

    Args:
        slide: an open slide.
        path: names it in errors.
        region: what is read.
        edge: largest longer edge of the picture in px.

    Raises:
        UnreadableImage: if half of it or more cannot be decoded.
    """
    factor = min(1.0, edge / max(region.width, region.height))
    size = (max(1, round(region.width * factor)), max(1, round(region.height * factor)))
    try:
        pixels, _ = read_region(slide, path, region, size)
        unread = np.zeros(pixels.shape[:2], dtype=bool)
    except UnreadableImage as error:
        pixels, unread = _what_can_be_read(path, region, size, error)
    return LowPower(region, pixels, stained(pixels), unread)


def _what_can_be_read(path: Path, region: Region, size: tuple[int, int], error: UnreadableImage) -> tuple[Pixels, Mask]:
    """A region at low power block by block, halved again and again around what is damaged, and where that is."""
    width, height = size
    pixels: Pixels = np.full((height, width, 3), 255, dtype=np.uint8)
    unread = np.zeros((height, width), dtype=bool)
    waiting = [(0, 0, width, height)]
    while waiting:
        left, top, right, bottom = waiting.pop()
        part = Region(
            region.left + left * region.width // width,
            region.top + top * region.height // height,
            max(1, (right - left) * region.width // width),
            max(1, (bottom - top) * region.height // height),
        )
        try:
            # After an error a slide must be opened anew.
            pixels[top:bottom, left:right], _ = read_region(open_slide(path), path, part, (right - left, bottom - top))
            continue
        except UnreadableImage:
            if max(right - left, bottom - top) <= SMALLEST_BLOCK:
                unread[top:bottom, left:right] = True
                if 2 * unread.sum() >= unread.size:
                    raise error from None
                continue
        if right - left >= bottom - top:
            middle = (left + right) // 2
            waiting += [(left, top, middle, bottom), (middle, top, right, bottom)]
        else:
            middle = (top + bottom) // 2
            waiting += [(left, top, right, middle), (left, middle, right, bottom)]
    return pixels, unread


def _spread(start: int, length: int, edge: int, overlap: float) -> list[int]:
    """Starts of tiles from end to end, evenly spread, no further apart than the overlap allows."""
    room = length - edge
    steps = math.ceil(room / max(1.0, edge * (1 - overlap)))
    return [start + round(room * step / steps) for step in range(steps + 1)] if steps else [start + room // 2]


def _shares(mask: Mask, region: Region, lefts: list[int], tops: list[int], edge: int) -> npt.NDArray[np.float64]:
    """Share of each tile that a mask of the region covers, shape (rows, columns), from sums over the mask."""
    sums = cv2.integral(mask.astype(np.uint8))
    height, width = mask.shape

    def span(starts: list[int], origin: int, length: int, pixels: int) -> tuple[np.ndarray, np.ndarray]:
        begin = (np.asarray(starts, dtype=float) - origin) * pixels / length
        first = np.clip(np.floor(begin + 1e-9).astype(int), 0, pixels - 1)
        last = np.clip(np.ceil(begin + edge * pixels / length - 1e-9).astype(int), first + 1, pixels)
        return first, last

    left, right = span(lefts, region.left, region.width, width)
    top, bottom = span(tops, region.top, region.height, height)
    counts = sums[bottom][:, right] - sums[top][:, right] - sums[bottom][:, left] + sums[top][:, left]
    area = (bottom - top)[:, None] * (right - left)[None, :]
    shares: npt.NDArray[np.float64] = counts / area
    return shares
