"""Intervals for independent rows, against statsmodels, exact laws and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binomtest, mannwhitneyu, norm

from msht.errors import InvalidInput
from msht.statistics.intervals import (
    clopper_pearson_interval,
    delong_covariance,
    delong_interval,
    newcombe_auroc_interval,
    wilson_interval,
)


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    trials = draw(st.integers(min_value=1, max_value=5000))
    return draw(st.integers(min_value=0, max_value=trials)), trials


@given(counts())
def test_wilson_interval_contains_the_estimate(given_counts: tuple[int, int]) -> None:
    successes, trials = given_counts
    interval = wilson_interval(successes, trials)
    assert 0 <= interval.low <= successes / trials <= interval.high <= 1


@given(counts(), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_and_clopper_pearson_agree_with_scipy(given_counts: tuple[int, int], level: float) -> None:
    test = binomtest(*given_counts)
    for found, method in ((wilson_interval, "wilson"), (clopper_pearson_interval, "exact")):
        expected = test.proportion_ci(level, method=method)
        interval = found(*given_counts, level)
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(counts())
def test_counting_failures_mirrors_the_interval(given_counts: tuple[int, int]) -> None:
    successes, trials = given_counts
    here, there = wilson_interval(successes, trials), wilson_interval(trials - successes, trials)
    assert (here.low, here.high) == pytest.approx((1 - there.high, 1 - there.low), abs=1e-12)


def test_clopper_pearson_is_the_beta_quantile() -> None:
    interval = clopper_pearson_interval(8, 20, 0.9)
    assert interval.low == pytest.approx(beta.ppf(0.05, 8, 13))
    assert interval.high == pytest.approx(beta.ppf(0.95, 9, 12))


@pytest.mark.parametrize(("successes", "trials"), [(5, 4), (-1, 3), (0, 0)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(InvalidInput, match="successes"):
        wilson_interval(successes, trials)


def scores_of(random: np.random.Generator, positives: int, negatives: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat([1, 0], [positives, negatives])
    return labels, np.round(random.normal(size=len(labels)) + labels, 1)


def test_delong_areas_are_mann_whitney_statistics() -> None:
    labels, scores = scores_of(np.random.default_rng(1), 40, 60)
    areas, _ = delong_covariance(labels, [scores, -scores])
    expected = mannwhitneyu(scores[labels == 1], scores[labels == 0]).statistic / (40 * 60)
    assert areas == pytest.approx([expected, 1 - expected])


def test_delong_variance_is_that_of_the_definition() -> None:
    labels, scores = scores_of(np.random.default_rng(2), 15, 25)
    other = scores + np.random.default_rng(3).normal(size=40)
    _, covariance = delong_covariance(labels, [scores, other])
    parts = []
    for values in (scores, other):
        difference = values[labels == 1][:, None] - values[labels == 0][None, :]
        wins = (difference > 0) + 0.5 * (difference == 0)
        parts.append((wins.mean(axis=1), wins.mean(axis=0)))
    expected = np.cov([p[0] for p in parts]) / 15 + np.cov([p[1] for p in parts]) / 25
    assert covariance == pytest.approx(expected)


def test_delong_linear_bounds_are_symmetric_about_the_area() -> None:
    labels, scores = scores_of(np.random.default_rng(4), 100, 100)
    areas, covariance = delong_covariance(labels, scores)
    interval = delong_interval(labels, scores, 0.9, scale="linear")
    reach = norm.ppf(0.95) * math.sqrt(covariance[0, 0])
    assert (interval.low, interval.high) == pytest.approx((areas[0] - reach, areas[0] + reach))


def test_delong_interval_mirrors_when_the_scores_are_turned_round() -> None:
    labels, scores = scores_of(np.random.default_rng(5), 30, 50)
    here, there = delong_interval(labels, scores), delong_interval(labels, -scores)
    assert (here.low, here.high) == pytest.approx((1 - there.high, 1 - there.low))
    swapped = delong_interval(1 - labels, -scores)
    assert (here.low, here.high) == pytest.approx((swapped.low, swapped.high))


def test_classes_without_overlap_still_get_an_interval_with_width() -> None:
    interval = delong_interval([0] * 10 + [1] * 10, [0.1] * 10 + [0.9] * 10)
    assert interval.high == 1.0
    assert 0.6 < interval.low < 0.95


def test_one_row_in_a_class_gives_no_delong_interval() -> None:
    assert not delong_interval([0, 0, 1], [0.1, 0.2, 0.9]).known


@given(
    st.floats(min_value=0, max_value=1),
    st.integers(min_value=1, max_value=300),
    st.integers(min_value=1, max_value=300),
)
def test_newcombe_interval_contains_the_area_and_solves_its_equation(area: float, m: int, n: int) -> None:
    interval = newcombe_auroc_interval(area, m, n)
    assert 0 <= interval.low <= area <= interval.high <= 1
    for bound in (interval.low, interval.high):
        if 1e-6 < bound < 1 - 1e-6 and abs(bound - area) > 1e-6:
            terms = 1 + ((m + n) / 2 - 1) * ((1 - bound) / (2 - bound) + bound / (1 + bound))
            variance = bound * (1 - bound) * terms / (m * n)
            assert (area - bound) ** 2 == pytest.approx(norm.ppf(0.975) ** 2 * variance, rel=1e-5)


def test_delong_covers_as_it_says_near_one() -> None:
    random = np.random.default_rng(6)
    area, labels = norm.cdf(2.5 / math.sqrt(2)), np.repeat([0, 1], [60, 60])
    held = []
    for _ in range(1000):
        interval = delong_interval(labels, random.normal(size=120) + 2.5 * labels)
        held.append(interval.low <= area <= interval.high)
    assert 0.93 <= np.mean(held) <= 0.98
