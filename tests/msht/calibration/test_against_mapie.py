"""MAPIE as the oracle of conformal sets and of risk control: another implementation of the same definitions."""

import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from msht.calibration.conformal import conformal_quantile, conformal_sets, mondrian_quantiles
from msht.calibration.operating_point import threshold_for_sensitivity


class Known(ClassifierMixin, BaseEstimator):
    """A classifier whose one feature is the probability that it gives."""

    classes_ = np.array([0, 1])
    n_features_in_ = 1
    fitted_ = True

    def fit(self, X: np.ndarray, y: np.ndarray) -> "Known":
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return np.column_stack([1 - X[:, 0], X[:, 0]])

    def predict(self, X: np.ndarray) -> np.ndarray:
        return (X[:, 0] >= 0.5).astype(int)


def scored(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    return labels, 1 / (1 + np.exp(-(random.normal(0, 1.5, count) + 2 * labels - 1)))


def mapie_sets(labels: np.ndarray, old: np.ndarray, new: np.ndarray, confidence: float) -> np.ndarray:
    from mapie.classification import SplitConformalClassifier

    oracle = SplitConformalClassifier(Known(), confidence_level=confidence, conformity_score="lac", prefit=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle.conformalize(old[:, None], labels)
        return oracle.predict_set(new[:, None])[1][:, :, 0]


@pytest.mark.parametrize("confidence", [0.8, 0.9])
@pytest.mark.parametrize("count", [40, 157])
def test_marginal_sets_are_mapies(count: int, confidence: float) -> None:
    labels, old = scored(count, seed=count)
    _, new = scored(400, seed=1)
    ours = conformal_sets(new, conformal_quantile(labels, old, 1 - confidence))
    assert np.array_equal(ours, mapie_sets(labels, old, new, confidence))


def test_class_wise_sets_are_mapies_on_each_class_alone() -> None:
    labels, old = scored(120, seed=5)
    _, new = scored(400, seed=6)
    ours = conformal_sets(new, mondrian_quantiles(labels, old, 0.1))
    for label in (0, 1):
        # A class alone, with one row of the other that conforms perfectly, would change its count: MAPIE wants both
        # classes in the rows, so the rank is asked of it at the level that the larger number of rows needs.
        rows = labels == label
        count = int(rows.sum())
        rank = np.ceil((count + 1) * 0.9)
        level = (rank + 1 - 1e-6) / (count + 2)
        both = np.append(labels[rows], 1 - label)
        perfect = np.append(old[rows], 1.0 - label)
        assert np.array_equal(ours[:, label], mapie_sets(both, perfect, new, level)[:, label])


@pytest.mark.parametrize("target", [0.8, 0.9, 0.95])
def test_the_threshold_for_a_sensitivity_is_that_of_mapies_conformal_risk_control(target: float) -> None:
    from mapie.risk_control import MultiLabelClassificationController

    labels, values = scored(300, seed=9)
    positive = values[labels == 1]
    grid = np.arange(0.001, 0.999, 0.0005)
    oracle = MultiLabelClassificationController(
        # A second label that no case has: the recall of a case is then whether its one label is found.
        lambda rows: np.stack([rows[:, 0], np.zeros(len(rows))], axis=1),
        risk="recall",
        method="crc",
        target_level=target,
        predict_params=grid,
    )
    truth = np.column_stack([np.ones(len(positive), dtype=int), np.zeros(len(positive), dtype=int)])
    oracle.calibrate(positive[:, None], truth)
    theirs = float(np.ravel(oracle.best_predict_param)[0])
    ours = threshold_for_sensitivity(labels, values, target).threshold
    missed = [(positive < threshold).sum() for threshold in (theirs, ours)]
    assert abs(missed[0] - missed[1]) <= 1  # theirs lies on a grid and stops a step short
    assert theirs <= positive[positive >= ours].min()
