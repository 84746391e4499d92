"""Processes started by torchrun share each fold, and one of them writes the run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from msht.errors import InvalidInput
from pipelines.crossval import cross_validate
from pipelines.executors import Executor

SETTINGS = (
    "training.epochs=1",
    "schedule.warmup_epochs=0",
    "preprocessing.size=32",
    "network.name=test_vit",  # without batch norm, which PyTorch cannot synchronise between CPUs
    "optimiser.name=sgd",
    "training.memory_format=contiguous",
)


@pytest.mark.slow
def test_a_run_of_two_processes_is_that_of_one_within_rounding(world: Any, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    cross_validate(world.split, "demo", one, overrides=SETTINGS, tracking_uri=world.tracking_uri, accelerator="cpu")
    words = ["crossval", "--split", world.split, "--recipe", "demo", "--out", two, "--accelerator", "cpu"]
    words += ["--tracking-uri", world.tracking_uri]
    words += [word for setting in SETTINGS for word in ("--set", setting)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run([*torchrun, "-m", "cli.main", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((two / "run.json").read_text())["status"] == "finished"
    tables = [pd.read_csv(run / "out_of_fold.csv") for run in (one, two)]
    assert tables[0]["image"].tolist() == tables[1]["image"].tolist()
    assert np.allclose(tables[0]["logit"], tables[1]["logit"], atol=1e-4)


def test_an_executor_beside_torchrun_is_refused(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput, match="cannot go with torchrun"):
        cross_validate(world.split, "demo", tmp_path / "run", executor=Executor("gpus"))
    assert not (tmp_path / "run").exists()
