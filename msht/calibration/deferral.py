"""What a human reader is left with: errors among the cases kept, against the share referred."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from msht.statistics.arrays import Floats, as_binary, as_probabilities, as_scores, check_fraction
from msht.statistics.intervals import clopper_pearson_interval


@dataclass(frozen=True)
class DeferralCurve:
    """Error among the cases kept, as more are referred; ties of confidence are referred together."""

    referred: Floats
    """(K,) share of the cases referred, from 0 up."""
    error: Floats
    """(K,) share of wrong calls among the cases kept."""
    confidence: Floats
    """(K,) lowest confidence kept."""
    area: float
    """AURC: mean error over all numbers of cases kept; low is best."""
    excess_area: float
    """AURC above that of a perfect order of confidence with the same errors; 0 is best."""


@dataclass(frozen=True)
class Referral:
    """How much must be referred for a wanted error."""

    target: float
    """Error wanted among the cases kept."""
    referred: float
    """Smallest share of the cases referred that meets it; 1 if nothing short of all does."""
    confidence: float
    """Cases below this confidence are referred; infinity if all are."""
    kept: int
    """Cases kept."""
    error: float
    """Error seen among them; NaN if none is kept."""
    upper: float
    """One-sided 95 % Clopper-Pearson bound of it, as if the cut had been chosen beforehand."""


def confidence_of(probabilities: ArrayLike, threshold: float = 0.5) -> Floats:
    """Distance of each probability to the threshold, as a share of the way to certainty on its side.

    Args:
        probabilities: (N,) of the positive class.
        threshold: at or above which a case is called positive, in (0, 1).

    Returns:
        (N,) in [0, 1]; 0 at the threshold, 1 at a probability of 0 or 1.

    Raises:
        InvalidInput: if a number is out of range.
    """
    array = np.asarray(probabilities, dtype=np.float64)
    values = as_probabilities(array, array.size)
    check_fraction(threshold, "threshold")
    return np.where(values >= threshold, (values - threshold) / (1 - threshold), 1 - values / threshold)


def deferral_curve(labels: ArrayLike, calls: ArrayLike, confidence: ArrayLike) -> DeferralCurve:
    """Refer the least confident first, and watch the error among the rest.

    Args:
        labels: (N,) 0 or 1.
        calls: (N,) 0 or 1.
        confidence: (N,) higher means surer; see `confidence_of`.

    Returns:
        A point for each distinct confidence. The area averages over every number kept, with ties in their
        mean order.

    Raises:
        InvalidInput: if the arrays do not fit together.

    Source: Geifman, Uziel and El-Yaniv (2019), ICLR, "Bias-reduced uncertainty estimation".
    """
    truth = as_binary(labels)
    wrong = (as_binary(calls, "calls") != truth).astype(np.float64)
    sureness = as_scores(confidence, len(truth), "confidence")
    levels, place, size = np.unique(-sureness, return_inverse=True, return_counts=True)
    mistakes = np.bincount(place, wrong, minlength=len(levels))
    kept = np.cumsum(size)
    error = np.cumsum(mistakes) / kept
    # Rows tied in confidence count as wrong by their mean, so that the order in the file does not matter.
    expected = np.cumsum((mistakes / size)[np.sort(place)])
    ranks = np.arange(1, len(truth) + 1)
    area = float(np.mean(expected / ranks))
    best = float(np.mean(np.cumsum(np.sort(wrong)) / ranks))
    return DeferralCurve(
        referred=(1 - kept / len(truth))[::-1],
        error=error[::-1],
        confidence=-levels[::-1],
        area=area,
        excess_area=area - best,
    )


def referral_for_error(labels: ArrayLike, calls: ArrayLike, confidence: ArrayLike, target: float) -> Referral:
    """The smallest share to refer so that the error among the rest is at most `target` on these cases.

    Args:
        labels: (N,) 0 or 1.
        calls: (N,) 0 or 1.
        confidence: (N,) higher means surer.
        target: error allowed among the cases kept, in [0, 1).

    Returns:
        The cut, with the error seen and an upper bound of it.

    Raises:
        InvalidInput: if the arrays do not fit together or `target` is out of range.
    """
    if target != 0:
        check_fraction(target, "target")
    curve = deferral_curve(labels, calls, confidence)
    total = len(np.asarray(labels))
    fits = np.flatnonzero(curve.error <= target + 1e-12)
    if not fits.size:
        return Referral(target, 1.0, float("inf"), 0, float("nan"), float("nan"))
    first = int(fits[0])
    kept = round((1 - float(curve.referred[first])) * total)
    mistakes = round(float(curve.error[first]) * kept)
    return Referral(
        target=target,
        referred=float(curve.referred[first]),
        confidence=float(curve.confidence[first]),
        kept=kept,
        error=float(curve.error[first]),
        upper=clopper_pearson_interval(mistakes, kept, confidence=0.90).high,
    )
