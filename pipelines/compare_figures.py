"""The figures of several models on the same folds, and the paired tests between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from msht.statistics.classification import area_under_roc, confusion_metrics, count_confusion
from msht.statistics.comparisons import (
    Comparison,
    clustered_paired_bootstrap,
    holm,
    mcnemar_exact,
    nadeau_bengio,
    paired_delong,
)
from msht.statistics.summary import summarise
from pipelines.compare_runs import Contender, labels_of

PLAIN = 0.5
"""The threshold of the paper: the likelier class."""
MEASURES = ("accuracy", "sensitivity", "specificity", "ppv", "npv", "f1", "balanced_accuracy", "auroc")
"""The paper's six, then two that do not hang on the prevalence."""
TESTED = ("auroc", "accuracy", "balanced_accuracy")
LEVEL = 0.05
RESAMPLES = 2000
SEED = 517


@dataclass(frozen=True)
class PairedTest:
    """The reference against one other model on one measure."""

    role: str
    """out-of-fold or test."""
    level: str
    """field or case."""
    measure: str
    threshold: str
    """In words; empty where the measure has none."""
    against: str
    reference_value: float | None
    other_value: float | None
    difference: float | None
    """Reference less the other."""
    low: float | None
    high: float | None
    p_value: float | None
    p_holm: float | None
    """Corrected for the number of models."""
    test: str
    units: int
    """Patients, or what stands for them."""


def fold_figures(contenders: Sequence[Contender]) -> dict[str, Any]:
    """Figures of each fold's network on the images it did not train on; mean and SD over the folds.

    Only images count that every model can evaluate, so that all are asked the same.

    Returns:
        By name of the model: `plain` and `operating_point`, each with the values of the folds, mean and SD by
        measure; and how many images and groups there are.
    """
    frames = common_rows([contender.fields for contender in contenders], "image", "probability")
    models = {}
    for contender, frame in zip(contenders, frames, strict=True):
        models[contender.name] = {
            "plain": _over_folds(frame, PLAIN),
            "operating_point": _over_folds(frame, contender.field_threshold),
        }
    first = frames[0]
    return {"images": len(first), "groups": int(first["group"].nunique()), "models": models}


def network_test_figures(contenders: Sequence[Contender]) -> dict[str, Any] | None:
    """Figures of each fold's network alone on the test set, as in the paper; None where they were not recorded."""
    if any(c.test_fields is None for c in contenders):
        return None
    frames = common_rows([c.test_fields for c in contenders if c.test_fields is not None], "image", "probability")
    models = {}
    for contender, frame in zip(contenders, frames, strict=True):
        columns = [f"probability_fold_{number}" for number in range(1, contender.folds + 1)]
        if not set(columns) <= set(frame.columns):
            continue
        labels = labels_of(frame)
        models[contender.name] = _mean_and_sd([_figures(labels, frame[c].to_numpy(float), PLAIN) for c in columns])
    return models or None


def held_out_case_figures(contenders: Sequence[Contender]) -> dict[str, Any]:
    """Figures by case of the out-of-fold answers of all folds together."""
    return _with_intervals(contenders, common_rows([c.cases for c in contenders], "case", "probability"), "case")


def test_figures(contenders: Sequence[Contender], level: str) -> dict[str, Any] | None:
    """Figures of each model's ensemble on the test set with patient-clustered intervals; None while it is closed."""
    frames = _test_frames(contenders, level)
    return None if frames is None else _with_intervals(contenders, frames, level)


def _with_intervals(contenders: Sequence[Contender], frames: Sequence[pd.DataFrame], level: str) -> dict[str, Any]:
    models = {}
    for contender, frame in zip(contenders, frames, strict=True):
        own = contender.field_threshold if level == "field" else contender.case_threshold
        labels, groups = labels_of(frame), frame["group"].to_numpy(str)
        values = frame["probability"].to_numpy(float)
        models[contender.name] = {
            name: summarise(labels, values, threshold=cut, groups=groups, resamples=RESAMPLES, seed=SEED).as_dict()
            for name, cut in (("plain", PLAIN), ("operating_point", own))
        }
    first = frames[0]
    return {
        "rows": len(first),
        "positive": int(labels_of(first).sum()),
        "groups": int(first["group"].nunique()),
        "models": models,
    }


def paired_tests(contenders: Sequence[Contender], reference: Contender) -> list[PairedTest]:
    """Every test of the reference against the others, Holm-corrected over the models for each measure."""
    others = [contender for contender in contenders if contender is not reference]
    figures = fold_figures(contenders)
    rows = [row for other in others for row in _fold_tests(figures, reference, other)]
    for level in ("field", "case"):
        frames = _test_frames(contenders, level)
        if frames is not None:
            by_name = {c.name: frame for c, frame in zip(contenders, frames, strict=True)}
            rows += [row for other in others for row in _test_tests(by_name, reference, other, level)]
    return _corrected(rows)


def common_rows(frames: Sequence[pd.DataFrame], key: str, value: str) -> list[pd.DataFrame]:
    """The tables cut to the rows that all of them can answer, in one order.

    Args:
        frames: one a model.
        key: what names a row.
        value: must be there.
    """
    answered = []
    for frame in frames:
        good = frame[value].notna()
        if "evaluable" in frame:
            good &= frame["evaluable"].astype(bool)
        answered.append(frame[good].set_index(key))
    shared = sorted(set.intersection(*(set(frame.index) for frame in answered)))
    return [frame.loc[shared].reset_index() for frame in answered]


def _test_frames(contenders: Sequence[Contender], level: str) -> list[pd.DataFrame] | None:
    tables = [c.test_fields if level == "field" else c.test_cases for c in contenders]
    present = [table for table in tables if table is not None]
    if len(present) < len(tables):
        return None
    return common_rows(present, "image" if level == "field" else "case", "probability")


def _over_folds(frame: pd.DataFrame, threshold: float) -> dict[str, Any]:
    return _mean_and_sd(
        [
            _figures(labels_of(part), part["probability"].to_numpy(float), threshold)
            for _, part in frame.groupby("fold", sort=True)
        ]
    )


def _mean_and_sd(rows: list[dict[str, float]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for measure in MEASURES:
        values = [row[measure] for row in rows]
        known = not any(math.isnan(value) for value in values)
        found[measure] = {
            "folds": [_plain(value) for value in values],
            "mean": float(np.mean(values)) if known else None,
            "sd": float(np.std(values, ddof=1)) if known and len(values) > 1 else None,
        }
    return found


def _figures(labels: np.ndarray, values: np.ndarray, threshold: float) -> dict[str, float]:
    metrics = confusion_metrics(count_confusion(labels, (values >= threshold).astype(int)))
    return {**asdict(metrics), "auroc": area_under_roc(labels, values)}


def _fold_tests(figures: dict[str, Any], reference: Contender, other: Contender) -> list[PairedTest]:
    rows = []
    for measure in TESTED:
        pair = [figures["models"][c.name]["plain"][measure]["folds"] for c in (reference, other)]
        if any(value is None for values in pair for value in values):
            continue
        found = nadeau_bengio(pair[0], pair[1], test_share=1 / (reference.folds - 1), measure=measure)
        rows.append(_row(found, "out-of-fold", "field", _at(measure), other, figures["groups"]))
    return rows


def _test_tests(
    frames: dict[str, pd.DataFrame], reference: Contender, other: Contender, level: str
) -> list[PairedTest]:
    """By the patients where rows share them; by the rows where each is a patient of its own."""
    first, second = frames[reference.name], frames[other.name]
    labels, groups = labels_of(first), first["group"].to_numpy(str)
    values = [frame["probability"].to_numpy(float) for frame in (first, second)]
    units = len(set(groups))
    if len(set(labels)) < 2:
        return []
    if level == "field":
        cuts, words = (PLAIN, PLAIN), f"{PLAIN}"
    else:
        cuts, words = (reference.case_threshold, other.case_threshold), "each model's operating point"
    if units == len(labels):
        calls = [(value >= cut).astype(int) for value, cut in zip(values, cuts, strict=True)]
        rows = [_row(mcnemar_exact(labels, *calls), "test", level, words, other, units)]
        if min(labels.sum(), len(labels) - labels.sum()) >= 2:
            rows.append(_row(paired_delong(labels, values[0], values[1]), "test", level, "", other, units))
        return rows
    found = clustered_paired_bootstrap(labels, *values, threshold=cuts, groups=groups, resamples=RESAMPLES, seed=SEED)
    return [
        _row(found[measure], "test", level, "" if measure == "auroc" else words, other, units) for measure in TESTED
    ]


def _at(measure: str) -> str:
    return "" if measure == "auroc" else f"{PLAIN}"


def _row(found: Comparison, role: str, level: str, threshold: str, other: Contender, units: int) -> PairedTest:
    return PairedTest(
        role=role,
        level=level,
        measure=found.measure,
        threshold=threshold,
        against=other.name,
        reference_value=_plain(found.first),
        other_value=_plain(found.second),
        difference=_plain(found.difference),
        low=_plain(found.low),
        high=_plain(found.high),
        p_value=_plain(found.p_value),
        p_holm=None,
        test=found.method,
        units=units,
    )


def _corrected(rows: list[PairedTest]) -> list[PairedTest]:
    families: dict[tuple[str, str, str], list[int]] = {}
    for number, row in enumerate(rows):
        if row.p_value is not None:
            families.setdefault((row.role, row.level, row.measure), []).append(number)
    adjusted: dict[int, float] = {}
    for numbers in families.values():
        values, _ = holm([float(rows[n].p_value or 0.0) for n in numbers], LEVEL)
        adjusted.update(zip(numbers, map(float, values), strict=True))
    return [PairedTest(**{**asdict(row), "p_holm": adjusted.get(number)}) for number, row in enumerate(rows)]


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
