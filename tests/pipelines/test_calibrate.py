"""What a run fits on its out-of-fold predictions reaches its bundle, and runs of the first version still answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from msht.bundle import read_bundle
from msht.cohort.dataset import FieldStore
from msht.training.recipe import Recipe
from pipelines.bundle import make_bundle
from pipelines.calibrate import calibrate_run
from pipelines.evaluate import evaluate_run
from pipelines.run_folder import RunFolder
from pipelines.score import score_images

NEW_IN_A_DECISION = (
    "case_rule_fields",
    "conformal_quantiles",
    "conformal_kind",
    "conformal_guarantee",
    "refer_below",
    "refer_rule",
    "choices",
    "scope",
)


def calibrated_with(run: RunFolder, **decision: Any) -> None:
    recipe = run.recipe()
    changed = Recipe.model_validate({**recipe.model_dump(), "decision": {**recipe.decision.model_dump(), **decision}})
    split = run.split()
    store = FieldStore(split.root, recipe.preprocessing, 2**30)
    store.load(list(split.development["image"]))
    calibrate_run(run, changed, split, store)


def test_the_demo_has_too_few_patients_to_choose_and_says_so(world: Any) -> None:
    decision = read_bundle(world.bundle).description.decision
    assert "not chosen, since a network held out only" in decision.choices[0]
    assert "not chosen: a choice needs 10 patients" in decision.choices[1]
    assert "single network" in decision.scope


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["platt", "isotonic", "venn_abers"])
def test_the_calibrator_and_rules_of_the_recipe_reach_the_scores(copied: Any, tmp_path: Path, kind: str) -> None:
    run = RunFolder(copied.run)
    calibrated_with(run, calibrator=kind, case_rule="maximum", conformal="mondrian", operating_point={"rule": "youden"})
    (copied.run / "evaluation.json").unlink()
    bundle = make_bundle(copied.run, tmp_path / "new", tracking_uri=copied.tracking_uri)
    decision = bundle.description.decision
    assert (decision.case_rule, decision.conformal_kind) == ("maximum", "mondrian")
    assert "Youden" in decision.case_point.rule
    calibrators = [fold.calibrator for fold in bundle.description.folds]
    assert [calibrator.kind for calibrator in calibrators if calibrator] == [kind] * len(calibrators)
    score_images(tmp_path / "new", [copied.cohort / "images"], tmp_path / "new_scores")
    images = pd.read_parquet(tmp_path / "new_scores" / "images.parquet")
    each = [
        calibrator.probability(images[f"logit_fold_{fold.number}"].to_numpy())
        for fold, calibrator in zip(bundle.description.folds, calibrators, strict=True)
        if calibrator
    ]
    np.testing.assert_allclose(images["probability"], np.mean(each, axis=0), atol=2e-6)
    cases = pd.read_parquet(tmp_path / "new_scores" / "cases.parquet").dropna(subset=["logit"]).set_index("case")
    highest = images[images["evaluable"]].groupby("case")["logit"].max()
    np.testing.assert_allclose(cases["logit"], highest[cases.index], atol=1e-9)


@pytest.mark.slow
def test_a_run_of_the_first_version_still_answers(copied: Any) -> None:
    before = evaluate_run(copied.run, tracking_uri=copied.tracking_uri)
    file = copied.run / "decision.json"
    fitted = json.loads(file.read_text())
    former = {key: value for key, value in fitted["decision"].items() if key not in NEW_IN_A_DECISION}
    file.write_text(json.dumps({"temperatures": fitted["temperatures"], "decision": former}))
    after = evaluate_run(copied.run, again=True, tracking_uri=copied.tracking_uri)
    fields = [next(row for row in e["performance"] if row["level"] == "field") for e in (before, after)]
    assert fields[0]["counts"] == fields[1]["counts"]
    assert fields[0]["estimates"]["auroc"] == fields[1]["estimates"]["auroc"]
