"""`msht cohort` at the keyboard: what it prints, and one sentence with exit code 2 for whatever is absurd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Called = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two classes of eight patients, which is also where one stands."""
    monkeypatch.chdir(tmp_path)
    for patient in range(8):
        for label in ("benign", "malignant"):
            path = tmp_path / "fields" / label / f"P{patient}_{label}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (2, 2), (patient, len(label), 0)).save(path)
    (tmp_path / "fields" / "benign" / "notes.txt").touch()
    return tmp_path


def test_from_folders_to_a_split_and_a_card(here: Path, called: Called) -> None:
    words = "import|fields|--out|m.csv|--patient-from|^(P[0-9]+)_|--positive|malignant"
    code, out, _ = called(words)
    assert code == 0
    assert "m.csv: 16 images, 8 negative, 8 positive, 8 patients (2 classes)." in out
    assert "Left out 1: not an image (.txt) ('benign/notes.txt')." in out
    assert "positive: malignant." in out
    code, out, _ = called("split|m.csv|--out|s.csv|--folds|3")
    assert code == 0
    assert "0 groups in two roles, 0 in two folds" in out
    assert "near-duplicates were not searched for" in out
    assert "Folds differ by at most" in out
    code, out, _ = called("card|m.csv|--split|s.csv|--out|card.md")
    assert code == 0
    assert "card.md: 16 images counted" in out
    assert (here / "card.md").is_file()


def test_several_classes_are_said_with_what_training_needs(here: Path, called: Called) -> None:
    _, out, _ = called("import|fields|--out|m.csv")
    assert "import again with --positive NAME" in out
    assert "No patient, case or slide is known" in out


ABSURD = [
    ("import|fields/*.tiff|--out|m.csv", "No image fits the pattern"),
    ("import|nowhere/**/*.png|--out|m.csv", "is no folder"),
    ("import|fields/benign|--out|m.csv", "lies in no class folder"),
    ("import|fields/benign/notes.txt|--out|m.csv", "cannot be read as a table"),
    ("import|fields/benign/P0_benign.png|--out|m.csv", "is not a table"),
    ("import|fields|--out|m.xlsx", "should be a table"),
    ("import|fields|--out|fields", "is the file to be read"),
    ("import|fields|--out|m.csv|--patient-from|(", "not a regular expression"),
    ("import|fields|--out|m.csv|--patient-from|P.", "has no group"),
    ("import|fields|--out|m.csv|--patient-from|", "has no group"),
    ("import|fields|--out|m.csv|--label-from|(zzz)", "finds nothing in 'P0_benign.png' (16 of 16 files)"),
    ("import|fields|--out|m.csv|--positive|cancer", "no image has that label"),
    ("import|fields|--out|m.csv|--positive|benign|--positive|malignant", "no negative image"),
    ("import|fields|--out|m.csv|--label|malignant", "does not map a label"),
    ("import|fields|--out|m.csv|--label|=positive", "does not map a label"),
    ("import|fields|--out|m.csv|--label|benign=maybe", "does not map a label"),
    ("import|fields|--out|m.csv|--site-column|x", "are for a table"),
    ("import|fields|--out|m.csv|--sheet|x", "are for a table"),
    ("import|fields|--out|m.csv|--table|nowhere.xlsx", "does not exist"),
    ("import|fields|--out|m.csv|--card|nowhere", "There is no data card"),
    ("import|t.csv|--out|t.csv", "is the file to be read"),
    ("import|t.csv|--out|m.csv|--images|nowhere", "does not exist"),
    ("import|t.csv|--out|m.csv|--encoding|utf-99", "--encoding utf-99 is unknown"),
    ("import|t.csv|--out|m.csv|--keep|nothing", "no column 'nothing' (--keep)"),
    ("split|t.csv|--out|s.csv|--folds|0", "--folds is 0"),
    ("split|t.csv|--out|s.csv|--folds|-5", "--folds is -5"),
    ("split|t.csv|--out|s.csv|--folds|three", "unable to parse string as an integer"),
    ("split|t.csv|--out|s.csv|--test-fraction|nan", "--test-fraction is nan"),
    ("split|t.csv|--out|s.csv|--test-where|=", "column=value"),
    ("split|t.csv|--out|s.csv|--test-where|image=fields", "fits no row"),
    ("split|t.csv|--out|s.csv|--hold-out-site|A", "which the manifest lacks"),
    ("split|t.csv|--out|s.csv|--audit|fields", "no finished audit"),
    ("split|fields|--out|s.csv", "is a folder"),
    ("split|t.csv|--out|t.csv", "is the file to be read"),
    ("card|t.csv|--out|card.txt", "should be a card"),
    ("card|nowhere.csv|--out|card.md", "does not exist"),
]


@pytest.mark.parametrize(("words", "expected"), ABSURD, ids=[words.replace("|", " ") for words, _ in ABSURD])
def test_absurd_input_is_one_sentence_and_nothing_is_written(
    here: Path, words: str, expected: str, called: Called
) -> None:
    rows = [f"fields/{label}/P{n}_{label}.png,{kind},P{n}" for n in range(8) for label, kind in
            (("benign", "negative"), ("malignant", "positive"))]  # fmt: skip
    (here / "t.csv").write_text("\n".join(["image,label,patient_id", *rows]))
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    code, _, err = called(words)
    assert code == 2
    assert expected in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before
