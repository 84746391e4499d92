"""Tables on disk: CSV, TSV, Parquet and Excel read as text, CSV and Parquet written whole.

What is read is text, cell by cell: an id keeps its leading zeros, and nothing turns `NA` into a missing value.

Cells are written as they are, also those that begin with `=`, `+`, `-` or `@`: these tables are read back, and
their digests stand for their content. Tables made for people to open in a spreadsheet, and never read back, are
written through `harmless`.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa

from msht.cohort.spreadsheets import read_sheet, sheet_as_frame
from msht.errors import InvalidInput
from msht.files import atomic_path

TEXT_ENDINGS = (".csv", ".tsv", ".txt")
EXCEL_ENDINGS = (".xlsx", ".xlsm")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that a spreadsheet would run as a formula."""
KNOWN_AS_TABLES = "Give a file that ends in .csv, .tsv, .xlsx or .parquet."
NAMES_IN_TABLE = "names_in_table"
"""Key in a frame's `attrs`: for each column that was renamed, its name in the user's table, for messages."""


EXACT_BELOW = 2.0**53
"""Whole numbers from here on are not all there are among floats of 64 bits."""


def name_in_table(frame: pd.DataFrame, column: str) -> str:
    """What a column is called in the table that a person gave, which is where it must be mended."""
    return str(frame.attrs.get(NAMES_IN_TABLE, {}).get(column, column))


@dataclass(frozen=True)
class Table:
    """A table as text, and how it was read.

    Attributes:
        frame: the cells; the index is the row in a spreadsheet (the header is row 1). Empty rows are left out.
        empty_rows: how many were.
        notes: what a person should know about the reading: the sheet, the separator, the encoding.
        unclear: for (row, column): why the text of that cell is not what its spreadsheet shows.
        other_sheets: of a workbook, which were not read.
    """

    frame: pd.DataFrame
    empty_rows: int = 0
    notes: tuple[str, ...] = ()
    unclear: dict[tuple[int, str], str] | None = None
    other_sheets: tuple[str, ...] = ()


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV, TSV, Excel or Parquet table as text; empty cells are missing values, empty rows are left out.

    Raises:
        InvalidInput: if the file is not there, is of another kind, or has no rows.
    """
    return load_table(path).frame.reset_index(drop=True)


def load_table(path: Path, *, sheet: str | None = None, encoding: str | None = None) -> Table:
    """Read a table as text, with the row numbers and what is worth saying about it.

    Args:
        path: ending in .csv, .tsv, .txt, .xlsx or .parquet.
        sheet: of a workbook; None: the first that holds something.
        encoding: of a text table; None: UTF-8, or UTF-16 where its mark stands at the beginning.

    Raises:
        InvalidInput: as `read_table`.
    """
    if not path.is_file():
        raise InvalidInput(f"{path} does not exist, or is a folder.", "Give a CSV, TSV, Excel or Parquet table.")
    suffix = path.suffix.lower()
    if sheet is not None and suffix not in EXCEL_ENDINGS:
        raise InvalidInput(f"--sheet is for Excel workbooks, but {path.name} is none.", "Leave it out.")
    if encoding is not None and suffix not in TEXT_ENDINGS:
        raise InvalidInput(f"--encoding is for CSV and TSV, but {path.name} is none.", "Leave it out.")
    try:
        if suffix == ".parquet":
            table = Table(_as_text(pd.read_parquet(path), path.name))
        elif suffix in TEXT_ENDINGS:
            table = _read_text_table(path, "\t" if suffix == ".tsv" else ",", encoding)
        elif suffix in EXCEL_ENDINGS:
            table = _read_workbook(path, sheet)
        else:
            other = suffix in {".xls", ".ods", ".numbers"}
            raise InvalidInput(
                f"{path} is not a table this program reads (ending '{suffix}').",
                "Save it as .xlsx or as UTF-8 CSV." if other else KNOWN_AS_TABLES,
            )
    except (
        pd.errors.ParserError,
        pd.errors.ParserWarning,
        pd.errors.EmptyDataError,
        pa.ArrowException,
        UnicodeError,
        csv.Error,
        OSError,
    ) as error:
        raise InvalidInput(
            f"{path} cannot be read as a table: {_reason(error)}.", "Save it as UTF-8 CSV with a header row."
        ) from error
    return _without_empty_rows(table, path)


def _reason(error: Exception) -> str:
    said = str(error).strip()
    return said.splitlines()[0].rstrip(".") if said else type(error).__name__


def _without_empty_rows(table: Table, path: Path) -> Table:
    frame = table.frame
    empty = frame.isna().all(axis=1)
    frame = frame[~empty]
    nameless = [c for c in frame.columns if str(c).startswith("Unnamed: ") and frame[c].isna().all()]
    frame = frame.drop(columns=nameless)
    if frame.empty:
        raise InvalidInput(f"{path} holds no rows.", "A manifest needs a row per image.")
    return replace(table, frame=frame, empty_rows=int(empty.sum()))


def _as_text(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Typed columns as text: whole numbers without a point, dates without midnight; a named index is a column."""
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    frame = frame.set_axis(pd.RangeIndex(2, len(frame) + 2))
    frame.columns = frame.columns.map(str)
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise InvalidInput(f"The table has two columns '{twice[0]}'.", "Rename or remove one.")
    text = pd.DataFrame(index=frame.index)
    for name in frame.columns:
        column = frame[name]
        if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
            if (column.abs() >= EXACT_BELOW).any():
                raise InvalidInput(
                    f"The column '{name}' of {source} holds whole numbers as floats that are too large to be exact, "
                    f"such as {column[column.abs() >= EXACT_BELOW].iloc[0]:.0f}.",
                    "Write it as text or as whole numbers; ids may have become equal.",
                )
            column = column.astype("Int64")  # ids that met a missing value on their way
        elif pd.api.types.is_datetime64_any_dtype(column) and (column.dropna() == column.dropna().dt.normalize()).all():
            column = column.dt.strftime("%Y-%m-%d")
        text[name] = column.astype("string")
    return text


def _read_workbook(path: Path, sheet: str | None) -> Table:
    read = read_sheet(path, sheet)
    frame = sheet_as_frame(read, path)
    frame.index = pd.RangeIndex(2, len(frame) + 2)
    names = read.rows[0]
    others = f" (not read: {', '.join(read.others)})" if read.others else ""
    return Table(
        frame,
        notes=(f"Sheet '{read.name}' of {path.name} was read{others}.", *_hidden_in_words(read.hidden)),
        unclear={(row + 1, str(names[place])): doubt for (row, place), doubt in read.unclear.items() if row},
        other_sheets=tuple(read.others),
    )


def _hidden_in_words(number: int) -> list[str]:
    rows = "1 row is" if number == 1 else f"{number} rows are"
    return [f"{rows} hidden there, as by a filter, and taken all the same."] if number else []


def _read_text_table(path: Path, separator: str, encoding: str | None) -> Table:
    text, found = _decode(path, encoding)
    first, *rest = re.split(r"\r\n|\r|\n", text, maxsplit=1)
    offset = 0
    declared = re.fullmatch(r'"?sep=(.)"?', first.strip(" "), re.IGNORECASE)
    if declared:  # as Excel writes it for itself
        separator, text, offset = declared[1], "".join(rest), 1
    else:
        separator = _separator(first, separator)
    notes = [f"{path.name} is {found}."] if found else []
    if separator == ";":
        notes.append(f"{path.name} is separated by semicolons.")
    # `"a", "b"`: with the space before it, a quotation mark would be a letter like any other.
    spaced = re.search(re.escape(separator) + r' +"', text) is not None
    with warnings.catch_warnings():
        # Rows longer than the header: pandas would make their first column an index and shift all others.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        header = pd.read_csv(
            io.StringIO(text), sep=separator, header=None, nrows=1, dtype="string", skipinitialspace=spaced
        )
        twice = header.iloc[0][header.iloc[0].duplicated() & header.iloc[0].notna()]
        if len(twice):
            raise InvalidInput(f"{path} has two columns '{twice.iloc[0]}'.", "Rename or remove one.")
        try:
            frame = pd.read_csv(
                io.StringIO(text),
                dtype="string",
                sep=separator,
                keep_default_na=False,
                na_values=[""],
                index_col=False,
                skip_blank_lines=False,
                skipinitialspace=spaced,
            )
        except (pd.errors.ParserError, pd.errors.ParserWarning):
            _refuse_long_row(path, text, separator, first_row=1 + offset)
            raise
    frame.index = pd.RangeIndex(2 + offset, len(frame) + 2 + offset)
    notes += _swallowed_in_words(frame, separator)
    return Table(frame, notes=tuple(notes))


def _swallowed_in_words(frame: pd.DataFrame, separator: str) -> list[str]:
    """Say where a cell looks like whole rows: a quotation mark that was not meant takes all up to the next into it."""
    for name in frame.columns:
        cells = frame[name].dropna()
        for row, cell in cells[cells.str.contains("\n", regex=False)].items():
            rows = [line for line in cell.split("\n")[1:] if line.count(separator) >= len(frame.columns) - 1 > 0]
            if rows:
                return [
                    f"Warning: row {row}, column '{name}': this one cell holds {len(rows)} line"
                    f"{'s' * (len(rows) != 1)} that look like rows. If its quotation mark is not meant, these rows are "
                    "lost: double it, or take it out."
                ]
    return []


def _refuse_long_row(path: Path, text: str, separator: str, *, first_row: int) -> None:
    """Say which row has more cells than the header, where that is why a table cannot be read.

    Raises:
        InvalidInput: naming the row, and how many cells were expected and found.
    """
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    expected = len(next(rows, []))
    # Empty cells at the end are harmless where every row has them: a row with more to it is to blame before them.
    long = [(number, row) for number, row in enumerate(rows, start=first_row + 1) if len(row) > expected]
    if long:
        number, row = next((item for item in long if any(item[1][expected:])), long[0])
        raise InvalidInput(
            f"{path.name}, row {number}: {len(row)} cells were found, but {expected} were expected, as in the header.",
            f"Take the others out, or put the cell that holds a '{separator}' into double quotes."
            if separator != "\t"
            else "Take the others out, or put the cell that holds a tab into double quotes.",
        )


def _decode(path: Path, encoding: str | None) -> tuple[str, str | None]:
    """The text of a file, and its encoding where that is worth a word."""
    raw = path.read_bytes()
    if b"\0" in raw[:4096] and not raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UnicodeError("it holds null bytes, so it is no text")
    if encoding is not None:
        try:
            return raw.decode(encoding), encoding
        except LookupError as error:
            raise InvalidInput(f"--encoding {encoding} is unknown.", "Use utf-8, latin-1 or cp1252.") from error
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"{path.name} is not {encoding}: {_where(raw, error)}.", "Save it as UTF-8 CSV, or name another."
            ) from error
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16"), "UTF-16"
    try:
        return raw.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{path} cannot be read as a table: it is not UTF-8 ({_where(raw, error)}).",
            "Save it as UTF-8 CSV; or name its encoding with --encoding, often cp1252 where it comes from Excel.",
        ) from error


def _where(raw: bytes, error: UnicodeDecodeError) -> str:
    return f"byte 0x{raw[error.start]:02x} in line {raw.count(bytes([10]), 0, error.start) + 1}"


def _separator(header: str, usual: str) -> str:
    """What the header is separated by: the usual one unless another divides it into more columns."""

    def columns(separator: str) -> int:
        return len(next(csv.reader([header], delimiter=separator), []))

    return max((usual, *(s for s in ",;\t" if s != usual)), key=columns)


def refuse_other_endings(path: Path) -> None:
    """Refuse a name that no table is written to.

    Raises:
        InvalidInput: for any ending but .csv and .parquet.
    """
    if path.suffix.lower() not in {".csv", ".parquet"}:
        raise InvalidInput(f"{path} should be a table but ends in '{path.suffix}'.", "Use .csv or .parquet.")


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a CSV or Parquet table, whole or not at all.

    Raises:
        InvalidInput: for another ending.
    """
    refuse_other_endings(path)
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".parquet":
            frame.to_parquet(temporary, index=False)
        else:
            frame.to_csv(temporary, index=False)


def harmless(frame: pd.DataFrame) -> pd.DataFrame:
    """Text cells that a spreadsheet would run as a formula, made text by an apostrophe; for tables never read back."""
    safe = frame.copy()
    for column in safe.select_dtypes(["object", "string"]):
        safe[column] = [
            f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
            for value in safe[column]
        ]
    return safe
