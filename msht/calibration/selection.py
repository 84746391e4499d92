"""Choosing a calibrator and a case rule, on out-of-fold data only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold

from msht.calibration.beta import BetaScaling
from msht.calibration.cases import CASE_RULES, CaseRule, pool_cases
from msht.calibration.estimator import BinaryCalibrator
from msht.calibration.isotonic import IsotonicScaling
from msht.calibration.platt import PlattScaling
from msht.calibration.temperature import TemperatureScaling
from msht.calibration.venn_abers import VennAbers
from msht.errors import InvalidInput
from msht.statistics.arrays import Floats, Integers, as_binary, as_groups, as_scores
from msht.statistics.classification import log_losses

CALIBRATORS: dict[str, Callable[[], BinaryCalibrator]] = {
    "temperature": TemperatureScaling,
    "platt": PlattScaling,
    "beta": BetaScaling,
    "isotonic": IsotonicScaling,
    "venn_abers": VennAbers,
}
"""Every calibrator by name, from the simplest to the most flexible."""


@dataclass(frozen=True)
class CandidateScore:
    """How a candidate did on rows of patients that it was not fitted to."""

    log_loss: float
    """Mean over the rows, in nats."""
    standard_error: float
    """Of its excess over the best candidate's, over patients; 0 for the best itself."""


@dataclass(frozen=True)
class CalibratorChoice:
    """The calibrator chosen, and what was seen on the way."""

    name: str
    """The candidate chosen."""
    calibrator: BinaryCalibrator
    """The candidate, fitted to all rows."""
    scores: dict[str, CandidateScore]
    """Every candidate's score in the inner cross-validation over all rows."""
    honest_log_loss: float
    """Log loss of the whole procedure, choice included, on outer folds that it never saw."""
    reason: str
    """The choice in words, for a report."""


@dataclass(frozen=True)
class CaseRuleChoice:
    """The case rule chosen, and what was seen on the way."""

    rule: CaseRule
    """The rule chosen."""
    scores: dict[str, CandidateScore]
    """Every rule's score, recalibrated at case level."""
    reason: str
    """The choice in words, for a report."""


def choose_calibrator(
    logits: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None,
    *,
    candidates: Sequence[str] = tuple(CALIBRATORS),
    folds: int = 5,
    seed: int = 517,
    networks: ArrayLike | None = None,
) -> CalibratorChoice:
    """Choose by nested, grouped cross-validation on out-of-fold logits.

    The inner cross-validation scores every candidate by log loss on held-out patients and takes the simplest
    whose loss is within one standard error of the best one's, the error being that of the paired difference
    over patients. The outer one repeats the whole choice without each fold, for a loss that the choice has
    not flattered.

    Args:
        logits: (N,) logits of images that the network did not train on. Never of the test set.
        labels: (N,) 0 or 1.
        groups: (N,) patient of each row; None if every row stands alone.
        candidates: names from `CALIBRATORS`, the simplest first.
        folds: of both cross-validations, at least 2.
        seed: of the folds.
        networks: (N,) which network gave each logit; None for one network. Each network's logits are
            calibrated and cross-validated on their own, and one kind is chosen for all.

    Returns:
        The choice.

    Raises:
        InvalidInput: if a name is unknown or either class has fewer groups than folds.

    Sources: Varma and Simon (2006), BMC Bioinformatics 7:91, for nesting; Breiman et al. (1984),
    Classification and Regression Trees, section 3.4.3, for the one-standard-error rule.
    """
    truth = as_binary(labels)
    values = as_scores(logits, len(truth), "logits")
    codes, _ = as_groups(groups, len(truth))
    unknown = [name for name in candidates if name not in CALIBRATORS]
    if unknown or not candidates:
        raise InvalidInput(
            f"Unknown calibrators: {', '.join(unknown) or 'none given'}.",
            f"Choose from {', '.join(CALIBRATORS)}.",
        )
    parts = [np.arange(len(truth))]
    if networks is not None:
        own = as_groups(networks, len(truth), "networks")[0]
        parts = [np.flatnonzero(own == number) for number in np.unique(own)]
    for part in parts:
        _check_folds(truth[part], codes[part], folds)
    models = {name: CALIBRATORS[name]() for name in candidates}
    splits = _splits_of_parts(truth, codes, parts, folds, seed)
    losses = {name: _held_out_losses(model, values, truth, splits) for name, model in models.items()}
    name, scores, reason = _simplest_of_the_best(losses, codes)

    honest = np.empty(len(truth))
    outer = [_splits(truth[part], codes[part], folds, seed + 1) for part in parts]
    for turn in range(folds):
        train = [part[of_part[turn][0]] for part, of_part in zip(parts, outer, strict=True)]
        possible = min(folds, *(_fewest_groups(truth[rows], codes[rows]) for rows in train))
        for rows in train:
            _check_folds(truth[rows], codes[rows], possible)
        splits = _splits_of_parts(truth, codes, train, possible, seed)
        seen = np.concatenate(train)
        inner = {key: _held_out_losses(model, values, truth, splits)[seen] for key, model in models.items()}
        chosen = models[_simplest_of_the_best(inner, codes[seen])[0]]
        for part, of_part, rows in zip(parts, outer, train, strict=True):
            test = part[of_part[turn][1]]
            honest[test] = _losses_on(chosen, values, truth, rows, test)
    return CalibratorChoice(
        name=name,
        calibrator=CALIBRATORS[name]().fit(values, truth),
        scores=scores,
        honest_log_loss=float(honest.mean()),
        reason=f"{name}: {reason}",
    )


def choose_case_rule(
    logits: ArrayLike,
    case_ids: ArrayLike,
    case_labels: Mapping[object, int],
    case_groups: Mapping[object, object] | None = None,
    *,
    rules: Sequence[CaseRule] = CASE_RULES,
    k: int = 3,
    minimum_fields: int = 1,
    folds: int = 5,
    seed: int = 517,
) -> CaseRuleChoice:
    """Choose how fields are pooled, by the log loss of the recalibrated case on held-out patients.

    Args:
        logits: (N,) out-of-fold field logits; NaN for fields that could not be evaluated.
        case_ids: (N,) case of each field.
        case_labels: label of each case, 0 or 1.
        case_groups: patient of each case; None if every case is a patient.
        rules: the rules to try, the preferred first.
        k: how many fields `top_k_mean` takes.
        minimum_fields: cases with fewer evaluable fields are left out.
        folds: of the cross-validation, at least 2; lowered where a class has fewer patients.
        seed: of the folds.

    Returns:
        The choice: the first rule within one standard error of the best one.

    Raises:
        InvalidInput: if a case has no label or a class has fewer than two patients.
    """
    losses: dict[str, Floats] = {}
    codes = np.empty(0, dtype=np.int64)
    for rule in rules:
        pooled = pool_cases(logits, case_ids, rule, k=k, minimum_fields=minimum_fields)
        known = ~np.isnan(pooled.logits)
        ids = pooled.case_ids[known].tolist()
        unlabelled = [case for case in ids if case not in case_labels]
        if unlabelled:
            raise InvalidInput(f"Case '{unlabelled[0]}' has no label.", "Give a label for each case.")
        truth = as_binary([case_labels[case] for case in ids])
        codes, _ = as_groups(None if case_groups is None else [case_groups[case] for case in ids], len(ids))
        possible = min(folds, _fewest_groups(truth, codes))
        _check_folds(truth, codes, possible)
        splits = _splits(truth, codes, possible, seed)
        losses[rule] = _held_out_losses(PlattScaling(), pooled.logits[known], truth, splits)
    name, scores, reason = _simplest_of_the_best(losses, codes)
    chosen = next(rule for rule in rules if rule == name)
    return CaseRuleChoice(rule=chosen, scores=scores, reason=f"{name}: {reason}")


def _splits(truth: Integers, codes: Integers, folds: int, seed: int) -> list[tuple[Integers, Integers]]:
    """Grouped folds; a fold whose training part lacks a class is left to the caller's smaller `folds`."""
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros((len(truth), 1)), truth, codes))


def _splits_of_parts(
    truth: Integers, codes: Integers, parts: Sequence[Integers], folds: int, seed: int
) -> list[tuple[Integers, Integers]]:
    """Grouped folds within each part, as row numbers of the whole; no training rows come from another part."""
    return [
        (part[train], part[test]) for part in parts for train, test in _splits(truth[part], codes[part], folds, seed)
    ]


def _held_out_losses(
    model: BinaryCalibrator, values: Floats, truth: Integers, splits: Sequence[tuple[Integers, Integers]]
) -> Floats:
    losses = np.full(len(truth), np.nan)
    for train, test in splits:
        losses[test] = _losses_on(model, values, truth, train, test)
    return losses


def _losses_on(model: BinaryCalibrator, values: Floats, truth: Integers, train: Integers, test: Integers) -> Floats:
    if len(np.unique(truth[train])) < 2:
        raise InvalidInput("A fold of the calibration data has one class only.", "Use fewer folds or more patients.")
    fitted = clone(model).fit(values[train], truth[train])
    return log_losses(truth[test], fitted.predict_proba(values[test])[:, 1])


def _simplest_of_the_best(losses: Mapping[str, Floats], codes: Integers) -> tuple[str, dict[str, CandidateScore], str]:
    best = min(losses, key=lambda name: float(losses[name].mean()))
    scores = {
        name: CandidateScore(float(values.mean()), _clustered_error(values - losses[best], codes))
        for name, values in losses.items()
    }
    limit = scores[best].log_loss
    chosen = next(n for n, s in scores.items() if s.log_loss - s.standard_error <= limit)
    reason = f"log loss {scores[chosen].log_loss:.4f} on held-out patients"
    if chosen == best:
        reason += ", the lowest"
    else:
        reason += f", within one standard error of the lowest ({limit:.4f}, {best}) and simpler"
    return chosen, scores, reason


def _clustered_error(values: Floats, codes: Integers) -> float:
    """Standard error of a mean over rows whose groups are drawn together."""
    residual = np.bincount(codes, values - values.mean())
    count = len(np.unique(codes))
    return float(np.sqrt(count / max(count - 1, 1) * np.sum(residual**2)) / len(values))


def _fewest_groups(truth: Integers, codes: Integers) -> int:
    return min(len(np.unique(codes[truth == label])) for label in (0, 1))


def _check_folds(truth: Integers, codes: Integers, folds: int) -> None:
    fewest = _fewest_groups(truth, codes)
    if folds < 2 or fewest < folds:
        raise InvalidInput(
            f"A choice over {folds} folds needs that many patients of each class, but one has {fewest}.",
            "Use fewer folds (2 at least), or name the calibrator in the recipe.",
        )
