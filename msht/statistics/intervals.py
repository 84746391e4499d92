"""Intervals of proportions and of the AUROC where rows are independent; `bootstrap` has those of patients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import norm, rankdata
from statsmodels.stats.proportion import proportion_confint

from msht.errors import InvalidInput
from msht.statistics.arrays import Floats, as_binary, as_scores, check_fraction


@dataclass(frozen=True)
class Interval:
    """Bounds that cover the truth with the stated confidence; NaN where they cannot be known."""

    low: float
    """Lower bound."""
    high: float
    """Upper bound."""
    confidence: float
    """Coverage wanted, in (0, 1)."""

    @property
    def known(self) -> bool:
        """Whether both bounds are numbers."""
        return not (math.isnan(self.low) or math.isnan(self.high))


def check_counts(successes: float, trials: float) -> None:
    """Check that counts can be those of a proportion.

    Raises:
        InvalidInput: if there is no trial, a count is negative, or `successes > trials`.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise InvalidInput(
            f"Expected 0 <= successes <= trials and trials >= 1, but got {successes} of {trials}.",
            "Count the rows again.",
        )


def wilson_interval(successes: float, trials: float, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion.

    Args:
        successes: positive outcomes among `trials`; may be fractional for an effective sample size.
        trials: observations, at least 1.
        confidence: coverage wanted, in (0, 1).

    Returns:
        Bounds in [0, 1]; they contain `successes / trials`.

    Raises:
        InvalidInput: if the counts are negative, or `successes > trials`.

    Source: Wilson (1927), J. Am. Stat. Assoc. 22:209, as statsmodels computes it.
    """
    return _proportion_interval(successes, trials, confidence, "wilson")


def clopper_pearson_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Exact interval of a proportion: never covers less than it says, usually more.

    Args:
        successes: positive outcomes among `trials`.
        trials: observations, at least 1.
        confidence: least coverage wanted, in (0, 1).

    Returns:
        Bounds in [0, 1]; they contain `successes / trials`.

    Raises:
        InvalidInput: if the counts are negative, or `successes > trials`.

    Source: Clopper and Pearson (1934), Biometrika 26:404, as statsmodels computes it.
    """
    return _proportion_interval(successes, trials, confidence, "beta")


def _proportion_interval(successes: float, trials: float, confidence: float, method: str) -> Interval:
    check_counts(successes, trials)
    check_fraction(confidence, "confidence")
    low, high = proportion_confint(successes, trials, alpha=1 - confidence, method=method)
    estimate = successes / trials
    # The formulas round: at 0 of n Wilson's lower bound comes out as 1e-17 on either side of zero.
    low = 0.0 if successes == 0 else min(max(float(low), 0.0), estimate)
    high = 1.0 if successes == trials else max(min(float(high), 1.0), estimate)
    return Interval(low, high, confidence)


def delong_covariance(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    """Areas under the ROC curve of several scores on the same rows, with their covariance.

    Args:
        labels: (N,) 0 or 1, at least two rows of each class.
        scores: (K, N) or (N,) scores of K models.

    Returns:
        (K,) areas and (K, K) covariance.

    Raises:
        InvalidInput: if a class has fewer than two rows.

    Source: DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44:837, by midranks as in Sun and Xu (2014),
    IEEE Signal Process. Lett. 21:1389.
    """
    truth = as_binary(labels)
    table = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    for row in table:
        as_scores(row, len(truth))
    positive, negative = table[:, truth == 1], table[:, truth == 0]
    m, n = positive.shape[1], negative.shape[1]
    if min(m, n) < 2:
        raise InvalidInput(
            f"DeLong's method needs two rows of each class, but got {m} positive and {n} negative.",
            "Add rows of the rarer class.",
        )
    pooled_rank = rankdata(np.concatenate([positive, negative], axis=1), axis=1)
    # Placement of each positive among the negatives, and of each negative among the positives.
    placed_positive = (pooled_rank[:, :m] - rankdata(positive, axis=1)) / n
    placed_negative = 1 - (pooled_rank[:, m:] - rankdata(negative, axis=1)) / m
    covariance = np.atleast_2d(np.cov(placed_positive)) / m + np.atleast_2d(np.cov(placed_negative)) / n
    return placed_positive.mean(axis=1), covariance


def delong_interval(
    labels: ArrayLike,
    scores: ArrayLike,
    confidence: float = 0.95,
    scale: Literal["logit", "linear"] = "logit",
) -> Interval:
    """Interval of the AUROC for independent rows.

    On the logit scale by default: the bounds stay in (0, 1) and cover better for areas near 1, which is where
    classifiers of interest lie (Pepe 2003, section 5.2.5; Qin and Hotilovac 2008, Stat. Methods Med. Res.
    17:207). `linear` gives DeLong's own symmetric bounds, cut at 0 and 1, as other programs print them. Where
    the classes are separated without error DeLong's variance is zero and says nothing: Newcombe's interval is
    given.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) higher means more likely positive.
        confidence: coverage wanted, in (0, 1).
        scale: the scale on which the bounds are symmetric.

    Returns:
        Bounds in [0, 1]; NaN if a class has fewer than two rows.
    """
    truth = as_binary(labels)
    values = as_scores(scores, len(truth))
    check_fraction(confidence, "confidence")
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if min(positives, negatives) < 2:
        return Interval(float("nan"), float("nan"), confidence)
    areas, covariance = delong_covariance(truth, values)
    area, deviation = float(areas[0]), math.sqrt(max(float(covariance[0, 0]), 0.0))
    if deviation < 1e-12 or area <= 0 or area >= 1:
        return newcombe_auroc_interval(area, positives, negatives, confidence)
    reach = float(norm.ppf(0.5 + confidence / 2)) * deviation
    if scale == "linear":
        return Interval(max(area - reach, 0.0), min(area + reach, 1.0), confidence)
    centre, reach = math.log(area / (1 - area)), reach / (area * (1 - area))
    return Interval(_sigmoid(centre - reach), _sigmoid(centre + reach), confidence)


def newcombe_auroc_interval(area: float, positives: int, negatives: int, confidence: float = 0.95) -> Interval:
    """Score interval of an AUROC from the area and the two numbers of rows alone.

    It also holds where every positive scores above every negative, for which DeLong and the bootstrap give an
    interval of width zero.

    Args:
        area: AUROC, in [0, 1].
        positives: independent positive rows, at least 1.
        negatives: independent negative rows, at least 1.
        confidence: coverage wanted, in (0, 1).

    Returns:
        Bounds in [0, 1]; they contain `area`.

    Raises:
        InvalidInput: if the area is outside [0, 1] or a class is empty.

    Source: Newcombe (2006), Stat. Med. 25:559, method 5: Hanley and McNeil's variance with both sample sizes
    replaced by their mean in its correction terms, evaluated at the bound and not at the estimate.
    """
    check_fraction(confidence, "confidence")
    if not 0 <= area <= 1 or min(positives, negatives) < 1:
        raise InvalidInput(
            f"Expected an area in [0, 1] and rows of both classes, but got {area} with {positives} positive "
            f"and {negatives} negative.",
            "Give both classes.",
        )
    z = float(norm.ppf(0.5 + confidence / 2))
    mean_less_one = (positives + negatives) / 2 - 1

    def excess(bound: float) -> float:
        shape = (1 - bound) / (2 - bound) + bound / (1 + bound)
        variance = bound * (1 - bound) * (1 + mean_less_one * shape) / (positives * negatives)
        return (area - bound) ** 2 - z * z * variance

    # At the estimate the excess is below zero, at the far ends of the scale above: one root on each side.
    low = 0.0 if area < 1e-9 else float(brentq(excess, 0.0, area - 1e-12))
    high = 1.0 if area > 1 - 1e-9 else float(brentq(excess, area + 1e-12, 1.0))
    return Interval(low, high, confidence)


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0
