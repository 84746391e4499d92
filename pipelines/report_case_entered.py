"""What people typed about the cases of a scoring, from a table."""

from __future__ import annotations

from pathlib import Path

from msht.cohort.manifest import read_table
from msht.errors import InvalidInput

CASE_COLUMNS = ("case", "case_id")


def read_entered(path: Path) -> dict[str, tuple[tuple[str, str], ...]]:
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
    facts: dict[str, tuple[tuple[str, str], ...]] = {}
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


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value).strip()
