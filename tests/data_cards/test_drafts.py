"""A draft asks for what cannot be counted, and what a person answered is never lost."""

import pandas as pd
import pytest

from data_cards import (
    UNKNOWN,
    DataCard,
    card_from_manifest,
    is_edited,
    keep_answers,
    parse_card,
    render_draft,
    update_draft,
)
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


def stained(stain: str = "Diff-Quik", images: int = 4) -> DataCard:
    frame = cohort(images).assign(stain=stain, magnification="40x").astype("string")
    return card_from_manifest(frame, name="mine", labels_unit=UNKNOWN)


def edited_draft() -> str:
    text, _ = render_draft(stained())
    return (
        text.replace("\nstain: Diff-Quik", "\n# Ask again in May.\nstain: Diff-Quik, two dips of 5 s each # lab book")
        .replace("magnification: 40x", "magnification: 40x, 0.25 micrometres to a pixel")
        .replace("patients: 2", "patients: 3")
    )


def test_words_put_better_than_the_manifest_are_kept_and_counts_are_not() -> None:
    made = update_draft(stained(images=8), edited_draft(), where="card")
    card = parse_card(made.text, where="updated")
    assert card.stain == "Diff-Quik, two dips of 5 s each"
    assert card.magnification == "40x, 0.25 micrometres to a pixel"
    assert (card.patients, card.images_in_all) == (4, 8)
    assert made.kept == (
        "stain is 'Diff-Quik, two dips of 5 s each', the manifest says 'Diff-Quik'",
        "magnification is '40x, 0.25 micrometres to a pixel', the manifest says '40x'",
    )
    assert made.replaced == (
        "patients was 3, is 4",
        "images.all.unknown was 2, is 4",
        "images.all.yes was 2, is 4",
        "images_in_all was 4, is 8",
    )
    again = update_draft(stained(images=8), made.text, where="card")
    assert (again.text, again.kept, again.replaced) == (made.text, made.kept, ())


def test_what_nobody_edited_follows_the_manifest() -> None:
    text = render_draft(stained())[0]
    for former in (text, text.replace("terms: unknown", "terms: ours")):
        made = update_draft(stained("Giemsa"), former, where="card")
        assert parse_card(made.text, where="updated").stain == "Giemsa"
        assert made.kept == ()
        assert "stain was Diff-Quik, is Giemsa" in made.replaced


def test_an_answer_without_the_manifests_words_above_it_is_kept() -> None:
    """So were cards written before the words stood there."""
    text = edited_draft().replace("# The manifest says: Diff-Quik\n", "")
    assert parse_card(update_draft(stained("Giemsa"), text, where="card").text, where="x").stain.startswith(
        "Diff-Quik,"
    )


def test_comments_of_a_person_stay_above_their_key() -> None:
    text = (
        edited_draft()
        .replace("unsuitable_uses:", "# Who else?\nunsuitable_uses:")
        .replace("\n---\n", "\n# End.\n---\n")
    )
    lines = update_draft(stained(), text, where="card").text.split("\n")
    stain = lines.index("stain: Diff-Quik, two dips of 5 s each")
    assert lines[stain - 3 : stain] == ["# The manifest says: Diff-Quik", "# Ask again in May.", "# lab book"]
    assert lines[lines.index("unsuitable_uses:") - 1] == "# Who else?"
    assert lines[lines.index("---", 1) - 1] == "# End."


@pytest.mark.parametrize("change", [("terms: unknown", "terms: ours"), ("terms: unknown", "# Ask.\nterms: unknown")])
def test_an_updated_card_counts_as_edited_while_it_holds_a_persons_words(change: tuple[str, str]) -> None:
    text = render_draft(draft())[0]
    assert is_edited(update_draft(draft(), text.replace(*change), where="card").text)
    assert not is_edited(update_draft(draft(8), text, where="card").text)


def test_name_and_title_stay_unless_they_are_given_anew() -> None:
    former = render_draft(draft().model_copy(update={"name": "ours", "title": "Ours"}))[0]
    kept = parse_card(update_draft(draft(), former, where="card").text, where="x")
    assert (kept.name, kept.title) == ("ours", "Ours")
    made = update_draft(draft(), former, where="card", settled=["title"])
    assert parse_card(made.text, where="x").title == "mine"
    assert "title was Ours, is mine" in made.replaced


def test_a_counted_confounder_with_a_word_more_is_a_persons() -> None:
    text = render_draft(draft())[0]
    longer = "Every image of site north is yes, since they send nothing else."
    former = text.replace("Every image of site north is yes.", longer)
    assert longer in parse_card(update_draft(draft(), former, where="card").text, where="x").confounders


def test_text_in_and_between_counted_sections_is_kept() -> None:
    former = render_draft(draft())[0].replace(
        "## Images by site", "Counted by hand, too.\n\n## Notes\n\nOne.\n\n## Notes\n\nTwo.\n\n## Images by site"
    )
    body = parse_card(update_draft(draft(8), former, where="card").text, where="x").body
    assert body.startswith("## Notes\n\nOne.\n\n## Notes\n\nTwo.\n\n## Groups\n")
    assert "Counted by hand, too.\n\n## Images by site" in body
    assert body.count("## Groups") == body.count("## Images by site") == 1
    assert "distinct `patient_id`: 4" in body
    assert "distinct `patient_id`: 2\n" not in body


def test_a_section_that_is_counted_no_more_leaves_no_old_counts() -> None:
    fresh = card_from_manifest(cohort().drop(columns="site"), name="mine")
    body = parse_card(update_draft(fresh, render_draft(draft())[0], where="card").text, where="x").body
    assert "Images by site" not in body


def test_names_of_sites_never_break_the_table_or_the_sections() -> None:
    frame = cohort().assign(site=["a|b", "north\n## Groups\nwing", "back\\|slash", "north\u2028x"]).astype("string")
    fresh = card_from_manifest(frame, name="mine")
    rows = [line for line in fresh.body.split("\n") if line.startswith("|")]
    assert {row.replace("\\\\", "").replace("\\|", "").count("|") for row in rows} == {4}
    assert "| a\\|b | " in fresh.body
    assert "| north ## Groups wing | " in fresh.body
    text = render_draft(fresh)[0]
    assert parse_card(text, where="draft") == fresh
    assert update_draft(fresh, text, where="card").text == text
