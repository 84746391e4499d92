"""A fitted calibrator as plain numbers: what a bundle keeps, and how it is followed without scikit-learn."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, model_validator
from scipy.special import expit, logit

from msht.statistics.arrays import Floats

CalibratorName = Literal["temperature", "platt", "beta", "isotonic", "venn_abers"]

CALIBRATOR_WORDS: dict[CalibratorName, str] = {
    "temperature": "temperature scaling",
    "platt": "Platt scaling",
    "beta": "beta calibration",
    "isotonic": "isotonic calibration",
    "venn_abers": "Venn-Abers calibration",
}
SMALLEST_PROBABILITY = 1e-6
"""Calibrated probabilities are kept this far from 0 and 1, so that their log-odds are always finite."""

NUMBERS: dict[str, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "platt": ("slope", "intercept"),
    "beta": ("a", "b", "c"),
    "isotonic": ("scores", "probabilities"),
    "venn_abers": ("scores", "bounds"),
}


class StoredCalibrator(BaseModel):
    """A map from a network's logit to calibrated log-odds, as `BinaryCalibrator.parameters` gives it.

    Raises:
        ValueError: on numbers that are no such map; pydantic says so with the place in the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: CalibratorName
    numbers: dict[str, Any]

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if set(self.numbers) != set(NUMBERS[self.kind]):
            raise ValueError(f"{self.kind} needs the numbers {', '.join(NUMBERS[self.kind])}")
        arrays = {name: np.asarray(value, dtype=np.float64) for name, value in self.numbers.items()}
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError("a number is not finite")
        rule = {
            "temperature": lambda: arrays["temperature"].ndim == 0 and arrays["temperature"] > 0,
            "platt": lambda: all(array.ndim == 0 for array in arrays.values()),
            "beta": lambda: all(array.ndim == 0 for array in arrays.values()) and min(arrays["a"], arrays["b"]) >= 0,
            "isotonic": lambda: _steps(arrays["scores"], arrays["probabilities"], len(arrays["scores"].ravel())),
            "venn_abers": lambda: _steps(arrays["scores"], arrays["bounds"], 2 * len(arrays["scores"].ravel()) + 1),
        }[self.kind]
        if not rule():
            raise ValueError(f"the numbers are not those of {CALIBRATOR_WORDS[self.kind]}")
        return self

    def log_odds(self, logits: ArrayLike) -> Floats:
        """Calibrated log-odds of the positive class, in the shape of `logits`, always finite for finite logits."""
        values = np.asarray(logits, dtype=np.float64)
        numbers = self.numbers
        if self.kind == "temperature":
            return values / float(numbers["temperature"])
        if self.kind == "platt":
            return float(numbers["slope"]) * values + float(numbers["intercept"])
        if self.kind == "beta":
            below, above = -np.logaddexp(0.0, -values), np.logaddexp(0.0, values)
            return float(numbers["a"]) * below + float(numbers["b"]) * above + float(numbers["c"])
        scores = np.asarray(numbers["scores"], dtype=np.float64)
        if self.kind == "isotonic":
            probability = np.interp(values, scores, np.asarray(numbers["probabilities"], dtype=np.float64))
        else:
            bounds = np.asarray(numbers["bounds"], dtype=np.float64)
            place = np.searchsorted(scores, values, side="left") + np.searchsorted(scores, values, side="right")
            low, high = np.moveaxis(bounds[place], -1, 0)
            probability = high / (1 - low + high)
        return np.asarray(logit(np.clip(probability, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)))

    def probability(self, logits: ArrayLike) -> Floats:
        """Calibrated probability of the positive class, in the shape of `logits`."""
        return np.asarray(expit(self.log_odds(logits)))

    @property
    def falls(self) -> bool:
        """Whether a higher logit would lower the answer: the network then points the wrong way."""
        return self.kind == "platt" and float(self.numbers["slope"]) <= 0

    def in_words(self) -> str:
        """The map in a few words, with its numbers where they are few."""
        few = {name: value for name, value in self.numbers.items() if isinstance(value, int | float)}
        listed = ", ".join(f"{name} {value:.3g}" for name, value in few.items() if math.isfinite(value))
        return CALIBRATOR_WORDS[self.kind] + (f" ({listed})" if listed else "")


def _steps(scores: Floats, values: Floats, rows: int) -> bool:
    """Whether (K,) scores rise and `values` has `rows` rows of probabilities."""
    rising = scores.ndim == 1 and len(scores) >= 1 and bool((np.diff(scores) > 0).all())
    width = values.shape[1:] in ((), (2,))
    return rising and width and len(values) == rows and bool(((values >= 0) & (values <= 1)).all())
