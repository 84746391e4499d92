"""A card to be filled in: what could be counted is there, and a question stands where a person must answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from data_cards.schema import UNKNOWN, DataCard

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
ASKED_WHERE_ABSENT = ("labels.finding", "audit_digest")
_SEAL = re.compile(r"^# Unedited as long as the SHA-256 of the lines below is ([0-9a-f]{64})\.\n", re.MULTILINE)


def render_draft(card: DataCard) -> tuple[str, int]:
    """Write a card with its questions as comments.

    Returns:
        The text, which `parse_card` reads, and the number of answers that are unknown.
    """
    keys: dict[str, Any] = card.model_dump(mode="json", exclude={"body"})
    lines = list(_lines(keys, "", 0))
    asked = sum(line.lstrip().startswith("# ? ") for line in lines)
    content = "\n".join([*lines, "---", "", card.body or "What else should a reader know?", ""])
    return f"---\n{_seal(content)}{content}", asked


def is_edited(text: str) -> bool:
    """Whether a card is not, letter by letter, what `render_draft` wrote."""
    found = _SEAL.search(text)
    return found is None or not text.startswith("---\n# ") or _digest(text[found.end() :]) != found[1]


def keep_answers(fresh: DataCard, edited: DataCard) -> DataCard:
    """A card with new counts and the answers that a person gave before.

    Args:
        fresh: counted just now.
        edited: the card as it is; its own sections of the text stay, counted ones are replaced.
    """
    taken: dict[str, Any] = {
        name: getattr(edited, name)
        for name in ("title", "terms", "redistribution", "consent", "privacy", "device", "unsuitable_uses")
    }
    taken["source"] = edited.source
    taken["intended_uses"] = edited.intended_uses
    for name in ("stain", "magnification", "patients"):
        if getattr(fresh, name) == UNKNOWN:
            taken[name] = getattr(edited, name)
    meanings = {name: edited.labels.classes.get(name, meaning) for name, meaning in fresh.labels.classes.items()}
    taken["labels"] = edited.labels.model_copy(update={"classes": meanings})
    own = [words for words in edited.confounders if not _is_counted(words) and words not in fresh.confounders]
    taken["confounders"] = (*own, *fresh.confounders)
    taken["body"] = _merge_sections(edited.body, fresh.body)
    return fresh.model_copy(update=taken)


def _is_counted(confounder: str) -> bool:
    return bool(re.fullmatch(r"Every image of (site|stain|magnification) .* is .*\.", confounder)) or (
        confounder.startswith("Colour alone ")
    )


def _merge_sections(edited: str, fresh: str) -> str:
    """Sections (`## Title`) of two texts: those of the fresh one, and those of the other that it lacks before them."""

    def sections(text: str) -> dict[str, str]:
        parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
        return {part.split("\n", 1)[0]: part.strip() for part in parts if part.strip()}

    new = sections(fresh)
    return "\n\n".join([*(part for title, part in sections(edited).items() if title not in new), *new.values()])


def _lines(keys: Mapping[str, Any], path: str, depth: int) -> Iterator[str]:
    indent = "  " * depth
    for key, value in keys.items():
        here = f"{path}.{key}" if path else str(key)
        question = QUESTIONS.get(here) or next(
            (q for name, q in QUESTIONS.items() if here.startswith(f"{name}.")), None
        )
        if value is None:
            if here in ASKED_WHERE_ABSENT:
                yield f"{indent}# ? {question}"
        elif isinstance(value, Mapping) and value:
            yield indent + yaml.safe_dump({key: {}}, allow_unicode=True).replace(": {}\n", ":")
            yield from _lines(value, here, depth + 1)
        else:
            if value == UNKNOWN or (isinstance(value, list) and (UNKNOWN in value or here == "confounders")):
                yield f"{indent}# ? {question}"
            dumped = yaml.safe_dump({key: value}, allow_unicode=True, width=100, sort_keys=False)
            yield from (indent + line for line in dumped.rstrip("\n").split("\n"))


def _seal(content: str) -> str:
    return f"# Unedited as long as the SHA-256 of the lines below is {_digest(content)}.\n"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
