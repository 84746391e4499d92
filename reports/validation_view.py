"""From a `ValidationReport` to what `validation.typ` prints: text, tables as text, figures as SVG."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reports import figures, wording
from reports.checklist import checklist
from reports.sections import NotAvailable

if TYPE_CHECKING:
    from reports.parts import Estimate, Fact, Level
    from reports.sections import (
        CalibrationResult,
        Failure,
        FlowRow,
        ResultRow,
        SubgroupRow,
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

_BY: dict[Level, str] = {"field": "by field", "case": "by case"}
_HEADING = re.compile(r"#{1,6}\s+(.+)")

OPTIONAL = (
    "subgroups",
    "decision_curve",
    "robustness",
    "deferral",
    "explanation_checks",
    "failures",
    "comparisons",
)
"""Sections that a run may be unable to fill."""

LONG = 4000
"""Most characters of one text: pages are free here, but no text may fill a book."""


def view(report: ValidationReport) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Give the data of `validation.typ` and the figures that it names."""
    drawn = _Drawn()
    data = {
        "report_id": wording.short_name(report.report_id, 48),
        "created": wording.moment(report.created),
        "model": wording.one_line(report.model_name, 80),
        "software": wording.one_line(report.software, 60),
        "cohort": wording.one_line(report.cohort_name, 120),
        "alerts": _alerts(report),
        "summary": _texts(report.summary),
        "key": [_key(row) for row in report.results if row.fold is None],
        "purpose": _text(report.purpose),
        "users": _text(report.users),
        "out_of_scope": _texts(report.out_of_scope),
        "positive_means": _text(report.positive_means),
        "source": _facts(report.data_source),
        "reference": _text(report.reference_standard),
        "flow": [_flow(row) for row in report.flow],
        "disjointness": _disjointness(report),
        "choices": [[_text(c.what), _text(c.data), _text(c.rule)] for c in report.choices],
        "preprocessing": _facts(report.preprocessing),
        "architecture": _facts(report.architecture),
        "training": _facts(report.training),
        "threshold": _facts(report.threshold),
        "measures": _measures([row for row in report.results if row.fold is None]),
        "counts": [_counts(row) for row in report.results if row.fold is None],
        "folds": [_fold(row) for row in report.results if row.fold is not None],
        "intervals": _text(report.interval_method),
        "roc": _roc(report, drawn),
        "distributions": [
            drawn.add(
                figures.distribution_figure(scores),
                f"Calibrated scores by reference label, {_BY[scores.level]}, {_text(scores.name)}.",
                f"Histograms of the scores of {len(scores.positive)} positives and {len(scores.negative)} "
                f"negatives, with the threshold at {scores.threshold:.2f}.",
            )
            for scores in report.distributions
        ],
        "calibration": [_calibration(result) for result in report.calibration],
        "reliability": [
            drawn.add(
                figures.reliability_figure(result),
                f"Reliability {_BY[result.level]}, {_text(result.name)}; {_text(result.binning)}.",
                "Observed share of positives over predicted probability, "
                f"{len(result.predicted)} bins; the diagonal is perfect calibration.",
            )
            for result in report.calibration
        ],
        "prevalence": [
            drawn.add(
                figures.prevalence_figure(curve),
                f"Predictive values over prevalence {_BY[curve.level]}, {_text(curve.name)}.",
                "PPV rises and NPV falls with prevalence; this cohort has "
                f"{100 * curve.cohort_prevalence:.0f} per cent.",
            )
            for curve in report.prevalence
        ],
        **_optional(report, drawn),
        "limits": _texts(report.limits),
        "card": _card(report.data_card),
        "digests": [
            *([_text(weight.name), weight.sha256] for weight in report.weights),
            *_facts(report.digests),
        ],
        "environment": _facts(report.environment),
        "checklist": checklist(report),
    }
    return data, drawn.files


class _Drawn:
    """The figures, by file name."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def add(self, svg: bytes, caption: str, alt: str) -> dict[str, str]:
        name = f"figure-{len(self.files)}.svg"
        self.files[name] = svg
        return {"file": name, "caption": caption, "alt": f"{caption} {alt}"}


def _text(text: str) -> str:
    return wording.one_line(text, LONG)


def _texts(texts: Sequence[str]) -> list[str]:
    return [_text(text) for text in texts]


def _facts(facts: Sequence[Fact]) -> list[list[str]]:
    return [[_text(fact.name), _text(fact.value)] for fact in facts]


def _number(value: int | None) -> str:
    return wording.MISSING if value is None else f"{value:,}"


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
        f"{_text(row.name)}, {_BY[row.level]}",
        n if row.patients is None else f"{n}, {wording.count(row.patients, 'patient')}",
        wording.percent_interval(row.sensitivity),
        wording.percent_interval(row.specificity),
        wording.decimal_interval(row.auroc),
    ]


def _flow(row: FlowRow) -> list[str]:
    name = row.role if row.fold is None else f"of which fold {row.fold}"
    numbers = (row.images, row.negative, row.positive, row.cases, row.patients)
    return [_text(name), *(_number(number) for number in numbers), _text(row.note)]


def _disjointness(report: ValidationReport) -> list[list[str]]:
    proof = report.disjointness
    return [
        ["Kept together", f"{_text(proof.group)} ({wording.count(proof.groups, 'group')})"],
        [
            "In both roles",
            f"{wording.count(proof.shared_by_roles, 'group')} of development and test in common",
        ],
        ["In several folds", wording.count(proof.shared_by_folds, "group")],
        ["Duplicate scan", _text(proof.duplicates)],
        ["Split table", f"SHA-256 {proof.split_digest[:16]}"],
    ]


def _measures(rows: list[ResultRow]) -> dict[str, Any]:
    return {
        "head": [f"{_text(row.name)}, {_BY[row.level]}" for row in rows],
        "rows": [
            [name, *(_shown(getattr(row, field), in_percent) for row in rows)] for name, field, in_percent in _MEASURES
        ],
    }


def _counts(row: ResultRow) -> dict[str, Any]:
    counts = row.counts
    return {
        "name": f"{_text(row.name)}, {_BY[row.level]}",
        "counts": [f"{number:,}" for number in (counts.tp, counts.fp, counts.fn, counts.tn)],
        "note": f"n = {counts.n:,}, prevalence {wording.percent(counts.prevalence, 1)}",
    }


def _fold(row: ResultRow) -> list[str]:
    counts = row.counts
    return [
        f"{_text(row.name)}, {_BY[row.level]}",
        *(f"{number:,}" for number in (counts.tp, counts.fp, counts.fn, counts.tn)),
        wording.percent_interval(row.sensitivity),
        wording.percent_interval(row.specificity),
        wording.decimal_interval(row.auroc),
    ]


def _roc(report: ValidationReport, drawn: _Drawn) -> list[dict[str, str]]:
    made = []
    for level, by in _BY.items():
        curves = [curve for curve in report.roc if curve.level == level]
        if curves:
            areas = "; ".join(f"{_text(c.name)} AUROC {wording.decimal_interval(c.auroc)}" for c in curves)
            caption = f"ROC {by}: {areas}. Dots: the operating point."
            alt = "Sensitivity over 1 minus specificity; the dotted diagonal is chance."
            made.append(drawn.add(figures.roc_figure(curves), caption, alt))
    return made


def _calibration(result: CalibrationResult) -> list[str]:
    return [
        f"{_text(result.name)}, {_BY[result.level]}",
        *(
            wording.decimal_interval(estimate)
            for estimate in (result.brier, result.ece, result.slope, result.intercept)
        ),
    ]


def _optional(report: ValidationReport, drawn: _Drawn) -> dict[str, Any]:
    """Sections that a run may lack: None for those that it does."""
    made: dict[str, Any] = {}
    if not isinstance(report.subgroups, NotAvailable):
        made["subgroups"] = [_subgroup(row) for row in report.subgroups]
    if not isinstance(report.decision_curve, NotAvailable):
        made["decision_curve"] = drawn.add(
            figures.decision_figure(report.decision_curve),
            "Net benefit over threshold probability.",
            "Decision curve of the model, of calling all positive and of calling none positive.",
        )
    if not isinstance(report.robustness, NotAvailable):
        made["robustness"] = [
            [
                _text(row.perturbation),
                _text(row.strength),
                wording.decimal_interval(row.auroc),
                wording.percent_interval(row.sensitivity),
                wording.percent_interval(row.specificity),
                wording.percent(row.flipped, 1),
            ]
            for row in report.robustness
        ]
    if not isinstance(report.deferral, NotAvailable):
        made["deferral"] = drawn.add(
            figures.deferral_figure(report.deferral),
            f"Error among the cases kept, by share referred. {_text(report.deferral.statement)}".strip(),
            "Deferral curve: the least certain cases are referred first.",
        )
    if not isinstance(report.explanation_checks, NotAvailable):
        verdict = {True: "passed", False: "failed", None: wording.MISSING}
        made["explanation_checks"] = [
            [_text(row.check), _text(row.method), _text(row.result), verdict[row.passed]]
            for row in report.explanation_checks
        ]
    if not isinstance(report.failures, NotAvailable):
        made["failures"] = [_failure(row, index) for index, row in enumerate(report.failures)]
    if not isinstance(report.comparisons, NotAvailable):
        made["comparisons"] = [
            [
                _text(row.against),
                _text(row.measure),
                wording.decimal_interval(row.difference),
                wording.decimal(row.p_value, 3),
                _text(row.test),
            ]
            for row in report.comparisons
        ]
    return {name: made.get(name) for name in OPTIONAL}


def _subgroup(row: SubgroupRow) -> list[str]:
    return [
        _text(row.column),
        f"{_text(row.value)}{' (small)' if row.small else ''}",
        f"{row.n:,}",
        _number(row.patients),
        wording.percent_interval(row.sensitivity),
        wording.percent_interval(row.specificity),
        wording.decimal_interval(row.auroc),
    ]


def _failure(row: Failure, index: int) -> dict[str, Any]:
    name = wording.short_name(row.name, 30)
    shown = wording.score(row.probability)
    return {
        "crop": f"failure-{index}.jpg",
        "overlay": f"failure-map-{index}.jpg" if row.overlay else None,
        "name": name,
        "words": f"reference {_text(row.truth)}, score {shown}. {_text(row.note)}".strip(),
        "alt": f"{name}: reference {_text(row.truth)}, score {shown}.",
    }


def _card(text: str) -> list[dict[str, str]]:
    """Read the three things that a data card may hold: headings, list items, paragraphs."""
    blocks: list[dict[str, str]] = []
    open_paragraph: list[str] = []

    def close() -> None:
        if open_paragraph:
            blocks.append({"kind": "paragraph", "text": _text(" ".join(open_paragraph))})
            open_paragraph.clear()

    for raw in text.splitlines():
        line = raw.strip()
        if not line:
            close()
        elif heading := _HEADING.match(line):
            close()
            blocks.append({"kind": "heading", "text": _text(heading[1])})
        elif line.startswith(("- ", "* ")):
            close()
            blocks.append({"kind": "item", "text": _text(line[2:])})
        elif raw[:1].isspace() and not open_paragraph and blocks and blocks[-1]["kind"] == "item":
            blocks[-1]["text"] += f" {_text(line)}"
        else:
            open_paragraph.append(line)
    close()
    return blocks
