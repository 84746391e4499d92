from __future__ import annotations

import pandas as pd
import pytest

from msht.cohort.alike import alike_in_words, alike_key, ids_alike, tidy
from msht.cohort.roles import rows_with, without_value
from msht.errors import InvalidInput


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("P7", "p007"),
        ("7", "7.0"),
        ("100", "1e2"),
        ("100", "+100"),
        ("Val ", "val"),
        ("a  b", "a b"),
        ("Zoë", "Zoe\u0308"),
        ("Zoë", "Zoe"),
        ("x\u200b1", "X01"),
        ("Patient_00", "Patient 00"),
        ("Patient_00", "Patient00"),
        ("Patient_00", "patient-0"),
        ("Patient_00", "\uff30atient\uff3f\uff10\uff10"),
        ("Patient_00", "\u202aPatient_00\u202c"),
        ("Patient_00", "P\u0430tient_00"),
        ("Validation", "Valida\u00adtion"),
        ("Validation-set", "Validationset"),
        ("St. Mary", "St Mary"),
        ("Hôpital Nord", "Hopital Nord"),
        ("P\u20111", "P-1"),
    ],
)
def test_what_people_and_programs_write_in_two_ways_is_alike(one: str, other: str) -> None:
    assert alike_key(one) == alike_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("P1", "P10"),
        ("10", "1"),
        ("0", "1"),
        ("1.5", "15"),
        ("P1", "Q1"),
        ("P1-1", "P11"),
        ("1.1", "1.10"),
        ("A1", "A"),
        ("20230000000000001", "20230000000000002"),
        ("P-1", "P-2"),
        ("患者1", "患者2"),
        ("S1_P2", "S12_P"),
        ("HPV+", "HPV-"),
        ("+", "-"),
        ("A", "A+"),
        ("<5 mm", ">5 mm"),
        ("S0", "S0+"),
    ],
)
def test_what_differs_in_more_is_not(one: str, other: str) -> None:
    assert alike_key(one) != alike_key(other)


def test_ids_and_sites_are_looked_at_and_nothing_else() -> None:
    frame = pd.DataFrame(
        {"patient_id": ["P1", "P01", "p2", "P2"], "site": ["A", "B", "C", None], "note": ["x", "X", "x", "x"]}
    )
    assert ids_alike(frame) == {"patient_id": [["P01", "P1"], ["P2", "p2"]]}
    assert "'P01' and 'P1' (patient_id)" in alike_in_words("patient_id", ids_alike(frame)["patient_id"])


def test_a_test_role_does_not_leave_rows_that_mean_it_to_development() -> None:
    frame = pd.DataFrame({"image": list("abcd"), "cohort": ["Validation", "VALIDATION", "validation ", "Discovery"]})
    with pytest.raises(InvalidInput, match=r"fits 1 row, but other rows say 'VALIDATION' \(1\), 'validation ' \(1\)"):
        rows_with(frame, ("cohort", "Validation"), "--test-where cohort=Validation")
    with pytest.raises(InvalidInput, match="no row") as caught:
        rows_with(frame, ("cohort", "validation"), "--test-where cohort=validation")
    assert "Did you mean 'VALIDATION'?" in caught.value.mend


def test_a_value_is_found_however_its_accents_are_composed() -> None:
    frame = pd.DataFrame({"image": ["a", "b", "c"], "site": ["Zürich", "Bern", None]})
    assert tidy(" Zu\u0308rich") == "Zürich"
    assert rows_with(frame, ("site", "Zu\u0308rich"), "--hold-out-site").tolist() == [True, False, False]
    assert without_value(frame, ("site", "Zürich")) == 1
