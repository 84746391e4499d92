"""Folds trained elsewhere are the folds that would have been trained here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from msht.errors import InvalidInput, MissingResource
from pipelines.crossval import cross_validate
from pipelines.executors import Executor

SAME = ("out_of_fold.csv", "out_of_fold_cases.csv", "decision.json", "figures.json")


def check_same(out: Path, world: Any) -> None:
    for name in SAME:
        assert (out / name).read_bytes() == (world.run / name).read_bytes(), name
    for number in (1, 2):
        fold = f"folds/{number}/model.safetensors"
        assert (out / fold).read_bytes() == (world.run / fold).read_bytes()


@pytest.mark.slow
def test_a_process_per_device_gives_the_same_bytes_and_children_of_the_same_run(world: Any, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    out = tmp_path / "run"
    cross_validate(
        world.split,
        "demo",
        out,
        overrides=world.overrides,
        tracking_uri=world.tracking_uri,
        accelerator="cpu",
        executor=Executor("gpus", devices=("0", "1")),
    )
    check_same(out, world)
    client = MlflowClient(tracking_uri=world.tracking_uri)
    parent = json.loads((out / "run.json").read_text())["mlflow_run"]
    experiment = client.get_experiment_by_name("msht")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent]
    assert sorted(child.data.tags["msht.fold"] for child in children) == ["1", "2"]
    assert {child.info.status for child in children} == {"FINISHED"}


@pytest.mark.slow
def test_ray_gives_the_same_bytes(world: Any, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    out = tmp_path / "run"
    cross_validate(
        world.split,
        "demo",
        out,
        overrides=world.overrides,
        tracking_uri=world.tracking_uri,
        accelerator="cpu",
        executor=Executor("ray", cpus_per_fold=1),
    )
    check_same(out, world)


def test_a_fold_that_fails_is_tried_again_and_its_result_is_as_if_it_had_not(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import msht.training.trainer as trainer

    real, calls = trainer.train_fold, []

    def fails_once(**arguments: Any) -> Any:
        calls.append(arguments["fold"])
        if calls == [1]:
            raise RuntimeError("a device that forgot itself")
        return real(**arguments)

    monkeypatch.setattr(trainer, "train_fold", fails_once)
    out = tmp_path / "run"
    cross_validate(world.split, "demo", out, overrides=world.overrides, tracking_uri=world.tracking_uri)
    assert calls == [1, 1, 2]
    check_same(out, world)


def test_a_fold_that_keeps_failing_is_reported_and_the_others_are_not_lost(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import msht.training.trainer as trainer

    real = trainer.train_fold

    def fails(**arguments: Any) -> Any:
        if arguments["fold"] == 1:
            raise RuntimeError("a device that is broken")
        return real(**arguments)

    monkeypatch.setattr(trainer, "train_fold", fails)
    out = tmp_path / "run"
    with pytest.raises(
        InvalidInput, match=r"1 of 2 folds failed, 1 finished\. Fold 1: RuntimeError: a device"
    ) as caught:
        cross_validate(world.split, "demo", out, overrides=world.overrides, tracking_uri=world.tracking_uri)
    assert f"--resume {out}" in caught.value.mend
    assert "a device that is broken" in (out / "folds" / ".1.training" / "traceback.txt").read_text()
    state = json.loads((out / "run.json").read_text())
    assert (state["status"], state["where"]) == ("failed", "failed in fold 1 of 2")
    monkeypatch.undo()
    cross_validate(None, None, out, resume=True, tracking_uri=world.tracking_uri)
    check_same(out, world)


@pytest.mark.parametrize(
    ("executor", "accelerator", "words"),
    [
        (Executor("slurm"), "cpu", "--executor slurm is unknown"),  # type: ignore[arg-type]
        (Executor("local", devices=("0",)), "cpu", "--devices goes with --executor gpus"),
        (Executor("local", ray_address="auto"), "cpu", "--ray-address goes with --executor ray"),
        (Executor("gpus"), "cpu", "needs to know how many processes"),
        (Executor("gpus", devices=("a",)), "cpu", "'a' is no device number"),
        (Executor("gpus", devices=("0", "0")), "cpu", "names a device twice"),
        (Executor("ray", cpus_per_fold=0), "cpu", "--cpus-per-fold is 0"),
    ],
)
def test_an_engine_that_cannot_work_is_refused_in_one_sentence(
    executor: Executor, accelerator: str, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        executor.check(accelerator)


def test_gpus_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InvalidInput, match="no CUDA device"):
        Executor("gpus").check("auto")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    Executor("gpus").check("auto")
    assert Executor("gpus").slots() == ("0", "1")
    with pytest.raises(InvalidInput, match="there is no device 2; this machine has 2"):
        Executor("gpus", devices=("2",)).check("auto")


def test_ray_that_is_not_installed_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingResource, match="Ray is not installed"):
        Executor("ray").check("cpu")
