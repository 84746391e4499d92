"""All figures of one set of predictions, each with the interval that its data allow."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from msht.statistics.arrays import Floats, Integers, as_binary, as_groups, as_probabilities, check_fraction
from msht.statistics.bootstrap import (
    FEWEST_GROUPS,
    Scale,
    clustered_bootstrap,
    clustered_jackknife,
    confusion_statistic,
    effective_groups,
    mean_statistic,
    ranking_statistic,
)
from msht.statistics.classification import (
    CONFUSION_RATIOS,
    ConfusionCounts,
    count_confusion,
    log_losses,
    squared_errors,
)
from msht.statistics.intervals import Interval, delong_interval, newcombe_auroc_interval, wilson_interval

MEASURES = (
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "accuracy",
    "balanced_accuracy",
    "f1",
    "mcc",
    "auroc",
    "auprc",
    "brier",
    "log_loss",
)
"""Names of the estimates of a `PerformanceSummary`, in the order in which reports show them."""

SummaryMethod = Literal["auto", "jackknife", "t", "percentile", "bca"]
MOST_LEFT_OUT = 1000
"""With more patients than this each can no longer be left out in turn at no cost, nor does it matter."""

METHOD_WORDS: dict[SummaryMethod, str] = {
    "jackknife": "jackknife t on the logit scale",
    "t": "bootstrap t on the logit scale",
    "percentile": "bootstrap percentile",
    "bca": "bootstrap BCa",
}
"""How an interval by resampling is named in a report."""

PROPORTIONS = ("sensitivity", "specificity", "ppv", "npv", "accuracy")
"""The measures that are a count among a count."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval."""

    value: float
    """The figure from all rows; NaN where undefined."""
    low: float
    """Lower bound; NaN where none can be given."""
    high: float
    """Upper bound; NaN where none can be given."""
    method: str = ""
    """How the interval was computed, in words; empty where there is none."""
    note: str = ""
    """Why there is no interval or no figure, or what to mind; empty where all is well."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON; NaN becomes None."""
        return {
            field.name: _plain(value) if isinstance(value := getattr(self, field.name), float) else value
            for field in fields(self)
        }


@dataclass(frozen=True)
class PerformanceSummary:
    """What a set of predictions shows, at one threshold."""

    threshold: float
    """A row is called positive when its probability is at least this."""
    counts: ConfusionCounts
    """The 2 x 2 table."""
    n_rows: int
    """Rows."""
    n_groups: int
    """Patients (or what stands for them)."""
    prevalence: float
    """Share of positive rows."""
    confidence: float
    """Confidence of every interval."""
    resamples: int
    """Bootstrap resamples; 0 where patients were left out in turn."""
    seed: int
    """Seed of the resampling."""
    method: str
    """How the intervals were computed, in words."""
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    accuracy: Estimate
    balanced_accuracy: Estimate
    f1: Estimate
    mcc: Estimate
    auroc: Estimate
    auprc: Estimate
    brier: Estimate
    log_loss: Estimate

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: NaN becomes None, the twelve measures lie under `estimates`."""
        plain = ("threshold", "n_rows", "n_groups", "prevalence", "confidence", "resamples", "seed", "method")
        return {
            **{name: _plain(getattr(self, name)) for name in plain},
            "counts": {field.name: getattr(self.counts, field.name) for field in fields(self.counts)},
            "estimates": {name: getattr(self, name).as_dict() for name in MEASURES},
        }


def summarise(
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    threshold: float,
    groups: ArrayLike | None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 517,
    method: SummaryMethod = "auto",
    calls: ArrayLike | None = None,
) -> PerformanceSummary:
    """Compute every figure of a set of predictions, with intervals that respect the patients.

    Where several rows share a patient the intervals leave out, or resample, patients. Where every row is a
    patient of its own, proportions get Wilson's and the AUROC gets DeLong's, which are better there. Where no
    patient makes a difference (no error at all) that would give a width of zero: proportions then get Wilson's
    and the AUROC Newcombe's with the number of patients in place of rows, the most cautious reading, and the
    other measures no interval. Each `Estimate` says which method it got, or why none.

    Args:
        labels: (N,) 0 or 1.
        probabilities: (N,) of the positive class.
        threshold: a row is called positive when its probability is at least this.
        groups: (N,) patient of each row; None if every row stands alone.
        confidence: of every interval, in (0, 1).
        resamples: bootstrap resamples, at least 100.
        seed: of the resampling.
        method: `auto` takes what covers best in simulation: the jackknife (`clustered_jackknife`), with more than
            `MOST_LEFT_OUT` patients the bootstrap's `t`; else a method of `clustered_bootstrap`.
        calls: (N,) 0 or 1 where something other than the threshold decided; None for the threshold.

    Returns:
        The summary; it never fails for few patients or one class only, but says so in the notes.

    Raises:
        InvalidInput: if an array has the wrong length, values or missing ids.
    """
    truth = as_binary(labels)
    values = as_probabilities(probabilities, len(truth))
    codes, n_groups = as_groups(groups, len(truth))
    check_fraction(confidence, "confidence")
    called = as_binary((values >= threshold) if calls is None else calls, "calls")

    ratios = confusion_statistic(truth, called, codes, n_groups)
    ranking = ranking_statistic(truth, values, codes, n_groups)
    losses = mean_statistic(
        np.column_stack([squared_errors(truth, values), log_losses(truth, values)]), codes, n_groups
    )
    columns = [CONFUSION_RATIOS.index(name) for name in MEASURES[:8]]

    def statistic(weights: Floats) -> Floats:
        return np.concatenate([ratios(weights)[:, columns], ranking(weights), losses(weights)], axis=1)

    point = statistic(np.ones((1, n_groups)))[0]
    scales = [measure_scale(name, truth, called, codes) for name in MEASURES]
    if method == "auto":
        method = "jackknife" if n_groups <= MOST_LEFT_OUT else "t"
    if method == "jackknife":
        resamples = 0
        intervals = clustered_jackknife(statistic, n_groups, scales, confidence=confidence)
    else:
        intervals = clustered_bootstrap(
            statistic, n_groups, scales, confidence=confidence, resamples=resamples, seed=seed, method=method
        )
    counts = count_confusion(truth, called)
    independent = n_groups == len(truth)
    unit = "rows" if independent else "patients"
    words = f"{METHOD_WORDS[method]}, " + (f"{resamples} resamples of " if resamples else "") + f"{n_groups} {unit}"
    estimates = {}
    for name, value, interval in zip(MEASURES, point, intervals, strict=True):
        estimate = _describe(float(value), interval, words, n_groups)
        if name in PROPORTIONS and not math.isnan(value) and (independent or _flat(interval)):
            selected = _denominator(name, truth, called)
            estimate = _wilson(estimate, float(value), selected, codes, confidence, independent)
        if name == "auroc" and not math.isnan(value) and (independent or _flat(interval)):
            estimate = _area(estimate, truth, values, codes, confidence, independent)
        estimates[name] = estimate
    summary_method = (
        f"Wilson for proportions, DeLong on the logit scale for AUROC, {words} for the rest"
        if independent
        else f"{words}; where none makes a difference, Wilson or Newcombe with the number of patients"
    )
    return PerformanceSummary(
        threshold=float(threshold),
        counts=counts,
        n_rows=len(truth),
        n_groups=n_groups,
        prevalence=float(truth.mean()),
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        method=summary_method,
        **estimates,
    )


def measure_scale(name: str, truth: Integers, calls: Integers, codes: Integers) -> Scale:
    """Range of a measure, and the patients in effect behind its denominator.

    Args:
        name: one of `MEASURES`.
        truth: (N,) 0 or 1.
        calls: (N,) 0 or 1.
        codes: (N,) group numbers from 0.
    """
    if name in ("balanced_accuracy", "mcc", "auroc"):
        patients = min(effective_groups(codes, truth == label) for label in (0, 1))
    else:
        patients = effective_groups(codes, _denominator(name, truth, calls))
    low, high = {"mcc": (-1.0, 1.0), "log_loss": (0.0, math.inf)}.get(name, (0.0, 1.0))
    return Scale(low, high, patients)


def _describe(value: float, interval: Interval, words: str, n_groups: int) -> Estimate:
    nothing = float("nan")
    if math.isnan(value):
        return Estimate(value, nothing, nothing, note="not defined for these rows: a class or a call is missing")
    if n_groups < FEWEST_GROUPS:
        note = f"no interval: {n_groups} patients, fewer than {FEWEST_GROUPS}"
        return Estimate(value, nothing, nothing, note=note)
    if not interval.known:
        return Estimate(value, nothing, nothing, note="no interval: rows of too few patients")
    if _flat(interval):
        return Estimate(value, nothing, nothing, note="no interval: the same without any one patient")
    return Estimate(value, interval.low, interval.high, method=words)


def _flat(interval: Interval) -> bool:
    return interval.known and interval.high - interval.low < 1e-12


def _denominator(name: str, truth: Integers, calls: Integers) -> np.ndarray:
    """Rows that a measure is about."""
    about = {
        "sensitivity": truth == 1,
        "f1": truth == 1,
        "auprc": truth == 1,
        "specificity": truth == 0,
        "ppv": calls == 1,
        "npv": calls == 0,
    }
    return about.get(name, np.ones(len(truth), dtype=bool))


def _wilson(
    estimate: Estimate,
    value: float,
    selected: np.ndarray,
    codes: Integers,
    confidence: float,
    independent: bool,
) -> Estimate:
    trials = int(selected.sum()) if independent else len(np.unique(codes[selected]))
    if not independent and len(np.unique(codes)) < FEWEST_GROUPS:
        return estimate
    interval = wilson_interval(value * trials, trials, confidence)
    words = f"Wilson, n = {trials} " + ("rows" if independent else "patients")
    return Estimate(value, interval.low, interval.high, method=words)


def _area(
    estimate: Estimate,
    truth: Integers,
    values: Floats,
    codes: Integers,
    confidence: float,
    independent: bool,
) -> Estimate:
    if not independent:
        positives = len(np.unique(codes[truth == 1]))
        negatives = len(np.unique(codes[truth == 0]))
        interval = newcombe_auroc_interval(estimate.value, positives, negatives, confidence)
        words = f"Newcombe, {positives} positive and {negatives} negative patients"
        return Estimate(estimate.value, interval.low, interval.high, method=words)
    interval = delong_interval(truth, values, confidence)
    if not interval.known:
        return Estimate(estimate.value, interval.low, interval.high, note="no interval: one row in a class")
    words = "Newcombe" if estimate.value in (0.0, 1.0) else "DeLong on the logit scale"
    return Estimate(estimate.value, interval.low, interval.high, method=words)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
