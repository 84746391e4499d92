"""Several classes, each against the rest: the two-class figures, class by class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msht.errors import InvalidInput
from msht.statistics.arrays import Floats, as_groups
from msht.statistics.summary import PerformanceSummary, summarise


def one_against_rest(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    *,
    groups: ArrayLike | None,
    thresholds: Sequence[float] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 517,
) -> dict[str, PerformanceSummary]:
    """Summarise each class as positive, all others as negative.

    Args:
        labels: (N,) class numbers from 0.
        probabilities: (N, C) in the order of `classes`; rows sum to 1.
        classes: the C names.
        groups: (N,) patient of each row; None if every row stands alone.
        thresholds: (C,) of each class against the rest; None to call each row its likeliest class, the first
        one
            on a tie.
        confidence: of the intervals.
        resamples: bootstrap resamples.
        seed: of the resampling.

    Returns:
        By class name. Without thresholds a summary's `threshold` is 0.5 and its calls are those of the
        likeliest class, whatever its probability.

    Raises:
        InvalidInput: if the shapes do not fit together, a label is no class, or the rows do not sum to 1.
    """
    truth, table = _check(labels, probabilities, classes)
    as_groups(groups, len(truth))
    likeliest = table.argmax(axis=1)
    summaries = {}
    for number, name in enumerate(classes):
        summaries[name] = summarise(
            (truth == number).astype(np.int64),
            table[:, number],
            threshold=0.5 if thresholds is None else thresholds[number],
            groups=groups,
            calls=(likeliest == number).astype(np.int64) if thresholds is None else None,
            confidence=confidence,
            resamples=resamples,
            seed=seed,
        )
    return summaries


def confusion_table(labels: ArrayLike, calls: ArrayLike, count: int) -> NDArray[np.int64]:
    """Count rows by class and call.

    Args:
        labels: (N,) class numbers from 0.
        calls: (N,) class numbers from 0.
        count: C, how many classes there are.

    Returns:
        (C, C), reference by row and call by column.

    Raises:
        InvalidInput: if a number is not a class or the lengths differ.
    """
    truth, called = np.asarray(labels), np.asarray(calls)
    if truth.shape != called.shape or truth.ndim != 1:
        raise InvalidInput(
            f"Expected labels and calls of one length, but got {truth.shape} and {called.shape}.",
            "Give a call for each label.",
        )
    for values in (truth, called):
        if values.size and not np.isin(values, np.arange(count)).all():
            raise InvalidInput(f"Expected class numbers from 0 to {count - 1}.", "Number the classes.")
    flat = np.bincount(truth.astype(np.int64) * count + called.astype(np.int64), minlength=count * count)
    return flat.reshape(count, count)


def _check(labels: ArrayLike, probabilities: ArrayLike, classes: Sequence[str]) -> tuple[NDArray[np.int64], Floats]:
    truth, table = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if truth.ndim != 1 or table.shape != (len(truth), len(classes)) or not len(truth):
        raise InvalidInput(
            f"Expected labels (N,) and probabilities (N, {len(classes)}), but got {truth.shape} and {table.shape}.",
            "Give a probability for each class of each row.",
        )
    if not np.isin(truth, np.arange(len(classes))).all():
        raise InvalidInput(f"Expected labels from 0 to {len(classes) - 1}.", "Number the classes.")
    if not np.allclose(table.sum(axis=1), 1, atol=1e-4) or (table < 0).any():
        raise InvalidInput("Expected each row of probabilities to sum to 1.", "Give probabilities, not logits.")
    return truth.astype(np.int64), np.clip(table, 0.0, 1.0)
