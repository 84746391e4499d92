"""One way to read a picture that is scored: a photograph, or a tile of a slide."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from msht.errors import InvalidInput
from msht.images.reading import DecodedImage, read_image
from pipelines.inputs import ScoreInput

if TYPE_CHECKING:
    from msht.images.slides import Tile

TILE_COLUMNS = ("tile_left", "tile_top", "tile_edge", "tile_size")
"""Columns of a tile's place; in a table only where a slide was scored, and missing in the rows of photographs."""


def read_field(item: ScoreInput, *, passing: bool = False) -> DecodedImage:
    """Read what is to be scored, upright, in sRGB, RGB uint8 of shape (H, W, 3).

    Args:
        item: the photograph or the tile.
        passing: see `read_image`.

    Raises:
        UnreadableImage: if the photograph, the slide or this part of it cannot be read.
        MissingResource: if it is a tile and OpenSlide is not installed.
    """
    if item.tile is None:
        return read_image(item.path, passing=passing)
    from msht.images.slides import read_tile

    return read_tile(item.path, item.tile)


def read_scored(row: Mapping[str, Any]) -> DecodedImage:
    """Read the picture of a row of `images.parquet` again.

    Args:
        row: with `path` and `sha256`, and the columns `TILE_COLUMNS` where it is a tile.

    Raises:
        InvalidInput: if the picture is not the one that was scored.
        UnreadableImage: if it cannot be read any more.
        MissingResource: if it is a tile and OpenSlide is not installed.
    """
    path = Path(str(row["path"]))
    image = read_field(ScoreInput(str(row.get("image", path.name)), path, str(row.get("case", "")), tile_of(row)))
    if image.record.sha256 != row["sha256"]:
        raise InvalidInput(f"{path} changed since it was scored.", "Score it again.")
    return image


def tile_of(row: Mapping[str, Any]) -> Tile | None:
    """The tile that a row is about; None for a photograph."""
    values = [row.get(column) for column in TILE_COLUMNS]
    # A missing number is None, NaN (which is not itself) or pandas' NA, by what the row came from.
    numbers = [int(value) for value in values if value is not None and not pd.isna(value)]
    if len(numbers) < len(TILE_COLUMNS):
        return None
    from msht.images.slides import Tile

    return Tile(*numbers)
