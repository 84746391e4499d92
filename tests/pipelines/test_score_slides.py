"""Slides in a scoring: tiles are fields, a slide is a case, a broken one is a row, and maps say what the rows say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from msht.bundle import Bundle, read_bundle
from msht.cohort.phantom import field_seed, patient_appearance, render_field
from msht.errors import InvalidInput, UnreadableImage
from msht.images.slides import read_tile
from pipelines.inputs import ScoreInput
from pipelines.progress import Interrupted
from pipelines.score import score_images
from pipelines.score_fields import FieldScorer, ScoreSettings
from pipelines.score_slides import SlideSettings, _features, expand_slide, tile_geometry, write_slide_maps
from reports.slide_map import SlideMap

SLIDES = SlideSettings(field_microns_per_pixel=0.5, tile=144)


@pytest.fixture(scope="session")
def slide(tmp_path_factory: pytest.TempPathFactory, write_slide: Callable[..., Path]) -> Path:
    """Six phantom fields in a row of three, on glass, scanned twice as finely as the fields are seen."""
    pixels = np.full((900, 1500, 3), 246, np.uint8)
    appearance = patient_appearance(3, 1, 0)
    for number in range(6):
        field = render_field(
            appearance, positive=number > 2, width=192, height=144, seed=field_seed(3, 1, number)
        ).image
        down, across = divmod(number, 3)
        large = cv2.resize(field, (384, 288), interpolation=cv2.INTER_LINEAR)
        pixels[100 + 288 * down : 388 + 288 * down, 100 + 384 * across : 484 + 384 * across] = large
    return write_slide(tmp_path_factory.mktemp("slides") / "smear.tif", pixels, microns=0.25)


@pytest.fixture(scope="session")
def bundle(world: Any) -> Bundle:
    return read_bundle(world.bundle)


def score(world: Any, sources: list[Path], out: Path, **changes: Any) -> Any:
    settings = ScoreSettings(slides=SLIDES.model_copy(update=changes))
    return score_images(world.bundle, sources, out, settings=settings)


def test_a_tile_is_scored_as_the_photograph_of_that_field(bundle: Bundle, slide: Path, tmp_path: Path) -> None:
    tiles = expand_slide(slide, "smear.tif", "smear", bundle, SLIDES)
    photographs = []
    for number, item in enumerate(tiles):
        assert item.tile is not None
        path = tmp_path / f"{number:02d}.png"
        Image.fromarray(read_tile(slide, item.tile).pixels).save(path)
        photographs.append(ScoreInput(path.name, path, "photographs"))
    scorer = FieldScorer(bundle, ScoreSettings(slides=SLIDES))
    by_tile, by_photograph = pd.DataFrame(scorer.score(tiles)), pd.DataFrame(scorer.score(photographs))
    same = ["raw_logit", "probability", "spread", "novelty", "evaluable", "call", "width", "height"]
    same += [column for column in by_tile if column.startswith(("quality_", "logit_fold_"))]
    pd.testing.assert_frame_equal(by_tile[same], by_photograph[same])
    assert (by_tile["width"] == 144).all()
    assert (by_tile["tile_edge"] == 288).all()


def test_a_slide_that_the_case_expression_does_not_fit_is_one_rejected_row(
    world: Any, slide: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("P1_smear.tif", "stray.tif", "two\nlines.tif"):
        shutil.copy(slide, tmp_path / "in" / name)
    settings, out = ScoreSettings(slides=SLIDES), tmp_path / "out"
    for expression, rejected in ((r"(P\d)_", 2), (r"(P\d|stray)", 1)):
        result = score_images(world.bundle, [tmp_path / "in"], out, settings=settings, case_from=expression)
        assert result.rejected == rejected
        slides = pd.read_parquet(out / "images.parquet")["slide"]
        assert set(slides) == {"P1_smear.tif", "stray.tif"} - set(pd.read_csv(out / "rejected.csv")["image"])
    assert pd.read_csv(out / "rejected.csv")["image"].tolist() == [r"two\nlines.tif"]


def test_tiles_have_names_of_their_own_in_reading_order(bundle: Bundle, slide: Path) -> None:
    tiles = expand_slide(slide, "folder/smear.tif", "case", bundle, SLIDES)
    names = [item.name for item in tiles]
    assert names == sorted(set(names))
    assert all(name.startswith("folder/smear.tif#y") for name in names)
    assert {item.case for item in tiles} == {"case"}
    limited = expand_slide(slide, "smear.tif", "case", bundle, SLIDES.model_copy(update={"max_tiles": 2}))
    assert len(limited) == 2 < len(tiles)
    closer = expand_slide(slide, "smear.tif", "case", bundle, SLIDES.model_copy(update={"overlap": 0.5}))
    assert len(closer) > 2 * len(tiles)


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"field_microns_per_pixel": None}, "--field-microns-per-pixel"),
        ({"tile": None}, "--tile"),
        ({"tile": 3}, "--tile"),
        ({"tile": 10**6}, "--tile"),
        ({"overlap": 0.9}, "--overlap"),
        ({"overlap": float("nan")}, "--overlap"),
        ({"max_tiles": 0}, "--max-tiles"),
        ({"slide_microns_per_pixel": -1.0}, "--slide-microns-per-pixel"),
        ({"slide_microns_per_pixel": float("inf")}, "--slide-microns-per-pixel"),
    ],
)
def test_what_no_slide_can_be_cut_by_is_one_sentence(
    bundle: Bundle, slide: Path, changes: dict[str, Any], option: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        expand_slide(slide, "smear.tif", "case", bundle, SLIDES.model_copy(update=changes))
    assert not isinstance(caught.value, UnreadableImage), "nothing can be scored; it is not this slide's fault"
    assert option in str(caught.value)


def test_the_bundles_own_scale_and_crop_go_before_the_users(bundle: Bundle) -> None:
    known = bundle.description.preprocessing.model_copy(update={"crop": 700, "microns_per_pixel": 0.25})
    assert tile_geometry(known, SlideSettings()) == (0.25, 700)
    assert tile_geometry(known, SlideSettings(field_microns_per_pixel=0.25, tile=700)) == (0.25, 700)
    for contrary in (SlideSettings(field_microns_per_pixel=0.5), SlideSettings(tile=512)):
        with pytest.raises(InvalidInput, match="bundle"):
            tile_geometry(known, contrary)


def test_slides_photographs_and_broken_slides_are_scored_together(world: Any, slide: Path, tmp_path: Path) -> None:
    incoming = tmp_path / "incoming"
    (incoming / "photographs").mkdir(parents=True)
    shutil.copyfile(slide, incoming / "smear.tif")
    (incoming / "broken.svs").write_bytes(b"\x00" * 900)
    data = slide.read_bytes()
    (incoming / "cut.tif").write_bytes(data[: 9 * len(data) // 10])
    photograph = sorted((world.cohort / "images").rglob("*.jpg"))[0]
    shutil.copyfile(photograph, incoming / "photographs" / photograph.name)
    result = score(world, [incoming], tmp_path / "out")
    images = pd.read_parquet(tmp_path / "out" / "images.parquet")
    rejected = pd.read_csv(tmp_path / "out" / "rejected.csv")
    cases = pd.read_parquet(tmp_path / "out" / "cases.parquet").set_index("case")
    tiles = images[images["slide"].notna()]
    assert set(tiles["slide"]) == {"smear.tif"}
    assert len(images) == len(tiles) + 1
    assert list(rejected["image"]) == ["broken.svs", "cut.tif"]
    assert rejected["reason"].str.contains("not a slide that can be read").all()
    assert set(cases.index) == {"smear.tif", "photographs", "broken.svs", "cut.tif"}
    assert cases.loc["smear.tif", "evaluable_fields"] == tiles["evaluable"].sum() > 0
    assert cases.loc["broken.svs", "call"] == "not evaluable"
    assert (result.rejected, result.slides) == (2, 1)
    assert "of 1 slide scored" in result.in_words()
    again = score(world, [incoming], tmp_path / "out")
    assert again.images_per_second == 0 or again.images == result.images
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / "images.parquet"), images)


def test_the_maps_say_what_the_rows_say(world: Any, slide: Path, tmp_path: Path) -> None:
    moved = tmp_path / "smear.tif"
    shutil.copyfile(slide, moved)
    score(world, [moved], tmp_path / "out", overlap=0.3)
    rows = pd.read_parquet(tmp_path / "out" / "images.parquet").set_index("image")
    folder = tmp_path / "out" / "slides" / "smear.tif"
    features = json.loads((folder / "heatmap.geojson").read_text())["features"]
    assert {feature["properties"]["name"] for feature in features} == set(rows.index)
    for feature in features:
        row, properties = rows.loc[feature["properties"]["name"]], feature["properties"]
        corner, opposite = feature["geometry"]["coordinates"][0][0], feature["geometry"]["coordinates"][0][2]
        assert corner == [row["tile_left"], row["tile_top"]]
        assert opposite == [row["tile_left"] + row["tile_edge"], row["tile_top"] + row["tile_edge"]]
        assert properties["classification"]["name"] == row["call"]
        if row["evaluable"]:
            assert properties["measurements"]["probability"] == row["probability"]
            mean = properties["measurements"]["probability, mean with overlapping tiles"]
            assert rows["probability"].min() <= mean <= rows["probability"].max()
    with Image.open(folder / "heatmap.png") as opened:
        opened.load()
        assert opened.size[0] > 1000
    moved.unlink()
    (sentence,) = write_slide_maps(tmp_path / "out", tmp_path / "out" / "images.parquet")
    assert sentence.startswith("smear.tif has no heat map")


def test_qupath_counts_from_the_scanned_part_and_so_does_the_file() -> None:
    row = {"image": "a#y000500-x000900", "tile_left": 900, "tile_top": 500, "tile_edge": 100, "evaluable": False}
    foreground = np.ones((10, 10), dtype=bool)
    drawn = SlideMap("a", "b", "t", np.zeros((10, 10, 3), np.uint8), foreground, 800, 450, 50.0, 0.5, ())
    (feature,) = _features(pd.DataFrame([row]), pd.DataFrame(), drawn)
    assert (feature.left, feature.top, feature.edge, feature.classification) == (100, 50, 100, "not evaluable")


def test_a_stopped_scoring_of_a_slide_goes_on_at_the_next_tile(
    world: Any, slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = score(world, [slide], tmp_path / "whole")
    settings = ScoreSettings(slides=SLIDES, batch_size=3)
    read = FieldScorer._decode
    seen: list[str] = []

    def stop_at_the_seventh(self: FieldScorer, item: ScoreInput) -> Any:
        seen.append(item.name)
        if len(seen) > 10:
            raise KeyboardInterrupt
        return read(self, item)

    monkeypatch.setattr(FieldScorer, "_decode", stop_at_the_seventh)
    with pytest.raises(Interrupted):
        score_images(world.bundle, [slide], tmp_path / "stopped", settings=settings)
    monkeypatch.setattr(FieldScorer, "_decode", read)
    result = score_images(world.bundle, [slide], tmp_path / "stopped", settings=settings)
    assert result.images == whole.images
    columns = ["image", "sha256", "probability", "call", "tile_left", "tile_top"]
    tables = [pd.read_parquet(tmp_path / name / "images.parquet")[columns] for name in ("whole", "stopped")]
    pd.testing.assert_frame_equal(*tables, rtol=1e-5)


def test_a_slide_without_a_resolution_is_a_rejected_row_that_names_the_option(
    world: Any, tmp_path: Path, write_slide: Callable[..., Path]
) -> None:
    silent = write_slide(tmp_path / "silent.tif", np.full((600, 600, 3), 120, np.uint8), microns=None)
    score(world, [silent], tmp_path / "out")
    (reason,) = pd.read_csv(tmp_path / "out" / "rejected.csv")["reason"]
    assert "does not say how large its pixels are" in reason
    assert "--slide-microns-per-pixel" in reason
