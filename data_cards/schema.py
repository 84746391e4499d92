"""Data cards: what is known about a data set, as YAML front matter with Markdown below.

A card says `unknown` where nothing is known; it never guesses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from msht.errors import InvalidInput

UNKNOWN: Final = "unknown"

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Count = Annotated[int, Field(ge=0)] | Literal["unknown"]


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
    redistribution: Literal["yes", "no", "unknown"]
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
        return self


def read_card(path: Path) -> DataCard:
    """Read and check a card.

    Raises:
        InvalidInput: if the file cannot be read or a key is missing, unknown or has a wrong value; the
            message names the file and the key.
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
    lines = text.replace("\r\n", "\n").removeprefix("\ufeff").split("\n")
    end = next((i for i, line in enumerate(lines[1:], start=1) if line.rstrip() == "---"), None)
    if lines[0].rstrip() != "---" or end is None:
        raise InvalidInput(
            f"{where} has no YAML front matter.", "Begin the card with a line '---', the keys, a line '---'."
        )
    try:
        keys = yaml.safe_load("\n".join(lines[1:end]))
    except yaml.YAMLError as error:
        raise InvalidInput(f"{where}: the front matter is not YAML ({error}).", "Mend it.") from error
    if not isinstance(keys, dict):
        raise InvalidInput(f"{where}: the front matter is not a table of keys.", "Write 'key: value' lines.")
    if "body" in keys:
        raise InvalidInput(f"{where}, key 'body': the Markdown is the body.", "Write it below the front matter.")
    try:
        return DataCard.model_validate({**keys, "body": "\n".join(lines[end + 1 :]).strip()})
    except ValidationError as error:
        raise _complaint(where, error) from error


def render_card(card: DataCard) -> str:
    """Write a card as Markdown with YAML front matter; `parse_card` reads it back to an equal card."""
    keys: dict[str, Any] = card.model_dump(mode="json", exclude={"body"}, exclude_none=True)
    front = yaml.safe_dump(keys, sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{front}---\n\n{card.body}\n" if card.body else f"---\n{front}---\n"


def _complaint(where: str, error: ValidationError) -> InvalidInput:
    first = error.errors()[0]
    # Where a value may be a number or `unknown`, pydantic adds the kind that it tried to the key.
    parts = [str(part) for part in first["loc"]]
    key = ".".join(part for part in parts if part not in {"constrained-int", "int", "literal['unknown']"})
    said = first["msg"].removeprefix("Value error, ")
    place = f"{where}, key '{key}'" if key else where
    others = error.error_count() - 1
    more = f" ({others} more)" if others else ""
    return InvalidInput(f"{place}: {said}{more}.", "See data_cards/cards/phantom.md for a card that is right.")
