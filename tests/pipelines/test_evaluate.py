from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from msht.errors import BrokenBundle, InvalidInput
from pipelines.bundle import make_bundle, verify_bundle
from pipelines.evaluate import evaluate_run


def test_the_test_set_is_opened_once_and_then_remembered(copied: Any) -> None:
    first = evaluate_run(copied.run, tracking_uri=copied.tracking_uri)
    assert len(first["opened"]) == 1
    again = evaluate_run(copied.run, again=True, tracking_uri=copied.tracking_uri)
    assert len(again["opened"]) == 2
    assert json.loads((copied.run / "evaluation.json").read_text())["opened"] == again["opened"]


def test_the_figures_are_those_of_the_table(world: Any) -> None:
    evaluation = json.loads((world.run / "evaluation.json").read_text())
    test = pd.read_csv(world.run / "test.csv")
    test = test[test["evaluable"]]
    row = next(r for r in evaluation["performance"] if r["level"] == "field")
    assert row["estimates"]["auroc"]["value"] == pytest.approx(
        roc_auc_score(test["label"] == "positive", test["probability"]), abs=1e-4
    )
    called = test["probability"] >= row["threshold"]
    assert row["counts"]["true_positives"] == int((called & (test["label"] == "positive")).sum())


def test_only_test_patients_are_in_the_test_figures(world: Any) -> None:
    split = pd.read_csv(world.split)
    test = pd.read_csv(world.run / "test.csv")
    assert sorted(test["image"]) == sorted(split.loc[split["role"] == "test", "image"])
    assert not set(test["group"]) & set(split.loc[split["role"] == "development", "patient_id"])


def test_an_unfinished_run_is_neither_evaluated_nor_bundled(copied: Any, tmp_path: Path) -> None:
    state = json.loads((copied.run / "run.json").read_text())
    (copied.run / "run.json").write_text(json.dumps({**state, "status": "interrupted"}))
    with pytest.raises(InvalidInput, match="--resume"):
        evaluate_run(copied.run, tracking_uri=copied.tracking_uri)
    with pytest.raises(InvalidInput, match="--resume"):
        make_bundle(copied.run, tmp_path / "b", tracking_uri=copied.tracking_uri)
    assert not (tmp_path / "b").exists()


def test_a_bundle_is_not_written_over_anything(copied: Any) -> None:
    with pytest.raises(InvalidInput, match="exists already"):
        make_bundle(copied.run, copied.bundle, tracking_uri=copied.tracking_uri)


def test_a_weight_file_that_changed_since_training_is_refused(copied: Any, tmp_path: Path) -> None:
    weights = copied.run / "folds" / "1" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    (copied.run / "evaluation.json").unlink()
    with pytest.raises(InvalidInput, match="changed since it was trained"):
        evaluate_run(copied.run, tracking_uri=copied.tracking_uri)


def test_figures_of_another_decision_are_not_reused(copied: Any, tmp_path: Path) -> None:
    decision = json.loads((copied.run / "decision.json").read_text())
    decision["decision"]["case_point"]["threshold"] = 0.123
    (copied.run / "decision.json").write_text(json.dumps(decision))
    with pytest.raises(InvalidInput, match="belong to other networks or another decision"):
        make_bundle(copied.run, tmp_path / "b", tracking_uri=copied.tracking_uri)
    assert not (tmp_path / "b").exists()


def test_a_store_that_does_not_know_the_run_is_said_before_the_test_set_is_opened(copied: Any, tmp_path: Path) -> None:
    (copied.run / "evaluation.json").unlink()
    other = f"sqlite:///{tmp_path / 'other.db'}"
    with pytest.raises(InvalidInput, match="does not know the run"):
        make_bundle(copied.run, tmp_path / "b", tracking_uri=other)
    assert not (copied.run / "evaluation.json").exists()
    assert not (tmp_path / "b").exists()


def test_an_opening_counts_even_if_it_is_interrupted(copied: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    (copied.run / "evaluation.json").unlink()
    monkeypatch.setattr("pipelines.evaluate._score", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate_run(copied.run, tracking_uri=copied.tracking_uri)
    assert len(json.loads((copied.run / "run.json").read_text())["test_opened"]) == 2


def test_a_test_file_that_is_a_development_file_is_refused(world: Any, copied: Any, tmp_path: Path) -> None:
    import shutil

    cohort = tmp_path / "cohort"
    shutil.copytree(world.cohort, cohort)
    split = pd.read_csv(world.split)
    developed = split.loc[split["role"] == "development", "image"].iloc[0]
    tested = split.loc[split["role"] == "test", "image"].iloc[0]
    shutil.copy(cohort / developed, cohort / tested)
    with pytest.raises(InvalidInput, match="the same file as development image"):
        evaluate_run(copied.run, again=True, images=cohort, tracking_uri=copied.tracking_uri)


def test_a_test_file_that_is_not_the_one_that_was_split_is_refused(world: Any, copied: Any, tmp_path: Path) -> None:
    import shutil

    cohort = tmp_path / "cohort"
    shutil.copytree(world.cohort, cohort)
    split = pd.read_csv(world.split)
    tested = split.loc[split["role"] == "test", "image"].iloc[0]
    with (cohort / tested).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InvalidInput, match="another file than when the cohort was split"):
        evaluate_run(copied.run, again=True, images=cohort, tracking_uri=copied.tracking_uri)


def test_a_file_that_no_digest_vouches_for_breaks_a_bundle(copied: Any) -> None:
    (copied.bundle / "fold-1" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(BrokenBundle, match=r"pytorch_model\.bin does not belong"):
        verify_bundle(copied.bundle)


def test_a_bundle_verifies_until_a_byte_changes(copied: Any) -> None:
    assert verify_bundle(copied.bundle).digest
    weights = copied.bundle / "fold-2" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(BrokenBundle, match="fold-2"):
        verify_bundle(copied.bundle)


def test_a_bundle_holds_no_pickle_and_no_patient(world: Any) -> None:
    patients = set(pd.read_csv(world.manifest)["patient_id"])
    for file in world.bundle.rglob("*"):
        if file.is_file():
            assert file.suffix in {".json", ".safetensors", ".md", ".yaml", ".sha256"}
            if file.suffix != ".safetensors":
                text = file.read_text(encoding="utf-8")
                assert not [p for p in patients if f'"{p}"' in text]


def test_shuffled_case_order_changes_no_answer(world: Any) -> None:
    from msht.decision import Decision
    from pipelines.evaluate import case_answers

    frame = pd.read_csv(world.run / "test.csv", dtype={"case": str, "group": str})
    decision = Decision.model_validate(json.loads((world.run / "decision.json").read_text())["decision"])
    first = case_answers(frame, decision)
    second = case_answers(frame.sample(frac=1, random_state=1), decision)
    np.testing.assert_allclose(first["probability"], second["probability"])
