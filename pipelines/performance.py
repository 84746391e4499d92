"""Figures of a set of predictions, by field and by case, together and by fold."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from msht.cohort.manifest import CLASSES, write_table
from msht.decision import Decision
from msht.statistics.summary import summarise

Role = Literal["test", "out-of-fold"]
RESAMPLES = 2000
UNITS = {"patient_id": "patients", "case_id": "cases", "slide_id": "slides", None: "images"}
"""What stands behind the rows, by the column that a split is grouped by."""
NAMES = {"test": "Test", "out-of-fold": "Out of fold"}


def performance_rows(
    fields: pd.DataFrame, cases: pd.DataFrame, decision: Decision, *, role: Role, unit: str, seed: int
) -> list[dict[str, Any]]:
    """Every figure with its interval: by case and by field, and by fold for out-of-fold predictions.

    Args:
        fields: a row per image: `label` (class name), `probability`, `group`, `evaluable`, and `fold` where the
            role is out-of-fold. Fields that are not evaluable are left out and counted.
        cases: a row per case: `label` (0 or 1), `probability`, `group`, and `fold`.
        decision: whose operating points are judged.
        role: of the data.
        unit: what a group is, in the plural: of `UNITS`.
        seed: of the resampling.
    """
    evaluable = fields[fields["evaluable"]]
    field_labels = (evaluable["label"] == CLASSES[1]).to_numpy(dtype=int)
    case_labels = cases["label"].to_numpy(dtype=int)
    case_threshold, threshold = decision.case_point.threshold, decision.field_point.threshold
    rows = [
        _row(case_labels, cases, case_threshold, role, "case", None, unit, seed),
        _row(field_labels, evaluable, threshold, role, "field", None, unit, seed),
    ]
    rows[1]["not_evaluable"] = int((~fields["evaluable"]).sum())
    if role == "out-of-fold":
        for number in sorted(evaluable["fold"].unique()):
            part = (evaluable["fold"] == number).to_numpy()
            rows.append(_row(field_labels[part], evaluable[part], threshold, role, "field", int(number), unit, seed))
    return rows


def _row(
    labels: np.ndarray,
    frame: pd.DataFrame,
    threshold: float,
    role: Role,
    level: str,
    fold: int | None,
    unit: str,
    seed: int,
) -> dict[str, Any]:
    summary = summarise(
        labels,
        frame["probability"].to_numpy(dtype=float),
        threshold=threshold,
        groups=frame["group"].to_numpy(dtype=str),
        resamples=RESAMPLES,
        seed=seed,
    )
    name = NAMES[role] if fold is None else f"Fold {fold}"
    return {"name": name, "role": role, "level": level, "fold": fold, "unit": unit, **summary.as_dict()}


def write_predictions(frame: pd.DataFrame, path: Path) -> None:
    """Write predictions with enough digits to compute every figure again."""
    table = frame.copy()
    for column in table.select_dtypes("float"):
        table[column] = table[column].round(9)
    write_table(table, path)


def read_predictions(path: Path) -> pd.DataFrame:
    """Read predictions with ids and names as the text that they are."""
    text = ("image", "case", "group", "patient_id", "case_id", "slide_id", "label", "site", "stain", "magnification")
    frame = pd.read_csv(path, dtype=dict.fromkeys(text, "string"), keep_default_na=False, na_values=[""])
    if set(frame["label"].dropna()) <= {"0", "1"}:
        frame["label"] = frame["label"].astype(int)
    return frame
