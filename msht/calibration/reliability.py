"""Whether a probability means what it says: errors, slope, decomposition and the diagram's points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logit
from scipy.stats import norm

from msht.calibration.platt import fit_logistic
from msht.errors import InvalidInput
from msht.statistics.arrays import Floats, Integers, as_binary, as_probabilities
from msht.statistics.classification import SMALLEST_PROBABILITY
from msht.statistics.intervals import wilson_interval

Binning = Literal["mass", "width"]


@dataclass(frozen=True)
class ReliabilityCurve:
    """The points of a reliability diagram, one for each bin that holds a row, from low to high."""

    mean_probability: Floats
    """(B,) mean predicted probability."""
    observed: Floats
    """(B,) share of positives."""
    low: Floats
    """(B,) lower Wilson bound of `observed`, as if rows were independent."""
    high: Floats
    """(B,) upper Wilson bound."""
    count: Integers
    """(B,) rows."""

    def as_dict(self) -> dict[str, list[float]]:
        """Plain JSON lists."""
        return {name: np.asarray(getattr(self, name)).tolist() for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class BrierDecomposition:
    """Brier score = reliability - resolution + uncertainty + within_bin, exactly."""

    reliability: float
    """Squared distance of mean probability and observed share over the bins; 0 is best."""
    resolution: float
    """How far the bins' observed shares lie from the prevalence; high is best."""
    uncertainty: float
    """Variance of the labels: prevalence * (1 - prevalence)."""
    within_bin: float
    """What binning hides; 0 if every bin holds one probability."""

    @property
    def brier(self) -> float:
        """The Brier score that the parts add up to."""
        return self.reliability - self.resolution + self.uncertainty + self.within_bin


@dataclass(frozen=True)
class CalibrationLine:
    """Logistic recalibration: what slope and intercept would have made the probabilities fit."""

    slope: float
    """Below 1: too extreme; above 1: too timid. NaN if the probabilities separate the classes."""
    intercept: float
    """Calibration in the large, with the slope held at 1: above 0, the probabilities are too low overall."""


def assign_bins(probabilities: ArrayLike, bins: int = 10, binning: Binning = "mass") -> Integers:
    """Number the bin of each row.

    Bins of equal mass are cut at quantiles and never part equal probabilities, so there may be fewer than
    `bins` and their sizes differ where probabilities are tied.

    Args:
        probabilities: (N,) in [0, 1].
        bins: how many, at least 1.
        binning: `mass` for equal counts, `width` for equal steps of probability.

    Returns:
        (N,) bin numbers, from 0, without gaps.

    Raises:
        InvalidInput: if `bins` is below 1 or a probability is outside [0, 1].
    """
    array = np.asarray(probabilities, dtype=np.float64)
    values = as_probabilities(array, array.size)
    if bins < 1:
        raise InvalidInput(f"Expected `bins` to be at least 1, but got {bins}.", "10 is a good number.")
    inner = np.arange(1, bins) / bins
    edges = inner if binning == "width" else np.quantile(values, inner, method="inverted_cdf")
    # A quantile is itself an observed value: it belongs below its edge, a step of equal width above.
    raw = np.searchsorted(edges, values, side="right" if binning == "width" else "left")
    return np.unique(raw, return_inverse=True)[1].astype(np.int64)


def reliability_curve(
    labels: ArrayLike,
    probabilities: ArrayLike,
    bins: int = 10,
    binning: Binning = "mass",
    confidence: float = 0.95,
) -> ReliabilityCurve:
    """The points of a reliability diagram with Wilson intervals.

    Args:
        labels: (N,) 0 or 1.
        probabilities: (N,) of the positive class.
        bins: how many, at least 1.
        binning: `mass` or `width`.
        confidence: of the intervals.

    Returns:
        A point for each bin that holds a row.

    Raises:
        InvalidInput: if the arrays do not fit together.
    """
    truth, values = _check(labels, probabilities)
    count, predicted, observed = _bin_means(truth, values, assign_bins(values, bins, binning))
    intervals = [
        wilson_interval(round(n * share), n, confidence)
        for n, share in zip(count.tolist(), observed.tolist(), strict=True)
    ]
    low, high = (np.array([getattr(interval, side) for interval in intervals]) for side in ("low", "high"))
    return ReliabilityCurve(predicted, observed, low, high, count)


def expected_calibration_error(
    labels: ArrayLike,
    probabilities: ArrayLike,
    bins: int = 10,
    binning: Binning = "mass",
    debiased: bool = False,
) -> float:
    """Mean distance of predicted and observed share over the bins, weighted by rows.

    The plain error of even a perfect forecaster is above zero, since observed shares scatter. `debiased`
    takes off, to first order, what that scatter adds to each bin: with gap d and standard error s, the mean
    of |Normal(d, s)| less |d|, in closed form where the source draws at random. Some of the bias is left
    where the true gap is near zero; `squared_calibration_error` has none.

    Args:
        labels: (N,) 0 or 1.
        probabilities: (N,) of the positive class.
        bins: how many, at least 1.
        binning: `mass` or `width`.
        debiased: whether to take off the scatter.

    Returns:
        In [0, 1]; 0 is best.

    Raises:
        InvalidInput: if the arrays do not fit together.

    Sources: Naeini et al. (2015), AAAI; Nixon et al. (2019), CVPR workshops, for bins of equal mass; Kumar,
    Liang and Ma (2019), NeurIPS, appendix, for the debiased form.
    """
    truth, values = _check(labels, probabilities)
    count, predicted, observed = _bin_means(truth, values, assign_bins(values, bins, binning))
    gap = np.abs(predicted - observed)
    if debiased:
        error = np.sqrt(observed * (1 - observed) / np.maximum(count - 1, 1))
        gap = gap - (_folded_normal_mean(gap, error) - gap)
    return max(float(np.sum(count * gap) / count.sum()), 0.0)


def squared_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, bins: int = 10, binning: Binning = "mass"
) -> float:
    """Mean squared distance of predicted and observed share over the bins, without bias.

    From each bin's squared gap the variance of its observed share is taken off, so that a perfect forecaster
    gets 0 on average, and at times less.

    Args:
        labels: (N,) 0 or 1.
        probabilities: (N,) of the positive class.
        bins: how many, at least 1.
        binning: `mass` or `width`.

    Returns:
        At most 1; negative values mean that no error can be told from scatter.

    Raises:
        InvalidInput: if the arrays do not fit together.

    Source: Kumar, Liang and Ma (2019), NeurIPS, "Verified uncertainty calibration", definition 5.1.
    """
    truth, values = _check(labels, probabilities)
    count, predicted, observed = _bin_means(truth, values, assign_bins(values, bins, binning))
    scatter = observed * (1 - observed) / np.maximum(count - 1, 1)
    return float(np.sum(count * ((predicted - observed) ** 2 - scatter)) / count.sum())


def maximum_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, bins: int = 10, binning: Binning = "mass"
) -> float:
    """The largest distance of predicted and observed share in any bin.

    Args:
        labels: (N,) 0 or 1.
        probabilities: (N,) of the positive class.
        bins: how many, at least 1; few, since the smallest bin decides.
        binning: `mass` or `width`.

    Returns:
        In [0, 1]; 0 is best.

    Raises:
        InvalidInput: if the arrays do not fit together.

    Source: Naeini et al. (2015), AAAI.
    """
    truth, values = _check(labels, probabilities)
    _, predicted, observed = _bin_means(truth, values, assign_bins(values, bins, binning))
    return float(np.abs(predicted - observed).max())


def brier_decomposition(
    labels: ArrayLike, probabilities: ArrayLike, bins: int = 10, binning: Binning = "mass"
) -> BrierDecomposition:
    """Split the Brier score into reliability, resolution and uncertainty.

    Args:
        labels: (N,) 0 or 1.
        probabilities: (N,) of the positive class.
        bins: how many, at least 1.
        binning: `mass` or `width`.

    Returns:
        Parts that add up to the Brier score exactly.

    Raises:
        InvalidInput: if the arrays do not fit together.

    Sources: Murphy (1973), J. Appl. Meteorol. 12:595; Stephenson, Coelho and Jolliffe (2008), Weather
    Forecast. 23:752, for the part within the bins.
    """
    truth, values = _check(labels, probabilities)
    bin_of = assign_bins(values, bins, binning)
    count, predicted, observed = _bin_means(truth, values, bin_of)
    share, prevalence = count / count.sum(), float(truth.mean())
    spread = values - predicted[bin_of]
    return BrierDecomposition(
        reliability=float(np.sum(share * (predicted - observed) ** 2)),
        resolution=float(np.sum(share * (observed - prevalence) ** 2)),
        uncertainty=prevalence * (1 - prevalence),
        within_bin=float(np.mean(spread**2) - 2 * np.mean(spread * (truth - observed[bin_of]))),
    )


def calibration_line(labels: ArrayLike, probabilities: ArrayLike) -> CalibrationLine:
    """Slope of the logistic recalibration, and calibration in the large.

    Args:
        labels: (N,) 0 or 1.
        probabilities: (N,) of the positive class.

    Returns:
        Slope 1 and intercept 0 for calibrated probabilities; NaN where a class is missing.

    Raises:
        InvalidInput: if the arrays do not fit together.

    Sources: Cox (1958), Biometrika 45:562; Van Calster et al. (2019), BMC Med. 17:230.
    """
    truth, values = _check(labels, probabilities)
    if len(np.unique(truth)) < 2:
        return CalibrationLine(float("nan"), float("nan"))
    line = logit(np.clip(values, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY))
    ones, targets = np.ones((len(line), 1)), truth.astype(np.float64)
    separated = line[truth == 1].min() >= line[truth == 0].max()
    slope = math.nan
    if not separated and np.ptp(line) > 0:
        slope = float(fit_logistic(np.column_stack([line, ones]), targets)[0])
    return CalibrationLine(slope, float(fit_logistic(ones, targets, offset=line)[0]))


def _check(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Integers, Floats]:
    truth = as_binary(labels)
    return truth, as_probabilities(probabilities, len(truth))


def _bin_means(truth: Integers, values: Floats, bin_of: Integers) -> tuple[Integers, Floats, Floats]:
    count = np.bincount(bin_of)
    return count, np.bincount(bin_of, values) / count, np.bincount(bin_of, truth) / count


def _folded_normal_mean(mean: Floats, deviation: Floats) -> Floats:
    safe = np.where(deviation > 0, deviation, 1.0)
    ratio = mean / safe
    folded = safe * math.sqrt(2 / math.pi) * np.exp(-(ratio**2) / 2) + mean * (1 - 2 * norm.cdf(-ratio))
    return np.where(deviation > 0, folded, mean)
