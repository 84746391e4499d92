"""What stands in the cells of a manifest: ids and labels as a person means them, classes mapped, repeats left out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath

import pandas as pd

from msht.cohort.alike import INVISIBLE, alike_in_words, alike_key, ids_alike, tidy
from msht.cohort.manifest import CLASSES, GROUP_COLUMNS, KNOWN_COLUMNS
from msht.cohort.tables import FORMULA_STARTS, NAMES_IN_TABLE, name_in_table
from msht.errors import InvalidInput
from pipelines.cohort_sources import Skipped

ORIGINAL_NAMES = ("class", "original_label")
"""Where the labels as they were given are kept, whichever name is free."""

_NO_LABEL = frozenset({"", "na", "n/a", "nan", "null", "#n/a", "<na>"})
"""What programs write where there is no value, R and spreadsheets among them."""
_NO_ID = _NO_LABEL | {"none", "?", "-", "--"}
"""What people write there, too; of classes these may be names."""
_NO_GROUP = _NO_ID | {"unknown", "n.a.", "n/k", "nk", "tbd", "missing", "unclear", "anonymous"}
"""And where nobody knows whose an image is: such a patient would be several."""


def clean_text(frame: pd.DataFrame) -> pd.DataFrame:
    """All cells but those of files without spaces around them, accents composed: `P1 ` and `P1` are one patient.

    What stands for no value, such as R's `NA`, is none: a patient named so would be all whose patient is unknown.
    """
    frame = frame.copy()
    names = frame.attrs.get(NAMES_IN_TABLE, {})
    for column in KNOWN_COLUMNS:  # a pattern has taken the place of a column: its name in the table goes with it
        if column in names and f"{column}_in_table" in frame and f"{column}_in_table" not in names:
            names[f"{column}_in_table"] = names.pop(column)
    for column in frame.columns.drop("image"):
        stripped = frame[column].str.translate(INVISIBLE).str.strip().str.normalize("NFC")
        # What is kept beside these may be chosen by, as a test role is; there `NA` may be a value.
        none = _NO_ID if column in KNOWN_COLUMNS else frozenset({""})
        if column in {"label", "case_label"}:
            none = _NO_LABEL
        elif column in GROUP_COLUMNS:
            none = _NO_GROUP
        frame[column] = stripped.mask(stripped.str.casefold().isin(none), pd.NA)
    return frame


_SCIENTIFIC = r"\d(?:[.,]\d+)?E\+\d+"


def note_alike(frame: pd.DataFrame, notes: list[str]) -> None:
    """Say which ids may be one written in two ways, and which Excel has cut."""
    for column in (*GROUP_COLUMNS, "site"):
        cut = frame[column].dropna() if column in frame else pd.Series(dtype="string")
        cut = cut[cut.str.fullmatch(_SCIENTIFIC, case=False)]
        if len(cut):
            notes.append(
                f"Warning: {column} '{cut.iloc[0]}' looks like a number that a spreadsheet has shortened ({len(cut)} "
                "such rows): different ids may have become one. Format the column as text there, and save it again."
            )
    for column, sets in ids_alike(frame).items():
        notes.append(
            f"Warning: {alike_in_words(column, sets)} If they are one, mend the table: a split would part them."
        )


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


_DOUBTFUL = frozenset(
    ("?", "-", "--", "none", "unknown", "unclear", "uncertain", "indeterminate", "nd", "tbd", "missing")
)
"""What people write where there is no verdict: not to be taken for a class without a word."""


def _refuse_doubtful(labels: pd.Series, unnamed: Sequence[str], positive: Sequence[str]) -> None:
    """Refuse to call a label negative for being none of the positive ones, where it may mean positive, or nothing.

    Raises:
        InvalidInput: naming the label.
    """
    keys = {alike_key(name): name for name in positive} | {alike_key(CLASSES[1]): CLASSES[1]}
    for name in sorted(unnamed):
        number = int((labels == name).sum())
        images = f"{number} image{'s' * (number != 1)}"
        if (meant := keys.get(alike_key(name))) is not None:
            raise InvalidInput(
                f"The label '{name}' ({images}) would be negative, but may mean '{meant}', written in another way.",
                f"Say what it is: --label '{name}=positive', or --label '{name}=negative'.",
            )
        if name.casefold() in _DOUBTFUL:
            raise InvalidInput(
                f"The label '{name}' ({images}) would be negative, since it is none of the positive ones.",
                f"Say --label '{name}=negative' if it is; or empty these cells, and the images are left out.",
            )


def map_labels(frame: pd.DataFrame, rules: Sequence[str], positive: Sequence[str], notes: list[str]) -> pd.DataFrame:
    """Make labels negative and positive as asked, keeping the names that were given in a column of their own.

    Args:
        frame: with `label`, and perhaps `case_label`.
        rules: `NAME=positive`, `NAME=negative`, or `NAME=OTHER` to join classes.
        positive: the labels that are positive; then all others are negative.
        notes: what is worth saying is added here.

    Raises:
        InvalidInput: if a rule names a label that no image has, or a label that no rule names is doubtful.
    """
    present = set(frame["label"].dropna())
    shown = ", ".join(sorted(present)[:10]) + (", ..." if len(present) > 10 else "")
    mapping = {name: name.casefold() for name in present if name.casefold() in CLASSES}
    positive = [tidy(name) for name in positive]
    for name in positive:
        if name not in present:
            raise InvalidInput(f"--positive {name}: no image has that label; there are {shown}.", "Name one of these.")
    if positive:
        mapping = {name: CLASSES[name in positive] for name in present}
        ruled = {tidy(rule.rpartition("=")[0]) for rule in rules}
        _refuse_doubtful(
            frame["label"], [name for name in present if name not in positive and name not in ruled], positive
        )
    for rule in rules:
        name, equals, target = (tidy(part) for part in rule.rpartition("="))
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
