"""What all calibrators share: scikit-learn's manners around a map from a logit to a probability."""

from __future__ import annotations

import abc
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_array, check_is_fitted, validate_data

from msht.statistics.arrays import Floats, Integers


class BinaryCalibrator(ClassifierMixin, BaseEstimator, abc.ABC):
    """A classifier whose one feature is the logit of the positive class.

    A subclass gives `_fit_scores` and `_positive_probability`; both see plain (N,) arrays. Logits may come as
    (N,), as (N, 1), or as a column of a wider table.

    Args:
        column: which column of a table holds the logits; the others are ignored.
    """

    classes_: NDArray[Any]
    n_features_in_: int

    def __init__(self, column: int = 0) -> None:
        self.column = column

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        # One column of logits cannot tell apart what lies in the others.
        tags.classifier_tags.poor_score = True
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to out-of-fold logits.

        Args:
            X: (N,) or (N, 1) logits of the positive class, or a table with them in `column`.
            y: (N,) labels of two classes; the second in sorted order is the positive one.
            sample_weight: (N,) weights of the rows.

        Returns:
            The estimator itself.

        Raises:
            ValueError: if there are not two classes.
        """
        scores, labels = validate_data(self, _as_column(X), y, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) > 2:
            raise ValueError(
                f"Only binary classification is supported. The type of the target is {len(self.classes_)} "
                "classes; fit one calibrator for each class against the rest."
            )
        if len(self.classes_) < 2:
            raise ValueError("Calibration needs rows of both classes, but got one class only.")
        weights = _check_sample_weight(sample_weight, scores, dtype=np.float64)
        self._fit_scores(scores[:, self.column], codes.astype(np.int64), weights)
        return self

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Calibrated probabilities.

        Args:
            X: (N,) or (N, 1) logits of the positive class.

        Returns:
            (N, 2) in the order of `classes_`; rows sum to 1.
        """
        positive = self._positive_probability(self._scores_of(X))
        return np.column_stack([1 - positive, positive])

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The likelier class of each row, (N,); the positive one at exactly one half."""
        positive = self.predict_proba(X)[:, 1] >= 0.5
        return self.classes_[positive.astype(np.int64)]

    @abc.abstractmethod
    def parameters(self) -> dict[str, Any]:
        """The fitted numbers, as plain JSON."""

    def _scores_of(self, X: ArrayLike) -> Floats:
        """Check a table against the one of `fit`, and give its logits, (N,)."""
        check_is_fitted(self, "classes_")
        table = validate_data(self, _as_column(X), dtype=np.float64, reset=False)
        return table[:, self.column]

    @abc.abstractmethod
    def _fit_scores(self, scores: Floats, labels: Integers, weights: Floats) -> None:
        """Fit to (N,) logits, (N,) labels 0 and 1, and (N,) weights."""

    @abc.abstractmethod
    def _positive_probability(self, scores: Floats) -> Floats:
        """Map (N,) logits to (N,) probabilities."""


def _as_column(logits: ArrayLike) -> Any:
    """Turn (N,) into (N, 1); anything else is left for scikit-learn to judge."""
    if isinstance(logits, list | tuple) and logits and np.ndim(logits[0]) == 0:
        logits = np.asarray(logits)
    if getattr(logits, "ndim", 2) == 1:
        return check_array(logits, ensure_2d=False, dtype=None, ensure_all_finite=False).reshape(-1, 1)
    return logits
