"""From fields to the case: one logit for a patient's many photographs.

The probability of a pooled logit is not calibrated, whatever the fields' own calibration: fit a case
calibrator on out-of-fold cases after pooling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from msht.errors import InvalidInput
from msht.statistics.arrays import Floats, Integers

CaseRule = Literal["mean_logit", "top_k_mean", "maximum", "noisy_or"]
CASE_RULES: tuple[CaseRule, ...] = get_args(CaseRule)


@dataclass(frozen=True)
class PooledCases:
    """One row for each case, in the order in which the cases first appear."""

    case_ids: NDArray
    """(C,) ids as they came."""
    logits: Floats
    """(C,) pooled logits; NaN where a case has too few evaluable fields."""
    evaluable: Integers
    """(C,) evaluable fields."""
    fields: Integers
    """(C,) all fields, evaluable or not."""


def mean_logit(logits: ArrayLike) -> float:
    """Mean of the field logits: the geometric mean of the odds."""
    return float(np.mean(_fields(logits)))


def top_k_mean(logits: ArrayLike, k: int = 3) -> float:
    """Mean of the k highest field logits, or of all where there are fewer.

    Raises:
        InvalidInput: if `k` is below 1.
    """
    if k < 1:
        raise InvalidInput(f"Expected `k` to be at least 1, but got {k}.", "Choose 1 or more fields.")
    return float(np.mean(np.sort(_fields(logits))[-k:]))


def maximum(logits: ArrayLike) -> float:
    """The highest field logit: one suspicious field makes the case suspicious."""
    return float(np.max(_fields(logits)))


def noisy_or(logits: ArrayLike) -> float:
    """Logit of 1 - prod(1 - p): the chance that at least one field is positive, were they independent.

    With S = sum of log(1 + e^z) over the fields, 1 - P = e^-S, and the logit of P is log(e^S - 1), computed
    here without ever forming a probability that rounds to 1.
    """
    total = float(np.sum(np.logaddexp(0.0, _fields(logits))))
    # Below the smallest float the sum of e^z is lost; there the logit of the largest is the whole of it.
    return total + float(np.log(-np.expm1(-total))) if total > 0 else float(np.max(_fields(logits)))


def pool_cases(
    logits: ArrayLike,
    case_ids: ArrayLike,
    rule: CaseRule = "mean_logit",
    *,
    k: int = 3,
    minimum_fields: int = 1,
) -> PooledCases:
    """Pool field logits into case logits.

    Args:
        logits: (N,) field logits; NaN marks a field that could not be evaluated, which leaves its case.
        case_ids: (N,) case of each field.
        rule: `mean_logit`, `top_k_mean`, `maximum` or `noisy_or`.
        k: how many fields `top_k_mean` takes.
        minimum_fields: a case with fewer evaluable fields gets NaN: it is not evaluable.

    Returns:
        One row for each case.

    Raises:
        InvalidInput: if the rule is unknown, lengths differ, or an id is missing.
    """
    if rule not in CASE_RULES:
        raise InvalidInput(f"Unknown case rule '{rule}'.", f"Choose one of {', '.join(CASE_RULES)}.")
    if minimum_fields < 1:
        raise InvalidInput(f"Expected `minimum_fields` to be at least 1, but got {minimum_fields}.", "Say 1.")
    values = np.asarray(logits, dtype=np.float64)
    ids = np.asarray(case_ids)
    if values.ndim != 1 or values.shape != ids.shape:
        raise InvalidInput(
            f"Expected one case id for each logit, but got shapes {values.shape} and {ids.shape}.",
            "Give a case id for each field.",
        )
    codes, unique_ids = pd.factorize(ids)
    if (codes < 0).any():
        raise InvalidInput(f"No case id at row {int(np.flatnonzero(codes < 0)[0])}.", "Every field needs a case.")
    usable = ~np.isnan(values)
    fields = np.bincount(codes, minlength=len(unique_ids))
    evaluable = np.bincount(codes[usable], minlength=len(unique_ids))
    pooled = np.full(len(unique_ids), np.nan)
    order = np.argsort(codes[usable], kind="stable")
    parts = np.split(values[usable][order], np.cumsum(evaluable)[:-1])
    for case, part in enumerate(parts):
        if len(part) >= minimum_fields:
            pooled[case] = pool(part, rule, k=k)
    return PooledCases(np.asarray(unique_ids), pooled, evaluable.astype(np.int64), fields.astype(np.int64))


def pool(logits: ArrayLike, rule: CaseRule, *, k: int = 3) -> float:
    """One logit of a case's (N,) evaluable field logits, N at least 1, by a rule of `CASE_RULES`."""
    return top_k_mean(logits, k) if rule == "top_k_mean" else RULES[rule](logits)


def describe_case_rule(rule: CaseRule, *, k: int = 3) -> str:
    """The rule in words, for a report."""
    return {
        "mean_logit": "the mean log-odds of its evaluable fields",
        "top_k_mean": f"the mean of the {k} highest log-odds among its evaluable fields",
        "maximum": "the highest log-odds among its evaluable fields",
        "noisy_or": "the log-odds that any of its evaluable fields is positive, were they independent (noisy-or)",
    }[rule]


RULES = {"mean_logit": mean_logit, "top_k_mean": top_k_mean, "maximum": maximum, "noisy_or": noisy_or}


def _fields(logits: ArrayLike) -> Floats:
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 1 or values.size == 0 or np.isnan(values).any():
        raise InvalidInput("A case rule needs at least one evaluable field.", "Leave out what has none.")
    return values
