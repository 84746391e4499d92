from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from msht.cohort.tables import harmless
from msht.errors import InvalidInput
from msht.images.reading import is_image_path
from pipelines.inputs import file_name_for, find_inputs
from pipelines.progress import Interrupted
from pipelines.score import score_images
from pipelines.score_fields import ScoreSettings
from pipelines.score_sources import STANDARD_INPUT


def test_every_image_has_a_row_and_every_case_too(world: Any) -> None:
    images = pd.read_parquet(world.scores / "images.parquet")
    cases = pd.read_parquet(world.scores / "cases.parquet")
    assert len(images) == 14 * 4
    assert set(images["case"]) == set(cases["case"])
    assert cases["fields"].sum() == len(images)
    pd.testing.assert_frame_equal(
        pd.read_csv(world.scores / "cases.csv")[["case", "fields"]], cases[["case", "fields"]]
    )


def test_probabilities_are_the_mean_of_the_calibrated_folds(world: Any) -> None:
    images = pd.read_parquet(world.scores / "images.parquet")
    folds = json.loads((world.bundle / "bundle.json").read_text())["folds"]
    expected = np.mean(
        [1 / (1 + np.exp(-images[f"logit_fold_{f['number']}"] / f["temperature"])) for f in folds], axis=0
    )
    np.testing.assert_allclose(images["probability"], expected, atol=1e-6)


def test_scoring_gives_what_the_evaluation_of_the_test_set_gave(world: Any) -> None:
    scored = pd.read_parquet(world.scores / "images.parquet").assign(image=lambda table: "images/" + table["image"])
    test = pd.read_csv(world.run / "test.csv")
    both = test.merge(scored, on="image", suffixes=("_test", ""))
    assert len(both) == len(test)
    np.testing.assert_allclose(both["probability_test"], both["probability"], atol=1e-5)


def test_what_cannot_be_read_is_a_rejected_row(world: Any, tmp_path: Path) -> None:
    place = tmp_path / "in" / "=cmd()"
    place.mkdir(parents=True)
    good = next((world.cohort / "images").rglob("*.jpg"))
    shutil.copy(good, place / "good.jpg")
    (place / "half.jpg").write_bytes(good.read_bytes()[:3000])
    (place / "empty.png").write_bytes(b"")
    Image.new("RGB", (192, 144), "white").save(place / "blank.png")
    result = score_images(world.bundle, [tmp_path / "in"], tmp_path / "out")
    assert (result.images, result.rejected, result.not_evaluable) == (2, 2, 1)
    rejected = pd.read_csv(tmp_path / "out" / "rejected.csv")
    assert set(rejected["image"].str.removeprefix("'")) == {"=cmd()/half.jpg", "=cmd()/empty.png"}
    assert rejected["reason"].str.len().min() > 10
    assert list(pd.read_csv(tmp_path / "out" / "cases.csv")["case"]) == ["'=cmd()"]
    assert list(pd.read_parquet(tmp_path / "out" / "cases.parquet")["case"]) == ["=cmd()"]


def test_a_case_without_evaluable_fields_is_not_evaluable(world: Any, tmp_path: Path) -> None:
    (tmp_path / "in" / "c").mkdir(parents=True)
    Image.new("RGB", (192, 144), "white").save(tmp_path / "in" / "c" / "blank.png")
    result = score_images(world.bundle, [tmp_path / "in"], tmp_path / "out")
    case = result.cases.iloc[0]
    assert case["call"] == "not evaluable"
    assert case["refer"]
    assert pd.isna(case["probability"])


def test_a_stopped_scoring_goes_on_and_a_changed_file_is_scored_again(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    incoming = tmp_path / "in" / "case"
    incoming.mkdir(parents=True)
    for number, file in enumerate(sorted((world.cohort / "images").rglob("*.jpg"))[:12]):
        shutil.copy(file, incoming / f"{number:02d}.jpg")
    small = ScoreSettings(batch_size=4, workers=1)
    whole = score_images(world.bundle, [tmp_path / "in"], tmp_path / "whole", settings=small)
    import pipelines.score_fields as fields_module

    asked: list[str] = []
    read = fields_module.read_field

    def counted(item: Any, **how: Any) -> Any:
        asked.append(item.path.name)
        if len(asked) > 6:
            raise KeyboardInterrupt
        return read(item, **how)

    monkeypatch.setattr(fields_module, "read_field", counted)
    with pytest.raises(Interrupted, match="goes on in"):
        score_images(world.bundle, [tmp_path / "in"], tmp_path / "out", settings=small)
    assert json.loads((tmp_path / "out" / "run.json").read_text()).get("finished") is None
    monkeypatch.setattr(
        fields_module, "read_field", lambda item, **how: (asked.append(item.path.name), read(item, **how))[1]
    )
    asked.clear()
    again = score_images(world.bundle, [tmp_path / "in"], tmp_path / "out", settings=small)
    assert sorted(asked) == [f"{n:02d}.jpg" for n in range(4, 12)]
    assert again.record["tables"] == whole.record["tables"], "byte for byte"
    shutil.copy(incoming / "11.jpg", incoming / "00.jpg")
    os.utime(incoming / "01.jpg", ns=(1, 1))
    asked.clear()
    third = score_images(world.bundle, [tmp_path / "in"], tmp_path / "out", settings=small)
    assert asked == ["00.jpg"], "a file with another time but the same bytes is not scored again"
    assert third.images == 12
    asked.clear()
    score_images(world.bundle, [tmp_path / "in"], tmp_path / "out", settings=small)
    assert asked == []


def test_another_bundle_or_threshold_needs_another_folder(copied: Any, world: Any) -> None:
    source = [world.cohort / "images"]
    with pytest.raises(InvalidInput, match="another threshold"):
        score_images(world.bundle, source, copied.scores, threshold=0.123)
    with pytest.raises(InvalidInput, match="holds no scores"):
        score_images(world.bundle, source, copied.run)


def test_an_overridden_threshold_is_said_in_every_table(world: Any, tmp_path: Path) -> None:
    source = [next((world.cohort / "images").rglob("*.jpg")).parent]
    result = score_images(world.bundle, source, tmp_path / "out", threshold=0.25)
    assert set(result.cases["threshold"]) == {0.25}
    assert result.cases["threshold_overridden"].all()
    assert json.loads((tmp_path / "out" / "run.json").read_text())["threshold_overridden"] is True


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_cells_that_a_spreadsheet_would_run_become_text(start: str) -> None:
    frame = pd.DataFrame({"case": [f"{start}1+1", "plain"], "n": [-1.0, 2.0]})
    safe = harmless(frame)
    assert list(safe["case"]) == [f"'{start}1+1", "plain"]
    assert list(safe["n"]) == [-1.0, 2.0]


def test_links_that_leave_the_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "in" / "case").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "outside" / "secret.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "in" / "case" / "own.png")
    (tmp_path / "in" / "case" / "link.png").symlink_to(tmp_path / "outside" / "secret.png")
    assert [item.name for item in find_inputs([tmp_path / "in"])] == ["case/own.png"]


def test_folders_of_one_name_under_two_patients_stay_two_cases(tmp_path: Path) -> None:
    for patient in ("A", "B"):
        (tmp_path / "in" / patient / "slide1").mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(tmp_path / "in" / patient / "slide1" / "f.png")
    assert {item.case for item in find_inputs([tmp_path / "in"])} == {"A/slide1", "B/slide1"}


def test_an_image_without_a_case_is_refused_not_pooled(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("image,case_id\na.png,\n")
    with pytest.raises(InvalidInput, match="row 2: the cell 'case_id' is empty"):
        find_inputs([tmp_path / "t.csv"])
    with pytest.raises(InvalidInput, match="empty case"):
        find_inputs([tmp_path / "a.png"], case_from="(x)?")


ODD_NAMES = {
    os.fsdecode(b"caf\xe9.jpg"): r"caf\xe9.jpg",
    "two\nlines.jpg": r"two\nlines.jpg",
    "no\u00a0break.jpg": r"no\u00a0break.jpg",
}
"""Names that no table can hold, and how they are shown."""


@pytest.fixture
def odd(world: Any, tmp_path: Path) -> Path:
    """A folder with a plain photograph and one for each of the odd names."""
    place = tmp_path / "in" / "P1"
    place.mkdir(parents=True)
    good = next((world.cohort / "images").rglob("*.jpg"))
    for name in ("plain.jpg", *ODD_NAMES):
        shutil.copy(good, place / name)
    return tmp_path / "in"


@pytest.mark.parametrize("given", ["folder", "files", "list"])
def test_a_name_that_no_table_can_hold_is_a_rejected_row(world: Any, odd: Path, tmp_path: Path, given: str) -> None:
    files = [odd / "P1" / name for name in ("plain.jpg", *ODD_NAMES)]
    sources = {"folder": [odd], "files": files, "list": [STANDARD_INPUT]}[given]
    for _ in range(2):  # the second call must not take it for what may be read by now
        result = score_images(world.bundle, sources, tmp_path / "out", listed=map(str, files))
        assert (result.images, result.rejected) == (1, 3)
    rejected = pd.read_csv(tmp_path / "out" / "rejected.csv")
    start = {"folder": "P1/", "files": "", "list": f"{odd}/P1/"}[given]
    assert set(rejected["image"]) == {start + shown for shown in ODD_NAMES.values()}
    assert set(rejected["path"]) == {f"$'{odd}/P1/{shown}'" for shown in ODD_NAMES.values()}
    assert rejected["reason"].str.endswith("Rename the file or folder.").all()
    assert list(result.cases["rejected_images"]) == [3]
    (tmp_path / "out" / "rejected.csv").read_bytes().decode("utf-8")


def test_the_path_of_an_odd_name_is_a_word_that_a_shell_takes(odd: Path, world: Any, tmp_path: Path) -> None:
    shutil.copy(odd / "P1" / "plain.jpg", odd / "P1" / "it's a\\b\n.jpg")
    score_images(world.bundle, [odd], tmp_path / "out")
    words = " ".join(pd.read_csv(tmp_path / "out" / "rejected.csv")["path"])
    shell = ["bash", "-c", f"LC_ALL=C.UTF-8; rm -- {words}"]
    assert subprocess.run(shell, check=False).returncode == 0
    assert [path.name for path in (odd / "P1").iterdir()] == ["plain.jpg"]


def test_a_file_that_was_renamed_is_scored_and_its_rejected_row_goes(world: Any, odd: Path, tmp_path: Path) -> None:
    score_images(world.bundle, [odd], tmp_path / "out")
    for number, name in enumerate(ODD_NAMES):
        (odd / "P1" / name).rename(odd / "P1" / f"{number}.jpg")
    result = score_images(world.bundle, [odd], tmp_path / "out")
    assert (result.images, result.images_this_call, result.rejected) == (4, 3, 0)


def test_a_folder_of_an_odd_name_is_a_case_of_rejected_rows(world: Any, odd: Path, tmp_path: Path) -> None:
    (odd / "P1").rename(odd / os.fsdecode(b"\xff"))
    result = score_images(world.bundle, [odd], tmp_path / "out")
    assert (result.images, result.rejected, list(result.cases["case"])) == (0, 4, [r"\xff"])


def test_a_name_that_the_case_expression_does_not_fit_is_a_rejected_row(world: Any, tmp_path: Path) -> None:
    place = tmp_path / "in" / "day"
    place.mkdir(parents=True)
    good = next((world.cohort / "images").rglob("*.jpg"))
    for name in ("P1_a.jpg", "stray.jpg"):
        shutil.copy(good, place / name)
    source, out = [tmp_path / "in"], tmp_path / "out"
    result = score_images(world.bundle, source, out, case_from=r"(P\d+)_")
    assert (result.images, result.rejected) == (1, 1)
    rejected = pd.read_csv(out / "rejected.csv")
    assert list(rejected["image"]) == ["day/stray.jpg"]
    assert rejected["reason"].str.contains("does not fit").all()
    before = {path.name: path.read_bytes() for path in out.glob("*.parquet")}
    with pytest.raises(InvalidInput, match=r"'\(zzz\)' does not fit"):
        score_images(world.bundle, source, out, case_from="(zzz)")
    assert {path.name: path.read_bytes() for path in out.glob("*.parquet")} == before
    again = score_images(world.bundle, source, out, case_from=r"(P\d+)_")
    assert (again.images, again.images_this_call) == (1, 0), "what was refused as a whole took no row away"
    mended = score_images(world.bundle, source, out, case_from=r"/(P\d+|stray)")
    assert (mended.images, mended.rejected) == (2, 0)
    with pytest.raises(InvalidInput, match="does not fit"):
        score_images(world.bundle, source, tmp_path / "new", case_from="(zzz)")
    assert not (tmp_path / "new").exists()


def test_a_row_that_leads_out_of_its_folder_is_rejected_and_never_read(world: Any, tmp_path: Path) -> None:
    good = next((world.cohort / "images").rglob("*.jpg"))
    (tmp_path / "in").mkdir()
    for path in ("in/a.jpg", "secret.jpg", "secret.svs"):
        shutil.copy(good, tmp_path / path)
    table = tmp_path / "in" / "t.csv"
    table.write_text("image,case_id\na.jpg,P1\n../secret.jpg,P1\n../secret.svs,P1\n")
    result = score_images(world.bundle, [table], tmp_path / "out")
    assert (result.images, result.rejected, result.slides) == (1, 2, 0)
    rejected = pd.read_csv(tmp_path / "out" / "rejected.csv")
    assert list(rejected["image"]) == ["../secret.jpg", "../secret.svs"]
    assert set(rejected["path"]) == {str(table)}
    assert rejected["reason"][0].startswith("t.csv, row 3: The path '../secret.jpg' leaves the folder")
    table.write_text("image,case_id\n../secret.jpg,P1\n")
    with pytest.raises(InvalidInput, match=r"t\.csv, row 2: .* leaves the folder"):
        score_images(world.bundle, [table], tmp_path / "new")


def test_links_that_are_left_out_are_counted_and_said(world: Any, tmp_path: Path) -> None:
    good = next((world.cohort / "images").rglob("*.jpg"))
    for place in ("outside/a.jpg", "in/P1/b.jpg"):
        (tmp_path / place).parent.mkdir(parents=True)
        shutil.copy(good, tmp_path / place)
    folder = tmp_path / "in"
    (folder / "P1" / "inside.jpg").symlink_to(folder / "P1" / "b.jpg")
    assert score_images(world.bundle, [folder], tmp_path / "none").notes == ()
    (folder / "P1" / "file.jpg").symlink_to(tmp_path / "outside" / "a.jpg")
    (folder / "P1" / "notes.txt").symlink_to(tmp_path / "outside" / "a.jpg")
    (folder / "P2").symlink_to(tmp_path / "outside")
    (folder / "P3").symlink_to(folder / "P1")
    result = score_images(world.bundle, [folder], tmp_path / "out")
    assert result.images == 2
    assert len(result.notes) == 1
    assert result.notes[0].startswith(f"3 links were left out, for example {folder}/P1/file.jpg. Links to folders")
    assert result.summary()["notes"] == list(result.notes)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["links_left_out"] == {"number": 3, "example": f"{folder}/P1/file.jpg"}


def test_the_summary_counts_and_times_what_this_call_did(world: Any, tmp_path: Path) -> None:
    place = tmp_path / "in" / "P1"
    place.mkdir(parents=True)
    good = sorted((world.cohort / "images").rglob("*.jpg"))
    for number in range(3):
        shutil.copy(good[number], place / f"{number}.jpg")
    (place / "bad.jpg").write_bytes(b"")
    first = score_images(world.bundle, [tmp_path / "in"], tmp_path / "out")
    assert ": 3 images scored (0 not evaluable), 1 rejected, 1 case (" in first.in_words()
    again = score_images(world.bundle, [tmp_path / "in"], tmp_path / "out")
    assert (again.images, again.images_this_call, again.images_per_second) == (3, 0, 0)
    assert ": 3 images scored (0 in this call), 0 not evaluable, 1 rejected" in again.in_words()
    assert "per second" not in again.in_words()
    shutil.copy(good[3], place / "bad.jpg")
    third = score_images(world.bundle, [tmp_path / "in"], tmp_path / "out")
    assert ": 4 images scored (1 in this call), " in third.in_words()
    assert third.summary()["images_this_call"] == 1
    assert third.images_per_second == pytest.approx(1 / third.seconds)


def test_seconds_hold_the_networks_and_the_tables(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pipelines.score as module

    events: list[str] = []

    def noted(name: str) -> None:
        whole = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, **k: (events.append(name), whole(*a, **k))[1])

    for name in ("read_bundle", "FieldScorer", "write_tables"):
        noted(name)
    clock = SimpleNamespace(monotonic=lambda: (events.append("clock"), float(len(events)))[1])
    monkeypatch.setattr(module, "time", clock)
    source = next((world.cohort / "images").rglob("*.jpg"))
    result = score_images(world.bundle, [source], tmp_path / "out")
    assert events == ["clock", "read_bundle", "FieldScorer", "write_tables", "clock"]
    assert result.seconds == 4
    assert result.images_per_second == 0.25
    assert ": 1 image scored (0 not evaluable)" in result.in_words()


def test_an_unknown_device_writes_nothing(world: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="--device zzz"):
        score_images(world.bundle, [world.cohort / "images"], tmp_path / "out", device="zzz")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("pattern", "words"), [("(", "regular expression"), ("x", "no group"), ("(zz)", "does not fit")]
)
def test_a_bad_case_expression_is_one_sentence(world: Any, pattern: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        find_inputs([world.cohort / "images"], case_from=pattern)


def test_file_names_for_cases_are_plain_and_distinct() -> None:
    names = [file_name_for(text) for text in ("P1", "a/b", "a_b", "../..", "ä", "x" * 300, "")]
    assert names[0] == "P1"
    assert len(set(names)) == len(names)
    assert all("/" not in name and not name.startswith(".") and 0 < len(name) < 120 for name in names)


def test_real_damaged_photographs_are_rejected_with_their_reason(world: Any, shared: Path, tmp_path: Path) -> None:
    result = score_images(world.bundle, [shared / "data" / "damaged"], tmp_path / "out")
    assert (result.images, result.rejected) == (0, 3)


def test_a_file_that_several_inputs_lead_to_is_scored_once_and_that_is_said(world: Any, tmp_path: Path) -> None:
    folder = tmp_path / "fields"
    (folder / "A").mkdir(parents=True)
    for number, image in enumerate(sorted(f for f in (world.cohort / "images").rglob("*") if is_image_path(f))[:3]):
        shutil.copy(image, folder / "A" / f"{number}{image.suffix}")
    file = sorted((folder / "A").iterdir())[0]
    (tmp_path / "link").symlink_to(folder)
    alone = score_images(world.bundle, [folder], tmp_path / "alone")
    for number, more in enumerate([folder / "A", file, folder / "A" / ".." / "A" / file.name, tmp_path / "link" / "A"]):
        out = tmp_path / f"out{number}"
        result = score_images(world.bundle, [folder, more], out)
        assert len(pd.read_parquet(out / "images.parquet")) == 3, more
        assert result.notes[-1].startswith(("1 input names a file", "3 inputs name files")), more
    frame = pd.read_parquet(tmp_path / "out1" / "cases.parquet")
    expected = pd.read_parquet(tmp_path / "alone" / "cases.parquet")
    pd.testing.assert_frame_equal(frame, expected)
    assert alone.notes == ()
    again = score_images(world.bundle, [folder, file], tmp_path / "out1")
    assert again.notes == ("1 input names a file that was listed before: "
                           f"{file.name}. A file is scored once, under the name and in the case that it was listed "
                           "with first.",)  # fmt: skip
