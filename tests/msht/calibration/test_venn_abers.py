"""Venn-Abers, against two isotonic fits by scikit-learn for every new row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from msht.calibration.venn_abers import VennAbers


def by_refitting(logits: np.ndarray, labels: np.ndarray, new: float) -> list[float]:
    both = []
    for label in (0, 1):
        model = IsotonicRegression().fit(np.append(logits, new), np.append(labels, label))
        both.append(float(model.predict([new])[0]))
    return both


@settings(max_examples=15)
@given(st.integers(min_value=0, max_value=10_000), st.integers(min_value=4, max_value=60))
def test_the_bounds_are_those_of_refitting(seed: int, rows: int) -> None:
    random = np.random.default_rng(seed)
    logits = np.round(random.normal(0, 2, rows), 1)
    labels = (random.random(rows) < 1 / (1 + np.exp(-logits))).astype(int)
    labels[:2] = [0, 1]
    new = np.round(random.normal(0, 3, 8), 1)
    found = VennAbers().fit(logits, labels).predict_interval(new)
    for value, pair in zip(new, found, strict=True):
        assert pair == pytest.approx(by_refitting(logits, labels, value), abs=1e-9)


def test_the_merged_probability_lies_between_the_bounds() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, 300)
    labels = (random.random(300) < 1 / (1 + np.exp(-logits))).astype(int)
    model = VennAbers().fit(logits, labels)
    low, high = model.predict_interval(logits).T
    merged = model.predict_proba(logits)[:, 1]
    assert (low <= high).all()
    assert ((low <= merged) & (merged <= high)).all()
    assert merged == pytest.approx(high / (1 - low + high))


def test_more_rows_narrow_the_gap() -> None:
    random = np.random.default_rng(2)
    gaps = []
    for rows in (50, 5000):
        logits = random.normal(0, 2, rows)
        labels = (random.random(rows) < 1 / (1 + np.exp(-logits))).astype(int)
        low, high = VennAbers().fit(logits, labels).predict_interval(np.linspace(-2, 2, 50)).T
        gaps.append(np.mean(high - low))
    assert gaps[1] < gaps[0] / 3
