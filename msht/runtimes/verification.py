"""Holding the answers of an export against those of the networks in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logit

from msht.calibration.stored import SMALLEST_PROBABILITY
from msht.decision import Call, Decision, decide_case
from msht.ensemble import FieldScores
from msht.runtimes.description import Precision

TOLERANCE: dict[Precision, float] = {"float32": 1e-3, "bfloat16": 0.01, "int8": 0.01}
"""Change of a calibrated probability that is accepted. Rounding in another order moves one by about 1e-6, so a
float32 export that moves one by 1e-3 computes something else; no call may change, whatever the precision."""


@dataclass(frozen=True)
class Differences:
    """What changed between two ways of answering about the same images; see `Verification`."""

    largest_change: float
    largest_change_fold: float
    flipped_fields: int
    flipped_cases: int

    def accepted(self, precision: Precision) -> bool:
        """Whether an export of this precision may go into a bundle."""
        change = max(self.largest_change, self.largest_change_fold)
        return change <= TOLERANCE[precision] and self.flipped_fields == 0 and self.flipped_cases == 0


def compare_scores(
    before: FieldScores,
    after: FieldScores,
    decision: Decision,
    *,
    numbers: Sequence[int],
    held_out: np.ndarray,
    cases: np.ndarray,
) -> Differences:
    """Compare two sets of answers about B fields by F networks.

    Args:
        before: of the networks in PyTorch.
        after: of the export.
        decision: of the bundle.
        numbers: of the folds, in the order of the scores, length F.
        held_out: the fold whose network did not train on each image, shape (B,); 0 where that is not known, and
            then every network counts.
        cases: of each image, shape (B,).
    """
    answered = (before.fold_probabilities, after.fold_probabilities, before.novelty, after.novelty)
    if not all(np.isfinite(values).all() for values in answered):
        return Differences(float("inf"), float("inf"), 0, 0)  # nothing compares with what is no number
    change_fold, fields, changed_cases = 0.0, 0, 0
    for place, number in enumerate(numbers):
        seen = (held_out == number) | (held_out == 0)
        if not seen.any():
            continue
        first, second = before.fold_probabilities[place, seen], after.fold_probabilities[place, seen]
        nothing_novel = np.zeros(int(seen.sum()))
        change_fold = max(change_fold, _largest(first, second))
        fields += _flipped(first, second, decision)
        changed_cases += _flipped_cases(
            _case_calls(first, nothing_novel, cases[seen], decision),
            _case_calls(second, nothing_novel, cases[seen], decision),
        )
    return Differences(
        largest_change=_largest(before.probability, after.probability),
        largest_change_fold=change_fold,
        flipped_fields=fields + _flipped(before.probability, after.probability, decision),
        flipped_cases=changed_cases
        + _flipped_cases(
            _case_calls(before.probability, before.novelty, cases, decision),
            _case_calls(after.probability, after.novelty, cases, decision),
        ),
    )


def _largest(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first - second).max())


def _flipped(first: np.ndarray, second: np.ndarray, decision: Decision) -> int:
    threshold = decision.field_point.threshold
    return int(((first >= threshold) != (second >= threshold)).sum())


def _case_calls(
    probabilities: np.ndarray, novelty: np.ndarray, cases: np.ndarray, decision: Decision
) -> dict[str, tuple[Call, bool]]:
    log_odds = logit(np.clip(probabilities, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY))
    calls = {}
    for case in np.unique(cases):
        own = cases == case
        answer = decide_case(decision, log_odds[own], share_novel=float((novelty[own] > 1).mean()))
        calls[str(case)] = (answer.call, bool(answer.reasons))
    return calls


def _flipped_cases(first: dict[str, tuple[Call, bool]], second: dict[str, tuple[Call, bool]]) -> int:
    return sum(first[case] != second[case] for case in first)
