"""What to score: each image with a name that no other has and the case it belongs to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from msht.errors import InvalidInput
from msht.images.reading import is_image_path
from pipelines.score_sources import STANDARD_INPUT, Found, Stray, as_shell_word, found_in, printable

if TYPE_CHECKING:
    from msht.images.slides import Tile


@dataclass(frozen=True)
class ScoreInput:
    """An image to score.

    Attributes:
        name: unique name in the tables: its path below the folder that was given.
        path: where it lies; as a shell word where no table can hold it, and the table where a row must not be read.
        case: which case it belongs to.
        tile: the part that is scored, where the file is a whole slide.
        refused: why it is a rejected row without having been read.
    """

    name: str
    path: Path
    case: str
    tile: Tile | None = None
    refused: InvalidInput | None = None


def find_inputs(
    sources: Sequence[Path], *, case_from: str | None = None, images: Path | None = None
) -> list[ScoreInput]:
    """Every photograph of files, folders, globs and tables, in a stable order.

    Args:
        sources: image files, folders (searched whole), globs, or tables with a column `image`.
        case_from: regular expression over the name; its first group is the case. None: a table's `case_id` or `case`
            (or patient or slide), else the folder that the image lies in, by its path.
        images: folder that the paths of a table start from.

    Raises:
        InvalidInput: if a source is not there, nothing is found, or one of the files would be refused.
    """
    named: dict[str, ScoreInput] = {}
    several = several_folders(sources)
    for source in sources:
        found = found_in(source, is_image_path, prefixed=several, images=images)
        ordered = found if source.is_file() else sorted(found, key=lambda each: each.path)
        for item in name_inputs(ordered, lambda name: named[name].path if name in named else None, case_from):
            if item.refused is not None:
                raise item.refused
            named[item.name] = item
    if not named:
        raise nothing_found(sources)
    return list(named.values())


def name_inputs(
    found: Iterable[Found],
    taken: Callable[[str], Path | None],
    case_from: str | None,
    *,
    repeated: Callable[[Path, str], bool] = lambda _path, _name: False,
) -> Iterator[ScoreInput]:
    """Give each file that was found its name and case; a file that was found twice is given once.

    One that no table can hold under its own name, or that the expression does not fit, is given as a refused input
    under a name that can be printed.

    Args:
        found: the files.
        taken: path of the input that has a name already; None where the name is free.
        case_from: see `find_inputs`.
        repeated: whether a file, here under a name, was given before under any.

    Raises:
        InvalidInput: if two files cannot be told apart by name, or the expression is none.
    """
    pattern = _compile(case_from)
    for name, given, case, stray in found:
        whole = _canonical(given)
        refused = stray or _not_for_tables(name, whole, "" if pattern else case)
        path, unique, case = Path(as_shell_word(str(whole))), printable(name), printable(case)
        if stray is None and repeated(path, unique):
            continue
        if (other := taken(unique)) is not None:
            if other == path:
                continue
            # A row that leads out of its table's folder has the table as its path.
            unique = printable(f"{whole.parent.name}/{whole.name}" if stray is None else f"{whole.name}: {name}")
            if (other := taken(unique)) is not None:
                if other == path:
                    continue
                raise InvalidInput(f"Two inputs are named '{unique}'.", "Score them into two folders.")
        if pattern is not None:
            try:
                case = _case_of(pattern, unique)
            except Stray as error:
                refused = refused or error
        yield ScoreInput(unique, path, case, refused=refused)


def _canonical(path: Path) -> Path:
    """The one absolute path of a file, however its folder was written; a link in it is a file of its own."""
    whole = path.absolute()
    try:
        return _real_folder(whole.parent) / whole.name
    except (OSError, ValueError):  # a loop of links, or a NUL: found out when it is read
        return whole


@lru_cache(maxsize=1024)
def _real_folder(folder: Path) -> Path:
    return folder.resolve()


def several_folders(sources: Sequence[Path]) -> bool:
    """Whether the names in each folder must begin with the folder's own, to be told apart."""
    return sum(source.is_dir() for source in sources) > 1


def nothing_found(sources: Sequence[Path]) -> InvalidInput:
    """Say that there is nothing to score."""
    where = ", ".join("the list" if source == STANDARD_INPUT else str(source) for source in sources)
    return InvalidInput(f"There is no image in {where}.", "Images end in .jpg, .png, .tif or .bmp.")


def _not_for_tables(name: str, path: Path, case: str) -> InvalidInput | None:
    """Why no table can hold an input under its own name; None where one can."""
    for what, text, mend in (
        ("name", name, "Rename the file or folder."),
        ("path", str(path), "Rename the file or folder."),
        ("case", case, "Mend the case in the table, or rename the folder."),
    ):
        if text.isprintable():
            continue
        if any("\ud800" <= char <= "\udfff" for char in text):
            return InvalidInput(f"The {what} '{printable(text)}' is not UTF-8.", mend)
        return InvalidInput(f"The {what} '{printable(text)}' holds characters that cannot be printed.", mend)
    return None


def _compile(case_from: str | None) -> re.Pattern[str] | None:
    if case_from is None:
        return None
    try:
        pattern = re.compile(case_from)
    except re.error as error:
        raise InvalidInput(f"--case-from '{case_from}' is not a regular expression ({error}).", "Mend it.") from error
    if pattern.groups < 1:
        raise InvalidInput(f"--case-from '{case_from}' has no group.", r"Put the case in brackets: '^(P\d+)_'.")
    return pattern


def _case_of(pattern: re.Pattern[str], name: str) -> str:
    match = pattern.search(name)
    if match is None:
        raise Stray(f"--case-from '{pattern.pattern}' does not fit '{name}'.", "Mend the expression.")
    if not match.group(1):
        raise Stray(f"--case-from '{pattern.pattern}' finds an empty case in '{name}'.", "Mend the expression.")
    return match.group(1)


def file_name_for(text: str) -> str:
    """A file name for any text: unchanged where it is plain, else made plain and told apart by a digest."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._")[:80]
    if plain and plain == text:
        return plain
    return f"{plain}-{hashlib.sha256(text.encode('utf-8')).hexdigest()[:8]}".lstrip("-")
