"""What the figures mean at the bedside: predictive values where the test is used, net benefit, subgroups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from msht.errors import InvalidInput
from msht.statistics.arrays import Floats, as_binary, as_groups, as_probabilities
from msht.statistics.summary import PerformanceSummary, summarise

SMALL_GROUPS = 10
"""A subgroup with fewer patients is marked: its figures say little."""
SMALL_CLASS = 10
"""A subgroup with fewer rows of either class is marked."""


@dataclass(frozen=True)
class PredictiveValues:
    """PPV and NPV over prevalence."""

    prevalence: Floats
    """(K,) prevalences."""
    ppv: Floats
    """(K,) share of the positive calls that are right; NaN where there is no positive call."""
    npv: Floats
    """(K,) share of the negative calls that are right."""

    def as_dict(self) -> dict[str, list[float | None]]:
        """Plain JSON lists; NaN becomes None."""
        return _plain_lists(self)


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit of acting on the model, on everyone and on no one (0), over threshold probabilities."""

    threshold: Floats
    """(K,) probability of disease at which a patient or doctor would act."""
    model: Floats
    """(K,) net benefit of acting where the probability is at least the threshold, per row."""
    act_on_all: Floats
    """(K,) net benefit of acting on every row."""
    spared: Floats
    """(K,) actions avoided per row against acting on all, at no cost in missed positives."""

    def as_dict(self) -> dict[str, list[float | None]]:
        """Plain JSON lists; NaN becomes None."""
        return _plain_lists(self)


@dataclass(frozen=True)
class Subgroup:
    """The figures of the rows that share a value of a column."""

    column: str
    """What the rows were parted by, such as `site`."""
    value: str
    """The value that they share; `(missing)` where it is not known."""
    summary: PerformanceSummary
    """Their figures."""
    warning: str
    """Why the figures say little; empty where there are enough rows."""


def predictive_values(sensitivity: float, specificity: float, prevalence: ArrayLike | None = None) -> PredictiveValues:
    """PPV and NPV by Bayes' rule at other prevalences than that of the test set.

    They hold where sensitivity and specificity carry over; a change of the case mix changes those too.

    Args:
        sensitivity: in [0, 1].
        specificity: in [0, 1].
        prevalence: (K,) in [0, 1], or one number; None for 1 % to 99 %.

    Returns:
        The two curves.

    Raises:
        InvalidInput: if a number is outside [0, 1].

    Source: Altman and Bland (1994), BMJ 309:102.
    """
    shares = np.atleast_1d(np.linspace(0.01, 0.99, 99) if prevalence is None else np.asarray(prevalence, float))
    shares = as_probabilities(shares, len(shares), "prevalence")
    as_probabilities([sensitivity, specificity], 2, "sensitivity and specificity")
    with np.errstate(invalid="ignore", divide="ignore"):
        hits, alarms = shares * sensitivity, (1 - shares) * (1 - specificity)
        quiet, missed = (1 - shares) * specificity, shares * (1 - sensitivity)
        return PredictiveValues(shares, hits / (hits + alarms), quiet / (quiet + missed))


def decision_curve(labels: ArrayLike, probabilities: ArrayLike, thresholds: ArrayLike | None = None) -> DecisionCurve:
    """Net benefit over the threshold probabilities.

    Net benefit = TP / N - FP / N * t / (1 - t): true positives, less false positives at the price that the
    threshold t itself sets.

    Args:
        labels: (N,) 0 or 1.
        probabilities: (N,) calibrated, of the positive class.
        thresholds: (K,) in (0, 1); None for 1 % to 99 %.

    Returns:
        The curves.

    Raises:
        InvalidInput: if the arrays do not fit together or a threshold is outside (0, 1).

    Source: Vickers and Elkin (2006), Med. Decis. Making 26:565; Vickers, van Calster and Steyerberg (2016),
    BMJ 352:i6, for the actions avoided.
    """
    truth = as_binary(labels)
    values = as_probabilities(probabilities, len(truth))
    cuts = np.linspace(0.01, 0.99, 99) if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    if cuts.ndim != 1 or not ((cuts > 0) & (cuts < 1)).all():
        raise InvalidInput("Expected thresholds strictly between 0 and 1.", "Leave out 0 and 1.")
    called = values[None, :] >= cuts[:, None]
    odds = cuts / (1 - cuts)
    model = (called & (truth == 1)).mean(axis=1) - (called & (truth == 0)).mean(axis=1) * odds
    everyone = truth.mean() - (1 - truth.mean()) * odds
    return DecisionCurve(cuts, model, everyone, (model - everyone) / odds)


def subgroup_table(
    labels: ArrayLike,
    probabilities: ArrayLike,
    columns: Mapping[str, ArrayLike],
    *,
    threshold: float,
    groups: ArrayLike | None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 517,
) -> list[Subgroup]:
    """Figures for every value of every column, with a warning where few patients stand behind them.

    Args:
        labels: (N,) 0 or 1.
        probabilities: (N,) of the positive class.
        columns: by name (`site`, `stain`), (N,) values; missing ones form a subgroup of their own.
        threshold: a row is called positive when its probability is at least this.
        groups: (N,) patient of each row; None if every row stands alone.
        confidence: of the intervals.
        resamples: bootstrap resamples.
        seed: of the resampling.

    Returns:
        A row for each value, in the order of the columns and of the sorted values.

    Raises:
        InvalidInput: if the arrays do not fit together.
    """
    truth = as_binary(labels)
    values = as_probabilities(probabilities, len(truth))
    codes, _ = as_groups(groups, len(truth))
    table = []
    for name, given in columns.items():
        column = pd.Series(np.asarray(given, dtype=object))
        if len(column) != len(truth):
            raise InvalidInput(
                f"Expected column '{name}' to have {len(truth)} rows, but got {len(column)}.",
                "Give a value for each row.",
            )
        words = column.map(str).where(column.notna(), "(missing)").to_numpy()
        for value in sorted(set(words)):
            rows = words == value
            summary = summarise(
                truth[rows],
                values[rows],
                threshold=threshold,
                groups=codes[rows],
                confidence=confidence,
                resamples=resamples,
                seed=seed,
            )
            table.append(Subgroup(name, value, summary, _warning(summary)))
    return table


def _warning(summary: PerformanceSummary) -> str:
    reasons = []
    if summary.n_groups < SMALL_GROUPS:
        reasons.append(f"{summary.n_groups} patients")
    if summary.counts.positives < SMALL_CLASS:
        reasons.append(f"{summary.counts.positives} positive rows")
    if summary.counts.negatives < SMALL_CLASS:
        reasons.append(f"{summary.counts.negatives} negative rows")
    return f"small subgroup ({', '.join(reasons)}): read with caution" if reasons else ""


def _plain_lists(curve: PredictiveValues | DecisionCurve) -> dict[str, list[float | None]]:
    return {
        name: [None if np.isnan(value) else float(value) for value in getattr(curve, name)]
        for name in curve.__dataclass_fields__
    }
