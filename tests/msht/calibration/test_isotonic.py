"""Isotonic calibration: scikit-learn's, kept off certainty."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from msht.calibration.isotonic import IsotonicScaling


def test_it_is_scikit_learns_regression_between_the_cuts() -> None:
    random = np.random.default_rng(1)
    logits = np.round(random.normal(0, 2, 300), 1)
    labels = (random.random(300) < 1 / (1 + np.exp(-logits))).astype(int)
    expected = IsotonicRegression(out_of_bounds="clip").fit(logits, labels).predict(logits)
    found = IsotonicScaling().fit(logits, labels).predict_proba(logits)[:, 1]
    assert found == pytest.approx(np.clip(expected, 1 / 302, 301 / 302))
    assert expected.min() == 0.0
    assert found.min() == pytest.approx(1 / 302)
