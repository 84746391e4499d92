"""What every calibrator must do, whatever its shape."""

import json

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.utils.estimator_checks import check_estimator

from msht.calibration.selection import CALIBRATORS

# scikit-learn asks that (N,) be refused; here it is the natural form of a column of logits.
WELCOME = {
    "check_fit1d": "logits of shape (N,) are welcome",
    "check_fit2d_predict1d": "logits of shape (N,) are welcome",
}


def overconfident(seed: int = 0, rows: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    true_logits = random.normal(0, 1.5, rows)
    labels = (random.random(rows) < 1 / (1 + np.exp(-true_logits))).astype(int)
    return 3 * true_logits + 1, labels


@pytest.fixture(params=CALIBRATORS, ids=str)
def calibrator(request: pytest.FixtureRequest):
    return CALIBRATORS[request.param]()


@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks_pass(calibrator) -> None:
    results = check_estimator(calibrator, expected_failed_checks=WELCOME, on_skip=None)
    passed = [result for result in results if result["status"] == "passed"]
    assert len(passed) > 40


def test_calibration_mends_overconfidence_on_new_rows(calibrator) -> None:
    logits, labels = overconfident()
    new_logits, new_labels = overconfident(1)
    calibrator.fit(logits, labels)
    before = log_loss(new_labels, 1 / (1 + np.exp(-new_logits)))
    after = log_loss(new_labels, calibrator.predict_proba(new_logits))
    ideal = log_loss(new_labels, 1 / (1 + np.exp(-(new_logits - 1) / 3)))
    assert after < before - 0.05
    if type(calibrator).__name__ != "TemperatureScaling":
        assert after < ideal + 0.02


def test_a_column_and_a_vector_are_the_same_logits(calibrator) -> None:
    logits, labels = overconfident(rows=200)
    by_vector = clone(calibrator).fit(logits, labels).predict_proba(logits)
    by_column = clone(calibrator).fit(logits[:, None], labels).predict_proba(logits[:, None])
    assert (by_vector == by_column).all()
    assert by_vector.sum(axis=1) == pytest.approx(np.ones(200))


def test_the_logit_may_be_a_column_of_a_table(calibrator) -> None:
    logits, labels = overconfident(rows=200)
    table = np.column_stack([np.zeros(200), logits])
    there = calibrator.set_params(column=1).fit(table, labels).predict_proba(table)
    assert (there == clone(calibrator).set_params(column=0).fit(logits, labels).predict_proba(logits)).all()


def test_a_higher_logit_never_lowers_the_probability(calibrator) -> None:
    logits, labels = overconfident(rows=400)
    probabilities = calibrator.fit(logits, labels).predict_proba(np.linspace(-30, 30, 500))[:, 1]
    assert (np.diff(probabilities) >= -1e-12).all()


def test_separated_classes_keep_probabilities_off_zero_and_one(calibrator) -> None:
    logits = np.concatenate([np.linspace(-5, -1, 20), np.linspace(1, 5, 20)])
    labels = np.repeat([0, 1], 20)
    probabilities = calibrator.fit(logits, labels).predict_proba(logits)[:, 1]
    assert ((probabilities > 1e-4) & (probabilities < 1 - 1e-4)).all()
    assert ((probabilities > 0.5) == labels).all()


def test_weights_stand_for_repeated_rows(calibrator) -> None:
    logits, labels = overconfident(rows=150)
    times = np.random.default_rng(2).integers(0, 4, 150)
    weighted = clone(calibrator).fit(logits, labels, sample_weight=times).predict_proba(logits)
    repeated = clone(calibrator).fit(np.repeat(logits, times), np.repeat(labels, times)).predict_proba(logits)
    assert weighted == pytest.approx(repeated, abs=1e-5)


def test_the_fitted_numbers_are_plain_json(calibrator) -> None:
    logits, labels = overconfident(rows=100)
    assert json.loads(json.dumps(calibrator.fit(logits, labels).parameters(), allow_nan=False))


def test_one_class_is_refused(calibrator) -> None:
    with pytest.raises(ValueError, match="class"):
        calibrator.fit([0.1, 0.2, 0.3], [1, 1, 1])
