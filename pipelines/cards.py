"""The data card of a cohort, by name or from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from data_cards.library import card_for, card_from_manifest
from data_cards.schema import DataCard, read_card
from msht.cohort.manifest import CLASSES

if TYPE_CHECKING:
    from msht.cohort.splits import Split

SYNTHETIC = ("phantom",)


def find_card(card: str) -> DataCard:
    """A card given as a shipped name or as the path of a Markdown file.

    Raises:
        InvalidInput: if there is no such card, or it does not hold what a card must.
    """
    return read_card(Path(card)) if card.endswith(".md") else card_for(card)


def card_of(split: Split) -> DataCard:
    """The card that a split names, else one made from its counts, with unknown for all the rest."""
    if split.card is not None:
        return find_card(split.card)
    return card_from_manifest(split.frame, name="unnamed-cohort", title="Cohort without a data card")


def is_synthetic(card: DataCard) -> bool:
    """Whether the images were drawn, not photographed."""
    return card.name in SYNTHETIC


def positive_means(card: DataCard) -> str:
    """What a positive call stands for, in the card's words."""
    return card.labels.finding or card.labels.classes.get(CLASSES[1], "what its labels call positive").rstrip(".")
