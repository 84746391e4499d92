"""Pictures of a run for MLflow: training curves, ROC and precision-recall curves, reliability, confusion."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from msht.calibration.reliability import reliability_curve
from msht.cohort.manifest import CLASSES
from msht.files import read_json
from msht.statistics.classification import area_under_roc, average_precision
from pipelines.compare_runs import labels_of
from pipelines.performance import Role, read_predictions
from pipelines.run_folder import RunFolder
from pipelines.tracking_client import Tracker

ACCENT, QUIET = "#0b4f6c", "#55626b"
DOTS_PER_INCH = 120
FEWEST_ROWS = 10
"""With fewer rows a curve shows nothing."""


def log_pictures(client: Tracker, mlflow_run: str, run: RunFolder, role: Role) -> None:
    """Draw the pictures of a role and log them below `figures/`; none names a patient or an image."""
    with tempfile.TemporaryDirectory(prefix="msht-") as scratch:
        for name, figure in pictures_of(run, role).items():
            path = Path(scratch) / f"{name}.png"
            figure.savefig(path, dpi=DOTS_PER_INCH, metadata={"Software": None})
            client.log_artifact(mlflow_run, path, "figures")


def pictures_of(run: RunFolder, role: Role) -> dict[str, Figure]:
    """The pictures of a role by name.

    Args:
        run: finished; for the test role its test set must be open.
        role: of the predictions.
    """
    thresholds = _thresholds(run)
    files = {
        "out-of-fold": (run.out_of_fold_file, run.out_of_fold_cases_file),
        "test": (run.test_file, run.test_cases_file),
    }[role]
    fields, cases = (read_predictions(path) for path in files)
    answered = {"image": fields[fields["evaluable"].astype(bool)], "case": cases[cases["probability"].notna()]}
    made = {}
    prefix = role.replace("-", "_")
    for level, frame in answered.items():
        labels, values = labels_of(frame), frame["probability"].to_numpy(float)
        title = f"{'Test' if role == 'test' else 'Out of fold'}, by {level} (n = {len(frame)})"
        made[f"{prefix}_{level}_confusion"] = _confusion(labels, values, thresholds[level], title)
        if len(set(labels)) == 2 and len(labels) >= FEWEST_ROWS:
            made[f"{prefix}_{level}_curves"] = _curves(labels, values, thresholds[level], title)
            made[f"{prefix}_{level}_reliability"] = _reliability(labels, values, title)
    if role == "out-of-fold":
        made["training"] = _training(run)
    return made


def _thresholds(run: RunFolder) -> dict[str, float]:
    decision = read_json(run.decision_file, what="decision of a run")["decision"]
    return {
        "image": float(decision["field_point"]["threshold"]),
        "case": float(decision["case_point"]["threshold"]),
    }


def _curves(labels: np.ndarray, values: np.ndarray, threshold: float, title: str) -> Figure:
    figure = Figure(figsize=(8.4, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    false_positive, true_positive, _ = roc_curve(labels, values)
    left.plot([0, 1], [0, 1], color=QUIET, linewidth=0.7, linestyle=":")
    left.plot(false_positive, true_positive, color=ACCENT, linewidth=1.6)
    called = values >= threshold
    point = (float(called[labels == 0].mean()), float(called[labels == 1].mean()))
    left.plot(*point, "o", color=ACCENT, clip_on=False, label=f"operating point {threshold:.3f}")
    left.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01))
    left.set_title(f"AUROC {area_under_roc(labels, values):.3f}", fontsize=10)
    left.legend(loc="lower right", frameon=False, fontsize=8)
    precision, recall, _ = precision_recall_curve(labels, values)
    right.axhline(float(labels.mean()), color=QUIET, linewidth=0.7, linestyle=":", label="chance")
    right.step(recall, precision, where="post", color=ACCENT, linewidth=1.6)
    right.set(xlabel="sensitivity (recall)", ylabel="PPV (precision)", xlim=(0, 1), ylim=(0, 1.01))
    right.set_title(f"AUPRC {average_precision(labels, values):.3f}", fontsize=10)
    right.legend(loc="lower left", frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=11)
    return figure


def _reliability(labels: np.ndarray, values: np.ndarray, title: str) -> Figure:
    curve = reliability_curve(labels, values, bins=min(10, max(2, len(labels) // 20)))
    figure = Figure(figsize=(4.6, 5.0), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    above.plot([0, 1], [0, 1], color=QUIET, linewidth=0.7, linestyle=":")
    above.vlines(curve.mean_probability, curve.low, curve.high, color=QUIET, linewidth=0.9)
    above.plot(
        curve.mean_probability, curve.observed, color=ACCENT, marker="o", markersize=5, linewidth=1.2, clip_on=False
    )
    above.set(ylabel="observed share of positives", xlim=(0, 1), ylim=(0, 1))
    above.set_title(title, fontsize=11)
    below.hist(
        [values[labels == 0], values[labels == 1]], bins=20, range=(0, 1), stacked=True, color=["#b9d0db", ACCENT]
    )
    below.set(xlabel="calibrated probability", ylabel="n")
    return figure


def _confusion(labels: np.ndarray, values: np.ndarray, threshold: float, title: str) -> Figure:
    called = (values >= threshold).astype(int)
    counts = np.array([[int(np.sum((labels == i) & (called == j))) for j in (0, 1)] for i in (0, 1)])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(4.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i in (0, 1):
        for j in (0, 1):
            ink = "white" if shares[i, j] > 0.55 else "black"
            axes.text(j, i, f"{counts[i, j]}\n{shares[i, j]:.1%}", ha="center", va="center", color=ink, fontsize=12)
    axes.set(xticks=(0, 1), yticks=(0, 1), xlabel=f"called, at {threshold:.3f}", ylabel="reference")
    axes.set_xticklabels(CLASSES)
    axes.set_yticklabels(CLASSES, rotation=90, va="center")
    axes.set_title(title, fontsize=11)
    return figure


def _training(run: RunFolder) -> Figure:
    histories: Mapping[str, pd.DataFrame] = {
        path.parent.name: pd.read_csv(path) for path in sorted((run.path / "folds").glob("*/history.csv"))
    }
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    shades = np.linspace(0.25, 1.0, max(len(histories), 1))
    for (number, history), shade in zip(histories.items(), shades, strict=False):
        if "train_loss" in history:
            left.plot(history["epoch"], history["train_loss"], color=ACCENT, alpha=shade, linewidth=1.2)
        if "validation_loss" in history:
            left.plot(
                history["epoch"], history["validation_loss"], color=QUIET, alpha=shade, linewidth=1.2, linestyle="--"
            )
        if "validation_auroc" in history:
            right.plot(history["epoch"], history["validation_auroc"], color=ACCENT, alpha=shade, label=f"fold {number}")
    left.set(xlabel="epoch", ylabel="loss")
    left.set_title("training (solid) and held-out fold (dashed)", fontsize=10)
    right.set(xlabel="epoch", ylabel="AUROC of the held-out fold")
    right.legend(loc="lower right", frameon=False, fontsize=8)
    return figure
