"""From the columns of any table to those of a manifest: names, ids out of file names, labels."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from msht.cohort.manifest import CLASSES, GROUP_COLUMNS, KNOWN_COLUMNS
from msht.cohort.tables import FORMULA_STARTS, NAMES_IN_TABLE, Table, load_table, name_in_table
from msht.errors import InvalidInput
from pipelines.cohort_sources import OTHER_ENDING, Locator, Skipped, with_small_ending

GUESSES = {
    "image": ("image", "file", "filename", "file_name", "path", "image_path"),
    "label": ("label", "class", "diagnosis_label"),
    "patient_id": ("patient_id", "patient"),
    "case_id": ("case_id", "case"),
    "slide_id": ("slide_id", "slide"),
    "site": ("site",),
    "stain": ("stain",),
    "magnification": ("magnification",),
}
"""Names of columns that need not be said, in lower case with `_` for spaces and hyphens."""
ORIGINAL_NAMES = ("class", "original_label")
"""Where the labels as they were given are kept, whichever name is free."""


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
    plain = {_plain(name): name for name in reversed(list(frame.columns))}
    names: dict[str, str] = {}
    for target, guesses in GUESSES.items():
        wanted = columns.get(target)
        if wanted is not None and wanted not in frame:
            raise InvalidInput(
                f"{source} has no column '{wanted}' ({option_of(target, 'column')}); it has {there}.",
                "Name one of these.",
            )
        found = wanted or next((plain[g] for g in guesses if g in plain and plain[g] not in columns.values()), None)
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


_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff"))
_NO_LABEL = frozenset({"", "na", "n/a", "nan", "null", "#n/a", "<na>"})
"""What programs write where there is no value, R and spreadsheets among them."""
_NO_ID = _NO_LABEL | {"none", "?", "-", "--"}
"""What people write there, too; of classes these may be names."""


def clean_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Ids and labels without spaces around them and with accents composed: `P1 ` and `P1` are one patient.

    What stands for no value, such as R's `NA`, is none: a patient named so would be all whose patient is unknown.
    """
    frame = frame.copy()
    names = frame.attrs.get(NAMES_IN_TABLE, {})
    for column in KNOWN_COLUMNS:  # a pattern has taken the place of a column: its name in the table goes with it
        if column in names and f"{column}_in_table" in frame and f"{column}_in_table" not in names:
            names[f"{column}_in_table"] = names.pop(column)
    for column in ("label", "case_label", *(c for c in KNOWN_COLUMNS if c not in {"image", "label"})):
        if column in frame:
            stripped = frame[column].str.translate(_INVISIBLE).str.strip().str.normalize("NFC")
            none = _NO_LABEL if column in {"label", "case_label"} else _NO_ID
            frame[column] = stripped.mask(stripped.str.casefold().isin(none), pd.NA)
    return frame


def note_alike(frame: pd.DataFrame, notes: list[str]) -> None:
    """Say which ids may be one written in two ways: capitals, leading zeros, or `.0` as Excel adds it."""
    for column in (*GROUP_COLUMNS, "site"):
        if column not in frame:
            continue
        ways: dict[str, list[str]] = {}
        for value in sorted(frame[column].dropna().unique()):
            ways.setdefault(_alike(str(value)), []).append(str(value))
        twice = [found for found in ways.values() if len(found) > 1]
        if twice:
            first = " and ".join(f"'{value}'" for value in twice[0][:3])
            notes.append(
                f"Warning: {first} ({column}) count as different and may be one, written in two ways "
                f"({len(twice)} such {'set' if len(twice) == 1 else 'sets'}). If they are one, mend the table: a split "
                "would part them."
            )


def _alike(value: str) -> str:
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"\.0+$", "", " ".join(value.casefold().split())))


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


def drop_repeats(frame: pd.DataFrame, source: str, skipped: Skipped) -> pd.DataFrame:
    """Leave out rows that say the same again of an image, and rows without a label.

    Raises:
        InvalidInput: if two rows of one image differ, naming both and the column.
    """
    again = frame.duplicated() & frame["image"].notna()
    if again.any():
        skipped.add("the same row again", f"row {frame.index[again][0]}", int(again.sum()))
        frame = frame[~again]
    twice = frame.index[frame["image"].duplicated() & frame["image"].notna()]
    if len(twice):
        image = frame.loc[twice[0], "image"]
        first = frame.index[frame["image"] == image][0]
        here, there = frame.loc[twice[0]].fillna(""), frame.loc[first].fillna("")
        column = next(name for name in frame.columns if here[name] != there[name])
        raise InvalidInput(
            f"{source}, rows {first} and {twice[0]}: '{image}' is listed twice, with '{there[column]}' and "
            f"'{here[column]}' in the column '{name_in_table(frame, column)}'.",
            "Keep one row per image.",
        )
    bare = frame["label"].isna()
    if bare.any():
        skipped.add("no label", str(frame["image"][bare].iloc[0]), int(bare.sum()))
        frame = frame[~bare]
    return frame


def by_pattern(images: pd.Series, pattern: str, option: str) -> pd.Series:
    r"""What the first group of a regular expression finds in each file's name, or in its path if it holds a `/`.

    Args:
        images: paths below the root.
        pattern: searched anywhere in the name.
        option: how the user gave it, for messages.

    Raises:
        InvalidInput: if it is none, has no group, or finds nothing, or nothing but spaces, in some file.
    """
    try:
        compiled = re.compile(unicodedata.normalize("NFC", pattern))
    except re.error as error:
        raise InvalidInput(f"{option} '{pattern}' is not a regular expression ({error}).", "Mend it.") from error
    if compiled.groups < 1:
        raise InvalidInput(f"{option} '{pattern}' has no group.", r"Put what is wanted in brackets, e.g. '^(P\d+)_'.")
    texts = images.map(lambda image: image if "/" in pattern else PurePosixPath(image).name).str.normalize("NFC")
    found = texts.map(lambda text: m.group(1) if (m := compiled.search(text)) else None)
    missing = texts[found.isna()]
    if len(missing):
        fitting = texts[found.notna()]
        example = f", but fits '{fitting.iloc[0]}'" if len(fitting) else ""
        raise InvalidInput(
            f"{option} '{pattern}' finds nothing in '{missing.iloc[0]}' ({len(missing)} of {len(texts)} files)"
            f"{example}.",
            "Mend it; a pattern with a / is held against the whole path, any other against the file's name.",
        )
    empty = texts[found.str.strip() == ""]
    if len(empty):
        raise InvalidInput(f"{option} '{pattern}' finds an empty text in '{empty.iloc[0]}'.", "Mend it.")
    return found.astype("string")


def map_labels(frame: pd.DataFrame, rules: Sequence[str], positive: Sequence[str], notes: list[str]) -> pd.DataFrame:
    """Make labels negative and positive as asked, keeping the names that were given in a column of their own.

    Args:
        frame: with `label`, and perhaps `case_label`.
        rules: `NAME=positive`, `NAME=negative`, or `NAME=OTHER` to join classes.
        positive: the labels that are positive; then all others are negative.
        notes: what is worth saying is added here.

    Raises:
        InvalidInput: if a rule names a label that no image has.
    """
    present = set(frame["label"].dropna())
    shown = ", ".join(sorted(present)[:10]) + (", ..." if len(present) > 10 else "")
    mapping = {name: name.casefold() for name in present if name.casefold() in CLASSES}
    for name in positive:
        if name not in present:
            raise InvalidInput(f"--positive {name}: no image has that label; there are {shown}.", "Name one of these.")
    if positive:
        mapping = {name: CLASSES[name in positive] for name in present}
    for rule in rules:
        name, equals, target = rule.rpartition("=")
        if not equals or not name or not target:
            raise InvalidInput(
                f"--label {rule} does not map a label.", "Write --label NAME=positive or --label NAME=negative."
            )
        if target not in CLASSES and (positive or target not in present):
            raise InvalidInput(
                f"--label {rule} does not map a label to one of {', '.join(CLASSES)}"
                + (", or to another label that is there." if not positive else "."),
                "Write --label NAME=positive or --label NAME=negative.",
            )
        if name not in present:
            raise InvalidInput(f"--label {rule}: no image has the label '{name}'; there are {shown}.", "Mend the name.")
        mapping[name] = target
    changed = {name: target for name, target in mapping.items() if name != target}
    if not changed:
        return frame
    frame = frame.copy()
    free = next((name for name in ORIGINAL_NAMES if name not in frame), None)
    if free is None:
        raise InvalidInput(
            f"The names of the labels cannot be kept: the columns {' and '.join(ORIGINAL_NAMES)} are both taken.",
            "Rename one, or leave it out with --keep.",
        )
    frame[free] = frame["label"]
    for column in ("label", "case_label"):
        if column in frame:
            renamed = frame[column].map(lambda value: mapping.get(value, value), na_action="ignore")
            frame[column] = renamed.astype("string")
    for target in sorted(set(changed.values())):
        names = sorted(name for name, new in mapping.items() if new == target)
        notes.append(f"{target}: {', '.join(names)}. The names as given are in the column '{free}'.")
    return frame


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
    frame, doubts = name_columns(table, table_file.name, columns, keep, notes)
    require_column(frame, "image", table_file.name)
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
    found: list[str | None] = []
    for row, written in zip(frame.index, frame["image"], strict=True):
        path = locator.find(str(written))
        if path not in places:
            name = unicodedata.normalize("NFC", str(written).replace("\\", "/").rsplit("/", 1)[-1])
            candidates = [image for image in by_name.get(name, []) if _folders_agree(str(written), image)]
            if not candidates:
                same = by_small_ending.get(with_small_ending(name), [])
                candidates = [image for image in same if _folders_agree(str(written), image)]
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
    frame = frame.assign(image=pd.array(found, dtype="string"))[[path is not None for path in found]]
    if frame.empty:
        raise InvalidInput(
            f"None of the {len(images)} images has a row in {table_file.name}; its first row says '{first}', and the "
            f"first image is '{images[0]}'.",
            "Write the paths, or the names of the files, into the table.",
        )
    _note_mended(locator, notes)
    listed = set(frame["image"])
    for image in images:
        if image not in listed:
            skipped.add(f"not in {table_file.name}", image)
    return frame


def _folders_agree(written: str, image: str) -> bool:
    """Whether the folders that a table writes before a name are those of a file, as far as both say them.

    Cameras give the same names in every folder: `P2/IMG_1.jpg` is no word about `P1/IMG_1.jpg`. A name alone, or a
    file at the root, fits by its name.
    """
    said = unicodedata.normalize("NFC", written.replace("\\", "/")).split("/")[:-1]
    there = unicodedata.normalize("NFC", image).split("/")[:-1]
    both = min(len(said), len(there))
    return both == 0 or said[-both:] == there[-both:]


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


def note_formulas(frame: pd.DataFrame, notes: list[str]) -> None:
    """Say that cells begin as a formula does: the manifest keeps them, and a spreadsheet would run them.

    Args:
        frame: of the manifest; the row that is named is the one that a spreadsheet shows of it.
        notes: the sentence is added here.
    """
    for column in frame.columns:
        numbers = pd.to_numeric(frame[column], errors="coerce").notna()
        found = (frame[column].str.startswith(FORMULA_STARTS, na=False) & ~numbers).to_numpy().nonzero()[0]
        if len(found):
            notes.append(
                f"Row {found[0] + 2} of the manifest: the cell '{column}' begins as a formula does ({len(found)} such "
                "cells). The manifest keeps it as it is; import it into a spreadsheet as text."
            )
            return
