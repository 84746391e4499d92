"""How well calls and probabilities agree with the reference standard.

Every ratio is of the positive class. A ratio whose denominator is zero is undefined and given as NaN, never
as 0 or 1: a sensitivity without positives is not known, and a report must be able to say so.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import average_precision_score, roc_auc_score

from msht.errors import InvalidInput
from msht.statistics.arrays import Floats, as_binary, as_probabilities, as_scores

SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)
"""Probabilities are kept this far from 0 and 1 in a log loss, as scikit-learn does."""

CONFUSION_RATIOS = (
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "f1",
    "mcc",
    "prevalence",
)
"""The names of `ConfusionMetrics`, in the order of the columns of `confusion_ratios`."""


@dataclass(frozen=True)
class ConfusionCounts:
    """The 2 x 2 table of calls against the reference standard."""

    true_positives: int
    """Positive by the reference, called positive."""
    true_negatives: int
    """Negative by the reference, called negative."""
    false_positives: int
    """Negative by the reference, called positive."""
    false_negatives: int
    """Positive by the reference, called negative."""

    def __post_init__(self) -> None:
        for field in fields(self):
            count = getattr(self, field.name)
            if count < 0:
                raise InvalidInput(
                    f"Expected `{field.name}` to be 0 or more, but got {count}.", "Count the rows again."
                )

    @property
    def positives(self) -> int:
        """Rows that are positive by the reference."""
        return self.true_positives + self.false_negatives

    @property
    def negatives(self) -> int:
        """Rows that are negative by the reference."""
        return self.true_negatives + self.false_positives

    @property
    def called_positive(self) -> int:
        """Rows called positive."""
        return self.true_positives + self.false_positives

    @property
    def called_negative(self) -> int:
        """Rows called negative."""
        return self.true_negatives + self.false_negatives

    @property
    def total(self) -> int:
        """All rows."""
        return self.positives + self.negatives


@dataclass(frozen=True)
class ConfusionMetrics:
    """What follows from a 2 x 2 table; NaN where a ratio has no denominator."""

    accuracy: float
    """Share of rows called right."""
    balanced_accuracy: float
    """Mean of sensitivity and specificity."""
    sensitivity: float
    """Share of the positives called positive; also called recall."""
    specificity: float
    """Share of the negatives called negative."""
    ppv: float
    """Share of the positive calls that are right; also called precision. Holds at this prevalence only."""
    npv: float
    """Share of the negative calls that are right. Holds at this prevalence only."""
    f1: float
    """Harmonic mean of sensitivity and PPV."""
    mcc: float
    """Matthews correlation coefficient, in [-1, 1]; NaN if a row or column of the table is empty."""
    prevalence: float
    """Share of positives among the rows."""


def count_confusion(labels: ArrayLike, calls: ArrayLike) -> ConfusionCounts:
    """Count the 2 x 2 table.

    Args:
        labels: (N,) 0 or 1, the reference standard.
        calls: (N,) 0 or 1.

    Returns:
        The four counts; they sum to N.

    Raises:
        InvalidInput: if either holds anything but 0 and 1, or the lengths differ.
    """
    truth, called = as_binary(labels), as_binary(calls, "calls")
    as_scores(called, len(truth), "calls")
    return ConfusionCounts(
        true_positives=int(np.sum((truth == 1) & (called == 1))),
        true_negatives=int(np.sum((truth == 0) & (called == 0))),
        false_positives=int(np.sum((truth == 0) & (called == 1))),
        false_negatives=int(np.sum((truth == 1) & (called == 0))),
    )


def confusion_ratios(counts: ArrayLike) -> Floats:
    """Compute every ratio of many 2 x 2 tables at once.

    Args:
        counts: (..., 4) true positives, true negatives, false positives, false negatives; may be real.

    Returns:
        (..., 9) in the order of `CONFUSION_RATIOS`, NaN where undefined.

    Source: Fawcett (2006), Pattern Recognit. Lett. 27:861; MCC after Matthews (1975), Biochim. Biophys. Acta
    405:442, with its square root taken of two factors, so that a table without errors gives exactly 1.
    """
    tp, tn, fp, fn = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        sensitivity = tp / (tp + fn)
        specificity = tn / (tn + fp)
        margins = np.sqrt((tp + fp) * (tp + fn)) * np.sqrt((tn + fp) * (tn + fn))
        ratios = [
            (tp + tn) / (tp + tn + fp + fn),
            (sensitivity + specificity) / 2,
            sensitivity,
            specificity,
            tp / (tp + fp),
            tn / (tn + fn),
            2 * tp / (2 * tp + fp + fn),
            np.clip((tp * tn - fp * fn) / margins, -1.0, 1.0),
            (tp + fn) / (tp + tn + fp + fn),
        ]
    return np.stack(ratios, axis=-1)


def confusion_metrics(counts: ConfusionCounts) -> ConfusionMetrics:
    """Compute every ratio of a 2 x 2 table.

    Returns:
        Fractions in [0, 1] (MCC in [-1, 1]); NaN where undefined.
    """
    table = [counts.true_positives, counts.true_negatives, counts.false_positives, counts.false_negatives]
    return ConfusionMetrics(*(float(value) for value in confusion_ratios(table)))


def area_under_roc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counted half.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) higher means more likely positive; any monotone scale.

    Returns:
        In [0, 1]; NaN if only one class is there.
    """
    truth = as_binary(labels)
    values = as_scores(scores, len(truth))
    return float("nan") if _one_class(truth) else float(roc_auc_score(truth, values))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the precision-recall curve as a sum of steps, without interpolation.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) higher means more likely positive.

    Returns:
        In [0, 1]; chance level is the prevalence; NaN if only one class is there.

    Source: Davis and Goadrich (2006), ICML: linear interpolation is too optimistic.
    """
    truth = as_binary(labels)
    values = as_scores(scores, len(truth))
    return float("nan") if _one_class(truth) else float(average_precision_score(truth, values))


def brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared difference of probability and outcome, in [0, 1]; defined for one class too.

    Source: Brier (1950), Mon. Weather Rev. 78:1, in the half form common for two classes.
    """
    truth = as_binary(labels)
    values = as_probabilities(probabilities, len(truth))
    return float(np.mean(squared_errors(truth, values)))


def log_loss_of(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean negative log-likelihood in nats; defined for one class too.

    Probabilities of exactly 0 and 1 are moved in by `SMALLEST_PROBABILITY`, so one confident error costs 36
    nats and not infinity.
    """
    truth = as_binary(labels)
    values = as_probabilities(probabilities, len(truth))
    return float(np.mean(log_losses(truth, values)))


def squared_errors(labels: ArrayLike, probabilities: ArrayLike) -> Floats:
    """The Brier score's term of each row, (N,)."""
    return np.square(np.asarray(probabilities, dtype=np.float64) - np.asarray(labels))


def log_losses(labels: ArrayLike, probabilities: ArrayLike) -> Floats:
    """The log loss's term of each row, (N,), in nats."""
    clipped = np.clip(np.asarray(probabilities, dtype=np.float64), SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    positive = np.asarray(labels) == 1
    return np.where(positive, -np.log(clipped), -np.log1p(-clipped))


def _one_class(labels: ArrayLike) -> bool:
    return len(np.unique(np.asarray(labels))) < 2
