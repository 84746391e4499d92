"""The folder of a run: made whole, trained in by one process at a time, swept after a kill."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msht.cohort.splits import Split, write_split
from msht.errors import InvalidInput
from msht.files import cannot_write, write_text
from msht.training.recipe import Recipe, recipe_as_yaml
from pipelines.run_folder import RunFolder


def begin_run(out: Path, recipe: Recipe, split: Split, state: dict[str, Any]) -> None:
    """Make the folder of a new run: all it needs to be resumed is in it from the moment it is there."""
    scratch = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        scratch = RunFolder(Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.")))
        write_text(scratch.recipe_file, recipe_as_yaml(recipe))
        write_split(split, scratch.split_file)
        scratch.write_state(state)
        scratch.path.chmod(0o777 & ~_umask())
        if out.exists():
            out.rmdir()
        scratch.path.rename(out)
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch.path, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def only_trainer(run: RunFolder) -> Iterator[None]:
    """Hold the run's lock; the system lets go of a dead process's.

    Raises:
        InvalidInput: if another process trains there.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(run.lock_file, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise InvalidInput(
            f"Another process is training in {run.path}.", "Wait for it or stop it, then go on with --resume."
        ) from error
    except OSError as error:
        raise cannot_write(run.lock_file, error) from error
    try:
        yield
    finally:
        lock.release()


def sweep(run: RunFolder) -> None:
    """Remove what a killed process was writing; checkpoints stay."""
    for left in (run.path / "folds").glob(".*.written-*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in run.path.glob(".*.*"):
        if left.is_file() and left != run.lock_file:
            left.unlink(missing_ok=True)
