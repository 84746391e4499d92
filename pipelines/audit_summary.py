"""Tables of the audit: class balance, distributions of what was measured, stain by site and class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from pipelines.audit_measure import QUALITY

MEASURED: dict[str, str] = {
    "width": "Width in px",
    "height": "Height in px",
    "jpeg_quality": "JPEG quality (estimated)",
    "bytes_per_pixel": "Bytes per pixel",
    "focus": "Focus (log10)",
    "brightness": "Brightness, 0 to 1",
    "contrast": "Contrast, 0 to 1",
    "clipped_dark": "Share of black pixels",
    "clipped_bright": "Share of overexposed pixels",
    "foreground": "Share of stained pixels (cellularity)",
}
"""Measurements whose distribution is told, with their names."""

STAIN: dict[str, str] = {
    "cells_l_mean": "L* of cells",
    "cells_a_mean": "a* of cells",
    "cells_b_mean": "b* of cells",
    "background_r": "Background R",
    "background_g": "Background G",
    "background_b": "Background B",
}
"""What tells one stain and camera from another, with names."""

_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)

assert set(QUALITY) <= set(MEASURED)


def balance(table: pd.DataFrame, classes: Sequence[str], group_column: str | None) -> dict[str, Any]:
    """Images of each class in all, by site and by patient (or what stands for it)."""

    def counted(column: str) -> dict[str, dict[str, int]]:
        counts = pd.crosstab(table[column].fillna("unknown"), table["label"]).reindex(
            columns=list(classes), fill_value=0
        )
        return {str(name): {c: int(row[c]) for c in classes} for name, row in counts.iterrows()}

    found: dict[str, Any] = {"all": {name: int((table["label"] == name).sum()) for name in classes}}
    if "site" in table:
        found["by_site"] = counted("site")
    if group_column:
        found["group"] = group_column
        found["by_group"] = counted(group_column)
    return found


def distributions(table: pd.DataFrame) -> dict[str, dict[str, float | int]]:
    """Quantiles of each measurement over the readable images, and how many have it."""
    readable = table[table["trouble"].isna()]
    found: dict[str, dict[str, float | int]] = {}
    for column in MEASURED:
        values = pd.to_numeric(readable[column], errors="coerce").dropna()
        if len(values):
            found[column] = {"images": len(values)}
            found[column] |= {f"q{100 * q:.0f}": float(values.quantile(q)) for q in _QUANTILES}
    return found


def stains_by(table: pd.DataFrame, column: str) -> dict[str, dict[str, float | None]]:
    """Mean and SD over images of the colour of cells and background, for each site or class."""
    readable = table[table["trouble"].isna()]
    found = {}
    for name, rows in readable.groupby(readable[column].fillna("unknown")):
        facts: dict[str, float | None] = {"images": float(len(rows))}
        for measure in STAIN:
            values = pd.to_numeric(rows[measure], errors="coerce").dropna()
            facts[f"{measure}_mean"] = float(values.mean()) if len(values) else None
            facts[f"{measure}_sd"] = float(values.std(ddof=0)) if len(values) else None
        found[str(name)] = facts
    return found
