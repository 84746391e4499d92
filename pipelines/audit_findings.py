"""What the audit finds, with a severity and a way to mend each: rules on measurements, no reading of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from msht.cohort.alike import alike_in_words, ids_alike
from msht.images.quality import Quality, QualityGate
from pipelines.audit_copies import Pair
from pipelines.audit_measure import QUALITY
from pipelines.audit_shortcut import BOUND, MEANS, Baseline

MUST, LOOK, NOTE = "must be mended", "look at it", "note"
SEVERITIES = (MUST, LOOK, NOTE)
"""Worst first."""

CONFOUNDED_FROM = 0.3
"""Cramér's V between site and label from which they are called confounded: Cohen's medium effect for two classes
(Cohen (1988), Statistical Power Analysis, chapter 7)."""

FEW_PATIENTS = 10
"""Patients with images of a class below which a patient-wise estimate hardly means anything."""

KINDS: dict[str, tuple[str, str]] = {
    "missing file": (MUST, "Copy the file to its place, or take the row out of the manifest."),
    "cannot be opened": (MUST, "Check the rights of the file."),
    "zero bytes": (MUST, "Copy the file again from where it was made."),
    "truncated": (MUST, "Copy the file again; if it is cut off there too, take it out."),
    "damaged": (MUST, "Copy the file again; if it is broken there too, take it out."),
    "not an image": (MUST, "Take it out, or export it again as PNG or JPEG."),
    "wrong ending": (MUST, "Find out where the file comes from, then give it the ending of its format."),
    "decompression bomb": (MUST, "Crop or shrink it; whole slides are read by tiles instead."),
    "animated or paged": (MUST, "Export the frame that is meant as a single image."),
    "decoding takes too long": (MUST, "Export it again as a plain JPEG or PNG."),
    "crashes the decoder": (MUST, "Export it again; do not send it to others."),
    "not compared": (MUST, "Run the audit again: it compares what could not be read, once it can be."),
    "copy under two labels": (MUST, "Ask which label is right; keep one of the two."),
    "near-duplicate under two labels": (MUST, "Ask which label is right; keep one of the two."),
    "copy across patients": (MUST, "Find out whose image it is; keep one of the two."),
    "near-duplicate across patients": (MUST, "Find out whose image it is; keep one of the two."),
    "class without images": (MUST, "Add images of it, or map the labels again."),
    "copy": (LOOK, "Keep one, or split with --audit so that both stay on one side."),
    "near-duplicate": (LOOK, "Split with --audit, so that both stay on one side."),
    "blank": (LOOK, "Take it out, unless empty fields are meant to be there."),
    "unusual quality": (LOOK, "Look whether it can be evaluated: it stands apart from the others of this cohort."),
    "shortcut": (
        LOOK,
        "Hold out a site, use the strong colour augmentation, and report this figure beside the model's.",
    ),
    "site and label are confounded": (LOOK, "Add the missing classes at each site, or hold out a site in the split."),
    "few patients": (LOOK, "Add patients; intervals by patient will be wide."),
    "ids that look alike": (LOOK, "If they are one, write the id in one way; a split would part the patient."),
    "no patient is known": (LOOK, "Import again with --patient-column or --patient-from."),
    "CMYK": (NOTE, "It is converted to RGB; a photograph should not be CMYK: ask who exported it."),
    "16 bits": (NOTE, "It is scaled to 8 bits by its full range; a dark camera image stays dark."),
    "alpha": (NOTE, "Transparency is laid over white."),
    "palette": (NOTE, "Its few colours are expanded; export it again without a palette if you can."),
    "grey": (NOTE, "Grey is repeated in three channels; a stain cannot be seen in it."),
    "EXIF-rotated": (NOTE, "It is turned upright; programs that ignore EXIF show it turned."),
    "low JPEG quality": (NOTE, "Fine chromatin is lost below this; use the original if there is one."),
}
"""Every kind of finding: severity, and what to do."""

LOW_JPEG_QUALITY = 50
"""JPEG quality below which a note is made: quantisation steps are then those of T.81's tables or coarser, which
its annex K calls good, not nearly indistinguishable from the original."""


UNUSUAL_SPREADS = 5.0
"""Robust standard deviations from a small cohort's median beyond which focus, exposure or stained share are unusual."""

LEAST_FOREGROUND = 0.001
"""Learned limit of the stained share below which it tells nothing."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found."""

    kind: str
    """A key of `KINDS`."""
    words: str
    """What was found, with the value."""
    image: str = ""
    """The image; empty for the cohort as a whole."""
    other: str = ""
    """The other image of a pair."""
    measure: float = 0.0
    """What findings of one kind are ordered by, largest first."""

    @property
    def severity(self) -> str:
        """How bad it is."""
        return KINDS[self.kind][0]

    @property
    def mend(self) -> str:
        """What to do."""
        return KINDS[self.kind][1]


def all_findings(
    table: pd.DataFrame,
    pairs: Sequence[Pair],
    baselines: Sequence[Baseline],
    classes: Sequence[str],
    group_column: str | None,
    unread: Mapping[str, int],
) -> list[Finding]:
    """Apply every rule; worst first, then by kind, then by how far each stands out.

    Args:
        table: a row per image of the manifest, with its measurements.
        pairs: copies, equal and near.
        baselines: the shortcuts.
        classes: in order.
        group_column: what a patient is told by.
        unread: images that could not be read when they were to be compared, with the number of comparisons.
    """
    found = [
        *_unreadable(table),
        *_not_compared(unread),
        *_copies(table, pairs, group_column),
        *_ids(table),
        *_balance(table, classes, group_column),
        *_confounding(table),
        *_shortcuts(baselines),
        *_quality(table),
        *_kinds_of_file(table),
    ]
    order = list(KINDS)
    return sorted(
        found, key=lambda f: (SEVERITIES.index(f.severity), order.index(f.kind), -f.measure, f.image, f.other)
    )


def findings_table(findings: Sequence[Finding], table: pd.DataFrame) -> pd.DataFrame:
    """Findings as a table, with label and patient of both images."""
    columns = ["label", *(c for c in ("patient_id", "case_id", "slide_id", "site") if c in table)]
    facts = table.set_index("image")[columns].astype("string").to_dict("index")
    rows = []
    for finding in findings:
        row = {"severity": finding.severity, "kind": finding.kind, "image": finding.image, "other": finding.other}
        for column in columns:
            row[column] = facts.get(finding.image, {}).get(column, "")
            row[f"other_{column}"] = facts.get(finding.other, {}).get(column, "")
        rows.append(row | {"words": finding.words, "mend": finding.mend})
    names = [
        "severity",
        "kind",
        "image",
        "other",
        *(f"{p}{c}" for c in columns for p in ("", "other_")),
        "words",
        "mend",
    ]
    return pd.DataFrame(rows, columns=names)


def _unreadable(table: pd.DataFrame) -> Iterator[Finding]:
    for row in table[table["trouble"].notna()].to_dict("records"):
        yield Finding(str(row["trouble"]), str(row["trouble_words"]), str(row["image"]))


def _not_compared(unread: Mapping[str, int]) -> Iterator[Finding]:
    for image, number in unread.items():
        words = (
            f"It could be read when it was measured, but not when it was to be compared with {number} "
            f"look-alike{'s' * (number != 1)}: nobody knows whether it is a copy."
        )
        yield Finding("not compared", words, image, measure=float(number))


def _copies(table: pd.DataFrame, pairs: Sequence[Pair], group_column: str | None) -> Iterator[Finding]:
    facts = table.set_index("image")
    labels = facts["label"].to_dict()
    groups = facts[group_column].to_dict() if group_column else {}
    for pair in pairs:
        stem = "copy" if pair.kind == "exact" else "near-duplicate"
        like = (
            "The same file is there twice"
            if pair.kind == "exact"
            else f"One picture is there twice (fine detail correlates at {pair.correlation:.2f}, "
            f"{pair.overlap:.0%} of it seen in both)"
        )
        one, two = labels[pair.first], labels[pair.second]
        across = bool(groups) and groups[pair.first] != groups[pair.second]
        at = (pair.first, pair.second, pair.correlation)
        if one != two:
            yield Finding(f"{stem} under two labels", f"{like}: once {one}, once {two}.", *at)
        if across:
            yield Finding(f"{stem} across patients", f"{like}, in two patients.", *at)
        if one == two and not across:
            yield Finding(stem, f"{like}.", *at)


def _ids(table: pd.DataFrame) -> Iterator[Finding]:
    for column, sets in ids_alike(table).items():
        for one in sets:
            yield Finding("ids that look alike", alike_in_words(column, [one]))


def _balance(table: pd.DataFrame, classes: Sequence[str], group_column: str | None) -> Iterator[Finding]:
    for name in classes:
        rows = table[table["label"] == name]
        if rows.empty:
            yield Finding("class without images", f"The cohort has no image of class {name}.")
        elif group_column and rows[group_column].nunique() < FEW_PATIENTS:
            number = rows[group_column].nunique()
            word = group_column.removesuffix("_id")
            yield Finding(
                "few patients", f"Class {name} has images of {number} {word}{'s' if number != 1 else ''} only."
            )
    if len(classes) == 1:
        yield Finding("class without images", f"The cohort has one class only, {classes[0]}.")
    if group_column is None:
        yield Finding(
            "no patient is known", "The manifest has no patient, case or slide: no split can keep them apart."
        )


def _confounding(table: pd.DataFrame) -> Iterator[Finding]:
    strength = site_association(table)
    if strength is None or strength < CONFOUNDED_FROM:
        return
    counts = pd.crosstab(table["site"], table["label"])
    single = [str(site) for site, row in counts.iterrows() if (row > 0).sum() == 1]
    words = f"Cramér's V of site and label is {strength:.2f} (bound {CONFOUNDED_FROM})"
    if single:
        words += f"; {len(single)} of {len(counts)} sites have one class only"
    yield Finding("site and label are confounded", f"{words}.")


def site_association(table: pd.DataFrame) -> float | None:
    """Cramér's V of site and label over images; None where there are not two of each."""
    if "site" not in table or table["site"].nunique() < 2 or table["label"].nunique() < 2:
        return None
    from scipy.stats.contingency import association

    return float(association(pd.crosstab(table["site"], table["label"]).to_numpy(), method="cramer"))


def _shortcuts(baselines: Sequence[Baseline]) -> Iterator[Finding]:
    for baseline in baselines:
        if baseline.exceeds:
            assert baseline.auroc is not None
            words = (
                f"{baseline.name.capitalize()} alone tells {baseline.label} from the rest: AUROC {baseline.auroc:.2f} "
                f"(95 % CI {baseline.low:.2f} to {baseline.high:.2f}, bound {BOUND:.2f}). {MEANS[baseline.name]}"
            )
            yield Finding("shortcut", words, measure=baseline.auroc)


def _quality(table: pd.DataFrame) -> Iterator[Finding]:
    readable = table[table["trouble"].isna()]
    for image in readable.loc[readable["blank"].astype(bool), "image"]:
        yield Finding("blank", "The image shows no structure.", str(image))
    shown = readable[~readable["blank"].astype(bool)]
    if len(shown) < 2:
        return
    qualities = [
        Quality(**{name: float(row[name]) for name in QUALITY}) for row in shown[list(QUALITY)].to_dict("records")
    ]
    gate = QualityGate.learn(qualities, spreads=UNUSUAL_SPREADS)
    # Where even usual fields hold hardly any stain, a grey one is a finding of its own and none of quality.
    lowest = gate.limits["foreground"].low
    if lowest is not None and lowest < LEAST_FOREGROUND:
        limits = {name: limit for name, limit in gate.limits.items() if name != "foreground"}
        gate = gate.model_copy(update={"limits": limits})
    medians, spreads = shown[list(QUALITY)].median(), shown[list(QUALITY)].std().replace(0, 1)
    for image, quality in zip(shown["image"], qualities, strict=True):
        reasons = gate.judge(quality)
        if reasons:
            away = max(abs(getattr(quality, name) - medians[name]) / spreads[name] for name in QUALITY)
            yield Finding("unusual quality", "; ".join(reasons) + ".", str(image), measure=float(away))


def _kinds_of_file(table: pd.DataFrame) -> Iterator[Finding]:
    readable = table[table["trouble"].isna()]
    for row in readable.to_dict("records"):
        yield from (Finding(kind, words, str(row["image"])) for kind, words in _kinds_of_one(row))


def _kinds_of_one(row: dict[Any, Any]) -> Iterator[tuple[str, str]]:
    mode, done = str(row["mode"]), str(row["conversions"] or "")
    if mode == "CMYK":
        yield "CMYK", "The pixels are stored as CMYK."
    if "bits scaled" in done:
        yield "16 bits", f"{done.split('; ')[0].capitalize()}."
    if "transparen" in done:
        yield "alpha", "The image has transparency."
    if mode in ("P", "PA"):
        yield "palette", "The colours are those of a palette."
    if mode in ("L", "LA", "1", "La") or mode.startswith("I"):
        yield "grey", f"The image is grey (mode {mode})."
    if int(row["orientation"]) != 1:
        yield "EXIF-rotated", f"EXIF orientation {int(row['orientation'])}."
    quality = row.get("jpeg_quality")
    if quality is not None and not np.isnan(quality) and quality < LOW_JPEG_QUALITY:
        yield "low JPEG quality", f"JPEG quality {int(quality)}."
