"""Laws that every figure must keep, through the pipeline: no signal, no skill; names of classes do not matter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from msht.decision import Decision
from pipelines.cohort import split_cohort
from pipelines.crossval import cross_validate
from pipelines.evaluate import evaluate_run
from pipelines.performance import performance_rows, read_predictions

MIRROR = {"sensitivity": "specificity", "specificity": "sensitivity", "ppv": "npv", "npv": "ppv"}
MIRRORED = (*MIRROR, "accuracy", "balanced_accuracy", "mcc", "auroc", "brier", "log_loss")


def predictions(world: Any) -> tuple[pd.DataFrame, pd.DataFrame, Decision]:
    fields, cases = (read_predictions(world.run / name) for name in ("out_of_fold.csv", "out_of_fold_cases.csv"))
    decision = Decision.model_validate(json.loads((world.run / "decision.json").read_text())["decision"])
    return fields, cases, decision


def rows_of(fields: pd.DataFrame, cases: pd.DataFrame, decision: Decision) -> list[dict[str, Any]]:
    return performance_rows(fields, cases, decision, role="out-of-fold", unit="patients", seed=1)


def bounds(row: dict[str, Any], measure: str) -> list[float | None]:
    return [row["estimates"][measure][name] for name in ("value", "low", "high")]


def same(here: list[float | None], there: list[float | None]) -> None:
    assert [value is None for value in here] == [value is None for value in there]
    assert [v for v in here if v is not None] == pytest.approx([v for v in there if v is not None], abs=1e-9)


def test_relabelling_the_classes_mirrors_every_figure_of_a_run(world: Any) -> None:
    fields, cases, decision = predictions(world)
    swapped = {"negative": "positive", "positive": "negative"}
    other = decision.model_copy(
        update={
            name: point.model_copy(update={"threshold": np.nextafter(1 - point.threshold, 1)})
            for name, point in (("case_point", decision.case_point), ("field_point", decision.field_point))
        }
    )
    here = rows_of(fields, cases, decision)
    there = rows_of(
        fields.assign(label=fields["label"].map(swapped), probability=1 - fields["probability"]),
        cases.assign(label=1 - cases["label"], probability=1 - cases["probability"]),
        other,
    )
    assert len(here) == len(there) >= 4
    for first, second in zip(here, there, strict=True):
        assert first["counts"]["true_positives"] == second["counts"]["true_negatives"]
        for measure in MIRRORED:
            same(bounds(first, measure), bounds(second, MIRROR.get(measure, measure)))


def test_a_duplicate_of_every_row_leaves_every_interval_of_a_run_unchanged(world: Any) -> None:
    fields, cases, decision = predictions(world)
    # Several cases a patient, so that cases are clustered too.
    cases = pd.concat([cases, cases.assign(probability=cases["probability"] * 0.99)])
    once = rows_of(fields, cases, decision)
    twice = rows_of(pd.concat([fields, fields]), pd.concat([cases, cases]), decision)
    for first, second in zip(once, twice, strict=True):
        assert second["n_rows"] == 2 * first["n_rows"]
        assert second["n_groups"] == first["n_groups"]
        for measure in first["estimates"]:
            same(bounds(first, measure), bounds(second, measure))


@pytest.mark.slow
def test_a_cohort_with_shuffled_labels_has_no_skill_from_split_to_test_set(world: Any, tmp_path: Path) -> None:
    shutil.copytree(world.cohort, tmp_path / "cohort")
    manifest = tmp_path / "cohort" / "manifest.csv"
    table = pd.read_csv(manifest, dtype=str)
    table["label"] = np.random.default_rng(11).permutation(table["label"].to_numpy())
    table.drop(columns="case_label", errors="ignore").to_csv(manifest, index=False)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    split_cohort(manifest, out=tmp_path / "split.csv", folds=2, test_fraction=0.45, seed=5)
    overrides = (*world.overrides, "training.epochs=6")
    run = tmp_path / "run"
    cross_validate(tmp_path / "split.csv", "demo", run, overrides=overrides, tracking_uri=uri)
    figures = json.loads((run / "figures.json").read_text())
    figures += evaluate_run(run, tracking_uri=uri)["performance"]
    pooled = [row for row in figures if row["level"] == "field" and row["fold"] is None]
    assert [row["role"] for row in pooled] == ["out-of-fold", "test"]
    for row in pooled:
        area = row["estimates"]["auroc"]
        assert area["low"] <= 0.5 <= area["high"], row["role"]
        assert 0.2 < area["value"] < 0.8
