"""Figures of robustness and of the checks of heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from reports.figures import ACCENT, DASHES, INK, QUIET, Form, saved, sized, style, wide

if TYPE_CHECKING:
    from reports.sections_evidence import MapCurves, Probes, RobustnessRow

AXES = {
    "JPEG": ("JPEG quality (none = 100)", 100.0),
    "Blur": ("Blur, % of the shorter side", 0.0),
    "Stain strength": ("Stain, factor of density", 1.0),
    "Stain colour": ("Stain colour, % blue to red", 0.0),
    "Rotation": ("Rotation, degrees", 0.0),
}
"""Label of the axis and the place of the unchanged image, by perturbation."""


def robustness_figure(rows: Sequence[RobustnessRow], width_mm: float = 172.0, form: Form = "page") -> bytes:
    """AUROC with its interval, and below it the share of calls that changed, over the strength of each perturbation.

    The first row is the sample as it was photographed; it stands in every panel.
    """
    plain, kinds = rows[0], list(dict.fromkeys(row.perturbation for row in rows[1:]))
    with mpl.rc_context(style()):
        figure = sized(width_mm, 78.0)
        panels = figure.subplots(2, len(kinds), sharey="row", height_ratios=(3, 2), squeeze=False)
        lows = [row.auroc.low for row in rows if row.auroc.low is not None]
        known = [row.auroc.value for row in rows if row.auroc.value is not None]
        for column, kind in enumerate(kinds):
            label, origin = AXES.get(kind, (kind, 0.0))
            ordered = sorted(
                [(origin, plain), *((row.number, row) for row in rows[1:] if row.perturbation == kind)],
                key=lambda pair: pair[0],
            )
            upper, lower = panels[0, column], panels[1, column]
            places = [place for place, row in ordered if row.auroc.value is not None]
            upper.plot(
                places,
                [row.auroc.value for _, row in ordered if row.auroc.value is not None],
                color=ACCENT,
                linewidth=1.1,
                marker="o",
                markersize=3.2,
                clip_on=False,
            )
            for place, row in ordered:
                if row.auroc.low is not None and row.auroc.high is not None:
                    upper.vlines(place, row.auroc.low, row.auroc.high, color=ACCENT, linewidth=0.8)
            if plain.auroc.value is not None:
                upper.axhline(plain.auroc.value, color=QUIET, linewidth=0.6, linestyle=(0, (1, 2)))
            changed = [0.0 if row is plain else 100 * (row.flipped or 0.0) for _, row in ordered]
            lower.plot([p for p, _ in ordered], changed, color=ACCENT, linewidth=1.1, marker="o", markersize=3.2)
            refused = [0.0 if row is plain else 100 * (row.refused or 0.0) for _, row in ordered]
            lower.plot(
                [p for p, _ in ordered], refused, color=QUIET, linewidth=1.1, linestyle=DASHES[1], marker="s",
                markersize=2.6,
            )  # fmt: skip
            lower.set_xlabel(label)
            for axes in (upper, lower):
                axes.axvline(origin, color=INK, linewidth=0.6, linestyle=(0, (1, 2)))
                axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
            upper.tick_params(labelbottom=False)
        panels[0, 0].set_ylabel("AUROC")
        panels[0, 0].set_ylim(max(0.0, min([*lows, *known, 0.9]) - 0.02), 1.005)
        panels[1, 0].set_ylabel("Images, %")
        panels[1, 0].set_ylim(bottom=0)
        handles = [
            mpl.lines.Line2D([], [], color=ACCENT, marker="o", markersize=3.2, label="call changed"),
            mpl.lines.Line2D(
                [],
                [],
                color=QUIET,
                marker="s",
                markersize=2.6,
                linestyle=DASHES[1],
                label="refused by the quality gate",
            ),
        ]
        figure.legend(handles=handles, loc="outside lower right", ncols=2)
        figure.align_ylabels()
        return saved(figure, form)


def map_curves_figure(curves: MapCurves, width_mm: float = 84.0, form: Form = "page") -> bytes:
    """Deletion and insertion of the maps, beside maps that know nothing."""
    with mpl.rc_context(style()):
        figure = sized(width_mm, width_mm * 0.66)
        for axes, name, own, chance in zip(
            figure.subplots(1, 2, sharey=True),
            ("Taken away", "Brought back"),
            (curves.deletion, curves.insertion),
            (curves.deletion_chance, curves.insertion_chance),
            strict=True,
        ):
            axes.plot(curves.shares, own, color=ACCENT, linewidth=1.3, label="the maps")
            axes.plot(curves.shares, chance, color=QUIET, linewidth=1.1, linestyle=DASHES[1], label="no knowledge")
            axes.set(xlabel=f"{name}, share", xlim=(0, 1), ylim=(0, 1.005))
        figure.axes[0].set_ylabel("Mean score")
        # A legend of the figure: one of the axes would make them narrower.
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
        return saved(figure, form)


def probes_figure(probes: Probes, width_mm: float = 84.0, form: Form = "page") -> bytes:
    """Mean score while patches are dropped, and while they change places."""
    with mpl.rc_context(style()):
        figure, _ = wide(width_mm)
        figure.clear()
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        lines = (("random", probes.random, QUIET), ("salient", probes.salient, ACCENT))
        for (name, values, colour), dash in zip((*lines, ("other", probes.non_salient, INK)), DASHES, strict=False):
            left.plot(probes.shares, values, color=colour, linewidth=1.2, linestyle=dash, marker="o", markersize=3,
                      label=name)  # fmt: skip
        left.set(xlabel="Patches dropped, share", ylabel="Mean score", ylim=(0, 1.005))
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper left", ncols=3)
        steps = np.arange(len(probes.grids))
        right.plot(steps, probes.shuffled, color=ACCENT, linewidth=1.2, marker="o", markersize=3)
        right.set_xticks(steps, [str(grid) for grid in probes.grids])
        right.set(xlabel="Patches along an edge")
        return saved(figure, form)
