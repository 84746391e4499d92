"""The cards that come with the program, and a card made from a cohort of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from data_cards.schema import UNKNOWN, Count, DataCard, Labels, Source, read_card
from msht.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

FOLDER = Path(__file__).parent / "cards"
COUNTED_SECTIONS = {"## Groups": "- distinct `", "## Images by site": "|"}
"""Sections of a counted card's text, and how each of their lines begins."""


def list_cards() -> list[str]:
    """Names of the cards that come with the program, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.md"))


def card_for(name: str) -> DataCard:
    """The card of that name.

    Raises:
        InvalidInput: if there is none.
    """
    if name not in list_cards():
        raise InvalidInput(
            f"There is no data card '{name}'; there are {', '.join(list_cards())}.", "Name one of these."
        )
    return read_card(FOLDER / f"{name}.md")


def card_from_manifest(
    manifest: pd.DataFrame,
    *,
    name: str,
    title: str | None = None,
    origin: str = UNKNOWN,
    citation: str = UNKNOWN,
    url: str = UNKNOWN,
    terms: str = UNKNOWN,
    consent: str = UNKNOWN,
    privacy: str = UNKNOWN,
    device: str = UNKNOWN,
    classes: dict[str, str] | None = None,
    labels_given_by: str = UNKNOWN,
    labels_unit: str = "image",
    confounders: tuple[str, ...] = (),
    audit_digest: str | None = None,
    intended_uses: tuple[str, ...] = (UNKNOWN,),
    unsuitable_uses: tuple[str, ...] = ("Diagnosis.",),
) -> DataCard:
    """Make a card by counting a manifest; what it does not hold stays `unknown` unless given.

    Args:
        manifest: a row per image; `label` is needed, `patient_id`, `case_id`, `site`, `stain`,
            `magnification` and `role` are used where they are.
        name: short name in lower case with hyphens.
        title: for people; the name unless given.
        origin: who made the images, where.
        citation: of the data set.
        url: of the data set.
        terms: under which it may be used.
        consent: of the patients.
        privacy: what was done to protect them.
        device: microscope and camera.
        classes: meaning of each label.
        labels_given_by: who gave the labels.
        labels_unit: what a label belongs to.
        confounders: what could stand in for the label, besides what is found here.
        audit_digest: SHA-256 of the audit.
        intended_uses: what it is for.
        unsuitable_uses: what it is not for.

    Raises:
        InvalidInput: if the manifest is empty or has no labels.
    """
    if "label" not in manifest.columns or manifest.empty or manifest["label"].isna().any():
        raise InvalidInput(
            f"No data card can be made for '{name}': the manifest has no rows, or rows without a label.",
            "Give a manifest in which every row has a label.",
        )
    labels = [str(label) for label in sorted(manifest["label"].astype(str).unique())]
    roles = manifest["role"].astype(str) if "role" in manifest.columns else None
    groups = {"all": manifest} if roles is None else {str(r): part for r, part in manifest.groupby(roles)}
    images: dict[str, dict[str, Count]] = {
        role: {label: int((part["label"].astype(str) == label).sum()) for label in labels}
        for role, part in groups.items()
    }
    meanings = classes or {}
    return DataCard(
        name=name,
        title=title or name,
        source=Source(origin=origin, citation=citation, url=url),
        terms=terms,
        redistribution="unknown",
        consent=consent,
        privacy=privacy,
        stain=_values(manifest, "stain"),
        device=device,
        magnification=_values(manifest, "magnification"),
        labels=Labels(
            classes={label: meanings.get(label, UNKNOWN) for label in labels},
            given_by=labels_given_by,
            unit=labels_unit,
        ),
        patients=_distinct(manifest, "patient_id"),
        images=images,
        images_in_all=len(manifest),
        confounders=(*confounders, *(x for c in ("site", "stain", "magnification") for x in _one_sided(manifest, c))),
        audit_digest=audit_digest,
        intended_uses=intended_uses,
        unsuitable_uses=unsuitable_uses,
        body=_tables(manifest, labels),
    )


def _values(manifest: pd.DataFrame, column: str) -> str:
    if column not in manifest.columns:
        return UNKNOWN
    found = sorted({str(value).strip() for value in manifest[column].dropna()} - {""})
    return ", ".join(found) or UNKNOWN


def _distinct(manifest: pd.DataFrame, column: str) -> Count:
    if column not in manifest.columns or manifest[column].isna().any():
        return UNKNOWN
    return int(manifest[column].nunique())


def _one_sided(manifest: pd.DataFrame, column: str) -> tuple[str, ...]:
    """Values of a column under which only one label occurs, where another occurs elsewhere."""
    if column not in manifest.columns or manifest["label"].nunique() < 2:
        return ()
    kinds = manifest.groupby(column)["label"].agg(["nunique", "first"])
    return tuple(
        f"Every image of {column} {value} is {row['first']}." for value, row in kinds.iterrows() if row["nunique"] == 1
    )


def _tables(manifest: pd.DataFrame, labels: list[str]) -> str:
    """Counts by site and of groups, as Markdown."""
    parts = []
    groups = [(c, _distinct(manifest, c)) for c in ("patient_id", "case_id", "slide_id")]
    lines = [f"- distinct `{column}`: {count}" for column, count in groups if column in manifest.columns]
    lines += [
        f"- distinct `{column}` with {in_table(label)} images: "
        f"{manifest.loc[manifest['label'] == label, column].nunique()}"
        for column, count in groups
        if count != UNKNOWN
        for label in labels
    ]
    if lines:
        parts.append("## Groups\n\n" + "\n".join(lines))
    if "site" in manifest.columns:
        head = f"| site | {' | '.join(in_table(label) for label in labels)} |\n|---|{'---|' * len(labels)}"
        rows = [
            f"| {in_table(str(site))} | "
            + " | ".join(str(int((part["label"].astype(str) == x).sum())) for x in labels)
            + " |"
            for site, part in manifest.groupby("site")
        ]
        parts.append("## Images by site\n\n" + head + "\n" + "\n".join(rows))
    return "\n\n".join(parts)


def in_table(name: str) -> str:
    """A name as it stands in one cell of a Markdown table: no `|` that ends the cell, no line break."""
    return one_line(name).replace("\\", "\\\\").replace("|", "\\|")


def one_line(words: str) -> str:
    """Words with one space for every run of spaces, line breaks and other signs that cannot be printed."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in words).split())
