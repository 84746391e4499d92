"""All figures together: right values, the right method for the data, honest gaps, plain JSON."""

import json
import math

import numpy as np
import pytest
from sklearn import metrics

from msht.errors import InvalidInput
from msht.statistics.intervals import delong_interval, wilson_interval
from msht.statistics.summary import MEASURES, summarise


def cohort(seed: int = 0, rows: int = 600, patients: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels, groups = random.integers(0, 2, rows), random.integers(0, patients, rows)
    logits = 2 * labels - 1 + random.normal(0, 0.7, patients)[groups] + random.normal(size=rows)
    return labels, 1 / (1 + np.exp(-logits)), groups


def test_values_agree_with_scikit_learn() -> None:
    labels, probabilities, groups = cohort()
    found = summarise(labels, probabilities, threshold=0.4, groups=groups)
    calls = probabilities >= 0.4
    assert found.sensitivity.value == pytest.approx(metrics.recall_score(labels, calls))
    assert found.npv.value == pytest.approx(metrics.precision_score(labels, calls, pos_label=0))
    assert found.mcc.value == pytest.approx(metrics.matthews_corrcoef(labels, calls))
    assert found.auroc.value == pytest.approx(metrics.roc_auc_score(labels, probabilities))
    assert found.auprc.value == pytest.approx(metrics.average_precision_score(labels, probabilities))
    assert found.brier.value == pytest.approx(metrics.brier_score_loss(labels, probabilities))
    assert found.log_loss.value == pytest.approx(metrics.log_loss(labels, probabilities))
    assert (found.n_rows, found.n_groups, found.counts.total) == (600, 40, 600)
    for name in MEASURES:
        estimate = getattr(found, name)
        assert estimate.low < estimate.value < estimate.high
        assert "40 patients" in estimate.method


def test_patients_widen_the_intervals_of_alike_rows() -> None:
    labels, probabilities, groups = cohort(rows=2000, patients=20)
    clustered = summarise(labels, probabilities, threshold=0.5, groups=groups).specificity
    alone = summarise(labels, probabilities, threshold=0.5, groups=None).specificity
    assert clustered.high - clustered.low > 1.5 * (alone.high - alone.low)


def test_rows_that_stand_alone_get_wilson_and_delong() -> None:
    labels, probabilities, _ = cohort()
    found = summarise(labels, probabilities, threshold=0.5, groups=np.arange(len(labels)))
    wilson = wilson_interval(found.counts.true_positives, found.counts.positives)
    assert (found.sensitivity.low, found.sensitivity.high) == pytest.approx((wilson.low, wilson.high))
    assert found.sensitivity.method.startswith("Wilson")
    delong = delong_interval(labels, probabilities)
    assert (found.auroc.low, found.auroc.high) == (delong.low, delong.high)
    assert found.auroc.method.startswith("DeLong")


def test_writing_every_row_twice_leaves_clustered_intervals_alone() -> None:
    labels, probabilities, groups = cohort(1)
    once = summarise(labels, probabilities, threshold=0.5, groups=groups)
    again = summarise(np.tile(labels, 2), np.tile(probabilities, 2), threshold=0.5, groups=np.tile(groups, 2))
    for name in MEASURES:
        here, there = getattr(once, name), getattr(again, name)
        assert (here.low, here.high) == pytest.approx((there.low, there.high), abs=1e-9)


def test_relabelling_the_classes_mirrors_every_figure() -> None:
    labels, probabilities, groups = cohort(2)
    here = summarise(labels, probabilities, threshold=0.5, groups=groups)
    there = summarise(1 - labels, 1 - probabilities, threshold=0.5, groups=groups)
    pairs = {"sensitivity": "specificity", "specificity": "sensitivity", "ppv": "npv", "npv": "ppv"}
    for name in ("accuracy", "balanced_accuracy", "mcc", "auroc", "brier", "log_loss", *pairs):
        a, b = getattr(here, name), getattr(there, pairs.get(name, name))
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), abs=1e-9)


def test_shuffled_labels_give_chance_within_the_interval() -> None:
    held = 0
    for seed in range(40):
        labels, probabilities, groups = cohort(seed)
        shuffled = np.random.default_rng(seed).permutation(labels)
        area = summarise(shuffled, probabilities, threshold=0.5, groups=groups, resamples=400).auroc
        held += area.low <= 0.5 <= area.high
    assert held >= 34


def test_no_error_at_all_still_gets_bounds_from_the_number_of_patients() -> None:
    labels = np.tile([0, 1], 100)
    groups = np.repeat(np.arange(20), 10)
    found = summarise(labels, 0.1 + 0.8 * labels, threshold=0.5, groups=groups)
    assert found.sensitivity.high == 1.0
    assert found.sensitivity.low == pytest.approx(wilson_interval(20, 20).low)
    assert found.auroc.low < 0.97
    assert math.isnan(found.f1.low)
    assert found.f1.note


@pytest.mark.parametrize(
    ("labels", "groups"),
    [
        ([1, 1, 1], [0, 0, 1]),
        ([0, 0, 0], None),
        ([0, 1, 1, 0], ["a", "a", "b", "b"]),
        ([0, 1], [0, 1]),
        ([1], None),
    ],
)
def test_tiny_or_one_sided_cohorts_say_why_there_is_no_interval(labels: list[int], groups: list | None) -> None:
    found = summarise(labels, np.linspace(0.2, 0.8, len(labels)), threshold=0.5, groups=groups)
    for name in MEASURES:
        estimate = getattr(found, name)
        assert math.isnan(estimate.low) == bool(estimate.note)
        assert math.isnan(estimate.low) != bool(estimate.method)


def test_one_positive_patient_gives_a_sensitivity_without_interval() -> None:
    groups = np.repeat(np.arange(10), 5)
    labels = (groups == 0).astype(int)
    probabilities = np.where(np.arange(50) % 5 == 0, 0.2, 0.8) * labels + 0.3 * (1 - labels)
    found = summarise(labels, probabilities, threshold=0.5, groups=groups)
    assert found.sensitivity.value == pytest.approx(0.8)
    assert "too few patients" in found.sensitivity.note


def test_the_summary_is_plain_json_without_nan() -> None:
    found = summarise([1, 1, 0], [0.3, 0.6, 0.2], threshold=0.5, groups=[1, 1, 2]).as_dict()
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == found
    assert set(found["estimates"]) == set(MEASURES)
    assert found["estimates"]["f1"]["low"] is None


def test_a_row_at_the_threshold_is_called_positive() -> None:
    found = summarise([1, 0], [0.5, 0.4], threshold=0.5, groups=None)
    assert found.counts.true_positives == 1


def test_missing_patient_ids_are_refused() -> None:
    with pytest.raises(InvalidInput, match="row 1"):
        summarise([1, 0], [0.5, 0.4], threshold=0.5, groups=["a", None])
