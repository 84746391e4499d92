"""From scores to calls: the case rule, the operating points and the conformal set, fitted once and then followed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import expit

from msht.calibration.conformal import conformal_quantile, conformal_sets
from msht.calibration.operating_point import OperatingPoint, threshold_for_sensitivity
from msht.cohort.manifest import CLASSES
from msht.images.quality import QualityGate

if TYPE_CHECKING:
    from msht.training.recipe import Decision as DecisionSettings

Call = Literal["positive", "negative", "indeterminate", "not evaluable"]

CASE_RULE_IN_WORDS = (
    "The case score is the mean log-odds of its evaluable fields, made a probability by a logistic curve that was "
    "fitted on out-of-fold development cases (Platt scaling)."
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

    case_rule: Literal["mean-logit"] = "mean-logit"
    case_slope: float
    case_intercept: float
    case_point: Point
    field_point: Point
    conformal_quantile: float = Field(ge=0, le=1)
    conformal_error: float
    conformal_cases: int
    conformal_level: Literal["case", "field"] = "case"
    minimum_fields: int
    quality: QualityGate
    warnings: tuple[str, ...] = ()
    """What every report must say about this decision."""


@dataclass(frozen=True)
class CaseAnswer:
    """The answer about one case.

    Attributes:
        call: positive, negative, indeterminate or not evaluable.
        logit: mean field log-odds; None where not evaluable.
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


def fit_temperatures(fold: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> dict[int, float]:
    """A temperature for each fold's network, from the images that it did not train on.

    Args:
        fold: number of the fold that held each image out, shape (N,).
        logits: raw binary logits, shape (N,).
        labels: 0 or 1, shape (N,).
    """
    from msht.calibration.temperature import fit_temperature

    return {int(n): float(fit_temperature(logits[fold == n], labels[fold == n])) for n in np.unique(fold)}


def fit_decision(frame: pd.DataFrame, settings: DecisionSettings, gate: QualityGate) -> tuple[Decision, pd.DataFrame]:
    """Fit case calibrator, operating points and conformal quantile on out-of-fold predictions.

    Args:
        frame: a row per evaluable development image: `case`, `label` and `calibrated_logit`.
        settings: of the recipe.
        gate: learned from the development images.

    Returns:
        The decision, and a table with a row per case: `case`, `label` (0 or 1), `logit`, `probability`, `fields`.
    """
    from msht.calibration.platt import fit_platt

    warnings: tuple[str, ...] = ()

    labels = (frame["label"] == CLASSES[1]).to_numpy(dtype=int)
    probabilities = expit(frame["calibrated_logit"].to_numpy(dtype=float))
    fields = threshold_for_sensitivity(labels, probabilities, settings.target_sensitivity, level="field")
    cases = (
        pd.DataFrame(
            {
                "label": reference_by_case(frame),
                "logit": frame.groupby("case")["calibrated_logit"].mean(),
                "fields": frame.groupby("case").size(),
            }
        )
        .rename_axis("case")
        .reset_index()
    )
    case_labels = cases["label"].to_numpy()
    if len(set(case_labels)) < 2:
        only = CLASSES[int(case_labels[0])]
        cases["probability"] = expit(cases["logit"].to_numpy())
        slope, intercept = 1.0, 0.0
        point = _point(fields, f"out-of-fold fields (n = {len(frame)}), since every development case is {only}")
        level_labels, level_probabilities = labels, probabilities
    else:
        platt = fit_platt(cases["logit"].to_numpy(), case_labels)
        if platt.slope > 0:
            slope, intercept = platt.slope, platt.intercept
        else:  # followed, such a curve would turn every call around
            slope, intercept = 1.0, 0.0
            warnings = (NO_BETTER_THAN_CHANCE,)
        cases["probability"] = expit(slope * cases["logit"].to_numpy() + intercept)
        level_labels, level_probabilities = case_labels, cases["probability"].to_numpy()
        point = _point(
            threshold_for_sensitivity(level_labels, level_probabilities, settings.target_sensitivity, level="case"),
            f"out-of-fold development cases (n = {len(cases)}, {int(case_labels.sum())} positive)",
        )
    decision = Decision(
        case_slope=slope,
        case_intercept=intercept,
        case_point=point,
        field_point=_point(fields, f"out-of-fold development fields (n = {len(frame)}, {labels.sum()} positive)"),
        conformal_quantile=min(1.0, conformal_quantile(level_labels, level_probabilities, settings.conformal_error)),
        conformal_error=settings.conformal_error,
        conformal_cases=len(level_labels),
        conformal_level="case" if len(set(case_labels)) == 2 else "field",
        minimum_fields=settings.minimum_fields,
        quality=gate,
        warnings=warnings,
    )
    return decision, cases


def _point(found: OperatingPoint, data: str) -> Point:
    rule = f"highest threshold that keeps {found.level} sensitivity at {found.target:.0%} or above"
    return Point(threshold=found.threshold, rule=rule, data=data, guarantee=found.guarantee)


def case_probability(decision: Decision, logits: np.ndarray) -> np.ndarray:
    """Calibrated probability of cases from their mean field log-odds, both of shape (N,)."""
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
    logit = float(np.mean(field_logits))
    probability = float(case_probability(decision, np.array([logit]))[0])
    members = conformal_sets(np.array([probability]), decision.conformal_quantile)[0]
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
    if share_novel > 0.5:
        reasons.append(f"{share_novel:.0%} of the evaluable fields look unlike the development cohort.")
        call = "indeterminate"
    return CaseAnswer(call, logit, probability, conformal, tuple(reasons))


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
