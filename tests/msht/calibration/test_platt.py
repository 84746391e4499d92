"""Platt scaling and the logistic fit under it, against statsmodels and scikit-learn."""

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.calibration import _sigmoid_calibration
from sklearn.linear_model import LogisticRegression

from msht.calibration.platt import apply_platt, fit_logistic, fit_platt, smoothed_targets
from msht.errors import InvalidInput


def draw(seed: int, rows: int = 500) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    logits = random.normal(1, 3, rows)
    return logits, (random.random(rows) < 1 / (1 + np.exp(-(0.6 * logits - 1)))).astype(int)


@pytest.mark.parametrize("rows", [12, 100, 2000])
def test_the_fit_agrees_with_scikit_learn(rows: int) -> None:
    logits, labels = draw(1, rows)
    slope, intercept = _sigmoid_calibration(logits, labels)
    found = fit_platt(logits, labels)
    assert (found.slope, found.intercept) == pytest.approx((-slope, -intercept), abs=1e-3)


def test_the_fit_agrees_with_statsmodels_on_smoothed_targets() -> None:
    logits, labels = draw(2)
    model = sm.GLM(smoothed_targets(labels), sm.add_constant(logits), family=sm.families.Binomial())
    intercept, slope = model.fit(tol=1e-12).params
    found = fit_platt(logits, labels)
    assert (found.slope, found.intercept) == pytest.approx((slope, intercept), rel=1e-6)


def test_the_targets_are_platts() -> None:
    assert smoothed_targets([1, 1, 1, 0]) == pytest.approx([4 / 5, 4 / 5, 4 / 5, 1 / 3])


def test_plain_logistic_regression_agrees_with_scikit_learn_without_penalty() -> None:
    logits, labels = draw(3)
    design = np.column_stack([logits, logits**2, np.ones(len(logits))])
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(design[:, :2], labels)
    expected = [*model.coef_[0], model.intercept_[0]]
    assert fit_logistic(design, labels.astype(float)) == pytest.approx(expected, rel=1e-3)


def test_an_offset_is_statsmodels_offset() -> None:
    logits, labels = draw(4)
    ones = np.ones((len(logits), 1))
    model = sm.GLM(labels, ones, family=sm.families.Binomial(), offset=logits).fit()
    assert fit_logistic(ones, labels.astype(float), offset=logits) == pytest.approx(model.params, rel=1e-6)


def test_separated_classes_stay_finite_with_smoothing_and_are_owned_up_to_without() -> None:
    logits, labels = np.array([-2.0, -1, 1, 2]), np.array([0, 0, 1, 1])
    found = fit_platt(logits, labels)
    assert 0 < found.slope < 5
    assert apply_platt(logits, found).max() < 0.9
    plain = fit_logistic(np.column_stack([logits, np.ones(4)]), labels.astype(float))
    assert np.isnan(plain).all() or np.abs(plain).max() > 10


def test_relabelling_mirrors_the_line() -> None:
    logits, labels = draw(5)
    here, there = fit_platt(logits, labels), fit_platt(-logits, 1 - labels)
    assert (here.slope, here.intercept) == pytest.approx((there.slope, -there.intercept), rel=1e-6)


def test_logits_of_any_size_are_fitted() -> None:
    logits, labels = draw(6)
    plain, large = fit_platt(logits, labels), fit_platt(1e6 * logits, labels)
    assert large.slope * 1e6 == pytest.approx(plain.slope, rel=1e-5)


def test_one_class_is_refused() -> None:
    with pytest.raises(InvalidInput, match="one class"):
        fit_platt([0.1, 0.2], [0, 0])
