"""The heat map of a slide: where which probability was found, over a small grey picture of the slide.

Probability is shown in viridis, whose order every reader sees. What has no probability is told by pattern, not by
colour: crossed where a tile could not be evaluated, dotted where stained material was not scored. Lines across the
colours mark tiles unlike the development cohort, whose probability means little.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from msht.explanation.overlay import colours
from reports.case_maps_view import scale_bar
from reports.figures import INK, QUIET, style
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

MARGIN, TITLE, GAP, LEGEND = 4.0, 25.5, 8.0, 31.0
"""Of the figure, in mm: at the sides, above the first picture, between two above each other, below them."""

GLASS, DARK = 240, 20
"""Grey levels of bare glass in the legend, and of the patterns."""

CAVEAT = (
    "Each square is the calibrated probability of one tile, the mean where tiles overlap; it says nothing about "
    "single cells within the tile."
)


@dataclass(frozen=True)
class MapTile:
    """A tile of the slide with its answer.

    Attributes:
        left: of the square in px of level 0.
        top: of the square in px of level 0.
        edge: of the square in px of level 0.
        probability: calibrated; None where the tile could not be evaluated or read.
        novel: whether it is out of distribution.
    """

    left: int
    top: int
    edge: int
    probability: float | None
    novel: bool = False


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
        novel: where an evaluable tile is out of distribution, (h, w).
    """

    probability: npt.NDArray[np.float64]
    not_evaluable: Mask
    unscored: Mask
    novel: Mask


def cover(slide: SlideMap) -> Coverage:
    """Lay the tiles over the picture."""
    shape = slide.foreground.shape
    total, count = np.zeros(shape), np.zeros(shape, dtype=np.int32)
    seen, novel = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for tile in slide.tiles:
        place = tile_place(slide, tile)
        seen[place] = True
        if tile.probability is not None:
            total[place] += tile.probability
            count[place] += 1
            novel[place] |= tile.novel
    with np.errstate(invalid="ignore"):
        probability = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return Coverage(probability, seen & (count == 0), slide.foreground & ~seen, novel)


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
    """Draw the slide beside its heat map (above it, where it is wide), with a legend and a scale bar.

    Returns:
        A PNG; equal input gives equal bytes.
    """
    height, width = slide.foreground.shape
    side_by_side = width <= 1.4 * height
    across = (WIDEST - 3 * MARGIN) / 2 if side_by_side else WIDEST - 2 * MARGIN
    most = HIGHEST if side_by_side else HIGHEST / 2
    across, down = (
        (across, across * height / width) if across * height / width <= most else (most * width / height, most)
    )
    below = TITLE + down if side_by_side else TITLE + 2 * down + GAP
    with mpl.rc_context(style()):
        figure = Figure(figsize=(WIDEST / 25.4, (below + LEGEND) / 25.4))
        place = _Page(figure, WIDEST, below + LEGEND)
        figure.text(MARGIN / WIDEST, place.up(4.0), _title(slide), fontsize=9, color=INK, va="top", linespacing=1.35)
        second = (2 * MARGIN + across, TITLE) if side_by_side else (MARGIN, TITLE + down + GAP)
        for (left, top), picture, words in (
            ((MARGIN, TITLE), slide.picture, "As scanned"),
            (second, paint(slide, cover(slide)), "Probability of positive, by tile"),
        ):
            axes = place.axes(left, top, across, down)
            axes.imshow(picture, interpolation="antialiased", aspect="auto")
            axes.set_title(words, loc="left", fontsize=8, color=QUIET, pad=3)
            for spine in axes.spines.values():
                spine.set_visible(True)
        _draw_bar(place, slide, below + 2.0, across)
        _draw_legend(place, below + 11.0)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()


@dataclass(frozen=True)
class _Page:
    """A figure measured in mm from its upper left corner."""

    figure: Figure
    width: float
    height: float

    def up(self, top: float) -> float:
        return 1 - top / self.height

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        box = (left / self.width, self.up(top + height), width / self.width, height / self.height)
        axes = self.figure.add_axes(box)
        axes.set_xticks([])
        axes.set_yticks([])
        return axes


def paint(slide: SlideMap, coverage: Coverage) -> Pixels:
    """Paint the map: grey tissue, colours of the probability, patterns where there is none. RGB uint8 (h, w, 3)."""
    grey = slide.picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    painted = np.repeat(grey[..., None], 3, axis=2)
    scored = ~np.isnan(coverage.probability)
    colour = colours(coverage.probability[scored]).astype(np.float32)
    painted[scored] = (1 - OPACITY) * painted[scored] + OPACITY * colour
    step = pattern_step(slide.foreground.shape)
    painted[coverage.novel & lined(slide.foreground.shape, step)] = 255
    patterned = coverage.not_evaluable | coverage.unscored
    painted[patterned] = 0.4 * painted[patterned] + 0.6 * 255  # dark tissue would hide the pattern
    painted[coverage.not_evaluable & crossed(slide.foreground.shape, step)] = DARK
    painted[coverage.unscored & dotted(slide.foreground.shape, step)] = DARK
    painted[coverage.unscored & dotted(slide.foreground.shape, step, shifted=True)] = 255
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


def lined(shape: tuple[int, ...], step: int) -> Mask:
    """Level lines."""
    mask: Mask = np.broadcast_to((np.arange(shape[0]) % step < max(1, step // 5))[:, None], (shape[0], shape[1]))
    return mask


def dotted(shape: tuple[int, ...], step: int, *, shifted: bool = False) -> Mask:
    """Dots on a square grid; shifted, those between them."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    offset, thick = (step // 2 if shifted else 0), max(2, step // 3)
    mask: Mask = ((rows + offset) % step < thick) & ((columns + offset) % step < thick)
    return mask


def _title(slide: SlideMap) -> str:
    scored = sum(tile.probability is not None for tile in slide.tiles)
    novel = sum(tile.novel for tile in slide.tiles if tile.probability is not None)
    counts = f"{scored:,} tiles scored"
    counts += f", {novel:,} of them unlike the development cohort" if novel else ""
    counts += f", {len(slide.tiles) - scored:,} not evaluable"
    facts = f"Bundle {printable(slide.bundle, 40)}; {slide.threshold}"
    return f"{printable(slide.name, 90)}\n{facts}\n{counts}\nDecision support, not a diagnosis"


def printable(text: str, most: int) -> str:
    """Text as the fonts can set it, cut to a length, without what matplotlib would read as mathematics."""
    settable = settable_characters("en")
    shown = text if len(text) <= most else f"{text[: most - 1]}…"
    set_ = "".join(c if ord(c) in settable and c.isprintable() else f"<{ord(c):04X}>" for c in shown)
    return set_.replace("$", r"\$")


def _draw_bar(place: _Page, slide: SlideMap, top: float, across: float) -> None:
    """The scale of both pictures, below them, where it hides nothing."""
    spanned = max(1, round(slide.foreground.shape[1] * slide.pixels_per_pixel))
    bar = scale_bar(spanned, slide.microns_per_pixel)
    if bar is None:
        return
    axes = place.axes(MARGIN, top, bar["share"] * across, 1.2)
    axes.set_facecolor(INK)
    axes.annotate(
        bar["label"], (1, 0.5), xycoords="axes fraction", xytext=(4, 0), textcoords="offset points",
        va="center", fontsize=7.5,
    )  # fmt: skip


def _draw_legend(place: _Page, top: float) -> None:
    scale = place.axes(MARGIN, top, 66.0, 4.0)
    # As over bare glass, so that the bar's colours are those of the map.
    bar = (1 - OPACITY) * GLASS + OPACITY * colours(np.linspace(0, 1, 256)).astype(float)
    scale.imshow(np.rint(bar).astype(np.uint8)[None], aspect="auto", extent=(0, 1, 0, 1))
    scale.set_xticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "0.25", "0.5", "0.75", "1"])
    scale.set_title("Calibrated probability of positive", loc="left", fontsize=7.5, pad=3)
    ground = np.full((48, 120, 3), GLASS, dtype=np.uint8)
    crosses, dots = ground.copy(), ground.copy()
    crosses[crossed(ground.shape[:2], 16)] = DARK
    dots[dotted(ground.shape[:2], 16)] = DARK
    dots[dotted(ground.shape[:2], 16, shifted=True)] = 255
    lines = np.repeat(np.rint(bar[np.linspace(0, 255, 120).astype(int)])[None], 48, axis=0).astype(np.uint8)
    lines[lined(ground.shape[:2], 16)] = 255
    for left, picture, words in (
        (80.0, crosses, "not evaluable\nor not readable"),
        (115.0, dots, "stained,\nnot scored"),
        (144.0, lines, "unlike the\ncohort"),
    ):
        swatch = place.axes(left, top - 1.0, 12.0, 5.0)
        swatch.imshow(picture, aspect="auto")
        swatch.text(1.12, 0.5, words, transform=swatch.transAxes, va="center", fontsize=7.5)
    place.figure.text(MARGIN / place.width, place.up(top + 13.0), CAVEAT, fontsize=7.5, color=INK, va="top")
