"""A run that was killed goes on where it was and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from msht.errors import InvalidInput
from pipelines.crossval import cross_validate

KILLS = 3


def crossval(*words: object) -> list[str]:
    return [sys.executable, "-m", "cli.main", "crossval", *map(str, words)]


def facts(run: Path) -> dict[str, bytes]:
    """What must not differ: predictions, decision, figures, weights and histories, byte for byte."""
    found = {
        str(path.relative_to(run)): path.read_bytes()
        for pattern in ("out_of_fold*.csv", "decision.json", "figures.json", "folds/*/model.safetensors",
                        "folds/*/history.csv", "folds/*/out_of_fold.csv", "folds/*/*.safetensors")
        for path in run.glob(pattern)
    }  # fmt: skip
    assert len(found) >= 12
    return found


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_same_bytes(world: Any, tmp_path: Path) -> None:
    moments = random.Random(20261121)
    overrides = [*world.overrides, "training.checkpoint_batches=1", "training.average_weights=0.9"]
    whole, out = tmp_path / "whole", tmp_path / "killed"
    cross_validate(world.split, "demo", whole, overrides=overrides, tracking_uri=world.tracking_uri)
    settings = [word for override in overrides for word in ("--set", override)]
    start = crossval("--split", world.split, "--recipe", "demo", "--out", out, *settings)
    start += ["--tracking-uri", world.tracking_uri]
    go_on = crossval("--resume", out, "--tracking-uri", world.tracking_uri)
    environment = {**os.environ, "OMP_NUM_THREADS": str(json.loads((whole / "run.json").read_text())["threads"])}
    stages = []
    for attempt in range(KILLS):
        process = subprocess.Popen(
            start if attempt == 0 else go_on, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        # From when there is something to lose: the moment is random after the folds have begun.
        deadline = time.monotonic() + 240
        while process.poll() is None and not list((out / "folds").glob(".*.training/*.ckpt")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(moments.uniform(0.0, 1.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        stages.append(sorted(str(p.relative_to(out)) for p in (out / "folds").rglob("*") if p.is_file()))
        if json.loads((out / "run.json").read_text())["status"] == "finished":
            break
    assert any(name.endswith(".ckpt") for names in stages for name in names), "some attempt was cut within a fold"
    done = subprocess.run(go_on, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert facts(out) == facts(whole)
    state = json.loads((out / "run.json").read_text())
    assert state["status"] == "finished"
    assert state["seconds"] > 0
    assert not list((out / "folds").glob(".*")), "nothing is left lying about"


def test_a_run_killed_after_a_fold_was_written_and_before_its_checkpoints_went_settles_that_fold(
    world: Any, tmp_path: Path
) -> None:
    import mlflow

    # The process ends as by `kill -9` at the one moment between the two.
    script = (
        "import os, sys\nimport pipelines.folds as folds\nwritten = folds._write_fold\n"
        "def last_act(*words):\n    written(*words)\n    os._exit(9)\n"
        "folds._write_fold = last_act\nfrom cli.main import run\nrun()"
    )
    out = tmp_path / "run"
    settings = [word for override in world.overrides for word in ("--set", override)]
    words = ["--split", world.split, "--recipe", "demo", "--out", out, *settings, "--tracking-uri", world.tracking_uri]
    ended = subprocess.run([sys.executable, "-c", script, "crossval", *map(str, words)], check=False)
    assert ended.returncode == 9
    assert (out / "folds" / "1" / "fold.json").is_file()
    assert list((out / "folds" / ".1.training").glob("*.ckpt"))
    child = json.loads((out / "folds" / ".1.training" / "progress.json").read_text())["mlflow_run"]
    client = mlflow.MlflowClient(world.tracking_uri)
    assert client.get_run(child).info.status == "RUNNING"

    cross_validate(None, None, out, resume=True, tracking_uri=world.tracking_uri)
    assert not list((out / "folds").glob(".*"))
    settled = client.get_run(child)
    assert settled.info.status == "FINISHED"
    fold = json.loads((out / "folds" / "1" / "fold.json").read_text())
    assert settled.data.metrics["kept_epoch"] == fold["kept_epoch"]
    assert settled.data.metrics["seconds"] == fold["seconds"]


def test_two_trainings_in_one_folder_are_one_sentence(copied: Any) -> None:
    from filelock import FileLock

    state = json.loads((copied.run / "run.json").read_text())
    (copied.run / "run.json").write_text(json.dumps({**state, "status": "running"}))
    script = (
        "import sys, time\nfrom filelock import FileLock\n"
        "lock = FileLock(sys.argv[1])\nlock.acquire()\nprint('held', flush=True)\ntime.sleep(600)"
    )
    command = [sys.executable, "-c", script, str(copied.run / ".lock")]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "held"
        with pytest.raises(InvalidInput, match="Another process is training in"):
            cross_validate(None, None, copied.run, resume=True, tracking_uri=copied.tracking_uri)
    finally:
        holder.kill()
        holder.wait()
    with FileLock(copied.run / ".lock", timeout=5) as lock:
        assert lock.is_locked, "a dead owner's lock is not in the way"


def test_a_run_folder_appears_whole_or_not_at_all(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pipelines.run_begin as module

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_split", full)
    with pytest.raises(InvalidInput, match="No space left on device"):
        cross_validate(
            world.split, "demo", tmp_path / "run", overrides=world.overrides, tracking_uri=world.tracking_uri
        )
    assert list(tmp_path.iterdir()) == []


def test_no_space_for_a_checkpoint_is_one_sentence_and_the_run_can_go_on(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from msht.training.checkpoints import WholeFiles

    real, calls = WholeFiles.save_checkpoint, []

    def fills(self: Any, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        calls.append(path)
        if len(calls) == 2:
            from msht.files import cannot_write

            raise cannot_write(Path(path), OSError(28, "No space left on device"))
        real(self, checkpoint, path, storage_options)

    monkeypatch.setattr(WholeFiles, "save_checkpoint", fills)
    out = tmp_path / "run"
    with pytest.raises(InvalidInput, match="No space left on device"):
        cross_validate(world.split, "demo", out, overrides=world.overrides, tracking_uri=world.tracking_uri)
    assert json.loads((out / "run.json").read_text())["status"] == "failed"
    monkeypatch.undo()
    cross_validate(None, None, out, resume=True, tracking_uri=world.tracking_uri)
    for name in ("out_of_fold.csv", "figures.json"):
        assert (out / name).read_bytes() == (world.run / name).read_bytes()
