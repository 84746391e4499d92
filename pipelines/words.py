"""Sentences that several documents share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def cohort_in_words(cohort: dict[str, Any]) -> str:
    """The development cohort in a sentence with its counts."""
    counts = cohort["development"]
    parts = [f"{counts[k]} {k}" for k in ("patients", "cases") if k in counts]
    parts.append(f"{counts['images']} fields ({counts['positive']} positive, {counts['negative']} negative)")
    return f"{cohort['title']}: {', '.join(parts)} in {cohort['folds']} folds."


def intervals_in_words(row: dict[str, Any]) -> str:
    """How the intervals of a row of figures were made, in a few words; the figures' file says it measure by measure."""
    if row["n_groups"] == row["n_rows"]:
        return f"{row['confidence']:.0%} CI (Wilson; AUROC: DeLong)"
    if not row["resamples"]:
        unit = row["unit"]
        return f"{row['confidence']:.0%} CI, {unit} left out in turn (jackknife); where none matters, Wilson by {unit}"
    return f"{row['confidence']:.0%} CI, {row['unit']} resampled {row['resamples']:,} times"


def find_row(rows: list[dict[str, Any]], level: str, fold: int | None = None) -> dict[str, Any]:
    """The row of a level, together or of one fold."""
    return next(row for row in rows if row["level"] == level and row["fold"] == fold)


def in_words(row: dict[str, Any], measure: str) -> str:
    """A figure with its interval: `0.971 (0.952 to 0.984)`."""
    estimate = row["estimates"][measure]
    if estimate["value"] is None:
        return "not defined"
    if estimate["low"] is None:
        return f"{estimate['value']:.3f} (no interval)"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def now() -> str:
    """The time, in whole seconds with its zone."""
    return datetime.now(UTC).astimezone().isoformat(timespec="seconds")
