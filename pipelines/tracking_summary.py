"""What MLflow shows of a run at a glance: a description in Markdown, and tags to filter by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msht.files import read_json
from pipelines.run_folder import RunFolder
from pipelines.tracking_client import Tracker

NOTE = "mlflow.note.content"
MEASURES = ("auroc", "auprc", "balanced_accuracy", "sensitivity", "specificity", "brier")
NAMES = {"out-of-fold": "Out of fold", "test": "Test"}


def describe_run(client: Tracker, mlflow_run: str, run: RunFolder) -> None:
    """Write the description and the tags of a run, with its test figures once they are there."""
    recipe, split = run.recipe(), run.split(check_images=False)
    tags = {
        "msht.network": recipe.network.name,
        "msht.recipe": recipe.name,
        "msht.size": str(recipe.preprocessing.size),
        "msht.split": split.digest[:12],
        "msht.cohort": Path(split.card).stem if split.card else "no data card",
        "msht.grouped_by": split.grouped_by or "image",
        "msht.epoch_chosen_by": recipe.training.selection,
        "msht.test_set": "open" if run.evaluation_file.is_file() else "closed",
        NOTE: summary_of(run),
    }
    for key, value in tags.items():
        client.set_tag(mlflow_run, key, value)


def summary_of(run: RunFolder) -> str:
    """The run in Markdown: what it is, its figures with their intervals, and what to mind."""
    recipe, split = run.recipe(), run.split(check_images=False)
    development, test = split.development, split.test
    rows: list[dict[str, Any]] = [
        row for row in read_json(run.figures_file, what="figures of a run") if row["fold"] is None
    ]
    if run.evaluation_file.is_file():
        rows += read_json(run.evaluation_file, what="evaluation of a run")["performance"]
    lines = [
        f"**{recipe.network.name}** at {recipe.preprocessing.size} px, recipe `{recipe.name}`, "
        f"{recipe.training.epochs} epochs, {split.folds} folds, seed {recipe.seed}.",
        "",
        f"{len(development)} development and {len(test)} test images, grouped by "
        f"{split.grouped_by or 'nothing: split by image'}. Kept epoch: {recipe.training.selection}.",
        "",
        f"| figures (95 % interval) | {' | '.join(m.replace('_', ' ') for m in MEASURES)} |",
        f"|---|{'---|' * len(MEASURES)}",
    ]
    for row in rows:
        name = f"{NAMES.get(row['role'], row['role'])}, by {row['level']}, n = {row['n_rows']} of {row['n_groups']}"
        cells = [_cell(row["estimates"][measure]) for measure in MEASURES]
        lines.append(f"| {name} {row['unit']}, at {row['threshold']:.3f} | {' | '.join(cells)} |")
    if not run.evaluation_file.is_file():
        lines += ["", "The test set is closed."]
    if split.warning:
        lines += ["", f"**{split.warning}**"]
    return "\n".join(lines)


def _cell(estimate: dict[str, Any]) -> str:
    if estimate["value"] is None:
        return "not defined"
    if estimate["low"] is None:
        return f"{estimate['value']:.3f}"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"
