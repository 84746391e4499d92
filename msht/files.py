"""Writing files so that nobody ever finds half of one, and reading them so that nobody leaves their folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msht.errors import InvalidInput, MissingResource


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block ends well, remove it otherwise.

    The temporary name keeps the suffix of `path`, since many writers choose their format by it.

    Raises:
        MissingResource: if the folder cannot be written, the disk is full, or `path` is a device or a pipe.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        # Renamed onto /dev/null, a report would take the place of the device.
        raise MissingResource(f"{path} is a device or a pipe; no file can take its place.", "Name a file.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    except OSError as error:
        raise cannot_write(path, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        as_any_new_file(temporary)  # at the end, since some writers rename a file of their own onto this name
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def quoted(path: object) -> str:
    """A path as a shell takes it, for a command that a message offers."""
    return shlex.quote(str(path))


def cannot_write(path: Path, error: OSError) -> MissingResource:
    """Say that `path` could not be written, and why."""
    reason = error.strerror or str(error)
    return MissingResource(
        f"{path} cannot be written: {reason}.",
        "Free some space or choose a folder that can be written; what was there before is unchanged.",
    )


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write indented JSON in a stable order, whole or not at all; NaN is refused, as JSON has none."""
    write_text(path, as_json(data))


def as_json(data: Any) -> str:
    """The text that `write_json` writes."""
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path, *, what: str) -> Any:
    """Read a JSON file that this program wrote.

    Args:
        path: the file.
        what: what it should be, for the message ("bundle description").

    Raises:
        InvalidInput: if it is not there, cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidInput(f"{path} does not exist; it should be the {what}.", "Check the folder.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is not readable JSON ({error}).", f"Write the {what} again.") from error
    except OSError as error:
        raise InvalidInput(f"{path} is not readable ({error.strerror or error}).", "Check the folder.") from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_text(text: str) -> str:
    """SHA-256 of a text's UTF-8 bytes, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def inside(root: Path, relative: str) -> Path:
    """Resolve a path read from a file, and refuse it if it leaves `root`.

    Raises:
        InvalidInput: if the path is absolute or climbs out of `root`, by name or by a symbolic link, or if no
            file can have it.
    """
    try:
        candidate = (root / relative).resolve()
        candidate.exists()  # a name that is too long says so only when it is asked for
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidInput(f"The path {relative!r} cannot be a file ({error}).", "Mend the path.") from error
    if Path(relative).is_absolute() or not candidate.is_relative_to(root.resolve()):
        raise InvalidInput(
            f"The path '{relative}' leaves the folder {root}.",
            "Paths in a table are relative to it and stay below it.",
        )
    return candidate


def as_any_new_file(path: Path) -> None:
    """Give a file that was made for its owner alone the permissions of any new file."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)
