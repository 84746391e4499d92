"""Cards are read whole or refused with the file and the key."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from data_cards import DataCard, card_for, list_cards, parse_card, read_card, render_card
from data_cards.library import FOLDER
from msht.errors import InvalidInput


@pytest.fixture
def good() -> str:
    return (FOLDER / "phantom.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", list_cards())
def test_a_card_that_was_written_is_read_back_equal(name: str) -> None:
    card = card_for(name)
    assert parse_card(render_card(card), where="rendered") == card


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("stain: drawn", "stian: drawn", "stain"),
        ("patients: 24", "patients: many", "patients"),
        ("patients: 24", "patients: -1", "patients"),
        ("    positive: 88", "    positive: lots", "images.all.positive"),
        ('redistribution: "yes"', "redistribution: perhaps", "redistribution"),
        ("  unit: field", "", "labels.unit"),
        ("title: Phantom cohort of synthetic ROSE fields", "title: ''", "title"),
        ("patients: 24", "patients: 24\naudit_digest: abc", "audit_digest"),
        ("patients: 24", "patients: 24\nbody: text", "body"),
        ("patients: 24", "patients: 24\ncolour: blue", "colour"),
        ("stain: drawn to resemble Diff-Quik, with three styles for three sites", "stain:", "stain"),
        *[
            ("patients: 24", f"patients: {count}", "patients")
            for count in ("yes", "true", "024", "1:30", "1_000", "+24", "24.0", "0x18", "2024-02-30", "9" * 5000)
        ],
    ],
)
def test_a_wrong_key_is_named_with_its_file(good: str, tmp_path: Path, old: str, new: str, key: str) -> None:
    assert old in good
    path = tmp_path / "mine.md"
    path.write_text(good.replace(old, new), encoding="utf-8")
    with pytest.raises(InvalidInput) as caught:
        read_card(path)
    assert caught.value.problem.startswith(f"{path}, key '{key}'")


def test_numbers_must_add_up(good: str) -> None:
    with pytest.raises(InvalidInput, match="add up to 240, but images_in_all says 241"):
        parse_card(good.replace("images_in_all: 240", "images_in_all: 241"), where="card")


def test_a_total_is_at_least_what_is_known_of_it(good: str) -> None:
    partly = good.replace("    negative: 152", "    negative: unknown")
    with pytest.raises(InvalidInput, match="that are known add up to 88, but images_in_all says 3"):
        parse_card(partly.replace("images_in_all: 240", "images_in_all: 3"), where="card")
    assert parse_card(partly, where="card").images_in_all == 240
    assert parse_card(partly.replace("images_in_all: 240", "images_in_all: unknown"), where="card").patients == 24


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("No", "no"),
        ("true", "yes"),
        ("false", "no"),
        ("'no'", "no"),
        ("unknown", "unknown"),
    ],
)
def test_yes_and_no_are_taken_as_a_person_writes_them(good: str, written: str, answer: str) -> None:
    card = parse_card(good.replace('redistribution: "yes"', f"redistribution: {written}"), where="card")
    assert card.redistribution == answer


def test_a_truth_value_answers_a_question_but_counts_nothing() -> None:
    keys = card_for("phantom").model_dump()
    assert DataCard.model_validate({**keys, "redistribution": False}).redistribution == "no"
    with pytest.raises(ValidationError, match="'True' is no count"):
        DataCard.model_validate({**keys, "patients": True})


@pytest.mark.parametrize("title", ["2024-02-30", "2024", "yes", "1:30"])
def test_a_text_may_look_like_anything_else(good: str, title: str) -> None:
    card = parse_card(good.replace("title: Phantom cohort of synthetic ROSE fields", f"title: {title}"), where="card")
    assert card.title == title
    assert parse_card(render_card(card), where="rendered") == card


def test_a_key_that_stands_twice_is_refused_with_its_lines(good: str) -> None:
    line = good.split("\n").index("patients: 24") + 1
    with pytest.raises(InvalidInput, match=f"card, line {line + 1}: the key 'patients' stands twice, .* {line}"):
        parse_card(good.replace("patients: 24", "patients: 24\npatients: 25"), where="card")


def test_only_declared_classes_are_counted(good: str) -> None:
    with pytest.raises(InvalidInput, match=r"images\.all counts 'malign'"):
        parse_card(good.replace("    positive: 88", "    malign: 88"), where="card")


@pytest.mark.parametrize(
    "text",
    ["", "no front matter", "---\nname: x\n", "---\n- a\n- b\n---\n", "---\na: [\n---\n"],
)
def test_a_text_that_is_no_card_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="front matter"):
        parse_card(text, where="somewhere")


def test_tags_that_would_run_code_are_refused(good: str) -> None:
    with pytest.raises(InvalidInput, match="not YAML"):
        parse_card(good.replace("patients: 24", "patients: !!python/object/apply:os.getpid []"), where="card")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.md"):
        read_card(tmp_path / "nowhere.md")


def test_windows_line_ends_and_a_byte_order_mark_are_read(good: str) -> None:
    assert parse_card("\ufeff" + good.replace("\n", "\r\n"), where="card") == card_for("phantom")
