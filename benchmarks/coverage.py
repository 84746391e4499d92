"""Do the promises about cases hold on patients that nothing was fitted on?

`python -m benchmarks.coverage RUN [--networks] [--repeats 200] [--out FILE.md]`

RUN is a finished cross-validation folder; only its stored out-of-fold predictions are read, and `test.csv` where
the test set was opened. A case here is up to five fields of one patient with one label, so that every cohort has
cases of both classes. Patients are dealt into two halves again and again: everything is fitted on one half and
judged on the other. `--networks` also scores the test images with every network on its own, to see how calls of
the mean differ from calls of one network, about which the guarantees are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from msht.calibration.conformal import curve_cuts, mondrian_cuts
from msht.calibration.deferral import confidence_of, deferral_curve, referral_for_error
from msht.calibration.operating_point import threshold_for_sensitivity
from msht.decision_fit import _curve, cross_fitted_curves
from msht.statistics.bootstrap import Scale, clustered_jackknife, effective_groups, mean_statistic
from pipelines.performance import read_predictions

FIELDS = 5
ERROR = 0.1
TARGET = 0.95


def small_cases(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Cases of up to five fields of one patient and one label: mean log-odds, label (0 or 1) and patient."""
    rows = frame.assign(label=(frame["label"] == "positive").astype(int))
    rows = rows.assign(part=rows.groupby(["group", "label"]).cumcount() // FIELDS)
    table = rows.groupby(["group", "label", "part"], as_index=False).agg(logit=(column, "mean"), fold=("fold", "first"))
    return table.rename(columns={"group": "patient"})


def fit(logits: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> dict[str, float | tuple[float, float]]:
    """Cuts of the sets and the threshold, all on the pooled logit."""
    curve = _curve(logits, labels)
    own = np.tile(curve, (len(logits), 1))
    curves = cross_fitted_curves(logits, labels, patients)
    threshold = threshold_for_sensitivity(labels, expit(logits), TARGET, groups=patients).threshold
    return {
        "marginal, curve fitted on the same cases": curve_cuts(logits, labels, own, ERROR),
        "marginal, CV+": curve_cuts(logits, labels, own if curves is None else curves, ERROR),
        "class-wise": mondrian_cuts(logits, labels, ERROR),
        "threshold": float(logit(threshold)),
    }


def judge(cuts: tuple[float, float], logits: np.ndarray, labels: np.ndarray) -> list[float]:
    """Coverage of all, negative and positive cases, and the share of sets with one class."""
    inside = np.column_stack([logits <= cuts[0], logits >= cuts[1]])
    right = inside[np.arange(len(labels)), labels]
    return [right.mean(), right[labels == 0].mean(), right[labels == 1].mean(), (inside.sum(axis=1) == 1).mean()]


def with_interval(right: np.ndarray, patients: np.ndarray) -> str:
    """A share in percent with its 95 % interval over patients."""
    codes, names = pd.factorize(patients)
    scale = Scale(0.0, 1.0, effective_groups(codes, np.ones(len(codes))))
    interval = clustered_jackknife(mean_statistic(right, codes, len(names)), len(names), scale)[0]
    return f"{100 * right.mean():.1f} ({100 * interval.low:.0f} to {100 * interval.high:.0f})"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])


def halves(cases: pd.DataFrame, repeats: int, seed: int = 517) -> str:
    """Fit on half of the patients, judge on the other half, many times."""
    random = np.random.default_rng(seed)
    names = cases["patient"].unique()
    z, y, patients = cases["logit"].to_numpy(), cases["label"].to_numpy(), cases["patient"].to_numpy()
    seen: dict[str, list[list[float]]] = {}
    for _ in range(repeats):
        ours = np.isin(patients, random.permutation(names)[: len(names) // 2])
        fitted = fit(z[ours], y[ours], patients[ours])
        for name, cuts in fitted.items():
            if isinstance(cuts, tuple):
                seen.setdefault(name, []).append(judge(cuts, z[~ours], y[~ours]))
            else:
                sensitivity = [
                    (z[~ours][(y[~ours] == 1) & (patients[~ours] == p)] >= cuts).mean()
                    for p in np.unique(patients[~ours][y[~ours] == 1])
                ]
                seen.setdefault(name, []).append([np.mean(sensitivity), np.nan, np.nan, np.nan])
    rows = []
    for name, values in seen.items():
        mean = np.nanmean(values, axis=0) if name != "threshold" else np.array([np.mean(values, axis=0)[0]])
        low, high = np.quantile(np.array(values)[:, 0], [0.05, 0.95])
        label = f"sensitivity of the threshold for {TARGET:.0%}" if name == "threshold" else f"{name} ({1 - ERROR:.0%})"
        shown = [f"{100 * value:.1f}" for value in mean] + [""] * (4 - len(mean))
        rows.append([label, *shown, f"{100 * low:.0f} to {100 * high:.0f}"])
    return table(["promise", "all", "negative", "positive", "sets of one class", "middle 90 % of the halves"], rows)


def held_out(cases: pd.DataFrame, test: dict[str, pd.DataFrame]) -> str:
    """Fit on all out-of-fold cases, judge on the test patients, by each source of logits."""
    fitted = fit(cases["logit"].to_numpy(), cases["label"].to_numpy(), cases["patient"].to_numpy())
    slope, intercept = _curve(cases["logit"].to_numpy(), cases["label"].to_numpy())
    rows = []
    for source, frame in test.items():
        z, y, patients = (frame[name].to_numpy() for name in ("logit", "label", "patient"))
        cut = float(fitted["threshold"])  # type: ignore[arg-type]
        threshold = float(expit(slope * cut + intercept))
        p = expit(slope * z + intercept)
        called = z >= cut
        sure = confidence_of(p, threshold)
        curve = deferral_curve(y, called, sure)
        shares = [referral_for_error(y, called, sure, error).referred for error in (0.02, 0.05)]
        low, high = fitted["marginal, CV+"]  # type: ignore[misc]
        held = np.where(y == 1, z >= high, z <= low)
        mondrian = judge(fitted["class-wise"], z, y)  # type: ignore[arg-type]
        rows.append(
            [
                source,
                with_interval(called[y == 1], patients[y == 1]),
                with_interval(~called[y == 0], patients[y == 0]),
                with_interval(held, patients),
                f"{100 * mondrian[1]:.1f}",
                f"{100 * mondrian[2]:.1f}",
                f"{100 * mondrian[3]:.1f}",
                f"{curve.area:.4f}",
                *(f"{100 * share:.1f}" for share in shares),
            ]
        )
    head = ["answers of", "sensitivity", "specificity", "CV+ sets hold", "class-wise, negative", "class-wise, positive"]
    return table([*head, "one class", "AURC", "referred for 2 % error", "for 5 %"], rows)


def networks_on_test(run: Path) -> np.ndarray:
    """Calibrated log-odds of every test image by every network, (F, N), kept beside the predictions."""
    kept = run / "test_networks.csv"
    if not kept.is_file():
        from msht.ensemble import Ensemble
        from msht.images.preprocessing import view_of
        from msht.images.reading import read_image
        from pipelines.ensemble import load_fitted
        from pipelines.run_folder import RunFolder

        folder = RunFolder(run)
        split, fitted = folder.split(), load_fitted(folder)
        ensemble = Ensemble(fitted.folds, folder.recipe().preprocessing)
        images = read_predictions(folder.test_file)["image"]
        parts = []
        for start in range(0, len(images), 32):
            views = [
                view_of(read_image(split.root / i).pixels, ensemble.preprocessing) for i in images[start : start + 32]
            ]
            parts.append(logit(np.clip(ensemble.score(np.stack(views)).fold_probabilities, 1e-6, 1 - 1e-6)))
        pd.DataFrame(np.concatenate(parts, axis=1).T).to_csv(kept, index=False)
    return pd.read_csv(kept).to_numpy().T


def simulate(repeats: int, networks: int = 5, cases: int = 100, seed: int = 517) -> str:
    """One network against the mean of five, where the truth is known.

    Each network's field logit is separation * label + patient + field + its own noise; a case is five fields.
    Out of fold every case is scored by one network; a new case by all.
    """
    random = np.random.default_rng(seed)
    rows = []
    for own in (0.5, 1.0, 2.0):
        seen: dict[str, list[list[float]]] = {"one network": [], "mean of five": []}
        for _ in range(repeats):
            count = cases + 1000
            y = np.arange(count) % 2
            shared = 3.0 * y - 1.5 + random.normal(size=count)
            fields = shared[:, None] + random.normal(size=(count, FIELDS))
            each = fields[None] + random.normal(0, own, (networks, count, FIELDS))
            old = each[np.arange(cases) % networks, np.arange(cases)].mean(axis=1)
            fitted = fit(old, y[:cases], np.arange(cases))
            mean = expit(each[:, cases:]).mean(axis=0)
            new = {"one network": each[0, cases:].mean(axis=1), "mean of five": logit(mean).mean(axis=1)}
            for source, z in new.items():
                called = z >= fitted["threshold"]
                marginal, mondrian = (
                    judge(fitted[name], z, y[cases:])  # type: ignore[arg-type]
                    for name in ("marginal, CV+", "class-wise")
                )
                seen[source].append(
                    [called[y[cases:] == 1].mean(), (~called[y[cases:] == 0]).mean(), marginal[0], *mondrian[1:]]
                )
        for source, values in seen.items():
            rows.append([f"{own:g}", source, *(f"{100 * value:.1f}" for value in np.mean(values, axis=0))])
    head = ["own noise of a network", "answers of", "sensitivity (95)", "specificity", "CV+ sets (90)"]
    return table([*head, "class-wise, negative (90)", "class-wise, positive (90)", "one class"], rows)


def report(run: Path, repeats: int, networks: bool) -> str:
    """Run everything and write it up."""
    fields = read_predictions(run / "out_of_fold.csv")
    fields = fields[fields["evaluable"]]
    cases = small_cases(fields, "calibrated_logit")
    text = [
        "# Promises about cases, on patients that nothing was fitted on",
        f"Written by `python -m benchmarks.coverage RUN --repeats {repeats}`: {len(cases)} cases of up to {FIELDS} "
        f"fields of {cases['patient'].nunique()} patients ({int(cases['label'].sum())} positive). Percent.",
        "## Fitted on half of the patients, judged on the other half",
        halves(cases, repeats),
    ]
    if (run / "test.csv").is_file():
        test = read_predictions(run / "test.csv").assign(fold=0)
        sources = {}
        if networks:
            for number, row in enumerate(networks_on_test(run), start=1):
                kept = test.assign(single=row)[test["evaluable"]]
                sources[f"network {number}"] = small_cases(kept, "single")
        sources["the mean of all"] = small_cases(test[test["evaluable"]], "logit")
        last = sources["the mean of all"]
        text += [
            "## Fitted on all out-of-fold cases, judged on the test patients",
            f"{len(last)} cases of {last['patient'].nunique()} patients ({int(last['label'].sum())} positive).",
            held_out(cases, sources),
        ]
    text += ["## One network against the mean of five, simulated", simulate(repeats)]
    return "\n\n".join(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--networks", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "coverage.md")
    arguments = parser.parse_args()
    written = report(arguments.run, arguments.repeats, arguments.networks)
    arguments.out.write_text(written + "\n", encoding="utf-8")
    print(written)
