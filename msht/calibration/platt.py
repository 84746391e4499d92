"""Platt scaling: a logistic line through the logits, with Platt's own smoothing of the targets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from msht.calibration.estimator import BinaryCalibrator
from msht.errors import InvalidInput
from msht.statistics.arrays import Floats, Integers, as_binary, as_scores

STEPS = 200


@dataclass(frozen=True)
class PlattParameters:
    """Probability of the positive class = sigmoid(slope * logit + intercept)."""

    slope: float
    """Below 1 if the logits were too sure; below 0 if they point the wrong way."""
    intercept: float
    """Log-odds at a logit of 0."""


def smoothed_targets(labels: ArrayLike, sample_weight: ArrayLike | None = None) -> Floats:
    """Platt's targets: (N+ + 1) / (N+ + 2) for a positive row, 1 / (N- + 2) for a negative one.

    Args:
        labels: (N,) 0 or 1.
        sample_weight: (N,) weights; N+ and N- are then sums of weights.

    Returns:
        (N,) targets in (0, 1).

    Source: Platt (1999), Advances in Large Margin Classifiers, p. 61.
    """
    truth = as_binary(labels)
    weights = np.ones(len(truth)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    positives = float(weights[truth == 1].sum())
    negatives = float(weights[truth == 0].sum())
    return np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))


def fit_platt(logits: ArrayLike, labels: ArrayLike, sample_weight: ArrayLike | None = None) -> PlattParameters:
    """Fit slope and intercept by maximum likelihood on smoothed targets.

    The smoothing keeps both finite even where the logits separate the classes.

    Args:
        logits: (N,) logit of the positive class.
        labels: (N,) 0 or 1.
        sample_weight: (N,) weights of the rows, 0 or more; None for equal ones.

    Returns:
        The two parameters.

    Raises:
        InvalidInput: if the arrays do not fit together, or only one class is there.

    Source: Platt (1999), Advances in Large Margin Classifiers, p. 61; Lin, Lin and Weng (2007), Mach. Learn.
    68:267, for Newton's method with halved steps.
    """
    truth = as_binary(labels)
    values = as_scores(logits, len(truth), "logits")
    weights = np.ones(len(truth)) if sample_weight is None else as_scores(sample_weight, len(truth), "weights")
    if len(np.unique(truth[weights > 0])) < 2:
        raise InvalidInput("Platt scaling cannot be fitted to one class only.", "Give rows of both classes.")
    design = np.column_stack([values, np.ones(len(values))])
    slope, intercept = fit_logistic(design, smoothed_targets(truth, weights), weights)
    return PlattParameters(slope=float(slope), intercept=float(intercept))


def apply_platt(logits: ArrayLike, parameters: PlattParameters) -> Floats:
    """Calibrated probabilities of the positive class, in the shape of `logits`."""
    return expit(parameters.slope * np.asarray(logits, dtype=np.float64) + parameters.intercept)


def fit_logistic(
    design: Floats, targets: Floats, weights: Floats | None = None, offset: Floats | None = None
) -> Floats:
    """Logistic regression without penalty, for targets that may lie between 0 and 1.

    scikit-learn's takes no fractional targets and no offset, statsmodels' takes a second to import; two
    columns and Newton's method need neither.

    Args:
        design: (N, K) columns, with one of ones where an intercept is wanted.
        targets: (N,) in [0, 1].
        weights: (N,) weights of the rows.
        offset: (N,) added to the linear predictor with a coefficient of 1.

    Returns:
        (K,) coefficients; NaN if the classes are separated, so that no finite optimum exists.
    """
    weights = np.ones(len(design)) if weights is None else weights
    offset = np.zeros(len(design)) if offset is None else offset
    # Columns of one size, so that a fixed ridge of rounding size is neither too strong nor too weak.
    scale = np.maximum(np.abs(design).max(axis=0), 1e-12)
    scaled = design / scale

    def loss(coefficients: Floats) -> float:
        line = scaled @ coefficients + offset
        return float(np.sum(weights * (np.logaddexp(0.0, line) - targets * line)))

    coefficients = np.zeros(design.shape[1])
    current = loss(coefficients)
    for _ in range(STEPS):
        probability = expit(scaled @ coefficients + offset)
        gradient = scaled.T @ (weights * (probability - targets))
        curvature = scaled.T @ (scaled * (weights * probability * (1 - probability))[:, None])
        curvature[np.diag_indices_from(curvature)] += 1e-12 * max(float(np.trace(curvature)), 1e-300)
        step = np.linalg.solve(curvature, gradient)
        if math.sqrt(float(gradient @ step) if gradient @ step > 0 else 0.0) < 1e-10:
            break
        size = 1.0
        while size > 1e-10 and loss(coefficients - size * step) > current:
            size /= 2
        if size <= 1e-10:
            break
        coefficients = coefficients - size * step
        current = loss(coefficients)
        if np.abs(coefficients).max() > 1e6:
            return np.full(design.shape[1], np.nan)
    return coefficients / scale


class PlattScaling(BinaryCalibrator):
    """Platt scaling as a scikit-learn estimator on logits (N,) or (N, 1).

    Attributes:
        parameters_: the fitted slope and intercept.
        classes_: the two classes, sorted; the second is the positive one.
    """

    parameters_: PlattParameters

    def _fit_scores(self, scores: Floats, labels: Integers, weights: Floats) -> None:
        self.parameters_ = fit_platt(scores, labels, weights)

    def _positive_probability(self, scores: Floats) -> Floats:
        return apply_platt(scores, self.parameters_)

    def parameters(self) -> dict[str, Any]:
        """The fitted numbers, as plain JSON."""
        return {"slope": self.parameters_.slope, "intercept": self.parameters_.intercept}
