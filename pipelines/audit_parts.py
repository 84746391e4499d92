"""One pass over the images in worker processes, kept in parts: a stopped audit goes on where it was."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from msht.errors import InvalidInput
from msht.files import atomic_path, cannot_write, read_json
from pipelines.audit_measure import measure_image, stamp_of
from pipelines.progress import Steps

PART = 256
"""Rows a part: what a kill can cost."""

MEASURED = ("image", "stamp", "trouble", "trouble_words")
"""Columns of every part of measurements, whatever its images are."""

FEW = 48
"""Images up to which starting processes costs more than they save."""

_CHUNK = 8
_AHEAD = 4

Task = tuple[str, Path]


class Parts:
    """Rows kept in files that are whole or not there, below `folder`.

    Attributes:
        folder: where they lie.
        prefix: how their names begin.
        columns: what every one of them has; the first two tell what a row is about and are never empty.
    """

    def __init__(self, folder: Path, prefix: str, columns: Sequence[str]) -> None:
        self.folder, self.prefix, self.columns = folder, prefix, list(columns)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from error

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Keep rows under a name of their own, so that two audits into one folder never replace each other's."""
        if rows:
            name = f"{self.prefix}-{len(self.files()):06d}-{uuid.uuid4().hex[:8]}.parquet"
            with atomic_path(self.folder / name) as temporary:
                pd.DataFrame(list(rows)).to_parquet(temporary, index=False)

    def files(self) -> list[Path]:
        """The parts, in the order in which they were written."""
        return sorted(self.folder.glob(f"{self.prefix}-*.parquet"))

    def read(self) -> pd.DataFrame:
        """All rows; a part that is damaged or of something else is left out, and its rows are made again."""
        frames = []
        for file in self.files():
            try:
                frame = pd.read_parquet(file)
            except (pa.ArrowException, OSError):
                file.unlink(missing_ok=True)
                continue
            # A sound table of something else was not written here: it stays, since it may be missed elsewhere.
            if set(self.columns) <= set(frame.columns) and frame[self.columns[:2]].notna().all(axis=None):
                frames.append(frame)
        # A column that is empty in one part has no type there.
        full = [frame.dropna(axis="columns", how="all") for frame in frames]
        return pd.concat(full, ignore_index=True) if full else pd.DataFrame()


def measure_all(tasks: Sequence[Task], parts: Parts, *, workers: int, steps: Steps) -> pd.DataFrame:
    """Measure every image that has not been measured since it changed.

    Args:
        tasks: name in the manifest, and file.
        parts: where rows are kept.
        workers: processes.
        steps: counts images.

    Returns:
        A row per task, in their order; see `measure_image`.

    Raises:
        KeyboardInterrupt: as it came; what was measured is kept.
    """
    before = parts.read()
    known = set(zip(before["image"], before["stamp"], strict=True)) if len(before) else set()
    stamps = {name: stamp_of(file) for name, file in tasks}
    waiting = [task for task in tasks if (task[0], stamps[task[0]]) not in known]
    steps.advance(len(tasks) - len(waiting))
    rows: list[dict[str, Any]] = []
    try:
        for row in _measured(waiting, workers):
            rows.append(row)
            steps.advance()
            if len(rows) == PART:
                parts.write(rows)
                rows = []
    finally:
        parts.write(rows)
    table = parts.read()
    # Of several rows of an image the one of its present state holds, whatever the order of the parts.
    current = table["stamp"] == table["image"].map(stamps)
    table = table.iloc[current.to_numpy().argsort(kind="stable")]
    table = table.drop_duplicates("image", keep="last").set_index("image")
    return table.reindex([name for name, _ in tasks]).reset_index()


def _measured(tasks: Sequence[Task], workers: int) -> Iterator[dict[str, Any]]:
    chunks = [list(tasks[at : at + _CHUNK]) for at in range(0, len(tasks), _CHUNK)]
    if workers == 1 or len(tasks) <= FEW:
        for chunk in chunks:
            yield from _measure_chunk(chunk)
        return
    for chunk, rows in in_processes(_measure_chunk, chunks, workers):
        yield from rows if rows is not None else _one_by_one(chunk)


def in_processes(
    function: Callable[[Any], Any], chunks: Sequence[Any], workers: int
) -> Iterator[tuple[Any, Any | None]]:
    """Run `function` on chunks in fresh processes, with few of them under way, so that memory stays flat.

    Yields:
        A chunk and its answer, in the order in which they are ready; None where its process was killed, or
        another one while it waited.
    """
    left = list(chunks)
    while left:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin) as pool:
            under_way: dict[Future[Any], Any] = {}
            try:
                while left or under_way:
                    while left and len(under_way) < workers * _AHEAD:
                        chunk = left.pop(0)
                        under_way[pool.submit(function, chunk)] = chunk
                    done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                    for future in done:
                        answer = future.result()
                        yield under_way.pop(future), answer
            except BrokenProcessPool:
                for chunk in under_way.values():
                    yield chunk, None
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _begin() -> None:
    """Ctrl-C is for the process that the user sees; OpenCV's threads would fight with the other workers."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def _end_with_parent() -> None:
    """End this worker when the audit is gone: a kill cannot be caught, and the pool would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _measure_chunk(chunk: Sequence[Task]) -> list[dict[str, Any]]:
    return [measure_image(name, path) for name, path in chunk]


def _one_by_one(chunk: Sequence[Task]) -> Iterator[dict[str, Any]]:
    """Find the image that killed its process."""
    for task in chunk:
        [(_, rows)] = in_processes(_measure_chunk, [[task]], workers=1)
        if rows is not None:
            yield from rows
            continue
        name, path = task
        words = f"Decoding {name} ended its process: the decoder crashed, or memory ran out."
        yield {"image": name, "stamp": stamp_of(path), "trouble": "crashes the decoder", "trouble_words": words}


def open_folder(out: Path, marker: str) -> None:
    """Refuse a folder that holds something else than an audit.

    Raises:
        InvalidInput: if it is a file, or holds files and neither an audit's `marker` nor nothing but its parts.
    """
    if out.exists() and not out.is_dir():
        raise InvalidInput(f"{out} is a file.", "Give a folder.")
    if not out.is_dir() or _is_audit(out / marker):
        return
    # A stopped audit has left parts, and what a former one left beside them was written from parts too.
    parts = out / "parts"
    ours = parts.is_dir() and all(fnmatch(path.name, "*-[0-9]*-*.parquet") for path in parts.iterdir())
    others = [path for path in out.iterdir() if path != parts]
    if others and not (ours and any(parts.iterdir())):
        raise InvalidInput(f"{out} is not empty and holds no audit.", "Choose another folder.")
    if parts.exists() and not ours:
        raise InvalidInput(f"{parts} holds something else than parts of an audit.", "Choose another folder.")


def _is_audit(file: Path) -> bool:
    """Whether a file is the record of an audit, of any version."""
    try:
        found = read_json(file, what="audit") if file.is_file() else {}
    except InvalidInput:
        return False
    return isinstance(found, dict) and found.get("kind") == "audit"
