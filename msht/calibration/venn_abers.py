"""Venn-Abers: two isotonic answers, one for either label of the new row; their gap is what is not known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.isotonic import isotonic_regression

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
        positives_: (K,) weight of the positive rows at each.
        weights_: (K,) weight of the rows at each.
        classes_: the two classes, sorted; the second is the positive one.

    Source: Vovk, Petej and Fedorova (2015), NeurIPS, "Large-scale probabilistic predictors with and without
    guarantees of validity".
    """

    scores_: Floats
    positives_: Floats
    weights_: Floats

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
        self.weights_ = np.bincount(place, weights[kept]).astype(np.float64)
        self.positives_ = np.bincount(place, weights[kept] * labels[kept]).astype(np.float64)

    def _positive_probability(self, scores: Floats) -> Floats:
        low, high = self._bounds(scores).T
        return high / (1 - low + high)

    def _bounds(self, scores: Floats) -> Floats:
        """(N, 2) isotonic values at each score with a row of label 0, then of label 1, added there."""
        # Two scores between the same neighbours get the same answer: work once for each gap or level.
        left = np.searchsorted(self.scores_, scores, side="left")
        on_level = left < np.searchsorted(self.scores_, scores, side="right")
        keys, place = np.unique(2 * left + on_level, return_inverse=True)
        return np.array([self._bounds_at(int(key) // 2, bool(key % 2)) for key in keys])[place]

    def _bounds_at(self, position: int, on_level: bool) -> tuple[float, float]:
        weights, positives = self.weights_, self.positives_
        if not on_level:
            weights, positives = np.insert(weights, position, 0.0), np.insert(positives, position, 0.0)
        weights = weights.copy()
        weights[position] += 1.0
        answers = []
        for label in (0.0, 1.0):
            hits = positives.copy()
            hits[position] += label
            answers.append(float(isotonic_regression(hits / weights, sample_weight=weights)[position]))
        return answers[0], answers[1]

    def parameters(self) -> dict[str, Any]:
        """The fitted numbers, as plain JSON."""
        return {
            "scores": self.scores_.tolist(),
            "positives": self.positives_.tolist(),
            "weights": self.weights_.tolist(),
        }
