"""Excel workbooks as tables of text: each cell as the person who typed it sees it.

A number that Excel shows as `0007` is the text `0007`, and a date is the text in its cell, so an id survives the
way through a spreadsheet. Formats that only decorate an amount (currencies, fractions) are not imitated: such a cell
is given as its plain number and named in `Sheet.unclear`, so that nobody takes it for an id.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from msht.errors import InvalidInput

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LOOKS_BY_COUNTRY = ("mm-dd-yy", "m/d/yy h:mm")
"""Codes of built-in formats that every Excel shows in the manner of its own country."""
_DATE_PART = re.compile(r'yyyy|yy|m{1,4}|d{1,4}|h{1,2}|s{1,2}|AM/PM|"[^"]*"|\\.|.', re.IGNORECASE)
_LOCALE = re.compile(r"\[\$-?[^\]]*\]")


@dataclass(frozen=True)
class Sheet:
    """A sheet of a workbook as text.

    Attributes:
        rows: the cells, a row each, the header first; empty cells are None. Rows at the end that are empty are gone.
        name: of the sheet.
        others: names of the sheets that hold something and were not read.
        unclear: for the place (row, column, both from 0) of a cell: why its text is not what is shown on the screen.
        hidden: rows that are hidden, as by a filter; they are among the others.
    """

    rows: list[list[str | None]]
    name: str
    others: tuple[str, ...]
    unclear: dict[tuple[int, int], str]
    hidden: int = 0


def read_sheet(path: Path, sheet: str | None = None) -> Sheet:
    """Read a sheet of an .xlsx or .xlsm file; the first that holds something unless one is named.

    Raises:
        InvalidInput: if the file is no workbook, or has no such sheet, or holds nothing.
    """
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = load_workbook(path, data_only=True)
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError, TypeError) as error:
        raise InvalidInput(
            f"{path} cannot be read as a table: it is no Excel workbook ({type(error).__name__}).",
            "Save it again as .xlsx without a password, or as UTF-8 CSV.",
        ) from error
    filled = [page.title for page in book.worksheets if any(v is not None for row in page.values for v in row)]
    if sheet is not None and sheet not in filled:
        raise InvalidInput(
            f"{path} has no sheet '{sheet}' that holds something; it has {', '.join(filled) or 'none'}.",
            "Name one of these with --sheet.",
        )
    if not filled:
        raise InvalidInput(f"{path} holds no rows.", "A manifest needs a row per image.")
    name = sheet or filled[0]
    formulas = _formulas(path, name)
    rows: list[list[str | None]] = []
    unclear: dict[tuple[int, int], str] = {}
    hidden = 0
    for number, cells in enumerate(book[name].iter_rows()):
        hidden += bool(book[name].row_dimensions[number + 1].hidden)
        row: list[str | None] = []
        for place, cell in enumerate(cells):
            text, doubt = shown(cell.value, cell.number_format)
            if cell.value is None and (number, place) in formulas:
                doubt = "it is a formula that was never calculated; open the workbook in Excel and save it"
            if cell.data_type == "e":
                doubt = f"it holds the error {text}"
            if doubt:
                unclear[(number, place)] = doubt
            row.append(text)
        rows.append(row)
    while rows and all(cell is None for cell in rows[-1]):
        rows.pop()
    book.close()
    return Sheet(rows, name, tuple(n for n in filled if n != name), unclear, hidden)


def _formulas(path: Path, name: str) -> set[tuple[int, int]]:
    """Places (row, column, from 0) of the formulas of a sheet: of some, a program has never written the value."""
    from openpyxl import load_workbook

    book = load_workbook(path)
    found = {(cell.row - 1, cell.column - 1) for row in book[name].iter_rows() for cell in row if cell.data_type == "f"}
    book.close()
    return found


def sheet_as_frame(sheet: Sheet, path: Path) -> pd.DataFrame:
    """The sheet as a table of text with its first row as names of the columns.

    Raises:
        InvalidInput: if a column that holds something has no name, or two have the same.
    """
    header, *rows = sheet.rows
    names: list[str] = []
    for place, name in enumerate(header):
        filled = next((number for number, row in enumerate(rows, start=2) if row[place] is not None), None)
        if name is None and filled is not None:
            raise InvalidInput(
                f"{path.name}, sheet '{sheet.name}', row {filled}: column {place + 1} holds something but has no name "
                "in row 1.",
                "Write the names of the columns into the first row.",
            )
        if name is not None and name in names:
            raise InvalidInput(f"{path} has two columns '{name}'.", "Rename or remove one.")
        names.append(name if name is not None else f"\0{place}")
    frame = pd.DataFrame(rows, columns=names, dtype="string")
    return frame[[name for name in names if not name.startswith("\0")]]


def shown(value: Any, number_format: str) -> tuple[str | None, str | None]:
    """The text of a cell as Excel shows it, and a doubt where that is not known.

    Args:
        value: as openpyxl gives it.
        number_format: of the cell, in Excel's own code.
    """
    if value is None:
        return None, None
    if isinstance(value, bool):
        return str(value).upper(), None
    if isinstance(value, str):
        return (value if value != "" else None), None
    if isinstance(value, (datetime, date, time)):
        return _date_in_words(value, number_format)
    if isinstance(value, timedelta):
        return str(value), f"it is a duration with the format '{number_format}'"
    return _number_in_words(value, number_format)


def _number_in_words(value: float, number_format: str) -> tuple[str, str | None]:
    plain = str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else f"{value:.15g}"
    code = number_format.split(";")[0]
    if code in {"General", "@", "Standard"}:
        # Excel shows a whole number of twelve digits and more as 1.23E+11, and cuts after fifteen.
        return plain, f"it is the number {plain}, of which Excel keeps 15 digits" if abs(value) >= 1e15 else None
    if re.fullmatch(r"#?0+", code):
        zeros = code.count("0")
        if not float(value).is_integer():
            return plain, f"it is the number {plain} with the format '{code}'"
        return f"{'-' if value < 0 else ''}{abs(int(value)):0{zeros}d}", None
    decimals = re.fullmatch(r"#?(0+)\.(0+)", code)
    if decimals:
        # Excel rounds halves away from zero; Python's formatting rounds the binary value, which is what Excel holds.
        width = len(decimals[1]) + 1 + len(decimals[2])
        return f"{'-' if value < 0 else ''}{abs(value):0{width}.{len(decimals[2])}f}", None
    literal = re.fullmatch(r'"([^"]*)"(0+)', code)
    if literal and float(value).is_integer() and value >= 0:  # "P-"000 is how laboratories number their patients
        return f"{literal[1]}{int(value):0{len(literal[2])}d}", None
    return plain, f"it is the number {plain} with the format '{number_format}'"


def _date_in_words(value: datetime | date | time, number_format: str) -> tuple[str, str | None]:
    code = _LOCALE.sub("", number_format.split(";")[0])
    moment = value if isinstance(value, datetime) else _as_datetime(value)
    if code in LOOKS_BY_COUNTRY:
        return moment.isoformat(sep=" ").removesuffix(" 00:00:00"), "it is a date that looks different by country"
    parts = _DATE_PART.findall(code)
    kinds = [part.lower() for part in parts]
    half_day = "am/pm" in kinds
    words = []
    for place, (part, kind) in enumerate(zip(parts, kinds, strict=True)):
        if kind in {"m", "mm"} and _is_minute(kinds, place):
            words.append(f"{moment.minute:0{len(kind)}d}")
        elif set(kind) <= {"m"}:
            words.append((str(moment.month), f"{moment.month:02d}", _month(moment)[:3], _month(moment))[len(kind) - 1])
        elif set(kind) <= {"d"}:
            weekday = DAYS[moment.weekday()]
            words.append((str(moment.day), f"{moment.day:02d}", weekday[:3], weekday)[len(kind) - 1])
        elif set(kind) <= {"y"} and len(kind) > 1:
            words.append(f"{moment.year:04d}" if len(kind) == 4 else f"{moment.year % 100:02d}")
        elif set(kind) <= {"h"}:
            words.append(f"{(moment.hour - 1) % 12 + 1 if half_day else moment.hour:0{len(kind)}d}")
        elif set(kind) <= {"s"}:
            words.append(f"{moment.second:0{len(kind)}d}")
        elif kind == "am/pm":
            words.append("AM" if moment.hour < 12 else "PM")
        elif part.startswith(('"', "\\")):
            words.append(part.strip('"').removeprefix("\\"))
        elif part in " -/.:,":
            words.append(part)
        else:
            return moment.isoformat(sep=" "), f"it is a date with the format '{number_format}'"
    return "".join(words), None


def _as_datetime(value: date | time) -> datetime:
    if isinstance(value, time):
        return datetime.combine(date(1900, 1, 1), value)
    return datetime.combine(value, time())


def _month(moment: datetime) -> str:
    return MONTHS[moment.month - 1]


def _is_minute(kinds: list[str], place: int) -> bool:
    """An m next to hours or seconds means minutes (ECMA-376, part 1, 18.8.31)."""
    units = [kind for kind in kinds[:place] if kind[0] in "ymdhs" and kind != "am/pm"]
    following = [kind for kind in kinds[place + 1 :] if kind[0] in "ymdhs" and kind != "am/pm"]
    return bool(units and units[-1][0] == "h") or bool(following and following[0][0] == "s")
