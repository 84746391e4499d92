"""Beta calibration: three parameters, so that the two tails may be stretched differently."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from msht.calibration.estimator import BinaryCalibrator
from msht.calibration.platt import fit_logistic, smoothed_targets
from msht.errors import InvalidInput
from msht.statistics.arrays import Floats, Integers, as_binary, as_scores


@dataclass(frozen=True)
class BetaParameters:
    """Log-odds = a ln(s) - b ln(1 - s) + c, with s = sigmoid(logit); a and b are 0 or more."""

    a: float
    """Stretches the low tail."""
    b: float
    """Stretches the high tail."""
    c: float
    """Shifts the log-odds."""


def fit_beta(logits: ArrayLike, labels: ArrayLike, sample_weight: ArrayLike | None = None) -> BetaParameters:
    """Fit the three parameters by maximum likelihood, with a and b kept from falling below zero.

    Args:
        logits: (N,) logit of the positive class.
        labels: (N,) 0 or 1.
        sample_weight: (N,) weights of the rows, 0 or more.

    Returns:
        The parameters; from Platt's smoothed targets where the logits separate the classes.

    Raises:
        InvalidInput: if the arrays do not fit together, or only one class is there.

    Source: Kull, Silva Filho and Flach (2017), Electron. J. Stat. 11:5052.
    """
    truth = as_binary(labels)
    values = as_scores(logits, len(truth), "logits")
    weights = np.ones(len(truth)) if sample_weight is None else as_scores(sample_weight, len(truth), "weights")
    kept = weights > 0
    if len(np.unique(truth[kept])) < 2:
        raise InvalidInput("Beta calibration cannot be fitted to one class only.", "Give both classes.")
    separated = values[kept & (truth == 1)].min() > values[kept & (truth == 0)].max()
    targets = smoothed_targets(truth, weights) if separated else truth.astype(np.float64)
    columns = np.column_stack([_features(values), np.ones(len(values))])
    used = [0, 1, 2]
    while True:
        found = np.zeros(3)
        found[used] = fit_logistic(columns[:, used], targets, weights)
        # A slope below zero would make the map fall somewhere: leave out the worse one and fit again.
        worst = min((k for k in used if k < 2), key=lambda k: found[k], default=2)
        if worst == 2 or found[worst] >= 0:
            return BetaParameters(*(float(value) for value in found))
        used.remove(worst)


def apply_beta(logits: ArrayLike, parameters: BetaParameters) -> Floats:
    """Calibrated probabilities of the positive class, in the shape of `logits`."""
    low, high = np.moveaxis(_features(np.asarray(logits, dtype=np.float64)), -1, 0)
    return expit(parameters.a * low + parameters.b * high + parameters.c)


class BetaScaling(BinaryCalibrator):
    """Beta calibration as a scikit-learn estimator on logits (N,) or (N, 1).

    Attributes:
        parameters_: the fitted a, b and c.
        classes_: the two classes, sorted; the second is the positive one.
    """

    parameters_: BetaParameters

    def _fit_scores(self, scores: Floats, labels: Integers, weights: Floats) -> None:
        self.parameters_ = fit_beta(scores, labels, weights)

    def _positive_probability(self, scores: Floats) -> Floats:
        return apply_beta(scores, self.parameters_)

    def parameters(self) -> dict[str, Any]:
        """The fitted numbers, as plain JSON."""
        return asdict(self.parameters_)


def _features(logits: Floats) -> Floats:
    """ln(s) and -ln(1 - s) of s = sigmoid(logit), without forming s."""
    return np.stack([-np.logaddexp(0.0, -logits), np.logaddexp(0.0, logits)], axis=-1)
