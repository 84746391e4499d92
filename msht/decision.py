"""From scores to calls: the case rule, the operating points and the conformal set, as `decision_fit` found them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import expit

from msht.calibration.cases import CaseRule, describe_case_rule, pool
from msht.calibration.conformal import conformal_sets
from msht.cohort.manifest import CLASSES
from msht.images.quality import QualityGate

Call = Literal["positive", "negative", "indeterminate", "not evaluable"]

CaseRuleName = Literal["mean-logit", "top-k-mean", "maximum", "noisy-or"]
Quantile = Annotated[float, Field(ge=0, le=1)]

FORMER_CONFORMAL_GUARANTEE = (
    "Over all cases together; the case curve was fitted on the very cases that set the quantile, which makes the "
    "sets a little too small."
)
FORMER_SCOPE = (
    "Fitted on the answers of single networks, each about images that it did not train on; the mean of all networks "
    "makes the calls."
)
NO_BETTER_THAN_CHANCE = (
    "On out-of-fold cases the score does not rise with the reference: by case this model is no better than chance, "
    "and its case scores are not calibrated."
)
REFERENCE_BY_FIELDS = "A case is positive by reference when any of its fields is labelled positive."
REFERENCE_BY_CASES = "A case's reference is the cohort's own label of the case (case_label)."


class Point(BaseModel):
    """An operating point with where it comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float = Field(ge=0, le=1)
    rule: str
    data: str
    guarantee: str
    overridden: bool = False


class Decision(BaseModel):
    """All that turns scores into calls; part of a bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    case_rule: CaseRuleName = "mean-logit"
    case_rule_fields: int = Field(3, ge=1)
    """How many of the highest fields `top-k-mean` takes."""
    case_slope: float
    case_intercept: float
    case_point: Point
    field_point: Point
    conformal_quantile: float = Field(ge=0, le=1)
    """Of both classes where `conformal_quantiles` is not there; else the higher of the two."""
    conformal_quantiles: tuple[Quantile, Quantile] | None = None
    """Of the negative and of the positive class; none in what was fitted before each had its own."""
    conformal_kind: Literal["marginal", "mondrian"] = "marginal"
    conformal_guarantee: str = FORMER_CONFORMAL_GUARANTEE
    conformal_error: float
    conformal_cases: int
    conformal_level: Literal["case", "field"] = "case"
    minimum_fields: int
    quality: QualityGate
    refer_below: float | None = Field(None, ge=0)
    """Cases less sure than this are referred; see `msht.calibration.deferral.confidence_of`."""
    refer_rule: str = "A case is referred when its conformal set does not hold the call alone."
    """When a case is left to a human reader, in words."""
    choices: tuple[str, ...] = ()
    """What was chosen on out-of-fold data, from what, and why; or why there was no choice."""
    scope: str = FORMER_SCOPE
    """What the guarantees are about and what they leave open, in words."""
    warnings: tuple[str, ...] = ()
    """What every report must say about this decision."""

    @property
    def quantiles(self) -> tuple[float, float]:
        """Conformal quantiles of the negative and of the positive class."""
        return self.conformal_quantiles or (self.conformal_quantile, self.conformal_quantile)

    @property
    def case_rule_in_words(self) -> str:
        """How a case's score comes from its fields, in a sentence."""
        rule = describe_case_rule(internal_rule(self.case_rule), k=self.case_rule_fields)
        return (
            f"The case score is {rule}, made a probability by a logistic curve that was fitted on out-of-fold "
            "development cases (Platt scaling)."
        )


@dataclass(frozen=True)
class CaseAnswer:
    """The answer about one case.

    Attributes:
        call: positive, negative, indeterminate or not evaluable.
        logit: pooled field log-odds; None where not evaluable.
        probability: calibrated; None where not evaluable.
        conformal: classes that cannot be ruled out.
        reasons: why the case is referred; empty where it is not.
    """

    call: Call
    logit: float | None
    probability: float | None
    conformal: tuple[str, ...]
    reasons: tuple[str, ...]


def has_case_labels(frame: pd.DataFrame) -> bool:
    """Whether the cohort says itself what each case is."""
    return "case_label" in frame and "case_id" in frame and bool(frame["case_label"].notna().all())


def reference_in_words(frame: pd.DataFrame) -> str:
    """Where the reference of a case comes from, as `reference_by_case` takes it."""
    return REFERENCE_BY_CASES if has_case_labels(frame) else REFERENCE_BY_FIELDS


def reference_by_case(frame: pd.DataFrame) -> pd.Series:
    """Reference label (0 or 1) of each case: `case_label` where the cohort has it, else any positive field.

    Args:
        frame: columns `case` and `label`, and maybe `case_label`; labels are class names.
    """
    column = "case_label" if has_case_labels(frame) else "label"
    return (frame[column] == CLASSES[1]).astype(int).groupby(frame["case"]).max()


def case_probability(decision: Decision, logits: np.ndarray) -> np.ndarray:
    """Calibrated probability of cases from their pooled log-odds, both of shape (N,)."""
    return expit(decision.case_slope * np.asarray(logits, dtype=float) + decision.case_intercept)


def decide_case(decision: Decision, field_logits: np.ndarray, *, share_novel: float = 0.0) -> CaseAnswer:
    """Answer about a case.

    Args:
        decision: of the bundle.
        field_logits: calibrated log-odds of its evaluable fields, shape (N,); N may be 0.
        share_novel: share of the evaluable fields that look unlike the development cohort.
    """
    count = len(field_logits)
    if count < decision.minimum_fields:
        reason = f"{count} evaluable field{'' if count == 1 else 's'}; at least {decision.minimum_fields} needed."
        return CaseAnswer("not evaluable", None, None, (), (reason,))
    logit = pool(field_logits, internal_rule(decision.case_rule), k=decision.case_rule_fields)
    probability = float(case_probability(decision, np.array([logit]))[0])
    members = conformal_sets(np.array([probability]), decision.quantiles)[0]
    conformal = tuple(name for name, inside in zip(CLASSES, members, strict=True) if inside)
    side: Call = "positive" if probability >= decision.case_point.threshold else "negative"
    reasons: list[str] = []
    call: Call = side
    if conformal != (side,):
        call = "indeterminate"
        if len(conformal) == len(CLASSES):
            reasons.append("Neither class can be ruled out at the chosen error level.")
        elif not conformal:
            reasons.append("The score fits neither class at the chosen error level.")
        else:
            reasons.append(
                f"The threshold says {side}, while the conformal set at the chosen error level holds only "
                f"{conformal[0]}."
            )
    if decision.refer_below is not None:
        from msht.calibration.deferral import confidence_of  # costs a second, which most decisions need not pay

        sureness = float(confidence_of(np.array([probability]), decision.case_point.threshold)[0])
        if sureness < decision.refer_below:
            reasons.append("The score lies too near the threshold for the error allowed among unreferred cases.")
            call = "indeterminate"
    if share_novel > 0.5:
        reasons.append(f"{share_novel:.0%} of the evaluable fields look unlike the development cohort.")
        call = "indeterminate"
    return CaseAnswer(call, logit, probability, conformal, tuple(reasons))


def internal_rule(name: CaseRuleName) -> CaseRule:
    """The library's name of a case rule."""
    rules: dict[CaseRuleName, CaseRule] = {
        "mean-logit": "mean_logit",
        "top-k-mean": "top_k_mean",
        "maximum": "maximum",
        "noisy-or": "noisy_or",
    }
    return rules[name]


def override_threshold(decision: Decision, threshold: float) -> Decision:
    """The decision with another case threshold, marked as overridden by the user."""
    point = Point(
        threshold=threshold,
        rule="set by the user for this scoring",
        data="none",
        guarantee="none: the threshold of the bundle was overridden",
        overridden=True,
    )
    return decision.model_copy(update={"case_point": point})
