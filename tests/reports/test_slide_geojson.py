"""GeoJSON of a slide's tiles: what QuPath's reader asks for, and nothing it would stumble over."""

from __future__ import annotations

import itertools
import json
import uuid
from pathlib import Path

import pytest

from reports.slide_geojson import CLASS_COLOURS, TileFeature, write_slide_geojson


def feature(name: str = "a.svs#y000200-x000100", **changes: object) -> TileFeature:
    facts = {"left": 100, "top": 200, "edge": 50, "classification": "positive", "measurements": {"probability": 0.75}}
    return TileFeature(name=name, **{**facts, **changes})  # type: ignore[arg-type]


def test_a_tile_is_a_feature_as_qupath_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "heatmap.geojson"
    write_slide_geojson(path, [feature(), feature("b", classification="not evaluable")], scoring="s")
    read = json.loads(path.read_text(encoding="utf-8"))
    assert read["type"] == "FeatureCollection"
    first, second = read["features"]
    assert first["type"] == "Feature"
    assert str(uuid.UUID(first["id"])) == first["id"] != second["id"]
    assert first["geometry"]["type"] == "Polygon"
    (ring,) = first["geometry"]["coordinates"]
    assert ring[0] == ring[-1], "RFC 7946 asks for a closed ring"
    assert {tuple(point) for point in ring} == {(100, 200), (150, 200), (150, 250), (100, 250)}
    assert first["properties"] == {
        "objectType": "tile",
        "name": "a.svs#y000200-x000100",
        "classification": {"name": "positive", "color": [213, 94, 0]},
        "isLocked": True,
        "measurements": {"probability": 0.75},
    }
    assert second["properties"]["classification"]["name"] == "not evaluable"


def test_ids_are_the_same_for_the_same_scoring_alone(tmp_path: Path) -> None:
    ids = []
    for number, scoring in enumerate(("one", "one", "two")):
        write_slide_geojson(tmp_path / f"{number}.geojson", [feature()], scoring=scoring)
        ids.append(json.loads((tmp_path / f"{number}.geojson").read_text())["features"][0]["id"])
    assert ids[0] == ids[1] != ids[2]


def test_no_tiles_and_odd_names_are_still_json(tmp_path: Path) -> None:
    path = tmp_path / "heatmap.geojson"
    write_slide_geojson(path, [], scoring="s")
    assert json.loads(path.read_text()) == {"type": "FeatureCollection", "features": []}
    write_slide_geojson(path, [feature('切片 "x"\\ \u202e.svs')], scoring="s")
    assert json.loads(path.read_text(encoding="utf-8"))["features"][0]["properties"]["name"] == '切片 "x"\\ \u202e.svs'


def test_a_number_that_json_has_not_leaves_the_file_before_in_place(tmp_path: Path) -> None:
    path = tmp_path / "heatmap.geojson"
    write_slide_geojson(path, [feature()], scoring="s")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_slide_geojson(path, [feature(), feature("b", measurements={"x": float("nan")})], scoring="s")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_colours_of_the_classes_are_told_apart_in_grey_too() -> None:
    grey = sorted(0.299 * red + 0.587 * green + 0.114 * blue for red, green, blue in CLASS_COLOURS.values())
    assert min(b - a for a, b in itertools.pairwise(grey)) > 25
