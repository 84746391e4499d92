"""A finished run as one side of a comparison, read so that runs of older versions of this program still count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from msht.cohort.manifest import CLASSES
from msht.errors import InvalidInput
from msht.files import quoted, read_json
from msht.training.recipe import flatten
from pipelines.performance import read_predictions
from pipelines.run_folder import RunFolder

LIKE_FOR_LIKE = ("optimiser", "schedule", "training", "augmentation", "preprocessing", "seed")
"""Sections of the recipe that should agree for a comparison of networks."""
NEEDED = {
    "out_of_fold.csv": {"image", "label", "fold", "group", "probability", "evaluable"},
    "out_of_fold_cases.csv": {"case", "label", "fold", "group", "probability"},
    "test.csv": {"image", "label", "group", "probability", "evaluable"},
    "test_cases.csv": {"case", "label", "group", "probability"},
}


@dataclass(frozen=True)
class Contender:
    """What a comparison needs of a run."""

    name: str
    """In the tables."""
    path: Path
    network: str
    size: int
    """Edge of the images in pixels."""
    settings: dict[str, Any]
    """The recipe, flattened, as it was written."""
    software: str
    split_digest: str
    grouped_by: str | None
    folds: int
    warning: str | None
    """What every report must say about the split."""
    seconds: float
    """Of training, all folds."""
    device: str
    parameters: int | None
    """Learned numbers of one network; None where it cannot be built here."""
    gmacs: float | None
    """Multiply-accumulates for one image, in units of 1e9; None where it cannot be built here."""
    megabytes: float
    """Size of the weights of all folds, in units of 1e6 bytes."""
    field_threshold: float
    case_threshold: float
    fields: pd.DataFrame
    """Out-of-fold predictions by image."""
    cases: pd.DataFrame
    """The same by case."""
    test_fields: pd.DataFrame | None
    """Test predictions by image; None while the test set is closed."""
    test_cases: pd.DataFrame | None
    opened: tuple[str, ...]
    """When the test set was opened."""


def read_contender(path: Path, name: str | None = None) -> Contender:
    """Read a finished run.

    Args:
        path: the run's folder.
        name: in the tables; None: the folder's.

    Raises:
        InvalidInput: if the run is unfinished, or lacks what a comparison needs.
    """
    run = RunFolder(path)
    state = run.require_finished()
    try:
        recipe = yaml.safe_load(run.recipe_file.read_text(encoding="utf-8"))
        network, size = str(recipe["network"]["name"]), int(recipe["preprocessing"]["size"])
        decision = read_json(run.decision_file, what="decision of a run")["decision"]
        thresholds = [float(decision[point]["threshold"]) for point in ("field_point", "case_point")]
        split = read_json(run.split_file.with_suffix(".json"), what="description of the split")
        folds, grouped_by = int(split["folds"]), split["grouped_by"]
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(
            f"{path} cannot be compared: its recipe, decision or split lacks {error}.", "Train it again."
        ) from error
    opened = _opened(run)
    weights = sorted((path / "folds").glob("*/model.safetensors"))
    described = [read_json(run.fold(n) / "fold.json", what="description of a fold") for n in range(1, folds + 1)]
    parameters, gmacs = _cost(network, size, recipe["network"].get("options") or {})
    return Contender(
        name=name or path.resolve().name,
        path=path,
        network=network,
        size=size,
        settings=flatten(recipe),
        software=str(state.get("environment", {}).get("msht", "unknown")),
        split_digest=str(state["split_digest"]),
        grouped_by=grouped_by,
        folds=folds,
        warning=split.get("warning"),
        seconds=float(sum(fold["seconds"] for fold in described)),
        device=", ".join(sorted({str(fold.get("device", "unknown")) for fold in described})),
        parameters=parameters,
        gmacs=gmacs,
        megabytes=sum(file.stat().st_size for file in weights) / 1e6,
        field_threshold=thresholds[0],
        case_threshold=thresholds[1],
        fields=_table(run.out_of_fold_file),
        cases=_table(run.out_of_fold_cases_file),
        test_fields=_table(run.test_file) if opened else None,
        test_cases=_table(run.test_cases_file) if opened else None,
        opened=opened,
    )


def require_comparable(contenders: Sequence[Contender]) -> None:
    """Refuse runs whose figures cannot stand beside each other.

    Raises:
        InvalidInput: if there are fewer than two, two share a name, or the splits differ.
    """
    if len(contenders) < 2:
        raise InvalidInput(f"There is {len(contenders)} finished run to compare.", "Give two or more.")
    first = contenders[0]
    names = [contender.name for contender in contenders]
    for contender in contenders[1:]:
        if contender.split_digest != first.split_digest:
            raise InvalidInput(
                f"{first.path} and {contender.path} were trained on different splits "
                f"({first.split_digest[:12]} and {contender.split_digest[:12]}): their folds hold other images.",
                "Compare runs of one split; train again on the same one.",
            )
        if names.count(contender.name) > 1:
            raise InvalidInput(f"Two runs are named '{contender.name}'.", "Rename one of the folders.")


def different_settings(contenders: Sequence[Contender]) -> dict[str, list[str]]:
    """Settings in which the runs differ besides the network, with each run's value.

    A setting that one of the recipes does not have (it was written by an older version) is not held against it.
    """
    shared = set.intersection(*(set(contender.settings) for contender in contenders))
    found = {}
    for key in sorted(shared):
        values = [str(contender.settings[key]) for contender in contenders]
        if key.split(".")[0] in LIKE_FOR_LIKE and len(set(values)) > 1:
            found[key] = values
    return found


def labels_of(frame: pd.DataFrame) -> np.ndarray:
    """Labels (N,) as 0 or 1, of a table by image or by case."""
    values = frame["label"]
    if set(values.astype(str)) <= {"0", "1"}:
        return values.astype(int).to_numpy()
    return (values == CLASSES[1]).to_numpy(dtype=int)


def _opened(run: RunFolder) -> tuple[str, ...]:
    if not run.evaluation_file.is_file():
        return ()
    evaluation = read_json(run.evaluation_file, what="evaluation of a run")
    if evaluation.get("fitted_digest") != run.fitted_digest():
        raise InvalidInput(
            f"The test figures of {run.path} belong to other networks or another decision.",
            f"Open its test set anew with `msht evaluate {quoted(run.path)} --again`; that is recorded.",
        )
    return tuple(evaluation["opened"])


def _table(path: Path) -> pd.DataFrame:
    try:
        frame = read_predictions(path)
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(f"{path} cannot be read ({error}).", "Train or evaluate the run again.") from error
    lacking = NEEDED[path.name] - set(frame.columns)
    if lacking:
        raise InvalidInput(f"{path} has no column {sorted(lacking)[0]}.", "Train or evaluate the run again.")
    return frame


def _cost(network: str, size: int, options: dict[str, Any]) -> tuple[int | None, float | None]:
    from msht.network.costs import measure_cost

    try:
        cost = measure_cost(network, size, **options)
    except Exception:  # a network that this version cannot build is left without figures, and the table says so
        return None, None
    return cost.parameters, cost.gmacs
