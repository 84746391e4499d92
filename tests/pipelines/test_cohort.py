from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from msht.cohort.disjointness import NOT_SEARCHED
from msht.errors import InvalidInput
from pipelines.cohort import import_cohort, split_cohort


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    root = tmp_path / "my images"
    for patient in range(6):
        for label in ("benign", "malignant"):
            picture(root / label / f"P{patient}_ä {label}.PNG", patient)
    (root / "benign" / "notes.txt").write_text("no image")
    return root


def test_class_folders_become_a_manifest(class_folders: Path, tmp_path: Path) -> None:
    result = import_cohort(
        class_folders, out=tmp_path / "m.csv", positive=["malignant"], patterns={"patient_id": r"^(P\d+)_"}
    )
    assert result.counts == {"images": 12, "negative": 6, "positive": 6, "patients": 6}
    assert result.skipped == {"not an image (.txt)": 1}
    frame = pd.read_csv(tmp_path / "m.csv")
    assert set(frame.columns) == {"image", "label", "patient_id", "class"}
    assert set(zip(frame["label"], frame["class"], strict=True)) == {("negative", "benign"), ("positive", "malignant")}
    described = json.loads((tmp_path / "m.json").read_text())
    assert described["images"] == "my images"


def test_a_table_keeps_its_other_columns(class_folders: Path, tmp_path: Path) -> None:
    rows = [
        {"file": p.relative_to(class_folders).as_posix(), "class": p.parent.name, "who": p.name[:2], "site": "A"}
        for p in sorted(class_folders.rglob("*.PNG"))
    ]
    pd.DataFrame(rows).to_csv(class_folders / "table.csv", index=False)
    import_cohort(
        class_folders / "table.csv",
        out=tmp_path / "m.csv",
        columns={"patient_id": "who"},
        labels=["benign=negative", "malignant=positive"],
    )
    frame = pd.read_csv(tmp_path / "m.csv")
    assert list(frame["patient_id"].unique()) == [f"P{n}" for n in range(6)]
    assert set(frame["site"]) == {"A"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"positive": ["cancer"]}, "no image has that label; there are benign, malignant"),
        ({"labels": ["malignant=yes"]}, "does not map a label"),
        ({"labels": ["malign=positive"]}, "no image has the label 'malign'"),
        ({"labels": ["malignant=positive"]}, "label 'benign' is not one of negative, positive"),
        ({"positive": ["malignant"], "patterns": {"patient_id": "(X"}}, "not a regular expression"),
        ({"positive": ["malignant"], "patterns": {"patient_id": "P"}}, "has no group"),
        ({"positive": ["malignant"], "patterns": {"patient_id": "(Q)"}}, "finds nothing in"),
        ({"positive": ["malignant"], "card": "nonsense"}, "nonsense"),
    ],
)
def test_a_bad_import_is_one_sentence_and_writes_nothing(
    class_folders: Path, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        import_cohort(class_folders, out=tmp_path / "m.csv", **settings)
    assert words in str(caught.value)
    assert caught.value.mend
    assert not (tmp_path / "m.csv").exists()


def test_folders_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist"):
        import_cohort(tmp_path / "nowhere", out=tmp_path / "m.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="no class folders"):
        import_cohort(tmp_path / "empty", out=tmp_path / "m.csv")
    (tmp_path / "one" / "negative").mkdir(parents=True)
    with pytest.raises(InvalidInput, match="no images"):
        import_cohort(tmp_path / "one", out=tmp_path / "m.csv")


def test_one_class_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "c" / "negative" / "a.png")
    with pytest.raises(InvalidInput, match="no positive image"):
        import_cohort(tmp_path / "c", out=tmp_path / "m.csv")


def test_a_wrong_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("file,label\na.png,negative\n")
    with pytest.raises(InvalidInput, match=r"no column 'x'.*it has file, label"):
        import_cohort(tmp_path / "t.csv", out=tmp_path / "m.csv", columns={"image": "x"})


def test_the_table_that_is_read_is_not_written_over(class_folders: Path, tmp_path: Path) -> None:
    table = class_folders / "t.csv"
    table.write_text("image,label\nbenign/P0_ä benign.PNG,negative\n")
    with pytest.raises(InvalidInput, match="is the file to be read"):
        import_cohort(table, out=table)
    (tmp_path / "m.json").write_text('{"mine": 1}')
    with pytest.raises(InvalidInput, match="not ours to replace"):
        import_cohort(class_folders, out=tmp_path / "m.csv", positive=["malignant"])


def test_a_table_without_labels_says_so(tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_text("image\na.png\n")
    with pytest.raises(InvalidInput, match="no column 'label'"):
        import_cohort(tmp_path / "u.csv", out=tmp_path / "m.csv")


def test_options_for_a_table_are_refused_for_folders(class_folders: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="Leave them out"):
        import_cohort(class_folders, out=tmp_path / "m.csv", positive=["malignant"], columns={"image": "x"})


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        ("image,label,label", "a.png,negative,positive", "two columns 'label'"),
        ("image,label,logit", "a.png,negative,1", "a name that predictions use"),
        ("image,label,case_id,case_label", "a.png,negative,c,malignant", "case_label 'malignant' is not one of"),
    ],
)
def test_columns_that_would_be_misread_are_refused(tmp_path: Path, header: str, row: str, words: str) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text(f"{header}\n{row}\n")
    with pytest.raises(InvalidInput, match=words):
        import_cohort(tmp_path / "t.csv", out=tmp_path / "m.csv")


def test_a_test_role_chosen_by_patient_names_no_patient(world: Any, tmp_path: Path) -> None:
    frame = pd.read_csv(world.manifest)
    patient = frame.loc[frame["label"] == "positive", "patient_id"].iloc[0]
    split, described = split_cohort(world.manifest, out=tmp_path / "s.csv", folds=2, test_where=f"patient_id={patient}")
    assert split.test_rule == "rows chosen by patient_id"
    assert patient not in json.dumps(described["test_rule"])


def test_more_folds_than_the_rarer_class_has_images_are_refused(world: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="40 folds and a test role need at least 41 patients"):
        split_cohort(world.manifest, out=tmp_path / "s.csv", folds=40)
    with pytest.raises(InvalidInput, match="--seed"):
        split_cohort(world.manifest, out=tmp_path / "s.csv", seed=-1)


def test_a_test_role_needs_column_and_value(world: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="column=value"):
        split_cohort(world.manifest, out=tmp_path / "s.csv", test_where="site")
    with pytest.raises(InvalidInput, match="which the manifest lacks"):
        split_cohort(world.manifest, out=tmp_path / "s.csv", test_where="hospital=B")
    assert not (tmp_path / "s.csv").exists()


def test_a_split_by_image_says_so_in_its_description(class_folders: Path, tmp_path: Path) -> None:
    import_cohort(class_folders, out=tmp_path / "m.csv", positive=["malignant"])
    with pytest.raises(InvalidInput, match="--split-by-image"):
        split_cohort(tmp_path / "m.csv", out=tmp_path / "s.csv", folds=2, test_fraction=0.5)
    split, described = split_cohort(
        tmp_path / "m.csv", out=tmp_path / "s.csv", folds=2, test_fraction=0.5, by_image=True
    )
    assert split.grouped_by is None
    assert "may be inflated" in described["warning"]


def test_the_real_smears_are_split_as_their_cohorts_say(shared: Path, tmp_path: Path) -> None:
    """Both cohorts, all patients, and the Validation cohort as the test role; only the table is read."""
    smears = shared / "data" / "leukaemia-smears"
    result = import_cohort(smears / "labels.csv", out=tmp_path / "m.csv", columns={"image": "file"})
    assert result.counts == {"images": 2900, "negative": 1450, "positive": 1450, "patients": 106}
    split, described = split_cohort(tmp_path / "m.csv", out=tmp_path / "s.csv", test_where="cohort=Validation")
    assert described["counts"]["test"]["patients"] == 24
    assert set(described["disjointness"].values()) == {0, NOT_SEARCHED}
    assert described["disjointness"]["files_in_two_roles"] == 0
    assert set(split.test["cohort"]) == {"Validation"}


def test_a_space_after_an_id_makes_no_second_patient(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.png", ord(name))
    (tmp_path / "t.csv").write_text("image,label,patient_id\na.png,negative,P1\nb.png,positive,P1 \n")
    assert import_cohort(tmp_path / "t.csv", out=tmp_path / "m.csv").counts["patients"] == 1
