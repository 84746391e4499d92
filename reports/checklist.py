"""What a reviewer asks for, and where the validation report answers.

First this project's own list, then the items of CLAIM 2024, STARD-AI and TRIPOD+AI by their numbers, then what comes
with the report. The page numbers are found when the document is set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports.checklist_items import GUIDELINES
from reports.sections import NotAvailable
from reports.wording import one_line

if TYPE_CHECKING:
    from reports.validation import ValidationReport

SECTIONS = {
    "purpose": "Purpose and users",
    "data": "Data",
    "choices": "Which data chose what",
    "model": "Model and training",
    "threshold": "Operating point and case rule",
    "results": "Results",
    "curves": "Curves and scores",
    "calibration": "Calibration",
    "prevalence": "Predictive values at other prevalences",
    "subgroups": "Subgroups",
    "decision_curve": "Decision curve",
    "robustness": "Robustness",
    "deferral": "Deferral",
    "explanation_checks": "Are the heat maps true?",
    "failures": "Failure gallery",
    "comparisons": "Comparison with other models",
    "limits": "Limits",
    "card": "Data card",
    "environment": "Digests and environment",
}
"""Label of a section and its heading, in the order of the document."""

OWN = "What a validation report must say"
"""Name of this project's own list."""

_ITEMS = (
    ("Intended use, users, uses out of scope", "purpose"),
    ("Source of the data, inclusion and exclusion, devices", "data"),
    ("Reference standard", "data"),
    ("Flow of participants, class balance", "data"),
    ("Partition, disjointness, duplicates", "data"),
    ("Data used to select model, threshold and calibrator", "choices"),
    ("Preprocessing, architecture, training, seeds, hardware", "model"),
    ("Operating point with its source", "threshold"),
    ("2 × 2 counts, measures with intervals", "results"),
    ("ROC curve, distribution of scores", "curves"),
    ("Calibration", "calibration"),
    ("Predictive values over prevalence", "prevalence"),
    ("Subgroups and fairness", "subgroups"),
    ("Clinical utility", "decision_curve"),
    ("Robustness to image quality", "robustness"),
    ("Uncertainty and deferral", "deferral"),
    ("Validity of explanations", "explanation_checks"),
    ("Analysis of errors", "failures"),
    ("Comparison with other models", "comparisons"),
    ("Limits", "limits"),
    ("Documentation of the data set", "card"),
    ("Reproducibility: digests, versions", "environment"),
)


def missing_sections(report: ValidationReport) -> dict[str, str]:
    """Sections that the report cannot fill, with the reason."""
    missing = {}
    for label in SECTIONS:
        value = getattr(report, label, None)
        if isinstance(value, NotAvailable):
            missing[label] = one_line(value.reason, 400)
    empty = {
        "curves": not (report.roc or report.distributions),
        "calibration": not report.calibration,
        "prevalence": not report.prevalence,
        "card": not report.data_card.strip(),
    }
    missing.update({label: "Not handed over by this run." for label, absent in empty.items() if absent})
    return missing


def checklist(report: ValidationReport) -> list[dict[str, Any]]:
    """Rows of the checklist: standard, number, item, and either the label of its section or why there is none."""
    missing = missing_sections(report)
    labels = {heading: label for label, heading in SECTIONS.items()}
    rows: list[dict[str, Any]] = [
        {"standard": OWN, "number": str(number), "item": item, "label": label}
        for number, (item, label) in enumerate(_ITEMS, start=1)
    ]
    for standard, items in GUIDELINES.items():
        for number, words, answer in items:
            there = not answer.startswith("!")
            row: dict[str, Any] = {"standard": standard, "number": number, "item": words}
            rows.append(row | {"label": answer if there else None, "reason": "" if there else answer[1:]})
    for entry in report.checklist:
        label = labels.get(entry.section or "")
        row = {"standard": one_line(entry.standard, 60), "number": "", "item": one_line(entry.item, 200)}
        row["label"] = label
        if label is None:
            row["reason"] = one_line(entry.reason or "No section answers it.", 400)
        rows.append(row)
    for row in rows:
        if row["label"] in missing:
            row["reason"] = missing[row["label"]]
            row["label"] = None
        row["section"] = SECTIONS.get(row["label"] or "", "")
        row.setdefault("reason", "")
    return rows
