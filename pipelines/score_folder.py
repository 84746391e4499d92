"""The folder of a scoring: whose it is, who is writing into it, and with which settings."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msht.errors import InvalidInput
from msht.files import cannot_write, read_json

if TYPE_CHECKING:
    from filelock import BaseFileLock

KIND = "scores"
"""What `run.json` of a scoring calls itself."""

DATABASE = "scores.sqlite"
LOCK = ".scoring.lock"
RECORD = "run.json"
SLIDES = "slides"
"""Folder that holds a folder with the maps of each slide."""
SNAPSHOTS = ".snapshots"
"""Folder that holds copies of the database while a watch writes tables from them."""
_HALF = re.compile(r"\.(cases|images|rejected|run)\.\w+\.(parquet|csv|json)")
"""Names of files that were being written when a scoring was killed."""


def check_folder(out: Path) -> None:
    """Refuse a folder that is not empty and not a scoring's, or a former version's.

    Raises:
        InvalidInput: saying which.
    """
    if out.exists() and not out.is_dir():
        raise InvalidInput(f"{out} is a file.", "Give a folder for the tables.")
    try:
        there = {entry.name for entry in out.iterdir()} if out.is_dir() else set()
    except OSError as error:
        raise cannot_write(out, error) from error
    if not there - {LOCK}:
        return
    kind = read_json(out / RECORD, what="record of a scoring").get("kind") if RECORD in there else None
    if kind != KIND and DATABASE not in there:
        raise InvalidInput(f"{out} is not empty and holds no scores.", "Choose another folder.")
    if "parts" in there and DATABASE not in there:
        raise InvalidInput(
            f"{out} holds scores made by a former version of msht ({out / 'parts'}).", "Score into a new folder."
        )


def locked(out: Path, was_there: bool) -> BaseFileLock:
    """Make the folder and lock it, as long as this program runs or until the lock is released.

    Raises:
        InvalidInput: if another program is scoring into it.
        MissingResource: if it cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(out / LOCK)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InvalidInput(
            f"Another program is scoring into {out} at this moment.", "Wait until it is through, or choose another."
        ) from error
    except OSError as error:
        if not was_there:
            with suppress(OSError):
                out.rmdir()
        raise cannot_write(out, error) from error
    return lock


def clear_halves(out: Path) -> None:
    """Remove what a killed scoring left half-written; to be called with the folder locked."""
    shutil.rmtree(out / SNAPSHOTS, ignore_errors=True)
    for path in out.iterdir():
        if _HALF.fullmatch(path.name):
            path.unlink(missing_ok=True)


def check_settings(out: Path, former: dict[str, Any], record: dict[str, Any], same: dict[str, str]) -> None:
    """Refuse to add to rows that were made otherwise.

    Args:
        out: the folder, for the message.
        former: the record of the rows that are there.
        record: of those that are to come.
        same: keys that must agree, with their names in words.

    Raises:
        InvalidInput: naming what does not agree.
    """
    changed = [words for key, words in same.items() if _comparable(former.get(key)) != _comparable(record.get(key))]
    if changed:
        raise InvalidInput(f"{out} holds scores made with another {' and '.join(changed)}.", "Choose another folder.")


def _comparable(value: Any) -> Any:
    """A bundle is the same model wherever it lies and whatever was exported into it."""
    return value["model_digest"] if isinstance(value, dict) and "model_digest" in value else value
