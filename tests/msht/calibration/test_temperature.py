"""Temperature scaling, against a search by SciPy's other means and scikit-learn's own."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from msht.calibration.temperature import (
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    TemperatureScaling,
    apply_temperature,
    fit_temperature,
)
from msht.errors import InvalidInput


class Logit(ClassifierMixin, BaseEstimator):
    """A classifier whose decision is its one feature: what scikit-learn's calibration wraps."""

    def fit(self, X, y):
        self.classes_ = np.array([0, 1])
        return self

    def decision_function(self, X):
        return np.asarray(X)[:, 0]

    def predict(self, X):
        return (self.decision_function(X) > 0).astype(int)


def draw(seed: int, temperature: float, rows: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    logits = random.normal(0.3, 3, rows)
    return logits, (random.random(rows) < 1 / (1 + np.exp(-logits / temperature))).astype(int)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    assert fit_temperature(*draw(1, temperature)) == pytest.approx(temperature, rel=0.1)


def test_the_optimum_is_that_of_another_optimiser() -> None:
    logits, labels = draw(2, 1.7)

    def loss(parameter: np.ndarray) -> float:
        scaled = logits * math.exp(-parameter[0])
        return float(np.mean(np.logaddexp(0, scaled) - labels * scaled))

    expected = math.exp(minimize(loss, [0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14}).x[0])
    assert fit_temperature(logits, labels) == pytest.approx(expected, rel=1e-5)


def test_scikit_learns_temperature_gives_the_same_probabilities() -> None:
    logits, labels = draw(3, 2.0)
    model = FrozenEstimator(Logit().fit(None, None))
    theirs = CalibratedClassifierCV(model, method="temperature").fit(logits[:, None], labels)
    ours = TemperatureScaling().fit(logits, labels)
    assert ours.predict_proba(logits) == pytest.approx(theirs.predict_proba(logits[:, None]), abs=1e-4)


@given(st.integers(min_value=0, max_value=10_000), st.floats(min_value=0.5, max_value=4))
def test_scaling_the_logits_scales_the_temperature(seed: int, factor: float) -> None:
    logits, labels = draw(seed, 1.0, rows=200)
    plain = fit_temperature(logits, labels)
    if LOWEST_TEMPERATURE * 5 < plain < HIGHEST_TEMPERATURE / 5:
        assert fit_temperature(factor * logits, labels) == pytest.approx(factor * plain, rel=1e-4)


def test_relabelling_mirrors_the_probabilities() -> None:
    logits, labels = draw(4, 1.5, rows=300)
    assert fit_temperature(logits, labels) == pytest.approx(fit_temperature(-logits, 1 - labels))


def test_separated_classes_do_not_make_the_network_certain() -> None:
    logits, labels = np.array([-4.0, -3, -2, 2, 3, 4]), np.array([0, 0, 0, 1, 1, 1])
    temperature = fit_temperature(logits, labels)
    assert temperature > 0.5
    assert apply_temperature(logits, temperature).max() < 0.95


def test_logits_that_point_the_wrong_way_are_flattened_to_the_bound() -> None:
    logits, labels = draw(5, 1.0)
    assert fit_temperature(-logits, labels) == pytest.approx(HIGHEST_TEMPERATURE)


def test_one_class_and_bad_temperatures_are_refused() -> None:
    with pytest.raises(InvalidInput, match="one class"):
        fit_temperature([0.1, 0.2], [1, 1])
    with pytest.raises(InvalidInput, match="above 0"):
        apply_temperature([0.0], 0.0)
