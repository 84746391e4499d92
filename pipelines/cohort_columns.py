"""From the columns of any table to those of a manifest, and from its rows to files."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from msht.cohort.alike import tidy
from msht.cohort.manifest import GROUP_COLUMNS, KNOWN_COLUMNS
from msht.cohort.tables import NAMES_IN_TABLE, Table, load_table, name_in_table
from msht.errors import InvalidInput
from pipelines.cohort_sources import OTHER_ENDING, Locator, Skipped, with_small_ending

GUESSES = {
    "image": ("image", "file", "filename", "file_name", "path", "image_path"),
    "label": ("label", "class", "diagnosis_label"),
    "patient_id": ("patient_id", "patient", "patientid", "patient_no", "patient_number"),
    "case_id": ("case_id", "case", "caseid", "case_no", "case_number"),
    "slide_id": ("slide_id", "slide", "slideid", "slide_no", "slide_number"),
    "site": ("site",),
    "stain": ("stain",),
    "magnification": ("magnification",),
}
"""Names of columns that need not be said, in lower case with `_` for spaces and hyphens."""


def option_of(column: str, kind: str) -> str:
    """The option that speaks of a column: `--patient-column`, `--patient-from`."""
    return f"--{column.removesuffix('_id')}-{kind}"


def name_columns(
    table: Table, source: str, columns: Mapping[str, str | None], keep: Sequence[str] | None, notes: list[str]
) -> tuple[pd.DataFrame, dict[tuple[int, str], str]]:
    """Give a table's columns the names of a manifest.

    Args:
        table: as read.
        source: its name, for messages.
        columns: name in the table for each of the manifest's columns; None: guessed.
        keep: other columns to keep; None: all of them.
        notes: what is worth saying is added here.

    Returns:
        The table, whose `attrs` keep the names that were given for `name_in_table`; and the doubts about its cells
        under their new names.

    Raises:
        InvalidInput: if a column that is named is not there, or is named twice.
    """
    frame = table.frame
    there = ", ".join(map(str, frame.columns))
    plain: dict[str, list[str]] = {}
    for name in map(str, frame.columns):
        plain.setdefault(_plain(name), []).append(name)
    names: dict[str, str] = {}
    for target, guesses in GUESSES.items():
        wanted = columns.get(target)
        if wanted is not None and wanted not in frame:
            raise InvalidInput(
                f"{source} has no column '{wanted}' ({option_of(target, 'column')}); it has {there}.",
                "Name one of these.",
            )
        fitting = [name for guess in guesses for name in plain.get(guess, ()) if name not in columns.values()]
        if wanted is None:
            fitting, twins = _one_of(frame, fitting, target, source)
            frame = frame.drop(columns=twins)
        found = wanted or next(iter(fitting), None)
        if found is not None:
            if found in names:
                raise InvalidInput(
                    f"The column '{found}' of {source} is named for {names[found]} and for {target}.",
                    "Name each column once.",
                )
            names[found] = target
    for name in keep or ():
        if name not in frame:
            raise InvalidInput(f"{source} has no column '{name}' (--keep); it has {there}.", "Name one of these.")
    if keep is not None:
        frame = frame[[name for name in frame.columns if name in names or name in keep]]
    # A column that has the name of one that was chosen otherwise is kept under another.
    for name in [name for name in frame.columns if name in names.values() and name not in names]:
        names[name] = f"{name}_in_table"
        notes.append(f"The column '{name}' of {source} is kept as '{names[name]}', since '{name}' comes from another.")
    doubts = {(row, names.get(name, name)): words for (row, name), words in (table.unclear or {}).items()}
    frame = frame.rename(columns=names)
    frame.attrs[NAMES_IN_TABLE] = {new: name for name, new in names.items()}
    return frame, doubts


def _one_of(frame: pd.DataFrame, names: list[str], target: str, source: str) -> tuple[list[str], list[str]]:
    """Of the columns that may be meant, the one to take first, and those that say the same again.

    Raises:
        InvalidInput: if two of ids or labels say different things, naming the first row: one may part a patient.
    """
    if target == "image":
        # Where one holds the paths and another the names of the same files, the paths say more.
        whole = [name for name in names if frame[name].str.contains(r"[/\\]", regex=True, na=False).any()]
        return [*whole, *(name for name in names if name not in whole)], []
    if target not in (*GROUP_COLUMNS, "label"):
        return names, []
    twins = []
    for name in names[1:]:
        one, other = (frame[column].map(tidy, na_action="ignore").fillna("") for column in (names[0], name))
        apart = frame.index[one != other]
        # Other names of classes beside the label (a finding, a grade) are common; the same name is not.
        if len(apart) and (target != "label" or _plain(name) == _plain(names[0])):
            raise InvalidInput(
                f"The columns '{names[0]}' and '{name}' of {source} may both be the {target}, and they differ, first "
                f"in row {apart[0]}: '{one[apart[0]]}' and '{other[apart[0]]}'.",
                f"Say which it is with {option_of(target, 'column')}.",
            )
        if not len(apart):
            twins.append(name)
    return names, twins


def _plain(name: object) -> str:
    return re.sub(r"[\s\-]+", "_", str(name).strip().casefold())


def refuse_doubts(frame: pd.DataFrame, doubts: Mapping[tuple[int, str], str], source: str) -> None:
    """Refuse a cell of a column that identifies something whose text is not what its spreadsheet shows.

    Raises:
        InvalidInput: naming row and column.
    """
    for (row, column), words in sorted(doubts.items()):
        if column in KNOWN_COLUMNS and column in frame and row in frame.index:
            raise InvalidInput(
                f"{source}, row {row}: the cell '{name_in_table(frame, column)}' cannot be read as a person sees it: "
                f"{words}.",
                "Format the column as text in the spreadsheet, or save the table as CSV.",
            )


def locate(frame: pd.DataFrame, root: Path, notes: list[str]) -> pd.DataFrame:
    """Write each image by its path below the root, as the disk has it."""
    locator = Locator(root)
    frame = frame.copy()
    frame["image"] = frame["image"].map(locator.find, na_action="ignore").astype("string")
    _note_mended(locator, notes)
    return frame


def _note_mended(locator: Locator, notes: list[str]) -> None:
    for how, (written, found) in locator.mended.items():
        notes.append(f"Paths written {how} were found all the same, '{written}' as '{found}' for one.")


def read_named(
    table_file: Path,
    columns: Mapping[str, str | None],
    keep: Sequence[str] | None,
    skipped: Skipped,
    notes: list[str],
    *,
    sheet: str | None,
    encoding: str | None,
) -> pd.DataFrame:
    """Read a table, with a manifest's names for its columns, and the rows of the spreadsheet as index.

    Raises:
        InvalidInput: if it cannot be read, has no column of images or an empty cell there, or an id is not what a
            person sees.
    """
    table = load_table(table_file, sheet=sheet, encoding=encoding)
    notes += table.notes
    if table.empty_rows:
        skipped.add("an empty row", table_file.name, table.empty_rows)
    try:
        frame, doubts = name_columns(table, table_file.name, columns, keep, notes)
        require_column(frame, "image", table_file.name)
    except InvalidInput as error:
        if sheet is not None or not table.other_sheets:
            raise
        others = ", ".join(f"'{name}'" for name in table.other_sheets)
        raise InvalidInput(error.problem, f"{error.mend} Or name another sheet with --sheet: {others}.") from error
    refuse_doubts(frame, doubts, table_file.name)
    missing = frame.index[frame["image"].isna()]
    if len(missing):
        raise InvalidInput(
            f"{table_file.name}, row {missing[0]}: the cell '{name_in_table(frame, 'image')}' is empty "
            f"({len(missing)} such rows).",
            "Fill it.",
        )
    return frame


def join_table(
    images: Sequence[str],
    root: Path,
    table_file: Path,
    columns: Mapping[str, str | None],
    keep: Sequence[str] | None,
    skipped: Skipped,
    notes: list[str],
    *,
    sheet: str | None,
    encoding: str | None,
) -> pd.DataFrame:
    """The rows of a table for files that were found: by path below the root, else by the end of the path, or the name.

    Raises:
        InvalidInput: if no file has a row, or one name in the table fits several files.
    """
    frame = read_named(table_file, columns, keep, skipped, notes, sheet=sheet, encoding=encoding)
    first = frame["image"].iloc[0]
    locator = Locator(root)
    places = set(images)
    by_name: dict[str, list[str]] = {}
    by_small_ending: dict[str, list[str]] = {}
    for image in images:
        name = unicodedata.normalize("NFC", PurePosixPath(image).name)
        by_name.setdefault(name, []).append(image)
        by_small_ending.setdefault(with_small_ending(name), []).append(image)
    folders = _Folders(root, [str(written) for written in frame["image"]], by_small_ending)
    found: list[str | None] = []
    for row, written in zip(frame.index, frame["image"], strict=True):
        path = locator.find(str(written))
        if path not in places:
            name = _name_of(str(written))
            candidates = [image for image in by_name.get(name, []) if folders.agree(str(written), image)]
            if not candidates:
                same = by_small_ending.get(with_small_ending(name), [])
                candidates = [image for image in same if folders.agree(str(written), image)]
                if len(candidates) == 1:
                    locator.mended.setdefault(OTHER_ENDING, (str(written), candidates[0]))
            if len(candidates) > 1:
                raise InvalidInput(
                    f"{table_file.name}, row {row}: '{written}' fits {len(candidates)} files, '{candidates[0]}' and "
                    f"'{candidates[1]}' among them.",
                    f"Write the paths below {root} into the table.",
                )
            path = candidates[0] if candidates else ""
        if not path:
            skipped.add(f"a row of {table_file.name} without a file", str(written))
        found.append(path or None)
    if None in found and len(folders.strange) > 1 and folders.none_is_root:
        one, other = ("/".join(beginning) for beginning in folders.strange[:2])
        raise InvalidInput(
            f"The paths of {table_file.name} begin in {len(folders.strange)} ways, '{one}/' and '{other}/' among them: "
            f"nobody can know which is the folder {root}.",
            f"Write the paths below {root} into the table, or names alone.",
        )
    frame = frame.assign(image=pd.array(found, dtype="string"))[[path is not None for path in found]]
    if frame.empty:
        raise InvalidInput(
            f"None of the {len(images)} images has a row in {table_file.name}; its first row says '{first}', and the "
            f"first image is '{images[0]}'.",
            "Write the paths, or the names of the files, into the table.",
        )
    _note_mended(locator, notes)
    if folders.renamed is not None:
        notes.append(
            f"The paths of {table_file.name} begin with '{'/'.join(folders.renamed)}/', which is taken for the folder "
            f"{root}. If that is another folder, these rows are about other files."
        )
    listed = set(frame["image"])
    for image in images:
        if image not in listed:
            skipped.add(f"not in {table_file.name}", image)
    return frame


def _name_of(written: str) -> str:
    return unicodedata.normalize("NFC", written.replace("\\", "/").rsplit("/", 1)[-1])


def _folders_of(path: str) -> tuple[str, ...]:
    """The folders of a path; `.` and `..` are followed, and a drive is the same in either case."""
    plain = posixpath.normpath(unicodedata.normalize("NFC", path.replace("\\", "/")))
    folders = [part for part in plain.split("/")[:-1] if part != ".."]
    if folders and re.fullmatch(r"[A-Za-z]:", folders[0]):
        folders[0] = folders[0].upper()
    return tuple(folders)


class _Folders:
    """Whether the folders that a table writes before a name are those of a file.

    Cameras give the same names in every folder: `P2/IMG_1.jpg` is no word about `P1/IMG_1.jpg`. A name alone fits by
    its name. What a table writes beyond the root must be the root's own path, or else one beginning that all its paths
    share: the root by a name that it had elsewhere. A whole path that leads to another file here is about that file.

    Attributes:
        strange: beginnings that are not the root's path.
        none_is_root: whether no path names the root by its own name.
        renamed: the one beginning that all share, where it is not the root's path.
    """

    def __init__(self, root: Path, written: Sequence[str], images: Mapping[str, Sequence[str]]) -> None:
        self._root = tuple(unicodedata.normalize("NFC", part) for part in root.resolve().parts)
        beginnings = set()
        for text in written:
            for image in images.get(with_small_ending(_name_of(text)), ()):
                beyond = self._beyond(text, image)
                if beyond:
                    beginnings.add(beyond)
        self.strange = sorted(beyond for beyond in beginnings if not self._is_root(beyond))
        self.none_is_root = len(beginnings) == len(self.strange)
        self.renamed = self.strange[0] if len(beginnings) == len(self.strange) == 1 else None

    def agree(self, written: str, image: str) -> bool:
        """Whether a row's path may be that of a file, given below the root."""
        beyond = self._beyond(written, image)
        return beyond is not None and (not beyond or self._is_root(beyond) or beyond == self.renamed)

    def _beyond(self, written: str, image: str) -> tuple[str, ...] | None:
        """What a row writes before the folders of a file; None where these differ, or another file is meant."""
        said, there = _folders_of(written), _folders_of(image)
        both = min(len(said), len(there))
        if both and said[-both:] != there[-both:]:
            return None
        if PurePosixPath(written).is_absolute() and _is_there(Path(written)):
            return None  # what lies below the root was found by its whole path before
        return said[: len(said) - both]

    def _is_root(self, beyond: tuple[str, ...]) -> bool:
        both = min(len(beyond), len(self._root))
        return beyond[-both:] == self._root[-both:]


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def require_column(frame: pd.DataFrame, column: str, source: str) -> None:
    """Refuse a table that lacks a column.

    Raises:
        InvalidInput: with the columns there are.
    """
    if column not in frame:
        raise InvalidInput(
            f"{source} has no column '{column}'; it has "
            f"{', '.join(name_in_table(frame, str(name)) for name in frame.columns)}.",
            f"Name the column with --{column}-column" + (", or give --label-from." if column == "label" else "."),
        )
