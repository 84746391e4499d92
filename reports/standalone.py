"""The figures of a validation report, each as a file of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import figures, figures_evidence
from reports.sections import NotAvailable

if TYPE_CHECKING:
    from reports.figures import Form
    from reports.validation import ValidationReport


def standalone_figures(report: ValidationReport, form: Form) -> dict[str, bytes]:
    """Every figure that the report holds, by a name that says what it shows."""
    made: dict[str, bytes] = {}
    for level in ("case", "field"):
        curves = [curve for curve in report.roc if curve.level == level]
        if curves:
            made[f"roc-by-{level}"] = figures.roc_figure(curves, form=form)
    for result in report.calibration:
        made[f"reliability-{_name(result.name)}-by-{result.level}"] = figures.reliability_figure(result, form=form)
    for curve in report.prevalence:
        made[f"prevalence-by-{curve.level}"] = figures.prevalence_figure(curve, form=form)
    for scores in report.distributions:
        made[f"scores-by-{scores.level}"] = figures.distribution_figure(scores, form=form)
    if not isinstance(report.decision_curve, NotAvailable):
        made["decision-curve"] = figures.decision_figure(report.decision_curve, form=form)
    if not isinstance(report.robustness, NotAvailable):
        made["robustness"] = figures_evidence.robustness_figure(report.robustness, form=form)
    if not isinstance(report.deferral, NotAvailable):
        made["deferral"] = figures.deferral_figure(report.deferral, form=form)
    if report.map_curves is not None:
        made["deletion-and-insertion"] = figures_evidence.map_curves_figure(report.map_curves, form=form)
    if report.probes is not None:
        made["occlusion-and-shuffling"] = figures_evidence.probes_figure(report.probes, form=form)
    return made


def _name(text: str) -> str:
    return text.lower().replace(" ", "-")
