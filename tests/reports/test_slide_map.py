"""The heat map of a slide: the mean where tiles overlap, patterns where there is no probability, a picture."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from reports.slide_map import CAVEAT, OPACITY, MapTile, SlideMap, _title, cover, draw_slide_map, paint
from reports.words import words_of


def slide(*tiles: MapTile, **changes: object) -> SlideMap:
    picture = np.full((60, 80, 3), 255, np.uint8)
    foreground = np.zeros((60, 80), dtype=bool)
    foreground[10:50, 10:70] = True
    picture[foreground] = (150, 90, 160)
    made = SlideMap(
        name="smear.svs",
        bundle="a bundle",
        threshold="case threshold 0.42",
        picture=picture,
        foreground=foreground,
        left=1000,
        top=500,
        pixels_per_pixel=10.0,
        microns_per_pixel=0.25,
        tiles=tiles,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_the_chinese_page_explains_every_english_word_of_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    saved = Figure.savefig

    def listened(figure: Figure, *words: Any, **options: Any) -> None:
        found.extend(text.get_text().replace("\n", " ") for text in figure.findobj(Text) if text.get_visible())
        saved(figure, *words, **options)

    monkeypatch.setattr(Figure, "savefig", listened)
    drawn = slide(MapTile(1000, 500, 200, 0.2), MapTile(1200, 500, 200, None), MapTile(1400, 500, 200, 0.9, novel=True))
    draw_slide_map(drawn)
    title = next(text for text in found if text.startswith("smear.svs"))
    said_otherwise = {title, CAVEAT, ""}  # the caveat is the page's own sentence on colour
    labels = {
        text
        for text in found
        if text not in said_otherwise and not text.replace(".", "").isdigit() and "µm" not in text
    }
    assert len(labels) == 6
    key = words_of("zh").say("slide_key")
    assert [text for text in labels if f"{text}，" not in key and f"{text}（" not in key] == []
    for words in ("tiles scored", "case threshold", "Decision support, not a diagnosis"):
        assert words in title
        assert words in key


def test_where_tiles_overlap_the_map_is_their_mean() -> None:
    covered = cover(slide(MapTile(1000, 500, 200, 0.2), MapTile(1100, 500, 200, 0.6)))
    assert np.allclose(covered.probability[:20, :10], 0.2)
    assert np.allclose(covered.probability[:20, 10:20], 0.4)
    assert np.allclose(covered.probability[:20, 20:30], 0.6)
    assert np.isnan(covered.probability[20:]).all()
    assert np.isnan(covered.probability[:, 30:]).all()


def test_a_tile_without_an_answer_takes_nothing_from_its_neighbour() -> None:
    covered = cover(slide(MapTile(1000, 500, 200, 0.2), MapTile(1100, 500, 200, None)))
    assert np.allclose(covered.probability[:20, 10:20], 0.2)
    assert covered.not_evaluable[:20, 20:30].all()
    assert covered.not_evaluable.sum() == 200
    expected = slide().foreground.copy()
    expected[:20, :30] = False
    assert np.array_equal(covered.unscored, expected)


def test_colours_are_viridis_over_grey_and_patterns_are_grey() -> None:
    made = slide(MapTile(1000, 500, 200, 0.7), MapTile(1200, 500, 200, None))
    painted = paint(made, cover(made))
    viridis = np.array(mpl.colormaps["viridis"](0.7)[:3]) * 255
    assert np.abs(painted[3, 3] - (OPACITY * viridis + (1 - OPACITY) * 255)).max() < 3
    for rows, columns in ((slice(0, 20), slice(20, 40)), (slice(20, 50), slice(10, 70))):
        part = painted[rows, columns].astype(int)
        assert (part.max(axis=2) - part.min(axis=2)).max() == 0, "told by pattern, not by colour"
        assert part.max() - part.min() > 100, "and the pattern is seen"
    crossed, dotted = painted[0:20, 20:40, 0] < 60, painted[25:45, 20:40, 0] < 60
    assert not np.array_equal(crossed, dotted)


def test_tiles_unlike_the_cohort_are_lined_and_counted() -> None:
    usual, novel = slide(MapTile(1000, 500, 400, 0.7)), slide(MapTile(1000, 500, 400, 0.7, novel=True))
    before, after = paint(usual, cover(usual)).astype(int), paint(novel, cover(novel)).astype(int)
    changed = np.any(before != after, axis=2)
    assert (after[changed] == 255).all()
    assert changed[:40, :40].mean() < 0.5, "the colour is still seen"
    assert changed[:40, :40].any()
    assert not changed[:, 40:].any()
    assert "1 of them unlike" in _title(novel)
    assert "unlike" not in _title(usual)


def test_a_picture_of_any_shape_is_drawn_and_equal_input_gives_equal_bytes() -> None:
    first = draw_slide_map(slide(MapTile(1000, 500, 200, 0.2)))
    assert first == draw_slide_map(slide(MapTile(1000, 500, 200, 0.2)))
    assert first != draw_slide_map(slide(MapTile(1000, 500, 200, 0.3)))
    for shape in ((20, 900), (900, 20), (1, 1)):
        picture = np.full((*shape, 3), 230, np.uint8)
        foreground = np.ones(shape, dtype=bool)
        data = draw_slide_map(slide(picture=picture, foreground=foreground, microns_per_pixel=None))
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            assert opened.size[0] == 1401
            assert opened.size[1] < 1401 * 1.5


def test_a_name_that_no_font_can_set_is_drawn_all_the_same() -> None:
    for name in ("$x^2$ {} \\frac 切片 a\nb\x07.svs", "🔬" * 200):
        assert draw_slide_map(slide(name=name, bundle=name))[:4] == b"\x89PNG"
