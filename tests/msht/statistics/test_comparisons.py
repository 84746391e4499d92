"""Paired comparisons, against statsmodels, SciPy and each other."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from msht.errors import InvalidInput
from msht.statistics.comparisons import (
    clustered_paired_bootstrap,
    holm,
    mcnemar_exact,
    nadeau_bengio,
    paired_delong,
)


def two_models(seed: int, rows: int = 300, gain: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, rows)
    common = random.normal(size=rows)
    first = (1.5 + gain) * labels - 0.75 + common + 0.7 * random.normal(size=rows)
    second = 1.5 * labels - 0.75 + common + 0.7 * random.normal(size=rows)
    return labels, 1 / (1 + np.exp(-first)), 1 / (1 + np.exp(-second))


def test_mcnemar_agrees_with_statsmodels() -> None:
    labels, first, second = two_models(1)
    a, b = (first > 0.5).astype(int), (second > 0.5).astype(int)
    table = np.array(
        [
            [np.sum((a == labels) & (b == labels)), np.sum((a == labels) & (b != labels))],
            [np.sum((a != labels) & (b == labels)), np.sum((a != labels) & (b != labels))],
        ]
    )
    found = mcnemar_exact(labels, a, b)
    assert found.p_value == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert found.difference == pytest.approx(np.mean(a == labels) - np.mean(b == labels))


def test_equal_calls_are_no_difference() -> None:
    assert mcnemar_exact([0, 1, 1], [0, 1, 0], [0, 1, 0]).p_value == 1.0
    found = paired_delong([0, 0, 1, 1], [0.1, 0.6, 0.5, 0.9], [0.1, 0.6, 0.5, 0.9])
    assert (found.difference, found.p_value) == (0.0, 1.0)


def test_paired_delong_has_the_right_level_and_finds_a_real_gain() -> None:
    p_values = [paired_delong(*two_models(seed, 150)).p_value for seed in range(400)]
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=0.035)
    assert paired_delong(*two_models(1, 600, gain=1.0)).p_value < 1e-4


def test_paired_delong_changes_sign_with_the_order_of_the_models() -> None:
    labels, first, second = two_models(3)
    here, there = paired_delong(labels, first, second), paired_delong(labels, second, first)
    assert here.difference == pytest.approx(-there.difference)
    assert here.p_value == pytest.approx(there.p_value)
    assert here.difference == pytest.approx(roc_auc_score(labels, first) - roc_auc_score(labels, second))


def test_bootstrap_and_delong_agree_where_rows_stand_alone() -> None:
    labels, first, second = two_models(4, 500, gain=0.3)
    delong = paired_delong(labels, first, second)
    found = clustered_paired_bootstrap(labels, first, second, threshold=0.5, groups=None, resamples=4000)["auroc"]
    assert found.difference == pytest.approx(delong.difference)
    assert found.high - found.low == pytest.approx(delong.high - delong.low, rel=0.06)
    assert found.p_value == pytest.approx(delong.p_value, abs=0.03)


def test_bootstrap_ignores_duplicated_rows_of_a_patient() -> None:
    labels, first, second = two_models(5)
    groups = np.arange(300) // 10
    once = clustered_paired_bootstrap(labels, first, second, threshold=0.5, groups=groups)
    twice = clustered_paired_bootstrap(
        np.tile(labels, 2), np.tile(first, 2), np.tile(second, 2), threshold=0.5, groups=np.tile(groups, 2)
    )
    for name, here in once.items():
        there = twice[name]
        assert (here.low, here.p_value) == pytest.approx((there.low, there.p_value), abs=1e-9)


def test_a_model_against_itself_shows_nothing() -> None:
    labels, first, _ = two_models(6)
    for found in clustered_paired_bootstrap(labels, first, first, threshold=0.5, groups=np.arange(300) // 10).values():
        assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_few_patients_give_no_p_value() -> None:
    labels, first, second = two_models(7, 40)
    found = clustered_paired_bootstrap(labels, first, second, threshold=0.5, groups=np.arange(40) // 10)
    assert math.isnan(found["auroc"].p_value)
    assert not math.isnan(found["auroc"].difference)


def test_nadeau_bengio_is_the_paired_t_test_with_a_larger_variance() -> None:
    first = [0.91, 0.93, 0.90, 0.95, 0.92]
    second = [0.90, 0.91, 0.91, 0.92, 0.90]
    t = stats.ttest_rel(first, second).statistic
    corrected = t * math.sqrt((1 / 5) / (1 / 5 + 1 / 4))
    found = nadeau_bengio(first, second, test_share=1 / 4)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(corrected), 4))
    nearly = nadeau_bengio(first, second, test_share=1e-12)
    assert nearly.p_value == pytest.approx(stats.ttest_rel(first, second).pvalue)


def test_holm_agrees_with_statsmodels() -> None:
    p_values = [0.04, 0.001, 0.3, 0.012, 0.012, 1.0]
    significant, expected, _, _ = multipletests(p_values, alpha=0.05, method="holm")
    adjusted, found = holm(p_values)
    assert adjusted == pytest.approx(expected)
    assert (found == significant).all()


@given(st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=12))
def test_holm_lies_between_the_plain_and_the_bonferroni_p_values(p_values: list[float]) -> None:
    adjusted, _ = holm(p_values)
    assert (adjusted >= np.array(p_values)).all()
    assert (adjusted <= np.minimum(np.array(p_values) * len(p_values), 1)).all()
    assert (np.diff(adjusted[np.argsort(p_values, kind="stable")]) >= 0).all()


def test_bad_input_is_refused() -> None:
    with pytest.raises(InvalidInput, match="two folds"):
        nadeau_bengio([0.9], [0.8], test_share=0.25)
    with pytest.raises(InvalidInput, match="two rows"):
        paired_delong([0, 0, 1], [0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
    with pytest.raises(InvalidInput):
        holm([])
