"""Split-conformal sets: which classes cannot be ruled out for a case, at a stated error.

A set is {positive}, {negative}, both (refer: the case cannot be told) or none (unlike either class). With
scores of exchangeable cases the true class lies in the set with probability at least 1 - alpha: over all
cases for the marginal quantile, within each class for the class-wise (Mondrian) quantiles.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from msht.errors import InvalidInput
from msht.statistics.arrays import Booleans, Floats, as_binary, as_probabilities, check_fraction

EVERY_CLASS = 1.0
"""A quantile of 1 lets every class into every set: what too few cases deserve."""


def conformal_quantile(labels: ArrayLike, probabilities: ArrayLike, alpha: float) -> float:
    """The quantile of 1 - p(true class) that marginal sets are cut at.

    Args:
        labels: (N,) 0 or 1, one row for each case; cases that neither the network nor the calibrator saw.
        probabilities: (N,) of the positive class.
        alpha: error allowed, in (0, 1).

    Returns:
        The ceil((N + 1)(1 - alpha))-th smallest score; 1 where N is too small for it (below 1 / alpha - 1),
        and then every set holds both classes.

    Raises:
        InvalidInput: if the arrays do not fit together or `alpha` is outside (0, 1).

    Source: Vovk, Gammerman and Shafer (2005), Algorithmic Learning in a Random World, ch. 4; the score is
    that of Sadinle, Lei and Wasserman (2019), J. Am. Stat. Assoc. 114:223.
    """
    truth = as_binary(labels)
    values = as_probabilities(probabilities, len(truth))
    check_fraction(alpha, "alpha")
    return _corrected_quantile(np.where(truth == 1, 1 - values, values), alpha)


def mondrian_quantiles(labels: ArrayLike, probabilities: ArrayLike, alpha: float) -> tuple[float, float]:
    """Class-wise quantiles: the error holds among the negatives and among the positives.

    Args:
        labels: (N,) 0 or 1, one row for each case.
        probabilities: (N,) of the positive class.
        alpha: error allowed within each class, in (0, 1).

    Returns:
        The quantile of the negative class and that of the positive class; 1 for a class with too few cases.

    Raises:
        InvalidInput: if the arrays do not fit together or `alpha` is outside (0, 1).
    """
    truth = as_binary(labels)
    values = as_probabilities(probabilities, len(truth))
    check_fraction(alpha, "alpha")
    return (
        _corrected_quantile(values[truth == 0], alpha),
        _corrected_quantile(1 - values[truth == 1], alpha),
    )


def conformal_sets(probabilities: ArrayLike, quantiles: float | tuple[float, float]) -> Booleans:
    """Which classes each case's set holds.

    Args:
        probabilities: (N,) of the positive class.
        quantiles: one for both classes, or (negative, positive).

    Returns:
        (N, 2): whether negative, whether positive is in the set.

    Raises:
        InvalidInput: if a probability or a quantile is outside [0, 1].
    """
    values = np.asarray(probabilities, dtype=np.float64)
    values = as_probabilities(values, values.size)
    cuts = np.broadcast_to(np.asarray(quantiles, dtype=np.float64), (2,))
    if not ((cuts >= 0) & (cuts <= 1)).all():
        raise InvalidInput(f"Expected quantiles in [0, 1], but got {quantiles}.", "Fit them again.")
    # The very expressions of the calibration scores: a set must hold the score that set the quantile.
    return np.column_stack([values, 1 - values]) <= cuts


def conformal_p_values(calibration: ArrayLike, new: ArrayLike) -> Floats:
    """Share of the calibration scores, and the new one, that are at least as strange as each new score.

    Args:
        calibration: (N,) scores; higher means stranger.
        new: (M,) scores.

    Returns:
        (M,) p-values in [1 / (N + 1), 1]; below alpha with probability at most alpha if exchangeable.
    """
    known = np.sort(np.asarray(calibration, dtype=np.float64))
    at_least = len(known) - np.searchsorted(known, np.asarray(new, dtype=np.float64), side="left")
    return (at_least + 1) / (len(known) + 1)


def _corrected_quantile(scores: Floats, alpha: float) -> float:
    # Rounding must not push a whole product such as 20 * 0.95 up to the next rank.
    rank = math.ceil((len(scores) + 1) * (1 - alpha) - 1e-9)
    return EVERY_CLASS if rank > len(scores) else float(np.sort(scores)[rank - 1])
