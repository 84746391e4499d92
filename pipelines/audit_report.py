"""The audit's PDF: from what was found to what the page shows, with small pictures of what to look at."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from msht.cohort.duplicates import LEAST_SIMILARITY
from msht.cohort.manifest import Manifest, counts_in_words
from msht.cohort.same_picture import LEAST_OVERLAP, SAME_FROM
from msht.errors import InvalidInput
from msht.files import inside
from msht.images.reading import read_image
from pipelines.audit_findings import KINDS, LOOK, MUST, Finding
from pipelines.audit_shortcut import BOUND
from pipelines.audit_summary import MEASURED, STAIN
from reports import audit as page
from reports.fonts import has_chinese_font, settable_characters
from reports.parts import Fact
from reports.typesetting import strings_of

_EDGE = 300
_BINS = 24
_UNUSUAL = ("blank", "unusual quality")


def report_audit(
    out: Path,
    result: dict[str, Any],
    table: pd.DataFrame,
    findings: Sequence[Finding],
    manifest: Manifest,
    *,
    created: datetime,
) -> Path:
    """Write the PDF of an audit.

    Args:
        out: the PDF.
        result: what `audit.json` holds.
        table: a row per image, with its measurements.
        findings: all of them, worst first.
        manifest: of the cohort.
        created: time of the report, with its zone.
    """
    facts = table.set_index("image")
    copies = _one_per_pair(f for f in findings if f.other)
    shown = min(page.MOST_PAIRS, max(page.FEW_PAIRS, sum(f.severity == MUST for f in copies)))
    unusual = [f for f in findings if f.kind in _UNUSUAL]
    damaged = [f for f in findings if f.image and f.severity == MUST and not f.other and f.kind != "not compared"]
    report = page.AuditReport(
        report_id=f"A-{manifest.digest[:6]}-{created:%Y%m%d-%H%M%S}",
        created=created,
        cohort=_settable(manifest.root.name),
        verdict=verdict(result),
        summary=tuple(_settable(words) for words in summary(result)),
        kinds=tuple(
            page.KindRow(severity=row["severity"], kind=row["kind"], number=row["count"], mend=row["mend"])
            for row in result["findings"]
        ),
        damaged=tuple(page.Damaged(name=_settable(f.image), kind=f.kind) for f in damaged[: page.MOST_NAMES]),
        damaged_in_all=len(damaged),
        pairs=tuple(
            page.ShownPair(
                first=_shown(f.image, _who(facts, f.image), manifest.root),
                second=_shown(f.other, _who(facts, f.other), manifest.root),
                words=_settable(f"{f.kind[0].upper()}{f.kind[1:]}. {f.words}"),
            )
            for f in copies[:shown]
        ),
        pairs_in_all=len(copies),
        unusual=tuple(
            _shown(f.image, f"{_who(facts, f.image)}; {f.words}", manifest.root) for f in unusual[: page.MOST_PICTURES]
        ),
        unusual_in_all=len(unusual),
        balance=_balance(result["balance"]),
        histograms=_histograms(table),
        shortcuts=_shortcuts(result["shortcuts"]),
        bound=BOUND,
        stain_head=tuple(STAIN.values()),
        stains=_stains(result["stains"]),
        method=_method(result),
    )
    english = settable_characters()
    beyond = any(ord(character) not in english for _, text in strings_of(report) for character in text)
    return page.write_audit_report(report.model_copy(update={"chinese_names": beyond}), out)


def verdict(result: dict[str, Any]) -> str:
    """Whether the cohort can be trained on, in a sentence."""
    must, look = (result["by_severity"][severity] for severity in (MUST, LOOK))
    if must:
        return f"Not yet fit for training: {must:,} finding{'s' * (must != 1)} must be mended"
    if look:
        return f"Fit for training once {look:,} finding{'s' * (look != 1)} have been looked at"
    return "Fit for training: nothing was found that must be mended"


def summary(result: dict[str, Any]) -> list[str]:
    """What was found, in a few sentences."""
    counts = result["counts"]
    sentences = [
        f"{result['images']:,} images ("
        + counts_in_words({name: n for name, n in counts.items() if name != "images"})
        + f"); {result['readable']:,} could be decoded whole."
    ]
    exact = sum(pair["kind"] == "exact" for pair in result["pairs"])
    near = len(result["pairs"]) - exact
    sentences.append(
        f"Pairs of equal files: {exact:,}. Pairs of files that show one picture: {near:,}. Together they make "
        f"{result['groups_of_copies']:,} set{'s' * (result['groups_of_copies'] != 1)} of copies."
        if result["pairs"]
        else "No file is there twice, and no picture was found in two files."
    )
    if result["search"]["method"] == "approximate":
        sentences.append(result["search"]["words"])
    unread = result["by_kind"].get("not compared", 0)
    if unread:
        sentences.append(f"Images that could not be read when they were to be compared with look-alikes: {unread:,}.")
    crossing = sum(n for kind, n in result["by_kind"].items() if "across patients" in kind)
    labels = sum(n for kind, n in result["by_kind"].items() if "under two labels" in kind)
    if crossing:
        sentences.append(
            f"Pairs that belong to two patients: {crossing:,}. A split by patient would leak through them."
        )
    if labels:
        sentences.append(f"Pairs that carry two labels: {labels:,}. One of each is wrong.")
    exceeding = [row for row in result["shortcuts"] if row["exceeds"]]
    estimated = [row for row in result["shortcuts"] if row["auroc"] is not None]
    if exceeding:
        sentences.append(
            "Predicts the label without any cell: "
            + "; ".join(f"{row['name']} (AUROC {row['auroc']:.2f})" for row in exceeding)
            + ". A model must be clearly better than that, and hold at another site."
        )
    elif estimated:
        sentences.append(f"No shortcut was found: no baseline's interval lies above AUROC {BOUND:.2f}.")
    else:
        sentences.append("Shortcuts could not be estimated: too few images or patients.")
    return sentences


def _one_per_pair(findings: Any) -> list[Finding]:
    """A pair may be wrong in two ways; it is shown once, with the worst."""
    seen: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        seen.setdefault((finding.image, finding.other), finding)
    return list(seen.values())


def _who(facts: pd.DataFrame, image: str) -> str:
    row = facts.loc[image]
    ids = [str(row[c]) for c in ("patient_id", "case_id", "slide_id") if c in facts and pd.notna(row[c])]
    return ", ".join([str(row["label"]), *ids[:1]])


def _shown(image: str, words: str, root: Path) -> page.Shown:
    try:
        picture = Image.fromarray(read_image(inside(root, image)).pixels)
    except InvalidInput:
        jpeg = b""
    else:
        picture.thumbnail((_EDGE, _EDGE))
        stream = io.BytesIO()
        picture.save(stream, format="JPEG", quality=85)
        jpeg = stream.getvalue()
    return page.Shown(name=_settable(image), words=_settable(words), jpeg=jpeg)


def _settable(text: str) -> str:
    """Text with what no font can set written as its code: a file may be called anything."""
    known = settable_characters("zh" if has_chinese_font() else "en")
    return "".join(
        c if ord(c) in known and unicodedata.category(c) not in ("Cc", "Cs", "Co", "Cf") else f"<U+{ord(c):04X}>"
        for c in text
    )


def _balance(balance: dict[str, Any]) -> page.Table:
    classes = list(balance["all"])
    rows = [("Images", *(f"{balance['all'][c]:,}" for c in classes))]
    if "by_group" in balance:
        name = f"{balance['group'].removesuffix('_id').capitalize()}s"
        groups = balance["by_group"].values()
        rows.append((name, *(f"{sum(g[c] > 0 for g in groups):,}" for c in classes)))
        rows.append((f"Most images of one {name[:-1].lower()}", *(f"{max(g[c] for g in groups):,}" for c in classes)))
    sites = list(balance.get("by_site", {}).items())
    rows += [(f"Site {_settable(s)}", *(f"{counts[c]:,}" for c in classes)) for s, counts in sites[: page.MOST_GROUPS]]
    note = (
        f"The first {page.MOST_GROUPS} of {len(sites)} sites; audit.json has all."
        if len(sites) > page.MOST_GROUPS
        else ""
    )
    return page.Table(head=("", *map(_settable, classes)), rows=tuple(rows), note=note)


def _histograms(table: pd.DataFrame) -> tuple[page.Histogram, ...]:
    drawn = []
    readable = table[table["trouble"].isna()]
    for column, name in MEASURED.items():
        values = pd.to_numeric(readable[column], errors="coerce").dropna().to_numpy(dtype=float)
        if not len(values) or np.ptp(values) == 0:
            continue
        # The outermost thousandths would squeeze everything else into one bin.
        low, high = np.quantile(values, [0.001, 0.999])
        counts, edges = np.histogram(np.clip(values, low, high), bins=_BINS, range=(low, max(high, low + 1e-9)))
        drawn.append(
            page.Histogram(
                name=name,
                edges=tuple(float(edge) for edge in edges),
                counts=tuple(int(count) for count in counts),
                median=float(np.median(values)),
            )
        )
    return tuple(drawn)


def _shortcuts(rows: Sequence[dict[str, Any]]) -> tuple[page.ShortcutRow, ...]:
    several = len({row["label"] for row in rows}) > 1
    return tuple(
        page.ShortcutRow(
            name=_settable(row["name"].capitalize() + (f", {row['label']}" if several else "")),
            auroc=row["auroc"],
            low=row["low"],
            high=row["high"],
            means=row["means"] if row["auroc"] is not None else f"{row['method'].capitalize()}.",
        )
        for row in rows
    )


def _stains(stains: dict[str, Any]) -> tuple[page.StainRow, ...]:
    def cell(facts: dict[str, Any], measure: str) -> str:
        mean, sd = facts[f"{measure}_mean"], facts[f"{measure}_sd"]
        return "–" if mean is None else f"{mean:.1f} ({sd:.1f})"

    return tuple(
        page.StainRow(
            name=_settable(name if by == "label" else f"Site {name}"),
            images=int(facts["images"]),
            values=tuple(cell(facts, measure) for measure in STAIN),
        )
        for by in stains
        for name, facts in list(stains[by].items())[: page.MOST_GROUPS]
    )


def _method(result: dict[str, Any]) -> tuple[Fact, ...]:
    return (
        Fact(
            name="Decoding",
            value="Every image whole, upright, in sRGB; formats, limits and words as in docs/images.md.",
        ),
        Fact(name="Equal files", value="SHA-256 of the bytes."),
        Fact(
            name="Near-duplicates",
            value=f"PDQ fingerprints of six views from a cosine of {LEAST_SIMILARITY:.2f} in any flip or quarter turn, "
            f"then fine detail after registration: correlation from {SAME_FROM:.2f}, overlap from {LEAST_OVERLAP:.0%}. "
            f"Blank images are not compared. {result['search']['words']}",
        ),
        Fact(
            name="Quality",
            value="Focus, exposure and stained share against this cohort's own quantiles, no limit from elsewhere.",
        ),
        Fact(
            name="Shortcuts",
            value=f"Logistic models, five folds by patient; intervals resample patients; a finding from {BOUND:.2f} at "
            "the lower end.",
        ),
        Fact(name="Manifest", value=f"SHA-256 {result['manifest_digest']}"),
        Fact(name="Software", value=f"{result['software']}; {len(KINDS)} kinds of finding are looked for"),
    )
