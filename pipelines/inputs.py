"""What to score: files, folders or a manifest, each image with a name and the case it belongs to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from msht.cohort.manifest import GROUP_COLUMNS, images_folder, read_table
from msht.errors import InvalidInput
from msht.files import inside
from msht.images.reading import is_image_path

if TYPE_CHECKING:
    from msht.images.slides import Tile

TABLES = {".csv", ".tsv", ".parquet"}


@dataclass(frozen=True)
class ScoreInput:
    """An image to score.

    Attributes:
        name: unique name in the tables: its path below the folder that was given.
        path: where it lies.
        case: which case it belongs to.
        tile: the part that is scored, where the file is a whole slide.
    """

    name: str
    path: Path
    case: str
    tile: Tile | None = None


def find_inputs(
    sources: Sequence[Path], *, case_from: str | None = None, images: Path | None = None
) -> list[ScoreInput]:
    """Every image of files, folders and tables, in a stable order.

    Args:
        sources: image files, folders (searched whole), or tables with a column `image`.
        case_from: regular expression over the path below the folder; its first group is the case. None: a
            table's `case_id` (or patient or slide), else the folder that the image lies in, by its path.
        images: folder that the paths of a table start from.

    Raises:
        InvalidInput: if a source is not there, nothing is found, or the expression does not fit a file.
    """
    pattern = _compile(case_from)
    found: dict[str, ScoreInput] = {}
    roots = [source for source in sources if source.is_dir()]
    for source in sources:
        if not source.exists():
            raise InvalidInput(f"{source} does not exist.", "Give image files, folders or a table.")
        for name, path, case in _of_source(source, images):
            unique = f"{source.name}/{name}" if len(roots) > 1 and source.is_dir() else name
            if unique in found:
                if found[unique].path == path:
                    continue
                unique = f"{path.parent.name}/{path.name}"
                if unique in found:
                    raise InvalidInput(f"Two inputs are named '{unique}'.", "Score them into two folders.")
            if pattern is not None:
                case = _case_of(pattern, unique)
            if not unique.isprintable() or not case.isprintable():
                raise InvalidInput(
                    f"The name {unique.encode('utf-8', 'backslashreplace').decode()!r} holds characters that no table "
                    "can hold.",
                    "Rename the file or folder.",
                )
            found[unique] = ScoreInput(unique, path.absolute(), case)
    if not found:
        raise InvalidInput(
            f"There is no image in {', '.join(map(str, sources))}.", "Images end in .jpg, .png, .tif or .bmp."
        )
    return list(found.values())


def _of_source(source: Path, images: Path | None) -> list[tuple[str, Path, str]]:
    if source.is_dir():
        paths = sorted(
            p
            for p in source.rglob("*")
            if p.is_file() and is_image_path(p) and not any(x.startswith(".") for x in p.relative_to(source).parts)
        )
        return [
            (p.relative_to(source).as_posix(), p, _folder_case(p, source))
            for p in paths
            if p.resolve().is_relative_to(source.resolve())
        ]
    if source.suffix.lower() in TABLES:
        frame = read_table(source)
        if "image" not in frame:
            raise InvalidInput(f"{source.name} has no column 'image'.", "Give a manifest.")
        root = images_folder(source, images)
        column = next((c for c in ("case_id", *GROUP_COLUMNS) if c in frame), None)
        rows = []
        for number, image in enumerate(frame["image"]):
            if pd.isna(image) or (column and pd.isna(frame[column].iloc[number])):
                empty = "image" if pd.isna(image) else column
                raise InvalidInput(f"{source.name}, row {number + 2}: the cell '{empty}' is empty.", "Fill it.")
            path = inside(root, str(image))
            case = str(frame[column].iloc[number]) if column else Path(str(image)).parent.as_posix()
            rows.append((str(image), path, case))
        return rows
    return [(source.name, source, source.resolve().parent.name)]


def _folder_case(path: Path, source: Path) -> str:
    """The whole path of the folder below the source: two patients may both have a folder `slide1`."""
    folder = path.parent.relative_to(source).as_posix()
    return source.resolve().name if folder == "." else folder


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
        raise InvalidInput(f"--case-from '{pattern.pattern}' does not fit '{name}'.", "Mend the expression.")
    if not match.group(1):
        raise InvalidInput(f"--case-from '{pattern.pattern}' finds an empty case in '{name}'.", "Mend the expression.")
    return match.group(1)


def file_name_for(text: str) -> str:
    """A file name for any text: unchanged where it is plain, else made plain and told apart by a digest."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._")[:80]
    if plain and plain == text:
        return plain
    return f"{plain}-{hashlib.sha256(text.encode('utf-8')).hexdigest()[:8]}".lstrip("-")
