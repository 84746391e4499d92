"""Workbooks are read as the text that a person sees in them."""

from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook

from msht.cohort.spreadsheets import read_sheet, shown
from msht.cohort.tables import load_table, read_table
from msht.errors import InvalidInput


def workbook(path: Path, *sheets: tuple[str, list[list[Any]]], formats: dict[str, str] | None = None) -> Path:
    book = Workbook()
    book.remove(book.worksheets[0])
    for title, rows in sheets:
        page = book.create_sheet(title)
        for row in rows:
            page.append(row)
        for place, code in (formats or {}).items():
            page[place].number_format = code
    book.save(path)
    return path


@pytest.mark.parametrize(
    ("value", "code", "text"),
    [
        # Microsoft's documentation of TEXT and of number format codes gives these.
        (1234, "0000000", "0001234"),
        (12345, "00000", "12345"),
        (8.9, "0.000", "8.900"),
        (0.631, "0.0", "0.6"),
        (7, "General", "7"),
        (7.0, "General", "7"),
        (0.1, "General", "0.1"),
        (-5, "000", "-005"),
        (7, '"P-"000', "P-007"),
        (7, "@", "7"),
        (True, "General", "TRUE"),
        ("007", "General", "007"),
        (" x ", "General", " x "),
        (datetime(2021, 3, 5), "yyyy-mm-dd", "2021-03-05"),
        (datetime(2021, 3, 5), "dd\\.mm\\.yyyy", "05.03.2021"),
        (datetime(2021, 3, 5), "d-mmm-yy", "5-Mar-21"),
        (datetime(2021, 3, 5), "dddd, mmmm dd, yyyy", "Friday, March 05, 2021"),
        (datetime(2021, 3, 5, 14, 7, 9), "yyyy-mm-dd hh:mm:ss", "2021-03-05 14:07:09"),
        (datetime(2021, 3, 5, 14, 7), "h:mm AM/PM", "2:07 PM"),
        (datetime(2021, 3, 5, 0, 7), "h:mm AM/PM", "12:07 AM"),
        (datetime(2021, 3, 5), "[$-407]dd/mm/yyyy", "05/03/2021"),
        (date(2021, 3, 5), "yyyy/m/d", "2021/3/5"),
        (time(9, 5), "hh:mm", "09:05"),
    ],
)
def test_a_cell_is_the_text_on_the_screen(value: Any, code: str, text: str) -> None:
    assert shown(value, code) == (text, None)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (1234.5, '_("$"* #,##0.00_)'),
        (0.5, "# ?/?"),
        (12345678901234567, "General"),
        (datetime(2021, 3, 5), "mm-dd-yy"),
        (datetime(2021, 3, 5), "[$-411]ggge"),
    ],
)
def test_a_format_that_is_not_imitated_leaves_a_doubt(value: Any, code: str) -> None:
    text, doubt = shown(value, code)
    assert text
    assert doubt


def test_ids_keep_zeros_and_dates_through_a_workbook(tmp_path: Path) -> None:
    rows = [["image", "label", "patient_id", "day"], ["a.png", "negative", 7, datetime(2021, 3, 5)]]
    path = workbook(tmp_path / "t.xlsx", ("fields", rows), formats={"C2": "0000", "D2": "dd.mm.yyyy"})
    frame = read_table(path)
    assert frame.to_dict("records") == [
        {"image": "a.png", "label": "negative", "patient_id": "0007", "day": "05.03.2021"}
    ]


def test_the_first_sheet_that_holds_something_is_read_and_said(tmp_path: Path) -> None:
    one, two = [["image"], ["a.png"]], [["image"], ["b.png"]]
    path = workbook(tmp_path / "t.xlsx", ("empty", []), ("first", one), ("second", two))
    table = load_table(path)
    assert list(table.frame["image"]) == ["a.png"]
    assert table.notes == ("Sheet 'first' of t.xlsx was read (not read: second).",)
    assert list(load_table(path, sheet="second").frame["image"]) == ["b.png"]
    with pytest.raises(InvalidInput, match="no sheet 'third' that holds something; it has first, second"):
        load_table(path, sheet="third")
    with pytest.raises(InvalidInput, match="no sheet 'empty'"):
        load_table(path, sheet="empty")


def test_empty_rows_keep_the_numbers_of_the_others(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", ("s", [["image"], ["a.png"], [None], ["b.png"], [None]]))
    table = load_table(path)
    assert list(table.frame.index) == [2, 4]
    assert table.empty_rows == 1


def test_a_column_without_a_name_is_refused_where_it_holds_something(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", ("s", [["image", None, None], ["a.png", "P1", None]]))
    with pytest.raises(InvalidInput, match="column 2 holds something but has no name"):
        read_table(path)
    path = workbook(tmp_path / "u.xlsx", ("s", [["image", "image"], ["a.png", "b.png"]]))
    with pytest.raises(InvalidInput, match="two columns 'image'"):
        read_table(path)


def test_an_error_in_a_cell_is_doubted(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", ("s", [["image", "patient_id"], ["a.png", "#N/A"]]))
    assert read_sheet(path).unclear == {(1, 1): "it holds the error #N/A"}
    assert load_table(path).unclear == {(2, "patient_id"): "it holds the error #N/A"}


def test_a_workbook_that_is_none_or_holds_nothing_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "t.xlsx").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InvalidInput, match="no Excel workbook"):
        read_table(tmp_path / "t.xlsx")
    with pytest.raises(InvalidInput, match="holds no rows"):
        read_table(workbook(tmp_path / "u.xlsx", ("s", [])))
    with pytest.raises(InvalidInput, match="holds no rows"):
        read_table(workbook(tmp_path / "v.xlsx", ("s", [["image", "label"]])))
