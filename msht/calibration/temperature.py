"""Temperature scaling: one number that makes a network's logits less, or more, sure of themselves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import expit

from msht.calibration.estimator import BinaryCalibrator
from msht.calibration.platt import smoothed_targets
from msht.errors import InvalidInput
from msht.statistics.arrays import Floats, Integers, as_binary, as_scores

LOWEST_TEMPERATURE = 0.05
HIGHEST_TEMPERATURE = 20.0


def fit_temperature(logits: ArrayLike, labels: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Find the temperature under which the logits best explain the labels.

    Maximum likelihood over the logarithm of the temperature, bounded to [0.05, 20]: in 1 / T the likelihood
    is concave, so there is one optimum. Where the sign of the logit separates the classes without error the
    likelihood would grow without end as T falls; Platt's smoothed targets are used then, which say that one
    more row of each class might have gone either way.

    Args:
        logits: (N,) logit of the positive class.
        labels: (N,) 0 or 1.
        sample_weight: (N,) weights of the rows, 0 or more; None for equal ones.

    Returns:
        The temperature; above 1 if the network was too sure.

    Raises:
        InvalidInput: if the arrays do not fit together, or only one class is there.

    Source: Guo et al. (2017), ICML, "On calibration of modern neural networks".
    """
    truth = as_binary(labels)
    values = as_scores(logits, len(truth), "logits")
    weights = np.ones(len(truth)) if sample_weight is None else as_scores(sample_weight, len(truth), "weights")
    if len(np.unique(truth[weights > 0])) < 2:
        raise InvalidInput("A temperature cannot be fitted to one class only.", "Calibrate on rows of both classes.")
    separated = bool((values[truth == 1] > 0).all() and (values[truth == 0] < 0).all())
    targets = smoothed_targets(truth, weights) if separated else truth.astype(np.float64)

    def loss(log_temperature: float) -> float:
        scaled = values * math.exp(-log_temperature)
        return float(np.sum(weights * (np.logaddexp(0.0, scaled) - targets * scaled)))

    bounds = (math.log(LOWEST_TEMPERATURE), math.log(HIGHEST_TEMPERATURE))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-8})
    # The bounded search never tries its ends, and logits of one size can put the optimum there.
    return math.exp(min((float(found.x), *bounds), key=loss))


def apply_temperature(logits: ArrayLike, temperature: float) -> Floats:
    """Calibrated probabilities of the positive class.

    Args:
        logits: any shape.
        temperature: above 0.

    Returns:
        sigmoid(logits / temperature), same shape.

    Raises:
        InvalidInput: if the temperature is not a positive number.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise InvalidInput(f"Expected a temperature above 0, but got {temperature}.", "Fit it again.")
    return expit(np.asarray(logits, dtype=np.float64) / temperature)


class TemperatureScaling(BinaryCalibrator):
    """Temperature scaling as a scikit-learn estimator on logits (N,) or (N, 1).

    Attributes:
        temperature_: the fitted temperature.
        classes_: the two classes, sorted; the second is the positive one.
    """

    temperature_: float

    def _fit_scores(self, scores: Floats, labels: Integers, weights: Floats) -> None:
        self.temperature_ = fit_temperature(scores, labels, weights)

    def _positive_probability(self, scores: Floats) -> Floats:
        return apply_temperature(scores, self.temperature_)

    def parameters(self) -> dict[str, Any]:
        """The fitted numbers, as plain JSON."""
        return {"temperature": self.temperature_}
