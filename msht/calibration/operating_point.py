"""Where a probability becomes a call, by which rule, from which data and with what guarantee."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from msht.errors import InvalidInput
from msht.statistics.arrays import Floats, Integers, as_binary, as_groups, as_probabilities, check_fraction

Level = Literal["case", "field"]


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and what a reader needs to judge it. A call is positive at `threshold` or above."""

    threshold: float
    """Lowest probability that is called positive."""
    rule: str
    """`sensitivity`, `youden` or `cost`."""
    target: float
    """What the rule aimed at: the sensitivity, or the cost ratio; NaN for Youden."""
    achieved: float
    """Sensitivity on the cases given."""
    achieved_specificity: float
    """Specificity on the cases given."""
    n: int
    """Cases (or fields) given."""
    n_positive: int
    """Positive ones among them."""
    level: Level
    """What a row was."""
    guaranteed: bool
    """Whether the finite-sample guarantee holds."""
    guarantee: str
    """The guarantee, or that there is none, in words for a report."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON; NaN becomes None."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
        }


def threshold_for_sensitivity(
    labels: ArrayLike,
    probabilities: ArrayLike,
    target: float,
    *,
    groups: ArrayLike | None = None,
    level: Level = "case",
) -> OperatingPoint:
    """The highest threshold whose sensitivity meets a target with a finite-sample guarantee.

    Misses grow with the threshold, so conformal risk control applies: with n positive cases, at most (1 -
    target)(n + 1) - 1 of them may be missed here, and then a new positive case that is exchangeable with them
    is missed with probability at most 1 - target. The threshold is put halfway between the lowest probability
    that must still be called and the next lower observed one (of either class), which changes no call on
    these cases and cannot raise the misses. With fewer than 1 / (1 - target) - 1 positive cases no threshold
    has the guarantee: the threshold then catches every positive case given here, and `guarantee` says that
    nothing is promised.

    Rows of one patient are not exchangeable with those of a new one; patients are. With `groups` a patient's
    loss is the share of its own positive rows that are missed, and the sum of these losses takes the place of
    the number of misses: the promise is then about a positive row of a new patient, each patient counting
    alike.

    Args:
        labels: (N,) 0 or 1; at least one positive.
        probabilities: (N,) of the positive class, out of fold.
        target: sensitivity wanted, in (0, 1).
        groups: (N,) patient of each row; None if every row stands alone.
        level: what a row is; the guarantee is about rows.

    Returns:
        The operating point.

    Raises:
        InvalidInput: if there is no positive row or `target` is outside (0, 1).

    Source: Angelopoulos et al. (2024), ICLR, "Conformal risk control", eq. 4 with the miss rate among the
    positives as the loss, bounded by 1.
    """
    truth, values = _check(labels, probabilities)
    check_fraction(target, "target")
    unit = "case" if level == "case" else "field"
    positive = values[truth == 1]
    codes, _ = as_groups(None if groups is None else np.asarray(groups)[truth == 1], len(positive))
    size = np.bincount(codes)
    size = size[size > 0]
    count, alone = len(size), bool((size == 1).all())
    weight = 1 / np.bincount(codes)[codes]
    allowed = (1 - target) * (count + 1) - 1
    order = np.argsort(positive, kind="stable")
    rising, first = np.unique(positive[order], return_index=True)
    below = np.concatenate([[0.0], np.cumsum(weight[order])])[first]
    # Rounding must not lose a whole product such as (1 - 0.95) * 40.
    lowest = float(rising[np.flatnonzero(below <= max(allowed, 0.0) + 1e-9)[-1]])
    threshold = _halfway_below(lowest, values)
    units, whose = f"{unit}s", f"positive {unit}"
    if not alone:
        units, whose = "patients", f"positive {unit} of a new patient"
    behind = f"{count} positive {units}" if alone else f"{count} patients with positive {unit}s"
    if allowed >= -1e-9:
        words = (
            f"A new {whose}, exchangeable with the {behind} used here, is missed "
            f"with probability at most {1 - target:.1%} (conformal risk control; on average over such data, "
            f"for a {unit} of the same population)."
        )
    else:
        needed = math.ceil(1 / (1 - target) - 1 - 1e-9)
        words = (
            f"No guarantee: a sensitivity of {target:.1%} needs at least {needed} positive {units}, and "
            f"there are {count}. The threshold catches every positive {unit} seen here; what it will miss is "
            "not bounded."
        )
    return _point(truth, values, threshold, "sensitivity", target, level, allowed >= -1e-9, words)


def threshold_by_youden(labels: ArrayLike, probabilities: ArrayLike, *, level: Level = "case") -> OperatingPoint:
    """The threshold with the highest sensitivity + specificity - 1; the lower one on a tie.

    Args:
        labels: (N,) 0 or 1, both classes.
        probabilities: (N,) of the positive class, out of fold.
        level: what a row is.

    Returns:
        The operating point; its figures are optimistic, having been maximised on these rows.

    Raises:
        InvalidInput: if a class is missing.

    Source: Youden (1950), Cancer 3:32.
    """
    truth, values = _check(labels, probabilities, both=True)
    thresholds, hits, alarms = _steps(truth, values)
    gain = hits / truth.sum() - alarms / (len(truth) - truth.sum())
    words = "No guarantee: the threshold maximises sensitivity + specificity on the cases given."
    return _point(truth, values, _best(thresholds, gain), "youden", float("nan"), level, False, words)


def threshold_by_cost(
    labels: ArrayLike,
    probabilities: ArrayLike,
    cost_ratio: float,
    *,
    prevalence: float | None = None,
    level: Level = "case",
) -> OperatingPoint:
    """The threshold with the lowest expected cost, a miss costing `cost_ratio` false alarms.

    Args:
        labels: (N,) 0 or 1, both classes.
        probabilities: (N,) of the positive class, out of fold.
        cost_ratio: cost of a false negative over that of a false positive, above 0.
        prevalence: where the threshold will be used; None for that of the rows given.
        level: what a row is.

    Returns:
        The operating point; the lower threshold on a tie.

    Raises:
        InvalidInput: if a class is missing, or the ratio is not above 0.

    Source: Metz (1978), Semin. Nucl. Med. 8:283.
    """
    truth, values = _check(labels, probabilities, both=True)
    if not (math.isfinite(cost_ratio) and cost_ratio > 0):
        raise InvalidInput(f"Expected `cost_ratio` above 0, but got {cost_ratio}.", "Say 10 for ten to one.")
    share = float(truth.mean()) if prevalence is None else check_fraction(prevalence, "prevalence")
    thresholds, hits, alarms = _steps(truth, values)
    missed = 1 - hits / truth.sum()
    cost = cost_ratio * share * missed + (1 - share) * alarms / (len(truth) - truth.sum())
    words = (
        f"No guarantee: the threshold minimises the cost on the cases given, a miss costing {cost_ratio:g} "
        f"false alarms at a prevalence of {share:.1%}."
    )
    return _point(truth, values, _best(thresholds, -cost), "cost", cost_ratio, level, False, words)


def _check(labels: ArrayLike, probabilities: ArrayLike, both: bool = False) -> tuple[Integers, Floats]:
    truth = as_binary(labels)
    values = as_probabilities(probabilities, len(truth))
    if not truth.any() or (both and truth.all()):
        missing = "positive" if not truth.any() else "negative"
        raise InvalidInput(
            f"An operating point needs {missing} rows, and there are none among {len(truth)}.",
            f"Add {missing} cases to the development cohort.",
        )
    return truth, values


def _halfway_below(lowest_called: float, values: Floats) -> float:
    """Midpoint of a score and the next lower one; half the score where none is lower."""
    lower = values[values < lowest_called]
    below = float(lower.max()) if lower.size else 0.0
    middle = (below + lowest_called) / 2
    return middle if below < middle <= lowest_called else lowest_called


def _steps(truth: Integers, values: Floats) -> tuple[Floats, Floats, Floats]:
    """Every threshold that gives different calls, from low to high, with true and false positives at each."""
    scores = np.unique(values)
    below = np.concatenate([[0.0], scores[:-1]])
    middle = (below + scores) / 2
    thresholds = np.where((below < middle) & (middle <= scores), middle, scores)
    if scores[-1] < 1:
        thresholds = np.append(thresholds, (scores[-1] + 1) / 2)
    positive, negative = np.sort(values[truth == 1]), np.sort(values[truth == 0])
    hits = len(positive) - np.searchsorted(positive, thresholds, side="left")
    alarms = len(negative) - np.searchsorted(negative, thresholds, side="left")
    return thresholds, hits.astype(np.float64), alarms.astype(np.float64)


def _best(thresholds: Floats, gain: Floats) -> float:
    """The lowest threshold of the highest gain: sensitivity comes first."""
    return float(thresholds[np.flatnonzero(gain >= gain.max() - 1e-12)[0]])


def _point(
    truth: Integers,
    values: Floats,
    threshold: float,
    rule: str,
    target: float,
    level: Level,
    guaranteed: bool,
    words: str,
) -> OperatingPoint:
    called = values >= threshold
    negatives = len(truth) - int(truth.sum())
    return OperatingPoint(
        threshold=threshold,
        rule=rule,
        target=target,
        achieved=float(called[truth == 1].mean()),
        achieved_specificity=float((~called[truth == 0]).mean()) if negatives else float("nan"),
        n=len(truth),
        n_positive=int(truth.sum()),
        level=level,
        guaranteed=guaranteed,
        guarantee=words,
    )
