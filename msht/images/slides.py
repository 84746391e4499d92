"""Whole slides, tile by tile: where a tile lies, and its pixels as a photograph of that field would have them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from msht.images.reading import DecodedImage, ReadingRecord
from msht.images.slide_files import is_slide_path, open_slide
from msht.images.slide_plan import SlidePlan, plan_slide
from msht.images.slide_regions import Region, Tile, read_region

__all__ = ["SlidePlan", "Tile", "is_slide_path", "plan_slide", "read_tile"]


def read_tile(path: Path, tile: Tile) -> DecodedImage:
    """Read a tile from the coarsest level that still has its resolution, in sRGB, averaged down to its size.

    What was not scanned, and what lies beyond the slide, is white. The slide's colour profile is applied as a
    photograph's is. The place is exact to a px of level 0, the scale to half a px of the level over the tile.

    Args:
        path: a slide.
        tile: which part of it.

    Returns:
        RGB uint8 of shape (size, size, 3); `record.sha256` is the digest of these pixels, `record.format` the
        scanner's format in OpenSlide's words, `record.bytes` the size of the slide's file.

    Raises:
        UnreadableImage: if the slide, or this part of it, cannot be read.
        MissingResource: if OpenSlide is not installed.
    """
    path = Path(path)
    slide = open_slide(path)
    region = Region(tile.left, tile.top, tile.edge, tile.edge)
    pixels, done = read_region(slide, path, region, (tile.size, tile.size))
    record = ReadingRecord(
        width=tile.size,
        height=tile.size,
        format=str(slide.properties.get("openslide.vendor", "slide")),
        mode="RGBA",
        orientation=1,
        conversions=done,
        sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
        bytes=path.stat().st_size,
    )
    return DecodedImage(pixels, record)
