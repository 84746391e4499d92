from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from msht.errors import InvalidInput
from msht.images.reading import is_image_path
from pipelines.inputs import find_inputs, name_inputs
from pipelines.score_sources import STANDARD_INPUT, Found, found_in, lines_of, printable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two patients with a field of the same name, a hidden file, and what is no image."""
    for place in ("in/P1/f.png", "in/P2/f.png", "in/P2/deep/g.png", "in/.hidden/h.png", "in/P1/._f.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(tmp_path / place)
    (tmp_path / "in" / "P1" / "notes.txt").write_text("no image")
    return tmp_path / "in"


def names(source: Path, **options: object) -> list[str]:
    return sorted(found.name for found in found_in(source, is_image_path, **options))  # type: ignore[arg-type]


def test_a_quoted_glob_gives_the_images_that_it_fits(folder: Path) -> None:
    assert names(folder / "**" / "*.png") == ["P1/f.png", "P2/deep/g.png", "P2/f.png"]
    assert names(folder / "P*" / "f.*") == ["P1/f.png", "P2/f.png"]
    assert names(folder / "P2*") == ["P2/deep/g.png", "P2/f.png"], "a folder that fits is searched"
    assert set(names(folder / "**")) == set(names(folder)), "what is hidden is left out"
    cases = {found.name: found.case for found in found_in(folder / "**" / "*.png", is_image_path)}
    assert cases == {"P1/f.png": "P1", "P2/f.png": "P2", "P2/deep/g.png": "P2/deep"}


def test_a_glob_that_fits_nothing_or_is_none_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="There is no image"):
        find_inputs([folder / "*.tif"])
    with pytest.raises(InvalidInput, match="cannot be read"):
        names(folder / "P**" / "f.png")


def test_a_name_that_looks_like_a_glob_is_the_file_of_that_name(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a[1].png")
    assert names(tmp_path / "a[1].png") == ["a[1].png"]


@pytest.mark.parametrize(
    ("text", "null"), [(b"a.png\r\n\nb c.png\nlast.png", False), (b"a.png\0b c.png\0last.png\0", True)]
)
def test_a_list_on_standard_input_has_a_path_a_line_or_ended_by_nul(text: bytes, null: bool) -> None:
    assert list(lines_of(io.BytesIO(text), null=null)) == ["a.png", "b c.png", "last.png"]


def test_a_long_list_is_read_without_losing_what_a_block_cuts() -> None:
    paths = [f"folder/{'x' * (n % 91)}{n}.png" for n in range(20_000)]
    assert list(lines_of(io.BytesIO("\n".join(paths).encode()))) == paths


def test_files_of_a_list_are_named_as_they_are_written_and_one_that_is_gone_is_still_an_input(folder: Path) -> None:
    listed = [f"{folder}/P1/f.png", f"{folder}/./P1//f.png", f"{folder}/P2", f"{folder}/gone.png"]
    known: dict[str, Path] = {}
    for item in name_inputs(found_in(STANDARD_INPUT, is_image_path, listed=listed), known.get, None):
        known[item.name] = item.path
    expected = ["P1/f.png", "P2/deep/g.png", "P2/f.png", "gone.png"]
    assert sorted(known) == [f"{folder}/{name}" for name in expected], "the file that is listed twice comes once"


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "xlsx"])
def test_a_table_of_any_kind_names_images_and_cases(folder: Path, ending: str) -> None:
    frame = pd.DataFrame({"image": ["P1/f.png", "P2/f.png"], "case_id": ["007", "008"]})
    path = folder / f"list.{ending}"
    if ending == "xlsx":
        frame.to_excel(path, index=False)
    elif ending == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    assert [(found.name, found.case) for found in found_in(path, is_image_path)] == [
        ("P1/f.png", "007"),
        ("P2/f.png", "008"),
    ]


def test_a_table_does_not_lead_out_of_its_folder(folder: Path) -> None:
    (folder / "P1" / "list.csv").write_text("image\n../P2/f.png\n")
    with pytest.raises(InvalidInput, match=r"list\.csv, row 2: .* leaves the folder"):
        find_inputs([folder / "P1" / "list.csv"])
    found = next(found_in(folder / "P1" / "list.csv", is_image_path))
    assert found.path == folder / "P1" / "list.csv", "what must not be read has no path"


def test_a_text_file_that_is_no_table_is_told_so(folder: Path) -> None:
    text = folder / "readme.txt"
    for words in ("One line.\n", "Two lines\nof prose, with a comma.\n", "P1/f.png\nP2/f.png\n", ""):
        text.write_text(words)
        with pytest.raises(InvalidInput, match=r"neither an image nor a table.*\n?.*standard input") as raised:
            names(text)
        assert "manifest" not in str(raised.value)
    text.write_text("image\tcase_id\nP1/f.png\t007\n")
    assert names(text) == ["P1/f.png"]


@given(st.lists(st.text(), min_size=2, max_size=2, unique=True))
def test_odd_names_are_shown_printable_and_stay_apart(texts: list[str]) -> None:
    shown = [printable(text) for text in texts]
    assert all(text.isprintable() for text in shown)
    assert shown == texts or shown[0] != shown[1] or any(text.isprintable() for text in texts)
    assert all(text.encode("utf-8") for text in shown if text)


def test_a_listed_name_with_a_nul_is_an_input_that_is_refused() -> None:
    item = next(name_inputs(found_in(STANDARD_INPUT, is_image_path, listed=["a\0.png"]), lambda _: None, None))
    assert item.name == r"a\x00.png"
    assert item.refused is not None


def test_the_folder_that_is_written_is_not_searched(folder: Path) -> None:
    assert names(folder, leave_out=folder / "P2") == ["P1/f.png"]
    assert names(folder / "**" / "*.png", leave_out=folder / "P2") == ["P1/f.png"]


def test_two_files_of_one_name_are_told_apart_or_refused(tmp_path: Path) -> None:
    def found(*paths: str) -> list[Found]:
        return [Found(Path(path).name, tmp_path / path, "case") for path in paths]

    taken: dict[str, Path] = {}
    for item in name_inputs(found("a/f.png", "b/f.png"), taken.get, None):
        taken[item.name] = item.path
    assert sorted(taken) == ["b/f.png", "f.png"]
    with pytest.raises(InvalidInput, match="Two inputs are named"):
        list(name_inputs(found("c/b/f.png"), taken.get, None))


def test_a_table_that_lists_a_file_under_two_cases_is_refused(folder: Path) -> None:
    image = next(folder.rglob("f.png")).relative_to(folder).as_posix()
    table = folder / "two.csv"
    table.write_text(f"image,case_id\n{image},a\n./{image},a\n{image},d\n")
    with pytest.raises(InvalidInput, match=r"two\.csv, rows 2 and 4: '.*' is listed under two cases, 'a' and 'd'"):
        list(found_in(table, is_image_path))
    table.write_text(f"image,case_id\n{image},a\n./{image},a\n")
    assert [found.case for found in found_in(table, is_image_path)] == ["a", "a"]
