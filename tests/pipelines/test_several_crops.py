"""A cohort whose fields are scored by several crops goes the whole way, and reports show a crop that was scored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pypdf import PdfReader

from msht.images.preprocessing import Preprocessing, crop_boxes, view_of
from pipelines.explain_crops import crop_in_words, field_with_crop, shown_crop

HALVES = Preprocessing(crop=100, size=50, crops=(2, 1))


class Brightness:
    """An ensemble of one network that takes light for malignancy: what the strongest crop is, anyone can see."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        import torch
        from torch import nn

        from msht.calibration.novelty import FeatureReference
        from msht.ensemble import FoldModel

        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.head = nn.Linear(1, 2, bias=False)
                self.head.weight.data = torch.tensor([[0.0], [1.0]])

            def get_classifier(self) -> nn.Module:
                return self.head

            def forward_features(self, images: torch.Tensor) -> torch.Tensor:
                return images.mean(dim=(1, 2, 3))[:, None]

            def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
                return features if pre_logits else self.get_classifier()(features)

        reference = FeatureReference.fit(np.ones((4, 1)), np.arange(4).astype(str))
        self.folds = [FoldModel(1, Network(), 1.0, reference)]
        self.preprocessing, self.device = preprocessing, torch.device("cpu")


def field(bright: str) -> np.ndarray:
    pixels = np.zeros((100, 250, 3), dtype=np.uint8)
    pixels[:, :100] = 200 if bright == "left" else 20
    pixels[:, 150:] = 200 if bright == "right" else 20
    return pixels


@pytest.mark.parametrize(("bright", "positive", "number"), [
    ("left", True, 1), ("right", True, 2), ("left", False, 2), ("right", False, 1),
])  # fmt: skip
def test_the_crop_that_speaks_most_for_the_call_is_shown(bright: str, positive: bool, number: int) -> None:
    crop = shown_crop(Brightness(HALVES), field(bright), positive=positive)
    assert (crop.number, crop.of) == (number, 2)
    assert crop.box == crop_boxes(250, 100, HALVES)[number - 1]
    assert np.array_equal(crop.view, view_of(field(bright), HALVES)[number - 1])
    assert crop_in_words(crop.row()) == f"crop {number} of 2"


def test_squares_that_coincide_count_as_one_and_one_needs_no_words() -> None:
    square = field("left")[:, :100]
    crop = shown_crop(Brightness(HALVES), square, positive=True)
    assert (crop.number, crop.of, crop_in_words(crop.row())) == (1, 1, "")
    alone = shown_crop(Brightness(Preprocessing(crop=100, size=50)), field("left"), positive=True)
    assert (alone.of, alone.box) == (1, (75, 0, 175, 100))


def test_the_outline_lies_where_the_crop_does() -> None:
    grey = np.full((100, 250, 3), 128, dtype=np.uint8)
    box = crop_boxes(250, 100, HALVES)[1]
    drawn = np.argwhere((field_with_crop(grey, box) != 128).any(axis=2))
    (top, left), (bottom, right) = drawn.min(axis=0), drawn.max(axis=0)
    factor = 240 / 250
    assert (left, top) == pytest.approx((150 * factor, 0), abs=3)
    assert (right, bottom) == pytest.approx((249 * factor, 99 * factor), abs=3)


@pytest.mark.slow
def test_a_cohort_of_several_crops_goes_the_whole_way(tmp_path: Path) -> None:
    from pipelines.bundle import make_bundle, verify_bundle
    from pipelines.cohort import split_cohort
    from pipelines.crossval import cross_validate
    from pipelines.evaluate import evaluate_run
    from pipelines.explain_images import explain_images
    from pipelines.phantom import draw_phantom
    from pipelines.report_case import report_case
    from pipelines.report_validation import report_validation
    from pipelines.score import score_images

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    cohort, run, bundle, scores = (tmp_path / name for name in ("cohort", "run", "bundle", "scores"))
    draw_phantom(cohort, patients=8, fields_per_patient=2, width=192, height=144, seed=3)
    split_cohort(cohort / "manifest.csv", out=tmp_path / "split.csv", folds=2, test_fraction=0.33, seed=5)
    overrides = (
        "preprocessing.crops=[2,1]", "preprocessing.crop=120", "preprocessing.size=64", "training.epochs=2",
        "schedule.warmup_epochs=0", "training.batch_size=8",
    )  # fmt: skip
    cross_validate(tmp_path / "split.csv", "demo", run, overrides=overrides, tracking_uri=uri)
    evaluate_run(run, tracking_uri=uri, parts=("explanation", "gallery"))
    make_bundle(run, bundle, tracking_uri=uri)
    verify_bundle(bundle)
    score_images(bundle, [cohort / "images"], scores)

    cases = pd.read_parquet(scores / "cases.parquet")
    case = str(cases.loc[cases["call"] != "not evaluable", "case"].iloc[0])
    text = words(report_case(bundle, scores, case, tmp_path / "case.pdf"))
    kept = json.loads(next((scores / "maps").glob("*/maps.json")).read_text())
    boxes = [list(box) for box in crop_boxes(192, 144, Preprocessing(crop=120, size=64, crops=(2, 1)))]
    for row in kept["fields"]:
        assert row["shown"]["box"] == boxes[row["shown"]["number"] - 1]
        assert f"crop {row['shown']['number']} of 2" in text
        with Image.open(next((scores / "maps").glob(f"*/{row['field']}"))) as whole:
            assert whole.size == (192, 144)
    assert "the one that speaks most for the call is shown" in text

    images = sorted((cohort / "images").rglob("*.jpg"))[:1]
    explain_images(bundle, images, tmp_path / "maps", attention=True)
    table = pd.read_csv(tmp_path / "maps" / "maps.csv")
    assert set(table["crop"]) <= {"1 of 2", "2 of 2"}
    missed = json.loads((run / "validation" / "gallery" / "gallery.json").read_text())["rows"]
    validation = words(report_validation(run, tmp_path / "validation.pdf"))
    for row in missed:
        assert row["shown"]["box"] == boxes[row["shown"]["number"] - 1]
        assert f"Shown: crop {row['shown']['number']} of 2." in validation


def words(path: Path) -> str:
    return " ".join("\n".join(page.extract_text() for page in PdfReader(path).pages).split())
