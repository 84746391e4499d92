"""Text that two people, or two programs, write in two ways: what may be one id, one site, one value."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import pandas as pd

from msht.cohort.manifest import GROUP_COLUMNS

INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff"))
"""Characters that no one sees: what web pages and spreadsheets leave in a cell."""


def tidy(value: str) -> str:
    """Text without spaces around it or characters that no one sees, with accents composed (NFC)."""
    return unicodedata.normalize("NFC", value.translate(INVISIBLE).strip())


def alike_key(value: str) -> str:
    """The same for values that differ in capitals, spaces, leading zeros, or `.0` as Excel adds it, only."""
    folded = " ".join(tidy(value).casefold().split())
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"\.0+$", "", folded))


def written_twice(values: Iterable[str]) -> list[list[str]]:
    """Sets of different values that may be one, each sorted, in the order of their first."""
    ways: dict[str, list[str]] = {}
    for value in sorted(set(values)):
        ways.setdefault(alike_key(value), []).append(value)
    return [found for found in ways.values() if len(found) > 1]


def ids_alike(frame: pd.DataFrame) -> dict[str, list[list[str]]]:
    """For each column of ids or sites of a manifest: the sets of values that may be one, written in several ways."""
    columns = [column for column in (*GROUP_COLUMNS, "site") if column in frame]
    found = {column: written_twice(str(value) for value in frame[column].dropna().unique()) for column in columns}
    return {column: sets for column, sets in found.items() if sets}


def alike_in_words(column: str, sets: list[list[str]]) -> str:
    """What looks alike in a column, with the first of the sets."""
    first = " and ".join(f"'{value}'" for value in sets[0][:3])
    number = f"{len(sets)} such {'set' if len(sets) == 1 else 'sets'}"
    return f"{first} ({column}) count as different and may be one, written in two ways ({number})."
