"""Operating points: the promise kept on new cases, and owned up to where it cannot be made."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import roc_curve

from msht.calibration.operating_point import (
    threshold_by_cost,
    threshold_by_youden,
    threshold_for_sensitivity,
)
from msht.errors import InvalidInput


def cases(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    labels = (random.random(count) < 0.4).astype(int)
    labels[:2] = [0, 1]
    return labels, 1 / (1 + np.exp(-(random.normal(size=count) * 2 + 2.5 * labels - 1)))


@given(st.integers(min_value=0, max_value=10_000), st.sampled_from([0.8, 0.9, 0.95]), st.booleans())
def test_it_is_the_highest_threshold_within_the_corrected_misses(seed: int, target: float, ties: bool) -> None:
    labels, probabilities = cases(np.random.default_rng(seed), 120)
    probabilities = np.round(probabilities, 1) if ties else probabilities
    point = threshold_for_sensitivity(labels, probabilities, target)
    positive = probabilities[labels == 1]
    if point.guaranteed:
        misses = int(np.sum(positive < point.threshold))
        assert (misses + 1) / (len(positive) + 1) <= 1 - target + 1e-9
        higher = probabilities[probabilities >= point.threshold].min()
        missed_next = int(np.sum(positive <= higher))
        if missed_next > misses:
            assert (missed_next + 1) / (len(positive) + 1) > 1 - target
    assert point.achieved == pytest.approx(np.mean(positive >= point.threshold))


def test_the_threshold_lies_between_observed_scores() -> None:
    labels = np.array([0] * 5 + [1] * 19)
    probabilities = np.concatenate([np.linspace(0.05, 0.25, 5), np.linspace(0.35, 0.95, 19)])
    point = threshold_for_sensitivity(labels, probabilities, 0.95)
    assert point.threshold == pytest.approx(0.30)
    assert (point.achieved, point.achieved_specificity) == (1.0, 1.0)
    assert point.guaranteed


def test_one_positive_case_fewer_and_there_is_no_guarantee() -> None:
    for count, guaranteed in ((19, True), (18, False)):
        labels = np.array([0] + [1] * count)
        probabilities = np.concatenate([[0.1], np.linspace(0.3, 0.9, count)])
        point = threshold_for_sensitivity(labels, probabilities, 0.95)
        assert point.guaranteed is guaranteed
        assert point.guarantee.startswith("No guarantee") is not guaranteed
        assert point.achieved == 1.0
    assert "19 positive cases" in point.guarantee


def test_new_positive_cases_are_caught_as_promised() -> None:
    random = np.random.default_rng(1)
    caught = []
    for _ in range(600):
        labels, probabilities = cases(random, 80)
        point = threshold_for_sensitivity(labels, probabilities, 0.9)
        new_labels, new = cases(random, 500)
        caught.append(np.mean(new[new_labels == 1] >= point.threshold))
    assert 0.9 <= np.mean(caught) <= 0.94


def test_equal_probabilities_are_called_together() -> None:
    point = threshold_for_sensitivity([0, 0] + [1] * 20, [0.4] * 22, 0.9)
    assert point.achieved == 1.0
    assert point.threshold <= 0.4


@given(st.integers(min_value=0, max_value=10_000))
def test_youden_agrees_with_scikit_learns_curve(seed: int) -> None:
    labels, probabilities = cases(np.random.default_rng(seed), 60)
    point = threshold_by_youden(labels, probabilities)
    false_rate, true_rate, _ = roc_curve(labels, probabilities)
    assert point.achieved + point.achieved_specificity - 1 == pytest.approx(np.max(true_rate - false_rate))


@given(st.integers(min_value=0, max_value=10_000), st.floats(min_value=0.05, max_value=50))
def test_the_cost_rule_finds_the_cheapest_threshold(seed: int, ratio: float) -> None:
    labels, probabilities = cases(np.random.default_rng(seed), 60)
    point = threshold_by_cost(labels, probabilities, ratio)

    def cost(threshold: float) -> float:
        called = probabilities >= threshold
        return ratio * np.sum(~called & (labels == 1)) + np.sum(called & (labels == 0))

    cheapest = min(cost(threshold) for threshold in [0.0, *probabilities, 1.0])
    assert cost(point.threshold) == pytest.approx(cheapest)


def test_dearer_misses_lower_the_threshold() -> None:
    labels, probabilities = cases(np.random.default_rng(2), 500)
    thresholds = [threshold_by_cost(labels, probabilities, ratio).threshold for ratio in (0.2, 1, 5, 50)]
    assert thresholds == sorted(thresholds, reverse=True)


def test_calibrated_probabilities_are_cut_at_the_odds_of_the_costs() -> None:
    random = np.random.default_rng(3)
    probabilities = random.random(200_000)
    labels = (random.random(200_000) < probabilities).astype(int)
    assert threshold_by_cost(labels, probabilities, 4).threshold == pytest.approx(1 / 5, abs=0.02)


def test_a_point_is_plain_json_with_its_guarantee() -> None:
    labels, probabilities = cases(np.random.default_rng(4), 100)
    for point in (
        threshold_for_sensitivity(labels, probabilities, 0.9),
        threshold_by_youden(labels, probabilities),
    ):
        assert json.loads(json.dumps(point.as_dict(), allow_nan=False))["guarantee"]
    assert math.isnan(threshold_by_youden(labels, probabilities).target)


def test_a_missing_class_is_refused() -> None:
    with pytest.raises(InvalidInput, match="positive rows"):
        threshold_for_sensitivity([0, 0], [0.1, 0.2], 0.9)
    with pytest.raises(InvalidInput, match="negative rows"):
        threshold_by_youden([1, 1], [0.1, 0.2])
    with pytest.raises(InvalidInput, match="cost_ratio"):
        threshold_by_cost([0, 1], [0.1, 0.2], 0)


def test_patients_of_one_row_each_give_the_threshold_of_rows() -> None:
    labels, probabilities = cases(np.random.default_rng(3), 200)
    alone = threshold_for_sensitivity(labels, probabilities, 0.9)
    assert threshold_for_sensitivity(labels, probabilities, 0.9, groups=np.arange(200)) == alone


def test_a_patient_with_many_rows_counts_once() -> None:
    labels, probabilities = cases(np.random.default_rng(4), 60)
    groups = np.arange(60)
    many = np.concatenate([np.arange(60), np.repeat(np.flatnonzero(labels)[0], 40)])
    point = threshold_for_sensitivity(labels[many], probabilities[many], 0.9, groups=groups[many])
    assert point.threshold == threshold_for_sensitivity(labels, probabilities, 0.9).threshold
    assert "of a new patient" in point.guarantee
    assert f"{labels.sum()} patients with positive cases" in point.guarantee


def test_the_promise_to_new_patients_holds_where_rows_of_a_patient_are_alike() -> None:
    random = np.random.default_rng(5)
    kept: dict[str, list[float]] = {"patients": [], "rows": []}

    def patients(count: int) -> tuple[np.ndarray, np.ndarray]:
        who = np.repeat(np.arange(count), random.integers(1, 30, count))
        return who, expit(2 + random.normal(0, 2, count)[who] + random.normal(size=len(who)))

    for _ in range(300):
        who, values = patients(25)
        new_who, new = patients(200)
        for kind, groups in (("patients", who), ("rows", None)):
            cut = threshold_for_sensitivity(np.ones(len(who), dtype=int), values, 0.9, groups=groups).threshold
            found = np.bincount(new_who, new >= cut) / np.bincount(new_who)
            kept[kind].append(float(found.mean()))
    assert np.mean(kept["patients"]) >= 0.9
    assert np.mean(kept["rows"]) < np.mean(kept["patients"])
