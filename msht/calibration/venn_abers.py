"""Venn-Abers: two isotonic answers, one for either label of the new row; their gap is what is not known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from msht.calibration.estimator import BinaryCalibrator
from msht.errors import InvalidInput
from msht.statistics.arrays import Floats, Integers


class VennAbers(BinaryCalibrator):
    """Inductive Venn-Abers predictor as a scikit-learn estimator on logits (N,) or (N, 1).

    `predict_interval` gives (p0, p1): the calibrated probability were the new row negative, and were it
    positive. One of the two is perfectly calibrated, whatever the distribution. `predict_proba` merges them
    to p1 / (1 - p0 + p1), which minimises the worst log loss.

    Attributes:
        scores_: (K,) distinct calibration logits, rising.
        bounds_: (2K + 1, 2) p0 and p1 below the first logit, at it, between it and the second, and so on.
        classes_: the two classes, sorted; the second is the positive one.

    Source: Vovk, Petej and Fedorova (2015), NeurIPS, "Large-scale probabilistic predictors with and without
    guarantees of validity".
    """

    scores_: Floats
    bounds_: Floats

    def predict_interval(self, X: ArrayLike) -> Floats:
        """Lower and upper probability of the positive class.

        Args:
            X: (N,) or (N, 1) logits of the positive class.

        Returns:
            (N, 2): p0 and p1, p0 <= p1.
        """
        return self._bounds(self._scores_of(X))

    def _fit_scores(self, scores: Floats, labels: Integers, weights: Floats) -> None:
        kept = weights > 0
        if len(np.unique(labels[kept])) < 2:
            raise InvalidInput("Venn-Abers cannot be fitted to one class only.", "Give both classes.")
        self.scores_, place = np.unique(scores[kept], return_inverse=True)
        size = np.bincount(place, weights[kept])
        hits = np.bincount(place, weights[kept] * labels[kept])
        self.bounds_ = _all_bounds(hits.tolist(), size.tolist())

    def _positive_probability(self, scores: Floats) -> Floats:
        low, high = self._bounds(scores).T
        return high / (1 - low + high)

    def _bounds(self, scores: Floats) -> Floats:
        """(N, 2) isotonic values at each score with a row of label 0, then of label 1, added there."""
        left = np.searchsorted(self.scores_, scores, side="left")
        right = np.searchsorted(self.scores_, scores, side="right")
        # An even place lies between two calibration logits, an odd one on a logit.
        return self.bounds_[left + right]

    def parameters(self) -> dict[str, Any]:
        """The fitted numbers, as plain JSON."""
        return {"scores": self.scores_.tolist(), "bounds": self.bounds_.tolist()}


def _all_bounds(hits: list[float], size: list[float]) -> Floats:
    """The answers at every place where a new row can fall, (2K + 1, 2).

    Adding one row to an isotonic fit moves only the blocks around it: it is pooled with the blocks of the
    rows to its left and to its right, each fitted on their own, until the means rise. So one pass from either
    side serves every place, where refitting would take a pass for each.
    """
    before, after = _blocks(hits, size, 1.0), _blocks(hits[::-1], size[::-1], -1.0)
    count = len(hits)
    bounds = np.empty((2 * count + 1, 2))
    for place in range(2 * count + 1):
        level, on_level = divmod(place, 2)
        for label in (0, 1):
            total, weight = float(label), 1.0
            if on_level:
                total, weight = total + hits[level], weight + size[level]
            left, right = level, count - level - on_level
            while True:
                # Block i of a side is the last of its first i rows, with the start of that block.
                if left and before[left][0] * weight >= total * before[left][1]:
                    block_total, block_weight, left = before[left]
                elif right and after[right][0] * weight <= total * after[right][1]:
                    block_total, block_weight, right = after[right]
                else:
                    break
                total, weight = total + block_total, weight + block_weight
            bounds[place, label] = total / weight
    return bounds


def _blocks(hits: list[float], size: list[float], direction: float) -> list[tuple[float, float, int]]:
    """Pool adjacent violators, keeping for each length i the last block: its sum, weight and start."""
    blocks = [(0.0, 1.0, 0)]
    for row, (total, weight) in enumerate(zip(hits, size, strict=True)):
        start = row
        while start and direction * (blocks[start][0] * weight - total * blocks[start][1]) >= 0:
            block_total, block_weight, start = blocks[start]
            total, weight = total + block_total, weight + block_weight
        blocks.append((total, weight, start))
    return blocks
