"""The figures of the validation report: vector drawings made by matplotlib from arrays.

One accent colour and greys; lines differ by dash and marker too, so that nothing rests on colour. Sizes are
in millimetres of the page, and type is the document's. Each function gives an SVG, with equal bytes for equal
input: SVG for the page, where type is the document's, or a file of its own for papers and slides.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.fonts import font_files

if TYPE_CHECKING:
    from reports.sections import (
        CalibrationResult,
        PrevalenceCurve,
        RocCurve,
        ScoreDistribution,
    )
    from reports.sections_evidence import DecisionCurve, DeferralCurve

Form = Literal["page", "svg", "png", "pdf"]
"""`page`: SVG with type left to the document; the others stand alone."""

ACCENT = "#0b4f6c"
INK = "#1c2429"
QUIET = "#55626b"
TINT = "#b9d0db"
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (8, 3)))
ABOVE: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "ncols": 3, "columnspacing": 1.2}
"""A legend above the axes, where no curve can run through it."""

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": ["Source Sans Pro", "DejaVu Sans"],
    "font.size": 8,
    "hatch.linewidth": 0.6,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "svg.hashsalt": "msht",
    "xtick.color": QUIET,
    "xtick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.color": QUIET,
    "ytick.labelsize": 7.5,
    "ytick.major.width": 0.6,
}


def roc_figure(curves: Sequence[RocCurve], width_mm: float = 84.0, form: Form = "page") -> bytes:
    """ROC curves of one level, with the operating points."""
    with mpl.rc_context(style()):
        figure, axes = _square(width_mm)
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.6, linestyle=(0, (1, 3)))
        for curve, dash in zip(curves, _cycle(len(curves)), strict=True):
            x, y = _thinned(curve.false_positive_rate, curve.sensitivity)
            colour = ACCENT if dash == "solid" else QUIET
            area = "" if curve.auroc.value is None else f", AUROC {curve.auroc.value:.3f}"
            axes.plot(x, y, color=colour, linewidth=1.3, linestyle=dash, label=f"{curve.name}{area}")
            if curve.operating_point is not None:
                axes.plot(*curve.operating_point, marker="o", markersize=4.5, color=colour, clip_on=False)
        axes.set(xlabel="1 − specificity", ylabel="Sensitivity", xlim=(0, 1), ylim=(0, 1.005))
        axes.legend(loc="lower right")
        return saved(figure, form)


def reliability_figure(result: CalibrationResult, width_mm: float = 84.0, form: Form = "page") -> bytes:
    """Observed share of positives over predicted probability, above the number in each bin."""
    with mpl.rc_context(style()):
        figure = sized(width_mm, width_mm * 1.05)
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1), gridspec_kw={"hspace": 0.12})
        predicted, observed = np.asarray(result.predicted), np.asarray(result.observed)
        axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.6, linestyle=(0, (1, 3)))
        if result.observed_low and result.observed_high:
            axes.vlines(predicted, result.observed_low, result.observed_high, color=ACCENT, linewidth=0.9)
        axes.plot(predicted, observed, color=ACCENT, linewidth=1.0, marker="o", markersize=4, clip_on=False)
        axes.set(ylabel="Observed share of positives", xlim=(0, 1), ylim=(0, 1))
        below.bar(predicted, result.bin_counts, width=0.025, color=ACCENT)
        below.set(xlabel="Predicted probability", ylabel="n")
        below.yaxis.set_major_locator(mpl.ticker.MaxNLocator(2, integer=True))
        figure.align_ylabels()
        return saved(figure, form)


def prevalence_figure(curve: PrevalenceCurve, width_mm: float = 84.0, form: Form = "page") -> bytes:
    """PPV and NPV over prevalence, with the cohort's own prevalence marked."""
    with mpl.rc_context(style()):
        figure, axes = wide(width_mm)
        axes.plot(curve.prevalence, curve.ppv, color=ACCENT, linewidth=1.3, label="PPV")
        axes.plot(curve.prevalence, curve.npv, color=QUIET, linewidth=1.3, linestyle=DASHES[1], label="NPV")
        axes.axvline(curve.cohort_prevalence, color=INK, linewidth=0.7, linestyle=(0, (1, 2)))
        axes.annotate(
            f"this cohort, {100 * curve.cohort_prevalence:.0f} %",
            (curve.cohort_prevalence, 0.04),
            xytext=(3, 0),
            textcoords="offset points",
            fontsize=7.5,
            color=INK,
        )
        if curve.local_prevalence is not None:
            axes.axvline(curve.local_prevalence, color=ACCENT, linewidth=1.0, linestyle=DASHES[1])
            axes.annotate(
                f"chosen, {100 * curve.local_prevalence:.0f} %",
                (curve.local_prevalence, 0.12),
                xytext=(3, 0),
                textcoords="offset points",
                fontsize=7.5,
                color=ACCENT,
            )
        axes.set(xlabel="Prevalence", ylabel="Predictive value", xlim=(0, 1), ylim=(0, 1.005))
        axes.legend(**ABOVE)
        return saved(figure, form)


def distribution_figure(scores: ScoreDistribution, width_mm: float = 84.0, form: Form = "page") -> bytes:
    """Histograms of the scores by reference label, negatives hatched below the axis, with the threshold."""
    with mpl.rc_context(style()):
        figure, axes = wide(width_mm)
        edges = np.linspace(0, 1, 26)
        up, _ = np.histogram(scores.positive, edges)
        down, _ = np.histogram(scores.negative, edges)
        positives = f"Positive (n = {len(scores.positive):,})"
        negatives = f"Negative (n = {len(scores.negative):,})"
        axes.bar(edges[:-1], up, width=0.04, align="edge", color=ACCENT, edgecolor="white", label=positives)
        axes.bar(
            edges[:-1], -down, width=0.04, align="edge", color="white", edgecolor=QUIET, hatch="//////",
            linewidth=0.6, label=negatives,
        )  # fmt: skip
        axes.axhline(0, color=INK, linewidth=0.6)
        axes.axvline(scores.threshold, color=INK, linewidth=1.0, linestyle=DASHES[1])
        top = max(int(up.max(initial=1)), int(down.max(initial=1))) * 1.15
        axes.annotate(
            f"threshold {scores.threshold:.2f}", (scores.threshold, top), xytext=(3, -7),
            textcoords="offset points", fontsize=7.5, color=INK,
        )  # fmt: skip
        axes.set(xlabel="Calibrated score", ylabel="Number", xlim=(0, 1), ylim=(-top, top))
        axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(5, integer=True))
        axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):.0f}")
        axes.legend(**ABOVE)
        return saved(figure, form)


def decision_figure(curve: DecisionCurve, width_mm: float = 84.0, form: Form = "page") -> bytes:
    """Net benefit over threshold probability: the model, everyone, no one."""
    with mpl.rc_context(style()):
        figure, axes = wide(width_mm)
        axes.plot(curve.threshold, curve.model, color=ACCENT, linewidth=1.3, label="Model")
        axes.plot(
            curve.threshold,
            curve.treat_all,
            color=QUIET,
            linewidth=1.1,
            linestyle=DASHES[1],
            label="All positive",
        )
        axes.axhline(0, color=INK, linewidth=0.8, linestyle=DASHES[2], label="None positive")
        top = max(max(curve.model), 0.05)
        axes.set(xlabel="Threshold probability", ylabel="Net benefit", ylim=(-0.25 * top, 1.08 * top))
        axes.legend(**ABOVE)
        return saved(figure, form)


def deferral_figure(curve: DeferralCurve, width_mm: float = 84.0, form: Form = "page") -> bytes:
    """Error among the cases kept over the share referred."""
    with mpl.rc_context(style()):
        figure, axes = wide(width_mm)
        # The error stays until the next row is referred: steps, and no slope between them.
        axes.plot(curve.deferred, curve.error, color=ACCENT, linewidth=1.3, drawstyle="steps-post")
        axes.set(xlabel=f"Share of {curve.level}s referred", ylabel="Error among the rest", xlim=(0, 1))
        axes.set_ylim(bottom=0)
        return saved(figure, form)


@functools.cache
def _register_fonts() -> None:
    for path in font_files():
        font_manager.fontManager.addfont(path)


def style() -> dict[Any, Any]:
    """Settings of matplotlib for every figure, with the document's fonts registered."""
    _register_fonts()
    return _STYLE


def sized(width_mm: float, height_mm: float) -> Figure:
    """An empty figure of this size on the page."""
    return Figure(figsize=(width_mm / 25.4, height_mm / 25.4), layout="constrained")


def _square(width_mm: float) -> tuple[Figure, Axes]:
    figure = sized(width_mm, width_mm * 0.92)
    axes = figure.subplots()
    axes.set_aspect("equal")
    return figure, axes


def wide(width_mm: float) -> tuple[Figure, Axes]:
    """A figure wider than high, with one pair of axes."""
    figure = sized(width_mm, width_mm * 0.66)
    return figure, figure.subplots()


def _cycle(number: int) -> list[Any]:
    return [DASHES[index % len(DASHES)] for index in range(number)]


def _thinned(x: Sequence[float], y: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Drop points that fall on the same thousandth: a curve of 10,000 rows is drawn no better with all."""
    points = np.column_stack([x, y])
    keep = np.ones(len(points), dtype=bool)
    keep[1:-1] = (np.diff(np.round(points, 3), axis=0)[:-1] != 0).any(axis=1)
    return points[keep, 0], points[keep, 1]


def saved(figure: Figure, form: Form) -> bytes:
    """The bytes of a figure; equal figures give equal bytes."""
    stream = io.BytesIO()
    if form == "png":
        figure.savefig(stream, format="png", dpi=300, metadata={"Software": None})
    elif form == "pdf":
        figure.savefig(stream, format="pdf", metadata={"CreationDate": None, "Producer": None, "Creator": None})
    else:
        with mpl.rc_context({"svg.fonttype": "none" if form == "page" else "path"}):
            figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()
