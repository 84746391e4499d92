"""Calibrators as plain numbers answer as the estimators that they come from, and refuse what is no calibrator."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from msht.calibration.selection import CALIBRATORS
from msht.calibration.stored import CALIBRATOR_WORDS, StoredCalibrator


def fitted(kind: str) -> tuple[StoredCalibrator, np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 300)
    logits = np.round(random.normal(0, 2, 300) + 2 * labels, 1)
    model = CALIBRATORS[kind]().fit(logits, labels)
    new = np.concatenate([logits[:50], random.normal(0, 4, 200)])
    return StoredCalibrator(kind=kind, numbers=model.parameters()), new, model.predict_proba(new)[:, 1]


@pytest.mark.parametrize("kind", list(CALIBRATORS))
def test_a_calibrator_from_json_answers_as_the_estimator(kind: str) -> None:
    stored, new, expected = fitted(kind)
    again = StoredCalibrator.model_validate(json.loads(json.dumps(stored.model_dump(mode="json"))))
    assert again.probability(new) == pytest.approx(expected, abs=1e-9)
    assert np.isfinite(again.log_odds(np.array([-80.0, 0.0, 80.0]))).all()
    assert CALIBRATOR_WORDS[kind] in again.in_words()
    assert again.log_odds(new.reshape(5, 50)).shape == (5, 50)


def test_every_calibrator_can_be_stored() -> None:
    assert set(CALIBRATORS) == set(CALIBRATOR_WORDS)


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("temperature", {"temperature": 0.0}),
        ("temperature", {"temperature": float("nan")}),
        ("temperature", {"slope": 1.0}),
        ("platt", {"slope": [1.0, 2.0], "intercept": 0.0}),
        ("beta", {"a": -1.0, "b": 1.0, "c": 0.0}),
        ("isotonic", {"scores": [1.0, 0.0], "probabilities": [0.1, 0.9]}),
        ("isotonic", {"scores": [0.0, 1.0], "probabilities": [0.1, 1.9]}),
        ("isotonic", {"scores": [], "probabilities": []}),
        ("venn_abers", {"scores": [0.0, 1.0], "bounds": [[0.1, 0.2]]}),
        ("spline", {}),
    ],
)
def test_numbers_that_are_no_calibrator_are_refused(kind: str, numbers: dict) -> None:
    with pytest.raises(ValidationError):
        StoredCalibrator(kind=kind, numbers=numbers)  # type: ignore[arg-type]


def test_a_falling_line_says_so() -> None:
    assert StoredCalibrator(kind="platt", numbers={"slope": -0.1, "intercept": 0.0}).falls
    assert not StoredCalibrator(kind="platt", numbers={"slope": 0.1, "intercept": 0.0}).falls
