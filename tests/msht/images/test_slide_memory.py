"""A slide of any size is planned, read and mapped in bounded memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.slides import measure_apart, write_large_slide

EDGE = 40_000


@pytest.mark.slow
@pytest.mark.parametrize(("edge", "levels"), [(EDGE, 3), (10_000, 1)])
def test_memory_is_bounded_whatever_the_size_of_the_slide(tmp_path: Path, edge: int, levels: int) -> None:
    path = write_large_slide(tmp_path / "slide.tif", edge=edge, levels=levels)
    found = measure_apart(path, most_tiles=60)
    assert (found["width"], found["height"]) == (edge, edge)
    assert 0 < found["read"] <= found["tiles"] < found["places"] / 5, "only what is stained is read"
    # As RGBA the whole is 6 GB, or 400 MB for the one without levels.
    assert found["plan_growth_mib"] < 220
    assert found["read_growth_mib"] < 300
    assert found["growth_mib"] < 450
