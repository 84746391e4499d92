import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import expit

from msht.calibration.platt import fit_platt
from msht.calibration.temperature import fit_temperature
from msht.decision import Decision, case_probability, decide_case
from msht.decision_fit import cross_fitted_curves, fit_calibrators, fit_decision
from msht.errors import InvalidInput
from msht.images.quality import QualityGate
from msht.training.recipe import Decision as Settings
from msht.training.recipe import OperatingRule

FIXED = Settings(case_rule="mean-logit", conformal="marginal")


def fields_of(cases: int = 40, per_case: int = 3, seed: int = 0) -> pd.DataFrame:
    """Out-of-fold fields whose log-odds follow the label of their case, with noise."""
    generator = np.random.default_rng(seed)
    rows = []
    for case in range(cases):
        positive = case % 2 == 1
        for _ in range(per_case):
            rows.append(
                {
                    "case": f"C{case:03d}",
                    "label": "positive" if positive else "negative",
                    "calibrated_logit": generator.normal(1.5 if positive else -1.5, 1.5),
                }
            )
    return pd.DataFrame(rows)


def networks(seed: int = 1, patients: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Folds, logits, labels and patients; the second network is four times too sure."""
    generator = np.random.default_rng(seed)
    truth = generator.normal(0, 2, patients * 20)
    labels = (generator.random(patients * 20) < expit(truth)).astype(int)
    folds = np.repeat([1, 3], patients * 10)
    return folds, truth * np.where(folds == 1, 1.0, 4.0), labels, np.repeat(np.arange(patients), 20)


def test_a_temperature_is_fitted_for_each_fold_on_its_own_images() -> None:
    folds, logits, labels, groups = networks()
    found, words = fit_calibrators(folds, logits, labels, groups, kind="auto")
    assert {number: calibrator.kind for number, calibrator in found.items()} == {1: "temperature", 3: "temperature"}
    first, second = (found[n].numbers["temperature"] for n in (1, 3))
    assert first == fit_temperature(logits[folds == 1], labels[folds == 1])
    assert second / first == pytest.approx(4.0, rel=0.35)
    assert "chosen from 5 by nested cross-validation" in words


def test_networks_that_are_bent_get_a_curve_that_follows_the_bend() -> None:
    folds, logits, labels, groups = networks()
    bent = logits / np.where(folds == 1, 1.0, 4.0) + 3.0  # both networks see far too much
    found, words = fit_calibrators(folds, bent, labels, groups, kind="auto")
    assert {calibrator.kind for calibrator in found.values()} == {"platt"}
    assert found[1].log_odds(np.array([3.0]))[0] == pytest.approx(0.0, abs=0.3)
    assert "Platt scaling, chosen" in words


def test_too_few_patients_to_choose_is_said_and_gives_a_temperature() -> None:
    folds, logits, labels, groups = networks(patients=6)
    found, words = fit_calibrators(folds, logits, labels, groups, kind="auto")
    assert {calibrator.kind for calibrator in found.values()} == {"temperature"}
    assert "not chosen, since a network held out only 3 patients" in words


def test_a_network_that_points_the_wrong_way_is_not_turned_around_by_choice() -> None:
    folds, logits, labels, groups = networks()
    found, words = fit_calibrators(folds, -logits, labels, groups, kind="auto")
    assert {calibrator.kind for calibrator in found.values()} != {"platt"}
    low, high = found[1].log_odds(np.array([-4.0, 4.0]))
    assert high >= low - 1e-9
    assert words.startswith("Calibrator of each network")


@pytest.mark.parametrize("kind", ["temperature", "platt", "beta", "isotonic", "venn_abers"])
def test_a_calibrator_of_the_recipe_is_taken(kind: str) -> None:
    folds, logits, labels, groups = networks(patients=10)
    found, words = fit_calibrators(folds, logits, labels, groups, kind=kind)
    assert {calibrator.kind for calibrator in found.values()} == {kind}
    assert "named in the recipe" in words


def test_the_case_score_is_the_mean_logit_made_a_probability_by_platt() -> None:
    frame = fields_of()
    decision, cases = fit_decision(frame, FIXED, QualityGate())
    means = frame.groupby("case")["calibrated_logit"].mean()
    assert cases["case"].tolist() == means.index.tolist()
    assert cases["logit"].to_numpy() == pytest.approx(means.to_numpy())
    assert cases["fields"].eq(3).all()
    platt = fit_platt(means.to_numpy(), cases["label"].to_numpy())
    assert (decision.case_slope, decision.case_intercept) == pytest.approx((platt.slope, platt.intercept))
    assert case_probability(decision, means.to_numpy()) == pytest.approx(cases["probability"].to_numpy())
    assert decision.conformal_cases == 40


@pytest.mark.parametrize("target", [0.7, 0.9])
def test_the_operating_points_reach_their_sensitivity_out_of_fold(target: float) -> None:
    frame = fields_of(cases=60)
    decision, cases = fit_decision(frame, Settings(target_sensitivity=target), QualityGate())
    positive = cases[cases["label"] == 1]
    assert (positive["probability"] >= decision.case_point.threshold).mean() >= target
    fields = expit(frame.loc[frame["label"] == "positive", "calibrated_logit"])
    assert (fields >= decision.field_point.threshold).mean() >= target
    assert decision.case_point.data == "out-of-fold development cases (n = 60, 30 positive)"
    assert decision.field_point.data == "out-of-fold development fields (n = 180, 90 positive)"
    assert f"{target:.0%}" in decision.case_point.rule
    assert "of a new patient" in decision.field_point.guarantee
    assert not decision.case_point.overridden


def test_other_rules_of_the_threshold_say_what_they_are_and_that_nothing_is_promised() -> None:
    frame = fields_of(cases=60)
    youden, cases = fit_decision(frame, Settings(operating_point=OperatingRule(rule="youden")), QualityGate())
    called = cases["probability"] >= youden.case_point.threshold
    assert (called == (cases["label"] == 1)).mean() > 0.9
    assert "Youden" in youden.case_point.rule
    assert "No guarantee" in youden.case_point.guarantee
    dear = OperatingRule(rule="cost", cost_ratio=50.0)
    cheap = OperatingRule(rule="cost", cost_ratio=0.02)
    thresholds = [
        fit_decision(frame, Settings(operating_point=rule), QualityGate())[0].case_point.threshold
        for rule in (dear, cheap)
    ]
    assert thresholds[0] <= thresholds[1]
    point = fit_decision(frame, Settings(operating_point=dear), QualityGate())[0].case_point
    assert "a miss costing 50 false alarms" in point.rule


def test_cases_of_one_class_fall_back_on_fields_and_say_so() -> None:
    frame = fields_of(cases=20).assign(case=lambda f: f["case"].str[:3])
    frame["label"] = np.where(frame.index % 2, "positive", "negative")  # every case holds a positive field
    frame["calibrated_logit"] += np.where(frame["label"] == "positive", 3.0, -3.0)
    decision, cases = fit_decision(frame, Settings(), QualityGate())
    assert set(cases["label"]) == {1}
    assert (decision.case_slope, decision.case_intercept) == (1.0, 0.0)
    assert cases["probability"].to_numpy() == pytest.approx(expit(cases["logit"].to_numpy()))
    assert "since every development case is positive" in decision.case_point.data
    assert "fields" in decision.case_point.data
    assert "field sensitivity" in decision.case_point.rule
    assert decision.case_point.threshold == decision.field_point.threshold
    assert "not exchangeable" in decision.conformal_guarantee


def test_fields_without_any_positive_are_refused() -> None:
    with pytest.raises(InvalidInput, match="positive"):
        fit_decision(fields_of().assign(label="negative"), Settings(), QualityGate())


def test_few_cases_rule_nothing_out() -> None:
    decision, _ = fit_decision(fields_of(cases=6), Settings(conformal_error=0.1), QualityGate())
    assert decision.quantiles == (1.0, 1.0)
    answer = decide_case(decision, np.array([9.0, 9.0]))
    assert answer.conformal == ("negative", "positive")
    assert answer.call == "indeterminate"


def test_scores_that_point_the_wrong_way_turn_no_call_around_and_are_said_in_every_report() -> None:
    frame = fields_of()
    frame["calibrated_logit"] = -frame["calibrated_logit"]
    decision, _ = fit_decision(frame, Settings(), QualityGate())
    assert decision.case_slope > 0
    assert "no better than chance" in decision.warnings[0]
    assert fit_decision(fields_of(), Settings(), QualityGate())[0].warnings == ()


def test_the_case_rule_is_chosen_where_there_are_cases_enough_and_the_reason_is_kept() -> None:
    generator = np.random.default_rng(4)
    frame = fields_of(cases=120, per_case=10)
    shows = (frame["label"] == "positive") & (generator.random(len(frame)) < 0.15)
    frame["calibrated_logit"] = generator.normal(-2, 1, len(frame)) + 6 * shows
    decision, cases = fit_decision(frame, Settings(), QualityGate())
    assert decision.case_rule != "mean-logit"
    assert "chosen from 4 by cross-validation over patients" in decision.choices[0]
    for case, row in cases.set_index("case").iloc[:5].iterrows():
        logits = frame.loc[frame["case"] == case, "calibrated_logit"].to_numpy()
        assert decide_case(decision, logits).logit == pytest.approx(row["logit"])
    few, _ = fit_decision(frame[frame["case"] < "C016"], Settings(), QualityGate())
    assert few.case_rule == "mean-logit"
    assert "a choice needs 10 patients of each class by case, and there are 8 negative and 8 positive" in few.choices[0]


def test_cases_with_too_few_fields_set_no_threshold() -> None:
    frame = pd.concat([fields_of(cases=30), fields_of(cases=3, per_case=1).assign(case=lambda f: "X" + f["case"])])
    decision, cases = fit_decision(frame, Settings(minimum_fields=2), QualityGate())
    assert len(cases) == 30
    assert decision.conformal_cases == 30
    with pytest.raises(InvalidInput, match="9 evaluable fields"):
        fit_decision(frame, Settings(minimum_fields=9), QualityGate())


def test_sets_hold_within_each_class_where_both_have_cases_enough() -> None:
    many, cases = fit_decision(fields_of(cases=60), Settings(), QualityGate())
    assert many.conformal_kind == "mondrian"
    inside = [
        label in _numbers(decide_case(many, np.array([z])))
        for z, label in zip(cases["logit"], cases["label"], strict=True)
    ]
    for label in (0, 1):
        assert np.mean(np.array(inside)[cases["label"] == label]) >= 0.9
    few, _ = fit_decision(fields_of(cases=16), Settings(), QualityGate())
    assert few.conformal_kind == "marginal"
    assert "Within a class nothing is promised: that needs 9 cases of each" in few.conformal_guarantee


def _numbers(answer: object) -> set[int]:
    return {("negative", "positive").index(name) for name in answer.conformal}  # type: ignore[attr-defined]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_a_case_curve_never_saw_the_patient_that_it_scores(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = np.arange(30) % 2
    groups = generator.integers(0, 15, 30)
    logits = generator.normal(size=30) + labels
    curves = cross_fitted_curves(logits, labels, groups)
    if curves is None:
        return
    patient = groups[0]
    changed = np.where(groups == patient, logits + 50.0, logits)
    moved = cross_fitted_curves(changed, labels, groups)
    if moved is not None:
        assert np.array_equal(moved[groups == patient], curves[groups == patient])


def test_referral_for_an_error_is_what_the_out_of_fold_cases_need() -> None:
    frame = fields_of(cases=200, per_case=1, seed=3)
    decision, cases = fit_decision(frame, Settings(deferral_error=0.02, conformal="marginal"), QualityGate())
    threshold = decision.case_point.threshold
    values = cases["probability"].to_numpy()
    sure = np.where(values >= threshold, (values - threshold) / (1 - threshold), 1 - values / threshold)
    kept = sure >= decision.refer_below
    wrong = (values >= threshold) != (cases["label"] == 1)
    assert wrong[kept].mean() <= 0.02
    assert wrong.mean() > 0.02
    assert f"{kept.sum()} of 200" in decision.refer_rule


def test_a_decision_survives_json_to_the_last_bit() -> None:
    decision, _ = fit_decision(fields_of(), Settings(deferral_error=0.01), QualityGate())
    assert Decision.model_validate_json(decision.model_dump_json()) == decision
    assert Decision.model_validate(json.loads(json.dumps(decision.model_dump(mode="json")))) == decision
    with pytest.raises(ValidationError, match="Extra inputs"):
        Decision.model_validate({**decision.model_dump(), "treshold": 0.5})
