"""Sections of the validation report from the parts of an evaluation: robustness, maps, wrong calls, deferral."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from msht.calibration.deferral import confidence_of, deferral_curve, referral_for_error
from msht.decision import Decision
from msht.statistics.decision import predictive_values
from pipelines.evaluation_parts import PartFiles
from pipelines.explain_crops import crop_in_words
from pipelines.explanation_checks import find_check
from pipelines.report_case_parts import estimate_part
from pipelines.report_validation_settings import time_in_print
from pipelines.run_folder import RunFolder
from reports.parts import Estimate
from reports.sections import NotAvailable
from reports.sections_evidence import (
    DeferralCurve,
    ExplanationCheck,
    Failure,
    LocalValues,
    MapCurves,
    Probes,
    RobustnessRow,
)

FEWEST_CASES = 30
"""With fewer test cases the deferral curve is drawn by field, where it says something."""
POINTS = 200
"""Most points of a curve: more cannot be seen."""
CHECKS_IN_WORDS = {
    "deletion": "Deletion",
    "insertion": "Insertion",
    "road": "ROAD",
    "randomisation": "Weight randomisation",
    "energy": "Energy on known places",
    "pointing": "Pointing game",
}
Data = tuple[str, Literal["field", "case"], np.ndarray, np.ndarray]


def not_made(run: RunFolder, what: str) -> NotAvailable:
    """Why a part is not there, and how to make it."""
    return NotAvailable(reason=f"{what} in this evaluation; msht evaluate {run.path.name} adds it.")


def robustness_section(run: RunFolder, fitted: str) -> dict[str, Any]:
    """Fields `robustness` and `robustness_note` of the report."""
    files = PartFiles(run)
    part = files.read(files.robustness, fitted)
    if part is None:
        return {"robustness": not_made(run, "No image was perturbed")}
    rows = tuple(
        RobustnessRow(
            perturbation=row["kind"],
            strength=row["strength"],
            number=row["number"],
            flipped=row["changed"],
            refused=row["refused"],
            **{m: estimate_part(row, m) for m in ("auroc", "sensitivity", "specificity")},
        )
        for row in part["rows"]
    )
    opened = time_in_print(part["opened"])
    note = (
        f"{part['images']} of {part['of']} evaluable test images of {part['groups']} patients or groups, drawn by seed "
        f"{part['seed']} in turn from each, were scored again under each perturbation, at the unchanged field "
        f"threshold of {part['threshold']:.3f} and under the opening of the test set of {opened}. The "
        "photograph is perturbed before anything else is done to it. Nothing was chosen by these figures."
    )
    return {"robustness": rows, "robustness_note": note}


def explanation_section(run: RunFolder, fitted: str) -> dict[str, Any]:
    """Fields `explanation_checks`, `explanation_note`, `map_curves` and `probes` of the report."""
    files = PartFiles(run)
    part = files.read(files.explanation, fitted)
    if part is None:
        return {"explanation_checks": not_made(run, "The heat maps were not checked")}
    if "checks" not in part:
        return {"explanation_checks": NotAvailable(reason=part["reason"])}
    maps = f"{part['method_in_words'].partition(' (')[0]}, {part['layer_in_words']}"
    checks = tuple(
        ExplanationCheck(
            check=CHECKS_IN_WORDS[check["name"]], method=maps, result=_found(check), passed=check["passed"]
        )
        for check in part["checks"]
    )
    if find_check(part, "energy") is None:
        reason = "not available: the cohort marks no place where the evidence lies"
        checks += (ExplanationCheck(check="Pointing game, energy", method=maps, result=reason),)
    curves, probes = part["curves"], part["probes"]
    steps = len(curves["deletion_curve"])
    empty = curves["deletion_curve"][-1]
    doubt = (
        f" Mind that an image without any content still scores {empty:.2f} here: deletion and insertion then say "
        "little."
        if empty > 0.5 * curves["deletion_curve"][0]
        else ""
    )
    return {
        "explanation_checks": checks,
        "explanation_note": (
            f"Maps as the case reports show them, {part['method_in_words']} at {part['layer_in_words']}, on "
            f"{part['data']}. Pixels that are taken away get the mean colour of the image (ROAD: what their neighbours "
            f"suggest). A check is passed where it is better than that of maps that know nothing by more than chance."
            f"{doubt}"
        ),
        "map_curves": MapCurves(
            shares=tuple(np.linspace(0, 1, steps)),
            deletion=curves["deletion_curve"],
            insertion=curves["insertion_curve"],
            deletion_chance=curves["deletion_curve_chance"],
            insertion_chance=curves["insertion_curve_chance"],
        ),
        "probes": Probes(
            shares=probes["shares"],
            random=probes["occlusion"]["random"],
            salient=probes["occlusion"]["salient"],
            non_salient=probes["occlusion"]["non-salient"],
            grids=probes["grids"],
            shuffled=probes["shuffling"],
        ),
    }


def _found(check: dict[str, Any]) -> str:
    name, value = check["name"], check["value"]
    if name == "randomisation":
        cascade = ", ".join(f"{v:.2f} ({s:.0%})" for s, v in zip(check["shares"], check["cascade"], strict=True))
        return (
            f"rank correlation with maps of networks that forgot a share of their weights, from the head: {cascade}; "
            f"fails from {check['bar']:.1f}"
        )
    if name == "pointing":
        return f"highest point on a known place in {value:.0%} of {check['images']} images"
    words = {
        "deletion": "area {v:.3f}, less is better; maps that know nothing {c:.3f}",
        "insertion": "area {v:.3f}, more is better; maps that know nothing {c:.3f}",
        "road": "{v:.3f}, more is better; maps that know nothing {c:.3f}",
        "energy": "{v:.1%} of the evidence there; an even map {c:.1%}",
    }[name].format(v=value, c=check["chance"])
    if check.get("low") is not None:
        words += f"; better by {check['gain']:.3f} ({check['low']:.3f} to {check['high']:.3f}), n = {check['images']}"
    elif "gain" in check:
        words += f"; better by {check['gain']:.3f} (too few patients for an interval), n = {check['images']}"
    return words


def failures_section(run: RunFolder, fitted: str) -> dict[str, Any]:
    """Fields `failures` and `failures_note` of the report."""
    files = PartFiles(run)
    part = files.read(files.gallery, fitted)
    if part is None:
        return {"failures": not_made(run, "No gallery was drawn")}
    if not part["rows"]:
        return {"failures": NotAvailable(reason="No test field was called wrongly at the field threshold.")}
    folder = files.gallery.parent
    rows = tuple(
        Failure(
            # File names often hold a patient's id, and a report travels further than a run.
            name=f"Field {number}",
            truth=row["truth"],
            probability=row["probability"],
            crop=folder / row["crop"],
            overlay=folder / row["overlay"],
            note=f"{row['kind'].capitalize()}; networks differ by {row['spread']:.2f} (SD)."
            + (" Unlike the development images." if row["novel"] else "")
            + (f" Shown: {words}." if (words := crop_in_words(row.get("shown"))) else ""),
        )
        for number, row in enumerate(part["rows"], start=1)
    )
    total = part["false_negatives"] + part["false_positives"]
    note = (
        f"Wrong calls of test fields: {total} ({part['false_negatives']} missed, {part['false_positives']} false "
        f"alarms at the field threshold). Shown are {len(rows)}: missed ones first, the surest first. Above "
        f"what the networks saw, below the same with the evidence for positive: {part['method'].partition(' (')[0]} at "
        f"{part['layer']}, mean over the networks, one scale for all (full colour from {part['scale']:.2g}, arbitrary "
        "units). A map shows where evidence was found, not why. The run's validation/gallery/gallery.json names the "
        "files."
    )
    return {"failures": rows, "failures_note": note}


def deferral_section(cases: Data, fields: Data, decision: Decision, target: float) -> DeferralCurve | NotAvailable:
    """The deferral curve of the test data, and what share must be referred for an error of `target`.

    Args:
        cases: test cases.
        fields: test fields, taken where there are too few cases.
        decision: whose thresholds made the calls.
        target: error allowed among those kept.
    """
    by_case = len(cases[2]) >= FEWEST_CASES
    _, level, labels, values = cases if by_case else fields
    if not len(labels):
        return NotAvailable(reason="There are no test predictions.")
    threshold = (decision.case_point if by_case else decision.field_point).threshold
    if not 0 < threshold < 1:
        return NotAvailable(reason=f"The {level} threshold of {threshold:g} leaves no room for confidence.")
    calls, sureness = (values >= threshold).astype(int), confidence_of(values, threshold)
    curve, found = deferral_curve(labels, calls, sureness), referral_for_error(labels, calls, sureness, target)
    keep = np.unique(np.linspace(0, len(curve.referred) - 1, POINTS).round().astype(int))
    if found.kept:
        statement = (
            f"Referring {found.referred:.1%} leaves an error of {found.error:.1%} among {found.kept} {level}s (at most "
            f"{target:.0%} was asked for; one-sided 95 % bound {found.upper:.1%}, as if fixed beforehand)"
        )
    else:
        statement = f"No share short of all brings the error to {target:.0%}"
    few = "" if by_case else f" By field, since there are {len(cases[2])} test cases only."
    return DeferralCurve(
        level=level,
        deferred=tuple(np.clip(curve.referred[keep], 0, 1)),
        error=tuple(np.clip(curve.error[keep], 0, 1)),
        statement=f"{statement}; without referral it is {curve.error[0]:.1%}. Area {curve.area:.4f}, "
        f"{curve.excess_area:.4f} above a perfect order.{few}",
    )


def local_values(rows: dict[str, dict[str, Any]], prevalence: float | None) -> tuple[LocalValues, ...]:
    """PPV and NPV at a chosen prevalence, by case and by field; none where no prevalence was chosen."""
    if prevalence is None:
        return ()
    made = []
    levels: tuple[Literal["case", "field"], ...] = ("case", "field")
    for level in levels:
        sensitivity, specificity = (estimate_part(rows[level], m) for m in ("sensitivity", "specificity"))
        point, low, high = (
            _predictive(getattr(sensitivity, side), getattr(specificity, side), prevalence)
            for side in ("value", "low", "high")
        )
        if point is not None:
            ppv, npv = (
                Estimate(
                    value=point[i],
                    low=None if low is None or high is None else low[i],
                    high=None if low is None or high is None else high[i],
                )
                for i in (0, 1)
            )
            made.append(LocalValues(level=level, prevalence=prevalence, ppv=ppv, npv=npv))
    return tuple(made)


def _predictive(sensitivity: float | None, specificity: float | None, prevalence: float) -> list[float | None] | None:
    if sensitivity is None or specificity is None:
        return None
    values = predictive_values(sensitivity, specificity, prevalence)
    return [None if np.isnan(v) else float(v) for v in (values.ppv[0], values.npv[0])]
