import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import expit

from msht.decision import (
    Decision,
    Point,
    decide_case,
    override_threshold,
    reference_by_case,
    reference_in_words,
)
from msht.images.quality import QualityGate


def decision_with(threshold: float = 0.5, quantile: float = 0.9, **changes: float) -> Decision:
    point = Point(threshold=threshold, rule="r", data="d", guarantee="g")
    values = {
        "case_slope": 1.0,
        "case_intercept": 0.0,
        "case_point": point,
        "field_point": point,
        "conformal_quantile": quantile,
        "conformal_error": 0.1,
        "conformal_cases": 20,
        "minimum_fields": 1,
        "quality": QualityGate(),
    }
    return Decision(**{**values, **changes})


def test_a_case_is_positive_when_any_field_is_unless_the_cohort_says_otherwise() -> None:
    frame = pd.DataFrame({"case": ["A", "A", "B", "C"], "label": ["negative", "positive", "negative", "positive"]})
    assert reference_by_case(frame).to_dict() == {"A": 1, "B": 0, "C": 1}
    frame["case_id"] = frame["case"]
    known = frame.assign(case_label=["negative", "negative", "positive", "positive"])
    assert reference_by_case(known).to_dict() == {"A": 0, "B": 1, "C": 1}
    partly = frame.assign(case_label=["negative", "negative", None, "positive"])
    assert reference_by_case(partly).to_dict() == {"A": 1, "B": 0, "C": 1}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-15, 15), min_size=1, max_size=5),
    st.floats(0, 5),
    st.floats(0.01, 3),
    st.floats(-2, 2),
)
def test_more_evidence_never_lowers_a_case(logits: list[float], more: float, slope: float, intercept: float) -> None:
    decision = decision_with(threshold=0.4, case_slope=slope, case_intercept=intercept)
    low = decide_case(decision, np.array(logits))
    high = decide_case(decision, np.array(logits) + more)
    assert low.probability is not None
    assert high.probability is not None
    assert high.probability >= low.probability
    rank = {"negative": 0, "indeterminate": 1, "positive": 2}
    assert rank[high.call] >= rank[low.call]


@settings(max_examples=100, deadline=None)
@given(st.floats(-8, 8), st.floats(0.02, 0.98), st.floats(0, 1))
def test_a_call_is_made_only_when_set_and_threshold_agree(logit: float, threshold: float, quantile: float) -> None:
    answer = decide_case(decision_with(threshold=threshold, quantile=quantile), np.array([logit]))
    probability = expit(logit)
    assert answer.logit == pytest.approx(logit)
    assert answer.probability == pytest.approx(probability)
    side = "positive" if probability >= threshold else "negative"
    if answer.call == "indeterminate":
        assert answer.conformal != (side,)
        assert len(answer.reasons) == 1
    else:
        assert answer.call == side
        assert answer.conformal == (side,)
        assert answer.reasons == ()


@pytest.mark.parametrize(
    ("logit", "threshold", "quantile", "conformal", "call", "reason"),
    [
        (3.0, 0.5, 0.6, ("positive",), "positive", ""),
        (-3.0, 0.5, 0.6, ("negative",), "negative", ""),
        (0.1, 0.5, 0.6, ("negative", "positive"), "indeterminate", "Neither class can be ruled out"),
        (0.1, 0.5, 0.2, (), "indeterminate", "The score fits neither class"),
        (0.85, 0.9, 0.4, ("positive",), "indeterminate", "The threshold says negative, while the conformal set"),
        (-0.85, 0.1, 0.4, ("negative",), "indeterminate", "The threshold says positive, while the conformal set"),
        (0.0, 0.5, 0.5, ("negative", "positive"), "indeterminate", "Neither class can be ruled out"),
    ],
)
def test_the_conformal_set_refers_what_it_cannot_tell(
    logit: float, threshold: float, quantile: float, conformal: tuple[str, ...], call: str, reason: str
) -> None:
    answer = decide_case(decision_with(threshold=threshold, quantile=quantile), np.array([logit]))
    assert answer.conformal == conformal
    assert answer.call == call
    assert " ".join(answer.reasons).startswith(reason)


def test_a_probability_at_the_threshold_is_positive() -> None:
    intercept = 1e-3  # beyond a tie with the quantile, which would leave both classes in the set
    at = decide_case(decision_with(quantile=0.5, case_intercept=intercept), np.array([0.0])).probability
    assert decide_case(decision_with(threshold=at, quantile=0.5, case_intercept=intercept), np.array([0.0])).call == (
        "positive"
    )


@pytest.mark.parametrize(("fields", "minimum"), [(0, 1), (2, 3), (1, 2)])
def test_too_few_fields_are_not_evaluable(fields: int, minimum: int) -> None:
    answer = decide_case(decision_with(minimum_fields=minimum), np.full(fields, 9.0))
    assert answer.call == "not evaluable"
    assert (answer.logit, answer.probability, answer.conformal) == (None, None, ())
    words = "1 evaluable field;" if fields == 1 else f"{fields} evaluable fields;"
    assert answer.reasons == (f"{words} at least {minimum} needed.",)


@pytest.mark.parametrize(("share", "call"), [(0.0, "positive"), (0.5, "positive"), (0.6, "indeterminate")])
def test_a_case_that_looks_unlike_the_cohort_is_referred(share: float, call: str) -> None:
    answer = decide_case(decision_with(quantile=0.3), np.array([4.0]), share_novel=share)
    assert answer.call == call
    assert (call == "positive") == (answer.reasons == ())


def test_the_order_of_the_fields_does_not_matter() -> None:
    logits = np.array([2.0, -1.0, 0.25])
    assert decide_case(decision_with(), logits) == decide_case(decision_with(), logits[::-1])


def test_a_threshold_of_the_user_is_marked_and_changes_nothing_else() -> None:
    decision = decision_with(threshold=0.5)
    other = override_threshold(decision, 0.2)
    assert other.case_point.threshold == 0.2
    assert other.case_point.overridden
    assert "overridden" in other.case_point.guarantee
    assert other.model_copy(update={"case_point": decision.case_point}) == decision
    assert decision.case_point.threshold == 0.5
    with pytest.raises(ValidationError):
        override_threshold(decision, 1.5)


@pytest.mark.parametrize(
    ("rule", "pooled"),
    [("mean-logit", 0.5), ("top-k-mean", 1.0), ("maximum", 2.0), ("noisy-or", 3.2563)],
)
def test_the_case_rule_of_the_decision_is_followed(rule: str, pooled: float) -> None:
    answer = decide_case(decision_with(case_rule=rule, case_rule_fields=2), np.array([2.0, -0.5, 0.0]))
    assert answer.logit == pytest.approx(pooled, abs=1e-4)  # noisy-or: 1 - 0.1192 * 0.6225 * 0.5 = 0.9629
    assert "made a probability by a logistic curve" in decision_with(case_rule=rule).case_rule_in_words


def test_each_class_may_have_its_own_quantile() -> None:
    decision = decision_with(conformal_quantiles=(0.2, 0.9), quantile=0.9)
    assert decide_case(decision, np.array([0.0])).conformal == ("positive",)
    assert decide_case(decision_with(quantile=0.9), np.array([0.0])).conformal == ("negative", "positive")


def test_a_case_too_near_the_threshold_is_referred_where_the_recipe_asked_for_it() -> None:
    sure, near = np.array([4.0]), np.array([0.3])
    decision = decision_with(quantile=0.6, refer_below=0.5)
    assert decide_case(decision, sure).call == "positive"
    assert decide_case(decision, near).call == "indeterminate"
    assert "too near the threshold" in " ".join(decide_case(decision, near).reasons)
    assert decide_case(decision_with(quantile=0.45), near).call == "positive"


def test_a_decision_of_the_first_version_still_reads_and_answers_the_same() -> None:
    former = {
        "case_rule": "mean-logit",
        "case_slope": 1.25,
        "case_intercept": -0.5,
        "case_point": {"threshold": 0.4, "rule": "r", "data": "d", "guarantee": "g", "overridden": False},
        "field_point": {"threshold": 0.3, "rule": "r", "data": "d", "guarantee": "g", "overridden": False},
        "conformal_quantile": 0.7,
        "conformal_error": 0.1,
        "conformal_cases": 82,
        "conformal_level": "case",
        "minimum_fields": 1,
        "quality": {"limits": {}, "quantile": 0.005, "images": 100},
        "warnings": [],
    }
    decision = Decision.model_validate(former)
    assert decision.quantiles == (0.7, 0.7)
    assert decision.refer_below is None
    assert "very cases" in decision.conformal_guarantee
    answer = decide_case(decision, np.array([1.0, 3.0]))
    assert answer.probability == pytest.approx(expit(1.25 * 2.0 - 0.5))
    assert answer.call == "positive"


def test_a_cohort_s_own_case_labels_are_the_reference_and_the_words_say_so() -> None:
    frame = pd.DataFrame(
        {
            "case": ["a", "a", "b"],
            "case_id": ["a", "a", "b"],
            "label": ["positive", "negative", "negative"],
            "case_label": ["negative", "negative", "positive"],
        }
    )
    assert reference_by_case(frame).to_dict() == {"a": 0, "b": 1}
    assert "case_label" in reference_in_words(frame)
    assert reference_by_case(frame.drop(columns="case_label")).to_dict() == {"a": 1, "b": 0}
    assert "any of its fields" in reference_in_words(frame.drop(columns="case_label"))
