"""The data card of a cohort, by name or from a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_cards.drafts import is_edited, render_draft, update_draft
from data_cards.library import card_for, card_from_manifest
from data_cards.schema import UNKNOWN, DataCard, read_card
from msht.cohort.manifest import CLASSES, counts_of
from msht.errors import InvalidInput
from msht.files import write_text

if TYPE_CHECKING:
    import pandas as pd

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


def other_cohort(card: str, frame: pd.DataFrame) -> str | None:
    """Say that a card counts otherwise than a manifest, and is perhaps of another cohort; None where it agrees.

    Raises:
        InvalidInput: as `find_card`.
    """
    found, counts = find_card(card), counts_of(frame)
    if found.name in SYNTHETIC:
        return None  # drawn in any number
    for what, said in (("images", found.images_in_all), ("patients", found.patients)):
        if isinstance(said, int) and what in counts and counts[what] != said:
            return (
                f"The card '{found.name}' counts {said:,} {what}, this cohort has {counts[what]:,}: is it the card of "
                "these images? Reports print it."
            )
    return None


def is_synthetic(card: DataCard) -> bool:
    """Whether the images were drawn, not photographed."""
    return card.name in SYNTHETIC


def positive_means(card: DataCard) -> str:
    """What a positive call stands for, in the card's words."""
    return card.labels.finding or card.labels.classes.get(CLASSES[1], "what its labels call positive").rstrip(".")


@dataclass(frozen=True)
class WrittenCard:
    """A card that was written.

    Attributes:
        card: as it is read back.
        images_in_all: counted.
        unanswered: questions that a person has to answer.
        kept: of an update: answers that were kept although the manifest says something else, a sentence each.
        replaced: of an update: values of the former card that are not in this one.
    """

    card: DataCard
    images_in_all: int
    unanswered: int
    kept: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()


def write_card(
    manifest_file: Path,
    *,
    out: Path,
    audit: Path | None = None,
    split: Path | None = None,
    name: str | None = None,
    title: str | None = None,
    images: Path | None = None,
    update: bool = False,
    overwrite: bool = False,
) -> WrittenCard:
    """Write a card for a cohort: counted from its manifest, with a question for everything else.

    Args:
        manifest_file: the cohort.
        out: the card, ending in .md.
        audit: folder of the audit of this manifest.
        split: a split of this manifest; images are counted by role.
        name: short name; None: the one that an updated card has, else made from the file's.
        title: for people; None: the one that an updated card has, else the name.
        images: folder of the images, if they moved.
        update: count anew and keep the answers and comments that the card at `out` holds; a name or title given
            here replaces them.
        overwrite: replace the card at `out` although it was edited.

    Raises:
        InvalidInput: if audit or split belong to another manifest, an image changed since the audit, or the card
            was edited.
    """
    from msht.cohort.manifest import read_manifest
    from msht.cohort.splits import read_split

    if out.suffix != ".md":
        raise InvalidInput(f"{out} should be a card but ends in '{out.suffix}'.", "Use .md.")
    if out.exists() and not update and not overwrite and is_edited(_text_of(out)):
        raise InvalidInput(
            f"{out} exists and was edited.",
            "Give --update to count anew and keep its answers, --overwrite to start anew, or another name.",
        )
    manifest = read_manifest(manifest_file, images=images)
    frame = manifest.frame
    if split is not None:
        divided = read_split(split, check_images=False)
        if divided.manifest_digest != manifest.digest:
            raise InvalidInput(f"The split {split} is of another manifest than {manifest_file}.", "Split this one.")
        frame = divided.frame
    audit_digest = None
    if audit is not None:
        from pipelines.audit import read_audit
        from pipelines.cohort_checks import check_audited

        audited = read_audit(audit)
        if audited.manifest_digest != manifest.digest:
            raise InvalidInput(f"The audit in {audit} is of another manifest than {manifest_file}.", "Audit this one.")
        check_audited(audit, manifest)
        audit_digest = audited.digest
    card = card_from_manifest(
        frame,
        name=_checked_name(name or _plain_name(out.stem)),
        title=title,
        labels_unit=UNKNOWN,
        audit_digest=audit_digest,
    )
    if not (update and out.exists()):
        text, unanswered = render_draft(card)
        write_text(out, text)
        return WrittenCard(read_card(out), len(frame), unanswered)
    settled = [key for key, value in (("name", name), ("title", title)) if value is not None]
    draft = update_draft(card, _text_of(out), where=str(out), settled=settled)
    write_text(out, draft.text)
    return WrittenCard(read_card(out), len(frame), draft.unanswered, draft.kept, draft.replaced)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{path} exists and cannot be read ({error}).", "Mend it, or give --out another name."
        ) from error


def _plain_name(stem: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-") or "cohort"


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise InvalidInput(
            f"--name {name} is no name of a card.", "Use lower case letters, digits and hyphens, e.g. my-hospital-2024."
        )
    return name
