"""Text that two people, or two programs, write in two ways: what may be one id, one site, one value."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal
from itertools import chain

import pandas as pd

from msht.cohort.manifest import GROUP_COLUMNS

_RANGES = ((0xAD, 0xAD), (0x61C, 0x61C), (0x180E, 0x180E), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F),
           (0xFEFF, 0xFEFF))  # fmt: skip
INVISIBLE = dict.fromkeys(chain.from_iterable(range(first, last + 1) for first, last in _RANGES))
"""Characters that no one sees: soft hyphens, marks of direction, joiners, byte order marks (of Unicode's class Cf)."""

_LOOKALIKES = str.maketrans(
    "аеорсухвкмнтіѕјαορνικυχετ",
    "aeopcyxbkmhtisjaopvikuxet",
)
"""Small letters of Cyrillic and Greek that look like Latin ones in one case or the other."""
_NUMBER = re.compile(r"\+?(\d+(?:\.\d+)?(?:e[+-]?\d{1,3})?)")
_BETWEEN_DIGITS = re.compile(r"(?<=\d)[^0-9a-z]+(?=\d)")
_MEANT = re.compile(r"[+\-\u2212](?=$|\s)|(?<![\w])[+\-\u2212](?!\w)|[<>\u2264\u2265%]")
"""Signs that say something: a plus or minus at the end or alone, less and more, per cent."""
_SEPARATORS = re.compile(r"[^\w ]|_")


def tidy(value: str) -> str:
    """Text without spaces around it or characters that no one sees, with accents composed (NFC)."""
    return unicodedata.normalize("NFC", value.translate(INVISIBLE).strip())


def alike_key(value: str) -> str:
    """What is left of a value without all that people and programs write now this way and now that.

    Capitals, accents, full-width forms, letters of other alphabets that look the same, spaces, hyphens and other marks,
    leading zeros, and the forms of a whole number (`7.0`, `1e2`). Not marks that part two digits (`1-1` is not `11`)
    nor signs that say something (`HPV+` is not `HPV-`).
    """
    plain = unicodedata.normalize("NFKD", tidy(unicodedata.normalize("NFKC", value)).casefold())
    plain = "".join(char for char in plain if not unicodedata.combining(char)).translate(_LOOKALIKES)
    if (number := _NUMBER.fullmatch(plain)) is not None:
        exact = Decimal(number[1])
        if exact == exact.to_integral_value():
            return str(int(exact)) if exact.adjusted() < 40 else str(exact)
        return str(number[1])
    plain = _MEANT.sub(lambda sign: f"sign{ord(sign[0])}", plain)
    parted = _BETWEEN_DIGITS.sub(" ", re.sub(r"\.0+$", "", plain))  # Excel's `P7.0` is `P7`
    bare = re.sub(r" (?!\d)|(?<!\d) ", "", _SEPARATORS.sub("", parted))
    return re.sub(r"(?<!\d)0+(?=\d)", "", bare)


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
