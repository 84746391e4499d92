"""What an evaluation adds to its figures: checked maps, perturbed images, wrong calls, drawn figures.

Each part is a file of its own in the run's folder `validation`, written when it is finished, so that a stopped
evaluation goes on where it was. None of them chooses anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from msht.decision import Decision
from msht.ensemble import Ensemble
from msht.errors import InvalidInput
from msht.files import read_json
from pipelines.run_folder import RunFolder

Part = Literal["explanation", "robustness", "gallery", "figures"]
PARTS: tuple[Part, ...] = ("explanation", "robustness", "gallery", "figures")
PERTURBED_IMAGES = 120
"""Test images that are perturbed unless another number is asked for."""


@dataclass(frozen=True)
class PartFiles:
    """Where the parts of a run lie."""

    run: RunFolder

    @property
    def folder(self) -> Path:
        """All of them."""
        return self.run.path / "validation"

    @property
    def explanation(self) -> Path:
        """Whether the maps are true."""
        return self.folder / "explanation.json"

    @property
    def robustness(self) -> Path:
        """Figures under perturbation."""
        return self.folder / "robustness.json"

    @property
    def perturbed(self) -> Path:
        """Answers about perturbed images, as far as they are there."""
        return self.folder / "perturbed.json"

    @property
    def gallery(self) -> Path:
        """Wrong calls; their pictures lie beside it."""
        return self.folder / "gallery" / "gallery.json"

    @property
    def figures(self) -> Path:
        """Folder of the drawn figures."""
        return self.run.path / "figures"

    def read(self, file: Path, fitted: str) -> dict[str, Any] | None:
        """A part, if it is there and about these very networks and decision; None otherwise."""
        if not file.is_file():
            return None
        part: dict[str, Any] = read_json(file, what="part of an evaluation")
        return part if part.get("fitted_digest") == fitted else None


def checked_parts(names: tuple[str, ...]) -> tuple[Part, ...]:
    """The parts of these names.

    Raises:
        InvalidInput: for a name that is none.
    """
    wrong = [name for name in names if name not in PARTS]
    if wrong:
        raise InvalidInput(f"There is no part '{wrong[0]}' of an evaluation.", f"Choose among {', '.join(PARTS)}.")
    return tuple(part for part in PARTS if part in names)


def drawn_by_group(frame: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Draw rows one from each group in turn, so that no patient with many images fills the sample.

    Args:
        frame: with the column `group`.
        count: rows wanted; all where there are fewer.
        seed: of the draw.

    Returns:
        The rows drawn, in the frame's order.
    """
    shuffled = frame.sample(frac=1.0, random_state=np.random.default_rng(seed))
    turn = shuffled.groupby("group", sort=False).cumcount()
    chosen = shuffled.assign(_turn=turn).sort_values("_turn", kind="stable").index[:count]
    return frame.loc[frame.index.isin(chosen)]


def member(ensemble: Ensemble, number: int) -> Ensemble:
    """The network of one fold, as an ensemble of its own."""
    return Ensemble([fold for fold in ensemble.folds if fold.number == number], ensemble.preprocessing, ensemble.device)


def called_positive(probabilities: np.ndarray, decision: Decision) -> np.ndarray:
    """Calls of fields at the field threshold, shape (N,)."""
    return np.asarray(probabilities, dtype=float) >= decision.field_point.threshold
