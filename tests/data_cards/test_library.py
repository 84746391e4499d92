"""The shipped cards are valid and true to what they describe; a cohort's card counts what is there."""

from pathlib import Path

import pandas as pd
import pytest

from data_cards import UNKNOWN, card_for, card_from_manifest, list_cards, parse_card, render_card
from msht.cohort.phantom_roster import PhantomSettings, plan_cohort
from msht.errors import InvalidInput


def manifest() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": ["negative", "positive", "positive", "negative", "negative"],
            "patient_id": ["a", "a", "b", "c", "c"],
            "site": ["north", "north", "north", "south", "south"],
            "stain": ["Diff-Quik", "Diff-Quik", "Giemsa", None, "Diff-Quik"],
            "role": ["development", "development", "test", "development", "test"],
        }
    )


def test_the_cards_that_users_turn_to_are_there() -> None:
    expected = {"rose-pumch", "leukaemia-smears", "phantom", "sipakmed", "herlev", "mendeley-lbc"}
    assert set(list_cards()) == expected


@pytest.mark.parametrize("name", list_cards())
def test_every_card_is_valid_and_bears_the_name_of_its_file(name: str) -> None:
    card = card_for(name)
    assert card.name == name
    assert card.source.evidence
    assert "Diagnosis." in card.unsuitable_uses


def test_an_unknown_card_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(InvalidInput, match=r"'x'.*phantom"):
        card_for("x")


def test_the_phantom_card_counts_the_default_phantom() -> None:
    fields = plan_cohort(PhantomSettings(24, 10, 1, 3, 512, 384, 517))
    positive = sum(field.positive for field in fields)
    card = card_for("phantom")
    assert card.images["all"] == {"negative": len(fields) - positive, "positive": positive}
    assert card.patients == len({field.patient_id for field in fields})


def test_the_leukaemia_card_counts_the_real_table(shared: Path) -> None:
    table = pd.read_csv(shared / "data" / "leukaemia-smears" / "labels.csv")
    card = card_for("leukaemia-smears")
    counts = table.groupby(["cohort", "label"]).size()
    assert {(c, k): n for c, kinds in card.images.items() for k, n in kinds.items()} == counts.to_dict()
    assert card.patients == table["patient_id"].nunique()


def test_the_rose_card_agrees_with_the_published_counts(shared: Path) -> None:
    table = pd.read_csv(shared / "facts" / "fold_counts.csv")
    test = table[table["split"] == "test"].iloc[0]
    card = card_for("rose-pumch")
    assert card.images["test"] == {"negative": test["n_negative"], "positive": test["n_positive"]}
    parts = table[table["split"].isin(["train", "val", "validation"])].groupby("fold")
    for _, fold in parts[["n_negative", "n_positive"]].sum().iterrows():
        assert card.images["development"] == {"negative": fold["n_negative"], "positive": fold["n_positive"]}


def test_a_cohorts_card_counts_by_role_and_class() -> None:
    card = card_from_manifest(manifest(), name="mine", origin="here", audit_digest="0" * 64)
    assert card.images == {
        "development": {"negative": 2, "positive": 1},
        "test": {"negative": 1, "positive": 1},
    }
    assert (card.images_in_all, card.patients, card.stain) == (5, 3, "Diff-Quik, Giemsa")
    assert card.magnification == card.terms == UNKNOWN
    assert "| north | 1 | 2 |" in card.body
    assert parse_card(render_card(card), where="rendered") == card


def test_a_site_with_one_label_only_is_reported_as_a_confounder() -> None:
    card = card_from_manifest(manifest(), name="mine", confounders=("one given",))
    assert card.confounders == (
        "one given",
        "Every image of site south is negative.",
        "Every image of stain Giemsa is positive.",
    )


def test_patients_that_are_not_all_known_are_not_counted() -> None:
    table = manifest()
    table.loc[0, "patient_id"] = None
    assert card_from_manifest(table, name="mine").patients == UNKNOWN
    assert card_from_manifest(table.drop(columns=["patient_id", "role"]), name="mine").patients == UNKNOWN


def test_without_roles_all_images_are_counted_together() -> None:
    card = card_from_manifest(manifest().drop(columns="role"), name="mine")
    assert card.images == {"all": {"negative": 3, "positive": 2}}


@pytest.mark.parametrize("table", [manifest().iloc[:0], manifest().drop(columns="label")])
def test_a_manifest_without_labelled_rows_is_refused(table: pd.DataFrame) -> None:
    with pytest.raises(InvalidInput, match="'mine'"):
        card_from_manifest(table, name="mine")
