"""The phantom cohort as a folder on disk: whole, repeatable, described by its manifest."""

import csv
import hashlib
import json
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from msht.cohort import phantom
from msht.cohort.phantom import make_phantom
from msht.cohort.phantom_roster import PhantomSettings, PlannedField, plan_cohort
from msht.errors import InvalidInput

SMALL = {"patients": 6, "fields_per_patient": 5, "width": 96, "height": 72}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantom(tmp_path_factory.mktemp("phantom") / "cohort", **SMALL, workers=1).folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_row_has_an_image_and_a_mask_of_the_size_asked_for(cohort: Path) -> None:
    rows = rows_of(cohort)
    assert len(rows) == 30
    for row in rows:
        assert cv2.imread(str(cohort / row["image"])).shape == (72, 96, 3)
        assert cv2.imread(str(cohort / row["mask"]), cv2.IMREAD_UNCHANGED).shape == (72, 96)


def test_masks_mark_atypical_nuclei_in_positive_fields_only(cohort: Path) -> None:
    for row in rows_of(cohort):
        mask = cv2.imread(str(cohort / row["mask"]), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(mask)) <= {0, 255}
        assert mask.any() == (row["label"] == "positive")


def planned(**changes: int) -> list[PlannedField]:
    numbers = {**SMALL, "cases_per_patient": 1, "sites": 3, "seed": 517, **changes}
    return plan_cohort(PhantomSettings(**numbers))


def test_malignant_patients_have_both_kinds_of_field_and_benign_ones_have_one() -> None:
    labels = defaultdict(list)
    for field in planned(patients=24, fields_per_patient=10):
        labels[field.patient_id].append(field.positive)
    shares = [sum(fields) / len(fields) for fields in labels.values()]
    assert len(shares) == 24
    assert sum(share == 0 for share in shares) == 12
    assert all(0.6 <= share <= 1 for share in shares if share)
    assert any(share < 1 for share in shares if share)


@pytest.mark.parametrize(("patients", "sites"), [(6, 3), (24, 3), (8, 4), (2, 1)])
def test_every_site_has_patients_of_both_kinds(patients: int, sites: int) -> None:
    fields = planned(patients=patients, sites=sites, fields_per_patient=1)
    assert len({(field.site_name, field.positive) for field in fields}) == 2 * sites


def test_two_patients_are_one_of_each_kind_even_at_three_sites() -> None:
    assert {field.malignant_patient for field in planned(patients=2)} == {False, True}


def test_a_patient_stays_at_one_site_a_case_with_one_patient_a_slide_in_one_case() -> None:
    fields = planned(patients=4, fields_per_patient=8, cases_per_patient=2)
    for inner, outer in (("patient_id", "site_name"), ("case_id", "patient_id"), ("slide_id", "case_id")):
        pairs = {(getattr(field, inner), getattr(field, outer)) for field in fields}
        assert len(pairs) == len({getattr(field, inner) for field in fields})
    assert len({field.case_id for field in fields}) == 8
    assert len({field.slide_id for field in fields}) == 16


def test_the_manifest_lists_the_plan_and_the_summary_counts_it(cohort: Path) -> None:
    fields, rows = planned(), rows_of(cohort)
    assert [row["image"] for row in rows] == [field.paths[0] for field in fields]
    assert [row["label"] == "positive" for row in rows] == [field.positive for field in fields]
    summary = make_phantom(cohort, **SMALL)
    assert (summary.fields, summary.patients, summary.cases, summary.sites) == (30, 6, 6, 3)
    assert summary.positive_fields == sum(row["label"] == "positive" for row in rows)
    assert summary.malignant_patients == 3


def test_the_number_of_workers_changes_no_byte(cohort: Path, tmp_path: Path) -> None:
    assert digests(make_phantom(tmp_path / "again", **SMALL, workers=2).folder) == digests(cohort)


def test_another_seed_gives_other_images(cohort: Path, tmp_path: Path) -> None:
    few = {**SMALL, "patients": 2, "fields_per_patient": 2}
    other = digests(make_phantom(tmp_path / "other", **few, seed=518, workers=1).folder)
    assert not set(other.values()) & {digest for name, digest in digests(cohort).items() if name.startswith("images")}


def test_the_settings_are_written_beside_the_images(cohort: Path) -> None:
    description = json.loads((cohort / "phantom.json").read_text(encoding="utf-8"))
    assert description["settings"] == {**SMALL, "cases_per_patient": 1, "sites": 3, "seed": 517}
    assert description["version"]


def test_making_the_same_phantom_again_changes_nothing_and_reports_it_whole(cohort: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in cohort.rglob("*")}
    seen = []
    make_phantom(cohort, **SMALL, on_progress=lambda done, total: seen.append((done, total)))
    assert {path: path.stat().st_mtime_ns for path in cohort.rglob("*")} == before
    assert seen == [(30, 30)]


def test_other_settings_over_a_phantom_are_refused(cohort: Path) -> None:
    with pytest.raises(InvalidInput, match="other settings"):
        make_phantom(cohort, **{**SMALL, "patients": 7})


def test_a_phantom_with_a_missing_file_is_not_taken_for_whole(tmp_path: Path) -> None:
    out = make_phantom(tmp_path / "c", patients=2, fields_per_patient=1, width=64, height=64, workers=1)
    missing = rows_of(out.folder)[0]["mask"]
    (out.folder / missing).unlink()
    with pytest.raises(InvalidInput, match=missing):
        make_phantom(out.folder, patients=2, fields_per_patient=1, width=64, height=64)


def test_files_of_others_are_never_touched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="not empty"):
        make_phantom(tmp_path, **SMALL)
    assert digests(tmp_path).keys() == {"notes.txt"}


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cohort").write_text("mine")
    with pytest.raises(InvalidInput, match="is a file"):
        make_phantom(tmp_path / "cohort", **SMALL)


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "cohort").mkdir()
    out = make_phantom(tmp_path / "cohort", patients=2, fields_per_patient=1, width=64, height=64, workers=1)
    assert out.manifest.is_file()


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_phantom(tmp_path / "cohort", **SMALL, workers=1, on_progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(phantom, "write_json", full)
    with pytest.raises(InvalidInput, match="No space left"):
        make_phantom(tmp_path / "cohort", patients=2, fields_per_patient=1, width=64, height=64, workers=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("patients", 1),
        ("fields_per_patient", 0),
        ("cases_per_patient", 0),
        ("cases_per_patient", 99),
        ("sites", 0),
        ("width", 63),
        ("height", 10),
        ("width", 100_000),
        ("seed", -1),
        ("workers", 0),
    ],
)
def test_impossible_numbers_are_refused_before_anything_is_written(tmp_path: Path, argument: str, value: int) -> None:
    with pytest.raises(InvalidInput, match=str(value)):
        make_phantom(tmp_path / "cohort", **{**SMALL, argument: value})
    assert not list(tmp_path.iterdir())
