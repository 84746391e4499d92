"""A comparison as people read it: Markdown, CSV, JSON, and rows for the validation report."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from msht.errors import InvalidInput
from msht.files import read_json, write_json, write_text
from pipelines.compare_figures import LEVEL, MEASURES, PLAIN
from reports.parts import Estimate
from reports.sections import Comparison

JSON, MARKDOWN, TABLE, TESTS = "comparison.json", "comparison.md", "comparison.csv", "comparison_tests.csv"
NAMES = {
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
    "balanced_accuracy": "balanced accuracy",
    "auroc": "AUROC",
}
WITH_INTERVAL = ("auroc", "accuracy", "balanced_accuracy", "sensitivity", "specificity")
"""Measures of the test tables that carry their interval; all are in the CSV and JSON files."""


def write_comparison(comparison: dict[str, Any], out: Path) -> list[Path]:
    """Write every file of a comparison.

    Args:
        comparison: what `comparison.json` is to hold.
        out: folder.

    Returns:
        The files.
    """
    write_json(out / JSON, comparison)
    write_text(out / MARKDOWN, as_markdown(comparison))
    write_text(out / TABLE, _as_csv(_wide_rows(comparison)))
    write_text(out / TESTS, _as_csv(comparison["tests"]))
    return [out / name for name in (JSON, MARKDOWN, TABLE, TESTS)]


def as_markdown(comparison: dict[str, Any]) -> str:
    """The comparison as a document."""
    held_out = comparison["folds"]
    unit = comparison["unit"]
    count = f"{held_out['images']} images of {held_out['groups']} {unit}"
    lines: list[str] = ["# Comparison of models on the same folds", "", *comparison["verdict"], ""]
    for title, key, threshold in (
        (f"at {PLAIN} on the calibrated probability, as in the paper", "plain", ""),
        ("at each model's own operating point", "operating_point", "field_threshold"),
    ):
        lines += [
            f"## Held-out folds, by image, {title}",
            "",
            f"Mean ± SD over {comparison['fold_count']} folds, in percent; each fold's network on the images that it "
            f"did not train on ({count}).",
            *(
                ["The operating points were chosen on these same images: figures here are a little too good."]
                if threshold
                else []
            ),
            "",
            *_fold_table(comparison, held_out["models"], key, threshold),
            "",
        ]
    if comparison["networks_on_test"]:
        lines += [
            f"## Test set, by image, each fold's network alone, at {PLAIN}",
            "",
            "Mean ± SD over the networks of the folds, in percent: the form of the paper's table.",
            "",
            *_fold_table(comparison, {n: {"plain": m} for n, m in comparison["networks_on_test"].items()}, "plain", ""),
            "",
        ]
    lines += _section("Held-out folds, by case, all folds together", comparison["held_out_cases"], "case", comparison)
    for level in ("field", "case"):
        title = f"Test set, by {'image' if level == 'field' else 'case'}, all folds' networks together"
        lines += _section(title, comparison["test"][level], level, comparison)
    lines += ["## Paired tests against the reference", "", *_test_table(comparison, unit), ""]
    lines += ["## What each model costs", "", *_cost_table(comparison), ""]
    lines += ["## What to mind", "", *(f"- {note}" for note in comparison["notes"]), ""]
    if comparison["failed"]:
        lines += ["## Models that failed", "", *(f"- {n}: {why}" for n, why in comparison["failed"].items()), ""]
    lines += [f"Split {comparison['split_digest'][:12]}; {comparison['software']}, {comparison['created']}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def comparisons_for_report(folder: Path, fitted_digest: str) -> tuple[Comparison, ...]:
    """The rows of a comparison that are about one run, as the validation report prints them.

    Args:
        folder: written by `msht compare`.
        fitted_digest: of the run, which the comparison recorded.

    Raises:
        InvalidInput: if the folder holds no comparison, or none with this run as it is now.
    """
    comparison = read_json(folder / JSON, what="comparison of models")
    ours = next((m["name"] for m in comparison["models"] if m["fitted_digest"] == fitted_digest), None)
    if ours is None:
        raise InvalidInput(
            f"{folder / JSON} compares other models, or this run was trained or calibrated again since.",
            "Compare again with `msht compare --runs`.",
        )
    reference = comparison["reference"]
    rows = []
    for row in comparison["tests"]:
        if ours not in (reference, row["against"]):
            continue
        sign = 1 if ours == reference else -1
        bounds = sorted(sign * row[name] for name in ("low", "high")) if row["low"] is not None else [None, None]
        words = "by case" if row["level"] == "case" else "by image"
        where = "test" if row["role"] == "test" else "held-out folds"
        rows.append(
            Comparison(
                against=row["against"] if sign == 1 else reference,
                measure=f"{NAMES[row['measure']]} {words}, {where}",
                difference=Estimate(
                    value=None if row["difference"] is None else sign * row["difference"],
                    low=bounds[0],
                    high=bounds[1],
                ),
                p_value=row["p_holm"],
                test=f"{row['test']}; {row['units']} {comparison['unit']}; Holm over the models",
            )
        )
    return tuple(rows)


def verdict(comparison: dict[str, Any]) -> list[str]:
    """Who wins, in sentences, from the tests and not from the order of the means."""
    on_test = comparison["test"]["field"] is not None
    if on_test:
        test = comparison["test"]["field"]
        areas = {name: m["plain"]["estimates"]["auroc"]["value"] for name, m in test["models"].items()}
        where = f"On the test set ({test['rows']} images of {test['groups']} {comparison['unit']})"
    else:
        held_out = comparison["folds"]
        areas = {name: m["plain"]["auroc"]["mean"] for name, m in held_out["models"].items()}
        where = (
            f"On the held-out folds ({held_out['images']} images of {held_out['groups']} {comparison['unit']}; the "
            "test set is closed)"
        )
    known = {name: value for name, value in areas.items() if value is not None}
    if not known:
        return [f"{where} no AUROC can be computed, so nothing is said about who wins."]
    best = max(known, key=lambda name: known[name])
    reference = comparison["reference"]
    sentences = [f"{where} **{best}** has the highest AUROC by image, {known[best]:.3f}."]
    if best != reference and reference in known:
        sentences[0] = f"{sentences[0][:-1]}; the reference {reference} has {known[reference]:.3f}."
    rows = [
        row
        for row in comparison["tests"]
        if row["role"] == ("test" if on_test else "out-of-fold") and row["level"] == "field"
    ]
    if not rows:
        return [*sentences, "No test was made, so this order may be chance."]
    alike: dict[str, list[str]] = {}
    for measure in dict.fromkeys(row["measure"] for row in rows):
        words = _of_measure([row for row in rows if row["measure"] == measure], reference)
        alike.setdefault(words, []).append(NAMES[measure])
    sentences += [f"In {', '.join(names)} {words}" for words, names in alike.items()]
    return [" ".join(sentences)]


def _of_measure(rows: list[dict[str, Any]], reference: str) -> str:
    sure = [row for row in rows if row["p_holm"] is not None and row["p_holm"] <= LEVEL]
    unknown = [row["against"] for row in rows if row["p_holm"] is None]
    missing = f" No test was possible against {', '.join(unknown)}." if unknown else ""
    if not sure:
        return (
            f"{'no model' if len(rows) > 1 else rows[0]['against'] + ' neither leads nor'} "
            f"{'differs from' if len(rows) > 1 else 'trails'} {reference} beyond chance "
            f"(Holm-corrected p above {LEVEL}); that is no proof that they are equal.{missing}"
        )
    parts = []
    for word, sign in (("worse", 1), ("better", -1)):
        named = [f"{row['against']} (p {_p(row['p_holm'])})" for row in sure if sign * row["difference"] > 0]
        if named:
            parts.append(f"{', '.join(named)} {'is' if len(named) == 1 else 'are'} {word} than {reference}")
    rest = "" if len(sure) == len(rows) else "; the others do not differ from it beyond chance"
    return f"{' and '.join(parts)}{rest}.{missing}"


def _fold_table(comparison: dict[str, Any], models: dict[str, Any], key: str, threshold: str) -> list[str]:
    head = ["model", *(["threshold"] if threshold else []), *(NAMES[m] for m in MEASURES)]
    lines = [_line(head), _rule(len(head), 1)]
    for model in comparison["models"]:
        if model["name"] not in models:
            continue
        found = models[model["name"]][key]
        cells = [f"{model[threshold]:.3f}"] if threshold else []
        cells += [_percent(found[measure]["mean"], found[measure]["sd"]) for measure in MEASURES]
        lines.append(_line([_called(model["name"], comparison), *cells]))
    return lines


def _section(title: str, data: dict[str, Any] | None, level: str, comparison: dict[str, Any]) -> list[str]:
    """Figures with intervals: by image at both thresholds, by case at the operating point."""
    if data is None:
        return []
    rows, unit = "images" if level == "field" else "cases", comparison["unit"]
    lines = [
        f"## {title}",
        "",
        f"{data['rows']} {rows} ({data['positive']} positive) of {data['groups']} {unit}; 95 % intervals that respect "
        f"the {unit}.",
    ]
    for key in ["plain", "operating_point"] if level == "field" else ["operating_point"]:
        at = f"at {PLAIN}" if key == "plain" else "at each model's operating point"
        head = ["model", "threshold", *(NAMES[m] for m in WITH_INTERVAL), "PPV", "NPV", "F1"]
        lines += ["", f"Calls {at}:", "", _line(head), _rule(len(head), 1)]
        for name, found in data["models"].items():
            figures = found[key]["estimates"]
            cells = [_interval(figures[m]) for m in WITH_INTERVAL] + [_value(figures[m]) for m in ("ppv", "npv", "f1")]
            lines.append(_line([_called(name, comparison), f"{found[key]['threshold']:.3f}", *cells]))
    return [*lines, ""]


def _test_table(comparison: dict[str, Any], unit: str) -> list[str]:
    if not comparison["tests"]:
        return ["None: there is no finished reference with another finished model beside it."]
    head = ["against", "data", "measure", "threshold", "difference (95 % interval)", "p", "p (Holm)", unit, "test"]
    lines = [
        f"Reference: **{comparison['reference']}**. Difference = reference less the other: above zero, the reference "
        "is ahead. Holm's correction is over the models, for each measure.",
        "",
        _line(head),
        "|---|---|---|---|---:|---:|---:|---:|---|",
    ]
    for row in comparison["tests"]:
        words = "images" if row["level"] == "field" else "cases"
        difference = {"value": row["difference"], "low": row["low"], "high": row["high"]}
        lines.append(
            _line(
                [
                    row["against"],
                    f"{row['role']}, {words}",
                    NAMES[row["measure"]],
                    row["threshold"] or "none",
                    _interval(difference, signed=True),
                    _p(row["p_value"]),
                    _p(row["p_holm"]),
                    str(row["units"]),
                    row["test"],
                ]
            )
        )
    return lines


def _cost_table(comparison: dict[str, Any]) -> list[str]:
    head = ["model", "network", "px", "M parameters", "GMAC an image", "training, min", "device", "MB, all folds"]
    lines = [_line(head), _rule(len(head), 2)]
    for model in comparison["models"]:
        known = model["parameters"] is not None
        lines.append(
            _line(
                [
                    _called(model["name"], comparison),
                    model["network"],
                    str(model["size"]),
                    f"{model['parameters'] / 1e6:.2f}" if known else "unknown",
                    f"{model['gmacs']:.3f}" if known else "unknown",
                    f"{model['seconds'] / 60:.1f}",
                    model["device"],
                    f"{model['megabytes']:.1f}",
                ]
            )
        )
    return lines


def _wide_rows(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """A row per model with every figure in a column of its own."""
    rows = []
    for model in comparison["models"]:
        name = model["name"]
        row = {key: value for key, value in model.items() if key not in {"fitted_digest", "opened"}}
        row["reference"] = name == comparison["reference"]
        for key, found in comparison["folds"]["models"][name].items():
            for measure in MEASURES:
                for part in ("mean", "sd"):
                    row[f"folds_{key}_{measure}_{part}"] = found[measure][part]
        sections = {f"test_{level}": test for level, test in comparison["test"].items()}
        for level, test in {**sections, "held_out_case": comparison["held_out_cases"]}.items():
            for key, found in (test["models"][name] if test else {}).items():
                for measure, estimate in found["estimates"].items():
                    for part in ("value", "low", "high"):
                        row[f"{level}_{key}_{measure}_{part}"] = estimate[part]
        for measure, found in ((comparison["networks_on_test"] or {}).get(name) or {}).items():
            row.update({f"networks_on_test_{measure}_{part}": found[part] for part in ("mean", "sd")})
        rows.append(row)
    return rows


def _as_csv(rows: list[dict[str, Any]]) -> str:
    stream = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(stream, names or ["model"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _called(name: str, comparison: dict[str, Any]) -> str:
    return f"**{name}** (reference)" if name == comparison["reference"] else name


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(columns: int, left: int) -> str:
    return "|" + "---|" * left + "---:|" * (columns - left)


def _percent(mean: float | None, sd: float | None) -> str:
    if mean is None:
        return "not defined"
    return f"{100 * mean:.2f} ± {100 * sd:.2f}" if sd is not None else f"{100 * mean:.2f}"


def _value(estimate: dict[str, Any]) -> str:
    return "not defined" if estimate["value"] is None else f"{estimate['value']:.3f}"


def _interval(estimate: dict[str, Any], *, signed: bool = False) -> str:
    if estimate["value"] is None:
        return "not defined"
    form = "+.3f" if signed else ".3f"
    if estimate["low"] is None:
        return f"{estimate['value']:{form}} (no interval)"
    return f"{estimate['value']:{form}} ({estimate['low']:{form}} to {estimate['high']:{form}})"


def _p(value: float | None) -> str:
    if value is None:
        return "none"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
