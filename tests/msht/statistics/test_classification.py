"""Figures of a 2 x 2 table and of scores, against the published records and scikit-learn."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from msht.errors import InvalidInput
from msht.statistics.classification import (
    ConfusionCounts,
    area_under_roc,
    average_precision,
    brier_score,
    confusion_metrics,
    count_confusion,
    log_loss_of,
)

PUBLISHED = ("accuracy", "sensitivity", "specificity", "ppv", "npv", "f1")

counts_of_anything = st.builds(ConfusionCounts, *(st.integers(min_value=0, max_value=10_000) for _ in range(4)))


def rows_of(counts: ConfusionCounts) -> tuple[np.ndarray, np.ndarray]:
    """Labels and calls that have these counts."""
    sizes = [counts.true_positives, counts.true_negatives, counts.false_positives, counts.false_negatives]
    return np.repeat([1, 0, 0, 1], sizes), np.repeat([1, 0, 1, 0], sizes)


def mirrored(counts: ConfusionCounts) -> ConfusionCounts:
    return ConfusionCounts(counts.true_negatives, counts.true_positives, counts.false_negatives, counts.false_positives)


def published_rows() -> list[dict[str, str]]:
    with (Path(__file__).parent / "published_confusions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("row", published_rows(), ids=lambda row: f"{row['model']}-{row['fold']}")
def test_published_test_figures_are_reproduced(row: dict[str, str]) -> None:
    found = confusion_metrics(ConfusionCounts(*(int(row[cell]) for cell in ("tp", "tn", "fp", "fn"))))
    for name in PUBLISHED:
        assert 100 * getattr(found, name) == pytest.approx(float(row[name]), abs=1e-6)


def test_the_published_rows_are_all_there() -> None:
    assert len(published_rows()) == 105


def test_every_published_split_is_reproduced_for_both_classes(shared: Path) -> None:
    with (shared / "facts" / "records.csv").open(newline="") as file:
        records = {row["md_line"]: row for row in csv.DictReader(file)}
    with (shared / "facts" / "splits_confusions.csv").open(newline="") as file:
        splits = list(csv.DictReader(file))
    assert len(splits) == 315
    columns = {
        "Precision": "ppv",
        "Recall": "sensitivity",
        "Sensitivity": "sensitivity",
        "Specificity": "specificity",
        "NPV": "npv",
        "F1_score": "f1",
    }
    for split in splits:
        counts = ConfusionCounts(*(int(split[cell]) for cell in ("tp", "tn", "fp", "fn")))
        record, name = records[split["md_line"]], split["split"]
        assert 100 * confusion_metrics(counts).accuracy == pytest.approx(float(record[f"{name}_Acc"]), abs=1e-6)
        for side, table in (("positive", counts), ("negative", mirrored(counts))):
            found = confusion_metrics(table)
            for column, measure in columns.items():
                published = float(record[f"{name}_{side}_{column}"])
                assert 100 * getattr(found, measure) == pytest.approx(published, abs=1e-6)


def test_counts_and_ratios_agree_with_scikit_learn() -> None:
    random = np.random.default_rng(3)
    for size in (10, 100, 1000):
        labels = random.integers(0, 2, size)
        calls = np.where(random.random(size) < 0.7, labels, 1 - labels)
        counts = count_confusion(labels, calls)
        tn, fp, fn, tp = metrics.confusion_matrix(labels, calls).ravel()
        assert counts == ConfusionCounts(tp, tn, fp, fn)
        found = confusion_metrics(counts)
        assert found.accuracy == pytest.approx(metrics.accuracy_score(labels, calls))
        assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels, calls))
        assert found.sensitivity == pytest.approx(metrics.recall_score(labels, calls))
        assert found.specificity == pytest.approx(metrics.recall_score(labels, calls, pos_label=0))
        assert found.ppv == pytest.approx(metrics.precision_score(labels, calls))
        assert found.npv == pytest.approx(metrics.precision_score(labels, calls, pos_label=0))
        assert found.f1 == pytest.approx(metrics.f1_score(labels, calls))
        assert found.mcc == pytest.approx(metrics.matthews_corrcoef(labels, calls))
        assert found.prevalence == pytest.approx(labels.mean())


@given(counts_of_anything)
def test_swapping_the_classes_mirrors_every_ratio(counts: ConfusionCounts) -> None:
    here, there = confusion_metrics(counts), confusion_metrics(mirrored(counts))
    for name, other in (
        ("sensitivity", "specificity"),
        ("ppv", "npv"),
        ("accuracy", "accuracy"),
        ("balanced_accuracy", "balanced_accuracy"),
        ("mcc", "mcc"),
    ):
        assert getattr(here, name) == pytest.approx(getattr(there, other), nan_ok=True)


@given(counts_of_anything)
def test_ratios_are_in_range_or_not_a_number(counts: ConfusionCounts) -> None:
    found = confusion_metrics(counts)
    assert math.isnan(found.sensitivity) == (counts.positives == 0)
    assert math.isnan(found.ppv) == (counts.called_positive == 0)
    for name, value in vars(found).items():
        low = -1 if name == "mcc" else 0
        assert math.isnan(value) or low <= value <= 1


@given(st.builds(ConfusionCounts, *(st.integers(min_value=0, max_value=30) for _ in range(4))))
def test_counting_the_rows_of_a_table_gives_the_table(counts: ConfusionCounts) -> None:
    labels, calls = rows_of(counts)
    if len(labels):
        assert count_confusion(labels, calls) == counts


def test_a_table_without_errors_has_an_mcc_of_exactly_one() -> None:
    for size in (1, 3, 7, 12345):
        assert confusion_metrics(ConfusionCounts(size, 2 * size + 1, 0, 0)).mcc == 1.0


def test_scores_agree_with_scikit_learn_with_ties() -> None:
    random = np.random.default_rng(5)
    labels = random.integers(0, 2, 500)
    probabilities = np.round(random.random(500), 1)
    assert area_under_roc(labels, probabilities) == pytest.approx(metrics.roc_auc_score(labels, probabilities))
    assert average_precision(labels, probabilities) == pytest.approx(
        metrics.average_precision_score(labels, probabilities)
    )
    assert brier_score(labels, probabilities) == pytest.approx(metrics.brier_score_loss(labels, probabilities))
    assert log_loss_of(labels, probabilities) == pytest.approx(metrics.log_loss(labels, probabilities))


def test_one_class_leaves_ranking_undefined_and_losses_defined() -> None:
    labels, probabilities = [1, 1, 1], [0.5, 0.75, 1.0]
    assert math.isnan(area_under_roc(labels, probabilities))
    assert math.isnan(average_precision(labels, probabilities))
    assert brier_score(labels, probabilities) == pytest.approx((0.25 + 0.0625) / 3)
    assert log_loss_of(labels, probabilities) == pytest.approx((math.log(2) + math.log(4 / 3)) / 3)


@pytest.mark.parametrize(
    ("labels", "probabilities", "words"),
    [
        ([0, 2], [0.1, 0.2], "got 2"),
        ([0, 1], [0.1], "shape"),
        ([0, 1], [0.1, 1.2], "1.2"),
        ([0, 1], [0.1, float("nan")], "row 1"),
        ([], [], "at least one row"),
    ],
)
def test_bad_arrays_are_named(labels: list[int], probabilities: list[float], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        brier_score(labels, probabilities)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(InvalidInput, match="false_positives"):
        ConfusionCounts(1, 1, -1, 1)
