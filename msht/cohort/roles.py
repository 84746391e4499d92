"""The test role where it is chosen, not drawn: by a column's value, with everything that must not cross."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from msht.cohort.alike import alike_key, tidy
from msht.cohort.drawing import Pair
from msht.errors import InvalidInput


def copies_of(images: pd.Series, file_digests: Mapping[str, str]) -> list[Pair]:
    """Every file with the first of the same content.

    Args:
        images: in an order that does not change.
        file_digests: SHA-256 of each image's file.
    """
    first: dict[str, str] = {}
    pairs = []
    for image in images:
        other = first.setdefault(file_digests[image], image)
        if other != image:
            pairs.append((other, image))
    return pairs


def chosen_test(
    frame: pd.DataFrame, test_where: tuple[str, str] | None, hold_out_site: str | None
) -> tuple[tuple[str, str], str] | None:
    """By which column and value the test role is chosen, and how the user said so; None where it is drawn.

    Raises:
        InvalidInput: if both options are given, or as `rows_with`.
    """
    if test_where is not None and hold_out_site is not None:
        raise InvalidInput("--test-where and --hold-out-site both choose the test role.", "Give one of them.")
    if hold_out_site is not None:
        if not hold_out_site.strip():
            raise InvalidInput("--hold-out-site is empty.", "Name a site of the manifest.")
        chosen = ("site", hold_out_site), f"--hold-out-site {hold_out_site}"
    elif test_where is not None:
        chosen = test_where, f"--test-where {test_where[0]}={test_where[1]}"
    else:
        return None
    rows_with(frame, *chosen)
    return chosen


def rows_with(frame: pd.DataFrame, where: tuple[str, str], option: str) -> np.ndarray:
    """Which rows have a value in a column.

    Args:
        frame: a manifest's table.
        where: column and value.
        option: how the user said so, for messages.

    Raises:
        InvalidInput: if there is no such column or value, every row has it, or other rows say it in another way.
    """
    column, value = where
    if column not in frame:
        raise InvalidInput(
            f"{option} names the column '{column}', which the manifest lacks; it has {', '.join(frame.columns)}.",
            "Name one of these." if option.startswith("--test") else "Import again with --site-column.",
        )
    counts = frame[column].value_counts()
    wanted = value if value in counts.index else tidy(value)
    is_test = (frame[column] == wanted).fillna(False).to_numpy(dtype=bool)
    alike = sorted(other for other in counts.index if other != wanted and alike_key(other) == alike_key(wanted))
    if not is_test.any() or is_test.all():
        found = ", ".join(sorted(counts.index)[:8])
        raise InvalidInput(
            f"{option} fits {'every' if is_test.all() else 'no'} row; its values are {found}.",
            f"Did you mean '{alike[0]}'?" if alike else "Choose a value that some rows have.",
        )
    if alike:
        rows = "1 row" if counts[wanted] == 1 else f"{counts[wanted]} rows"
        others = ", ".join(f"'{other}' ({counts[other]})" for other in alike[:5])
        raise InvalidInput(
            f"{option} fits {rows}, but other rows say {others}, which may be the same, written in another way; they "
            "would be development.",
            f"Write these cells of '{column}' in one way, or, if they mean something else, with other words.",
        )
    return is_test


def without_value(frame: pd.DataFrame, where: tuple[str, str]) -> int:
    """How many rows say nothing in the column that a test role is chosen by: they are development."""
    return int(frame[where[0]].isna().sum())


def choose_test(frame: pd.DataFrame, groups: pd.Series, where: tuple[str, str], option: str) -> np.ndarray:
    """Which rows are the test role: those with a value in a column.

    Args:
        frame: a manifest's table.
        groups: of each row.
        where: column and value.
        option: how the user said so, for messages.

    Raises:
        InvalidInput: as `rows_with`, or if a group would lie on both sides.
    """
    is_test = rows_with(frame, where, option)
    crossing = sorted(set(groups[is_test]) & set(groups[~is_test]))
    if crossing:
        number = "1 group" if len(crossing) == 1 else f"{len(crossing)} groups"
        raise InvalidInput(
            f"{option} puts {number} on both sides, '{crossing[0]}' first.",
            "Choose a column that keeps each patient together.",
        )
    return is_test


def refuse_crossing_pairs(
    frame: pd.DataFrame, is_test: np.ndarray, pairs: Sequence[Pair], copies: set[Pair], option: str
) -> None:
    """Refuse a test role that holds a picture of which the development role holds a copy.

    Args:
        frame: a manifest's table.
        is_test: of each row.
        pairs: of images that are the same picture.
        copies: those of the pairs that are the same file.
        option: how the user chose the role, for messages.

    Raises:
        InvalidInput: naming the first such pair.
    """
    test = set(frame.loc[is_test, "image"])
    crossing = [pair for pair in pairs if (pair[0] in test) != (pair[1] in test)]
    if crossing:
        one, other = sorted(crossing[0], key=lambda image: image not in test)
        kind = "the same file" if crossing[0] in copies else "near-duplicates by the audit"
        raise InvalidInput(
            f"{option}: test image '{one}' and development image '{other}' are {kind} ({len(crossing)} such pairs).",
            "Take one of each pair out of the manifest, or choose another test role; the audit lists all of them.",
        )
