"""Deferral: errors against the share referred, by brute force."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from msht.calibration.deferral import confidence_of, deferral_curve, referral_for_error
from msht.errors import InvalidInput


def cases(seed: int, count: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    probabilities = np.round(random.random(count), 2)
    labels = (random.random(count) < probabilities).astype(int)
    return labels, (probabilities >= 0.5).astype(int), confidence_of(probabilities)


def test_the_curve_is_that_of_counting() -> None:
    labels, calls, confidence = cases(1)
    curve = deferral_curve(labels, calls, confidence)
    for referred, error, level in zip(curve.referred, curve.error, curve.confidence, strict=True):
        kept = confidence >= level
        assert referred == pytest.approx(1 - kept.mean())
        assert error == pytest.approx(np.mean(labels[kept] != calls[kept]))
    assert curve.referred[0] == 0
    assert (np.diff(curve.referred) > 0).all()


def test_the_area_is_the_mean_risk_over_numbers_kept() -> None:
    random = np.random.default_rng(2)
    labels, calls, confidence = random.integers(0, 2, 50), random.integers(0, 2, 50), random.random(50)
    order = np.argsort(-confidence)
    wrong = (labels != calls)[order]
    expected = np.mean([wrong[:kept].mean() for kept in range(1, 51)])
    curve = deferral_curve(labels, calls, confidence)
    assert curve.area == pytest.approx(expected)
    assert curve.excess_area >= 0


@given(st.integers(min_value=0, max_value=10_000))
def test_the_order_of_the_rows_does_not_matter(seed: int) -> None:
    labels, calls, confidence = cases(seed, 60)
    order = np.random.default_rng(seed).permutation(60)
    here, there = (
        deferral_curve(labels, calls, confidence),
        deferral_curve(labels[order], calls[order], confidence[order]),
    )
    assert here.area == pytest.approx(there.area)
    assert here.error == pytest.approx(there.error)


def test_a_perfect_order_has_no_excess() -> None:
    labels, calls, _ = cases(3)
    right = (labels == calls).astype(float)
    assert deferral_curve(labels, calls, right + np.linspace(0, 0.1, 200)).excess_area == pytest.approx(0)


def test_an_order_without_knowledge_keeps_the_error() -> None:
    labels, calls, _ = cases(4)
    curve = deferral_curve(labels, calls, np.zeros(200))
    assert curve.area == pytest.approx(np.mean(labels != calls))


def test_the_smallest_share_that_meets_the_error_is_referred() -> None:
    labels, calls, confidence = cases(5, 1000)
    found = referral_for_error(labels, calls, confidence, 0.1)
    curve = deferral_curve(labels, calls, confidence)
    assert found.error <= 0.1
    assert (curve.error[curve.referred < found.referred - 1e-12] > 0.1).all()
    mistakes = round(found.error * found.kept)
    assert found.upper == pytest.approx(beta.ppf(0.95, mistakes + 1, found.kept - mistakes))
    assert np.sum(confidence >= found.confidence) == found.kept


def test_nothing_short_of_all_may_be_enough() -> None:
    found = referral_for_error([0, 1], [1, 0], [0.5, 0.6], 0.1)
    assert (found.referred, found.kept) == (1.0, 0)
    assert math.isnan(found.error)


def test_confidence_grows_from_the_threshold_to_certainty() -> None:
    assert confidence_of([0.0, 0.1, 0.2, 0.6, 1.0], 0.2) == pytest.approx([1.0, 0.5, 0.0, 0.5, 1.0])


def test_an_impossible_target_is_refused() -> None:
    with pytest.raises(InvalidInput, match="target"):
        referral_for_error([0, 1], [0, 1], [0.5, 0.6], 1.5)
