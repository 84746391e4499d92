"""The out-of-distribution flag on what no development cohort holds, through a bundle and its scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines.score import score_images


def scored(world: Any, images: Path, out: Path) -> pd.DataFrame:
    score_images(world.bundle, [images], out)
    return pd.read_parquet(out / "images.parquet")


def test_few_images_of_the_cohort_s_own_test_patients_are_flagged(world: Any) -> None:
    test = pd.read_csv(world.run / "test.csv")
    assert (test["novelty"] > 1).mean() <= 0.3


@pytest.mark.parametrize("kind", ["noise", "stripes"])
def test_pictures_of_nothing_are_flagged_by_a_phantom_bundle(world: Any, tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(3)
    (tmp_path / "in").mkdir()
    for number in range(6):
        picture = random.integers(0, 256, (144, 192, 3), dtype=np.uint8)
        if kind == "stripes":
            picture = np.broadcast_to(picture[:1], picture.shape).copy()
        Image.fromarray(picture).save(tmp_path / "in" / f"{number}.png")
    rows = scored(world, tmp_path / "in", tmp_path / "out")
    assert rows["out_of_distribution"].mean() >= 0.8
    cases = pd.read_parquet(tmp_path / "out" / "cases.parquet")
    assert not cases["call"].isin(["positive", "negative"]).any()


def test_tissue_of_a_slide_is_flagged_by_a_phantom_bundle(world: Any, shared: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with Image.open(shared / "data" / "slides" / "cmu-1-small-region.svs") as slide:
        for number in range(8):
            tile = slide.crop((200 * number, 300 * number, 200 * number + 192, 300 * number + 144)).convert("RGB")
            tile.save(tmp_path / "in" / f"{number}.png")
    assert scored(world, tmp_path / "in", tmp_path / "out")["out_of_distribution"].mean() >= 0.75
