"""Do the intervals cover what they say, and how fast are they?

`python -m benchmarks.statistics [--repeats 2000] [--jobs 2] [--out benchmarks/results/statistics.md]`

Cohorts are drawn with a patient effect: score = separation * label + Normal(0, effect) of the patient +
Normal(0, 1) of the row. Sensitivity, specificity and AUROC of such a population are known in closed form, so
coverage is the share of the repeats whose interval holds the true value. At 2,000 repeats its own standard
error is 0.5 points: a cell may lie a point from its expectation by chance.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import norm

from msht.calibration.conformal import conformal_quantile, conformal_sets, mondrian_quantiles
from msht.calibration.operating_point import threshold_for_sensitivity
from msht.calibration.venn_abers import VennAbers
from msht.statistics.bootstrap import (
    Method,
    Scale,
    bootstrap_values,
    clustered_bootstrap,
    clustered_jackknife,
    confusion_statistic,
    interval_of_values,
    ranking_statistic,
)
from msht.statistics.intervals import Interval, delong_interval, newcombe_auroc_interval
from msht.statistics.summary import measure_scale, summarise

SEPARATION = 2.5
THRESHOLD = 1.0
MEASURES = ("sensitivity", "specificity", "accuracy", "auroc")
RATIO_COLUMNS = (2, 3, 0)


@dataclass(frozen=True)
class Cohort:
    """One draw: labels, scores and patients, (N,) each."""

    labels: np.ndarray
    scores: np.ndarray
    patients: np.ndarray


def draw(random: np.random.Generator, patients: int, effect: float, by_patient: bool) -> Cohort:
    """Draw a cohort of 5 to 40 rows a patient; labels mixed within patients, or one for each patient."""
    size = random.integers(5, 41, patients)
    patient = np.repeat(np.arange(patients), size)
    if by_patient:
        labels = np.repeat((random.random(patients) < 0.5).astype(int), size)
    else:
        labels = (random.random(len(patient)) < 0.4).astype(int)
    scores = SEPARATION * labels + random.normal(0, effect, patients)[patient] + random.normal(size=len(patient))
    return Cohort(labels, scores, patient)


def truth(effect: float, by_patient: bool) -> np.ndarray:
    """Sensitivity, specificity, accuracy and AUROC of the population."""
    spread = math.sqrt(1 + effect**2)
    sensitivity = norm.cdf((SEPARATION - THRESHOLD) / spread)
    specificity = norm.cdf(THRESHOLD / spread)
    share = 0.5 if by_patient else 0.4
    area = norm.cdf(SEPARATION / (spread * math.sqrt(2)))
    return np.array([sensitivity, specificity, share * sensitivity + (1 - share) * specificity, area])


def behind(name: str, cohort: Cohort, groups: np.ndarray) -> Scale:
    """Range of a measure and the effective patients behind it."""
    return measure_scale(name, cohort.labels, (cohort.scores >= THRESHOLD).astype(int), groups)


@dataclass(frozen=True)
class Setting:
    """Cohorts to draw, and how many for either kind of interval."""

    by_patient: bool
    patients: int
    correlation: float
    """Intraclass correlation of the scores of one class."""
    repeats: int
    """Cohorts for the jackknife."""
    bootstraps: int
    """Cohorts, the first of them, for the methods that resample."""
    resamples: int


def coverage(setting: Setting) -> dict[str, np.ndarray]:
    """By method: share of the repeats whose interval holds the truth, and lies wholly below it, by measure (2, 4)."""
    effect = math.sqrt(setting.correlation / (1 - setting.correlation))
    random = np.random.default_rng([setting.patients, int(100 * setting.correlation), setting.by_patient])
    true = truth(effect, setting.by_patient)
    held: dict[str, list[list[list[bool]]]] = {}

    def note(method: str, intervals: Sequence[Interval]) -> None:
        # A sensitivity without any error among its patients gets Wilson's interval in `summarise`; it holds.
        pairs = [(i, value) for i, value in zip(intervals, true, strict=True)]
        inside = [i.low <= value <= i.high or (i.known and i.high - i.low < 1e-12) for i, value in pairs]
        held.setdefault(method, []).append([inside, [i.high < value for i, value in pairs]])

    for repeat in range(setting.repeats):
        cohort = draw(random, setting.patients, effect, setting.by_patient)
        for kind in ("patients", "rows") if repeat < setting.bootstraps else ("patients",):
            groups = cohort.patients if kind == "patients" else np.arange(len(cohort.labels))
            count = int(groups.max()) + 1
            ratios = confusion_statistic(cohort.labels, (cohort.scores >= THRESHOLD) * 1, groups, count)
            ranking = ranking_statistic(cohort.labels, cohort.scores, groups, count)

            def statistic(weights: np.ndarray, ratios=ratios, ranking=ranking) -> np.ndarray:
                return np.column_stack([ratios(weights)[:, RATIO_COLUMNS], ranking(weights)[:, :1]])

            scales = [behind(name, cohort, groups) for name in MEASURES]
            if kind == "patients":
                note("patients, jackknife t", clustered_jackknife(statistic, count, scales))
            if repeat >= setting.bootstraps:
                continue
            values = bootstrap_values(statistic, count, resamples=setting.resamples, seed=repeat)
            methods: tuple[Method, ...] = ("t", "percentile", "bca") if kind == "patients" else ("percentile",)
            for how in methods:
                name = f"patients, bootstrap {how}" if kind == "patients" else "rows resampled (wrong)"
                note(name, interval_of_values(statistic, values, count, scales, method=how))
    return {method: np.mean(rows, axis=0) for method, rows in held.items()}


def delong_coverage(separation: float, size: int, repeats: int, seed: int) -> tuple[float, float, float]:
    """Coverage for independent rows: DeLong on the logit scale, DeLong on its own, Newcombe."""
    random = np.random.default_rng(seed)
    area = norm.cdf(separation / math.sqrt(2))
    labels = np.repeat([0, 1], [size, size])
    held = []
    for _ in range(repeats):
        scores = random.normal(size=2 * size) + separation * labels
        intervals = [delong_interval(labels, scores), delong_interval(labels, scores, scale="linear")]
        positive, negative = scores[size:], scores[:size]
        seen = float((positive[:, None] > negative[None, :]).mean())
        intervals.append(newcombe_auroc_interval(seen, size, size))
        held.append([i.low <= area <= i.high for i in intervals])
    logit, linear, newcombe = np.mean(held, axis=0)
    return float(logit), float(linear), float(newcombe)


def guarantees(cases: int, repeats: int, seed: int) -> dict[str, float]:
    """Mean coverage on new cases of what the calibration room promises at 90 % and 95 %."""
    random = np.random.default_rng(seed)
    seen: dict[str, list[float]] = {name: [] for name in ("marginal", "negative", "positive", "sensitivity")}
    for _ in range(repeats):
        labels = (random.random(cases + 2000) < 0.4).astype(int)
        p = 1 / (1 + np.exp(-(random.normal(size=len(labels)) * 2 + 3 * labels - 2)))
        y, new_y, old, new = labels[:cases], labels[cases:], p[:cases], p[cases:]
        if y.sum() < 1:
            continue
        rows = np.arange(len(new_y))
        seen["marginal"].append(conformal_sets(new, conformal_quantile(y, old, 0.1))[rows, new_y].mean())
        inside = conformal_sets(new, mondrian_quantiles(y, old, 0.1))[rows, new_y]
        seen["negative"].append(inside[new_y == 0].mean())
        seen["positive"].append(inside[new_y == 1].mean())
        point = threshold_for_sensitivity(y, old, 0.95)
        if point.guaranteed:
            seen["sensitivity"].append((new[new_y == 1] >= point.threshold).mean())
    return {name: float(np.mean(values)) if values else math.nan for name, values in seen.items()}


def seconds(repeats: int = 3) -> list[tuple[str, float]]:
    """Processor time of the costly calls, the best of a few."""
    random = np.random.default_rng(0)
    labels, groups = random.integers(0, 2, 10_000), random.integers(0, 200, 10_000)
    scores = random.random(10_000)
    calls = (scores > 0.5) * 1
    ranking = ranking_statistic(labels, scores, groups, 200)
    ratios = confusion_statistic(labels, calls, groups, 200)
    work = {
        "AUROC and AUPRC, 10,000 resamples of 10,000 rows of 200 patients": lambda: clustered_bootstrap(
            ranking, 200, resamples=10_000
        ),
        "nine ratios of the 2 x 2 table, same": lambda: clustered_bootstrap(ratios, 200, resamples=10_000),
        "`summarise`, 2,900 rows of 106 patients": lambda: summarise(
            labels[:2900], scores[:2900], threshold=0.5, groups=groups[:2900] % 106
        ),
        "Venn-Abers fitted to 10,000 rows": lambda: VennAbers().fit(scores, labels),
    }
    best = []
    for name, call in work.items():
        times = []
        for _ in range(repeats):
            start = time.process_time()
            call()
            times.append(time.process_time() - start)
        best.append((name, min(times)))
    return best


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def report(repeats: int, bootstraps: int, resamples: int, jobs: int) -> str:
    """Run everything and write it up."""
    settings = [
        Setting(by_patient, patients, correlation, repeats, bootstraps if correlation == 0.3 else 0, resamples)
        for by_patient in (False, True)
        for patients in (24, 50, 100)
        for correlation in (0.1, 0.3, 0.5)
    ]
    with ProcessPoolExecutor(jobs) as pool:
        found = list(pool.map(coverage, settings))
    rows, others = [], []
    for setting, methods in zip(settings, found, strict=True):
        label = "one label a patient" if setting.by_patient else "labels mixed"
        for method, shares in methods.items():
            line = [label, str(setting.patients), f"{setting.correlation:g}"]
            shown = [f"{100 * share:.1f}" for share in shares[0]]
            if method.startswith("patients, jackknife"):
                rows.append([*line, *shown, *(f"{100 * share:.1f}" for share in shares[1])])
            else:
                others.append([label, str(setting.patients), method, *shown])
    chosen = np.array([methods["patients, jackknife t"][0] for methods in found])
    outside = int(((chosen < 0.94) | (chosen > 0.96)).sum())
    error = math.sqrt(0.95 * 0.05 / repeats)
    chance = int(((chosen < 0.94 - 2 * error) | (chosen > 0.96 + 2 * error)).sum())
    summary = (
        f"Mean over the cells {100 * chosen.mean():.1f} %, by measure "
        + ", ".join(f"{name} {100 * mean:.1f}" for name, mean in zip(MEASURES, chosen.mean(axis=0), strict=True))
        + f". Of {chosen.size} cells {outside} lie outside 94 to 96 %, and {chance} by more than two standard errors "
        f"of the simulation ({200 * error:.1f} points)."
    )
    clustered = table(["labels", "patients", "ICC", *MEASURES, *(f"{name} too low" for name in MEASURES)], rows)
    resampled = table(["labels", "patients", "method", *MEASURES], others)
    rows = []
    for separation, size in ((1.0, 30), (2.0, 30), (3.0, 30), (2.0, 150), (3.0, 150)):
        shares = delong_coverage(separation, size, bootstraps, seed=size)
        area = norm.cdf(separation / math.sqrt(2))
        rows.append([f"{area:.3f}", f"{size} + {size}", *(f"{100 * share:.1f}" for share in shares)])
    areas = table(["AUROC", "rows", "DeLong, logit scale", "DeLong, linear", "Newcombe"], rows)
    rows = []
    for cases in (20, 50, 200):
        shares = guarantees(cases, bootstraps, seed=cases)
        rows.append([str(cases), *(f"{100 * share:.1f}" for share in shares.values())])
    promised = table(
        ["cases", "sets, all (90)", "sets, negative (90)", "sets, positive (90)", "sensitivity (95)"], rows
    )
    speed = table(["call", "processor seconds"], [[name, f"{value:.2f}"] for name, value in seconds()])
    return "\n\n".join(
        [
            "# Intervals and guarantees, by simulation",
            f"Written by `python -m benchmarks.statistics --repeats {repeats} --bootstraps {bootstraps} --resamples "
            f"{resamples}`. Coverage in percent; its standard error is {100 * error:.1f} points with {repeats} "
            f"cohorts and {100 * math.sqrt(0.95 * 0.05 / bootstraps):.1f} with {bootstraps}.",
            "## Clustered data, nominal 95 %: the method of `summarise`",
            'Jackknife over patients, t on the logit scale. 5 to 40 rows a patient. "Too low": the whole interval '
            "lies below the truth, nominally 2.5.",
            summary,
            clustered,
            f"## The same by resampling, ICC 0.3, {bootstraps} cohorts",
            resampled,
            "## AUROC of independent rows, nominal 95 %",
            areas,
            "## Promises kept on new cases",
            "Mean over the repeats; each should be at or above the figure in brackets. Sensitivity counts "
            "only repeats with enough positive cases for a guarantee.",
            promised,
            "## Speed, one core",
            speed,
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--bootstraps", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=499)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "statistics.md")
    arguments = parser.parse_args()
    text = report(arguments.repeats, arguments.bootstraps, arguments.resamples, arguments.jobs)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)
