from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import ttest_rel
from sklearn.metrics import accuracy_score, f1_score, recall_score, roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar

from msht.errors import InvalidInput
from pipelines.compare import compare_models, compare_runs
from pipelines.compare_figures import common_rows, fold_figures, paired_tests
from pipelines.compare_figures import test_figures as figures_on_test
from pipelines.compare_runs import Contender, read_contender
from pipelines.compare_tables import comparisons_for_report
from pipelines.progress import Interrupted, Silent


@pytest.fixture
def twins(copied: Any, tmp_path: Path) -> tuple[Path, Path]:
    """The world's run, and another whose probabilities are worse by noise."""
    other = tmp_path / "noisy"
    shutil.copytree(copied.run, other)
    rng = np.random.default_rng(1)
    for name in ("out_of_fold.csv", "out_of_fold_cases.csv", "test.csv", "test_cases.csv"):
        frame = pd.read_csv(other / name)
        frame["probability"] = np.clip(0.5 * frame["probability"] + 0.5 * rng.random(len(frame)), 0, 1).round(6)
        frame.to_csv(other / name, index=False)
    return copied.run, other


def test_the_figures_are_those_of_an_independent_computation(twins: tuple[Path, Path], tmp_path: Path) -> None:
    result = compare_runs(twins, tmp_path / "out").comparison
    frames = [pd.read_csv(run / "out_of_fold.csv") for run in twins]
    frames = [frame[frames[0]["evaluable"] & frames[1]["evaluable"]] for frame in frames]
    accuracies = []
    for run, frame in zip(twins, frames, strict=True):
        found = result["folds"]["models"][run.name]["plain"]
        by_fold = [part for _, part in frame.groupby("fold")]
        truth = [(part["label"] == "positive").astype(int) for part in by_fold]
        calls = [(part["probability"] >= 0.5).astype(int) for part in by_fold]
        for measure, metric in (("accuracy", accuracy_score), ("sensitivity", recall_score), ("f1", f1_score)):
            values = [
                metric(t, c, **({} if measure == "accuracy" else {"zero_division": np.nan}))
                for t, c in zip(truth, calls, strict=True)
            ]
            if not np.isnan(values).any():
                assert found[measure]["mean"] == pytest.approx(np.mean(values))
                assert found[measure]["sd"] == pytest.approx(np.std(values, ddof=1))
        areas = [roc_auc_score(t, part["probability"]) for t, part in zip(truth, by_fold, strict=True)]
        assert found["auroc"]["mean"] == pytest.approx(np.mean(areas))
        accuracies.append([accuracy_score(t, c) for t, c in zip(truth, calls, strict=True)])
    row = next(t for t in result["tests"] if t["role"] == "out-of-fold" and t["measure"] == "accuracy")
    assert row["difference"] == pytest.approx(np.mean(accuracies[0]) - np.mean(accuracies[1]))
    # Nadeau and Bengio's statistic is the paired t statistic over sqrt(1 + K * test share), here with K = 2.
    plain = ttest_rel(*accuracies)
    statistic = row["difference"] / ((row["high"] - row["difference"]) / 12.706204736)
    assert statistic == pytest.approx(plain.statistic / np.sqrt(1 + 2 * 1.0), rel=1e-6)


def test_patients_and_not_images_stand_behind_the_intervals(twins: tuple[Path, Path], tmp_path: Path) -> None:
    result = compare_runs(twins, tmp_path / "out").comparison
    test = pd.read_csv(twins[0] / "test.csv")
    field = result["test"]["field"]
    assert field["groups"] == test.loc[test["evaluable"], "group"].nunique() < field["rows"]
    rows = [row for row in result["tests"] if (row["role"], row["level"]) == ("test", "field")]
    assert rows
    assert all(row["units"] == field["groups"] and "bootstrap" in row["test"] for row in rows)


def test_cases_of_one_patient_each_get_the_exact_tests(twins: tuple[Path, Path], tmp_path: Path) -> None:
    result = compare_runs(twins, tmp_path / "out").comparison
    first, second = (pd.read_csv(run / "test_cases.csv").dropna(subset=["probability"]) for run in twins)
    threshold = json.loads((twins[0] / "decision.json").read_text())["decision"]["case_point"]["threshold"]
    right = [(frame["probability"] >= threshold) == (frame["label"] == 1) for frame in (first, second)]
    table = [
        [int((right[0] & right[1]).sum()), int((right[0] & ~right[1]).sum())],
        [int((~right[0] & right[1]).sum()), int((~right[0] & ~right[1]).sum())],
    ]
    row = next(r for r in result["tests"] if r["level"] == "case" and "McNemar" in r["test"])
    assert row["p_value"] == pytest.approx(mcnemar(table, exact=True).pvalue)


def test_swapping_the_reference_turns_every_difference_around(twins: tuple[Path, Path], tmp_path: Path) -> None:
    ours = compare_runs(twins, tmp_path / "a", reference=twins[0].name).comparison["tests"]
    theirs = compare_runs(twins, tmp_path / "b", reference=twins[1].name).comparison["tests"]
    assert [row["difference"] for row in ours] == pytest.approx([-row["difference"] for row in theirs])
    assert [row["p_value"] for row in ours] == pytest.approx([row["p_value"] for row in theirs])


def test_a_model_against_itself_wins_nothing(copied: Any, tmp_path: Path) -> None:
    shutil.copytree(copied.run, tmp_path / "same")
    result = compare_runs([copied.run, tmp_path / "same"], tmp_path / "out").comparison
    assert {row["difference"] for row in result["tests"]} == {0.0}
    assert "beyond chance" in result["verdict"][0]
    assert "no proof that they are equal" in result["verdict"][0]


def test_the_verdict_names_the_winner_only_where_a_test_does() -> None:
    from pipelines.compare_tables import verdict

    def said(p_holm: float) -> str:
        row = {
            "role": "test",
            "level": "field",
            "measure": "auroc",
            "against": "b",
            "difference": -0.2,
            "p_holm": p_holm,
        }
        models = {n: {"plain": {"estimates": {"auroc": {"value": v}}}} for n, v in (("a", 0.7), ("b", 0.9))}
        test = {"field": {"rows": 9, "groups": 3, "models": models}}
        return verdict({"test": test, "unit": "patients", "reference": "a", "tests": [row]})[0]

    assert "**b** has the highest AUROC" in said(0.2)
    assert "better" not in said(0.2)
    assert "b (p 0.010) is better than a" in said(0.01)
    assert "3 patients" in said(0.01)


def test_only_rows_that_every_model_can_answer_are_compared() -> None:
    first = pd.DataFrame({"image": ["a", "b", "c"], "probability": [0.1, 0.2, 0.3], "evaluable": [True, True, False]})
    second = pd.DataFrame({"image": ["c", "b", "a"], "probability": [0.3, None, 0.1], "evaluable": [True, True, True]})
    assert [list(frame["image"]) for frame in common_rows([first, second], "image", "probability")] == [["a"], ["a"]]


def contender(name: str, areas: list[float]) -> Contender:
    """A model whose folds of 20 images have exactly these AUROCs, in steps of a hundredth."""
    rows = []
    for fold, area in enumerate(areas, start=1):
        wrong = round((1 - area) * 100)
        # Ten negatives at 0..9; a positive just above the k-th negative loses to 9 - k of them.
        losses = [min(10, max(0, wrong - 10 * i)) for i in range(10)]
        for i, lost in enumerate(losses):
            rows.append((f"{fold}-n{i}", fold, "negative", 0.4 + i / 50))
            rows.append((f"{fold}-p{i}", fold, "positive", 0.4 + (9 - lost) / 50 + 0.001))
    fields = pd.DataFrame(rows, columns=["image", "fold", "label", "probability"]).assign(evaluable=True)
    fields["group"] = fields["image"]
    cases = fields.rename(columns={"image": "case"}).assign(label=(fields["label"] == "positive").astype(int))
    return Contender(
        name=name, path=Path(name), network=name, size=64, settings={}, software="0", split_digest="s",
        grouped_by="patient_id", folds=len(areas), warning=None, seconds=1.0, device="cpu", parameters=1, gmacs=1.0,
        megabytes=1.0, field_threshold=0.5, case_threshold=0.5, fields=fields, cases=cases, test_fields=None,
        test_cases=None, opened=(),
    )  # fmt: skip


def test_holm_corrects_over_the_models() -> None:
    models = [contender("a", [0.9, 0.92, 0.94]), contender("b", [0.8, 0.83, 0.83]), contender("c", [0.89, 0.93, 0.9])]
    figures = fold_figures(models)["models"]
    assert figures["b"]["plain"]["auroc"]["folds"] == pytest.approx([0.8, 0.83, 0.83])
    rows = {row.against: row for row in paired_tests(models, models[0]) if row.measure == "auroc"}
    low, high = sorted(rows.values(), key=lambda row: row.p_value or 0)
    assert low.p_holm == pytest.approx(min(1.0, 2 * (low.p_value or 0)))
    assert high.p_holm == pytest.approx(max(high.p_value or 0, low.p_holm or 0))
    assert figures_on_test(models, "field") is None


def test_runs_of_different_splits_are_refused_in_words(copied: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(copied.run, other)
    state = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps({**state, "split_digest": "0" * 64}))
    with pytest.raises(InvalidInput, match="trained on different splits"):
        compare_runs([copied.run, other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_single_run_a_double_name_and_a_stranger_as_reference_are_refused(copied: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="1 finished run"):
        compare_runs([copied.run], tmp_path / "out")
    with pytest.raises(InvalidInput, match="Two runs are named 'run'"):
        compare_runs([copied.run, copied.run], tmp_path / "out")
    shutil.copytree(copied.run, tmp_path / "b")
    with pytest.raises(InvalidInput, match="'zzz' is none of run, b"):
        compare_runs([copied.run, tmp_path / "b"], tmp_path / "out", reference="zzz")


def test_a_run_of_an_older_version_without_newer_settings_still_counts(copied: Any, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(copied.run, old)
    recipe = yaml.safe_load((old / "recipe.yaml").read_text())
    recipe["training"] = {k: v for k, v in recipe["training"].items() if k in {"epochs", "batch_size", "selection"}}
    recipe["optimiser"]["lr"] = 0.5
    (old / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    test = pd.read_csv(old / "test.csv")
    test.drop(columns=[c for c in test if c.startswith("probability_fold_")]).to_csv(old / "test.csv", index=False)
    result = compare_runs([copied.run, old], tmp_path / "out").comparison
    assert any("optimiser.lr" in note for note in result["notes"])
    assert not any("training.precision" in note for note in result["notes"])
    assert list(result["networks_on_test"]) == ["run"]


def test_while_the_test_set_is_closed_no_test_figure_is_shown(copied: Any, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    shutil.copytree(copied.run, closed)
    (closed / "evaluation.json").unlink()
    result = compare_runs([copied.run, closed], tmp_path / "out").comparison
    assert result["test"] == {"field": None, "case": None}
    assert {row["role"] for row in result["tests"]} == {"out-of-fold"}
    assert any("open for run only" in note for note in result["notes"])


def test_no_identifier_is_in_the_files(twins: tuple[Path, Path], tmp_path: Path, world: Any) -> None:
    compare_runs(twins, tmp_path / "out")
    manifest = pd.read_csv(world.manifest)
    names = {*manifest["patient_id"], *manifest["image"]}
    for file in (tmp_path / "out").iterdir():
        assert not [name for name in names if name in file.read_text()]


def test_the_validation_report_gets_the_tests_of_its_own_run(twins: tuple[Path, Path], tmp_path: Path) -> None:
    comparison = compare_runs(twins, tmp_path / "out").comparison
    digests = {model["name"]: model["fitted_digest"] for model in comparison["models"]}
    ours = comparisons_for_report(tmp_path / "out", digests[twins[0].name])
    assert {row.against for row in ours} == {twins[1].name}
    assert len(ours) == len(comparison["tests"])
    with pytest.raises(InvalidInput, match="compares other models"):
        comparisons_for_report(tmp_path / "out", "0" * 64)


def test_the_report_of_another_model_sees_the_reference_from_its_side(twins: tuple[Path, Path], tmp_path: Path) -> None:
    comparison = compare_runs(twins, tmp_path / "out").comparison
    path = tmp_path / "out" / "comparison.json"
    for model in comparison["models"]:
        model["fitted_digest"] = model["name"]
    path.write_text(json.dumps(comparison))
    ours, theirs = (comparisons_for_report(tmp_path / "out", run.name) for run in twins)
    for one, other in zip(ours, theirs, strict=True):
        assert other.against == twins[0].name
        assert one.difference.value == pytest.approx(-(other.difference.value or 0))
        if one.difference.low is not None:
            assert one.difference.low == pytest.approx(-(other.difference.high or 0))


class StopsAtSecondModel(Silent):
    """Presses ctrl-C when the second model begins to train."""

    def __init__(self) -> None:
        self.models = 0

    def say(self, words: str) -> None:
        self.models += words.startswith("Model ")

    def start(self, title: str, total: int | None) -> int:
        if self.models == 2 and title.startswith("Fold 2"):
            raise KeyboardInterrupt
        return 0


@pytest.mark.slow
def test_models_are_trained_on_the_same_folds_a_failure_loses_nothing_and_a_stop_goes_on(
    world: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    models = tmp_path / "models.yaml"
    models.write_text("hot: {network: msht_small, set: [optimiser.lr=1e30, optimiser.gradient_clip=null]}\n")
    arguments: dict[str, Any] = {"overrides": world.overrides, "tracking_uri": world.tracking_uri}
    with pytest.raises(Interrupted, match=r"--resume --out"):
        compare_models(
            world.split,
            ["msht_small", "resnet10t"],
            "demo",
            out,
            models_file=models,
            progress=StopsAtSecondModel(),
            **arguments,
        )
    first = (out / "msht_small" / "folds" / "1" / "model.safetensors").stat().st_mtime_ns
    with pytest.raises(InvalidInput, match="models or settings differ"):
        compare_models(None, ["msht_small", "resnet18"], None, out, resume=True, tracking_uri=world.tracking_uri)
    result = compare_models(None, [], None, out, resume=True, tracking_uri=world.tracking_uri)
    assert (out / "msht_small" / "folds" / "1" / "model.safetensors").stat().st_mtime_ns == first
    assert list(result.failed) == ["hot"]
    assert "loss" in result.failed["hot"]
    assert [model["name"] for model in result.comparison["models"]] == ["msht_small", "resnet10t"]
    assert all(len(model["opened"]) == 1 for model in result.comparison["models"])
    assert set(result.comparison["networks_on_test"]) == {"msht_small", "resnet10t"}
    contenders = [read_contender(out / name) for name in ("msht_small", "resnet10t")]
    assert list(contenders[0].fields["image"]) == list(contenders[1].fields["image"])
    text = (out / "comparison.md").read_text()
    assert "hot: " in text
    assert "**msht_small** (reference)" in text
    assert contenders[0].parameters == 2_453_502 - (16 - 4) * 128  # fewer positions at 64 px than at 128


@pytest.mark.parametrize(
    ("models", "settings", "words"),
    [
        (["msht_small"], {}, "1 model is given"),
        (["msht_small", "resnet18", "resnet18"], {}, "named twice"),
        (["msht_small", "rasnet18"], {}, "rasnet18"),
        (["msht_small", "resnet18"], {"reference": "vgg"}, "'vgg' is none of"),
        (["msht_small", "resnet18"], {"overrides": ["training.epoch=3"]}, "training.epoch"),
        (["msht_small", "resnet18"], {"resume": True}, "no comparison to go on with"),
    ],
)
def test_what_cannot_be_compared_is_said_before_anything_is_trained(
    world: Any, tmp_path: Path, models: list[str], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        compare_models(world.split, models, "demo", tmp_path / "out", tracking_uri=world.tracking_uri, **settings)
    assert not (tmp_path / "out").exists()
