from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from msht.errors import InvalidInput
from pipelines.crossval import cross_validate
from pipelines.progress import Interrupted, Silent
from pipelines.run_folder import RunFolder


def test_every_development_image_is_predicted_once_by_the_fold_that_held_it_out(world: Any) -> None:
    split = pd.read_csv(world.split)
    predicted = pd.read_csv(world.run / "out_of_fold.csv")
    development = split[split["role"] == "development"]
    assert sorted(predicted["image"]) == sorted(development["image"])
    for number in (1, 2):
        own = pd.read_csv(world.run / "folds" / str(number) / "out_of_fold.csv")
        assert sorted(own["image"]) == sorted(development.loc[development["fold"] == number, "image"])


def test_no_test_image_has_a_prediction_before_the_test_set_is_opened(world: Any) -> None:
    test = set(pd.read_csv(world.split).query("role == 'test'")["image"])
    assert not test & set(pd.read_csv(world.run / "out_of_fold.csv")["image"])


def test_a_run_is_a_parent_with_a_child_per_fold_in_mlflow(world: Any) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=world.tracking_uri)
    experiment = client.get_experiment_by_name("msht")
    runs = client.search_runs([experiment.experiment_id])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    parent = next(r for r in parents if r.info.run_id == RunFolder(world.run).state()["mlflow_run"])
    children = [c for c in children if c.data.tags["mlflow.parentRunId"] == parent.info.run_id]
    assert len(children) == 2
    assert parent.data.params["optimiser.lr"] == "0.001"
    assert "out_of_fold_field_auroc" in parent.data.metrics
    assert "test_case_auroc" in parent.data.metrics
    history = client.get_metric_history(children[0].info.run_id, "validation_auroc")
    assert [point.step for point in history] == [1, 2]


def test_no_patient_identifier_reaches_mlflow(world: Any) -> None:
    patients = set(pd.read_csv(world.manifest)["patient_id"])
    images = set(pd.read_csv(world.manifest)["image"])
    database = sqlite3.connect(world.folder / "mlflow.db")
    tables = [row[0] for row in database.execute("select name from sqlite_master where type='table'")]
    text = "\n".join(str(row) for table in tables for row in database.execute(f'select * from "{table}"'))
    artefacts = [p for p in (world.folder / "mlartifacts").rglob("*") if p.is_file()]
    assert {"split.csv", "out_of_fold.csv", "test.csv", "recipe.yaml"} <= {p.name for p in artefacts}
    for words in (text, *(p.read_text(encoding="latin-1") for p in artefacts)):
        assert not [patient for patient in patients if patient in words]
        assert not [image for image in images if image in words]


class StopsAt(Silent):
    """Presses ctrl-C in the second fold."""

    def start(self, title: str, total: int | None) -> int:
        if title.startswith("Fold 2"):
            raise KeyboardInterrupt
        return 0


def test_an_interrupted_run_says_where_and_resumes_to_the_same_figures(world: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(Interrupted, match=r"Stopped in fold 2 of 2.*--resume"):
        cross_validate(
            world.split, "demo", out, overrides=world.overrides, tracking_uri=world.tracking_uri, progress=StopsAt()
        )
    state = json.loads((out / "run.json").read_text())
    assert (state["status"], state["where"]) == ("interrupted", "stopped in fold 2 of 2")
    first = (out / "folds" / "1" / "model.safetensors").stat().st_mtime_ns
    cross_validate(None, None, out, resume=True, tracking_uri=world.tracking_uri)
    assert (out / "folds" / "1" / "model.safetensors").stat().st_mtime_ns == first
    assert json.loads((out / "run.json").read_text())["status"] == "finished"
    pd.testing.assert_frame_equal(
        pd.read_csv(out / "out_of_fold.csv"), pd.read_csv(world.run / "out_of_fold.csv"), rtol=1e-5
    )


def test_a_folder_with_something_in_it_is_refused(world: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="not empty"):
        cross_validate(world.split, "demo", tmp_path, tracking_uri=world.tracking_uri)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_resume_with_another_recipe_is_refused(copied: Any) -> None:
    with pytest.raises(InvalidInput, match="recipe differs"):
        cross_validate(None, "small-cpu", copied.run, resume=True, tracking_uri=copied.tracking_uri)


def test_a_resume_with_overrides_is_refused(copied: Any) -> None:
    with pytest.raises(InvalidInput, match="--set"):
        cross_validate(None, None, copied.run, overrides=["seed=3"], resume=True, tracking_uri=copied.tracking_uri)


def test_a_resume_of_an_edited_recipe_is_refused(copied: Any) -> None:
    text = (copied.run / "recipe.yaml").read_text()
    (copied.run / "recipe.yaml").write_text(text.replace("lr: 0.001", "lr: 0.002"))
    with pytest.raises(InvalidInput, match="was changed since the run was started"):
        cross_validate(None, None, copied.run, resume=True, tracking_uri=copied.tracking_uri)


def test_a_resume_with_another_split_in_the_folder_is_refused(copied: Any, world: Any) -> None:
    from pipelines.cohort import split_cohort

    for name in ("split.csv", "split.json"):
        (copied.run / name).unlink()
    split_cohort(world.manifest, out=copied.run / "split.csv", folds=2, test_fraction=0.33, seed=6)
    with pytest.raises(InvalidInput, match="not the split"):
        cross_validate(None, None, copied.run, resume=True, tracking_uri=copied.tracking_uri)


def test_a_finished_run_is_resumed_to_what_it_is(copied: Any) -> None:
    before = {p: p.read_bytes() for p in copied.run.rglob("*") if p.is_file()}
    result = cross_validate(None, None, copied.run, resume=True, tracking_uri=copied.tracking_uri)
    assert result.performance == json.loads((copied.run / "figures.json").read_text())
    assert before == {p: p.read_bytes() for p in copied.run.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"overrides": ("network.name=zzz",)}, "zzz"),
        ({"overrides": ("network.options={foo: 1}",)}, "foo"),
        ({"overrides": ("seed=99999999999999",)}, "seed"),
        ({"overrides": ('network.pretrained="nowhere.safetensors"',)}, r"nowhere\.safetensors"),
        ({"accelerator": "zzz"}, "--accelerator zzz"),
        ({"experiment": "../b"}, "--experiment"),
    ],
)
def test_what_cannot_be_trained_is_said_before_the_folder_is_begun(
    world: Any, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    arguments = {"tracking_uri": world.tracking_uri, **settings}
    with pytest.raises(InvalidInput, match=words):
        cross_validate(world.split, "demo", tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_one_file_in_two_folds_is_refused(world: Any, tmp_path: Path) -> None:
    import shutil

    from pipelines.cohort import split_cohort

    cohort = tmp_path / "cohort"
    shutil.copytree(world.cohort, cohort)
    split_cohort(cohort / "manifest.csv", out=tmp_path / "split.csv", folds=2, test_fraction=0.33, seed=5)
    frame = pd.read_csv(tmp_path / "split.csv")
    first, second = (frame.loc[frame["fold"] == n, "image"].iloc[0] for n in (1, 2))
    shutil.copy(cohort / first, cohort / second)
    with pytest.raises(InvalidInput, match="same file in two folds"):
        cross_validate(tmp_path / "split.csv", "demo", tmp_path / "run", tracking_uri=world.tracking_uri)


def test_an_image_that_changed_since_the_split_is_refused(world: Any, tmp_path: Path) -> None:
    import shutil

    from pipelines.cohort import split_cohort

    cohort = tmp_path / "cohort"
    shutil.copytree(world.cohort, cohort)
    split_cohort(cohort / "manifest.csv", out=tmp_path / "split.csv", folds=2, test_fraction=0.33, seed=5)
    image = pd.read_csv(tmp_path / "split.csv").query("fold == 1")["image"].iloc[0]
    with (cohort / image).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InvalidInput, match=f"'{image}' is another file than when the cohort was split"):
        cross_validate(tmp_path / "split.csv", "demo", tmp_path / "run", tracking_uri=world.tracking_uri)


def test_a_running_number_is_one_patient_in_every_table(world: Any) -> None:
    from msht.cohort.splits import read_split
    from pipelines.performance import read_predictions
    from pipelines.tracking import without_identifiers

    split = read_split(world.split)
    tables = [split.frame, read_predictions(world.run / "out_of_fold.csv"), read_predictions(world.run / "test.csv")]
    seen: dict[str, str] = {}
    for table in tables:
        shared = without_identifiers(table, split)
        for number, patient in zip(shared["patient_id"], table["patient_id"], strict=True):
            assert seen.setdefault(number, patient) == patient
    assert len(seen) == len(set(seen.values())) == split.frame["patient_id"].nunique()


def test_an_unreadable_image_stops_the_run_before_anything_is_written(world: Any, tmp_path: Path) -> None:
    import shutil

    from pipelines.cohort import split_cohort

    cohort = tmp_path / "cohort"
    shutil.copytree(world.cohort, cohort)
    victim = next((cohort / "images").rglob("*.jpg"))
    split_cohort(cohort / "manifest.csv", out=tmp_path / "split.csv", folds=2, test_fraction=0.33, seed=5)
    frame = pd.read_csv(tmp_path / "split.csv")
    victim = cohort / frame.loc[frame["role"] == "development", "image"].iloc[0]
    victim.write_bytes(victim.read_bytes()[:2000])
    with pytest.raises(InvalidInput, match=victim.name):
        cross_validate(tmp_path / "split.csv", "demo", tmp_path / "run", tracking_uri=world.tracking_uri)
    assert not (tmp_path / "run").exists()


def test_a_gpu_that_is_not_there_is_one_sentence(world: Any, tmp_path: Path, monkeypatch: Any) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidInput, match="no CUDA device"):
        cross_validate(world.split, "demo", tmp_path / "run", accelerator="gpu", tracking_uri=world.tracking_uri)
