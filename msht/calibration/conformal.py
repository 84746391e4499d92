"""Split-conformal sets: which classes cannot be ruled out for a case, at a stated error.

A set is {positive}, {negative}, both (refer: the case cannot be told) or none (unlike either class). With
scores of exchangeable cases the true class lies in the set with probability at least 1 - alpha: over all
cases for the marginal quantile, within each class for the class-wise (Mondrian) quantiles.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logit

from msht.errors import InvalidInput
from msht.statistics.arrays import Booleans, Floats, as_binary, as_probabilities, as_scores, check_fraction

EVERY_CLASS = 1.0
"""A quantile of 1 lets every class into every set: what too few cases deserve."""

TIE = 5e-5
"""Distance from a quantile, in log-odds, within which a score counts as equal to it."""


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


def mondrian_cuts(logits: ArrayLike, labels: ArrayLike, alpha: float) -> tuple[float, float]:
    """Up to which logit a set holds the negative class, and from which on the positive one, class by class.

    The same sets as `mondrian_quantiles` gives for any rising curve from logit to probability: a class's scores
    are compared only with each other, so the curve drops out, even if it was fitted on these very cases.

    Args:
        logits: (N,) pooled case logits.
        labels: (N,) 0 or 1.
        alpha: error allowed within each class, in (0, 1).

    Returns:
        Negative if at most the first, positive if at least the second; infinite for a class with too few cases.

    Raises:
        InvalidInput: if the arrays do not fit together or `alpha` is outside (0, 1).

    Source: Vovk (2013), Mach. Learn. 92:349, for sets conditional on the label.
    """
    truth = as_binary(labels)
    values = as_scores(logits, len(truth), "logits")
    check_fraction(alpha, "alpha")
    return _rank_from_below(values[truth == 0], alpha), -_rank_from_below(-values[truth == 1], alpha)


def curve_cuts(logits: ArrayLike, labels: ArrayLike, curves: ArrayLike, alpha: float) -> tuple[float, float]:
    """CV+ sets over both classes together, as two cuts on the pooled logit.

    Each case is scored by a logistic curve that was fitted without its patient, and so is a new case, once by
    each curve: a class is in its set unless at least ceil((1 - alpha)(N + 1)) of the cases conform better
    under their own curve. As every curve rises, case i speaks against the negative class of a new logit z
    exactly if z lies above the point where curve i gives the case's own score, and so on for the positive
    class: the set is known from two order statistics.

    Args:
        logits: (N,) pooled case logits z.
        labels: (N,) 0 or 1.
        curves: (N, 2) slope a > 0 and intercept b of the curve that scores each case.
        alpha: error allowed, in (0, 1).

    Returns:
        Negative if at most the first, positive if at least the second; infinite where N is too small.

    Raises:
        InvalidInput: if the arrays do not fit together, a slope is not above 0, or `alpha` is outside (0, 1).

    Sources: Barber et al. (2021), Ann. Stat. 49:486, for jackknife+ and CV+, with coverage of at least 1 - 2
    alpha and near 1 - alpha in practice; Romano, Sesia and Candes (2020), NeurIPS, for classes.
    """
    truth = as_binary(labels)
    values = as_scores(logits, len(truth), "logits")
    check_fraction(alpha, "alpha")
    slope, intercept = np.asarray(curves, dtype=np.float64).reshape(len(truth), 2).T
    if not (slope > 0).all():
        raise InvalidInput("A case curve falls or is flat.", "Leave the curve out: slope 1, intercept 0.")
    # Where the curve gives a logit's probability to the other class: a z + b mirrored at 0.
    mirrored = -values - 2 * intercept / slope
    negative = np.where(truth == 0, values, mirrored)
    positive = np.where(truth == 1, values, mirrored)
    return _rank_from_below(negative, alpha), -_rank_from_below(-positive, alpha)


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
    # The very expressions of the calibration scores: a set must hold the score that set the quantile. Networks that add
    # in another order round otherwise, by a millionth or two: a tie within a little more is one, and only widens a set.
    scores = np.column_stack([values, 1 - values])
    return np.asarray((scores <= cuts) | (logit(scores) <= logit(cuts) + TIE))


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
    return min(EVERY_CLASS, _rank_from_below(scores, alpha))


def _rank_from_below(scores: Floats, alpha: float) -> float:
    """The ceil((N + 1)(1 - alpha))-th smallest score; infinite where N is too small for it."""
    # Rounding must not push a whole product such as 20 * 0.95 up to the next rank.
    rank = math.ceil((len(scores) + 1) * (1 - alpha) - 1e-9)
    return math.inf if rank > len(scores) else float(np.sort(scores)[rank - 1])
