"""Resampling patients: weights, statistics of weights against scikit-learn, laws, and coverage."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from msht.errors import InvalidInput
from msht.statistics.bootstrap import (
    Scale,
    bootstrap_values,
    clustered_bootstrap,
    clustered_jackknife,
    confusion_statistic,
    effective_groups,
    group_weights,
    interval_of_values,
    mean_statistic,
    ranking_statistic,
)
from msht.statistics.classification import CONFUSION_RATIOS
from msht.statistics.intervals import delong_interval
from msht.statistics.summary import measure_scale

SHARE = Scale(0.0, 1.0)


def cohort(seed: int, patients: int = 30, rows: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    groups = np.concatenate([np.arange(patients), random.integers(0, patients, rows - patients)])
    labels = random.integers(0, 2, rows)
    effect = random.normal(0, 1, patients)[groups]
    return labels, np.round(1.5 * labels + effect + random.normal(size=rows), 1), groups


def test_each_resample_draws_as_many_groups_as_there_are() -> None:
    weights = np.concatenate(list(group_weights(17, 5000, seed=1)))
    assert weights.shape == (5000, 17)
    assert (weights.sum(axis=1) == 17).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(17), abs=0.06)
    assert weights.var(axis=0).mean() == pytest.approx(16 / 17, abs=0.03)


def test_ranking_of_a_resample_is_that_of_the_rows_written_out() -> None:
    labels, scores, groups = cohort(1)
    weights = np.concatenate(list(group_weights(30, 100, seed=2)))
    found = ranking_statistic(labels, scores, groups, 30)(weights)
    for row, drawn in zip(found, weights, strict=True):
        times = drawn[groups]
        assert row[0] == pytest.approx(roc_auc_score(labels, scores, sample_weight=times))
        assert row[1] == pytest.approx(average_precision_score(labels, scores, sample_weight=times))


def test_ranking_without_ties_agrees_too() -> None:
    labels, scores, groups = cohort(2)
    scores = scores + np.linspace(0, 1e-3, len(scores))
    weights = np.concatenate(list(group_weights(30, 20, seed=2)))
    found = ranking_statistic(labels, scores, groups, 30)(weights)
    expected = [roc_auc_score(labels, scores, sample_weight=drawn[groups]) for drawn in weights]
    assert found[:, 0] == pytest.approx(expected)


def test_ratios_and_means_of_a_resample_are_those_of_the_rows_written_out() -> None:
    labels, scores, groups = cohort(3)
    calls = (scores > 1).astype(int)
    weights = np.concatenate(list(group_weights(30, 50, seed=3)))
    ratios = confusion_statistic(labels, calls, groups, 30)(weights)
    means = mean_statistic(scores, groups, 30)(weights)
    for row, mean, drawn in zip(ratios, means, weights, strict=True):
        times = drawn[groups].astype(int)
        tn, _, fn, tp = confusion_matrix(np.repeat(labels, times), np.repeat(calls, times)).ravel()
        assert row[CONFUSION_RATIOS.index("sensitivity")] == pytest.approx(tp / (tp + fn))
        assert row[CONFUSION_RATIOS.index("npv")] == pytest.approx(tn / (tn + fn))
        assert mean[0] == pytest.approx(np.repeat(scores, times).mean())


def test_a_resample_with_one_class_has_no_ranking() -> None:
    statistic = ranking_statistic([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], np.array([0, 1, 2, 3]), 4)
    assert np.isnan(statistic(np.array([[2.0, 2.0, 0.0, 0.0]]))).all()


def test_percentile_and_bca_agree_with_scipy_for_independent_rows() -> None:
    data = np.random.default_rng(7).exponential(size=60)
    statistic = mean_statistic(data, np.arange(60), 60)
    for ours, theirs in (("percentile", "percentile"), ("bca", "BCa")):
        found = clustered_bootstrap(statistic, 60, resamples=20_000, method=ours)[0]  # type: ignore[arg-type]
        expected = stats.bootstrap((data,), np.mean, n_resamples=20_000, method=theirs, rng=8)
        bounds = expected.confidence_interval
        assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high), abs=0.02)


def test_t_without_bounds_is_students_interval_of_a_mean() -> None:
    data = np.random.default_rng(9).normal(size=40)
    found = clustered_bootstrap(mean_statistic(data, np.arange(40), 40), 40, resamples=40_000)[0]
    low, high = stats.t.interval(0.95, 39, data.mean(), stats.sem(data))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.01)


def test_t_on_a_half_open_range_is_symmetric_in_the_logarithm() -> None:
    data = np.random.default_rng(10).exponential(size=40)
    found = clustered_bootstrap(mean_statistic(data, np.arange(40), 40), 40, Scale(low=0.0))[0]
    assert found.low > 0
    assert math.log(found.high / data.mean()) == pytest.approx(math.log(data.mean() / found.low))


@pytest.mark.parametrize("method", ["t", "percentile", "bca"])
def test_writing_every_row_twice_changes_nothing(method: str) -> None:
    labels, scores, groups = cohort(4)
    once = ranking_statistic(labels, scores, groups, 30)
    twice = ranking_statistic(np.tile(labels, 2), np.tile(scores, 2), np.tile(groups, 2), 30)
    scale = Scale(0.0, 1.0, effective_groups(groups, labels == 1))
    doubled = Scale(0.0, 1.0, effective_groups(np.tile(groups, 2), np.tile(labels == 1, 2)))
    here = clustered_bootstrap(once, 30, scale, method=method)  # type: ignore[arg-type]
    there = clustered_bootstrap(twice, 30, doubled, method=method)  # type: ignore[arg-type]
    for a, b in zip(here, there, strict=True):
        assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=1e-12)


@pytest.mark.parametrize("method", ["t", "percentile", "bca"])
def test_turning_the_scores_round_mirrors_the_area(method: str) -> None:
    labels, scores, groups = cohort(5)
    here, there = (
        clustered_bootstrap(ranking_statistic(labels, s, groups, 30), 30, SHARE, method=method)[0]  # type: ignore[arg-type]
        for s in (scores, -scores)
    )
    assert (here.low, here.high) == pytest.approx((1 - there.high, 1 - there.low), abs=1e-9)


def test_the_draw_depends_on_the_seed_alone() -> None:
    labels, scores, groups = cohort(6)
    statistic = ranking_statistic(labels, scores, groups, 30)
    assert clustered_bootstrap(statistic, 30, seed=1) == clustered_bootstrap(statistic, 30, seed=1)
    assert clustered_bootstrap(statistic, 30, seed=1) != clustered_bootstrap(statistic, 30, seed=2)


def test_few_groups_or_few_defined_resamples_give_no_interval() -> None:
    assert not clustered_bootstrap(mean_statistic([1.0, 2, 3], np.arange(3), 3), 3)[0].known
    labels = np.array([1] + [0] * 9)
    lone = ranking_statistic(labels, np.linspace(1, 0, 10), np.arange(10), 10)
    assert not clustered_bootstrap(lone, 10)[0].known


def test_effective_groups_counts_equal_patients_and_discounts_unequal_ones() -> None:
    assert effective_groups([0, 0, 1, 1, 2, 2], np.ones(6)) == pytest.approx(3)
    assert effective_groups([0, 0, 0, 0, 1, 2], np.ones(6)) == pytest.approx(36 / 18)
    assert effective_groups([0, 1], [False, False]) == 0


def test_too_few_resamples_are_refused() -> None:
    with pytest.raises(InvalidInput, match="resamples"):
        bootstrap_values(mean_statistic([1.0, 2.0], np.arange(2), 2), 2, resamples=10)


def test_the_jackknife_of_a_mean_is_students_interval() -> None:
    data = np.random.default_rng(12).normal(size=40)
    found = clustered_jackknife(mean_statistic(data, np.arange(40), 40), 40)[0]
    # Equal patients: the widening for unequal ones, sqrt(P / (P - 1)), is the only difference.
    low, high = stats.t.interval(0.95, 39, data.mean(), stats.sem(data) * math.sqrt(40 / 39))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_the_jackknife_error_of_a_share_is_near_that_of_a_cluster_robust_regression() -> None:
    from statsmodels.api import OLS

    labels, scores, groups = cohort(13, patients=60, rows=1500)
    right = ((scores > 0.7) == labels).astype(float)
    found = clustered_jackknife(mean_statistic(right, groups, 60), 60)[0]
    robust = OLS(right, np.ones(len(right))).fit(cov_type="cluster", cov_kwds={"groups": groups})
    reach = stats.t.ppf(0.975, 59) * robust.bse[0]
    assert (found.high - found.low) / (2 * reach) == pytest.approx(1.02, abs=0.03)


def test_the_jackknife_of_an_area_over_single_rows_is_near_delong() -> None:
    labels, scores, _ = cohort(14)
    statistic = ranking_statistic(labels, scores, np.arange(400), 400)
    found = clustered_jackknife(statistic, 400, SHARE)[0]
    delong = delong_interval(labels, scores)
    assert (found.low, found.high) == pytest.approx((delong.low, delong.high), abs=0.002)


def test_a_statistic_that_rests_on_one_patient_has_no_jackknife() -> None:
    labels = np.array([1] + [0] * 9)
    assert not clustered_jackknife(ranking_statistic(labels, np.linspace(1, 0, 10), np.arange(10), 10), 10)[0].known
    assert not clustered_jackknife(mean_statistic([1.0, 2, 3], np.arange(3), 3), 3)[0].known
    assert clustered_jackknife(mean_statistic(np.ones(9), np.arange(9), 9), 9)[0].high == 1.0


@pytest.mark.slow
def test_patient_intervals_cover_94_to_96_percent_and_row_intervals_do_not() -> None:
    random = np.random.default_rng(11)
    spread, separation, cut, patients, repeats = math.sqrt(1 + 0.7**2), 2.5, 1.0, 60, 2000
    true = stats.norm.cdf(
        [(separation - cut) / spread, cut / spread, separation / (spread * math.sqrt(2))],
    )
    held: dict[str, list[list[bool]]] = {"patients": [], "rows": []}
    for repeat in range(repeats):
        size = random.integers(3, 15, patients)
        groups = np.repeat(np.arange(patients), size)
        labels = (random.random(len(groups)) < 0.4).astype(int)
        scores = separation * labels + random.normal(0, 0.7, patients)[groups] + random.normal(size=len(groups))
        calls = (scores >= cut).astype(int)
        for kind, codes in (("patients", groups), ("rows", np.arange(len(groups)))):
            count = int(codes.max()) + 1
            ratios = confusion_statistic(labels, calls, codes, count)
            ranking = ranking_statistic(labels, scores, codes, count)

            def all_three(weights: np.ndarray, ratios=ratios, ranking=ranking) -> np.ndarray:
                return np.column_stack([ratios(weights)[:, 2:4], ranking(weights)[:, 0]])

            if kind == "patients":
                scales = [measure_scale(name, labels, calls, codes) for name in ("sensitivity", "specificity", "auroc")]
                intervals = clustered_jackknife(all_three, count, scales)
            elif repeat < 150:
                values = bootstrap_values(all_three, count, resamples=200, seed=repeat)
                intervals = interval_of_values(all_three, values, count, method="percentile")
            else:
                continue
            held[kind].append([i.low <= t <= i.high for i, t in zip(intervals, true, strict=True)])
    covered = np.mean(held["patients"], axis=0)
    # 2,000 repeats settle a coverage to 0.5 points, so two of those errors beyond 94 to 96 % would be a fault.
    assert (covered > 0.93).all()
    assert (covered < 0.97).all()
    assert 0.94 <= covered.mean() <= 0.96
    # The area compares rows within patients too, which the shared effect leaves alone: it suffers least.
    assert (np.mean(held["rows"], axis=0)[:2] < 0.90).all()
