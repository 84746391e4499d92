"""Contact sheets: many small pictures on one, each with its name, and the colours of the maps."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image

from reports.figures import INK, QUIET, sized, style


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet."""

    picture: Path
    """An image and its map side by side."""
    name: str
    """What it is called."""
    words: str
    """What is to be known about it."""


def contact_sheet(tiles: Sequence[Tile], *, title: str, across: int, width: int) -> bytes:
    """Set pictures side by side, with their names and a colour bar.

    Args:
        tiles: in the order of the sheet.
        title: above all of them.
        across: tiles in a row.
        width: of one half of a tile, in px.

    Returns:
        A PNG.
    """
    rows = -(-len(tiles) // across)
    with mpl.rc_context(style()):
        figure = sized(across * 62.0, rows * 37.0 + 18.0)
        grid = figure.subplots(rows, across, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for tile, axes in zip(tiles, grid.flat, strict=False):
            with Image.open(tile.picture) as opened:
                axes.imshow(np.asarray(opened.convert("RGB").resize((2 * width, width))))
            axes.set_title(_short(tile.name), loc="left", fontsize=6.5, color=INK, pad=7.5)
            axes.text(0, 1.015, _short(tile.words, 62), transform=axes.transAxes, fontsize=5.5, color=QUIET)
        figure.suptitle(f"Evidence for positive: {_short(title, 90)}", x=0.01, ha="left", fontsize=8.5, color=INK)
        scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, 1), "viridis")
        bar = figure.colorbar(scale, ax=grid, location="bottom", fraction=0.025, aspect=70, pad=0.01)
        bar.set_ticks([0, 0.5, 1], labels=["none", "half", "full for its case, or more"])
        bar.ax.tick_params(labelsize=6)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=180, metadata={"Software": None})
    return stream.getvalue()


def _short(text: str, most: int = 44) -> str:
    """Text that fits a tile, without what matplotlib would read as mathematics."""
    plain = text.replace("$", r"\$")
    return plain if len(text) <= most else f"{plain[: most - 1]}…"
