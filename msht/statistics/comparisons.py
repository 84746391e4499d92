"""Whether one model is better than another on the same cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest, norm
from scipy.stats import t as student

from msht.errors import InvalidInput
from msht.statistics.arrays import (
    Booleans,
    Floats,
    as_binary,
    as_groups,
    as_probabilities,
    as_scores,
    check_fraction,
)
from msht.statistics.bootstrap import (
    FEWEST_GROUPS,
    bootstrap_values,
    confusion_statistic,
    mean_statistic,
    ranking_statistic,
    standard_error,
)
from msht.statistics.classification import CONFUSION_RATIOS, log_losses, squared_errors
from msht.statistics.intervals import delong_covariance
from msht.statistics.summary import measure_scale


@dataclass(frozen=True)
class Comparison:
    """The difference of two models on one measure."""

    measure: str
    """Name of the measure."""
    first: float
    """Value of the first model."""
    second: float
    """Value of the second model."""
    difference: float
    """First less second."""
    low: float
    """Lower bound of the difference; NaN where none can be given."""
    high: float
    """Upper bound of the difference."""
    p_value: float
    """Two-sided, of no difference; NaN where none can be given."""
    method: str
    """Which test, in words."""


def mcnemar_exact(labels: ArrayLike, first: ArrayLike, second: ArrayLike) -> Comparison:
    """Compare the accuracy of two sets of calls by the rows on which just one is right.

    Rows are taken as independent: for several rows of one patient use `clustered_paired_bootstrap`.

    Args:
        labels: (N,) 0 or 1.
        first: (N,) calls of the first model.
        second: (N,) calls of the second model.

    Returns:
        The difference of the accuracies, with the exact two-sided p-value and, from it, no interval.

    Raises:
        InvalidInput: if the arrays do not fit together.

    Source: McNemar (1947), Psychometrika 12:153, by the binomial distribution.
    """
    truth = as_binary(labels)
    right = [as_binary(calls, "calls") == truth for calls in (first, second)]
    only_first = int(np.sum(right[0] & ~right[1]))
    only_second = int(np.sum(right[1] & ~right[0]))
    discordant = only_first + only_second
    p_value = float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0
    accuracies = [float(values.mean()) for values in right]
    return Comparison(
        measure="accuracy",
        first=accuracies[0],
        second=accuracies[1],
        difference=(only_first - only_second) / len(truth),
        low=float("nan"),
        high=float("nan"),
        p_value=p_value,
        method=f"McNemar's exact test, {only_first} against {only_second} discordant rows",
    )


def paired_delong(labels: ArrayLike, first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> Comparison:
    """Compare the AUROC of two scores on the same independent rows.

    Args:
        labels: (N,) 0 or 1, two rows of each class.
        first: (N,) scores of the first model.
        second: (N,) scores of the second model.
        confidence: of the interval.

    Returns:
        The difference of the areas with its interval; p = 1 where both rank every pair alike.

    Raises:
        InvalidInput: if the arrays do not fit together or a class has fewer than two rows.

    Source: DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44:837.
    """
    truth = as_binary(labels)
    check_fraction(confidence, "confidence")
    areas, covariance = delong_covariance(truth, [as_scores(s, len(truth)) for s in (first, second)])
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    deviation = math.sqrt(max(variance, 0.0))
    reach = float(norm.ppf(0.5 + confidence / 2)) * deviation
    if deviation > 1e-12:
        p_value = float(2 * norm.sf(abs(difference) / deviation))
    else:
        p_value = 1.0 if abs(difference) < 1e-12 else float("nan")
    return Comparison(
        measure="auroc",
        first=float(areas[0]),
        second=float(areas[1]),
        difference=difference,
        low=difference - reach,
        high=difference + reach,
        p_value=p_value,
        method="DeLong's test for paired areas",
    )


def clustered_paired_bootstrap(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    threshold: float | tuple[float, float],
    groups: ArrayLike | None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 517,
) -> dict[str, Comparison]:
    """Compare two models on every measure by resampling patients, the same ones for both.

    Args:
        labels: (N,) 0 or 1.
        first: (N,) probabilities of the first model.
        second: (N,) probabilities of the second model.
        threshold: of both models, or one for each.
        groups: (N,) patient of each row; None if every row stands alone.
        confidence: of the intervals.
        resamples: how many, at least 100.
        seed: of the resampling.

    Returns:
        By measure: the difference with its interval and p-value, from t with the bootstrap's standard error;
        NaN with fewer than five patients.

    Raises:
        InvalidInput: if the arrays do not fit together.

    Sources: Field and Welsh (2007), J. R. Stat. Soc. B 69:369; Hesterberg (2015), Am. Stat. 69:371, section
    5.
    """
    truth = as_binary(labels)
    codes, n_groups = as_groups(groups, len(truth))
    names = (*CONFUSION_RATIOS[:-1], "auroc", "auprc", "brier", "log_loss")
    cuts = threshold if isinstance(threshold, tuple) else (threshold, threshold)
    parts = []
    for given, cut in zip((first, second), cuts, strict=True):
        values = as_probabilities(given, len(truth))
        losses = np.column_stack([squared_errors(truth, values), log_losses(truth, values)])
        parts.append(
            (
                confusion_statistic(truth, (values >= cut).astype(np.int64), codes, n_groups),
                ranking_statistic(truth, values, codes, n_groups),
                mean_statistic(losses, codes, n_groups),
            )
        )

    def both(weights: Floats) -> Floats:
        models = [
            np.concatenate([ratios(weights)[:, :-1], ranking(weights), losses(weights)], axis=1)
            for ratios, ranking, losses in parts
        ]
        return np.stack(models, axis=-1)

    def differences(weights: Floats) -> Floats:
        values = both(weights)
        return values[..., 0] - values[..., 1]

    point = both(np.ones((1, n_groups)))[0]
    drawn = bootstrap_values(differences, n_groups, resamples=resamples, seed=seed)
    calls = [
        (as_probabilities(p, len(truth)) >= cut).astype(np.int64) for p, cut in zip((first, second), cuts, strict=True)
    ]
    comparisons = {}
    for k, name in enumerate(names):
        patients = min(measure_scale(name, truth, call, codes).patients for call in calls)
        difference = float(point[k, 0] - point[k, 1])
        known = n_groups >= FEWEST_GROUPS and not math.isnan(difference)
        error = standard_error(drawn[:, k], patients) if known else float("nan")
        reach, p_value = _t_test(difference, error, patients - 1, confidence)
        comparisons[name] = Comparison(
            measure=name,
            first=float(point[k, 0]),
            second=float(point[k, 1]),
            difference=difference,
            low=difference - reach,
            high=difference + reach,
            p_value=p_value,
            method=f"paired bootstrap t, {resamples} resamples of {n_groups} patients",
        )
    return comparisons


def nadeau_bengio(
    first: ArrayLike, second: ArrayLike, *, test_share: float, measure: str = "", confidence: float = 0.95
) -> Comparison:
    """Compare two models over the folds of one cross-validation, whose training sets overlap.

    Args:
        first: (K,) a figure of the first model in each fold.
        second: (K,) the figure of the second model in the same folds.
        test_share: rows tested over rows trained on in a fold; 1 / (K - 1) for K-fold cross-validation.
        measure: the figure's name, for the result.
        confidence: of the interval.

    Returns:
        The mean difference; its interval and p-value from a t distribution with K - 1 degrees of freedom.

    Raises:
        InvalidInput: if there are fewer than two folds or the lengths differ.

    Source: Nadeau and Bengio (2003), Mach. Learn. 52:239: the variance is that of the folds times
    1 / K + test_share.
    """
    values = np.asarray(first, dtype=np.float64)
    others = as_scores(second, len(values), "second")
    values = as_scores(values, len(values), "first")
    check_fraction(confidence, "confidence")
    if len(values) < 2 or test_share <= 0:
        raise InvalidInput(
            f"Expected two folds or more and `test_share` above 0, but got {len(values)} and {test_share}.",
            "Give the figure of each fold.",
        )
    differences = values - others
    mean, freedom = float(differences.mean()), len(values) - 1
    deviation = math.sqrt(float(differences.var(ddof=1)) * (1 / len(values) + test_share))
    reach, p_value = _t_test(mean, deviation, freedom, confidence)
    return Comparison(
        measure=measure,
        first=float(values.mean()),
        second=float(others.mean()),
        difference=mean,
        low=mean - reach,
        high=mean + reach,
        p_value=p_value,
        method=f"Nadeau and Bengio's corrected t test over {len(values)} folds",
    )


def holm(p_values: Sequence[float], level: float = 0.05) -> tuple[Floats, Booleans]:
    """Correct several p-values so that the chance of any false claim stays below `level`.

    Args:
        p_values: M of them, one for each comparison.
        level: family-wise error rate, in (0, 1).

    Returns:
        (M,) adjusted p-values and (M,) which are significant.

    Raises:
        InvalidInput: if there is none, or one lies outside [0, 1].

    Source: Holm (1979), Scand. J. Stat. 6:65.
    """
    values = as_probabilities(p_values, len(p_values), "p_values")
    if not len(values):
        raise InvalidInput("Expected at least one p-value, but got none.", "Compare two models or more.")
    check_fraction(level, "level")
    # Three lines in place of statsmodels' multipletests, which runs the garbage collector at every call.
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted, adjusted <= level


def _t_test(difference: float, error: float, freedom: float, confidence: float) -> tuple[float, float]:
    """Half width of the interval and two-sided p-value; NaN where the error is not known."""
    if math.isnan(error):
        return float("nan"), float("nan")
    if error < 1e-12:
        return 0.0, 1.0 if abs(difference) < 1e-12 else 0.0
    reach = float(student.ppf(0.5 + confidence / 2, freedom)) * error
    return reach, float(2 * student.sf(abs(difference) / error, freedom))
