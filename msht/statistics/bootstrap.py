"""Intervals by resampling patients: rows of one patient are alike, so patients are drawn, never rows.

A resample is a vector of how often each patient was drawn. Every statistic here is a function of many such
vectors at once, so 10,000 resamples are a few array operations and not 10,000 calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from scipy.stats import norm
from scipy.stats import t as student

from msht.errors import InvalidInput
from msht.statistics.arrays import Floats, Integers, as_binary, as_scores, check_fraction
from msht.statistics.classification import confusion_ratios
from msht.statistics.intervals import Interval

GroupStatistic = Callable[[Floats], Floats]
"""From how often each group was drawn, (R, G), to the value of K statistics in each resample, (R, K)."""

Method = Literal["t", "percentile", "bca"]

FEWEST_GROUPS = 5
"""With fewer patients a resampling interval is not to be had."""
LARGEST_UNDEFINED_SHARE = 0.05
"""No interval where more than this share of the resamples leaves the statistic undefined."""
CELLS_AT_ONCE = 1 << 18
"""Array cells worked on together: two megabytes of floats, which stay in a processor's cache."""


@dataclass(frozen=True)
class Scale:
    """What is known of a statistic beforehand; without bounds its interval is symmetric."""

    low: float = -math.inf
    """Smallest value possible, such as 0 for a share."""
    high: float = math.inf
    """Largest value possible, such as 1 for a share."""
    patients: float = math.inf
    """Patients in effect behind it, if fewer than G; see `effective_groups`."""


UNBOUNDED = Scale()


def clustered_bootstrap(
    statistic: GroupStatistic,
    n_groups: int,
    scales: Scale | Sequence[Scale] = UNBOUNDED,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 517,
    method: Method = "t",
) -> list[Interval]:
    """Intervals of K statistics by resampling groups with replacement.

    Three methods. `percentile` takes quantiles of the resamples. `bca` corrects them for bias and
    acceleration. `t`, the default, takes from the resamples only their standard deviation, widened by sqrt(G
    / (G - 1)) since resamples scatter by G and not by G - 1, and steps t quantiles away from the estimate on
    the logit scale of the statistic's range, with the number of patients that really stand behind it. The
    choice is argued from simulation and not from the order of convergence: at nominal 95 % percentile and BCa
    intervals of 24 to 100 patients cover some points less than `t` (benchmarks/results/statistics.md), and miss
    mostly on the flattering side. `clustered_jackknife` covers best.

    Args:
        statistic: function from group weights (R, G) to values (R, K).
        n_groups: G.
        scales: range and effective patients of each statistic, or one for all; used by `t`.
        confidence: coverage wanted, in (0, 1).
        resamples: how many resamples R; 2,000 settle two digits, 10,000 three.
        seed: of the random stream; it depends on nothing else but G, so the intervals of two analyses of the
            same patients rest on the same resamples.
        method: `t`, `percentile` or `bca`.

    Returns:
        K intervals; NaN bounds with fewer than `FEWEST_GROUPS` groups or two effective patients, or where
        more than 5 % of the resamples leave a statistic undefined. Width 0 where no resample differs.

    Raises:
        InvalidInput: if `resamples` is below 100 or `confidence` is outside (0, 1).

    Sources: Field and Welsh (2007), J. R. Stat. Soc. B 69:369, for resampling whole clusters; Hesterberg
    (2015), Am. Stat. 69:371, sections 4.3 and 5, for the widening and t with bootstrap standard errors; Efron
    (1987), J. Am. Stat. Assoc. 82:171, for BCa.
    """
    values = bootstrap_values(statistic, n_groups, resamples=resamples, seed=seed)
    return interval_of_values(statistic, values, n_groups, scales, confidence=confidence, method=method)


def clustered_jackknife(
    statistic: GroupStatistic,
    n_groups: int,
    scales: Scale | Sequence[Scale] = UNBOUNDED,
    *,
    confidence: float = 0.95,
) -> list[Interval]:
    """Intervals of K statistics by leaving out each group in turn.

    As `t` of `clustered_bootstrap`, with the standard error of the delete-one-patient jackknife in place of the
    resamples' scatter. A patient with many rows pulls the estimate towards itself, which hides part of its own
    deviation from any resample that holds it; leaving it out shows all of it. With patients of unequal size that
    is what the bootstrap lacks: for 24 to 100 patients of 5 to 40 rows and intraclass correlations of 0.1 to
    0.5 this covers best of the methods here (benchmarks/results/statistics.md). There is no randomness in it.

    Args:
        statistic: function from group weights (R, G) to values (R, K).
        n_groups: G.
        scales: range and effective patients of each statistic, or one for all.
        confidence: coverage wanted, in (0, 1).

    Returns:
        K intervals; NaN bounds with fewer than `FEWEST_GROUPS` groups or two effective patients, or where the
        statistic is not defined without one of the groups. Width 0 where no group changes it.

    Raises:
        InvalidInput: if `confidence` is outside (0, 1).

    Sources: Efron and Tibshirani (1993), An Introduction to the Bootstrap, ch. 11; MacKinnon, Nielsen and Webb
    (2023), J. Econometrics 232:272, on the cluster jackknife (CV3) and its t; Kish (1965), section 8.2, for the
    effective number of patients.
    """
    check_fraction(confidence, "confidence")
    estimate = statistic(np.ones((1, n_groups)))[0]
    if n_groups < FEWEST_GROUPS:
        return [Interval(float("nan"), float("nan"), confidence)] * len(estimate)
    left_out = _leave_one_out(statistic, n_groups)
    known = [scales] * len(estimate) if isinstance(scales, Scale) else scales
    intervals = []
    for k, scale in enumerate(known):
        patients = min(scale.patients, float(n_groups))
        away = left_out[:, k] - left_out[:, k].mean()
        error = math.sqrt(float(np.sum(away**2)) * (n_groups - 1) / n_groups)
        error *= math.sqrt(patients / (patients - 1)) if patients >= 2 else math.nan
        intervals.append(_t_step(float(estimate[k]), error, patients, scale, confidence))
    return intervals


def effective_groups(groups: ArrayLike, selected: ArrayLike) -> float:
    """How many patients of equal size would carry as much as those of the selected rows.

    Args:
        groups: (N,) group numbers from 0.
        selected: (N,) whether a row belongs to the statistic's denominator.

    Returns:
        (sum of sizes) squared over the sum of squared sizes; 0 if no row is selected.

    Source: Kish (1965), Survey Sampling, section 8.2.
    """
    size = np.bincount(np.asarray(groups)[np.asarray(selected, dtype=bool)]).astype(np.float64)
    return float(size.sum() ** 2 / np.sum(size**2)) if size.sum() else 0.0


def bootstrap_values(statistic: GroupStatistic, n_groups: int, *, resamples: int = 2000, seed: int = 517) -> Floats:
    """The K statistics in each of R resamples of the groups, (R, K); NaN where undefined.

    Raises:
        InvalidInput: if `resamples` is below 100.
    """
    if resamples < 100:
        raise InvalidInput(f"Expected `resamples` to be at least 100, but got {resamples}.", "2000 is a good number.")
    return np.concatenate([statistic(weights) for weights in group_weights(n_groups, resamples, seed)])


def interval_of_values(
    statistic: GroupStatistic,
    values: Floats,
    n_groups: int,
    scales: Scale | Sequence[Scale] = UNBOUNDED,
    *,
    confidence: float = 0.95,
    method: Method = "t",
) -> list[Interval]:
    """Intervals from the (R, K) values of `bootstrap_values`; see `clustered_bootstrap`.

    Raises:
        InvalidInput: if `confidence` is outside (0, 1).
    """
    check_fraction(confidence, "confidence")
    count = values.shape[1]
    if n_groups < FEWEST_GROUPS:
        return [Interval(float("nan"), float("nan"), confidence)] * count
    estimate = statistic(np.ones((1, n_groups)))[0]
    if method == "t":
        known = [scales] * count if isinstance(scales, Scale) else scales
        return [_t_interval(float(estimate[k]), values[:, k], n_groups, known[k], confidence) for k in range(count)]
    tails = np.tile([(1 - confidence) / 2, (1 + confidence) / 2], (count, 1))
    if method == "bca":
        tails = _bca_tails(tails, estimate, values, _leave_one_out(statistic, n_groups))
    return [_quantiles(values[:, k], tails[k], confidence) for k in range(count)]


def standard_error(values: Floats, patients: float) -> float:
    """Standard error from (R,) resampled values and the effective number of patients behind them.

    Returns:
        NaN with fewer than two effective patients, or where more than 5 % of the values are undefined.
    """
    undefined = np.isnan(values)
    if patients < 2 or undefined.mean() > LARGEST_UNDEFINED_SHARE:
        return float("nan")
    return float(np.std(values[~undefined])) * math.sqrt(patients / (patients - 1))


def group_weights(n_groups: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Draw the groups of each resample.

    Yields:
        (r, G) how often each group was drawn, until `resamples` rows are given; each row sums to G.
    """
    random = np.random.default_rng(seed)
    step = max(1, 4 * CELLS_AT_ONCE // n_groups)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = random.integers(0, n_groups, size=(rows, n_groups))
        drawn += np.arange(rows)[:, None] * n_groups
        counts = np.bincount(drawn.ravel(), minlength=rows * n_groups)
        yield counts.reshape(rows, n_groups).astype(np.float64)


def group_sums(values: ArrayLike, groups: Integers, n_groups: int) -> Floats:
    """Sum the columns of (N, K) values within each group, to (G, K)."""
    table = np.asarray(values, dtype=np.float64)
    sums = np.zeros((n_groups, table.shape[1]))
    np.add.at(sums, groups, table)
    return sums


def confusion_statistic(labels: ArrayLike, calls: ArrayLike, groups: Integers, n_groups: int) -> GroupStatistic:
    """The ratios of a 2 x 2 table as a function of group weights.

    Args:
        labels: (N,) 0 or 1.
        calls: (N,) 0 or 1.
        groups: (N,) group numbers from 0.
        n_groups: G.

    Returns:
        Function from (R, G) to (R, 9), in the order of `CONFUSION_RATIOS`.
    """
    truth, called = as_binary(labels), as_binary(calls, "calls")
    cells = np.stack([truth * called, (1 - truth) * (1 - called), (1 - truth) * called, truth * (1 - called)], axis=1)
    sums = group_sums(cells, groups, n_groups)
    return lambda weights: confusion_ratios(weights @ sums)


def mean_statistic(values: ArrayLike, groups: Integers, n_groups: int) -> GroupStatistic:
    """Row means of K columns as a function of group weights.

    Args:
        values: (N, K) or (N,), a value for each row, such as its squared error.
        groups: (N,) group numbers from 0.
        n_groups: G.

    Returns:
        Function from (R, G) to (R, K).
    """
    table = np.asarray(values, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    sums = group_sums(np.column_stack([table, np.ones(len(table))]), groups, n_groups)

    def statistic(weights: Floats) -> Floats:
        totals = weights @ sums
        return totals[:, :-1] / totals[:, -1:]

    return statistic


def ranking_statistic(labels: ArrayLike, scores: ArrayLike, groups: Integers, n_groups: int) -> GroupStatistic:
    """AUROC and average precision as a function of group weights, by one walk down the sorted scores.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) higher means more likely positive; ties are counted half in the AUROC.
        groups: (N,) group numbers from 0.
        n_groups: G.

    Returns:
        Function from (R, G) to (R, 2): AUROC, average precision; NaN in resamples with one class only.
    """
    truth = as_binary(labels)
    values = as_scores(scores, len(truth))
    order = np.argsort(-values, kind="stable")
    group_of, positive = groups[order], truth[order] == 1
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(order) - 1)
    tied = len(ends) < len(order)
    step = max(1, CELLS_AT_ONCE // len(order))

    def walk(weights: Floats) -> Floats:
        rows = weights[:, group_of]
        called = np.cumsum(rows, axis=1)
        rows[:, ~positive] = 0.0
        hits = np.cumsum(rows, axis=1)
        if tied:
            called, hits = called[:, ends], hits[:, ends]
        new_hits = np.diff(hits, axis=1, prepend=0.0)
        all_hits, all_called = hits[:, -1], called[:, -1]
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = np.einsum("rn,rn->r", new_hits, hits / np.maximum(called, 1e-300)) / all_hits
            # Negatives at or above each positive's score, less half of those that share it.
            misses = called - hits
            above = np.einsum("rn,rn->r", new_hits, misses)
            level = np.einsum("rn,rn->r", new_hits, np.diff(misses, axis=1, prepend=0.0)) if tied else 0.0
            area = 1 - (above - level / 2) / (all_hits * (all_called - all_hits))
        one_class = (all_hits == 0) | (all_hits == all_called)
        return np.where(one_class[:, None], np.nan, np.stack([area, precision], axis=1))

    def statistic(weights: Floats) -> Floats:
        return np.concatenate([walk(weights[at : at + step]) for at in range(0, len(weights), step)])

    return statistic


def _leave_one_out(statistic: GroupStatistic, n_groups: int) -> Floats:
    step = max(1, 4 * CELLS_AT_ONCE // n_groups)
    parts = []
    for start in range(0, n_groups, step):
        left_out = np.arange(start, min(start + step, n_groups))
        weights = np.ones((len(left_out), n_groups))
        weights[np.arange(len(left_out)), left_out] = 0.0
        parts.append(statistic(weights))
    return np.concatenate(parts)


def _bca_tails(tails: Floats, estimate: Floats, values: Floats, jackknife: Floats) -> Floats:
    """Tails (K, 2), shifted for median bias and acceleration; plain where these are undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        known = np.sum(~np.isnan(values), axis=0)
        # Ties count half, so that the answer mirrors when the classes are swapped.
        below = (np.sum(values < estimate, axis=0) + np.sum(values <= estimate, axis=0)) / 2
        bias = norm.ppf(below / known)[:, None]
        away = np.nanmean(jackknife, axis=0) - jackknife
        acceleration = (np.nansum(away**3, axis=0) / (6 * np.nansum(away**2, axis=0) ** 1.5))[:, None]
        shifted = bias + norm.ppf(tails)
        corrected = norm.cdf(bias + shifted / (1 - acceleration * shifted))
    return np.where(np.isfinite(corrected) & np.isfinite(bias), corrected, tails)


def _t_interval(estimate: float, values: Floats, n_groups: int, scale: Scale, confidence: float) -> Interval:
    patients = min(scale.patients, float(n_groups))
    return _t_step(estimate, standard_error(values, patients), patients, scale, confidence)


def _t_step(estimate: float, error: float, patients: float, scale: Scale, confidence: float) -> Interval:
    """Student's interval on the logit scale of the statistic's range."""
    if math.isnan(error) or math.isnan(estimate):
        return Interval(float("nan"), float("nan"), confidence)
    if error < 1e-12:
        return Interval(estimate, estimate, confidence)
    reach = float(student.ppf(0.5 + confidence / 2, patients - 1)) * error
    below, above = estimate - scale.low, scale.high - estimate
    if math.isinf(below) and math.isinf(above):
        return Interval(estimate - reach, estimate + reach, confidence)
    if math.isinf(above):
        return Interval(
            scale.low + below * math.exp(-reach / below),
            scale.low + below * math.exp(reach / below),
            confidence,
        )
    # The step on the logit scale, by the slope of the logit at the estimate.
    width = scale.high - scale.low
    centre, step = math.log(below / above), reach * width / (below * above)
    low, high = (scale.low + width * float(expit(centre + side * step)) for side in (-1, 1))
    return Interval(low, high, confidence)


def _quantiles(values: Floats, tails: Floats, confidence: float) -> Interval:
    undefined = np.isnan(values)
    if undefined.mean() > LARGEST_UNDEFINED_SHARE:
        return Interval(float("nan"), float("nan"), confidence)
    low, high = np.quantile(values[~undefined], np.sort(tails))
    return Interval(float(low), float(high), confidence)
