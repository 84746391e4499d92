"""Conformal sets: the quantile by hand, coverage by exchange, and the two kinds of validity."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from msht.calibration.conformal import (
    TIE,
    conformal_p_values,
    conformal_quantile,
    conformal_sets,
    curve_cuts,
    mondrian_cuts,
    mondrian_quantiles,
)
from msht.calibration.platt import fit_platt
from msht.decision_fit import cross_fitted_curves
from msht.errors import InvalidInput


def cases(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    labels = (random.random(count) < 0.3).astype(int)
    return labels, 1 / (1 + np.exp(-(random.normal(size=count) * 2 + 2 * labels - 1)))


def test_the_quantile_is_the_corrected_rank() -> None:
    labels, probabilities = [1] * 19, np.linspace(0.05, 0.95, 19)
    # ceil(20 * 0.9) = 18th smallest of 1 - p.
    assert conformal_quantile(labels, probabilities, 0.1) == pytest.approx(1 - 0.10)
    # ceil(20 * 0.95) = 19th, the largest, in spite of rounding.
    assert conformal_quantile(labels, probabilities, 0.05) == pytest.approx(1 - 0.05)


def test_numpy_gives_the_same_quantile() -> None:
    random = np.random.default_rng(1)
    for count in (10, 57, 200):
        labels, probabilities = cases(random, count)
        scores = np.where(labels == 1, 1 - probabilities, probabilities)
        level = math.ceil((count + 1) * 0.9) / count
        expected = np.quantile(scores, level, method="inverted_cdf") if level <= 1 else 1.0
        assert conformal_quantile(labels, probabilities, 0.1) == expected


def test_too_few_cases_refer_everything() -> None:
    quantile = conformal_quantile([0, 1, 1], [0.1, 0.9, 0.8], 0.05)
    assert quantile == 1.0
    assert conformal_sets([0.0, 0.3, 1.0], quantile).all()


@given(st.integers(min_value=0, max_value=10_000), st.floats(min_value=0.02, max_value=0.5))
def test_the_calibration_cases_are_covered_at_the_corrected_rate(seed: int, alpha: float) -> None:
    labels, probabilities = cases(np.random.default_rng(seed), 60)
    inside = conformal_sets(probabilities, conformal_quantile(labels, probabilities, alpha))
    covered = inside[np.arange(60), labels].sum()
    assert covered >= min(60, math.ceil(61 * (1 - alpha) - 1e-9))


def test_relabelling_mirrors_the_sets() -> None:
    labels, probabilities = cases(np.random.default_rng(2), 200)
    here = mondrian_quantiles(labels, probabilities, 0.1)
    there = mondrian_quantiles(1 - labels, 1 - probabilities, 0.1)
    assert here == pytest.approx(there[::-1])
    sets = conformal_sets(probabilities, here)
    assert (sets[:, ::-1] == conformal_sets(1 - probabilities, there)).mean() > 0.99


def test_new_cases_are_covered_overall_and_within_each_class() -> None:
    random = np.random.default_rng(3)
    overall, by_class = [], []
    for _ in range(400):
        labels, probabilities = cases(random, 1100)
        old, new = slice(0, 100), slice(100, None)
        rows, truth = np.arange(1000), labels[new]
        quantile = conformal_quantile(labels[old], probabilities[old], 0.1)
        overall.append(conformal_sets(probabilities[new], quantile)[rows, truth].mean())
        pair = mondrian_quantiles(labels[old], probabilities[old], 0.1)
        inside = conformal_sets(probabilities[new], pair)[rows, truth]
        by_class.append([inside[truth == label].mean() for label in (0, 1)])
    assert np.mean(overall) == pytest.approx(0.9 + 0.5 / 101, abs=0.01)
    assert (np.mean(by_class, axis=0) > 0.895).all()
    assert (np.mean(by_class, axis=0) < 0.935).all()


def test_marginal_sets_may_fail_the_rarer_class_where_mondrian_sets_do_not() -> None:
    random = np.random.default_rng(4)
    labels = (random.random(20_000) < 0.1).astype(int)
    probabilities = 1 / (1 + np.exp(-(random.normal(size=20_000) * 2 + 2 * labels - 3)))
    positive = labels == 1
    marginal = conformal_sets(probabilities, conformal_quantile(labels, probabilities, 0.1))
    mondrian = conformal_sets(probabilities, mondrian_quantiles(labels, probabilities, 0.1))
    assert marginal[positive, 1].mean() < 0.7
    assert mondrian[positive, 1].mean() == pytest.approx(0.9, abs=0.01)


def test_a_low_quantile_can_leave_a_set_empty_and_a_high_one_fill_it() -> None:
    assert conformal_sets([0.5], 0.2).tolist() == [[False, False]]
    assert conformal_sets([0.5], 0.6).tolist() == [[True, True]]
    assert conformal_sets([0.9, 0.1], 0.2).tolist() == [[False, True], [True, False]]


def test_p_values_count_the_scores_at_least_as_strange() -> None:
    assert conformal_p_values([1.0, 2.0, 3.0], [0.0, 2.0, 9.0]) == pytest.approx([1.0, 0.75, 0.25])


def test_bad_input_is_refused() -> None:
    with pytest.raises(InvalidInput, match="alpha"):
        conformal_quantile([0, 1], [0.1, 0.9], 1.0)
    with pytest.raises(InvalidInput, match="quantiles"):
        conformal_sets([0.5], float("inf"))


def cases_of_patients(seed: int, patients: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Pooled case logits on a scale that no curve has seen yet, and labels."""
    random = np.random.default_rng(seed)
    labels = (random.random(patients) < 0.5).astype(int)
    return 3 * (random.normal(size=patients) + 1.5 * labels) - 1, labels


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.1, 0.3]))
def test_the_two_cuts_are_cv_plus_as_its_authors_define_it(seed: int, alpha: float) -> None:
    logits, labels = cases_of_patients(seed, 25)
    random = np.random.default_rng(seed)
    curves = np.column_stack([random.uniform(0.2, 2, 25), random.normal(0, 1, 25)])
    low, high = curve_cuts(logits, labels, curves, alpha)
    own = expit(curves[:, 0] * logits + curves[:, 1])
    scores = np.where(labels == 1, 1 - own, own)
    for new in random.normal(0, 4, 20):
        p = expit(curves[:, 0] * new + curves[:, 1])
        for score, inside in ((p, new <= low), (1 - p, new >= high)):
            # Romano et al.: in the set if fewer than (1 - alpha)(n + 1) cases have a lower score than the new one.
            assert inside == ((scores < score - 1e-12).sum() < (1 - alpha) * 26)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 3), st.floats(-3, 3))
def test_class_wise_cuts_are_the_same_under_any_rising_curve(seed: int, slope: float, intercept: float) -> None:
    logits, labels = cases_of_patients(seed)
    low, high = mondrian_cuts(logits, labels, 0.1)
    p = expit(slope * logits + intercept)
    sets = conformal_sets(p, mondrian_quantiles(labels, p, 0.1))
    # What counts as a tie is so by log-odds, of which a flat curve leaves little: such cases are left out.
    apart = (np.abs(slope) * np.abs(logits[:, None] - [low, high]) > 3 * TIE) | (logits[:, None] == [low, high])
    assert np.array_equal(sets[apart], np.column_stack([logits <= low, logits >= high])[apart])


@pytest.mark.slow
def test_cv_plus_covers_where_the_curve_is_fitted_on_the_very_cases() -> None:
    held, narrow = [], []
    for seed in range(60):
        logits, labels = cases_of_patients(seed, 20)
        new, truth = cases_of_patients(10_000 + seed, 2000)
        curves = cross_fitted_curves(logits, labels, np.arange(20))
        fitted = fit_platt(logits, labels)
        own = np.tile([fitted.slope, fitted.intercept], (20, 1))
        for found, kept in ((own if curves is None else curves, held), (own, narrow)):
            low, high = curve_cuts(logits, labels, found, 0.1)
            kept.append(np.where(truth == 1, new >= high, new <= low).mean())
    error = np.std(held) / np.sqrt(len(held))
    assert np.mean(held) >= 0.9 - 2 * error
    assert np.mean(held) >= np.mean(narrow)


def test_a_falling_curve_gives_no_cuts() -> None:
    with pytest.raises(InvalidInput, match="falls"):
        curve_cuts([0.0, 1.0], [0, 1], [[1.0, 0.0], [-1.0, 0.0]], 0.5)


@pytest.mark.parametrize("moved", [-3e-6, 0.0, 3e-6])
def test_the_case_that_set_the_quantile_stays_inside_when_networks_round_otherwise(moved: float) -> None:
    quantile = 0.5852104635
    assert conformal_sets([quantile + moved], (quantile, 0.2)).tolist() == [[True, False]]
    assert conformal_sets([1 - 0.2 + moved], (0.1, 0.2)).tolist() == [[False, True]]
    assert not conformal_sets([quantile + 1e-4], (quantile, 0.2)).any()
