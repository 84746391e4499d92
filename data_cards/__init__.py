"""What is known about each data set."""

from data_cards.drafts import is_edited, keep_answers, render_draft, update_draft
from data_cards.library import card_for, card_from_manifest, list_cards
from data_cards.schema import UNKNOWN, DataCard, Labels, Source, parse_card, read_card, render_card

__all__ = [
    "UNKNOWN",
    "DataCard",
    "Labels",
    "Source",
    "card_for",
    "card_from_manifest",
    "is_edited",
    "keep_answers",
    "list_cards",
    "parse_card",
    "read_card",
    "render_card",
    "render_draft",
    "update_draft",
]
