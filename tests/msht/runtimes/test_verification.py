"""What counts as a change of an answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit

from msht.decision import Decision
from msht.ensemble import FieldScores, combine
from msht.runtimes.verification import TOLERANCE, Differences, compare_scores

CASES = np.array(["a", "a", "b", "b"])


def answers(*folds: list[float]) -> FieldScores:
    """Scores with these calibrated probabilities, shape (F, B)."""
    log_odds = logit(np.array(folds))
    return combine(log_odds, log_odds, np.zeros_like(log_odds))


def compare(first: FieldScores, second: FieldScores, decision: Decision, held_out: list[int]) -> Differences:
    numbers = range(1, len(first.fold_logits) + 1)
    return compare_scores(
        first, second, decision, numbers=list(numbers), held_out=np.array(held_out), cases=CASES[: len(held_out)]
    )


@given(st.lists(st.floats(0.01, 0.99), min_size=4, max_size=4))
def test_the_same_answers_do_not_differ(decision: Decision, probabilities: list[float]) -> None:
    scores = answers(probabilities, probabilities[::-1])
    assert compare(scores, scores, decision, [1, 2, 1, 2]) == Differences(0.0, 0.0, 0, 0)


def test_a_network_is_judged_on_images_that_it_did_not_train_on(decision: Decision) -> None:
    before = answers([0.2, 0.2, 0.8, 0.8], [0.2, 0.2, 0.8, 0.8])
    after = answers([0.2, 0.2, 0.8, 0.8], [0.25, 0.2, 0.8, 0.8])
    assert compare(before, after, decision, [1, 1, 2, 2]).largest_change_fold == 0
    assert compare(before, after, decision, [2, 1, 1, 2]).largest_change_fold == pytest.approx(0.05)
    assert compare(before, after, decision, [0, 0, 0, 0]).largest_change_fold == pytest.approx(0.05)
    assert compare(before, after, decision, [1, 1, 2, 2]).largest_change == pytest.approx(0.025)


def test_a_call_that_crosses_the_threshold_counts_however_small_the_step(decision: Decision) -> None:
    before = answers([0.4999, 0.2, 0.8, 0.8])
    after = answers([0.5001, 0.2, 0.8, 0.8])
    found = compare(before, after, decision, [1, 1, 1, 1])
    assert found.flipped_fields == 2  # of the network alone, and of the mean, which is the same here
    assert found.flipped_cases == 0
    assert not found.accepted("float32")
    assert not found.accepted("int8")


def test_a_case_that_changes_its_call_counts(decision: Decision) -> None:
    before, after = answers([0.12, 0.11]), answers([0.08, 0.09])  # the second case rules the positive class out
    found = compare(before, after, decision, [1, 1])
    assert (found.flipped_fields, found.flipped_cases) == (0, 2)


def test_a_case_that_becomes_strange_counts(decision: Decision) -> None:
    before = answers([0.05, 0.05])
    after = replace(before, novelty=np.array([1.1, 1.1]))
    assert compare(before, after, decision, [1, 1]).flipped_cases == 1


def test_an_answer_that_is_no_number_is_never_accepted(decision: Decision) -> None:
    before = answers([0.2, 0.2])
    for after in (answers([np.nan, 0.2]), replace(before, novelty=np.array([np.inf, 0.0]))):
        found = compare(before, after, decision, [2, 2])
        assert found.largest_change == float("inf")
        assert not found.accepted("int8")


@pytest.mark.parametrize(("precision", "limit"), [("float32", 1e-3), ("bfloat16", 0.01), ("int8", 0.01)])
def test_tolerances_are_those_of_the_documentation(precision: str, limit: float) -> None:
    assert TOLERANCE[precision] == limit  # type: ignore[index]
    assert Differences(limit, limit, 0, 0).accepted(precision)  # type: ignore[arg-type]
    assert not Differences(0, limit * 1.001, 0, 0).accepted(precision)  # type: ignore[arg-type]
    assert not Differences(limit * 1.001, 0, 0, 0).accepted(precision)  # type: ignore[arg-type]
