"""Prepared fields on disk: decoded once, mapped into memory by every later run and by every worker process.

A file an entry, named by a digest of the image's bytes and of everything that shapes the entry. An entry is written
beside its place and renamed when it is whole, so that a kill at any moment leaves either a whole entry or a nameless
rest, which is swept as soon as its writer is gone. Two processes that write the same entry write the same bytes, and
one rename wins.

Why by the bytes and not by size and time of change: reading and hashing a field costs a hundredth of preparing it, and
a file that was replaced within the clock's grain, or copied with its times, is never mistaken.

Why entries in use are never evicted for others of the same run: an epoch asks for every field in turn, and a cache that
drops the least recently used one would drop each just before it is asked for. What other cohorts or settings left is
dropped first, longest unused first; when that is not enough, the entry is not kept and its field is read again.

Why an entry that cannot be written ends no run: a cache is no more than time saved. Such entries are counted with those
that found no room, and the first reason is kept for who tells the user. A cache that can only be read is read.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import stat
import sys
import time
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import filelock
import numpy as np
import PIL

from msht.cohort.field import SourceField, StoredField
from msht.errors import InvalidInput, MissingResource
from msht.files import cannot_write
from msht.images.quality import Quality

if sys.platform != "win32":
    import fcntl

FORMAT = 4
MAGIC = b"msht field\n"
CHECKED_FROM = len(MAGIC) + 9
"""Where in the header begins what its checksum, eight digits and a line's end, covers: all the rest of it."""
SUFFIX = ".field"
HEADER_BYTES = 4096
"""The header's room; the pixels begin on a page of their own."""
MARKER = "msht-cache.json"
OWN = (MARKER, ".lock", ".total")
"""What a cache holds beside its entries and what is being written (`.*.part`)."""
STALE_SECONDS = 3600
"""Age from which what a killed writer left is removed where the file system has no locks that tell who lives."""
LOCK_SECONDS = 60
LASTING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Errors of a write that the next write would meet too."""
DEFAULT_GIB = 50.0


class FieldCache:
    """A folder of prepared fields, shared by runs and by processes.

    Args:
        folder: made where it is not there; a folder that holds something else is refused. A cache that cannot be
            written is used for reading.
        limit_bytes: bound on the entries together.

    Raises:
        InvalidInput: if the folder is no cache and not empty.
        MissingResource: if there is no cache and none can be made, or another process does not let go of its lock.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._refused: set[str] = set()
        self._reason: str | None = None
        self._read_only = False
        self._used: set[str] = set()
        self._open()

    @property
    def refused(self) -> int:
        """Entries of this process that found no room or could not be written."""
        return len(self._refused)

    @property
    def why(self) -> str:
        """What keeps entries out, said of the cache: "is full", or that it cannot be written, and why."""
        return "is full" if self._reason is None else f"cannot be written ({self._reason})"

    def key(self, data: bytes, path: Path, settings: dict[str, Any]) -> str:
        """Name an entry by the image's bytes, the ending of its name, the settings, and the versions at work."""
        shaped = {"format": FORMAT, "ending": path.suffix.lower(), "settings": settings, "versions": _versions()}
        text = json.dumps(shaped, sort_keys=True)
        return hashlib.sha256(hashlib.sha256(data).digest() + text.encode()).hexdigest()

    def get(self, key: str, *, check: bool = True) -> StoredField | None:
        """Map an entry into memory; None where there is none, none can be read, or what is there is not whole.

        Args:
            key: its name.
            check: whether to read and check every byte, as a run does once for each entry.
        """
        path = self._place(key)
        try:
            field = _mapped(path, check=check)
        except OSError:  # not there, or not to be read just now, as with too many files open: no sign of damage
            return None
        except ValueError:
            with contextlib.suppress(OSError):  # where it cannot be removed, it is found damaged again
                path.unlink()
            return None
        if check:
            with contextlib.suppress(OSError):  # another user's entry, or a disk that is only read
                os.utime(path)
        self._used.add(key)
        return field

    def put(self, key: str, field: StoredField) -> bool:
        """Keep an entry where there is room for it and it can be written, and say whether it was kept."""
        self._used.add(key)
        if self._read_only or not self._write(self._place(key), _packed(field)):
            self._refused.add(key)
            return False
        self._refused.discard(key)
        return True

    def size(self) -> int:
        """Bytes of all entries, counted."""
        return sum(facts.st_size for _, facts in self._entries())

    def _open(self) -> None:
        try:
            if self.folder.exists() and not self.folder.is_dir():
                raise InvalidInput(f"{self.folder} is a file.", "Give a folder for the cache.")
            self.folder.mkdir(parents=True, exist_ok=True)
            self._refuse_another_use()
            with self._lock():
                if not self._is_marked():
                    text = json.dumps({"kind": "cache of msht", "format": FORMAT}) + "\n"
                    (self.folder / MARKER).write_text(text, encoding="utf-8")
                self._sweep()
                self._write_total(self.size())  # a writer killed at its count left it wrong
        except filelock.Timeout as error:
            raise MissingResource(
                f"The cache {self.folder} has been locked by another process for {LOCK_SECONDS} seconds.",
                "Wait for that process or stop it, or give another folder.",
            ) from error
        except OSError as error:
            if not self._is_marked():
                raise cannot_write(self.folder, error) from error
            self._reason, self._read_only = _reason(error), True

    def _refuse_another_use(self) -> None:
        """Refuse a folder that is no cache, before anything is written there.

        Another process may be making the cache at this moment: it writes the marker before any entry, so that a look
        at the marker after the look around never takes its entries for something else.
        """
        found = [path.name for path in self.folder.iterdir()]
        others = [name for name in found if name not in OWN and not (name.startswith(".") and name.endswith(".part"))]
        if others and not self._is_marked():
            raise InvalidInput(
                f"{self.folder} is not empty and is no cache: it has no {MARKER}.",
                "Give a folder of its own, since the cache removes what it no longer needs.",
            )

    def _is_marked(self) -> bool:
        try:
            return (self.folder / MARKER).is_file()
        except OSError:  # a folder that may not be looked into
            return False

    def _write(self, path: Path, data: bytes) -> bool:
        """Write an entry; whether it was."""
        try:
            path.parent.mkdir(exist_ok=True)
            part, file = self._begin()
            try:
                with file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())  # a name must never be on disk before what it names
                    with self._lock():
                        before = path.stat().st_size if path.is_file() else 0
                        more = len(data) - before
                        if not self._has_room(more):
                            return False
                        self._write_total(self._read_total() + more)
                        file.close()  # under the lock, since what nobody holds is swept
                        part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            late = isinstance(error, filelock.Timeout)
            found = f"locked by another process for {LOCK_SECONDS} seconds" if late else _reason(error)
            self._reason = self._reason or found
            self._read_only = self._read_only or late or error.errno in LASTING
            return False
        return True

    def _begin(self) -> tuple[Path, BinaryIO]:
        """Begin a file beside the entries, held for as long as it is open, so that nobody sweeps it."""
        while True:
            part = self.folder / f".{uuid.uuid4().hex}.part"
            file = part.open("xb")
            if sys.platform != "win32":
                with contextlib.suppress(OSError):  # a file system without locks: its age protects it
                    fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink > 0:
                return part, file
            file.close()  # swept before it was held

    def _sweep(self) -> None:
        """Remove what killed writers left."""
        for part in self.folder.glob(".*.part"):
            with contextlib.suppress(OSError):  # gone meanwhile, or another user's
                _remove_abandoned(part)

    def _has_room(self, size: int) -> bool:
        """Make room by dropping what this run does not use; whether there is enough then."""
        total = self._read_total()
        if total + size <= self.limit_bytes:
            return True
        self._sweep()
        total = self.size()
        others = [(facts.st_mtime_ns, path, facts) for path, facts in self._entries() if path.stem not in self._used]
        for _, path, facts in sorted(others, key=lambda other: other[0]):
            if total + size <= self.limit_bytes:
                break
            try:
                path.unlink(missing_ok=True)  # a process that has it mapped keeps it until it lets go
            except OSError:  # another user's: it stays, and counts
                continue
            total -= facts.st_size
        self._write_total(total)
        return total + size <= self.limit_bytes

    def _entries(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self.folder.glob(f"??/*{SUFFIX}"):
            try:
                facts = path.stat()
            except OSError:  # evicted by another process meanwhile
                continue
            if stat.S_ISREG(facts.st_mode):
                yield path, facts

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
        memo = self.folder / ".total"
        try:
            memo.write_text(str(total), encoding="ascii")
        except OSError:
            memo.unlink(missing_ok=True)  # without it entries are counted; with a wrong one they would not be
            raise


def cache_from_environment() -> FieldCache | None:
    """The cache that `MSHT_CACHE` names, bounded by `MSHT_CACHE_GIB` (50); None where it names none.

    A place on a machine shapes no model, so no recipe holds it; the environment reaches every process of a run.

    Raises:
        InvalidInput: if the folder holds something else, or the bound is no positive number.
        MissingResource: if no cache can be made there.
    """
    name = os.environ.get("MSHT_CACHE")
    if not name:
        return None
    try:
        folder = Path(name).expanduser()
    except RuntimeError as error:
        raise InvalidInput(f"MSHT_CACHE is '{name}', and that home is not known.", "Give the whole path.") from error
    text = os.environ.get("MSHT_CACHE_GIB", str(DEFAULT_GIB))
    try:
        gib = float(text)
    except ValueError:
        gib = math.nan
    if not 0 < gib < math.inf:
        raise InvalidInput(f"MSHT_CACHE_GIB is '{text}'.", "Give the size of the cache in GiB, e.g. 50.")
    return FieldCache(folder, int(gib * 2**30))


def _versions() -> dict[str, str]:
    return {
        "msht": version("msht"),
        "pillow": PIL.__version__,
        "simplejpeg": version("simplejpeg"),
        "opencv": cv2.__version__,
        "numpy": np.__version__,
    }


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _remove_abandoned(part: Path) -> None:
    """Remove a file that was being written, unless its writer still has it open."""
    if sys.platform == "win32":
        part.unlink()  # refused while it is open
        return
    with part.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:  # a file system without locks
            if time.time() - os.fstat(file.fileno()).st_mtime <= STALE_SECONDS:
                return
        part.unlink()


def _packed(field: StoredField) -> bytes:
    body = field.view.tobytes() + field.source.pixels.tobytes()
    header = {
        "view": field.view.shape,
        "source": field.source.pixels.shape,
        "squares": field.source.squares,
        "quality": asdict(field.quality),
        "sha256": field.sha256,
        "crc32": zlib.crc32(body),
    }
    text = json.dumps(header).encode("ascii")
    room = HEADER_BYTES - CHECKED_FROM
    if len(text) >= room:
        raise ValueError(f"the header of a cache entry takes {len(text)} bytes of {room}")
    checked = text.ljust(room, b"\n")
    buffer = io.BytesIO()
    buffer.write(_checksum(checked) + checked)
    buffer.write(body)
    return buffer.getvalue()


def _checksum(checked: bytes) -> bytes:
    """What begins the header of an entry, up to what its checksum covers."""
    return MAGIC + b"%08x\n" % zlib.crc32(checked)


def _mapped(path: Path, *, check: bool) -> StoredField:
    """Map an entry, in memory that can be written without changing the file.

    Raises:
        ValueError: if it is not whole.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
        if len(head) < HEADER_BYTES or head[:CHECKED_FROM] != _checksum(head[CHECKED_FROM:]):
            raise ValueError("damaged header of a cache entry")
        header = json.loads(head[CHECKED_FROM:])
        whole = np.memmap(file, dtype=np.uint8, mode="c")
    view_size, source_size = math.prod(header["view"]), math.prod(header["source"])
    if len(whole) != HEADER_BYTES + view_size + source_size:
        raise ValueError("damaged entry of a cache")
    if check and zlib.crc32(whole[HEADER_BYTES:].data) != header["crc32"]:
        raise ValueError("damaged entry of a cache")
    view = whole[HEADER_BYTES : HEADER_BYTES + view_size].reshape(header["view"])
    pixels = whole[HEADER_BYTES + view_size :].reshape(header["source"])
    squares = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in header["squares"])
    return StoredField(view, SourceField(pixels, squares), Quality(**header["quality"]), header["sha256"])
