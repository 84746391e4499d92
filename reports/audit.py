"""The audit report: can this cohort be trained on, and what must be mended first."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import Field, model_validator

from reports import wording
from reports.parts import Fact, Moment, Part
from reports.typesetting import typeset, write_pdf

FEW_PAIRS = 12
"""Pairs of copies that are shown where none must be mended; the table on disk has all."""
MOST_PAIRS = 48
"""Pairs that are shown where they must be mended."""
MOST_PICTURES = 12
"""Unusual images that are shown."""
MOST_NAMES = 24
"""Unreadable files that are named."""
MOST_GROUPS = 14
"""Rows of a table of sites."""


class Shown(Part):
    """A picture with its name."""

    name: str
    """The image's path in the manifest."""

    words: str
    """Label, patient, and what there is to see."""

    jpeg: bytes = b""
    """A small JPEG; empty where the image cannot be read."""


class ShownPair(Part):
    """Two images that are one picture."""

    first: Shown
    """The one."""

    second: Shown
    """The other."""

    words: str
    """What was found."""


class KindRow(Part):
    """How often something was found."""

    severity: str
    """Must be mended, look at it, or note."""

    kind: str
    """What was found."""

    number: int = Field(ge=1)
    """How often."""

    mend: str
    """What to do."""


class Damaged(Part):
    """A file that cannot be used."""

    name: str
    """Its path in the manifest."""

    kind: str
    """What is wrong."""


class Histogram(Part):
    """How a measurement is distributed."""

    name: str
    """With its unit."""

    edges: tuple[float, ...]
    """Of the bins."""

    counts: tuple[int, ...]
    """Images in each."""

    median: float
    """Over all images."""


class ShortcutRow(Part):
    """How well something that is no cell predicts the label."""

    name: str
    """What predicts, and which class where there are several."""

    auroc: float | None
    """Cross-validated by patient; None where it was not estimated."""

    low: float | None
    """Lower end of the 95 % interval."""

    high: float | None
    """Upper end."""

    means: str
    """What it measures, or why it was not estimated."""


class StainRow(Part):
    """The colour of one site or class."""

    name: str
    """Site or class."""

    images: int
    """Images that were measured."""

    values: tuple[str, ...]
    """Mean and SD of each measure, as text."""


class Table(Part):
    """A small table of text."""

    head: tuple[str, ...]
    """Headings."""

    rows: tuple[tuple[str, ...], ...]
    """Cells."""

    note: str = ""
    """What was left out."""


class AuditReport(Part):
    """All that an audit report says."""

    report_id: str
    """Identity of the report, printed on each page."""

    created: Moment
    """Time, with its zone."""

    cohort: str
    """Name of the cohort."""

    verdict: str
    """Can it be trained on: one sentence."""

    summary: tuple[str, ...]
    """What was found, in a few sentences."""

    kinds: tuple[KindRow, ...]
    """Every kind of finding, worst first."""

    damaged: tuple[Damaged, ...]
    """Files that cannot be used, the first `MOST_NAMES` of them."""

    damaged_in_all: int
    """How many there are."""

    pairs: tuple[ShownPair, ...]
    """Copies, worst first, the first `MOST_PAIRS` of them."""

    pairs_in_all: int
    """How many there are."""

    unusual: tuple[Shown, ...]
    """Blank and unusual images, the first `MOST_PICTURES` of them."""

    unusual_in_all: int
    """How many there are."""

    balance: Table
    """Images and patients of each class, in all and by site."""

    histograms: tuple[Histogram, ...]
    """What was measured."""

    shortcuts: tuple[ShortcutRow, ...]
    """The shortcut baseline."""

    bound: float
    """AUROC from which a shortcut is a finding."""

    stain_head: tuple[str, ...]
    """Measures of the stain tables."""

    stains: tuple[StainRow, ...]
    """By class, then by site."""

    method: tuple[Fact, ...]
    """How it was searched, with digests."""

    chinese_names: bool = False
    """Whether names of files, ids or classes are in Chinese, which needs a font of the machine."""

    @model_validator(mode="after")
    def _capped(self) -> AuditReport:
        for name, most in (("pairs", MOST_PAIRS), ("unusual", MOST_PICTURES), ("damaged", MOST_NAMES)):
            if len(getattr(self, name)) > most:
                raise ValueError(f"{name} holds more than {most}: thousands of findings must not make a thousand pages")
        return self


def write_audit_report(report: AuditReport, out: Path) -> Path:
    """Set the report as a PDF (PDF/A-2a, PDF/UA-1).

    Args:
        report: what the pages say.
        out: the PDF; an existing one is replaced, whole or not at all.

    Raises:
        InvalidInput: if a text holds a character that the fonts cannot set.
    """
    from reports import audit_figures

    files: dict[str, bytes] = {}
    data = _view(report, files)
    if report.histograms:
        files["distributions.svg"] = audit_figures.histograms_figure(report.histograms)
    if any(row.auroc is not None for row in report.shortcuts):
        files["shortcuts.svg"] = audit_figures.shortcuts_figure(report.shortcuts, report.bound)
    data["has"] = {name: f"{name}.svg" in files for name in ("distributions", "shortcuts")}
    pdf = typeset(
        "audit.typ",
        data,
        files=files,
        created=report.created,
        source=report,
        chinese_names=report.chinese_names,
    )
    return write_pdf(pdf, out)


def blank_tile() -> bytes:
    """A grey tile for an image that cannot be shown."""
    stream = io.BytesIO()
    Image.new("RGB", (96, 72), (221, 226, 229)).save(stream, format="JPEG")
    return stream.getvalue()


def _view(report: AuditReport, files: dict[str, bytes]) -> dict[str, Any]:
    def shown(picture: Shown, file: str) -> dict[str, str]:
        files[file] = picture.jpeg or blank_tile()
        return {
            "file": file,
            "name": wording.short_name(picture.name, 60),
            "words": wording.one_line(picture.words, 220),
            "alt": wording.one_line(f"{picture.name}: {picture.words}", 300),
        }

    return {
        "report_id": wording.identifier(report.report_id),
        "created": wording.moment(report.created),
        "cohort": wording.one_line(report.cohort, 100),
        "verdict": report.verdict,
        "summary": list(report.summary),
        "kinds": [[row.severity, row.kind, f"{row.number:,}", row.mend] for row in report.kinds],
        "damaged": [[wording.short_name(row.name, 90), row.kind] for row in report.damaged],
        "damaged_note": _left_out(len(report.damaged), report.damaged_in_all, "files"),
        "pairs": [
            {
                "first": shown(pair.first, f"pair-{number}-a.jpg"),
                "second": shown(pair.second, f"pair-{number}-b.jpg"),
                "words": wording.one_line(pair.words, 260),
            }
            for number, pair in enumerate(report.pairs)
        ],
        "pairs_note": _left_out(len(report.pairs), report.pairs_in_all, "pairs"),
        "unusual": [shown(picture, f"unusual-{number}.jpg") for number, picture in enumerate(report.unusual)],
        "unusual_note": _left_out(len(report.unusual), report.unusual_in_all, "images"),
        "balance": {"head": list(report.balance.head), "rows": [list(row) for row in report.balance.rows]},
        "balance_note": report.balance.note,
        "medians": "; ".join(f"{h.name}: median {h.median:.3g}" for h in report.histograms),
        "shortcuts": [
            [
                row.name,
                "–" if row.auroc is None else f"{row.auroc:.2f}",
                "–" if row.low is None or row.high is None else f"{row.low:.2f} to {row.high:.2f}",
                row.means,
            ]
            for row in report.shortcuts
        ],
        "bound": f"{report.bound:.2f}",
        "stain_head": list(report.stain_head),
        "stains": [[wording.one_line(row.name, 40), f"{row.images:,}", *row.values] for row in report.stains],
        "method": [[fact.name, fact.value] for fact in report.method],
    }


def _left_out(shown: int, in_all: int, what: str) -> str:
    return f"The first {shown} of {in_all:,} {what}; findings.csv names all." if in_all > shown else ""
