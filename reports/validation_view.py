"""From a `ValidationReport` to what `validation.typ` prints: text, tables as text, figures as SVG."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reports import figures, wording
from reports.checklist import checklist
from reports.validation_parts import BY, Drawn, number_of, text_of
from reports.validation_view_evidence import explanation_figures, optional_sections

if TYPE_CHECKING:
    from reports.parts import Estimate, Fact
    from reports.sections import (
        CalibrationResult,
        FlowRow,
        ResultRow,
    )
    from reports.validation import ValidationReport

_MEASURES = (
    ("Sensitivity", "sensitivity", True),
    ("Specificity", "specificity", True),
    ("PPV", "ppv", True),
    ("NPV", "npv", True),
    ("Accuracy", "accuracy", True),
    ("Balanced accuracy", "balanced_accuracy", True),
    ("F1", "f1", False),
    ("MCC", "mcc", False),
    ("AUROC", "auroc", False),
    ("AUPRC", "auprc", False),
)
"""(name as printed, field of a result row, whether in per cent)."""

_HEADING = re.compile(r"#{1,6}\s+(.+)")


def view(report: ValidationReport) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Give the data of `validation.typ` and the figures that it names."""
    drawn = Drawn()
    data = {
        "report_id": wording.identifier(report.report_id),
        "created": wording.moment(report.created),
        "model": wording.one_line(report.model_name, 80),
        "software": wording.one_line(report.software, 60),
        "cohort": wording.one_line(report.cohort_name, 120),
        "alerts": _alerts(report),
        "summary": _texts(report.summary),
        "key": [_key(row) for row in report.results if row.fold is None],
        "purpose": text_of(report.purpose),
        "users": text_of(report.users),
        "out_of_scope": _texts(report.out_of_scope),
        "positive_means": text_of(report.positive_means),
        "source": _facts(report.data_source),
        "reference": text_of(report.reference_standard),
        "flow": [_flow(row) for row in report.flow],
        "disjointness": _disjointness(report),
        "choices": [[text_of(c.what), text_of(c.data), text_of(c.rule)] for c in report.choices],
        "preprocessing": _facts(report.preprocessing),
        "architecture": _facts(report.architecture),
        "training": _facts(report.training),
        "threshold": _facts(report.threshold),
        "measures": _measures([row for row in report.results if row.fold is None]),
        "counts": [_counts(row) for row in report.results if row.fold is None],
        "folds": [_fold(row) for row in report.results if row.fold is not None],
        "intervals": text_of(report.interval_method),
        "roc": _roc(report, drawn),
        "distributions": [
            drawn.add(
                figures.distribution_figure(scores),
                f"Calibrated scores by reference label, {BY[scores.level]}, {text_of(scores.name)}.",
                f"Histograms of the scores of {len(scores.positive)} positives and {len(scores.negative)} "
                f"negatives, with the threshold at {scores.threshold:.2f}.",
            )
            for scores in report.distributions
        ],
        "calibration": [_calibration(result) for result in report.calibration],
        "reliability": [
            drawn.add(
                figures.reliability_figure(result),
                f"Reliability {BY[result.level]}, {text_of(result.name)}; {text_of(result.binning)}.",
                "Observed share of positives over predicted probability, "
                f"{len(result.predicted)} bins; the diagonal is perfect calibration.",
            )
            for result in report.calibration
        ],
        "prevalence": [
            drawn.add(
                figures.prevalence_figure(curve),
                f"Predictive values over prevalence {BY[curve.level]}, {text_of(curve.name)}.",
                "PPV rises and NPV falls with prevalence; this cohort has "
                f"{100 * curve.cohort_prevalence:.0f} per cent.",
            )
            for curve in report.prevalence
        ],
        "local": [
            [
                BY[row.level],
                wording.percent(row.prevalence, 1),
                wording.percent_interval(row.ppv),
                wording.percent_interval(row.npv),
            ]
            for row in report.local
        ],
        "robustness_note": text_of(report.robustness_note),
        "explanation_note": text_of(report.explanation_note),
        "explanation_figures": explanation_figures(report, drawn),
        "failures_note": text_of(report.failures_note),
        **optional_sections(report, drawn),
        "limits": _texts(report.limits),
        "card": _card(report.data_card),
        "digests": [
            *([text_of(weight.name), weight.sha256] for weight in report.weights),
            *_facts(report.digests),
        ],
        "environment": _facts(report.environment),
        "checklist": checklist(report),
    }
    return data, drawn.files


def _texts(texts: Sequence[str]) -> list[str]:
    return [text_of(text) for text in texts]


def _facts(facts: Sequence[Fact]) -> list[list[str]]:
    return [[text_of(fact.name), text_of(fact.value)] for fact in facts]


def _shown(estimate: Estimate, in_percent: bool) -> str:
    return wording.percent_interval(estimate) if in_percent else wording.decimal_interval(estimate)


def _alerts(report: ValidationReport) -> list[str]:
    alerts = []
    if report.synthetic:
        alerts.append("Synthetic phantom data: the figures say that the program works, nothing about patients.")
    if report.split_by_image:
        alerts.append("Split by image: patients may be on both sides, and every figure below is optimistic.")
    return alerts + _texts(report.warnings)


def _key(row: ResultRow) -> list[str]:
    n = f"{wording.count(row.counts.n, row.level)}"
    return [
        f"{text_of(row.name)}, {BY[row.level]}",
        n if row.patients is None else f"{n}, {wording.count(row.patients, 'patient')}",
        wording.percent_interval(row.sensitivity),
        wording.percent_interval(row.specificity),
        wording.decimal_interval(row.auroc),
    ]


def _flow(row: FlowRow) -> list[str]:
    name = row.role if row.fold is None else f"of which fold {row.fold}"
    numbers = (row.images, row.negative, row.positive, row.cases, row.patients)
    return [text_of(name), *(number_of(number) for number in numbers), text_of(row.note)]


def _disjointness(report: ValidationReport) -> list[list[str]]:
    proof = report.disjointness
    return [
        ["Kept together", f"{text_of(proof.group)} ({wording.count(proof.groups, 'group')})"],
        [
            "In both roles",
            f"{wording.count(proof.shared_by_roles, 'group')} of development and test in common",
        ],
        ["In several folds", wording.count(proof.shared_by_folds, "group")],
        ["Duplicate scan", text_of(proof.duplicates)],
        ["Split table", f"SHA-256 {proof.split_digest[:16]}"],
    ]


def _measures(rows: list[ResultRow]) -> dict[str, Any]:
    return {
        "head": [f"{text_of(row.name)}, {BY[row.level]}" for row in rows],
        "rows": [
            [name, *(_shown(getattr(row, field), in_percent) for row in rows)] for name, field, in_percent in _MEASURES
        ],
    }


def _counts(row: ResultRow) -> dict[str, Any]:
    counts = row.counts
    return {
        "name": f"{text_of(row.name)}, {BY[row.level]}",
        "counts": [f"{number:,}" for number in (counts.tp, counts.fp, counts.fn, counts.tn)],
        "note": f"n = {counts.n:,}, prevalence {wording.percent(counts.prevalence, 1)}",
    }


def _fold(row: ResultRow) -> list[str]:
    counts = row.counts
    return [
        f"{text_of(row.name)}, {BY[row.level]}",
        *(f"{number:,}" for number in (counts.tp, counts.fp, counts.fn, counts.tn)),
        wording.percent_interval(row.sensitivity),
        wording.percent_interval(row.specificity),
        wording.decimal_interval(row.auroc),
    ]


def _roc(report: ValidationReport, drawn: Drawn) -> list[dict[str, str]]:
    made = []
    for level, by in BY.items():
        curves = [curve for curve in report.roc if curve.level == level]
        if curves:
            areas = "; ".join(f"{text_of(c.name)} AUROC {wording.decimal_interval(c.auroc)}" for c in curves)
            caption = f"ROC {by}: {areas}. Dots: the operating point."
            alt = "Sensitivity over 1 minus specificity; the dotted diagonal is chance."
            made.append(drawn.add(figures.roc_figure(curves), caption, alt))
    return made


def _calibration(result: CalibrationResult) -> list[str]:
    return [
        f"{text_of(result.name)}, {BY[result.level]}",
        *(
            wording.decimal_interval(estimate)
            for estimate in (result.brier, result.ece, result.slope, result.intercept)
        ),
    ]


def _card(text: str) -> list[dict[str, str]]:
    """Read what a data card may hold: headings, list items, paragraphs, and tables, a row of which becomes an item."""
    blocks: list[dict[str, str]] = []
    table_head: list[str] | None = None
    open_paragraph: list[str] = []

    def close() -> None:
        if open_paragraph:
            blocks.append({"kind": "paragraph", "text": text_of(" ".join(open_paragraph))})
            open_paragraph.clear()

    for raw in text.splitlines():
        line = raw.strip()
        if not line:
            close()
        elif heading := _HEADING.match(line):
            close()
            blocks.append({"kind": "heading", "text": text_of(heading[1])})
        elif line.startswith("|"):
            close()
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if table_head is None:
                table_head = cells
            elif set(line) - set("|-: "):
                named = (f"{name} {cell}" for name, cell in zip(table_head, cells, strict=False))
                blocks.append({"kind": "item", "text": text_of(", ".join(named))})
            continue
        elif line.startswith(("- ", "* ")):
            close()
            blocks.append({"kind": "item", "text": text_of(line[2:])})
        elif raw[:1].isspace() and not open_paragraph and blocks and blocks[-1]["kind"] == "item":
            blocks[-1]["text"] += f" {text_of(line)}"
        else:
            open_paragraph.append(line)
        table_head = None
    close()
    return blocks
