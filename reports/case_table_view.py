"""What `case.typ` prints of the fields: a row each, or the weightiest of many and how all of them are spread."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from reports import wording
from reports.case_call_view import reasons_of
from reports.words import Words

if TYPE_CHECKING:
    from reports.case import CaseReport
    from reports.case_facts import FieldRow

FIRST_OF_MANY = 20
"""Fields listed on page 2 where all of them fill pages of their own, or stand in a file."""

SHARES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Quantiles by which many fields are summed up."""


def table_view(report: CaseReport, most: int, words: Words) -> dict[str, Any]:
    """The table of page 2 and, where the fields are too many for it, what stands in its place.

    Args:
        report: the case.
        most: rows that page 2 has room for.
        words: of the language.
    """
    chosen = list(report.fields)
    if len(chosen) <= most:
        return {"rows": _rows(chosen, words), "all": [], "note": "", "spread": []}
    count = min(most, FIRST_OF_MANY)
    weighty = {tile.name: place for place, tile in enumerate(report.tiles)}
    if weighty:
        shown = sorted((row for row in chosen if row.name in weighty), key=lambda row: weighty[row.name])[:count]
    else:
        ranked = sorted(chosen, key=lambda row: -1.0 if row.probability is None else row.probability, reverse=True)
        shown = ranked[:count]
    number, total = wording.whole(len(shown), words), wording.whole(len(chosen), words)
    if report.listed_in is None:
        note = words.say("table_continued", number=number, total=total)
    else:
        which = "table_weighty" if weighty else "table_elsewhere"
        note = words.say(which, number=number, total=total, file=wording.short_name(report.listed_in, 40))
    listed = _rows(chosen, words) if report.listed_in is None else []
    return {"rows": _rows(shown, words), "all": listed, "note": note, "spread": _spread(chosen, words)}


def _spread(chosen: list[FieldRow], words: Words) -> list[list[str]]:
    """Head and rows of quantiles over the evaluable fields; empty where there is none."""
    rows = []
    for name in ("probability", "spread"):
        found = [getattr(row, name) for row in chosen if row.evaluable and getattr(row, name) is not None]
        if found:
            rows.append([words[f"all_{name}"], *(wording.decimal(float(v), 3) for v in np.quantile(found, SHARES))])
    named = [words["lowest"], *(wording.percent(share, 0, words) for share in SHARES[1:-1]), words["highest"]]
    named[3] = words["median"]
    return [[words["all_evaluable"], *named], *rows] if rows else []


def _rows(chosen: list[FieldRow], words: Words) -> list[dict[str, Any]]:
    # Of the narrow rows, a name may take more characters and a remark fewer.
    room, remark = (36, 30) if len(chosen) > 24 else (40, 40)
    # Of long names that begin alike, the beginnings would be all that is left to see.
    common = _common_beginning([row.name for row in chosen])
    skip = common if common > 6 and max(len(row.name) for row in chosen) > room else 0
    return [_row(row, room, remark, skip, words) for row in chosen]


def _common_beginning(names: list[str]) -> int:
    columns = zip(*names, strict=False)
    length = sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))
    while length and names[0][length - 1].isdigit():
        length -= 1
    return length


def _within(room: int, flags: list[str], words: Words) -> str:
    """As many flags as there is room for, whole, and how many more there are."""
    for kept in range(len(flags), 0, -1):
        said = words["list"].join(flags[:kept])
        if kept < len(flags):
            said = words.say("flags_more", flags=said, number=wording.whole(len(flags) - kept, words))
        if len(said) <= room or kept == 1:
            return said
    return ""


def _row(row: FieldRow, room: int, remark: int, skip: int, words: Words) -> dict[str, Any]:
    size = f"{row.width} × {row.height}" if row.width and row.height else wording.MISSING
    reasons = row.quality if row.evaluable else reasons_of(row)
    remarks = _within(remark, [words.stored(reason) for reason in reasons if reason], words)
    cells = [
        wording.short_name(f"…{row.name[skip:]}" if skip else row.name, room),
        wording.digest(row.sha256),
        size,
        wording.short_name(words.stored(row.orientation), 24) if row.sha256 else wording.MISSING,
        wording.short_name(remarks, remark) or words["no_flag"],
        words["yes"] if row.evaluable else words["no"],
        wording.decimal(row.logit, signed=True),
        wording.decimal(row.probability, 3),
        wording.decimal(row.spread, 3),
        wording.MISSING if row.logit is None else words["yes"] if row.out_of_distribution else words["no"],
        words.stored(row.call) if row.call else wording.MISSING,
    ]
    return {"cells": cells, "positive": row.call == "positive"}
