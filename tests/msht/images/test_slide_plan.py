"""The tiles of a slide: all that is stained, nothing that is not, at the scale of the fields."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msht.errors import InvalidInput, UnreadableImage
from msht.images.quality import measure_quality
from msht.images.slide_plan import _spread, scanned_region
from msht.images.slide_regions import Region, Tile
from msht.images.slides import plan_slide, read_tile

Writer = Callable[..., Path]

CLUSTERS = ((300, 260, 60), (1500, 900, 90), (1010, 1180, 25))
"""Stained discs: centre across and down, radius."""


def smear() -> np.ndarray:
    """White glass with a few stained clusters, and a black corner that the scanner did not see."""
    pixels = np.full((1400, 2000, 3), 248, np.uint8)
    for across, down, radius in CLUSTERS:
        cv2.circle(pixels, (across, down), radius, (120, 60, 150), -1)
    pixels[:120, 1800:] = 0
    return pixels


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory, write_slide: Writer) -> Path:
    return write_slide(tmp_path_factory.mktemp("slide") / "slide.tif", smear())


def plan(path: Path, **changes: Any) -> Any:
    return plan_slide(path, **{"field_microns_per_pixel": 0.5, "tile_size": 200, **changes})


def test_every_stained_cluster_is_covered_and_bare_glass_is_not(slide: Path) -> None:
    found = plan(slide)
    assert (found.width, found.height, found.scale.microns_per_pixel) == (2000, 1400, pytest.approx(0.5))
    assert found.places == 70
    stained = np.any(smear() == 120, axis=2)
    for tile in found.tiles:
        part = stained[tile.top : tile.top + tile.edge, tile.left : tile.left + tile.edge]
        assert part.shape == (200, 200), "no tile reaches beyond the slide"
        assert part.mean() >= 0.007
        stained[tile.top : tile.top + tile.edge, tile.left : tile.left + tile.edge] = False
    assert stained.sum() < 0.012 * 200 * 200 * (found.places - len(found.tiles))
    assert len(found.tiles) == found.stained < 20


def test_low_power_finds_the_foreground_that_quality_measures(slide: Path) -> None:
    found = plan(slide)
    truth = np.any(smear() == 120, axis=2).mean()
    assert found.low_power.foreground.mean() == pytest.approx(truth, rel=0.03)
    assert found.low_power.foreground.mean() == pytest.approx(measure_quality(smear()).foreground, rel=0.05)


def test_tiles_show_as_many_microns_as_the_fields(slide: Path) -> None:
    for microns, known, edge in ((1.0, None, 400), (0.5, 0.25, 400), (0.4, None, 160)):
        tiles = plan(slide, field_microns_per_pixel=microns, slide_microns_per_pixel=known).tiles
        assert {(tile.edge, tile.size) for tile in tiles} == {(edge, 200)}


def test_a_slide_smaller_than_a_tile_gives_the_largest_square_at_the_same_scale(slide: Path) -> None:
    tiles = plan(slide, tile_size=1600, field_microns_per_pixel=1.0).tiles
    assert {(tile.edge, tile.size) for tile in tiles} == {(1400, 700)}
    assert read_tile(slide, tiles[0]).pixels.shape == (700, 700, 3)


def test_a_limit_keeps_the_tiles_with_most_stained_material(slide: Path) -> None:
    everything, some = plan(slide), plan(slide, most_tiles=3)
    stained = np.any(smear() == 120, axis=2)

    def shares(tiles: Any) -> list[float]:
        return [float(stained[t.top : t.top + t.edge, t.left : t.left + t.edge].mean()) for t in tiles]

    assert some.stained == everything.stained
    assert set(some.tiles) <= set(everything.tiles)
    assert sorted(shares(some.tiles)) == pytest.approx(sorted(shares(everything.tiles))[-3:], abs=0.01)
    assert list(some.tiles) == sorted(some.tiles, key=lambda tile: (tile.top, tile.left))


@given(
    start=st.integers(0, 5000),
    length=st.integers(1, 50_000),
    edge=st.integers(1, 4000),
    overlap=st.floats(0, 0.75, allow_nan=False),
)
def test_tiles_cover_from_end_to_end_and_overlap_as_asked(start: int, length: int, edge: int, overlap: float) -> None:
    edge = min(edge, length)
    starts = np.array(_spread(start, length, edge, overlap))
    steps = np.diff(starts)
    assert starts[0] >= start
    assert starts[-1] + edge <= start + length
    assert (steps > 0).all()
    if len(starts) > 1:
        assert (starts[0], starts[-1] + edge) == (start, start + length)
        assert steps.max() <= max(1.0, edge * (1 - overlap)) + 1
    else:
        assert length == edge


def test_what_cannot_be_scored_is_said(tmp_path: Path, slide: Path, write_slide: Writer) -> None:
    blank = write_slide(tmp_path / "blank.tif", np.full((600, 600, 3), 250, np.uint8))
    with pytest.raises(UnreadableImage, match="no stained material"):
        plan(blank)
    silent = write_slide(tmp_path / "silent.tif", smear()[:600, :600], microns=None)
    with pytest.raises(UnreadableImage, match="how large its pixels are") as caught:
        plan(silent)
    assert "--slide-microns-per-pixel" in caught.value.mend
    assert plan(silent, slide_microns_per_pixel=0.5).tiles
    with pytest.raises(UnreadableImage, match="5 times coarser"):
        plan(slide, field_microns_per_pixel=0.1)
    for overlap in (-0.1, 0.8, float("nan")):
        with pytest.raises(InvalidInput, match="overlap"):
            plan(slide, overlap=overlap)


@pytest.mark.parametrize(
    ("bounds", "region"),
    [
        (("100", "50", "300", "200"), Region(100, 50, 300, 200)),
        (("900", "0", "300", "200"), Region(900, 0, 100, 200)),
        (("5000", "0", "300", "200"), Region(0, 0, 1000, 800)),
        (("0", "0", "0", "0"), Region(0, 0, 1000, 800)),
        (("a", "0", "1", "1"), Region(0, 0, 1000, 800)),
        (None, Region(0, 0, 1000, 800)),
    ],
)
def test_the_bounds_that_a_scanner_wrote_are_honoured(bounds: tuple[str, ...] | None, region: Region) -> None:
    names = [f"openslide.bounds-{name}" for name in ("x", "y", "width", "height")]
    properties = dict(zip(names, bounds, strict=True)) if bounds else {}
    slide: Any = SimpleNamespace(dimensions=(1000, 800), properties=properties)
    assert scanned_region(slide) == region


def test_a_scanners_slide_is_planned(shared: Path) -> None:
    path = shared / "data" / "slides" / "cmu-1-small-region.svs"
    found = plan(path, tile_size=700)
    assert (found.width, found.height, found.scale.microns_per_pixel) == (2220, 2967, pytest.approx(0.499))
    assert {(tile.edge, tile.size) for tile in found.tiles} == {(701, 700)}
    assert 0 < len(found.tiles) < found.places


def damaged(path: Path, write_slide: Writer, parts: slice) -> Path:
    """The smear with some of the blocks of its only level damaged, in the order in which they are stored."""
    import tifffile

    write_slide(path, smear(), levels=1)
    with tifffile.TiffFile(path) as file:
        offsets = file.pages[0].dataoffsets[parts]
    with path.open("r+b") as stored:
        for offset in offsets:
            stored.seek(offset)
            stored.write(b"\xff" * 32)
    return path


def readable(path: Path, tile: Tile) -> bool:
    """Whether a tile can be decoded."""
    try:
        read_tile(path, tile)
    except UnreadableImage:
        return False
    return True


def test_a_damaged_stretch_costs_its_own_tiles_only(tmp_path: Path, write_slide: Writer) -> None:
    whole = plan(write_slide(tmp_path / "whole.tif", smear(), levels=1))
    # Blocks of 256 px, eight in a row: the third and fourth of the first row hold glass.
    cut = damaged(tmp_path / "cut.tif", write_slide, slice(2, 4))
    found = plan(cut)
    assert set(whole.tiles) <= set(found.tiles)
    assert found.low_power.unread.any()
    assert not found.low_power.unread.all()
    tried = set(found.tiles) - set(whole.tiles)
    assert tried
    assert all(tile.top < 300 and tile.left + tile.edge > 300 and tile.left < 1152 for tile in tried)
    lost = [tile for tile in found.tiles if not readable(cut, tile)]
    assert lost
    assert set(lost) <= tried, "only what was not seen at low power may be damaged"


def test_a_slide_that_is_damaged_all_over_is_refused_as_one(tmp_path: Path, write_slide: Writer) -> None:
    with pytest.raises(UnreadableImage, match="damaged"):
        plan(damaged(tmp_path / "cut.tif", write_slide, slice(None)))
