"""Whatever happens to the program, its tables are those of a scoring that nothing happened to."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

KILLS = 16
TABLES = [f"{name}.{ending}" for name in ("images", "cases", "rejected") for ending in ("csv", "parquet")]

# Starting Python and torch takes seconds, so one process does that and then splits off one for each scoring.
SCRIPT = """
import os, sys
from pathlib import Path
import timm, torch
torch.set_num_threads(1)
import msht.network, pyarrow.parquet, sqlite3, filelock
from pipelines.score import score_images
from pipelines.score_fields import ScoreSettings

bundle, source = map(Path, sys.argv[1:])
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        score_images(bundle, [source], Path(line.strip()), settings=ScoreSettings(batch_size=2, workers=2))
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Scorings:
    """Starts scorings of a folder as processes of their own."""

    def __init__(self, bundle: Path, source: Path, root: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(bundle), str(source)],
            cwd=root,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def start(self, out: Path) -> int:
        """Begin a scoring and give the number of its process."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{out}\n")
        self.process.stdin.flush()
        return int(self._line())

    def end(self) -> int:
        """Wait for the scoring and give its exit code."""
        return int(self._line())

    def close(self) -> None:
        """End the process that starts them."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture
def incoming(world: Any, tmp_path: Path) -> Path:
    """Fields of which one is cut short and one blank."""
    source = tmp_path / "in"
    shutil.copytree(world.cohort / "images", source)
    cut = sorted(source.rglob("*.jpg"))[5]
    cut.write_bytes(cut.read_bytes()[:2000])
    Image.new("RGB", (192, 144), "white").save(source / "blank.png")
    return source


@pytest.fixture
def scorings(world: Any, incoming: Path, root: Path) -> Iterator[Scorings]:
    """What starts them."""
    started = Scorings(world.bundle, incoming, root)
    yield started
    started.close()


@pytest.mark.slow
def test_a_scoring_that_is_killed_again_and_again_gives_the_tables_of_one_that_is_not(
    scorings: Scorings, incoming: Path, tmp_path: Path
) -> None:
    begun = time.monotonic()
    scorings.start(tmp_path / "whole")
    assert scorings.end() == 0
    seconds = time.monotonic() - begun
    chance = random.Random(7)
    out, killed, rows = tmp_path / "killed", 0, []
    while killed < KILLS:
        pid = scorings.start(out)
        time.sleep(chance.uniform(0.1, 0.9) * seconds)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if scorings.end() == -signal.SIGKILL:
            killed += 1
        else:  # it was through before the blow: once more from the beginning
            shutil.rmtree(out)
        rows.append(_rows_in(out))
    scorings.start(out)
    assert scorings.end() == 0
    assert len(set(rows)) > 3, "the blows fell at different moments"
    for name in TABLES:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    images, rejected = pd.read_csv(out / "images.csv"), pd.read_csv(out / "rejected.csv")
    names = sorted([*images["image"], *rejected["image"]])
    assert names == sorted(path.relative_to(incoming).as_posix() for path in incoming.rglob("*.*"))
    left = {path.name for path in out.iterdir()}
    assert left == {*TABLES, "run.json", "scores.sqlite", ".scoring.lock"}, "nothing half-written stays behind"


def _rows_in(out: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{out / 'scores.sqlite'}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM answers").fetchone()[0])
    except sqlite3.Error:
        return 0
