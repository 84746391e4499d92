"""The optional sections of the validation report, as `validation.typ` prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports import figures, figures_evidence, wording
from reports.sections import NotAvailable
from reports.validation_parts import BY, Drawn, number_of, text_of

if TYPE_CHECKING:
    from reports.sections import SubgroupRow
    from reports.sections_evidence import Failure
    from reports.validation import ValidationReport

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


def optional_sections(report: ValidationReport, drawn: Drawn) -> dict[str, Any]:
    """Sections that a run may lack: None for those that it does."""
    made: dict[str, Any] = {}
    if not isinstance(report.subgroups, NotAvailable):
        made["subgroups"] = [_subgroup(row) for row in report.subgroups]
    if not isinstance(report.decision_curve, NotAvailable):
        made["decision_curve"] = drawn.add(
            figures.decision_figure(report.decision_curve),
            f"Net benefit over threshold probability, {BY[report.decision_curve.level]}; without an interval: mind the "
            "number behind it.",
            "Decision curve of the model, of calling all positive and of calling none positive.",
        )
    if not isinstance(report.robustness, NotAvailable):
        made["robustness_figure"] = drawn.add(
            figures_evidence.robustness_figure(report.robustness),
            "AUROC with its interval (above), share of calls that changed and of images that the quality gate would "
            "refuse (below), over the strength of each perturbation. Vertical dots: the image as photographed.",
            "The same figures as in the table.",
        )
        made["robustness"] = [
            [
                text_of(row.perturbation),
                text_of(row.strength),
                wording.decimal_interval(row.auroc),
                wording.percent_interval(row.sensitivity),
                wording.percent_interval(row.specificity),
                wording.percent(row.flipped, 1),
                wording.percent(row.refused, 1),
            ]
            for row in report.robustness
        ]
    if not isinstance(report.deferral, NotAvailable):
        made["deferral"] = drawn.add(
            figures.deferral_figure(report.deferral),
            f"Error among the {report.deferral.level}s kept, by share referred. "
            f"{text_of(report.deferral.statement)}".strip(),
            "Deferral curve: the least certain are referred first.",
        )
    if not isinstance(report.explanation_checks, NotAvailable):
        verdict = {True: "passed", False: "failed", None: wording.MISSING}
        made["explanation_checks"] = [
            [text_of(row.check), text_of(row.method), text_of(row.result), verdict[row.passed]]
            for row in report.explanation_checks
        ]
    if not isinstance(report.failures, NotAvailable):
        made["failures"] = [_failure(row, index) for index, row in enumerate(report.failures)]
    if not isinstance(report.comparisons, NotAvailable):
        made["comparisons"] = [
            [
                text_of(row.against),
                text_of(row.measure),
                wording.decimal_interval(row.difference),
                wording.decimal(row.p_value, 3),
                text_of(row.test),
            ]
            for row in report.comparisons
        ]
    return {name: made.get(name) for name in (*OPTIONAL, "robustness_figure")}


def explanation_figures(report: ValidationReport, drawn: Drawn) -> list[dict[str, str]]:
    """Curves of the maps and probes of the networks, where the run has them."""
    made = []
    if report.map_curves is not None:
        made.append(
            drawn.add(
                figures_evidence.map_curves_figure(report.map_curves),
                "Deletion and insertion: mean score while pixels are taken away, or brought back into an empty image, "
                "those with most evidence first.",
                "For true maps the first falls below the line without knowledge, and the second rises above it.",
            )
        )
    if report.probes is not None:
        made.append(
            drawn.add(
                figures_evidence.probes_figure(report.probes),
                "Probes of the networks: mean score while patches are dropped (left), and while the image is cut into "
                "patches that change places (right).",
                "The further the salient line lies below the others, the more the score rests on what the map marks.",
            )
        )
    return made


def _subgroup(row: SubgroupRow) -> list[str]:
    return [
        text_of(row.column),
        f"{text_of(row.value)}{' (small)' if row.small else ''}",
        f"{row.n:,}",
        number_of(row.patients),
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
        "words": f"reference {text_of(row.truth)}, score {shown}. {text_of(row.note)}".strip(),
        "alt": f"{name}: reference {text_of(row.truth)}, score {shown}.",
    }
