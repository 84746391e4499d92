"""Import: what a researcher's disk and spreadsheet are really like."""

from __future__ import annotations

import json
import os
import re
import shutil
import unicodedata
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from openpyxl import Workbook
from PIL import Image

from msht.cohort.manifest import read_manifest
from msht.errors import InvalidInput
from pipelines.cohort import Imported, import_cohort, split_cohort
from pipelines.cohort_sources import Skipped, find_images, split_pattern


def draw(root: Path, *names: str) -> None:
    """Images that differ from each other, at these places."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shade = zlib.crc32(name.encode())
        Image.new("RGB", (3, 2), (shade % 256, shade // 256 % 256, shade // 65536 % 256)).save(path, format="PNG")


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    """Two classes of three fields each, in folders."""
    root = tmp_path / "fields"
    draw(root, *(f"{label}/P{n}_{label}.png" for label in ("benign", "malignant") for n in range(3)))
    return root


def rows(root: Path) -> list[dict[str, str]]:
    return [
        {"file": p.relative_to(root).as_posix(), "label": p.parent.name, "who": p.name[:2]}
        for p in sorted(root.rglob("*.png"))
    ]


def images(result: Imported) -> list[str]:
    return sorted(result.manifest.frame["image"])


def imported(source: Path, out: Path, **settings: Any) -> Imported:
    return import_cohort(source, out=out / "m.csv", **settings)


def refused(source: Path, out: Path, words: str, **settings: Any) -> InvalidInput:
    with pytest.raises(InvalidInput, match=words) as caught:
        imported(source, out, **settings)
    assert caught.value.mend
    assert not (out / "m.csv").exists()
    return caught.value


def test_images_are_found_at_any_depth_and_with_endings_in_any_case(tmp_path: Path) -> None:
    draw(tmp_path / "f", "a/1.PNG", "a/deep/er/2.Jpg", "b/3.TIFF", "b/4.jpeg")
    result = imported(tmp_path / "f", tmp_path)
    assert images(result) == ["a/1.PNG", "a/deep/er/2.Jpg", "b/3.TIFF", "b/4.jpeg"]
    assert list(result.manifest.frame["label"]) == ["a", "a", "b", "b"]


def test_everything_left_out_is_counted_with_its_reason_and_an_example(fields: Path, tmp_path: Path) -> None:
    (fields / "benign" / "notes.txt").touch()
    (fields / "benign" / "Thumbs.db").touch()
    (fields / "no ending").touch()
    draw(fields, "benign/._P0.png", ".cache/x.png", "__MACOSX/benign/y.png")
    result = imported(fields, tmp_path)
    assert result.skipped == {
        "not an image (.txt)": 1,
        "not an image (.db)": 1,
        "not an image (no ending)": 1,
        "hidden": 3,
    }
    assert result.examples["not an image (.txt)"] == "benign/notes.txt"
    assert json.loads((tmp_path / "m.json").read_text())["skipped"] == result.skipped
    assert len(images(result)) == 6


def test_links_are_followed_inside_the_folder_only(fields: Path, tmp_path: Path) -> None:
    draw(tmp_path / "elsewhere", "secret.png")
    draw(fields, "benign/store/new.png")
    (fields / "benign" / "again").mkdir()
    (fields / "benign" / "again" / "link.png").symlink_to(fields / "benign" / "P0_benign.png")
    (fields / "malignant" / "out.png").symlink_to(tmp_path / "elsewhere" / "secret.png")
    (fields / "malignant" / "outside").symlink_to(tmp_path / "elsewhere")
    (fields / "malignant" / "gone.png").symlink_to(fields / "nowhere.png")
    (fields / "benign" / "store" / "up").symlink_to(fields / "benign")
    result = imported(fields, tmp_path)
    assert result.skipped == {
        "a link to an image that is listed": 1,
        "a link out of the folder": 2,
        "a link to nothing": 1,
        "a link back to a folder it lies in": 1,
    }
    assert "secret" not in (tmp_path / "m.csv").read_text()


def test_a_class_folder_that_is_a_link_inside_the_root_is_followed(tmp_path: Path) -> None:
    draw(tmp_path / "f", ".store/2021/a.png", "negative/b.png")
    (tmp_path / "f" / "positive").symlink_to(tmp_path / "f" / ".store" / "2021")
    assert images(imported(tmp_path / "f", tmp_path)) == ["negative/b.png", "positive/a.png"]


def test_an_image_outside_any_class_folder_is_refused(fields: Path, tmp_path: Path) -> None:
    draw(fields, "loose.png")
    refused(fields, tmp_path, r"'loose\.png' lies in no class folder .* \(1 such images\)")


def test_folders_named_train_and_test_are_not_taken_for_classes(tmp_path: Path) -> None:
    draw(tmp_path / "f", "train/benign/a.png", "train/malignant/b.png", "test/benign/c.png", "Val/malignant/d.png")
    error = refused(tmp_path / "f", tmp_path, "say what images are for, not what they show")
    assert "--label-from '^[^/]+/([^/]+)/'" in error.mend
    result = imported(tmp_path / "f", tmp_path, patterns={"label": "^[^/]+/([^/]+)/"})
    assert list(result.manifest.frame["label"]) == ["malignant", "benign", "benign", "malignant"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**/*.png", ["a/x.png", "b/deep/y.png", "b/z.png"]),
        ("*/*.png", ["a/x.png", "b/z.png"]),
        ("**/*.JPG", ["a/w.jpg"]),
        ("b/**", ["b/deep/y.png", "b/z.png"]),
        ("**/[xy].png", ["a/x.png", "b/deep/y.png"]),
        ("**/[!xy].png", ["b/z.png"]),
        ("?/?.png", ["a/x.png", "b/z.png"]),
    ],
)
def test_a_pattern_finds_what_it_says(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    draw(tmp_path / "f", "a/x.png", "a/w.jpg", "b/deep/y.png", "b/z.png")
    root, rest = split_pattern(tmp_path / "f" / pattern)
    assert [
        (root / name).relative_to(tmp_path / "f").as_posix() for name in find_images(root, rest, Skipped())
    ] == expected


def test_the_label_comes_from_the_name_where_a_pattern_says_so(tmp_path: Path) -> None:
    draw(tmp_path / "f", "1/P1_neg.png", "2/P2_pos.png")
    result = imported(
        tmp_path / "f" / "**" / "*.png",
        tmp_path,
        patterns={"label": r"_(neg|pos)\.", "patient_id": r"^(P\d)", "site": "^([^/]+)/"},
        labels=["neg=negative", "pos=positive"],
    )
    assert result.manifest.frame.to_dict("records") == [
        {"image": "1/P1_neg.png", "label": "negative", "patient_id": "P1", "site": "1", "class": "neg"},
        {"image": "2/P2_pos.png", "label": "positive", "patient_id": "P2", "site": "2", "class": "pos"},
    ]


def test_a_pattern_that_fits_nothing_says_so(fields: Path, tmp_path: Path) -> None:
    refused(fields / "**" / "*.tif", tmp_path, "No image fits the pattern")
    refused(tmp_path / "nowhere" / "*.png", tmp_path, "is no folder")


def test_an_expression_that_fits_some_files_is_said_with_one_that_does_and_one_that_does_not(
    fields: Path, tmp_path: Path
) -> None:
    words = r"--patient-from '\^\(P\[01\]\)_' finds nothing in 'P2_benign.png' \(2 of 6 files\), but fits 'P0_benign"
    refused(fields, tmp_path, words, patterns={"patient_id": "^(P[01])_"})
    refused(fields, tmp_path, "finds an empty text in 'P0_benign", patterns={"patient_id": "(x?)"})


def test_a_table_tells_about_the_files_of_a_folder_by_name(fields: Path, tmp_path: Path) -> None:
    table = [{"file": Path(row["file"]).name, "who": row["who"]} for row in rows(fields)]
    pd.DataFrame([*table[:-1], {"file": "gone.png", "who": "P9"}]).to_csv(tmp_path / "t.csv", index=False)
    result = imported(fields, tmp_path, table=tmp_path / "t.csv", columns={"patient_id": "who"})
    assert result.counts == {"images": 5, "benign": 3, "malignant": 2, "patients": 3}
    assert result.skipped == {"a row of t.csv without a file": 1, "not in t.csv": 1}
    assert result.examples["not in t.csv"] == "malignant/P2_malignant.png"


def test_a_name_in_a_table_that_fits_two_files_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "f", "a/1.png", "b/1.png")
    (tmp_path / "t.csv").write_text("image\n1.png\n")
    refused(tmp_path / "f", tmp_path, r"row 2: '1\.png' fits 2 files", table=tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("image\nq.png\n")
    refused(tmp_path / "f", tmp_path, "None of the 2 images has a row", table=tmp_path / "t.csv")


def written(path: Path, table: list[dict[str, str]]) -> Path:
    frame = pd.DataFrame(table)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".xlsx":
        book = Workbook()
        assert book.active is not None
        for row in [list(frame.columns), *frame.to_numpy().tolist()]:
            book.active.append(row)
        book.save(path)
    else:
        frame.to_csv(path, sep="\t" if path.suffix == ".tsv" else ",", index=False)
    return path


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".xlsx"])
def test_every_kind_of_table_gives_the_same_manifest(fields: Path, tmp_path: Path, ending: str) -> None:
    table = written(tmp_path / f"t{ending}", rows(fields))
    result = imported(table, tmp_path, images=fields, columns={"patient_id": "who"}, positive=["malignant"])
    assert result.counts == {"images": 6, "negative": 3, "positive": 3, "patients": 3}
    assert list(result.manifest.frame.columns) == ["image", "label", "patient_id", "class"]
    assert (ending == ".xlsx") == any("Sheet" in note for note in result.notes)


def test_every_known_column_can_be_named(fields: Path, tmp_path: Path) -> None:
    names = {"image": "a", "label": "b", "patient_id": "c", "case_id": "d", "slide_id": "e"}
    names |= {"site": "f", "stain": "g", "magnification": "h"}
    table = [
        {"a": r["file"], "b": r["label"], "c": r["who"], "d": r["who"] + "c", "e": r["who"] + "s", "f": "x", "g": "DQ"}
        | {"h": "40x", "other": "y", "more": "z"}
        for r in rows(fields)
    ]
    source = written(tmp_path / "t.csv", table)
    result = imported(source, tmp_path, images=fields, columns=names)
    assert list(result.manifest.frame.columns) == [*names, "other", "more"]
    result = imported(source, tmp_path, images=fields, columns=names, keep=["more"])
    assert list(result.manifest.frame.columns) == [*names, "more"]
    refused_keep = pytest.raises(InvalidInput, match=r"no column 'x' \(--keep\)")
    with refused_keep:
        imported(source, tmp_path, images=fields, columns=names, keep=["x"])


def test_columns_are_guessed_whatever_their_capitals_and_spaces(fields: Path, tmp_path: Path) -> None:
    table = [{"File Name": r["file"], "LABEL": r["label"], "Patient ID": r["who"]} for r in rows(fields)]
    result = imported(written(tmp_path / "t.csv", table), tmp_path, images=fields)
    assert list(result.manifest.frame.columns) == ["image", "label", "patient_id"]


def test_a_column_that_is_not_the_one_chosen_is_kept_under_another_name(fields: Path, tmp_path: Path) -> None:
    table = [{**r, "diagnosis": r["label"], "label": "seen"} for r in rows(fields)]
    result = imported(written(tmp_path / "t.csv", table), tmp_path, images=fields, columns={"label": "diagnosis"})
    assert set(result.manifest.frame["label_in_table"]) == {"seen"}
    assert any("'label_in_table'" in note for note in result.notes)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"columns": {"label": "file", "image": "file"}}, "named for image and for label"),
        ({"columns": {"patient_id": "who"}, "patterns": {"patient_id": "(P.)"}}, "both say the patient_id"),
        ({"table": Path("t.csv")}, "--table is for a folder"),
        ({"sheet": "one"}, "--sheet is for Excel"),
    ],
)
def test_options_that_contradict_are_refused(
    fields: Path, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    refused(written(tmp_path / "t.csv", rows(fields)), tmp_path, words, images=fields, **settings)


def changed(table: list[dict[str, str]], *changes: dict[str, Any] | None) -> list[dict[str, str]]:
    return [{**row, **(change or {})} for row, change in zip(table, [*changes, *[None] * len(table)], strict=False)]


def as_windows(names: Iterable[str]) -> list[str]:
    return [name.replace("/", "\\") for name in names]


def test_windows_separators_and_whole_paths_find_their_files(fields: Path, tmp_path: Path) -> None:
    table = rows(fields)
    expected = sorted(row["file"] for row in table)
    for row, name in zip(table, as_windows(row["file"] for row in table), strict=True):
        row["file"] = name
    table[-1]["file"] = str(fields / expected[-1])
    result = imported(written(tmp_path / "t.csv", table), tmp_path, images=fields)
    assert images(result) == expected
    assert any("backslashes" in note for note in result.notes)
    assert any("in full" in note for note in result.notes)


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC")])
def test_accents_composed_in_either_way_find_their_file(tmp_path: Path, on_disk: Any, in_table: Any) -> None:
    names = ["zürich/Müller né.png", "zürich/b ø.png"]
    draw(tmp_path / "f", *(unicodedata.normalize(on_disk, name) for name in names))
    table = [
        {
            "image": unicodedata.normalize(in_table, name),
            "label": label,
            "patient": unicodedata.normalize(form, "Müller"),
        }
        for name, label, form in zip(names, ("negative", "positive"), ("NFC", "NFD"), strict=True)
    ]
    result = imported(written(tmp_path / "t.csv", table), tmp_path, images=tmp_path / "f")
    assert all((tmp_path / "f" / image).is_file() for image in images(result))
    assert result.counts["patients"] == 1  # one name, however it is composed


def test_names_as_long_as_a_disk_allows_and_with_spaces_are_kept(tmp_path: Path) -> None:
    longest = "x" * 251 + ".png"
    draw(tmp_path / "f", f"negative/{longest}", 'positive/a  b , "c" \';.png')
    result = imported(tmp_path / "f", tmp_path)
    assert images(result) == [f"negative/{longest}", 'positive/a  b , "c" \';.png']
    assert sorted(pd.read_csv(tmp_path / "m.csv")["image"]) == images(result)


def test_a_path_longer_than_any_disk_allows_is_one_sentence(fields: Path, tmp_path: Path) -> None:
    table = written(tmp_path / "t.csv", changed(rows(fields), {"file": "y" * 5000 + ".png"}))
    refused(table, tmp_path, "cannot be a file", images=fields)


def test_the_same_row_again_is_left_out_and_another_of_the_same_image_refused(fields: Path, tmp_path: Path) -> None:
    table = rows(fields)
    result = imported(written(tmp_path / "t.csv", [*table, table[0], table[0]]), tmp_path, images=fields)
    assert result.skipped == {"the same row again": 2}
    (tmp_path / "m.csv").unlink()
    other = {**table[0], "who": "P9"}
    words = r"rows 2 and 8: 'benign/P0_benign\.png' is listed twice, with 'P0' and 'P9' in the column 'who'"
    refused(written(tmp_path / "t.csv", [*table, other]), tmp_path, words, images=fields)


def test_rows_without_label_or_of_other_files_are_left_out(fields: Path, tmp_path: Path) -> None:
    (fields / "slide.svs").touch()
    table = changed(rows(fields), {"label": None}, {"label": "  "})
    table.append({"file": "slide.svs", "label": "benign", "who": "P1"})
    result = imported(written(tmp_path / "t.csv", table), tmp_path, images=fields)
    assert result.skipped == {"not an image (.svs)": 1, "no label": 2}
    assert result.counts["images"] == 4


def test_an_error_names_the_row_of_the_file_past_empty_and_dropped_rows(fields: Path, tmp_path: Path) -> None:
    first, second, *others = [",".join(row.values()) for row in rows(fields)]
    lines = ["file,label,who", "", first, first, second.replace(".png", "x.png"), *others]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    refused(tmp_path / "t.csv", tmp_path, r"t\.csv, row 5: there is no image", images=fields)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"file": None}, r"t\.csv, row 2: the cell 'file' is empty \(1 such rows\)"),
        ({"file": "../secret.png"}, r"t\.csv, row 2, column 'file': the path '\.\./secret\.png' leaves the folder"),
        ({"file": "/etc/passwd.png"}, "leaves the folder"),
        ({"file": "C:\\images\\a.png"}, "row 2: there is no image .*, named in the column 'file'"),
        ({"patient_id": "P\n1"}, "row 2: the cell 'patient_id' holds a line break"),
        ({"patient_id": " "}, "row 2: the cell 'patient_id' is empty"),
        ({"label": "Benign"}, "labels 'Benign' and 'benign', which differ only in capitals"),
        ({"label": "be\x00nign"}, "null bytes"),
    ],
)
def test_a_cell_that_cannot_be_used_is_named(fields: Path, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    draw(tmp_path, "secret.png")
    table = [{**row, "patient_id": row["who"]} for row in rows(fields)]
    refused(written(tmp_path / "t.csv", changed(table, change)), tmp_path, words, images=fields)


def test_an_id_that_a_spreadsheet_shows_otherwise_is_refused_by_row_and_column(fields: Path, tmp_path: Path) -> None:
    book = Workbook()
    assert book.active is not None
    book.active.append(["image", "label", "patient_id"])
    for row in rows(fields):
        book.active.append([row["file"], row["label"], 7])
    book.active["C3"].number_format = '#,##0.00 "EUR"'
    book.save(tmp_path / "t.xlsx")
    refused(tmp_path / "t.xlsx", tmp_path, r"t\.xlsx, row 3: the cell 'patient_id' cannot be read", images=fields)


def test_classes_stay_as_they_are_unless_some_are_positive(tmp_path: Path) -> None:
    draw(tmp_path / "f", *(f"{label}/{n}{label}.png" for label in ("NILM", "LSIL", "HSIL") for n in range(2)))
    several = imported(tmp_path / "f", tmp_path)
    assert several.manifest.classes == ("HSIL", "LSIL", "NILM")
    assert several.counts == {"images": 6, "HSIL": 2, "LSIL": 2, "NILM": 2}
    two = imported(tmp_path / "f", tmp_path, positive=["HSIL", "LSIL"])
    assert two.manifest.classes == ("negative", "positive")
    frame = two.manifest.frame
    assert set(frame.loc[frame["label"] == "positive", "class"]) == {"HSIL", "LSIL"}
    joined = imported(tmp_path / "f", tmp_path, labels=["LSIL=HSIL"])
    assert joined.manifest.classes == ("HSIL", "NILM")


def test_capitals_of_negative_and_positive_do_not_matter(tmp_path: Path) -> None:
    draw(tmp_path / "f", "Negative/a.png", "POSITIVE/b.png")
    result = imported(tmp_path / "f", tmp_path)
    assert result.manifest.classes == ("negative", "positive")
    assert set(result.manifest.frame["class"]) == {"Negative", "POSITIVE"}


def test_training_on_several_classes_is_refused_with_the_way_out(tmp_path: Path) -> None:
    from pipelines.crossval import cross_validate

    draw(tmp_path / "f", *(f"{label}/P{n}_{label}.png" for label in ("a", "b", "c") for n in range(8)))
    imported(tmp_path / "f", tmp_path, patterns={"patient_id": "^(P.)_"})
    split, described = split_cohort(tmp_path / "m.csv", out=tmp_path / "s.csv", folds=3)
    assert described["classes"] == ["a", "b", "c"]
    for part in [*described["counts_by_fold"].values(), described["counts"]["test"]]:
        assert min(part[name] for name in split.classes) > 0
    with pytest.raises(InvalidInput, match="classes a, b, c, but a recipe trains on negative and positive") as caught:
        cross_validate(tmp_path / "s.csv", "demo", tmp_path / "run", tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    assert "--positive" in caught.value.mend
    assert not (tmp_path / "run").exists()


def test_a_cell_that_begins_as_a_formula_is_kept_and_said(fields: Path, tmp_path: Path) -> None:
    table = changed(rows(fields), {"who": "=cmd|' /C calc'!A0"}, {"who": "-12"})
    result = imported(written(tmp_path / "t.csv", table), tmp_path, images=fields)
    assert result.manifest.frame.loc[0, "who"] == "=cmd|' /C calc'!A0"
    assert [note for note in result.notes if "formula" in note and "(1 such cells)" in note]


@pytest.mark.parametrize("ending", [".csv", ".xlsx", ".parquet"])
def test_a_cell_that_begins_as_a_formula_is_named_by_its_row_in_the_manifest(
    fields: Path, tmp_path: Path, ending: str
) -> None:
    """The row that a spreadsheet shows of the file in which it stands, also where a row before it was left out."""
    table = changed(rows(fields), {"label": ""}, None, {"who": "@x"})
    result = imported(written(tmp_path / f"t{ending}", table), tmp_path, images=fields)
    (note,) = [note for note in result.notes if "formula" in note]
    assert note.startswith("Row 3 of the manifest: the cell 'who' begins")
    assert (tmp_path / "m.csv").read_text().splitlines()[3 - 1].endswith("@x")


def test_a_link_out_of_the_folder_is_refused_by_table_row_and_column(fields: Path, tmp_path: Path) -> None:
    draw(tmp_path, "secret.png")
    (fields / "out.png").symlink_to(tmp_path / "secret.png")
    lines = ["", *(",".join(row.values()) for row in rows(fields) if row["file"] != "out.png"), "out.png,benign,P9"]
    (tmp_path / "t.csv").write_text("\n".join(["Image Path,label,who", *lines]))
    words = r"t\.csv, row 9, column 'Image Path': the path 'out\.png' leaves the folder"
    error = refused(tmp_path / "t.csv", tmp_path, words, images=fields)
    assert "relative" in error.mend


@pytest.mark.parametrize(
    ("change", "settings", "words"),
    [
        ({"Patient ID": ""}, {}, "row 2: the cell 'Patient ID' is empty"),
        ({"Patient ID": "P\n1"}, {}, "row 2: the cell 'Patient ID' holds a line break"),
        ({"File Name": ""}, {}, "row 2: the cell 'File Name' is empty"),
        ({"Patient ID": "P9"}, {}, "Case 'C0' belongs to 2 different values of Patient ID"),
        ({"Patient ID": "P9"}, {"patterns": {"case_id": "_(.)"}}, "case_id 'b' belongs to 3 different values of Patie"),
        ({"Patient ID": "P9"}, {"patterns": {"patient_id": "_(.)"}}, "Case 'C0' belongs to 2 different values of pati"),
        ({"File Name": "benign/P1_benign.png"}, {}, "with 'P0' and 'P1' in the column 'Patient ID'"),
        ({}, {"columns": {"label": "x"}}, "it has File Name, label, Patient ID, Case"),
    ],
)
def test_messages_name_the_columns_of_the_table_that_was_given(
    fields: Path, tmp_path: Path, change: dict[str, str], settings: dict[str, Any], words: str
) -> None:
    table = [
        {"File Name": row["file"], "label": row["label"], "Patient ID": row["who"], "Case": f"C{row['who'][1]}"}
        for row in rows(fields)
    ]
    refused(written(tmp_path / "t.csv", changed(table, change)), tmp_path, words, images=fields, **settings)


def test_a_table_without_labels_is_refused_with_its_own_columns(fields: Path, tmp_path: Path) -> None:
    table = [{"File Name": row["file"], "Patient ID": row["who"]} for row in rows(fields)]
    words = "no column 'label'; it has File Name, Patient ID"
    refused(written(tmp_path / "t.csv", table), tmp_path, words, images=fields)


def test_an_empty_cell_of_a_table_about_files_is_named_by_its_own_column(fields: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("File Name,who\nP0_benign.png,P0\n,P1\n")
    refused(fields, tmp_path, r"t\.csv, row 3: the cell 'File Name' is empty", table=tmp_path / "t.csv")


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_manifest_keeps_nothing_of_how_its_columns_were_called(fields: Path, tmp_path: Path, ending: str) -> None:
    result = import_cohort(written(tmp_path / "t.csv", rows(fields)), out=tmp_path / f"m{ending}", images=fields)
    assert result.manifest.frame.attrs == {}
    if ending == ".parquet":
        assert pd.read_parquet(tmp_path / "m.parquet").attrs == {}


def test_a_row_with_too_many_cells_is_named_with_what_was_expected(fields: Path, tmp_path: Path) -> None:
    lines = [",".join(row.values()) for row in rows(fields)]
    (tmp_path / "t.csv").write_text("\n".join(["file,label,who", *lines[:2], lines[2] + ",a,b", *lines[3:]]))
    error = refused(tmp_path / "t.csv", tmp_path, r"t\.csv, row 4: 5 cells were found, but 3 were", images=fields)
    assert "double quotes" in error.mend


def test_a_file_is_found_whatever_the_capitals_of_its_ending(tmp_path: Path) -> None:
    draw(tmp_path / "f", "a/1.jpg", "a/2.Jpg", "b/3.png", "b/ä.png")
    names = ["a/1.JPG", str(tmp_path / "f" / "a" / "2.jpg"), "b\\3.PNG", unicodedata.normalize("NFD", "b/ä.PNG")]
    table = [{"image": name, "label": label} for name, label in zip(names, "nnpp", strict=True)]
    result = imported(written(tmp_path / "t.csv", table), tmp_path, images=tmp_path / "f")
    assert images(result) == ["a/1.jpg", "a/2.Jpg", "b/3.png", "b/ä.png"]
    assert [note for note in result.notes if "capitals" in note] == [
        "Paths written with an ending in other capitals were found all the same, 'a/1.JPG' as 'a/1.jpg' for one."
    ]


def test_capitals_elsewhere_than_in_the_ending_are_another_name(tmp_path: Path) -> None:
    draw(tmp_path / "f", "P1.jpg", "p2.jpg")
    table = [{"image": "P1.jpg", "label": "n"}, {"image": "P2.JPG", "label": "p"}]
    refused(written(tmp_path / "t.csv", table), tmp_path, r"row 3: there is no image .*P2\.JPG", images=tmp_path / "f")


def test_an_ending_that_fits_two_files_is_not_guessed_and_an_exact_name_is_taken(tmp_path: Path) -> None:
    draw(tmp_path / "f", "1.jpg", "1.JPG", "2.jpg")
    table = [{"image": "1.Jpg", "label": "n"}, {"image": "2.jpg", "label": "p"}]
    refused(written(tmp_path / "t.csv", table), tmp_path, r"row 2: there is no image .*1\.Jpg", images=tmp_path / "f")
    table[0]["image"] = "1.JPG"
    result = imported(written(tmp_path / "t.csv", table), tmp_path, images=tmp_path / "f")
    assert images(result) == ["1.JPG", "2.jpg"]
    assert not result.notes


def test_a_table_about_files_finds_them_whatever_the_capitals_of_the_ending(fields: Path, tmp_path: Path) -> None:
    table = [{"file": Path(row["file"]).name.replace(".png", ".PNG"), "who": row["who"]} for row in rows(fields)]
    table[0]["file"] = "benign/P0_benign.PNG"
    result = imported(fields, tmp_path, table=written(tmp_path / "t.csv", table), columns={"patient_id": "who"})
    assert result.counts["images"] == 6
    assert sum("capitals" in note for note in result.notes) == 1
    draw(fields, "malignant/P0_benign.Png")
    table[0]["file"] = "P0_benign.PNG"
    written(tmp_path / "t.csv", table)
    refused_twice = pytest.raises(InvalidInput, match=r"row 2: 'P0_benign\.PNG' fits 2 files")
    with refused_twice:
        imported(fields, tmp_path, table=tmp_path / "t.csv")


def touch(folder: Path, name: bytes) -> None:
    """A file whose name need be no text."""
    try:
        (folder / os.fsdecode(name)).touch()
    except OSError:
        pytest.skip("this disk takes names in UTF-8 only")


def test_a_name_that_is_no_text_is_shown_so_that_a_person_can_find_it(fields: Path, tmp_path: Path) -> None:
    touch(fields / "benign", b"\xff\xfe note.\xfe")
    result = imported(fields, tmp_path)
    assert result.examples == {r"not an image (.\xfe)": r"benign/\xff\xfe note.\xfe"}
    (tmp_path / "m.csv").unlink()
    touch(fields / "benign", b"it's\n\xff.png")
    refused(fields, tmp_path, re.escape(r"The file $'benign/it\'s\n\xff.png' has a name that no table can hold"))


def test_a_folder_whose_name_is_no_text_is_refused_before_anything_is_written(fields: Path, tmp_path: Path) -> None:
    touch(tmp_path, b"\xff")
    fields.rename(tmp_path / os.fsdecode(b"f\xff"))
    refused(tmp_path / os.fsdecode(b"f\xff"), tmp_path, re.escape(r"m.json cannot hold $'f\xff' (images)"))
    assert not (tmp_path / "m.json").exists()


def test_an_import_does_not_take_the_place_of_a_split(fields: Path, tmp_path: Path) -> None:
    lay_split(fields, tmp_path)
    before = (tmp_path / "s.csv").read_text()
    for expected in ("s.csv and .*s.json first", "s.csv first"):  # a table with role and fold is one without its JSON
        with pytest.raises(InvalidInput, match=r"would be a manifest, but .*s\.csv is a split") as caught:
            import_cohort(fields, out=tmp_path / "s.csv")
        assert re.search(expected, caught.value.mend)
        assert (tmp_path / "s.csv").read_text() == before
        (tmp_path / "s.json").unlink(missing_ok=True)
    (tmp_path / "s.csv").unlink()
    import_cohort(fields, out=tmp_path / "s.csv")
    import_cohort(fields, out=tmp_path / "s.csv")  # a manifest takes the place of a manifest


def test_a_split_does_not_take_the_place_of_a_manifest(
    fields: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cli.cohort import split

    lay_split(fields, tmp_path)
    import_cohort(fields, out=tmp_path / "other.csv")
    for json_too in (True, False):  # the columns tell what it is where nothing else does
        before = (tmp_path / "other.csv").read_text()
        with pytest.raises(InvalidInput, match=r"would be a split, but .*other\.csv is a manifest") as caught:
            split(tmp_path / "m.csv", tmp_path / "other.csv", folds=2)
        assert ("other.json" in caught.value.mend) == json_too
        assert (tmp_path / "other.csv").read_text() == before
        (tmp_path / "other.json").unlink(missing_ok=True)
    with pytest.raises(InvalidInput, match="is the file to be read"):
        split(tmp_path / "m.csv", tmp_path / "m.csv", folds=2)


def test_a_split_is_not_split_again(fields: Path, tmp_path: Path) -> None:
    lay_split(fields, tmp_path)
    for words in ("from$", "from; or rename the columns role and fold"):
        with pytest.raises(InvalidInput, match=r"is a split, .* but a manifest is needed") as caught:
            split_cohort(tmp_path / "s.csv", out=tmp_path / "s2.csv", folds=2)
        assert re.search(words, caught.value.mend.rstrip("."))
        assert not (tmp_path / "s2.csv").exists()
        (tmp_path / "s.json").unlink(missing_ok=True)


def lay_split(fields: Path, tmp_path: Path) -> None:
    """A manifest m.csv and a split s.csv of it."""
    imported(fields, tmp_path, positive=["malignant"], patterns={"patient_id": "^(.*)\\."})
    frame = read_manifest(tmp_path / "m.csv").frame
    frame.assign(role="development", fold="1").to_csv(tmp_path / "s.csv", index=False)
    (tmp_path / "s.json").write_text(json.dumps({"kind": "split", "images": "fields"}))


@pytest.mark.parametrize("column", ["image", "label"])
def test_a_table_that_is_no_manifest_is_to_be_imported_first(tmp_path: Path, column: str) -> None:
    """Neither the split nor the audit has an option that names a column."""
    from pipelines.audit import audit_cohort

    draw(tmp_path, "a.png")
    header = "image,label".replace(column, "other")
    (tmp_path / "t.csv").write_text(f"{header}\na.png,a.png\n")
    for use in (split_cohort, audit_cohort):
        with pytest.raises(InvalidInput, match=f"no column '{column}'; it has") as caught:
            use(tmp_path / "t.csv", out=tmp_path / "out.csv")
        assert f"msht cohort import TABLE --{column}-column NAME --out manifest.csv" in caught.value.mend


def test_a_folder_that_cannot_be_read_is_one_sentence(fields: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def refuse(path: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    refused(fields, tmp_path, "cannot be read")


def test_the_manifest_can_move_with_its_images(fields: Path, tmp_path: Path) -> None:
    imported(fields, tmp_path, patterns={"patient_id": "^(P.)_"}, positive=["malignant"])
    (tmp_path / "moved").mkdir()
    for name in ("m.csv", "m.json", "fields"):
        shutil.move(str(tmp_path / name), str(tmp_path / "moved" / name))
    assert read_manifest(tmp_path / "moved" / "m.csv").root == (tmp_path / "moved" / "fields").resolve()


def test_a_row_about_another_folder_tells_nothing_about_a_file_of_that_name(tmp_path: Path) -> None:
    draw(tmp_path / "f", "P1/IMG_1.png", "P3/IMG_2.png", "P4/IMG_3.png")
    table = tmp_path / "t.csv"
    table.write_text(
        "file,label,patient_id\nP2/IMG_1.png,positive,P2\nP3/IMG_2.png,negative,P3\nD:\\study\\P4\\IMG_3.png,positive,P4\n"
    )
    result = imported(tmp_path / "f", tmp_path, table=table)
    assert dict(zip(result.manifest.frame["image"], result.manifest.frame["patient_id"], strict=True)) == {
        "P3/IMG_2.png": "P3",
        "P4/IMG_3.png": "P4",
    }
    assert result.skipped == {"a row of t.csv without a file": 1, "not in t.csv": 1}
    table.write_text(table.read_text().replace("D:", "P1/IMG_1.png,negative,P1\nD:"))
    result = imported(tmp_path / "f", tmp_path, table=table)
    assert len(result.manifest.frame) == 3


@pytest.mark.parametrize("nothing", ["NA", "n/a", "None", "?", "-", "NaN"])
def test_what_stands_for_no_value_is_no_patient(fields: Path, tmp_path: Path, nothing: str) -> None:
    table = rows(fields)
    table[2]["who"] = nothing
    pd.DataFrame(table).to_csv(fields / "t.csv", index=False)
    refused(
        fields / "t.csv", tmp_path, r"row 4: the cell 'who' is empty \(1 such rows\)", columns={"patient_id": "who"}
    )


def test_an_image_whose_label_is_na_is_left_out(fields: Path, tmp_path: Path) -> None:
    table = rows(fields)
    table[2]["label"] = "NA"
    pd.DataFrame(table).to_csv(fields / "t.csv", index=False)
    result = imported(fields / "t.csv", tmp_path, positive=["malignant"])
    assert result.counts["images"] == 5
    assert "NA" not in set(result.manifest.frame["class"])


@pytest.mark.parametrize("ways", [("P001", "p001"), ("1", "001"), ("1", "1.0"), ("P1", "P01")])
def test_ids_that_may_be_one_in_two_ways_are_said(fields: Path, tmp_path: Path, ways: tuple[str, str]) -> None:
    table = rows(fields)
    for number, row in enumerate(table):
        row["who"] = ways[number] if number < 2 else f"other {number}"
    pd.DataFrame(table).to_csv(fields / "t.csv", index=False)
    result = imported(fields / "t.csv", tmp_path, columns={"patient_id": "who"})
    said = [note for note in result.notes if note.startswith("Warning")]
    assert len(said) == 1
    assert all(f"'{way}'" in said[0] for way in ways)
    assert "(1 such set)" in said[0]


def test_an_invisible_character_does_not_make_another_patient(fields: Path, tmp_path: Path) -> None:
    table = rows(fields)
    table[0]["who"] += "\u200b"
    pd.DataFrame(table).to_csv(fields / "t.csv", index=False)
    result = imported(fields / "t.csv", tmp_path, columns={"patient_id": "who"})
    assert result.counts["patients"] == 3
    assert not [note for note in result.notes if note.startswith("Warning")]


def test_columns_that_are_kept_lose_the_spaces_that_no_one_sees(fields: Path, tmp_path: Path) -> None:
    said = [{**row, "cohort": " Validation " if "0" in row["who"] else "Discovery"} for row in rows(fields)]
    pd.DataFrame(said).to_csv(tmp_path / "t.csv", index=False)
    result = imported(tmp_path / "t.csv", tmp_path, images=fields, positive=["malignant"])
    assert set(result.manifest.frame["cohort"]) == {"Validation", "Discovery"}


def test_a_label_is_known_however_its_accents_are_composed(tmp_path: Path) -> None:
    draw(tmp_path / "f", *(f"{label}/{n}.png" for label in ("bösartig", "gut") for n in range(2)))
    result = imported(tmp_path / "f", tmp_path, positive=[unicodedata.normalize("NFD", "bösartig")])
    assert result.counts["positive"] == 2


def test_a_workbook_whose_first_sheet_is_a_cover_names_the_others(fields: Path, tmp_path: Path) -> None:
    book = Workbook()
    book.active.append(["Study", "ROSE 2026"])
    book.active.append(["Contact", "pathology"])
    sheet = book.create_sheet("Fields")
    sheet.append(["file", "label"])
    for row in rows(fields):
        sheet.append([row["file"], row["label"]])
    book.save(tmp_path / "t.xlsx")
    error = refused(tmp_path / "t.xlsx", tmp_path, "has no column 'image'", images=fields, positive=["malignant"])
    assert "name another sheet with --sheet: 'Fields'" in error.mend
    named = imported(tmp_path / "t.xlsx", tmp_path, images=fields, positive=["malignant"], sheet="Fields")
    assert len(images(named)) == 6


def test_one_of_a_kind_is_counted_in_the_singular() -> None:
    from msht.cohort.manifest import counts_in_words

    counts = {"images": 1200, "negative": 1, "positive": 1199, "patients": 1, "sites": 2}
    assert counts_in_words(counts) == "1,200 images, 1 negative, 1,199 positive, 1 patient, 2 sites"


def test_a_link_that_puts_one_image_into_two_class_folders_is_refused(fields: Path, tmp_path: Path) -> None:
    (fields / "malignant" / "link.png").symlink_to(fields / "benign" / "P0_benign.png")
    refused(fields, tmp_path, "one image in two class folders", positive=["malignant"])
    named = imported(fields, tmp_path, patterns={"label": r"_(\w+)\."}, positive=["malignant"])
    assert named.skipped == {"a link to an image that is listed": 1}


@pytest.mark.parametrize("doubtful", ["Malignant", "positive", "MALIGNANT ", "?", "unknown"])
def test_no_label_is_negative_that_may_mean_positive_or_nothing(fields: Path, tmp_path: Path, doubtful: str) -> None:
    table = written(tmp_path / "t.csv", changed(rows(fields), {"label": doubtful}))
    refused(table, tmp_path, "would be negative", images=fields, positive=["malignant"])
    said = imported(table, tmp_path, images=fields, positive=["malignant"], labels=[f"{doubtful.strip()}=positive"])
    assert said.counts["positive"] == 4


def joined(root: Path, out: Path, *names: str) -> Imported:
    """An import of a folder with a table about these files, whose labels it gives in turn."""
    lines = [f"{name},{('neg', 'pos')[number % 2]},X{number}" for number, name in enumerate(names)]
    (out / "t.csv").write_text("\n".join(["file,label,patient", *lines]))
    for old in out.glob("m.*"):
        old.unlink()
    return imported(root, out, table=out / "t.csv", positive=["pos"])


def test_a_row_about_a_file_of_another_folder_is_not_joined_to_this_one(tmp_path: Path) -> None:
    draw(tmp_path / "A", "x/1.png", "x/2.png", "y/3.png")
    draw(tmp_path / "B", "x/1.png")
    whole = [f"{tmp_path}/{name}" for name in ("B/x/1.png", "A/x/2.png", "A/y/3.png")]
    assert images(joined(tmp_path / "A", tmp_path, *whole)) == ["x/2.png", "y/3.png"]
    # Beyond the root stands its own name, or that of its neighbour.
    beyond = joined(tmp_path / "A", tmp_path, "B/x/1.png", "A/x/2.png", "A/y/3.png")
    assert dict(zip(beyond.manifest.frame["image"], beyond.manifest.frame["patient_id"], strict=True)) == {
        "x/2.png": "X1",
        "y/3.png": "X2",
    }


def test_a_root_that_had_another_name_is_found_and_said(tmp_path: Path) -> None:
    draw(tmp_path / "A", "x/1.png", "x/2.png")
    result = joined(tmp_path / "A", tmp_path, "D:\\study\\x\\1.png", "D:\\study\\x\\2.png")
    assert len(images(result)) == 2
    assert any("begin with 'D:/study/'" in note for note in result.notes)
    assert not any("begin with" in note for note in joined(tmp_path / "A", tmp_path, "A/x/1.png", "x/2.png").notes)


def test_two_tables_do_not_share_their_description(fields: Path, tmp_path: Path) -> None:
    imported(fields, tmp_path, positive=["malignant"])
    with pytest.raises(InvalidInput, match=r"would share m\.json with m\.csv"):
        import_cohort(fields, out=tmp_path / "m.parquet", positive=["malignant"])
    assert not (tmp_path / "m.parquet").exists()


def test_a_manifest_that_was_mended_by_hand_is_not_written_over(fields: Path, tmp_path: Path) -> None:
    imported(fields, tmp_path, positive=["malignant"])
    imported(fields, tmp_path, positive=["malignant"])  # untouched, it is made again
    text = (tmp_path / "m.csv").read_text().replace("P1_", "P1_", 1)
    (tmp_path / "m.csv").write_text(text.replace("benign/P0_benign.png,negative", "benign/P0_benign.png,positive"))
    with pytest.raises(InvalidInput, match="was changed after msht wrote it"):
        imported(fields, tmp_path, positive=["malignant"])


def test_ids_in_the_index_of_a_parquet_are_read(fields: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame(rows(fields)).rename(columns={"who": "patient_id"}).set_index("patient_id")
    frame.to_parquet(tmp_path / "t.parquet")
    result = imported(tmp_path / "t.parquet", tmp_path, images=fields, positive=["malignant"])
    assert result.counts["patients"] == 3


def test_ids_that_a_program_has_made_equal_are_refused_or_said(fields: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame(rows(fields))
    frame["who"] = [2.0**60 + number for number in range(len(frame))]
    frame.to_parquet(tmp_path / "t.parquet")
    refused(tmp_path / "t.parquet", tmp_path, "too large to be exact", images=fields, positive=["malignant"])
    table = written(tmp_path / "t.csv", [{**row, "patient": "2.02300E+10"} for row in rows(fields)])
    result = imported(table, tmp_path, images=fields, positive=["malignant"])
    assert any("'2.02300E+10' looks like a number that a spreadsheet has shortened" in note for note in result.notes)


def test_between_two_columns_of_patients_nobody_guesses(fields: Path, tmp_path: Path) -> None:
    both = [{**row, "patient": row["who"], "patient_id": f"{row['who']}-{n}"} for n, row in enumerate(rows(fields))]
    table = written(tmp_path / "t.csv", both)
    error = refused(table, tmp_path, "may both be the patient_id, and they differ", images=fields)
    assert "--patient-column" in error.mend
    dicom = written(tmp_path / "t.csv", [{**row, "PatientID": row["who"]} for row in rows(fields)])
    assert imported(dicom, tmp_path, images=fields, positive=["malignant"]).counts["patients"] == 3


def test_a_formula_that_was_never_calculated_is_no_empty_cell(fields: Path, tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.active
    sheet.append(["file", "label", "patient"])
    for number, row in enumerate(rows(fields), start=2):
        sheet.append([row["file"], row["label"], f"=LEFT(A{number}, 2)"])
    sheet.row_dimensions[3].hidden = True
    book.save(tmp_path / "t.xlsx")
    words = "row 2: the cell 'patient' cannot be read as a person sees it: it is a formula that was never calculated"
    refused(tmp_path / "t.xlsx", tmp_path, words, images=fields, positive=["malignant"])
    for number in range(2, 8):
        sheet[f"C{number}"] = f"P{number}"
    book.save(tmp_path / "t.xlsx")
    result = imported(tmp_path / "t.xlsx", tmp_path, images=fields, positive=["malignant"])
    assert "1 row is hidden there, as by a filter, and taken all the same." in result.notes


def test_rows_that_a_quotation_mark_has_swallowed_are_said(fields: Path, tmp_path: Path) -> None:
    lines = [f"{row['file']},{row['label']},fine" for row in rows(fields)]
    lines[1], lines[3] = lines[1].replace("fine", '"bloody'), lines[3].replace("fine", 'thick"')
    (tmp_path / "t.csv").write_text("\n".join(["file,label,comment", *lines]))
    result = imported(tmp_path / "t.csv", tmp_path, images=fields, positive=["malignant"])
    assert any("row 3, column 'comment': this one cell holds 2 lines that look like rows" in n for n in result.notes)


def test_a_project_that_was_copied_as_a_whole_reads_its_own_images(fields: Path, tmp_path: Path) -> None:
    project, copy = tmp_path / "project", tmp_path / "copy"
    (project / "out").mkdir(parents=True)
    fields.rename(project / "fields")
    import_cohort(project / "fields", out=project / "out" / "m.csv", positive=["malignant"])
    shutil.copytree(project, copy)
    assert read_manifest(copy / "out" / "m.csv").root == (copy / "fields").resolve()
    shutil.copytree(project / "out", tmp_path / "moved alone" / "deeper")
    assert read_manifest(tmp_path / "moved alone" / "deeper" / "m.csv").root == (project / "fields").resolve()


def test_of_names_and_paths_the_paths_are_taken(tmp_path: Path) -> None:
    draw(tmp_path / "f", "P1/1.png", "P2/1.png")
    table = [
        {"filename": "1.png", "path": f"P{n}/1.png", "label": ("negative", "positive")[n - 1], "patient": f"P{n}"}
        for n in (1, 2)
    ]
    result = imported(written(tmp_path / "t.csv", table), tmp_path, images=tmp_path / "f")
    assert images(result) == ["P1/1.png", "P2/1.png"]


def test_two_columns_of_labels_are_not_chosen_between(fields: Path, tmp_path: Path) -> None:
    other = {"benign": "malignant", "malignant": "benign"}
    table = [{**row, "Label": other[row["label"]]} for row in rows(fields)]
    refused(written(tmp_path / "t.csv", table), tmp_path, "may both be the label, and they differ", images=fields)
    same = [{**row, "case_id": row["who"], "case": f"{row['who']} "} for row in rows(fields)]
    result = imported(written(tmp_path / "t.csv", same), tmp_path, images=fields, positive=["malignant"])
    assert result.counts["cases"] == 3
    assert "case" not in result.manifest.frame


def test_a_space_before_a_quotation_mark_is_none_of_the_name(fields: Path, tmp_path: Path) -> None:
    lines = ['"file", "label", "patient"', *(f'"{r["file"]}", "{r["label"]}", "{r["who"]}"' for r in rows(fields))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    result = imported(tmp_path / "t.csv", tmp_path, images=fields, positive=["malignant"])
    assert (result.counts["patients"], result.counts["positive"]) == (3, 3)


def test_a_patient_whom_nobody_knows_is_no_patient(fields: Path, tmp_path: Path) -> None:
    table = written(
        tmp_path / "t.csv", changed([{**r, "patient": r["who"]} for r in rows(fields)], {"patient": "n.a."})
    )
    refused(table, tmp_path, "row 2: the cell 'patient' is empty", images=fields, positive=["malignant"])


def test_paths_that_begin_in_several_ways_are_said_and_dots_are_no_beginning(tmp_path: Path) -> None:
    draw(tmp_path / "A", "x/1.png", "x/2.png")
    dotted = joined(tmp_path / "A", tmp_path, "./x/1.png", "../A/x/2.png")
    assert not any("begin with" in note for note in dotted.notes)
    same_drive = joined(tmp_path / "A", tmp_path, "C:\\s\\x\\1.png", "c:\\s\\x\\2.png")
    assert len(images(same_drive)) == 2
    with pytest.raises(InvalidInput, match=r"begin in 2 ways, 'D:/s/' and 'E:/t/' among them"):
        joined(tmp_path / "A", tmp_path, "D:\\s\\x\\1.png", "E:\\t\\x\\2.png")
