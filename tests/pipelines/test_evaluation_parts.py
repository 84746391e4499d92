"""What an evaluation adds: checked maps, perturbed images, wrong calls, figures; each made once and about its run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pypdf import PdfReader

from msht.bundle import read_bundle
from msht.decision import Decision
from msht.errors import InvalidInput
from pipelines.evaluate import evaluate_run
from pipelines.evaluation_parts import PARTS, checked_parts, drawn_by_group
from pipelines.gallery import wrong_calls
from pipelines.progress import Interrupted
from pipelines.report_validation import report_validation
from pipelines.report_validation_parts import deferral_section, local_values
from pipelines.run_folder import RunFolder


def decision_of(run: Path) -> Decision:
    return Decision.model_validate(json.loads((run / "decision.json").read_text())["decision"])


def test_the_draw_takes_from_each_patient_in_turn() -> None:
    frame = pd.DataFrame({"group": ["a"] * 50 + ["b"] * 3 + ["c"], "image": range(54)})
    drawn = drawn_by_group(frame, 7, seed=1)
    assert drawn["group"].value_counts().to_dict() == {"a": 3, "b": 3, "c": 1}
    assert list(drawn["image"]) == sorted(drawn["image"])
    assert list(drawn_by_group(frame, 7, seed=1)["image"]) == list(drawn["image"])
    assert len(drawn_by_group(frame, 1000, seed=1)) == 54


def test_an_unknown_part_is_refused_with_the_choice() -> None:
    assert checked_parts(("figures", "gallery")) == ("gallery", "figures")
    with pytest.raises(InvalidInput, match=r"no part 'robust'.*explanation, robustness"):
        checked_parts(("robust",))


def test_wrong_calls_come_missed_ones_first_and_surest_first(world: Any) -> None:
    decision = decision_of(world.run)
    limit = decision.field_point.threshold
    low, high = np.linspace(0.02, limit * 0.9, 20), np.linspace(limit + 0.1 * (1 - limit), 0.99, 20)
    fields = pd.DataFrame(
        {
            "image": [f"{i:02d}.jpg" for i in range(40)],
            "label": ["positive"] * 20 + ["negative"] * 20,
            "probability": np.concatenate([low, high]),
        }
    )
    shown, counts = wrong_calls(fields, decision)
    assert counts == {"false_negatives": 20, "false_positives": 20}
    assert list(shown["kind"]) == ["false negative"] * 8 + ["false positive"] * 4
    assert list(shown["probability"][:2]) == sorted(low)[:2]
    assert shown["probability"].iloc[8] == 0.99
    few, counts = wrong_calls(fields.iloc[:3], decision)
    assert len(few) == 3
    assert counts["false_positives"] == 0


def test_a_bundle_keeps_how_maps_are_made_and_what_their_checks_found(world: Any) -> None:
    part = json.loads((world.run / "validation" / "explanation.json").read_text())
    kept = read_bundle(world.bundle).description.explanation
    assert (kept["method"], kept["layer"]) == (part["method"], part["layer"])
    assert kept["sentence"]
    if "checks" in part:
        names = {check["name"] for check in part["checks"]}
        assert names == {"deletion", "insertion", "road", "randomisation", "energy", "pointing"}
        assert set(kept["scores"]) == names
        assert "after shuffling the weights" in kept["sentence"]
    else:
        assert "not checked" in kept["sentence"]


def test_deferral_says_what_must_be_referred_and_falls_back_to_fields(world: Any) -> None:
    decision = decision_of(world.run)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    values = np.clip(0.5 + (labels - 0.5) * 0.5 + rng.normal(0, 0.25, 400), 0.001, 0.999)
    many = ("Test", "case", labels, values)
    few = ("Test", "case", labels[:5], values[:5])
    fields = ("Test", "field", labels, values)
    by_case = deferral_section(many, fields, decision, 0.01)
    assert by_case.level == "case"
    error = np.array(by_case.error)
    assert error[0] == pytest.approx(np.mean((values >= decision.case_point.threshold) != labels))
    assert "at most 1% was asked for" in by_case.statement
    assert "5 test cases only" in deferral_section(few, fields, decision, 0.01).statement


def test_local_predictive_values_follow_bayes_and_bracket_the_figure() -> None:
    row = {
        "estimates": {
            "sensitivity": {"value": 0.9, "low": 0.8, "high": 0.95},
            "specificity": {"value": 0.8, "low": 0.7, "high": 0.9},
        }
    }
    assert local_values({"case": row, "field": row}, None) == ()
    case, _ = local_values({"case": row, "field": row}, 0.1)
    assert case.ppv.value == pytest.approx(0.09 / (0.09 + 0.18))
    assert case.npv.value == pytest.approx(0.72 / (0.72 + 0.01))
    assert case.ppv.low < case.ppv.value < case.ppv.high


def test_a_report_without_parts_says_how_to_make_them(world: Any, tmp_path: Path) -> None:
    out = report_validation(world.run, tmp_path / "v.pdf", prevalence=0.25, subgroups=("case_id",))
    text = " ".join(" ".join(page.extract_text() for page in PdfReader(out).pages).split())
    assert "No image was perturbed in this evaluation; msht evaluate run adds it." in text
    assert "chosen prevalence" in text
    assert "case_id" in text
    for option, mend in (({"prevalence": 1.5}, "--prevalence is 1.5"), ({"error": -1.0}, "--error is -1")):
        with pytest.raises(InvalidInput, match=mend):
            report_validation(world.run, tmp_path / "w.pdf", **option)
    with pytest.raises(InvalidInput, match=r"no column 'shoe_size' of its own.*site"):
        report_validation(world.run, tmp_path / "w.pdf", subgroups=("shoe_size",))
    assert not (tmp_path / "w.pdf").exists()


@pytest.mark.slow
def test_a_stopped_evaluation_goes_on_and_opens_nothing_again(
    copied: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import robustness

    calls: list[list[str]] = []
    real = robustness._answered

    def stopping(images: list[str], *rest: Any) -> Any:
        if len(calls) == 1:
            calls.append([])
            raise KeyboardInterrupt
        calls.append(images)
        return real(images, *rest)

    monkeypatch.setattr(robustness, "AT_ONCE", 3)
    monkeypatch.setattr(robustness, "_answered", stopping)
    settings = {"tracking_uri": copied.tracking_uri, "perturbed_images": 6}
    with pytest.raises(Interrupted, match="Go on with `msht evaluate"):
        evaluate_run(copied.run, **settings)
    opened = json.loads((copied.run / "run.json").read_text())["test_opened"]
    evaluate_run(copied.run, **settings)
    assert json.loads((copied.run / "run.json").read_text())["test_opened"] == opened
    assert len(calls) == 3
    assert not set(calls[0]) & set(calls[2])
    part = json.loads((copied.run / "validation" / "robustness.json").read_text())
    assert part["opened"] == opened[-1]
    assert part["images"] == 6
    plain = part["rows"][0]
    test = pd.read_csv(copied.run / "test.csv").set_index("image")
    images = calls[0] + calls[2]
    right = (test.loc[images, "probability"] >= part["threshold"]) == (test.loc[images, "label"] == "positive")
    positive = test.loc[images, "label"] == "positive"
    assert plain["estimates"]["sensitivity"]["value"] == pytest.approx(right[positive].mean())
    assert {row["kind"] for row in part["rows"][1:]} == {"JPEG", "Blur", "Stain strength", "Stain colour", "Rotation"}
    assert not (copied.run / "validation" / "perturbed.json").exists()
    names = {path.stem for path in (copied.run / "figures").iterdir()}
    assert {"roc-by-field", "robustness", "decision-curve", "deferral"} <= names
    for name in names:
        assert {path.suffix for path in (copied.run / "figures").glob(f"{name}.*")} == {".svg", ".png", ".pdf"}
    stamps = {path: path.stat().st_mtime_ns for path in (copied.run / "validation").rglob("*.json")}
    evaluate_run(copied.run, **settings)  # everything is there
    assert {path: path.stat().st_mtime_ns for path in (copied.run / "validation").rglob("*.json")} == stamps
    text = " ".join(
        " ".join(
            page.extract_text() for page in PdfReader(report_validation(copied.run, tmp_path / "v.pdf")).pages
        ).split()
    )
    assert "6 of" in text
    assert "Nothing was chosen by these figures." in text
    assert RunFolder(copied.run).evaluation_file.is_file()
    assert set(PARTS) == {"explanation", "robustness", "gallery", "figures"}
