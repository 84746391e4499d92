"""Tables are read as text, whatever program wrote them, and refused in one sentence where they cannot be."""

import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from msht.cohort.tables import FORMULA_STARTS, harmless, load_table, read_table, write_table
from msht.errors import InvalidInput


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"image,label\n", "holds no rows"),
        ("t.csv", b"", "cannot be read as a table"),
        ("t.csv", b"image,label\na.png,neg\xe4tive\n", "cannot be read as a table"),
        ("t.csv", b'image,label\n"a.png,negative\n', "cannot be read as a table"),
        ("t.parquet", b"PAR1 and no more", "cannot be read as a table"),
        ("t.xlsx", b"PK", "no Excel workbook"),
        ("t.xls", b"PK", r"is not a table this program reads \(ending '\.xls'\)"),
    ],
    ids=["no rows", "empty", "Latin-1", "open quote", "broken Parquet", "broken Excel", "old Excel"],
)
def test_a_table_that_cannot_be_read_is_one_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=message) as caught:
        read_table(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_table_that_is_a_folder_or_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(InvalidInput, match="does not exist, or is a folder"):
            read_table(path)


def test_rows_with_a_trailing_comma_keep_their_columns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,label\na.png,negative,\nb.png,positive,\n")
    frame = read_table(tmp_path / "t.csv")
    assert list(frame["image"]) == ["a.png", "b.png"]
    assert list(frame["label"]) == ["negative", "positive"]


@pytest.mark.parametrize(
    ("text", "row", "found"),
    [
        ("image,label\na.png,negative,x\nb.png,positive,y\n", 2, 3),
        ("image,label\na.png,negative\nb,c.png,positive\n", 3, 3),
        ("image,label\n\na.png,negative,\nb.png,positive,y,z\n", 4, 4),
        ('image,label\n"a\nb.png",negative\nc,d,e,f.png,positive\n', 3, 5),
        ("sep=;\nimage;label\na.png;negative\nb;c.png;positive\n", 4, 3),
        ("image\tlabel\na.png\tnegative\tx\n", 2, 3),
        ("image,label\r\na.png,negative\r\nb,c.png,positive\r\n", 3, 3),
    ],
    ids=["first", "later", "past commas at the end", "past a line break", "past a declaration", "tabs", "Windows"],
)
def test_a_row_longer_than_the_header_is_named_with_its_cells_rather_than_shifted(
    tmp_path: Path, text: str, row: int, found: int
) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode())
    words = rf"^t\.csv, row {row}: {found} cells were found, but 2 were expected"
    with pytest.raises(InvalidInput, match=words) as caught:
        read_table(tmp_path / "t.csv")
    assert "double quotes" in caught.value.mend


def test_a_cell_of_a_workbook_beside_its_named_columns_is_named_by_its_row(tmp_path: Path) -> None:
    book = Workbook()
    assert book.active is not None
    for row in (["image", "label"], ["a.png", "negative"], ["b.png", "positive", "more"]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(InvalidInput, match=r"t\.xlsx, sheet 'Sheet', row 3: column 3 holds something but has no name"):
        read_table(tmp_path / "t.xlsx")


def test_a_table_from_a_spreadsheet_reads_with_its_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("\ufeffimage,label\na.png,007\n".encode())
    frame = read_table(tmp_path / "t.csv")
    assert list(frame.columns) == ["image", "label"]
    assert frame.loc[0, "label"] == "007"


def test_tabs_separate_a_tsv(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("image\tlabel\na,b.png\tnegative\n")
    assert read_table(tmp_path / "t.tsv").loc[0, "image"] == "a,b.png"


@pytest.mark.parametrize(
    "content",
    [
        "image;label;note\nä.png;negative;1,5\n",
        "sep=;\nimage;label;note\nä.png;negative;1,5\n",
        '"sep=;"\r\nimage;label;note\r\nä.png;negative;1,5\r\n',
        "image\tlabel\tnote\nä.png\tnegative\t1,5\n",
        '"image","label","note"\n"ä.png","negative","1,5"\n',
    ],
    ids=["semicolons", "declared", "declared by Excel", "tabs", "commas"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_separates_and_encodes_a_csv_is_found(tmp_path: Path, content: str, encoding: str) -> None:
    (tmp_path / "t.csv").write_bytes(content.encode(encoding))
    frame = read_table(tmp_path / "t.csv")
    assert frame.to_dict("records") == [{"image": "ä.png", "label": "negative", "note": "1,5"}]


def test_a_table_of_another_encoding_is_refused_with_line_and_mend_and_read_when_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("image,label\na.png,negative\nä.png,positive\n".encode("cp1252"))
    with pytest.raises(InvalidInput, match=r"not UTF-8 \(byte 0xe4 in line 3\)") as caught:
        load_table(path)
    assert "--encoding" in caught.value.mend
    table = load_table(path, encoding="cp1252")
    assert list(table.frame["image"]) == ["a.png", "ä.png"]
    assert table.notes == ("t.csv is cp1252.",)
    with pytest.raises(InvalidInput, match="--encoding klingon is unknown"):
        load_table(path, encoding="klingon")
    with pytest.raises(InvalidInput, match=r"t\.csv is not ascii: byte 0xe4 in line 3"):
        load_table(path, encoding="ascii")


def test_rows_keep_their_numbers_past_empty_ones(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,label\n\na.png,negative\n,\nb.png,positive\n\n")
    table = load_table(tmp_path / "t.csv")
    assert list(table.frame.index) == [3, 5]
    assert table.empty_rows == 3


def test_columns_without_name_or_content_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,label,,\na.png,negative,,\n")
    assert list(read_table(tmp_path / "t.csv").columns) == ["image", "label"]


def test_a_binary_file_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
    with pytest.raises(InvalidInput, match="null bytes"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize("option", [{"sheet": "Table1"}, {"encoding": "cp1252"}])
def test_options_of_another_kind_of_table_are_refused(tmp_path: Path, option: dict[str, str]) -> None:
    pd.DataFrame({"image": ["a"]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(InvalidInput, match="Leave it out"):
        load_table(tmp_path / "t.parquet", **option)  # type: ignore[arg-type]


def test_typed_columns_of_parquet_read_as_a_person_would_write_them(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "whole": [7.0, None, 12.0],
            "part": [0.5, 1.0, None],
            "day": pd.to_datetime(["2021-03-05", None, "2021-12-31"]),
            "flag": [True, False, True],
            "text": ["007", None, "x"],
            "count": [1, 2, 3],
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet")
    assert list(read["whole"].fillna("-")) == ["7", "-", "12"]
    assert list(read["part"].fillna("-")) == ["0.5", "1.0", "-"]
    assert list(read["day"].fillna("-")) == ["2021-03-05", "-", "2021-12-31"]
    assert list(read["flag"]) == ["True", "False", "True"]
    assert list(read["text"].fillna("-")) == ["007", "-", "x"]
    assert list(read["count"]) == ["1", "2", "3"]


cells = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
nasty = st.sampled_from(["=1+1", "+1", "-1", "@SUM(A1)", "'=1", "NA", "null", "007", 'a "b"', "a,b;c\td", " x "])


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(cells | nasty, cells | nasty), min_size=1, max_size=5))
def test_every_cell_reads_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    """Also those that a spreadsheet would take for a formula: a manifest is no spreadsheet."""
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    frame = pd.DataFrame(rows, columns=["image", "label"], dtype="string")
    write_table(frame, path)
    assert read_table(path).equals(frame)


def test_a_table_for_people_holds_no_formula() -> None:
    frame = pd.DataFrame({"a": ["=1+1", "+x", "-x", "@x", "\tx", "x", None], "n": [-1.0, 2, 3, 4, 5, 6, 7]})
    text = harmless(frame).to_csv(index=False)
    for row in csv.DictReader(io.StringIO(text)):
        assert not row["a"].startswith(FORMULA_STARTS)
    assert list(harmless(frame)["n"]) == list(frame["n"])
