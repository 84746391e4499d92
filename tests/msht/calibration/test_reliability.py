"""Reliability: errors, decomposition, line and diagram, against scikit-learn and statsmodels."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from msht.calibration.reliability import (
    assign_bins,
    brier_decomposition,
    calibration_line,
    expected_calibration_error,
    maximum_calibration_error,
    reliability_curve,
    squared_calibration_error,
)
from msht.errors import InvalidInput
from msht.statistics.intervals import wilson_interval


def forecast(seed: int, rows: int = 2000, sharpen: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, rows)
    labels = (random.random(rows) < 1 / (1 + np.exp(-logits))).astype(int)
    return labels, 1 / (1 + np.exp(-sharpen * logits))


@pytest.mark.parametrize(("binning", "strategy"), [("width", "uniform"), ("mass", "quantile")])
def test_the_curve_agrees_with_scikit_learn(binning: str, strategy: str) -> None:
    labels, probabilities = forecast(1)
    observed, predicted = calibration_curve(labels, probabilities, n_bins=10, strategy=strategy)
    curve = reliability_curve(labels, probabilities, 10, binning)  # type: ignore[arg-type]
    assert curve.mean_probability == pytest.approx(predicted, abs=2e-3)
    assert curve.observed == pytest.approx(observed, abs=6e-3)
    assert curve.count.sum() == 2000


def test_the_curves_intervals_are_wilsons() -> None:
    labels, probabilities = forecast(2)
    curve = reliability_curve(labels, probabilities, 5)
    bins = assign_bins(probabilities, 5)
    for number in range(5):
        hits, rows = int(labels[bins == number].sum()), int(np.sum(bins == number))
        interval = wilson_interval(hits, rows)
        assert (curve.low[number], curve.high[number]) == pytest.approx((interval.low, interval.high))


def test_the_errors_by_hand() -> None:
    labels, probabilities = [0, 1, 1, 1], [0.1, 0.2, 0.7, 0.9]
    assert expected_calibration_error(labels, probabilities, 2, "width") == pytest.approx((0.35 + 0.2) / 2)
    assert maximum_calibration_error(labels, probabilities, 2, "width") == pytest.approx(0.35)
    assert expected_calibration_error(labels, probabilities, 2, "mass") == pytest.approx((0.35 + 0.2) / 2)


@given(st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=200), st.integers(1, 20))
def test_bins_are_in_order_and_never_part_equal_probabilities(values: list[float], bins: int) -> None:
    for binning in ("mass", "width"):
        number = assign_bins(values, bins, binning)  # type: ignore[arg-type]
        order = np.argsort(values, kind="stable")
        assert (np.diff(number[order]) >= 0).all()
        assert 0 <= number.max() < bins
        for value in set(values):
            assert len(set(number[np.array(values) == value])) == 1


def test_bins_of_equal_mass_hold_equal_counts() -> None:
    counts = np.bincount(assign_bins(np.random.default_rng(3).random(1000), 10))
    assert counts.tolist() == [100] * 10


def test_debiasing_lowers_the_error_of_a_perfect_forecaster_and_squares_have_none() -> None:
    plain, debiased, squared = [], [], []
    for seed in range(200):
        labels, probabilities = forecast(seed, 500)
        plain.append(expected_calibration_error(labels, probabilities))
        debiased.append(expected_calibration_error(labels, probabilities, debiased=True))
        squared.append(squared_calibration_error(labels, probabilities))
    assert np.mean(plain) > 0.035
    assert np.mean(debiased) < 0.65 * np.mean(plain)
    assert abs(np.mean(squared)) < 3 * np.std(squared) / np.sqrt(200)


def test_a_large_error_is_hardly_debiased() -> None:
    labels, probabilities = forecast(4, 20_000, sharpen=4.0)
    plain = expected_calibration_error(labels, probabilities)
    assert plain > 0.1
    assert expected_calibration_error(labels, probabilities, debiased=True) == pytest.approx(plain, rel=0.03)


@pytest.mark.parametrize("binning", ["mass", "width"])
def test_the_brier_score_is_the_sum_of_its_parts(binning: str) -> None:
    labels, probabilities = forecast(5)
    parts = brier_decomposition(labels, probabilities, 10, binning)  # type: ignore[arg-type]
    assert parts.brier == pytest.approx(brier_score_loss(labels, probabilities), abs=1e-12)
    assert parts.uncertainty == pytest.approx(np.var(labels))


def test_nothing_hides_within_bins_of_one_probability() -> None:
    random = np.random.default_rng(6)
    probabilities = random.choice([0.1, 0.4, 0.8], 500)
    labels = (random.random(500) < probabilities).astype(int)
    parts = brier_decomposition(labels, probabilities, 10, "width")
    assert parts.within_bin == pytest.approx(0, abs=1e-12)


def test_slope_and_intercept_agree_with_statsmodels() -> None:
    labels, probabilities = forecast(7, sharpen=2.0)
    logits = np.log(probabilities / (1 - probabilities))
    binomial = sm.families.Binomial()
    slope = sm.GLM(labels, sm.add_constant(logits), family=binomial).fit().params[1]
    intercept = sm.GLM(labels, np.ones(len(labels)), family=binomial, offset=logits).fit().params[0]
    found = calibration_line(labels, probabilities)
    assert (found.slope, found.intercept) == pytest.approx((slope, intercept), rel=1e-5)
    assert found.slope == pytest.approx(0.5, abs=0.1)


def test_the_line_is_not_a_number_where_it_does_not_exist() -> None:
    assert math.isnan(calibration_line([1, 1], [0.4, 0.6]).slope)
    separated = calibration_line([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    assert math.isnan(separated.slope)
    assert math.isfinite(separated.intercept)


def test_relabelling_mirrors_every_figure() -> None:
    labels, probabilities = forecast(8)
    turned = (1 - labels, 1 - probabilities)
    for binning in ("mass", "width"):
        for debiased in (False, True):
            here = expected_calibration_error(labels, probabilities, 10, binning, debiased)  # type: ignore[arg-type]
            there = expected_calibration_error(*turned, 10, binning, debiased)  # type: ignore[arg-type]
            assert here == pytest.approx(there)
    here, there = calibration_line(labels, probabilities), calibration_line(*turned)
    assert (here.slope, here.intercept) == pytest.approx((there.slope, -there.intercept), rel=1e-6)


def test_no_bin_at_all_is_refused() -> None:
    with pytest.raises(InvalidInput, match="bins"):
        assign_bins([0.5], 0)
