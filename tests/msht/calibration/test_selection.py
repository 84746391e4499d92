"""Choosing calibrators and case rules on out-of-fold data."""

import numpy as np
import pytest

from msht.calibration.selection import choose_calibrator, choose_case_rule
from msht.errors import InvalidInput


def patients(seed: int, slope: float, shift: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(60), 20)
    line = random.normal(0, 1.5, 1200)
    labels = (random.random(1200) < 1 / (1 + np.exp(-line))).astype(int)
    return slope * line + shift, labels, groups


def test_a_scaled_logit_asks_for_a_temperature_alone() -> None:
    choice = choose_calibrator(*patients(1, 3.0, 0.0), folds=3)
    assert choice.name == "temperature"
    assert choice.calibrator.parameters()["temperature"] == pytest.approx(3.0, rel=0.15)
    assert "held-out patients" in choice.reason


def test_a_shifted_logit_asks_for_more() -> None:
    choice = choose_calibrator(*patients(2, 2.0, 2.0), folds=3)
    assert choice.name == "platt"
    assert choice.scores["temperature"].log_loss > choice.scores["platt"].log_loss


def test_a_bent_logit_asks_for_a_free_curve() -> None:
    random = np.random.default_rng(3)
    groups = np.repeat(np.arange(60), 40)
    line = random.uniform(-1, 1, 2400)
    labels = (random.random(2400) < np.where(line < 0, 0.05, np.where(line < 0.5, 0.5, 0.95))).astype(int)
    assert choose_calibrator(line, labels, groups, folds=3).name in ("isotonic", "venn_abers")


def test_the_honest_loss_is_near_that_of_the_truth() -> None:
    logits, labels, groups = patients(4, 3.0, 1.0)
    choice = choose_calibrator(logits, labels, groups, folds=3)
    line = (logits - 1.0) / 3.0
    truth = np.mean(np.logaddexp(0, line) - labels * line)
    assert choice.honest_log_loss == pytest.approx(truth, abs=0.02)


def test_noise_is_not_sold_as_knowledge() -> None:
    random = np.random.default_rng(5)
    labels = random.integers(0, 2, 1200)
    choice = choose_calibrator(random.normal(0, 5, 1200), labels, np.repeat(np.arange(60), 20), folds=3)
    assert choice.honest_log_loss == pytest.approx(np.log(2), abs=0.03)


def test_too_few_patients_and_unknown_names_are_refused() -> None:
    logits, labels, _ = patients(6, 1.0, 0.0)
    with pytest.raises(InvalidInput, match="one has 2"):
        choose_calibrator(logits, labels, np.arange(1200) % 2)
    with pytest.raises(InvalidInput, match="spline"):
        choose_calibrator(logits, labels, None, candidates=["spline"])


def fields(seed: int, share: float) -> tuple[np.ndarray, np.ndarray, dict, dict]:
    """Cases of 10 fields; in a positive one each field shows it with chance `share`."""
    random = np.random.default_rng(seed)
    cases = np.repeat(np.arange(160), 10)
    labels = dict(enumerate((np.arange(160) % 2).tolist()))
    positive = np.array([labels[case] for case in cases]) * (random.random(1600) < share)
    logits = random.normal(-1.5, 1, 1600) + 5 * positive
    return logits, cases, labels, {case: case // 4 for case in labels}


def test_a_sparse_sign_asks_for_the_highest_fields() -> None:
    choice = choose_case_rule(*fields(1, 0.12))
    assert choice.rule in ("maximum", "noisy_or", "top_k_mean")
    assert choice.scores[choice.rule].log_loss < choice.scores["mean_logit"].log_loss


def test_a_sign_in_every_field_asks_for_the_mean() -> None:
    random = np.random.default_rng(2)
    cases = np.repeat(np.arange(160), 10)
    labels = dict(enumerate((np.arange(160) % 2).tolist()))
    logits = random.normal(0, 2, 1600) + np.array([labels[case] for case in cases]) - 0.5
    assert choose_case_rule(logits, cases, labels).rule == "mean_logit"


def test_a_case_without_label_is_named() -> None:
    logits, cases, labels, _ = fields(3, 0.5)
    del labels[7]
    with pytest.raises(InvalidInput, match="'7'"):
        choose_case_rule(logits, cases, labels)
