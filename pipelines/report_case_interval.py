"""How far the answer about a case would move with other fields and other networks: a two-way bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from msht.calibration.cases import pool
from msht.decision import case_probability, internal_rule

if TYPE_CHECKING:
    from msht.bundle import Bundle
    from msht.decision import Decision

DRAWS = 2000
CONFIDENCE = 0.95
SEED = 517
"""The same case gives the same interval."""

CLOSE = 1e-4
"""Largest difference at which the networks' logits are taken to be those behind a field's probability."""

SMALLEST = 1e-6

DrawnAgain = Literal["fields and networks", "fields", "networks"]


@dataclass(frozen=True)
class CaseInterval:
    """Bounds of a case's calibrated probability, and what was drawn again to find them."""

    low: float
    high: float
    drawn_again: DrawnAgain


def case_interval(
    bundle: Bundle, decision: Decision, fields: pd.DataFrame, probability: float, *, folds: Sequence[int] = ()
) -> CaseInterval | None:
    """The middle 95 % of the case's answers when its evaluable fields and the networks are drawn again.

    Fields and networks are resampled with replacement, independently of each other (a two-way, or pigeonhole,
    bootstrap); each draw goes through the ensemble's mean, the case rule and the case curve. It covers what these
    photographs and these networks leave open. It covers neither the fit of the calibrators nor what the development
    cohort lacks, and it is no interval of a patient's risk.

    Args:
        bundle: whose networks answered.
        decision: with the case rule and the case curve.
        fields: rows of the case in `images.parquet`.
        probability: of the case; always inside the interval.
        folds: numbers of the networks that answered, where they were but some; empty: all.

    Returns:
        None for one field and one network.

    Source: Owen (2007), Ann. Appl. Stat. 1:386, "The pigeonhole bootstrap".
    """
    good = fields[fields["evaluable"]]
    answers = np.clip(good["probability"].to_numpy(dtype=float)[None, :], SMALLEST, 1 - SMALLEST)
    by_network = _by_network(bundle, good, folds)
    # Scored by other means than the plain mean of these networks: then only fields can be drawn again.
    if by_network is not None and np.allclose(by_network.mean(axis=0), answers[0], atol=CLOSE):
        answers = by_network
    networks, count = answers.shape
    if networks == 1 and count == 1:
        return None
    drawn: DrawnAgain = "networks" if count == 1 else "fields" if networks == 1 else "fields and networks"
    generator = np.random.default_rng(SEED)
    shares = generator.multinomial(networks, np.full(networks, 1 / networks), size=DRAWS) / networks
    log_odds = logit(np.clip(shares @ answers, SMALLEST, 1 - SMALLEST))
    chosen = generator.integers(count, size=(DRAWS, count))
    resampled = np.take_along_axis(log_odds, chosen, axis=1)
    rule = internal_rule(decision.case_rule)
    pooled = (
        resampled.mean(axis=1)
        if rule == "mean_logit"
        else np.array([pool(row, rule, k=decision.case_rule_fields) for row in resampled])
    )
    low, high = np.quantile(case_probability(decision, pooled), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return CaseInterval(min(float(low), probability), max(float(high), probability), drawn)


def _by_network(bundle: Bundle, good: pd.DataFrame, folds: Sequence[int]) -> np.ndarray | None:
    """Calibrated probability of each network about each field, shape (F, N); None where the scores lack one."""
    rows = []
    for fold in bundle.description.folds:
        if folds and fold.number not in folds:
            continue
        column = f"logit_fold_{fold.number}"
        if column not in good or good[column].isna().any():
            return None
        logits = good[column].to_numpy(dtype=float)
        rows.append(expit(logits / fold.temperature if fold.calibrator is None else fold.calibrator.log_odds(logits)))
    return np.stack(rows)
