"""Several classes, each against the rest, against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from msht.errors import InvalidInput
from msht.statistics.several import confusion_table, one_against_rest
from msht.statistics.summary import summarise

CLASSES = ("benign", "atypical", "malignant")


def cohort(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, 300)
    logits = random.normal(size=(300, 3)) + 1.5 * np.eye(3)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, probabilities, np.arange(300) // 10


def test_each_class_agrees_with_scikit_learn() -> None:
    labels, probabilities, groups = cohort()
    found = one_against_rest(labels, probabilities, CLASSES, groups=groups, resamples=200)
    report = metrics.classification_report(labels, probabilities.argmax(axis=1), output_dict=True)
    for number, name in enumerate(CLASSES):
        assert found[name].sensitivity.value == pytest.approx(report[str(number)]["recall"])
        assert found[name].ppv.value == pytest.approx(report[str(number)]["precision"])
        assert found[name].f1.value == pytest.approx(report[str(number)]["f1-score"])
        area = metrics.roc_auc_score(labels == number, probabilities[:, number])
        assert found[name].auroc.value == pytest.approx(area)


def test_two_classes_are_the_binary_summary() -> None:
    random = np.random.default_rng(1)
    labels, positive = random.integers(0, 2, 200), random.random(200)
    groups = np.arange(200) // 8
    table = np.column_stack([1 - positive, positive])
    several = one_against_rest(labels, table, ("negative", "positive"), groups=groups)
    assert several["positive"].as_dict() == summarise(labels, positive, threshold=0.5, groups=groups).as_dict()


def test_the_table_agrees_with_scikit_learn() -> None:
    labels, probabilities, _ = cohort()
    calls = probabilities.argmax(axis=1)
    assert (confusion_table(labels, calls, 3) == metrics.confusion_matrix(labels, calls)).all()


def test_numbers_outside_the_classes_are_refused() -> None:
    labels, probabilities, groups = cohort()
    with pytest.raises(InvalidInput, match="from 0 to 2"):
        one_against_rest(labels + 1, probabilities, CLASSES, groups=groups)
    with pytest.raises(InvalidInput, match="sum to 1"):
        one_against_rest(labels, probabilities * 2, CLASSES, groups=groups)
