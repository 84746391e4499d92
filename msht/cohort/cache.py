"""Prepared fields on disk: decoded once, mapped into memory by every later run and by every worker process.

A file an entry, named by a digest of the image's bytes and of everything that shapes the entry. An entry is written
beside its place and renamed when it is whole, so that a kill at any moment leaves either a whole entry or a nameless
rest, which the next run sweeps. Two processes that write the same entry write the same bytes, and one rename wins.

Why by the bytes and not by size and time of change: reading and hashing a field costs a hundredth of preparing it, and
a file that was replaced within the clock's grain, or copied with its times, is never mistaken.

Why entries in use are never evicted for others of the same run: an epoch asks for every field in turn, and a cache that
drops the least recently used one would drop each just before it is asked for. What other cohorts or settings left is
dropped first, longest unused first; when that is not enough, the entry is not kept and its field is read again.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import filelock
import numpy as np
import PIL

from msht.cohort.field import SourceField, StoredField
from msht.errors import InvalidInput
from msht.files import cannot_write
from msht.images.quality import Quality

FORMAT = 3
MAGIC = b"msht field\n"
SUFFIX = ".field"
HEADER_BYTES = 4096
"""The header's room; the pixels begin on a page of their own."""
MARKER = "msht-cache.json"
STALE_SECONDS = 3600
"""Age from which what a killed writer left is removed."""
LOCK_SECONDS = 60
DEFAULT_GIB = 50.0


class FieldCache:
    """A folder of prepared fields, shared by runs and by processes.

    Args:
        folder: made where it is not there; a folder that holds something else is refused.
        limit_bytes: bound on the entries together.

    Raises:
        InvalidInput: if the folder is no cache and not empty.
        MissingResource: if it cannot be written.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.refused = 0
        """Entries that found no room in this process."""
        self._used: set[str] = set()
        self._open()

    def key(self, data: bytes, path: Path, settings: dict[str, Any]) -> str:
        """Name an entry by the image's bytes, the ending of its name, the settings, and the versions at work."""
        shaped = {"format": FORMAT, "ending": path.suffix.lower(), "settings": settings, "versions": _versions()}
        text = json.dumps(shaped, sort_keys=True)
        return hashlib.sha256(hashlib.sha256(data).digest() + text.encode()).hexdigest()

    def get(self, key: str, *, check: bool = True) -> StoredField | None:
        """Map an entry into memory; None where there is none, or where what is there is not whole.

        Args:
            key: its name.
            check: whether to read and check every byte, as a run does once for each entry.
        """
        path = self._place(key)
        try:
            field = _mapped(path, check=check)
            if check:
                os.utime(path)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, OSError):
            path.unlink(missing_ok=True)  # damaged on disk: made anew
            return None
        self._used.add(key)
        return field

    def put(self, key: str, field: StoredField) -> bool:
        """Keep an entry where there is room for it, and say whether there was.

        Raises:
            MissingResource: if the disk is full or cannot be written.
        """
        assert field.source is not None
        data = _packed(field)
        self._used.add(key)
        path = self._place(key)
        try:
            path.parent.mkdir(exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".part")
            temporary = Path(name)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())  # a name must never be on disk before what it names
                with self._lock():
                    if not self._has_room(len(data)):
                        self.refused += 1
                        return False
                    temporary.replace(path)
                    self._write_total(self._read_total() + len(data))
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error
        return True

    def size(self) -> int:
        """Bytes of all entries, counted."""
        return sum(facts.st_size for _, facts in self._entries())

    def _open(self) -> None:
        marker = self.folder / MARKER
        if self.folder.exists() and not self.folder.is_dir():
            raise InvalidInput(f"{self.folder} is a file.", "Give a folder for the cache.")
        try:
            known = marker.is_file()
            if self.folder.is_dir() and not known and any(self.folder.iterdir()):
                raise InvalidInput(
                    f"{self.folder} is not empty and is no cache: it has no {MARKER}.",
                    "Give a folder of its own, since the cache removes what it no longer needs.",
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._lock():
                if not known:
                    marker.write_text(json.dumps({"kind": "cache of msht", "format": FORMAT}) + "\n", encoding="utf-8")
                for rest in self.folder.glob(".*.part"):
                    if time.time() - rest.stat().st_mtime > STALE_SECONDS:
                        rest.unlink(missing_ok=True)
                self._write_total(self.size())  # a writer killed between its rename and its count left it short
        except OSError as error:
            raise cannot_write(self.folder, error) from error

    def _has_room(self, size: int) -> bool:
        """Make room by dropping what this run does not use; whether there is enough then."""
        total = self._read_total()
        if total + size <= self.limit_bytes:
            return True
        total = self.size()
        others = [(facts.st_mtime_ns, path, facts) for path, facts in self._entries() if path.stem not in self._used]
        for _, path, facts in sorted(others, key=lambda other: other[0]):
            if total + size <= self.limit_bytes:
                break
            path.unlink(missing_ok=True)  # a process that has it mapped keeps it until it lets go
            total -= facts.st_size
        self._write_total(total)
        return total + size <= self.limit_bytes

    def _entries(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self.folder.glob(f"??/*{SUFFIX}"):
            try:
                yield path, path.stat()
            except FileNotFoundError:  # evicted by another process meanwhile
                continue

    def _place(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}{SUFFIX}"

    def _lock(self) -> filelock.FileLock:
        # Made anew each time: a lock is bound to its process, and a cache is handed on to worker processes.
        return filelock.FileLock(self.folder / ".lock", timeout=LOCK_SECONDS)

    def _read_total(self) -> int:
        try:
            return int((self.folder / ".total").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return self.size()

    def _write_total(self, total: int) -> None:
        (self.folder / ".total").write_text(str(total), encoding="ascii")


def cache_from_environment() -> FieldCache | None:
    """The cache that `MSHT_CACHE` names, bounded by `MSHT_CACHE_GIB` (50); None where it names none.

    A place on a machine shapes no model, so no recipe holds it; the environment reaches every process of a run.

    Raises:
        InvalidInput: if the folder holds something else, or the bound is no positive number.
        MissingResource: if it cannot be written.
    """
    folder = os.environ.get("MSHT_CACHE")
    if not folder:
        return None
    text = os.environ.get("MSHT_CACHE_GIB", str(DEFAULT_GIB))
    try:
        gib = float(text)
    except ValueError:
        gib = math.nan
    if not 0 < gib < math.inf:
        raise InvalidInput(f"MSHT_CACHE_GIB is '{text}'.", "Give the size of the cache in GiB, e.g. 50.")
    return FieldCache(Path(folder), int(gib * 2**30))


def _versions() -> dict[str, str]:
    return {
        "msht": version("msht"),
        "pillow": PIL.__version__,
        "simplejpeg": version("simplejpeg"),
        "opencv": cv2.__version__,
        "numpy": np.__version__,
    }


def _packed(field: StoredField) -> bytes:
    assert field.source is not None
    body = field.view.tobytes() + field.source.pixels.tobytes()
    header = {
        "view": field.view.shape,
        "source": field.source.pixels.shape,
        "squares": field.source.squares,
        "quality": asdict(field.quality),
        "sha256": field.sha256,
        "crc32": zlib.crc32(body),
    }
    buffer = io.BytesIO()
    buffer.write(MAGIC + json.dumps(header).encode("ascii"))
    if buffer.tell() >= HEADER_BYTES:
        raise ValueError(f"the header of a cache entry takes {buffer.tell()} bytes of {HEADER_BYTES}")
    buffer.write(b"\n" * (HEADER_BYTES - buffer.tell()))
    buffer.write(body)
    return buffer.getvalue()


def _mapped(path: Path, *, check: bool) -> StoredField:
    """Map an entry, in memory that can be written without changing the file.

    Raises:
        ValueError: if it is not whole.
    """
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    if not head.startswith(MAGIC):
        raise ValueError("no entry of a cache")
    header = json.loads(head[len(MAGIC) :])
    whole = np.memmap(path, dtype=np.uint8, mode="c")
    view_size, source_size = math.prod(header["view"]), math.prod(header["source"])
    if len(whole) != HEADER_BYTES + view_size + source_size:
        raise ValueError("damaged entry of a cache")
    if check and zlib.crc32(whole[HEADER_BYTES:].data) != header["crc32"]:
        raise ValueError("damaged entry of a cache")
    view = whole[HEADER_BYTES : HEADER_BYTES + view_size].reshape(header["view"])
    pixels = whole[HEADER_BYTES + view_size :].reshape(header["source"])
    squares = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in header["squares"])
    return StoredField(view, SourceField(pixels, squares), Quality(**header["quality"]), header["sha256"])
