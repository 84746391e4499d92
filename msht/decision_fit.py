"""Fitting what turns scores into calls, on out-of-fold predictions of the development images and on nothing else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import expit

from msht.calibration.cases import CaseRule, pool_cases
from msht.calibration.conformal import curve_cuts, mondrian_cuts
from msht.calibration.operating_point import (
    Level,
    OperatingPoint,
    threshold_by_cost,
    threshold_by_youden,
    threshold_for_sensitivity,
)
from msht.calibration.stored import CALIBRATOR_WORDS, CalibratorName, StoredCalibrator
from msht.cohort.manifest import CLASSES
from msht.decision import NO_BETTER_THAN_CHANCE, CaseRuleName, Decision, Point, internal_rule, reference_by_case
from msht.errors import InvalidInput
from msht.images.quality import QualityGate
from msht.statistics.arrays import Floats, Integers, as_groups

if TYPE_CHECKING:
    from msht.training.recipe import Decision as DecisionSettings

FEWEST_PATIENTS = 4
"""Patients of each class among the images that a network held out, without which no calibrator is chosen."""
FEWEST_CASES = 10
"""Patients of each class without which no case rule is chosen: below, one odd case decides."""
CURVES = 20
"""Most parts that the case curve is fitted without in turn; with fewer patients, one patient a part."""

SCOPE = (
    "Everything here was fitted on the answers of single networks, each about images that it did not train on. Calls "
    "are made from the mean of all networks, about which no held-out answer exists among the development images: "
    "the guarantees are those of a single network. In simulation the mean missed fewer positive cases than a single "
    "network, called more negative ones positive, and its sets held the truth more often (docs/evidence.md): the "
    "guarantees erred on the safe side there, which is an observation and no guarantee. Nothing is promised for "
    "another population, microscope, stain or camera."
)


def fit_calibrators(
    fold: ArrayLike,
    logits: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    kind: str = "temperature",
    seed: int = 517,
) -> tuple[dict[int, StoredCalibrator], str]:
    """A calibrator for each fold's network, from the images that it did not train on.

    Args:
        fold: (N,) number of the fold that held each image out.
        logits: (N,) raw binary logits.
        labels: (N,) 0 or 1.
        groups: (N,) patient of each image; None if every image stands alone.
        kind: one of `CALIBRATORS`, or `auto` to choose one kind for all networks by nested cross-validation
            over patients. Where a network held out fewer than four patients of a class, or its logits would be
            turned around, `auto` takes a temperature and says so.
        seed: of the folds of that cross-validation.

    Returns:
        The calibrators by number of the fold, and in words which kind it is and why.

    Raises:
        InvalidInput: if a network held out images of one class only.
    """
    from msht.calibration.selection import CALIBRATORS, choose_calibrator

    folds, values, truth = np.asarray(fold), np.asarray(logits, dtype=np.float64), np.asarray(labels)
    codes, _ = as_groups(groups, len(values))
    chosen: CalibratorName = "temperature"
    if kind != "auto":
        chosen = next(name for name in CALIBRATOR_WORDS if name == kind)
        reason = "named in the recipe"
    else:
        fewest = min(
            len(np.unique(codes[(folds == n) & (truth == label)])) for n in np.unique(folds) for label in (0, 1)
        )
        if fewest < FEWEST_PATIENTS:
            reason = (
                f"not chosen, since a network held out only {fewest} patients of one class and a choice needs "
                f"{FEWEST_PATIENTS}; one number is what so few can settle"
            )
        else:
            try:
                choice = choose_calibrator(
                    values, truth, codes, folds=min(5, fewest), networks=folds, seed=seed, candidates=[*CALIBRATORS]
                )
                chosen = next(name for name in CALIBRATOR_WORDS if name == choice.name)
                reason = (
                    f"chosen from {len(CALIBRATORS)} by nested cross-validation over patients, each network on its "
                    f"own ({choice.reason.partition(': ')[2]}; with the choice itself held out "
                    f"{choice.honest_log_loss:.4f})"
                )
            except InvalidInput as error:
                reason = f"not chosen, since cross-validation over patients was not possible: {error.problem}"
    fitted = _fit_each(chosen, folds, values, truth)
    if kind == "auto" and any(calibrator.falls for calibrator in fitted.values()):
        reason = f"not chosen: {CALIBRATOR_WORDS[chosen]} would have turned a network's answers around"
        chosen = "temperature"
        fitted = _fit_each(chosen, folds, values, truth)
    return fitted, f"Calibrator of each network: {CALIBRATOR_WORDS[chosen]}, {reason}."


def _fit_each(kind: CalibratorName, fold: Integers, logits: Floats, labels: Integers) -> dict[int, StoredCalibrator]:
    from msht.calibration.selection import CALIBRATORS
    from msht.calibration.temperature import fit_temperature

    found = {}
    for number in np.unique(fold):
        rows = fold == number
        if kind == "temperature":
            numbers: dict[str, object] = {"temperature": float(fit_temperature(logits[rows], labels[rows]))}
        else:
            if len(np.unique(labels[rows])) < 2:
                raise InvalidInput(f"Fold {number} held out images of one class only.", "Make another split.")
            numbers = CALIBRATORS[kind]().fit(logits[rows], labels[rows]).parameters()
        found[int(number)] = StoredCalibrator(kind=kind, numbers=numbers)
    return found


def fit_decision(frame: pd.DataFrame, settings: DecisionSettings, gate: QualityGate) -> tuple[Decision, pd.DataFrame]:
    """Fit case rule, case curve, operating points and conformal sets on out-of-fold predictions.

    Args:
        frame: a row per evaluable development image: `case`, `label` and `calibrated_logit`; `group` (patient)
            where cases are not patients.
        settings: of the recipe.
        gate: learned from the development images.

    Returns:
        The decision, and a table with a row per case: `case`, `label` (0 or 1), `logit`, `probability`,
        `fields`. Cases with fewer fields than the recipe wants are not evaluable and are left out.

    Raises:
        InvalidInput: if no field is positive, or no case has the fields that the recipe wants.
    """
    frame = frame.assign(group=frame["case"] if "group" not in frame else frame["group"])
    labels = np.asarray(frame["label"] == CLASSES[1], dtype=np.int64)
    probabilities = expit(frame["calibrated_logit"].to_numpy(dtype=float))
    fields = _operating_point(labels, probabilities, frame["group"].to_numpy(), settings, "field")
    field_data = f"out-of-fold development fields (n = {len(frame)}, {labels.sum()} positive)"
    reference = reference_by_case(frame)
    group_of = frame.groupby("case")["group"].first()
    rule, why = _case_rule(frame, reference, group_of, settings)
    cases = _cases(frame, reference, rule, settings)
    case_labels = np.asarray(cases["label"], dtype=np.int64)
    warnings: tuple[str, ...] = ()
    if len(set(case_labels)) < 2:
        only = CLASSES[int(case_labels[0])]
        level: Level = "field"
        slope, intercept = 1.0, 0.0
        cases["probability"] = expit(cases["logit"].to_numpy())
        point = _point(fields, f"out-of-fold fields (n = {len(frame)}), since every development case is {only}")
        scored, truth, groups = frame["calibrated_logit"].to_numpy(dtype=float), labels, frame["group"].to_numpy()
    else:
        level = "case"
        scored, truth, groups = cases["logit"].to_numpy(), case_labels, group_of[cases["case"]].to_numpy()
        slope, intercept = _curve(scored, truth)
        if slope <= 0:  # followed, such a curve would turn every call around
            slope, intercept = 1.0, 0.0
            warnings = (NO_BETTER_THAN_CHANCE,)
        cases["probability"] = expit(slope * scored + intercept)
        found = _operating_point(truth, cases["probability"].to_numpy(), groups, settings, "case")
        point = _point(found, f"out-of-fold development cases (n = {len(cases)}, {truth.sum()} positive)")
    fitted = level == "case" and not warnings
    kind, quantiles, promise = _conformal(scored, truth, groups, (slope, intercept), settings, level, fitted)
    refer_below, refer_rule = _referral(cases, point.threshold, settings, level)
    decision = Decision(
        case_rule=rule,
        case_rule_fields=settings.case_rule_fields,
        case_slope=slope,
        case_intercept=intercept,
        case_point=point,
        field_point=_point(fields, field_data),
        conformal_quantile=max(quantiles),
        conformal_quantiles=quantiles,
        conformal_kind=kind,
        conformal_guarantee=promise,
        conformal_error=settings.conformal_error,
        conformal_cases=len(truth),
        conformal_level=level,
        minimum_fields=settings.minimum_fields,
        quality=gate,
        refer_below=refer_below,
        refer_rule=refer_rule,
        choices=(why,),
        scope=SCOPE,
        warnings=warnings,
    )
    return decision, cases


def _cases(frame: pd.DataFrame, reference: pd.Series, rule: CaseRuleName, settings: DecisionSettings) -> pd.DataFrame:
    """A row for each case that has the fields wanted, in the order of their names."""
    pooled = pool_cases(
        frame["calibrated_logit"].to_numpy(dtype=float),
        frame["case"].to_numpy(),
        internal_rule(rule),
        k=settings.case_rule_fields,
        minimum_fields=settings.minimum_fields,
    )
    table = pd.DataFrame({"case": pooled.case_ids, "logit": pooled.logits, "fields": pooled.evaluable})
    table = table[table["logit"].notna()].sort_values("case").reset_index(drop=True)
    if table.empty:
        raise InvalidInput(
            f"No development case has {settings.minimum_fields} evaluable fields.", "Lower decision.minimum_fields."
        )
    table.insert(1, "label", reference[table["case"]].to_numpy())
    return table


def _case_rule(
    frame: pd.DataFrame, reference: pd.Series, group_of: pd.Series, settings: DecisionSettings
) -> tuple[CaseRuleName, str]:
    """The case rule, and why."""
    from msht.calibration.selection import choose_case_rule

    names: tuple[CaseRuleName, ...] = ("mean-logit", "top-k-mean", "maximum", "noisy-or")
    if settings.case_rule != "auto":
        return settings.case_rule, f"Case rule: {settings.case_rule}, named in the recipe."
    patients = [group_of[reference == label].nunique() for label in (0, 1)]
    if min(patients) < FEWEST_CASES:
        return "mean-logit", (
            f"Case rule: mean-logit, not chosen: a choice needs {FEWEST_CASES} patients of each class by case, and "
            f"there are {patients[0]} negative and {patients[1]} positive."
        )
    try:
        choice = choose_case_rule(
            frame["calibrated_logit"].to_numpy(dtype=float),
            frame["case"].to_numpy(),
            reference.to_dict(),
            group_of.to_dict(),
            k=settings.case_rule_fields,
            minimum_fields=settings.minimum_fields,
        )
    except InvalidInput as error:
        return "mean-logit", f"Case rule: mean-logit, not chosen: {error.problem}"
    rules: dict[CaseRule, CaseRuleName] = {internal_rule(name): name for name in names}
    chosen = rules[choice.rule]
    return chosen, (
        f"Case rule: {chosen}, chosen from {len(names)} by cross-validation over patients, each recalibrated by case "
        f"({choice.reason.partition(': ')[2]})."
    )


def _operating_point(
    labels: Integers, probabilities: Floats, groups: np.ndarray, settings: DecisionSettings, level: Level
) -> OperatingPoint:
    rule = settings.operating_point
    if rule.rule == "youden":
        return threshold_by_youden(labels, probabilities, level=level)
    if rule.rule == "cost":
        return threshold_by_cost(labels, probabilities, rule.cost_ratio, prevalence=rule.prevalence, level=level)
    return threshold_for_sensitivity(labels, probabilities, settings.target_sensitivity, groups=groups, level=level)


def _point(found: OperatingPoint, data: str) -> Point:
    rule = {
        "sensitivity": f"highest threshold that keeps {found.level} sensitivity at {found.target:.0%} or above",
        "youden": f"threshold of the highest {found.level} sensitivity plus specificity (Youden)",
        "cost": f"threshold of the lowest cost by {found.level}, a miss costing {found.target:g} false alarms",
    }[found.rule]
    return Point(threshold=found.threshold, rule=rule, data=data, guarantee=found.guarantee)


def _curve(logits: Floats, labels: Integers) -> tuple[float, float]:
    from msht.calibration.platt import fit_platt

    found = fit_platt(logits, labels)
    return found.slope, found.intercept


def cross_fitted_curves(logits: Floats, labels: Integers, groups: np.ndarray) -> np.ndarray | None:
    """Slope and intercept of the case curve, fitted for each case without its own patient.

    Patients are dealt, class by class, to at most `CURVES` parts; a part's cases get the curve of the others.

    Args:
        logits: (N,) pooled case logits.
        labels: (N,) 0 or 1.
        groups: (N,) patient of each case.

    Returns:
        (N, 2); None where a class is left without patients, or a curve would fall.
    """
    codes, count = as_groups(groups, len(logits))
    positive = np.bincount(codes, labels, minlength=count) > 0
    part_of = np.empty(count, dtype=np.int64)
    part_of[np.argsort(positive, kind="stable")] = np.arange(count) % min(CURVES, count)
    part = part_of[codes]
    curves = np.empty((len(logits), 2))
    for number in np.unique(part):
        others = part != number
        if len(np.unique(labels[others])) < 2:
            return None
        curves[~others] = _curve(logits[others], labels[others])
    return curves if bool((curves[:, 0] > 0).all()) else None


def _conformal(
    logits: Floats,
    labels: Integers,
    groups: np.ndarray,
    curve: tuple[float, float],
    settings: DecisionSettings,
    level: Level,
    fitted: bool,
) -> tuple[str, tuple[float, float], str]:
    """Kind of the sets, quantiles of either class on the scale of the case curve, and what they promise."""
    alpha = settings.conformal_error
    needed = math.ceil(1 / alpha - 1 - 1e-9)
    counts = np.bincount(labels, minlength=2)
    kind = settings.conformal
    note = ""
    if kind == "auto":
        kind = "mondrian" if counts.min() >= needed else "marginal"
        if kind == "marginal":
            note = (
                f" Within a class nothing is promised: that needs {needed} {level}s of each, and there are "
                f"{counts[0]} negative and {counts[1]} positive."
            )
    unit = f"{level}, exchangeable with the {len(labels)} used here,"
    if kind == "mondrian":
        cuts = mondrian_cuts(logits, labels, alpha)
        promise = (
            f"Within each class the set of a new {unit} holds its class with probability at least {1 - alpha:.0%} "
            f"({counts[0]} negative, {counts[1]} positive). It rests on the order of the scores alone, so it is the "
            "same whatever case curve was fitted on these cases."
        )
        if counts.min() < needed:
            promise += f" A class with fewer than {needed} {level}s is in every set."
    else:
        curves = cross_fitted_curves(logits, labels, groups) if fitted else None
        if curves is None:
            curves = np.tile(curve, (len(logits), 1))
        cuts = curve_cuts(logits, labels, curves, alpha)
        promise = (
            f"Over both classes together the set of a new {unit} holds its class with probability {1 - alpha:.0%}, "
        )
        if not fitted:
            promise += "whatever the distribution of the scores."
        elif len(np.unique(curves, axis=0)) > 1:
            promise += (
                f"as observed in simulation, and at least {1 - 2 * alpha:.0%} or nearly so whatever the distribution "
                "(CV+: every case was scored by a case curve fitted without its patient)."
            )
        else:
            promise += "about: too few cases to fit the case curve without the case that it scores."
        promise += note
    if level == "field":
        promise += " Fields of one patient are not exchangeable with those of another; the figure is approximate."
    slope, intercept = curve
    # The very expressions of `decide_case`: a set must hold the score that set its bound.
    below, above = expit(slope * np.array(cuts) + intercept)
    return kind, (float(below), float(1 - above)), promise


def _referral(
    cases: pd.DataFrame, threshold: float, settings: DecisionSettings, level: Level
) -> tuple[float | None, str]:
    words = "A case is referred when its conformal set does not hold the call alone"
    if settings.deferral_error is None or level == "field":
        return None, words + "."
    from msht.calibration.deferral import confidence_of, referral_for_error

    values = cases["probability"].to_numpy()
    found = referral_for_error(
        cases["label"].to_numpy(), values >= threshold, confidence_of(values, threshold), settings.deferral_error
    )
    if math.isinf(found.confidence):
        return 2.0, (
            f"Every case is referred: no part of the {len(cases)} out-of-fold cases is wrong in at most "
            f"{settings.deferral_error:.1%}."
        )
    return found.confidence, (
        f"{words}, or when its score is nearer to the threshold than {found.confidence:.3f} of the way to certainty: "
        f"among the {found.kept} of {len(cases)} out-of-fold cases beyond it {found.error:.1%} were called wrongly "
        f"(one-sided 95 % bound {found.upper:.1%}); {found.referred:.1%} are nearer."
    )
