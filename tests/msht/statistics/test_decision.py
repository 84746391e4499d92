"""Predictive values over prevalence, net benefit, subgroups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msht.errors import InvalidInput
from msht.statistics.classification import ConfusionCounts, confusion_metrics
from msht.statistics.decision import decision_curve, predictive_values, subgroup_table


@given(st.builds(ConfusionCounts, *(st.integers(min_value=1, max_value=1000) for _ in range(4))))
def test_predictive_values_at_the_own_prevalence_are_those_of_the_table(counts: ConfusionCounts) -> None:
    own = confusion_metrics(counts)
    found = predictive_values(own.sensitivity, own.specificity, own.prevalence)
    assert found.ppv[0] == pytest.approx(own.ppv)
    assert found.npv[0] == pytest.approx(own.npv)


def test_ppv_rises_and_npv_falls_with_prevalence() -> None:
    found = predictive_values(0.9, 0.8)
    assert (np.diff(found.ppv) > 0).all()
    assert (np.diff(found.npv) < 0).all()
    assert found.as_dict()["prevalence"][0] == pytest.approx(0.01)


def test_a_test_that_never_calls_positive_has_no_ppv() -> None:
    assert predictive_values(0.0, 1.0, [0.3]).as_dict()["ppv"] == [None]


def test_net_benefit_is_that_of_counting() -> None:
    random = np.random.default_rng(1)
    labels, probabilities = random.integers(0, 2, 200), np.round(random.random(200), 2)
    curve = decision_curve(labels, probabilities)
    for cut, benefit in zip(curve.threshold, curve.model, strict=True):
        called = probabilities >= cut
        tp, fp = np.sum(called & (labels == 1)), np.sum(called & (labels == 0))
        assert benefit == pytest.approx(tp / 200 - fp / 200 * cut / (1 - cut))


def test_acting_on_all_breaks_even_at_the_prevalence() -> None:
    labels = np.array([1] * 30 + [0] * 70)
    curve = decision_curve(labels, np.full(100, 0.3), [0.3])
    assert curve.act_on_all[0] == pytest.approx(0.0)


def test_calibrated_probabilities_are_never_worse_than_both_defaults() -> None:
    random = np.random.default_rng(2)
    probabilities = random.beta(0.7, 1.3, 50_000)
    labels = (random.random(50_000) < probabilities).astype(int)
    curve = decision_curve(labels, probabilities)
    assert (curve.model >= np.maximum(curve.act_on_all, 0) - 0.004).all()


def test_a_perfect_model_gains_the_prevalence_at_every_threshold() -> None:
    labels = np.array([1, 0, 0, 1])
    curve = decision_curve(labels, labels.astype(float))
    assert curve.model == pytest.approx(np.full(99, 0.5))


def test_thresholds_of_zero_and_one_are_refused() -> None:
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        decision_curve([0, 1], [0.1, 0.9], [0.0, 0.5])


def test_subgroups_cover_all_rows_and_small_ones_are_marked() -> None:
    random = np.random.default_rng(3)
    labels, probabilities = random.integers(0, 2, 400), random.random(400)
    groups = np.arange(400) // 10
    site = np.array(["north"] * 300 + ["south"] * 90 + [None] * 10, dtype=object)
    table = subgroup_table(labels, probabilities, {"site": site}, threshold=0.5, groups=groups, resamples=200)
    assert [row.value for row in table] == ["(missing)", "north", "south"]
    assert sum(row.summary.n_rows for row in table) == 400
    assert [bool(row.warning) for row in table] == [True, False, True]
    assert table[1].summary.accuracy.value == pytest.approx(np.mean((probabilities[:300] >= 0.5) == labels[:300]))
