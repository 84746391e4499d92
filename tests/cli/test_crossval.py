"""What a user can do wrong with `msht crossval`, as the command line answers: one sentence, exit code 2."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app

TINY = ("training.epochs=2", "schedule.warmup_epochs=0", "preprocessing.size=32", "network.name=test_resnet")


@dataclass(frozen=True)
class Place:
    split: Path
    run: Path
    uri: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A split, and a finished run of it."""
    from pipelines.cohort import split_cohort
    from pipelines.crossval import cross_validate
    from pipelines.phantom import draw_phantom

    folder = tmp_path_factory.mktemp("crossval")
    draw_phantom(folder / "cohort", patients=12, fields_per_patient=2, width=96, height=64, seed=3)
    split_cohort(folder / "cohort" / "manifest.csv", out=folder / "split.csv", folds=2, test_fraction=0.33, seed=5)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    cross_validate(folder / "split.csv", "demo", folder / "run", overrides=TINY, tracking_uri=uri)
    return Place(folder / "split.csv", folder / "run", uri)


def answer(*words: object) -> tuple[int, str]:
    """Exit code and what the entry point would say."""
    from msht.errors import InvalidInput

    result = CliRunner().invoke(app, ["crossval", *map(str, words)])
    if isinstance(result.exception, InvalidInput):
        said = str(result.exception)
        assert "\n" not in said
        return 2, said
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def new(place: Place, out: Path, *words: object, overrides: tuple[str, ...] = TINY) -> tuple[int, str]:
    settings = [word for override in overrides for word in ("--set", override)]
    start = ("--split", place.split, "--recipe", "demo", "--out", out, "--tracking-uri", place.uri)
    return answer(*start, *settings, *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "classes=[a, b, c]"), "classes: must be ['negative', 'positive']"),
        (("--set", "network.options={num_classes: 3}"), "'num_classes' cannot be set here"),
        (("--set", "augmentation.name=[a]"), "augmentation.name"),
        (("--set", "optimiser.lr=.nan"), "optimiser.lr"),
        (("--set", "training.epochs=-1"), "training.epochs"),
        (("--set", "training.batch_size=0"), "training.batch_size"),
        (("--set", "freezing.parts=[layer9]"), "no part 'layer9'"),
        (("--set", "training.selection=inner-split", "--set", "training.selection_share=0.05"), "inner split"),
        (("--executor", "slurm"), "--executor slurm is unknown"),
        (("--executor", "gpus", "--accelerator", "cpu"), "how many processes"),
        (("--devices", "0"), "--devices goes with --executor gpus"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence_and_leaves_nothing(
    place: Place, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    code, output = new(place, tmp_path / "run", *words)
    assert code == 2
    assert said in output
    assert not list(tmp_path.iterdir())


def test_a_gpu_that_is_not_there_is_one_sentence(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, said = new(place, tmp_path / "run", "--accelerator", "gpu")
    assert (code, "no CUDA device" in said) == (2, True)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_no_number_names_epoch_and_batch_and_the_mend(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "run"
    breaks = ("optimiser.name=sgd", "optimiser.lr=1e25", "optimiser.gradient_clip=null", "training.batch_size=4")
    code, said = new(place, out, overrides=(*TINY, *breaks))
    assert code == 2
    assert re.search(r"Fold 1: The loss became (nan|inf) in epoch 1, batch [2-9]; the last good checkpoint", said)
    assert "a lower optimiser.lr" in said
    assert json.loads((out / "run.json").read_text())["status"] == "failed"


def test_a_resume_with_other_settings_recipe_or_split_is_one_sentence(place: Place, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(place.run, run)
    for words, said in (
        (("--set", "seed=3"), "--set cannot change"),
        (("--recipe", "small-cpu"), "recipe differs"),
        (("--out", tmp_path / "other"), "two folders"),
    ):
        code, output = answer("--resume", run, "--tracking-uri", place.uri, *words)
        assert (code, said in output) == (2, True), output
    other = tmp_path / "split.csv"
    from pipelines.cohort import split_cohort

    split_cohort(place.split.parent / "cohort" / "manifest.csv", out=other, folds=2, test_fraction=0.33, seed=6)
    code, output = answer("--resume", run, "--split", other, "--tracking-uri", place.uri)
    assert (code, "split differs" in output) == (2, True), output


def test_a_folder_that_cannot_be_written_is_one_sentence(place: Place, tmp_path: Path, monkeypatch: Any) -> None:
    import tempfile

    def refuse(*_: Any, **__: Any) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    code, said = new(place, tmp_path / "run")
    assert (code, "Permission denied" in said) == (2, True), said
    assert not list(tmp_path.iterdir())
