"""The networks of a run as an ensemble, with what was fitted beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from safetensors.numpy import load_file

from msht.bundle import load_network
from msht.calibration.novelty import FeatureReference
from msht.calibration.stored import StoredCalibrator
from msht.decision import Decision
from msht.ensemble import FoldModel
from msht.errors import InvalidInput
from msht.files import read_json, sha256_of
from pipelines.run_folder import RunFolder


@dataclass(frozen=True)
class FittedRun:
    """A finished run, ready to answer."""

    folds: list[FoldModel]
    decision: Decision
    kept_epochs: dict[int, int]


def load_fitted(run: RunFolder) -> FittedRun:
    """Load the networks of a finished run, checking their digests.

    Raises:
        InvalidInput: if the run is unfinished, or a weight file is not the one that was trained.
    """
    run.require_finished()
    run.recipe()  # refuses one that was edited
    fitted = read_json(run.decision_file, what="decision of a run")
    folds, kept = [], {}
    for number in range(1, run.split(check_images=False).folds + 1):
        folder = run.fold(number)
        described = read_json(folder / "fold.json", what="description of a fold")
        if sha256_of(folder / "model.safetensors") != described["weights_sha256"]:
            raise InvalidInput(f"{folder / 'model.safetensors'} changed since it was trained.", "Train again.")
        folds.append(
            FoldModel(
                number=number,
                network=load_network(folder),
                temperature=float(fitted["temperatures"][str(number)]),
                reference=FeatureReference.from_arrays(load_file(folder / "reference.safetensors")),
                calibrator=_calibrator(fitted, number),
            )
        )
        kept[number] = int(described["kept_epoch"])
    return FittedRun(folds, Decision.model_validate(fitted["decision"]), kept)


def _calibrator(fitted: dict[str, Any], number: int) -> StoredCalibrator | None:
    """What is more than a temperature; runs made before there was a choice have temperatures only."""
    stored = fitted.get("calibrators", {}).get(str(number))
    return None if stored is None else StoredCalibrator.model_validate(stored)


def choose_device(name: str) -> torch.device:
    """The device of a name: `auto` takes a GPU where there is one.

    Raises:
        InvalidInput: if a GPU is asked for where none is.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InvalidInput(f"--device {name}: this machine has no CUDA device.", "Use --device cpu.")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise InvalidInput(f"--device {name} is not a device.", "Use auto, cpu, or cuda.") from error
