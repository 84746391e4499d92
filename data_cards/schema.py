"""Data cards: what is known about a data set, as YAML front matter with Markdown below.

A card says `unknown` where nothing is known; it never guesses.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from data_cards.front_matter import cut_card, read_keys
from msht.errors import InvalidInput

UNKNOWN: Final = "unknown"


def _count(value: object) -> object:
    """A count as it is written: digits without a sign, a leading zero, a point or a colon. A truth value is none."""
    if value == UNKNOWN or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    if isinstance(value, str) and re.fullmatch(r"0|[1-9][0-9]{0,14}", value):
        return int(value)
    raise ValueError(f"{_quoted(value)} is no count; write a whole number such as 24, or unknown")


def _answer(value: object) -> object:
    """Yes or no in whatever way YAML says it."""
    written = str(value).strip().lower()
    return {"true": "yes", "on": "yes", "false": "no", "off": "no"}.get(written, written)


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Count = Annotated[int | Literal["unknown"], BeforeValidator(_count)]
Answer = Annotated[Literal["yes", "no", "unknown"], BeforeValidator(_answer)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Part):
    """Where a data set comes from."""

    origin: Text
    """Who made it, where."""
    citation: Text = UNKNOWN
    url: Text = UNKNOWN
    evidence: tuple[Text, ...] = ()
    """Pages and files on which the facts of the card rest."""


class Labels(_Part):
    """What the classes mean and who said so."""

    classes: dict[Text, Text] = Field(min_length=1)
    """Class and its meaning."""
    given_by: Text
    unit: Text
    """What a label belongs to: an image, a cell, a patient."""
    finding: Text | None = None
    """What a positive call stands for in a report, as a noun phrase: "immature white cells"."""


class DataCard(_Part):
    """What is known about one data set."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: Text
    source: Source
    terms: Text
    redistribution: Answer
    consent: Text
    privacy: Text
    stain: Text
    device: Text
    magnification: Text
    labels: Labels
    patients: Count
    images: dict[Text, dict[Text, Count]] = Field(min_length=1)
    """Number of images by split, then by class."""
    images_in_all: Count
    confounders: tuple[Text, ...]
    audit_digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the audit of the images, where there was one."""
    intended_uses: tuple[Text, ...] = Field(min_length=1)
    unsuitable_uses: tuple[Text, ...] = Field(min_length=1)
    body: str = ""
    """The Markdown below the front matter."""

    @model_validator(mode="after")
    def _counts_agree(self) -> DataCard:
        for split, counts in self.images.items():
            strange = sorted(set(counts) - set(self.labels.classes))
            if strange:
                raise ValueError(
                    f"images.{split} counts '{strange[0]}', which is not one of labels.classes: "
                    f"{', '.join(self.labels.classes)}"
                )
        numbers = [count for counts in self.images.values() for count in counts.values()]
        known = [count for count in numbers if not isinstance(count, str)]
        if len(known) == len(numbers) and self.images_in_all != sum(known):
            raise ValueError(f"images add up to {sum(known)}, but images_in_all says {self.images_in_all}")
        if not isinstance(self.images_in_all, str) and self.images_in_all < sum(known):
            raise ValueError(
                f"the images that are known add up to {sum(known)}, but images_in_all says {self.images_in_all}"
            )
        return self


def read_card(path: Path) -> DataCard:
    """Read and check a card.

    Raises:
        InvalidInput: if the file cannot be read or a key is missing, unknown, there twice or has a wrong value;
            the message names the file and the key or line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The data card {path} cannot be read ({error}).", "Check the path.") from error
    return parse_card(text, where=str(path))


def parse_card(text: str, *, where: str) -> DataCard:
    """Check the text of a card.

    Args:
        text: YAML front matter between two lines of `---`, then Markdown.
        where: file or other origin, for the messages.

    Raises:
        InvalidInput: as `read_card`.
    """
    front, body = cut_card(text, where=where)
    keys = read_keys(front, where=where)
    if "body" in keys:
        raise InvalidInput(f"{where}, key 'body': the Markdown is the body.", "Write it below the front matter.")
    try:
        return DataCard.model_validate({**keys, "body": body})
    except ValidationError as error:
        raise _complaint(where, error) from error


def render_card(card: DataCard) -> str:
    """Write a card as Markdown with YAML front matter; `parse_card` reads it back to an equal card."""
    keys: dict[str, Any] = card.model_dump(mode="json", exclude={"body"}, exclude_none=True)
    front = yaml.safe_dump(keys, sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{front}---\n\n{card.body}\n" if card.body else f"---\n{front}---\n"


def _complaint(where: str, error: ValidationError) -> InvalidInput:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    said = first["msg"].removeprefix("Value error, ")
    if first["input"] is None and first["type"] != "missing":
        said = "there is no value; write unknown where nothing is known"
    place = f"{where}, key '{key}'" if key else where
    others = error.error_count() - 1
    more = f" ({others} more)" if others else ""
    return InvalidInput(f"{place}: {said}{more}.", "See data_cards/cards/phantom.md for a card that is right.")


def _quoted(value: object) -> str:
    words = str(value)
    return f"'{words[:40]}...'" if len(words) > 40 else f"'{words}'"
