"""Case rules: from field logits to one logit a case."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msht.calibration.cases import (
    CASE_RULES,
    CaseRule,
    describe_case_rule,
    maximum,
    mean_logit,
    noisy_or,
    pool_cases,
    top_k_mean,
)
from msht.errors import InvalidInput

fields = st.lists(st.floats(min_value=-12, max_value=12), min_size=1, max_size=20)


@given(fields)
def test_noisy_or_is_the_chance_of_at_least_one(logits: list[float]) -> None:
    probability = 1 - np.prod(1 - 1 / (1 + np.exp(-np.array(logits))))
    if probability < 1 - 1e-9:
        assert 1 / (1 + np.exp(-noisy_or(logits))) == pytest.approx(probability, rel=1e-6)
    assert noisy_or(logits) >= maximum(logits) - 1e-9


def test_noisy_or_survives_probabilities_that_round_to_one() -> None:
    assert noisy_or([800.0]) == pytest.approx(800.0)
    assert noisy_or([-800.0]) == pytest.approx(-800.0)
    assert noisy_or([40.0, 40.0]) == pytest.approx(80.0)


@given(fields)
def test_the_rules_are_ordered_and_meet_for_one_field(logits: list[float]) -> None:
    assert mean_logit(logits) <= top_k_mean(logits, 3) + 1e-9
    assert top_k_mean(logits, 3) <= maximum(logits) + 1e-9
    assert top_k_mean(logits, 1) == maximum(logits)
    assert top_k_mean(logits, 100) == pytest.approx(mean_logit(logits))
    for rule in (mean_logit, maximum, noisy_or, top_k_mean):
        assert rule(logits[:1]) == pytest.approx(logits[0], abs=1e-6)


@given(fields, st.sampled_from(CASE_RULES))
def test_the_order_of_the_fields_does_not_matter(logits: list[float], rule: CaseRule) -> None:
    here = pool_cases(logits, ["a"] * len(logits), rule).logits
    assert here == pytest.approx(pool_cases(logits[::-1], ["a"] * len(logits), rule).logits)


def test_cases_keep_the_order_in_which_they_come() -> None:
    pooled = pool_cases([1.0, 2.0, 3.0, 5.0], ["z", "a", "z", "m"])
    assert pooled.case_ids.tolist() == ["z", "a", "m"]
    assert pooled.logits == pytest.approx([2.0, 2.0, 5.0])
    assert pooled.fields.tolist() == [2, 1, 1]


@pytest.mark.parametrize("rule", CASE_RULES)
def test_fields_that_could_not_be_evaluated_leave_their_case(rule: CaseRule) -> None:
    with_gap = pool_cases([1.0, np.nan, 3.0, np.nan], ["a", "a", "a", "b"], rule, minimum_fields=2)
    assert with_gap.logits[0] == pytest.approx(pool_cases([1.0, 3.0], ["a", "a"], rule).logits[0])
    assert np.isnan(with_gap.logits[1])
    assert with_gap.evaluable.tolist() == [2, 0]
    assert with_gap.fields.tolist() == [3, 1]


def test_too_few_evaluable_fields_make_a_case_not_evaluable() -> None:
    assert np.isnan(pool_cases([1.0, 2.0], ["a", "a"], minimum_fields=3).logits).all()


def test_every_rule_can_be_put_into_words() -> None:
    for rule in CASE_RULES:
        assert "its evaluable fields" in describe_case_rule(rule)
    assert " 5 " in describe_case_rule("top_k_mean", k=5)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InvalidInput, match="median"):
        pool_cases([1.0], ["a"], "median")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="shapes"):
        pool_cases([1.0, 2.0], ["a"])
    with pytest.raises(InvalidInput, match="row 1"):
        pool_cases([1.0, 2.0], np.array(["a", None], dtype=object))
    with pytest.raises(InvalidInput, match="at least 1"):
        top_k_mean([1.0], 0)
