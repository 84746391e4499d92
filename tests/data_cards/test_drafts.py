"""A draft asks for what cannot be counted, and what a person answered is never lost."""

import pandas as pd
import pytest

from data_cards import UNKNOWN, DataCard, card_from_manifest, is_edited, keep_answers, parse_card, render_draft
from data_cards.drafts import QUESTIONS


def cohort(images: int = 4) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "label": ["yes", "unknown"] * (images // 2),
            "patient_id": [f"P{n // 2}" for n in range(images)],
            "site": ["north", "south"] * (images // 2),
        }
    )
    return frame.astype("string")


def draft(images: int = 4) -> DataCard:
    return card_from_manifest(cohort(images), name="mine", labels_unit=UNKNOWN)


def test_a_draft_reads_back_as_the_card_whatever_its_classes_are_called() -> None:
    """Class names that YAML would take for a truth value, and one that is called `unknown`."""
    card = draft()
    text, _ = render_draft(card)
    assert parse_card(text, where="draft") == card


def test_every_unknown_has_its_question_above_it() -> None:
    text, asked = render_draft(draft())
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if line.endswith(": unknown") or (line.strip() == "- unknown"):
            above = lines[number - 1] if line.endswith(": unknown") else lines[number - 2]
            assert above.strip().removeprefix("# ? ") in QUESTIONS.values()
    assert asked == text.count("# ? ")
    for key in ("terms", "consent", "privacy", "device", "labels.given_by", "labels.unit", "labels.finding"):
        assert f"# ? {QUESTIONS[key]}" in text


def test_what_was_counted_is_not_asked_for() -> None:
    text, _ = render_draft(draft().model_copy(update={"audit_digest": "0" * 64}))
    assert QUESTIONS["patients"] not in text
    assert QUESTIONS["audit_digest"] not in text
    assert "patients: 2" in text
    assert "Every image of site north is yes." in text


def test_a_card_is_edited_once_a_letter_changed() -> None:
    text, _ = render_draft(draft())
    assert not is_edited(text)
    for changed in (
        text.replace("terms: unknown", "terms: mine"),
        text + "x",
        text.replace("# Unedited", "# unedited"),
    ):
        assert is_edited(changed)
    assert is_edited("anything else")


def test_an_update_counts_anew_and_keeps_every_answer() -> None:
    text, _ = render_draft(draft())
    edited = parse_card(
        text.replace("terms: unknown", "terms: CC BY 4.0")
        .replace("given_by: unknown", "given_by: two cytopathologists")
        .replace("# ? " + QUESTIONS["labels.finding"], "finding: odd cells")
        .replace(
            "- Every image of site north is yes.", "- The camera changed in May.\n- Every image of site north is yes."
        )
        + "\n## History\n\nMoved in 2020.\n",
        where="edited",
    )
    updated = keep_answers(draft(8), edited)
    assert (updated.images_in_all, updated.patients) == (8, 4)
    assert updated.terms == "CC BY 4.0"
    assert (updated.labels.given_by, updated.labels.finding) == ("two cytopathologists", "odd cells")
    assert updated.confounders[0] == "The camera changed in May."
    assert updated.confounders.count("Every image of site north is yes.") == 1
    assert "Moved in 2020." in updated.body
    assert "distinct `patient_id`: 4" in updated.body
    assert "distinct `patient_id`: 2" not in updated.body
    again = parse_card(render_draft(updated)[0], where="again")
    assert keep_answers(draft(8), again) == again


@pytest.mark.parametrize("column", ["site", "stain", "magnification"])
def test_a_value_under_which_one_class_only_occurs_is_a_confounder(column: str) -> None:
    frame = cohort().drop(columns="site").assign(**{column: ["one", "two", "one", "two"]})
    assert f"Every image of {column} one is yes." in card_from_manifest(frame, name="mine").confounders
