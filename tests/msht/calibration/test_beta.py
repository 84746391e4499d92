"""Beta calibration, against statsmodels and the family that it was made for."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from msht.calibration.beta import apply_beta, fit_beta


def test_the_fit_is_logistic_regression_on_both_logarithms() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, 2000)
    labels = (random.random(2000) < 1 / (1 + np.exp(-(0.7 * logits + 0.2)))).astype(int)
    score = 1 / (1 + np.exp(-logits))
    columns = np.column_stack([np.log(score), -np.log(1 - score), np.ones(2000)])
    expected = sm.GLM(labels, columns, family=sm.families.Binomial()).fit(tol=1e-12).params
    found = fit_beta(logits, labels)
    assert (found.a, found.b, found.c) == pytest.approx(expected, rel=1e-5)


def test_beta_distributed_scores_are_calibrated_exactly() -> None:
    random = np.random.default_rng(2)
    labels = random.integers(0, 2, 40_000)
    scores = np.where(labels == 1, random.beta(4, 2, 40_000), random.beta(1.5, 3, 40_000))
    found = fit_beta(np.log(scores / (1 - scores)), labels)
    assert (found.a, found.b) == pytest.approx((4 - 1.5, 3 - 2), abs=0.12)
    grid = np.linspace(0.05, 0.95, 19)
    dense = stats.beta.pdf(grid, 4, 2) / (stats.beta.pdf(grid, 4, 2) + stats.beta.pdf(grid, 1.5, 3))
    assert apply_beta(np.log(grid / (1 - grid)), found) == pytest.approx(dense, abs=0.02)


def test_slopes_never_fall_below_zero() -> None:
    random = np.random.default_rng(3)
    logits = random.normal(0, 2, 500)
    labels = (random.random(500) < 1 / (1 + np.exp(logits))).astype(int)
    found = fit_beta(logits, labels)
    assert found.a >= 0
    assert found.b >= 0
    assert apply_beta(0.0, found) == pytest.approx(labels.mean(), abs=0.05)


def test_relabelling_mirrors_the_parameters() -> None:
    random = np.random.default_rng(4)
    logits = random.normal(0, 2, 500)
    labels = (random.random(500) < 1 / (1 + np.exp(-logits))).astype(int)
    here, there = fit_beta(logits, labels), fit_beta(-logits, 1 - labels)
    assert (here.a, here.b, here.c) == pytest.approx((there.b, there.a, -there.c), rel=1e-5)
