"""Figures of the validation report: from predictions and rows of figures to what its pages draw."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from msht.calibration.reliability import calibration_line, expected_calibration_error, reliability_curve
from msht.cohort.manifest import CLASSES
from msht.decision import Decision
from msht.errors import InvalidInput
from msht.statistics.decision import decision_curve, predictive_values, subgroup_table
from msht.statistics.summary import MEASURES
from pipelines.report_case_parts import counts_part, estimate_part
from reports.parts import Estimate
from reports.validation import (
    CalibrationResult,
    DecisionCurve,
    NotAvailable,
    PrevalenceCurve,
    ResultRow,
    RocCurve,
    SubgroupRow,
)

Level = Literal["field", "case"]
REPORTED = tuple(measure for measure in MEASURES if measure not in {"brier", "log_loss"})
SUBGROUP_COLUMNS = ("site", "stain", "magnification")
MOST_VALUES = 20
"""Most subgroups that one column may make."""
PREDICTED = (
    "image",
    "label",
    "mask",
    "role",
    "fold",
    "logit",
    "probability",
    "spread",
    "novelty",
    "evaluable",
    "case",
    "group",
)
"""Columns of the test predictions that are no property of a patient or photograph."""


def labels_and_scores(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Reference labels (0 or 1) and probabilities of a table of predictions, each of shape (N,)."""
    labels = frame["label"]
    if labels.dtype.kind not in "iu":
        labels = (labels == CLASSES[1]).astype(int)
    return labels.to_numpy(dtype=int), frame["probability"].to_numpy(dtype=float)


def result_row(row: dict[str, Any]) -> ResultRow:
    """Every figure of one row of figures."""
    return ResultRow(
        name=row["name"],
        role=row["role"],
        level=row["level"],
        fold=row["fold"],
        counts=counts_part(row["counts"]),
        patients=row["n_groups"] if row["unit"] == "patients" else None,
        **{measure: estimate_part(row, measure) for measure in REPORTED},
    )


def _number(value: float) -> Estimate:
    return Estimate(value=None if math.isnan(value) else value)


def calibration_result(
    name: str, level: Level, labels: np.ndarray, values: np.ndarray, *, row: dict[str, Any]
) -> CalibrationResult:
    """Calibration of one set of predictions, with the points of its diagram."""
    bins = int(np.clip(len(labels) // 10, 2, 10))
    curve, line = reliability_curve(labels, values, bins), calibration_line(labels, values)
    return CalibrationResult(
        name=name,
        level=level,
        brier=estimate_part(row, "brier"),
        ece=_number(expected_calibration_error(labels, values, bins)),
        slope=_number(line.slope),
        intercept=_number(line.intercept),
        predicted=tuple(curve.mean_probability),
        observed=tuple(curve.observed),
        observed_low=tuple(curve.low),
        observed_high=tuple(curve.high),
        bin_counts=tuple(int(n) for n in curve.count),
        binning=f"{bins} bins of equal mass",
    )


def roc(name: str, level: Level, labels: np.ndarray, values: np.ndarray, *, row: dict[str, Any]) -> RocCurve:
    """The ROC curve of one set of predictions."""
    false_positive_rate, sensitivity, _ = roc_curve(labels, values)
    point = None
    estimates = row["estimates"]
    if estimates["specificity"]["value"] is not None and estimates["sensitivity"]["value"] is not None:
        point = (1 - estimates["specificity"]["value"], estimates["sensitivity"]["value"])
    return RocCurve(
        name=name,
        level=level,
        false_positive_rate=tuple(false_positive_rate),
        sensitivity=tuple(sensitivity),
        auroc=estimate_part(row, "auroc"),
        operating_point=point,
    )


def prevalence_curve(row: dict[str, Any], level: Any, chosen: float | None = None) -> PrevalenceCurve | None:
    """PPV and NPV over prevalence, a chosen one marked; None where sensitivity or specificity is not defined."""
    sensitivity, specificity = (row["estimates"][m]["value"] for m in ("sensitivity", "specificity"))
    if sensitivity is None or specificity is None:
        return None
    values = predictive_values(sensitivity, specificity)
    known = np.isfinite(values.ppv) & np.isfinite(values.npv)
    return PrevalenceCurve(
        name="Test",
        level=level,
        prevalence=tuple(values.prevalence[known]),
        ppv=tuple(values.ppv[known]),
        npv=tuple(values.npv[known]),
        cohort_prevalence=row["prevalence"],
        local_prevalence=chosen,
    )


def subgroup_rows(
    test: pd.DataFrame, decision: Decision, seed: int, further: tuple[str, ...] = ()
) -> tuple[SubgroupRow, ...] | NotAvailable:
    """Figures by site, stain, magnification and further columns, where the test role knows them.

    Raises:
        InvalidInput: if a further column is not there, or has more values than a table can show.
    """
    for column in further:
        own = [str(c) for c in test if c not in PREDICTED and not str(c).startswith("probability")]
        if column not in own:
            known = ", ".join(c for c in own if test[c].nunique() <= MOST_VALUES)
            raise InvalidInput(f"The test role has no column '{column}' of its own.", f"Choose among {known}.")
        if test[column].nunique() > MOST_VALUES:
            raise InvalidInput(
                f"The column '{column}' has {test[column].nunique()} values; a subgroup table shows {MOST_VALUES}.",
                "Choose a column that parts the images into groups.",
            )
    names = dict.fromkeys((*SUBGROUP_COLUMNS, *further))
    columns = {c: test[c].to_numpy() for c in names if c in test and test[c].nunique() > 1}
    if not columns:
        return NotAvailable(
            reason="The test role knows no site, stain or magnification that differs; `--subgroup COLUMN` parts the "
            "images by another column."
        )
    labels, values = labels_and_scores(test)
    grouped_by_patient = "patient_id" in test and bool((test["group"] == test["patient_id"]).all())
    table = subgroup_table(
        labels,
        values,
        columns,
        threshold=decision.field_point.threshold,
        groups=test["group"].to_numpy(dtype=str),
        seed=seed,
    )
    rows = []
    for entry in table:
        summary = entry.summary.as_dict()
        rows.append(
            SubgroupRow(
                column=entry.column,
                value=str(entry.value),
                n=summary["n_rows"],
                patients=summary["n_groups"] if grouped_by_patient else None,
                sensitivity=estimate_part(summary, "sensitivity"),
                specificity=estimate_part(summary, "specificity"),
                auroc=estimate_part(summary, "auroc"),
                small=bool(entry.warning),
            )
        )
    return tuple(rows)


def net_benefit(*candidates: tuple[str, Level, np.ndarray, np.ndarray]) -> DecisionCurve | NotAvailable:
    """The decision curve of the first set of predictions that holds both classes."""
    for _, level, labels, values in candidates:
        if len(set(labels)) == 2:
            curve = decision_curve(labels, values)
            return DecisionCurve(
                level=level,
                threshold=tuple(curve.threshold),
                model=tuple(curve.model),
                treat_all=tuple(curve.act_on_all),
            )
    return NotAvailable(reason="The test data are of one class.")
