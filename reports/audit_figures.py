"""The figures of the audit report: small histograms, and the shortcut baselines with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from reports.figures import ACCENT, INK, QUIET, saved, sized, style

if TYPE_CHECKING:
    from reports.audit import Histogram, ShortcutRow

_COLUMNS = 4


def histograms_figure(histograms: Sequence[Histogram], width_mm: float = 176.0) -> bytes:
    """A small histogram of each measurement, with its median."""
    rows = -(-len(histograms) // _COLUMNS)
    with mpl.rc_context(style()):
        figure = sized(width_mm, 30.0 * rows)
        panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
        for panel, histogram in zip(panels, histograms, strict=False):
            edges = np.asarray(histogram.edges)
            panel.bar(edges[:-1], histogram.counts, width=np.diff(edges), align="edge", color=ACCENT)
            panel.axvline(histogram.median, color=INK, linewidth=0.8, linestyle=(0, (3, 2)))
            panel.set_xlabel(histogram.name, fontsize=7)
            panel.tick_params(labelsize=6.5)
            panel.yaxis.set_major_locator(mpl.ticker.MaxNLocator(3, integer=True))
            panel.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
        for panel in panels[len(histograms) :]:
            panel.set_axis_off()
        return saved(figure, "page")


def shortcuts_figure(rows: Sequence[ShortcutRow], bound: float, width_mm: float = 176.0) -> bytes:
    """AUROC of each baseline with its interval, over chance and the bound."""
    known = [row for row in rows if row.auroc is not None]
    with mpl.rc_context(style()):
        figure = sized(width_mm, 16.0 + 6.5 * len(known))
        axes = figure.subplots()
        axes.axvline(0.5, color=QUIET, linewidth=0.6, linestyle=(0, (1, 3)))
        axes.axvline(bound, color=INK, linewidth=0.9, linestyle=(0, (5, 2)))
        for place, row in enumerate(reversed(known)):
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [place, place], color=ACCENT, linewidth=1.2)
            axes.plot([row.auroc or 0.0], [place], marker="o", markersize=4.5, color=ACCENT)
        axes.set_yticks(range(len(known)), [row.name for row in reversed(known)])
        axes.annotate(
            f"bound {bound:.2f}", (bound, len(known) - 0.45), xytext=(3, 0), textcoords="offset points", fontsize=7
        )
        lowest = min([0.45, *(row.low if row.low is not None else row.auroc or 0.5 for row in known)])
        axes.set(xlabel="AUROC, cross-validated by patient", xlim=(max(0.0, lowest - 0.02), 1.0))
        axes.set_ylim(-0.6, len(known) - 0.1)
        return saved(figure, "page")
