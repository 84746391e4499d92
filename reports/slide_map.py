"""The heat map of a slide: where which probability was found, over a small grey picture of the slide.

Probability is shown in viridis, whose order every reader sees. What has no probability is told by pattern, not by
colour: crossed where a tile could not be evaluated, dotted where stained material was not scored.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from msht.explanation.overlay import colours
from reports.case_maps_view import scale_bar
from reports.figures import INK, QUIET, sized, style
from reports.fonts import settable_characters

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

WIDEST = 178.0
"""Width of the figure in mm."""

HIGHEST = 190.0
"""Largest height of the pictures in mm; a long strip of a slide is shown smaller instead."""

DPI = 200
OPACITY = 0.72
"""Of the probability's colour over the grey picture: cells stay visible below."""

CAVEAT = (
    "Decision support, not a diagnosis. Each square is one tile's calibrated probability, the mean where tiles "
    "overlap; it says nothing about single cells within the tile."
)


@dataclass(frozen=True)
class MapTile:
    """A tile of the slide with its answer.

    Attributes:
        left: of the square in px of level 0.
        top: of the square in px of level 0.
        edge: of the square in px of level 0.
        probability: calibrated; None where the tile could not be evaluated or read.
    """

    left: int
    top: int
    edge: int
    probability: float | None


@dataclass(frozen=True, eq=False)
class SlideMap:
    """What the picture says.

    Attributes:
        name: of the slide.
        bundle: that scored it.
        threshold: of the case, in words.
        picture: of the scanned part, RGB uint8 (h, w, 3).
        foreground: its stained part, (h, w).
        left: of the scanned part in px of level 0.
        top: of the scanned part in px of level 0.
        pixels_per_pixel: px of level 0 that one px of the picture spans.
        microns_per_pixel: size of a px of level 0; None draws no scale bar.
        tiles: all that were scored or refused.
    """

    name: str
    bundle: str
    threshold: str
    picture: Pixels
    foreground: Mask
    left: int
    top: int
    pixels_per_pixel: float
    microns_per_pixel: float | None
    tiles: Sequence[MapTile]


@dataclass(frozen=True, eq=False)
class Coverage:
    """The tiles on the picture's grid.

    Attributes:
        probability: mean over the evaluable tiles that show the pixel, (h, w); NaN where none does.
        not_evaluable: where only tiles without an answer lie, (h, w).
        unscored: stained, but in no tile, (h, w).
    """

    probability: npt.NDArray[np.float64]
    not_evaluable: Mask
    unscored: Mask


def cover(slide: SlideMap) -> Coverage:
    """Lay the tiles over the picture."""
    shape = slide.foreground.shape
    total, count, seen = np.zeros(shape), np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=bool)
    for tile in slide.tiles:
        place = tile_place(slide, tile)
        seen[place] = True
        if tile.probability is not None:
            total[place] += tile.probability
            count[place] += 1
    with np.errstate(invalid="ignore"):
        probability = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return Coverage(probability, seen & (count == 0), slide.foreground & ~seen)


def tile_place(slide: SlideMap, tile: MapTile) -> tuple[slice, slice]:
    """Find the rows and columns of the picture that a tile covers; at least one of each."""
    height, width = slide.foreground.shape
    place = []
    for start, length in ((tile.top - slide.top, height), (tile.left - slide.left, width)):
        first = min(length - 1, max(0, round(start / slide.pixels_per_pixel)))
        last = min(length, max(first + 1, round((start + tile.edge) / slide.pixels_per_pixel)))
        place.append(slice(first, last))
    return place[0], place[1]


def draw_slide_map(slide: SlideMap) -> bytes:
    """Draw the slide beside its heat map, with the legend and a scale bar.

    Returns:
        A PNG; equal input gives equal bytes.
    """
    coverage = cover(slide)
    height, width = slide.foreground.shape
    side_by_side = width <= 1.4 * height
    with mpl.rc_context(style()):
        room = WIDEST / 2 if side_by_side else WIDEST
        rows = 1 if side_by_side else 2
        tall = min(room * height / width, HIGHEST / rows)
        figure = sized(WIDEST, rows * (tall + 7.0) + 46.0)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03)  # type: ignore[union-attr]
        upper, legend = figure.subfigures(2, 1, height_ratios=(rows * (tall + 7.0) + 16.0, 30.0))
        panels = upper.subplots(1, 2) if side_by_side else upper.subplots(2, 1)
        for axes, picture, words in zip(
            panels,
            (slide.picture, paint(slide, coverage)),
            ("As scanned", "Probability of positive, by tile"),
            strict=True,
        ):
            axes.imshow(picture, interpolation="antialiased")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(words, loc="left", fontsize=8, color=QUIET)
            for spine in axes.spines.values():
                spine.set_visible(True)
            _draw_bar(axes, slide)
        upper.suptitle(_title(slide), x=0.01, ha="left", fontsize=9, color=INK)
        _draw_legend(legend, slide)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()


def paint(slide: SlideMap, coverage: Coverage) -> Pixels:
    """Paint the map: grey tissue, colours of the probability, patterns where there is none. RGB uint8 (h, w, 3)."""
    grey = slide.picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    painted = np.repeat(grey[..., None], 3, axis=2)
    scored = ~np.isnan(coverage.probability)
    colour = colours(coverage.probability[scored]).astype(np.float32)
    painted[scored] = (1 - OPACITY) * painted[scored] + OPACITY * colour
    step = pattern_step(slide.foreground.shape)
    painted[coverage.not_evaluable & crossed(slide.foreground.shape, step)] = 20.0
    painted[coverage.unscored & dotted(slide.foreground.shape, step)] = 20.0
    painted[coverage.unscored & dotted(slide.foreground.shape, step, shifted=True)] = 255.0
    return np.rint(painted).astype(np.uint8)


def pattern_step(shape: tuple[int, ...]) -> int:
    """Period of the patterns in px: the same size on paper whatever the size of the picture."""
    return max(6, round(max(shape) / 90))


def crossed(shape: tuple[int, ...], step: int) -> Mask:
    """Two sets of diagonal lines."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    thick = max(1, step // 6)
    mask: Mask = ((rows + columns) % step < thick) | ((rows - columns) % step < thick)
    return mask


def dotted(shape: tuple[int, ...], step: int, *, shifted: bool = False) -> Mask:
    """Dots on a square grid; shifted, those between them."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    offset, thick = (step // 2 if shifted else 0), max(2, step // 3)
    mask: Mask = ((rows + offset) % step < thick) & ((columns + offset) % step < thick)
    return mask


def _title(slide: SlideMap) -> str:
    scored = sum(tile.probability is not None for tile in slide.tiles)
    left_out = len(slide.tiles) - scored
    return (
        f"{printable(slide.name, 90)}\n"
        f"Bundle {printable(slide.bundle, 40)}; {slide.threshold}; {scored:,} tiles scored, {left_out:,} not evaluable"
    )


def printable(text: str, most: int) -> str:
    """Text as the fonts can set it, cut to a length, without what matplotlib would read as mathematics."""
    settable = settable_characters("en")
    shown = text if len(text) <= most else f"{text[: most - 1]}…"
    set_ = "".join(c if ord(c) in settable and c.isprintable() else f"<{ord(c):04X}>" for c in shown)
    return set_.replace("$", r"\$")


def _draw_bar(axes: Axes, slide: SlideMap) -> None:
    height, width = slide.foreground.shape
    if slide.microns_per_pixel is None:
        return
    bar = scale_bar(max(1, round(width * slide.pixels_per_pixel)), slide.microns_per_pixel)
    if bar is None:
        return
    length, margin = bar["share"] * width, 0.02 * max(width, height)
    thick = 0.008 * max(width, height)
    box = Rectangle(
        (margin, height - 4.5 * margin), length + 2 * margin, 3.5 * margin, facecolor="white", alpha=0.85, linewidth=0
    )
    axes.add_patch(box)
    axes.add_patch(Rectangle((2 * margin, height - 1.5 * margin - thick), length, thick, color=INK, linewidth=0))
    axes.text(
        2 * margin + length / 2, height - 1.7 * margin - thick, bar["label"], ha="center", va="bottom", fontsize=7
    )


def _draw_legend(figure: mpl.figure.SubFigure, slide: SlideMap) -> None:
    scale = figure.add_axes((0.03, 0.72, 0.40, 0.10))
    scale.imshow(colours(np.linspace(0, 1, 256))[None], aspect="auto", extent=(0, 1, 0, 1))
    scale.set_yticks([])
    scale.set_xticks([0, 0.25, 0.5, 0.75, 1])
    scale.set_title("Calibrated probability of positive", loc="left", fontsize=7.5)
    white = np.full((40, 80, 3), 235, dtype=np.uint8)
    for place, (words, painted) in enumerate(
        (
            ("tile not evaluable\nor not readable", _swatch(white, [(crossed, False)])),
            ("stained, not scored", _swatch(white, [(dotted, False), (dotted, True)])),
        )
    ):
        swatch = figure.add_axes((0.50 + 0.26 * place, 0.62, 0.06, 0.26))
        swatch.imshow(painted, aspect="auto")
        swatch.set_xticks([])
        swatch.set_yticks([])
        swatch.text(1.12, 0.5, words, transform=swatch.transAxes, va="center", fontsize=7.5)
    figure.text(0.03, 0.12, CAVEAT, fontsize=7.5, color=INK, ha="left", va="center", wrap=True)


def _swatch(ground: Pixels, patterns: Sequence[tuple[object, bool]]) -> Pixels:
    painted = ground.copy()
    for pattern, shifted in patterns:
        mask = dotted(ground.shape[:2], 12, shifted=shifted) if pattern is dotted else crossed(ground.shape[:2], 12)
        painted[mask] = 255 if shifted else 20
    return painted
