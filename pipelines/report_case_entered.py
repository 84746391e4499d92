"""What people typed about the cases of a scoring, from a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msht.cohort.manifest import read_table
from msht.errors import InvalidInput

CASE_COLUMNS = ("case", "case_id")

Facts = tuple[tuple[str, str], ...]


def read_entered(path: Path) -> dict[str, Facts]:
    """Facts by case: the table has a column `case` (or `case_id`), and every other column is a fact's name.

    Empty cells are left out.

    Raises:
        InvalidInput: if the table cannot be read, has no such column, an empty case, or a case twice.
    """
    frame = read_table(path)
    column = next((name for name in CASE_COLUMNS if name in frame), None)
    if column is None:
        raise InvalidInput(
            f"{path.name} has no column 'case'; it has {', '.join(map(str, frame.columns)) or 'none'}.",
            "Name the column of the cases 'case'.",
        )
    facts: dict[str, Facts] = {}
    for number, row in enumerate(frame.to_dict("records"), start=2):
        case = _text(row[column])
        if not case:
            raise InvalidInput(f"{path.name}, row {number}: the cell '{column}' is empty.", "Fill it.")
        if case in facts:
            raise InvalidInput(f"{path.name}, row {number}: the case '{case}' is there twice.", "Keep one row a case.")
        facts[case] = tuple(
            (str(name), text) for name, value in row.items() if name != column and (text := _text(value))
        )
    return facts


def facts_of(case: str, by_case: Mapping[str, Facts], table: Path) -> Facts:
    """The facts that a table holds about one case.

    Raises:
        InvalidInput: if it has no row for the case: a report without them would not show that they were lost.
    """
    if case not in by_case:
        named = ", ".join(list(by_case)[:10]) + (" …" if len(by_case) > 10 else "")
        raise InvalidInput(
            f"{table.name} has no row for the case '{case}'; it has {named or 'none'}.",
            "Mend the id in the table, add a row (its cells may be empty), or leave --entered-table out.",
        )
    return by_case[case]


def together(about_all: Sequence[tuple[str, str]], about_one: Sequence[tuple[str, str]], case: str) -> Facts:
    """The facts about every case and those about one, as its report prints them.

    Raises:
        InvalidInput: if one is entered twice: side by side the page could contradict itself.
    """
    facts = (*about_all, *about_one)
    names = [" ".join(name.split()).casefold() for name, _ in facts]
    twice = next((name for name, folded in zip(facts, names, strict=True) if names.count(folded) > 1), None)
    if twice is not None:
        raise InvalidInput(f"'{twice[0]}' is entered twice for the case '{case}'.", "Enter each fact once.")
    return facts


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value).strip()
