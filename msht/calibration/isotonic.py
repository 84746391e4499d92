"""Isotonic calibration: any rising step function; wants some hundred rows of each class."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.isotonic import IsotonicRegression

from msht.calibration.estimator import BinaryCalibrator
from msht.errors import InvalidInput
from msht.statistics.arrays import Floats, Integers


class IsotonicScaling(BinaryCalibrator):
    """scikit-learn's isotonic regression, kept off 0 and 1.

    Its first and last steps are usually exactly 0 and 1, a certainty that a finite sample cannot give: they
    are cut to 1 / (N + 2) and (N + 1) / (N + 2), N being the rows' weight.

    Attributes:
        scores_: (K,) logits of the steps' ends, rising.
        probabilities_: (K,) probabilities there; straight lines between them.
        classes_: the two classes, sorted; the second is the positive one.

    Source: Zadrozny and Elkan (2002), KDD.
    """

    scores_: Floats
    probabilities_: Floats

    def _fit_scores(self, scores: Floats, labels: Integers, weights: Floats) -> None:
        kept = weights > 0
        if len(np.unique(labels[kept])) < 2:
            raise InvalidInput("Isotonic calibration cannot be fitted to one class only.", "Give both.")
        model = IsotonicRegression(out_of_bounds="clip")
        model.fit(scores[kept], labels[kept], sample_weight=weights[kept])
        edge = 1 / (weights.sum() + 2)
        self.scores_ = np.asarray(model.X_thresholds_, dtype=np.float64)
        self.probabilities_ = np.clip(np.asarray(model.y_thresholds_, dtype=np.float64), edge, 1 - edge)

    def _positive_probability(self, scores: Floats) -> Floats:
        return np.interp(scores, self.scores_, self.probabilities_)

    def parameters(self) -> dict[str, Any]:
        """The fitted numbers, as plain JSON."""
        return {"scores": self.scores_.tolist(), "probabilities": self.probabilities_.tolist()}
