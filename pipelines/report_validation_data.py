"""What the validation report says about its data: the card, the counts."""

from __future__ import annotations

from typing import Any

import pandas as pd

from data_cards.schema import DataCard
from msht.cohort.manifest import counts_of
from msht.cohort.splits import ROLES, Split
from reports.parts import Fact
from reports.validation import FlowRow


def data_source(card: DataCard, split: Split) -> tuple[Fact, ...]:
    """Where the data come from, as far as the card says."""
    return (
        Fact(name="Origin", value=_plain(card.source.origin)),
        Fact(name="Citation", value=_plain(card.source.citation)),
        *(
            Fact(name=name.capitalize(), value=_plain(str(getattr(card, name))))
            for name in ("terms", "consent", "privacy", "stain", "device", "magnification")
        ),
        Fact(name="Test role", value=split.test_rule),
    )


def _plain(text: str) -> str:
    """A card's text without the marks of code, which a card is written with and a page is not."""
    return text.replace("`", "")


def flow(split: Split, evaluation: dict[str, Any]) -> tuple[FlowRow, ...]:
    """Counts by role and fold."""
    rows = []
    for role in ROLES:
        rows.append(_flow_row(split.frame[split.frame["role"] == role], role, None))
        if role == "development":
            rows += [_flow_row(split.frame[split.frame["fold"] == n], role, n) for n in range(1, split.folds + 1)]
    refused = evaluation["not_evaluable_images"]
    if refused:
        rows[-1] = rows[-1].model_copy(update={"note": f"{refused} not evaluable by the quality gate"})
    return tuple(rows)


def _flow_row(frame: pd.DataFrame, role: str, fold: int | None) -> FlowRow:
    counts = counts_of(frame)
    return FlowRow(
        role=role,
        fold=fold,
        images=counts["images"],
        negative=counts["negative"],
        positive=counts["positive"],
        cases=counts.get("cases"),
        patients=counts.get("patients"),
    )


def card_in_words(card: DataCard) -> str:
    """The card as paragraphs and lists, as the report prints it."""
    lines = [f"Card: {card.name}", ""]
    for title, items in (
        ("Known confounders", card.confounders),
        ("Intended uses", card.intended_uses),
        ("Unsuitable uses", card.unsuitable_uses),
    ):
        lines += [f"# {title}", *(f"- {item}" for item in items), ""]
    return _plain("\n".join([*lines, card.body]))
