"""Where inputs come from: files, folders, globs, tables and lists of paths. Found one by one, never all in memory."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath
from typing import IO, NamedTuple

from msht.cohort.manifest import GROUP_COLUMNS, images_folder
from msht.cohort.tables import EXCEL_ENDINGS, TEXT_ENDINGS, load_table
from msht.errors import InvalidInput
from msht.files import inside

TABLES = frozenset((*TEXT_ENDINGS, *EXCEL_ENDINGS, ".parquet", ".xls", ".ods"))
"""Endings of tables, and of some that are refused with a sentence of how to save them."""
STANDARD_INPUT = Path("-")
"""Stands for a list of paths on standard input."""

BLOCK = 65536
"""Bytes of a list that are read at a time."""

Wanted = Callable[[Path], bool]


class Stray(InvalidInput):
    """An input that what the user wrote does not fit: a row in `rejected`, unless there is no other kind of input."""


class Found(NamedTuple):
    """A file that was found."""

    name: str
    """Its path below the source, or its name."""
    path: Path
    case: str
    """By the source: a column of the table, else the folder."""
    refused: InvalidInput | None = None
    """Why it must not be read. `path` is then the table that names it."""


class LeftOut(NamedTuple):
    """Links of folders that were not followed."""

    number: int
    example: str
    """The first of them by name, printable."""

    def in_words(self) -> str:
        """What was left out, why, and what to do about it."""
        said = "1 link was left out:" if self.number == 1 else f"{self.number} links were left out, for example"
        return (
            f"{said} {self.example}. Links to folders are not followed, nor links to files outside of the folder that "
            "is scored. Give what they lead to as an input of its own."
        )


class Repeats(NamedTuple):
    """Inputs that led to files which were listed already."""

    number: int
    example: str
    """The name of the first of them."""

    def in_words(self) -> str:
        """How many, and what became of them."""
        if self.number == 1:
            said = f"1 input names a file that was listed before: {self.example}."
        else:
            said = f"{self.number} inputs name files that were listed before, for example {self.example}."
        return f"{said} A file is scored once, under the name and in the case that it was listed with first."


def found_in(
    source: Path,
    wanted: Wanted,
    *,
    prefixed: bool = False,
    images: Path | None = None,
    listed: Iterable[str] | None = None,
    leave_out: Path | None = None,
) -> Iterator[Found]:
    """Every file of a source; those of a folder or glob in no order.

    Args:
        source: a file, a folder (searched whole), a glob, a table with a column `image`, or `STANDARD_INPUT`.
        wanted: which files of a folder or glob are taken; a file that is named itself is always taken.
        prefixed: whether names in a folder begin with the folder's own.
        images: folder that the paths of a table start from.
        listed: the paths that `STANDARD_INPUT` stands for.
        leave_out: a folder that is not searched: the one that is written.

    Raises:
        InvalidInput: if the source is not there, a folder cannot be read, or a table names no image.
    """
    skipped = leave_out.resolve() if leave_out else None
    if source == STANDARD_INPUT:
        yield from _of_list(listed or (), wanted, skipped)
    elif source.is_dir():
        prefix = f"{source.name}/" if prefixed else ""
        for found in _of_folder(source, wanted, skipped):
            yield found._replace(name=prefix + found.name)
    elif source.exists():
        yield from _of_table(source, images) if source.suffix.lower() in TABLES else [_of_file(source)]
    elif glob.has_magic(str(source)):
        yield from _of_glob(source, wanted, skipped)
    else:
        raise InvalidInput(f"{source} does not exist.", "Give image files, folders, quoted globs or a table.")


def refuse_own_folder(sources: Iterable[Path], out: Path) -> None:
    """Refuse to score the folder that is written, or what lies in it: its maps would be taken for photographs.

    Raises:
        InvalidInput: naming the folder.
    """
    own = out.resolve()
    for source in sources:
        if source.is_dir() and source.resolve().is_relative_to(own):
            raise InvalidInput(
                f"{source} is the folder of the tables, or lies in it ({out}).", "Give --out a folder of its own."
            )


def links_left_out(sources: Iterable[Path], wanted: Wanted, *, leave_out: Path | None = None) -> LeftOut:
    """Count the links in folders that `found_in` leaves out.

    The folders are looked through for this alone, by the names and kinds of their entries: that takes a small part of
    the time that listing takes.

    Args:
        sources: what is scored; only folders count.
        wanted: as in `found_in`; a link to a file counts if this takes it.
        leave_out: as in `found_in`.
    """
    skipped = leave_out.resolve() if leave_out else None
    number, example = 0, ""
    for source in sources:
        if source == STANDARD_INPUT or not source.is_dir():
            continue
        with contextlib.suppress(InvalidInput):  # a folder that cannot be read is said when it is searched for images
            for path in _links(source, wanted, skipped, source.resolve()):
                number, name = number + 1, printable(str(path))
                example = min(example or name, name)
    return LeftOut(number, example)


def printable(text: str) -> str:
    r"""A name as a line of a table can hold it: unchanged where it can, else with backslashes as a shell writes them.

    A byte that is not UTF-8 is `\xe9`, a line break `\n`. No two names that need it become the same.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() and char != "\\" else _escaped(char) for char in text)


def as_shell_word(text: str) -> str:
    """A path as a shell takes it: unchanged where a table can hold it, else `$'...'` with backslashes.

    No file has this path, so nothing opens one by it.
    """
    return text if text.isprintable() else "$'" + printable(text).replace("'", "\\'") + "'"


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return char.encode("unicode_escape").decode()
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def lines_of(stream: IO[bytes], *, null: bool = False) -> Iterator[str]:
    """The paths of a list: a line each, or each ended by a NUL byte as `find -print0` does; empty ones are left out."""
    end, rest = (b"\0" if null else b"\n"), b""
    while block := stream.read(BLOCK):
        *whole, rest = (rest + block).split(end)
        yield from _texts(whole, null)
    yield from _texts([rest], null)


def _texts(entries: Iterable[bytes], null: bool) -> Iterator[str]:
    for entry in entries:
        text = os.fsdecode(entry if null else entry.removesuffix(b"\r"))
        if text.strip():
            yield text


def _of_file(path: Path) -> Found:
    return Found(path.name, path, path.resolve().parent.name)


def _of_folder(folder: Path, wanted: Wanted, skipped: Path | None) -> Iterator[Found]:
    for path in _walk(folder, wanted, skipped):
        yield Found(path.relative_to(folder).as_posix(), path, _folder_case(path, folder))


def _walk(folder: Path, wanted: Wanted, skipped: Path | None) -> Iterator[Path]:
    """Files of a folder and those below it, without hidden ones; no link is followed that leads out of it."""
    root = folder.resolve()
    return _entries(folder, skipped, lambda e, path: wanted(path) and _is_file(e, path) and _stays(e, path, root))


def _links(folder: Path, wanted: Wanted, skipped: Path | None, root: Path) -> Iterator[Path]:
    """Links of a folder and those below it that `_walk` leaves out."""
    return _entries(
        folder,
        skipped,
        lambda e, path: e.is_symlink() and (e.is_dir() or (wanted(path) and not _stays(e, path, root))),
    )


def _entries(folder: Path, skipped: Path | None, takes: Callable[[os.DirEntry[str], Path], bool]) -> Iterator[Path]:
    """What is taken of all that a folder and those below it hold, hidden ones and the folders themselves apart."""
    below = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = folder / entry.name
                if entry.is_dir(follow_symlinks=False):
                    below.append(path)
                elif takes(entry, path):
                    yield path
    except OSError as error:
        raise InvalidInput(
            f"The folder {folder} cannot be read: {error.strerror or error}.", "Mend its rights, or leave it out."
        ) from error
    for path in below:
        if skipped is None or path.resolve() != skipped:
            yield from _entries(path, skipped, takes)


def _is_file(entry: os.DirEntry[str], path: Path) -> bool:
    """Whether an entry is a file, or should be one: a link to nothing is an input that cannot be read."""
    return entry.is_file() or (entry.is_symlink() and not path.exists())


def _stays(entry: os.DirEntry[str], path: Path, root: Path) -> bool:
    return not entry.is_symlink() or path.resolve().is_relative_to(root)


def _of_glob(pattern: Path, wanted: Wanted, skipped: Path | None) -> Iterator[Found]:
    """Files that a pattern fits, hidden ones apart; names start where the pattern does."""
    plain = next(number for number, part in enumerate(pattern.parts) if glob.has_magic(part))
    root = Path(*pattern.parts[:plain])
    within = root.resolve()
    try:
        for path in root.glob(str(Path(*pattern.parts[plain:]))):
            where = path.resolve()
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            if hidden or not where.is_relative_to(within) or (skipped is not None and where.is_relative_to(skipped)):
                continue
            for file in _walk(path, wanted, skipped) if path.is_dir() else [path] if wanted(path) else []:
                yield Found(file.relative_to(root).as_posix(), file, _folder_case(file, root))
    except (ValueError, NotImplementedError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"The pattern {pattern} cannot be read ({error}).", "Write ** between slashes.") from error


def _of_table(source: Path, images: Path | None) -> Iterator[Found]:
    may_be_none = source.suffix.lower() == ".txt"  # of what such a file holds its name says nothing
    try:
        table = load_table(source)
    except InvalidInput as error:
        raise (_neither(source) if may_be_none else error) from error
    frame = table.frame
    if "image" not in frame:
        raise (
            _neither(source)
            if may_be_none
            else InvalidInput(f"{source.name} has no column 'image'.", "Give a manifest.")
        )
    root = images_folder(source, images)
    column = next((c for c in ("case_id", "case", *GROUP_COLUMNS) if c in frame), None)
    cases = frame[column] if column else [None] * len(frame)
    listed: dict[Path, tuple[object, object]] = {}
    for row, image, case in zip(frame.index, frame["image"], cases, strict=True):
        for name, value in (("image", image), (column, case)):
            doubt = (table.unclear or {}).get((row, name or ""))
            if name and (not isinstance(value, str) or not value.strip()):
                raise InvalidInput(f"{source.name}, row {row}: the cell '{name}' is empty.", "Fill it.")
            if doubt:
                raise InvalidInput(f"{source.name}, row {row}: the cell '{name}' is unclear: {doubt}.", "Make it text.")
        case = case if column else PurePath(image).parent.as_posix()
        try:
            found = Found(image, inside(root, image), case)
        except InvalidInput as error:
            found = Found(image, source, case, Stray(f"{source.name}, row {row}: {error.problem}", error.mend))
        else:
            first, earlier = listed.setdefault(found.path, (row, case))
            if earlier != case:
                raise InvalidInput(
                    f"{source.name}, rows {first} and {row}: '{printable(image)}' is listed under two cases, "
                    f"'{printable(str(earlier))}' and '{printable(case)}'.",
                    "Keep one of the rows; a photograph of both cases is two files.",
                )
        yield found


def _neither(source: Path) -> InvalidInput:
    return InvalidInput(
        f"{source} is neither an image nor a table with a column 'image'.",
        "Give images, folders, quoted globs, whole slides or tables. A list of paths is given on standard input: "
        f"msht score BUNDLE - --out DIR < {source}",
    )


def _of_list(listed: Iterable[str], wanted: Wanted, skipped: Path | None) -> Iterator[Found]:
    """The files of a list, named as they are written there; one that is not there is found out when it is read."""
    for text in listed:
        path = Path(text)
        if path.is_dir():
            for file in _walk(path, wanted, skipped):
                yield Found(file.as_posix(), file, _written_case(file))
        else:
            yield Found(path.as_posix(), path, _written_case(path))


def _written_case(path: Path) -> str:
    folder = path.parent.as_posix()
    if folder != ".":
        return folder
    # No file has a name with a NUL in it; it is an input nevertheless, which is rejected.
    return Path.cwd().name if "\0" in path.name else path.resolve().parent.name


def _folder_case(path: Path, source: Path) -> str:
    """The whole path of the folder below the source: two patients may both have a folder `slide1`."""
    folder = path.parent.relative_to(source).as_posix()
    return source.resolve().name if folder == "." else folder
