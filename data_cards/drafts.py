"""A card to be filled in: what could be counted is there, and a question stands where a person must answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from data_cards.front_matter import cut_card, find_comments
from data_cards.library import COUNTED_SECTIONS, one_line
from data_cards.schema import UNKNOWN, DataCard, parse_card

QUESTIONS = {
    "source.origin": "Who made the images, where, and from when to when?",
    "source.citation": "Which paper or report describes them?",
    "source.url": "Where are they to be found?",
    "terms": "Under which licence or agreement may they be used?",
    "redistribution": "May they be passed on? yes or no",
    "consent": "Did the patients consent, or which ethics board waived it (with its number)?",
    "privacy": "What was removed or replaced to protect the patients?",
    "stain": "Which stain, and by which protocol?",
    "device": "Which microscope, camera and software?",
    "magnification": "Which objective, and how many micrometres to a pixel?",
    "labels.classes": "What does this class mean?",
    "labels.given_by": "Who gave the labels: how many people, of what training, knowing what of the patient?",
    "labels.unit": "What does a label belong to: a cell, a field, a slide, a case, a patient?",
    "labels.finding": "What does a positive call stand for, as a noun phrase? E.g. finding: malignant cells",
    "patients": "How many patients are these images of?",
    "images": "How many?",
    "confounders": "What else goes with the label: site, stain, camera, date, operator, how images were chosen?",
    "audit_digest": "No audit was given. Run `msht cohort audit` and write this card again with --audit.",
    "intended_uses": "What are these images good for?",
    "unsuitable_uses": "What must nobody use them for?",
}
"""What a person is asked, by key of the card."""
_ASKED = frozenset(f"# ? {question}" for question in QUESTIONS.values())
ASKED_WHERE_ABSENT = ("labels.finding", "audit_digest")
ASKED_BELOW = "What else should a reader know?"
FROM_MANIFEST = ("stain", "magnification")
"""Keys that a draft fills with the manifest's words, which a person may put better."""
_SAYS = "# The manifest says: "
_SEAL = re.compile(r"^# Unedited as long as the SHA-256 of the lines below is ([0-9a-f]{64})\.\n", re.MULTILINE)


@dataclass(frozen=True)
class UpdatedDraft:
    """A card that was counted anew.

    Attributes:
        text: to be written; `parse_card` reads it.
        unanswered: questions that a person has to answer.
        kept: sentences, one for each answer that was kept although the manifest says something else.
        replaced: one for each value of the former card that is not in this one.
    """

    text: str
    unanswered: int
    kept: tuple[str, ...]
    replaced: tuple[str, ...]


def render_draft(card: DataCard) -> tuple[str, int]:
    """Write a card that was counted, with its questions as comments.

    Returns:
        The text, which `parse_card` reads, and the number of answers that are unknown.
    """
    content, asked = _content(card, _manifest_says(card))
    return f"---\n{_seal(content)}{content}", asked


def is_edited(text: str) -> bool:
    """Whether a card is not, letter by letter, what `render_draft` wrote."""
    found = _SEAL.search(text)
    return found is None or not text.startswith("---\n# ") or _digest(text[found.end() :]) != found[1]


def update_draft(fresh: DataCard, former: str, *, where: str, settled: Collection[str] = ()) -> UpdatedDraft:
    """Write a card anew with the answers and the comments that a person gave before.

    Args:
        fresh: counted just now.
        former: text of the card as it is.
        where: its file, for the messages.
        settled: keys whose fresh value was asked for and replaces the former one.

    Raises:
        InvalidInput: if the former text is no card.
    """
    before = parse_card(former, where=where)
    found = list(find_comments(cut_card(former, where=where)[0]))
    drafted = {key: words.removeprefix(_SAYS) for key, words in found if words.startswith(_SAYS)}
    if not is_edited(former):
        drafted = {key: one_line(getattr(before, key)) for key in FROM_MANIFEST}
    card = keep_answers(fresh, before, drafted=drafted, settled=settled)
    comments = _manifest_says(fresh)
    own = [(key, words) for key, words in found if not _is_drafted(words)]
    for key, words in own:
        comments.setdefault(key, []).append(words)
    kept = tuple(
        one_line(f"{key} is '{getattr(card, key)}', the manifest says '{getattr(fresh, key)}'")
        for key in FROM_MANIFEST
        if getattr(fresh, key) not in (UNKNOWN, getattr(card, key))
    )
    content, asked = _content(card, comments)
    # A card that holds a person's words is not sealed, so that nobody writes over it unasked.
    seal = _seal(content) if card == fresh and not own else ""
    return UpdatedDraft(f"---\n{seal}{content}", asked, kept, tuple(_replaced(before, card)))


def keep_answers(
    fresh: DataCard,
    edited: DataCard,
    *,
    drafted: Mapping[str, str] | None = None,
    settled: Collection[str] = (),
) -> DataCard:
    """A card with new counts and the answers that a person gave before.

    Args:
        fresh: counted just now.
        edited: the card as it is; its own sections of the text stay, counted ones are replaced.
        drafted: the manifest's words for `FROM_MANIFEST` when the card was written; a value that is still those
            words was not edited. Without them a value that differs from the fresh one counts as edited.
        settled: keys whose fresh value replaces the edited one.
    """
    answers = ("name", "title", "terms", "redistribution", "consent", "privacy", "device", "unsuitable_uses")
    taken: dict[str, Any] = {name: getattr(edited, name) for name in answers if name not in settled}
    taken["source"] = edited.source
    taken["intended_uses"] = edited.intended_uses
    if fresh.patients == UNKNOWN:
        taken["patients"] = edited.patients
    for name in FROM_MANIFEST:
        value = getattr(edited, name)
        unedited = value == UNKNOWN or (drafted or {}).get(name) == one_line(value)
        if getattr(fresh, name) == UNKNOWN or not unedited:
            taken[name] = value
    meanings = {name: edited.labels.classes.get(name, meaning) for name, meaning in fresh.labels.classes.items()}
    taken["labels"] = edited.labels.model_copy(update={"classes": meanings})
    classes = edited.labels.classes
    own = [words for words in edited.confounders if not _is_counted(words, classes) and words not in fresh.confounders]
    taken["confounders"] = (*own, *fresh.confounders)
    taken["body"] = _merge_sections(edited.body, fresh.body)
    return fresh.model_copy(update=taken)


def _is_counted(confounder: str, classes: Collection[str]) -> bool:
    """Whether a draft wrote it; with a word more it is a person's."""
    begins = re.match(r"Every image of (site|stain|magnification) ", confounder)
    return begins is not None and confounder.endswith(tuple(f" is {name}." for name in classes))


def _merge_sections(edited: str, fresh: str) -> str:
    """Sections (`## Title`) of two texts: a person's own first, then the counted ones, counted anew.

    Lines that a person wrote into a counted section follow its counts.
    """
    own: list[str] = []
    notes: dict[str, str] = {}
    for title, part in _sections(edited):
        if title not in COUNTED_SECTIONS:
            own.append(part)
            continue
        lines = [line for line in part.split("\n")[1:] if not line.startswith(COUNTED_SECTIONS[title])]
        notes[title] = "\n".join([notes.get(title, ""), *lines]).strip("\n")
    counted = dict(_sections(fresh))
    for title, note in notes.items():
        if note:
            counted[title] = f"{counted.get(title, title)}\n\n{note}"
    return "\n\n".join([*own, *counted.values()])


def _sections(text: str) -> list[tuple[str, str]]:
    """First line and text of each section, and of what stands before the first."""
    parts = [part.strip() for part in re.split(r"^(?=## )", text, flags=re.MULTILINE)]
    return [(part.split("\n", 1)[0].strip(), part) for part in parts if part not in ("", ASKED_BELOW)]


def _replaced(before: DataCard, after: DataCard) -> Iterator[str]:
    """A sentence for each value of the front matter that changed or is gone."""
    old, new = (dict(_flat(card.model_dump(mode="json", exclude={"body"}), "")) for card in (before, after))
    for key, value in old.items():
        there = new.get(key)
        if isinstance(value, list):
            yield from (f"{key} no longer says '{one_line(item)}'" for item in value if item not in (there or []))
        elif value not in (there, UNKNOWN, None):
            yield one_line(f"{key} was {value}, is {there if there is not None else 'gone'}")


def _flat(keys: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in keys.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _manifest_says(counted: DataCard) -> dict[str, list[str]]:
    """The manifest's words as comments, by which the next update knows whether a person changed them."""
    found = {key: getattr(counted, key) for key in FROM_MANIFEST}
    return {key: [_SAYS + one_line(value)] for key, value in found.items() if value != UNKNOWN}


def _is_drafted(comment: str) -> bool:
    return comment in _ASKED or comment.startswith(_SAYS) or bool(_SEAL.match(comment + "\n"))


def _content(card: DataCard, comments: Mapping[str, Sequence[str]]) -> tuple[str, int]:
    """All of a card below its seal, and the number of questions in it."""
    keys: dict[str, Any] = card.model_dump(mode="json", exclude={"body"})
    places: list[str] = []
    lines = list(_lines(keys, "", 0, comments, places))
    asked = sum(line.lstrip() in _ASKED for line in lines)
    homeless = [words for key, said in comments.items() if key not in places for words in said]
    body = card.body or ASKED_BELOW
    return "\n".join([*lines, *homeless, "---", "", body, ""]), asked


def _lines(
    keys: Mapping[str, Any], path: str, depth: int, comments: Mapping[str, Sequence[str]], places: list[str]
) -> Iterator[str]:
    indent = "  " * depth
    for key, value in keys.items():
        here = f"{path}.{key}" if path else str(key)
        places.append(here)
        yield from (indent + words for words in comments.get(here, ()))
        question = QUESTIONS.get(here) or next(
            (q for name, q in QUESTIONS.items() if here.startswith(f"{name}.")), None
        )
        if value is None:
            if here in ASKED_WHERE_ABSENT:
                yield f"{indent}# ? {question}"
        elif isinstance(value, Mapping) and value:
            yield indent + yaml.safe_dump({key: {}}, allow_unicode=True).replace(": {}\n", ":")
            yield from _lines(value, here, depth + 1, comments, places)
        else:
            if value == UNKNOWN or (isinstance(value, list) and (UNKNOWN in value or here == "confounders")):
                yield f"{indent}# ? {question}"
            dumped = yaml.safe_dump({key: value}, allow_unicode=True, width=100, sort_keys=False)
            yield from (indent + line for line in dumped.rstrip("\n").split("\n"))


def _seal(content: str) -> str:
    return f"# Unedited as long as the SHA-256 of the lines below is {_digest(content)}.\n"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
