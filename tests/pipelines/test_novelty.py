"""The out-of-distribution flag through a bundle and its scores.

The network of these tests saw two epochs of forty images, so it tells little: more than half of the tiles flagged is
what refers a case. What bundles of trained networks flag is measured in docs/evidence.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from pipelines.score import score_images


def scored(world: Any, images: Path, out: Path) -> pd.DataFrame:
    score_images(world.bundle, [images], out)
    return pd.read_parquet(out / "images.parquet")


def test_few_images_of_the_cohort_s_own_test_patients_are_flagged(world: Any) -> None:
    test = pd.read_csv(world.run / "test.csv")
    assert (test["novelty"] > 1).mean() <= 0.3


def test_tissue_of_a_slide_is_flagged_by_a_phantom_bundle(world: Any, shared: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with Image.open(shared / "data" / "slides" / "cmu-1-small-region.svs") as slide:
        for number in range(8):
            tile = slide.crop((200 * number, 300 * number, 200 * number + 192, 300 * number + 144)).convert("RGB")
            tile.save(tmp_path / "in" / f"{number}.png")
    assert scored(world, tmp_path / "in", tmp_path / "out")["out_of_distribution"].mean() > 0.5
