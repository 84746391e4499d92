import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msht.cohort.manifest import (
    Manifest,
    beside,
    build_manifest,
    counts_of,
    declared_root,
    digest_of,
    images_folder,
    read_manifest,
    require_two_classes,
    write_manifest,
    write_table,
)
from msht.errors import InvalidInput, MissingResource

MakeImages = Callable[[pd.DataFrame], Path]


def table(**changes: list[str | None]) -> pd.DataFrame:
    columns: dict[str, list[str | None]] = {
        "image": ["a.png", "b.png", "deep/c.png"],
        "label": ["negative", "positive", "negative"],
        "patient_id": ["P1", "P2", "P2"],
    }
    return pd.DataFrame({**columns, **changes}, dtype="string")


def test_a_good_table_becomes_a_manifest(empty_images: MakeImages) -> None:
    frame = table(device=["x", "y", None])
    manifest = build_manifest(frame, empty_images(frame), source="labels.csv")
    assert list(manifest.frame.columns) == ["image", "label", "patient_id", "device"]
    assert manifest.frame.equals(frame)
    assert manifest.group_column == "patient_id"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["slide_id", "case_id", "patient_id"], "patient_id"),
        (["slide_id", "case_id"], "case_id"),
        (["slide_id"], "slide_id"),
        ([], None),
    ],
)
def test_the_group_is_the_patient_else_the_case_else_the_slide(
    empty_images: MakeImages, columns: list[str], expected: str | None
) -> None:
    frame = table()[["image", "label"]].assign(**{column: ["1", "2", "3"] for column in columns})
    assert build_manifest(frame, empty_images(frame), source="t").group_column == expected


def test_an_id_column_without_any_value_is_no_group(empty_images: MakeImages) -> None:
    frame = table(patient_id=[None, None, None], case_id=["C1", "C2", "C3"])
    manifest = build_manifest(frame, empty_images(frame), source="t")
    assert manifest.group_column == "case_id"
    assert "patient_id" not in manifest.frame


def test_a_missing_column_is_named_with_those_there_are() -> None:
    frame = table().rename(columns={"label": "diagnosis"})
    with pytest.raises(InvalidInput, match=r"labels\.csv has no column 'label'; it has image, diagnosis, patient_id"):
        build_manifest(frame, Path(), source="labels.csv")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": ["negative", "Malignent", "negative"]}, r"labels\.csv, row 3: label 'Malignent' is not one of"),
        ({"label": ["negative", None, "negative"]}, r"row 3: the cell 'label' is empty \(1 such rows\)"),
        ({"image": ["a.png", None, None]}, r"row 3: the cell 'image' is empty \(2 such rows\)"),
        ({"patient_id": [None, "P2", "P2"]}, "row 2: the cell 'patient_id' is empty"),
        ({"image": ["a.png", "b.png", "a.png"]}, r"row 4: image 'a\.png' is listed twice"),
        ({"case_id": ["C", "C", "D"]}, "case_id 'C' belongs to 2 different values of patient_id"),
        ({"slide_id": ["S", "S", "T"]}, "slide_id 'S' belongs to 2 different values of patient_id"),
        ({"case_id": ["C", "D", "E"], "slide_id": ["R", "S", "S"]}, "slide_id 'S' belongs to 2 different values"),
    ],
)
def test_a_wrong_cell_is_named_by_its_row_in_the_spreadsheet(
    empty_images: MakeImages, changes: dict[str, list[str | None]], message: str
) -> None:
    frame = table(**changes)
    with pytest.raises(InvalidInput, match=message) as caught:
        build_manifest(frame, empty_images(frame), source="labels.csv")
    assert caught.value.mend


def test_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"row 2: there is no image .*a\.png"):
        build_manifest(table(), tmp_path, source="labels.csv")


@pytest.mark.parametrize("path", ["../secret.png", "/etc/hostname", "deep/../../secret.png"])
def test_an_image_outside_the_folder_is_refused_even_where_it_exists(tmp_path: Path, path: str) -> None:
    root = tmp_path / "images"
    (root / "deep").mkdir(parents=True)
    (tmp_path / "secret.png").touch()
    with pytest.raises(InvalidInput, match=r"labels\.csv, row 2, column 'image': the path .* leaves the folder"):
        build_manifest(table(image=[path, "b.png", "c.png"]), root, source="labels.csv")


def test_an_image_behind_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    (tmp_path / "secret.png").touch()
    (root / "a.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InvalidInput, match="leaves the folder"):
        build_manifest(table(), root, source="labels.csv")


@pytest.mark.parametrize("second", ["./a.png", "deep/../a.png", "link.png"])
def test_one_file_under_two_names_is_listed_twice(empty_images: MakeImages, second: str) -> None:
    root = empty_images(table())
    (root / "link.png").symlink_to(root / "a.png")
    with pytest.raises(InvalidInput, match=r"row 3: .*listed twice"):
        build_manifest(table(image=["a.png", second, "deep/c.png"]), root, source="labels.csv")


cells = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_digest_is_that_of_the_content_whatever_its_order(data: st.DataObject) -> None:
    rows = data.draw(st.integers(2, 6))
    frame = pd.DataFrame(
        {"image": [f"{n}.png" for n in range(rows)], "label": data.draw(st.lists(cells, min_size=rows, max_size=rows))},
        dtype="string",
    )
    order = data.draw(st.permutations(range(rows)))
    assert digest_of(frame.iloc[order][["label", "image"]]) == digest_of(frame)
    changed = frame.copy()
    row, column = data.draw(st.integers(0, rows - 1)), data.draw(st.sampled_from(["image", "label"]))
    changed.loc[row, column] = str(changed.loc[row, column]) + "x"
    assert digest_of(changed) != digest_of(frame)


def test_the_digest_tells_cells_apart_that_a_naive_join_would_not() -> None:
    one = pd.DataFrame({"image": ["a", "b"], "note": ["x,y", "z"]}, dtype="string")
    two = pd.DataFrame({"image": ["a", "b"], "note": ["x", "y,z"]}, dtype="string")
    assert digest_of(one) != digest_of(two)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_manifest_reads_back_as_written(empty_images: MakeImages, suffix: str) -> None:
    frame = table(
        patient_id=["001", "NA", "null"],  # ids that a careless reader would turn into numbers and missing values
        site=["Zürich, Süd", None, 'a "quoted" one'],
    )
    root = empty_images(frame)
    manifest = build_manifest(frame, root, source="t", card="leukaemia")
    write_manifest(manifest, root / f"manifest{suffix}", notes={"source": "t"})
    again = read_manifest(root / f"manifest{suffix}")
    assert again.frame.equals(manifest.frame)
    assert (again.digest, again.root, again.card) == (manifest.digest, manifest.root, "leukaemia")


def test_a_cohort_whose_manifest_lies_above_its_images_can_be_moved(empty_images: MakeImages, tmp_path: Path) -> None:
    frame = table(image=["images/a.png", "images/b.png", "images/c.png"])
    root = empty_images(frame) / "images"
    frame["image"] = frame["image"].str.removeprefix("images/")
    manifest = build_manifest(frame, root, source="t")
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    root.rename(old / "images")
    write_manifest(Manifest(manifest.frame, (old / "images").resolve(), manifest.digest), old / "manifest.csv")
    old.rename(new)
    assert read_manifest(new / "manifest.csv").root == (new / "images").resolve()


def test_the_folder_of_images_is_declared_in_full_where_it_lies_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir(exist_ok=True)
    elsewhere = declared_root(tmp_path / "images", tmp_path / "tables" / "m.csv")
    assert elsewhere == {"images": str(tmp_path / "images"), "images_from_here": "../images"}
    assert declared_root(tmp_path, tmp_path / "m.csv") == {"images": "."}


def test_a_folder_given_by_the_user_wins_over_the_declared_one(empty_images: MakeImages, tmp_path: Path) -> None:
    frame = table()
    root = empty_images(frame)
    write_manifest(build_manifest(frame, root, source="t"), tmp_path / "manifest.csv")
    with pytest.raises(InvalidInput, match="there is no image"):
        read_manifest(tmp_path / "manifest.csv", images=tmp_path / "deep")
    with pytest.raises(InvalidInput, match="does not exist"):
        images_folder(tmp_path / "manifest.csv", tmp_path / "nowhere")


@pytest.mark.parametrize(
    "content",
    ["[1, 2]", '{"images": [{"id": 1, "file_name": "a.png"}], "annotations": []}', '"text"'],
    ids=["list", "COCO annotations", "text"],
)
def test_a_json_file_of_another_kind_beside_a_table_says_nothing(empty_images: MakeImages, content: str) -> None:
    root = empty_images(table())
    table().to_csv(root / "labels.csv", index=False)
    (root / "labels.json").write_text(content)
    assert beside(root / "labels.csv") == {}
    assert read_manifest(root / "labels.csv").root == root.resolve()


@pytest.mark.parametrize("kind", ["manifest", "split"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"images": 5}, r"labels\.json: 'images' should be the folder of the images, as text, but is 5"),
        ({"images": None}, "'images' should be the folder of the images, as text, but is null"),
        ({"images": ["x"] * 99}, r"'images' should be .*\.\.\."),
        ({"card": 7}, r"labels\.json: 'card' should be the name of a data card, or null, as text, but is 7"),
        ({"card": False}, "'card' should be .* but is false"),
    ],
)
def test_a_wrong_type_in_the_json_file_is_named_by_file_and_key(
    empty_images: MakeImages, kind: str, content: dict[str, object], words: str
) -> None:
    root = empty_images(table())
    table().to_csv(root / "labels.csv", index=False)
    (root / "labels.json").write_text(json.dumps({"kind": kind, **content}))
    with pytest.raises(InvalidInput, match=words) as caught:
        beside(root / "labels.csv")
    assert caught.value.mend
    (root / "labels.json").write_text(json.dumps({"kind": "manifest", **content}))
    with pytest.raises(InvalidInput, match=words):
        read_manifest(root / "labels.csv")


@pytest.mark.parametrize("kind", [[], {}, 1, None])
def test_a_kind_that_is_none_of_ours_says_nothing(tmp_path: Path, kind: object) -> None:
    (tmp_path / "labels.json").write_text(json.dumps({"kind": kind, "images": 5}))
    assert beside(tmp_path / "labels.csv") == {}


def test_a_broken_description_can_be_replaced(empty_images: MakeImages) -> None:
    frame = table()
    root = empty_images(frame)
    (root / "m.json").write_text('{"kind": "manifest", "images": 5}')
    write_manifest(build_manifest(frame, root, source="t"), root / "m.csv")
    assert beside(root / "m.csv")["images"] == "."


def test_a_description_of_the_other_kind_alone_is_not_replaced(empty_images: MakeImages) -> None:
    """The table may have another ending, and one JSON file stands for both names."""
    frame = table()
    root = empty_images(frame)
    (root / "m.json").write_text('{"kind": "split"}')
    with pytest.raises(InvalidInput, match=r"m\.csv would be a manifest, but .*m\.json describes a split"):
        write_manifest(build_manifest(frame, root, source="t"), root / "m.csv")
    assert not (root / "m.csv").exists()


def test_a_manifest_with_columns_role_and_fold_of_its_own_is_one_where_it_says_so(empty_images: MakeImages) -> None:
    frame = table(role=["reader", "reader", "judge"], fold=["a", "b", "c"])
    root = empty_images(frame)
    write_manifest(build_manifest(frame, root, source="t"), root / "m.csv")
    assert read_manifest(root / "m.csv").frame.equals(frame)
    (root / "m.json").unlink()
    with pytest.raises(InvalidInput, match="is a split") as caught:
        read_manifest(root / "m.csv")
    assert "rename the columns" in caught.value.mend


def test_rows_of_a_manifest_are_counted_past_empty_ones(empty_images: MakeImages) -> None:
    root = empty_images(table())
    (root / "m.csv").write_text("image,label\na.png,negative\n\n,\nx.png,positive\n")
    with pytest.raises(InvalidInput, match=r"m\.csv, row 5: there is no image"):
        read_manifest(root / "m.csv")


def test_a_table_is_written_as_what_its_name_says_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInput, match="should be a table"):
        write_table(table(), tmp_path / "t.xlsx")

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full_disk)
    with pytest.raises(MissingResource, match="No space left on device"):
        write_table(table(), tmp_path / "t.csv")
    assert list(tmp_path.iterdir()) == []


def test_counts_are_those_of_the_columns_there_are() -> None:
    assert counts_of(table(site=["A", "A", "B"])) == {
        "images": 3,
        "negative": 2,
        "positive": 1,
        "patients": 2,
        "sites": 2,
    }


@pytest.mark.parametrize(
    ("labels", "missing"),
    [(["negative"], "positive"), (["positive"] * 3, "negative"), ([], "negative and no positive")],
)
def test_one_class_alone_is_refused(labels: list[str], missing: str) -> None:
    with pytest.raises(InvalidInput, match=f"The manifest has no {missing} image"):
        require_two_classes(labels, where="The manifest")
    require_two_classes(["negative", "positive"], where="The manifest")
