"""From a `CaseReport` to what `case.typ` prints: every sentence, every figure as text, every length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports import wording
from reports.case_call_view import (
    alerts,
    call_view,
    capped,
    counted_reasons,
    counts_view,
    line,
    reasons_of,
    refer_view,
    scale_view,
    strip_view,
)
from reports.case_maps_view import (
    deciding_view,
    heading_of_deciding,
    heat_map_view,
    not_shown_view,
    slides_view,
    tiles_view,
)
from reports.case_table_view import table_view
from reports.pictures import WHOLE_MM
from reports.words import Words

if TYPE_CHECKING:
    from reports.case import CaseReport
    from reports.parts import Performance

SHOWN_OF_CASE, LONGEST_CASE = 48, 300
"""Characters of a case's id in the head of the page, and where it stands whole."""
FIXED_LIMITS = ("limit_smear", "limit_adequacy", "limit_cohort")
"""Limits that hold for every model of this kind, printed before those of the bundle."""


def view(
    report: CaseReport, words: Words, *, page_1: tuple[float, int, int], page_2: tuple[int, int, int]
) -> dict[str, Any]:
    """Give the data of `case.typ`.

    Args:
        report: the case.
        words: of the language.
        page_1: most millimetres across a crop, most characters of a free text, and most fields shown.
        page_2: most rows of the table of fields, most characters of a free text, and most limits.
    """
    picture_mm, long_1, shown = page_1
    rows, long_2, limits = page_2
    return {
        "words": words.tables["page"],
        "report_id": wording.identifier(report.report_id),
        "case_id": wording.short_name(report.case_id, SHOWN_OF_CASE) or wording.MISSING,
        "created": wording.moment(report.created, words),
        "gap": words["gap"],
        "footer": words.say(
            "footer",
            report=wording.identifier(report.report_id),
            case=wording.short_name(report.case_id, 16) or wording.MISSING,
        ),
        "case_whole": wording.short_name(report.case_id, LONGEST_CASE) if len(report.case_id) > SHOWN_OF_CASE else "",
        "kind": report.call,
        "picture_mm": picture_mm,
        "whole_mm": WHOLE_MM,
        "alerts": alerts(report, words, long_1),
        "evaluable": {"yes": report.call != "not evaluable", "counts": counts_view(report, words, long_1)},
        "call": call_view(report, words),
        "scale": scale_view(report, words),
        "refer": refer_view(report, words, long_1),
        "strip": strip_view(report, words),
        "deciding_heading": heading_of_deciding(report, words),
        "deciding": [
            deciding_view(field, index, report.heat_map.high if report.heat_map else 1.0, words)
            for index, field in enumerate(report.deciding[:shown])
        ],
        "not_shown": not_shown_view(report, words),
        "heat_map": heat_map_view(report, words),
        "tiles": tiles_view(report, words),
        "slides": slides_view(report, words),
        "rejections": _rejections(report, words),
        "rejected_gone": words.say(
            "rejected_gone", fields=words["list"].join(wording.short_name(name, 26) for name in report.rejected_gone)
        )
        if report.rejected_gone
        else "",
        "rejected_pictures": [
            _rejected_picture(report, index, words) for index in range(len(report.rejected_pictures))
        ],
        "overridden": report.operating_point.overridden,
        "performance": [_performance(performance, words) for performance in report.performance[:2]],
        "table": table_view(report, rows, words),
        "rule": _rule(report, long_2, words),
        "entered": [
            {
                "name": wording.one_line(fact.name, 40, words),
                "value": wording.one_line(fact.value, long_2, words),
            }
            for fact in report.entered
        ],
        "model": _model(report, long_2, words),
        "limits": [
            *(words[name] for name in FIXED_LIMITS),
            *capped(report.limits, limits, long_2, words),
        ],
    }


def _rejections(report: CaseReport, words: Words) -> list[list[str]]:
    ranked = counted_reasons(report)
    listed = [[line(why, 120, words), wording.whole(number, words)] for why, number in ranked[:8]]
    if len(ranked) > 8:
        rest = sum(number for _, number in ranked[8:])
        listed.append([words.say("other_reasons"), wording.whole(rest, words)])
    return listed


def _rejected_picture(report: CaseReport, index: int, words: Words) -> dict[str, str]:
    shown = report.rejected_pictures[index]
    row = next(row for row in report.fields if row.name == shown.name)
    name = wording.short_name(shown.name, 26)
    reason = wording.one_line(words["list"].join(words.stored(reason) for reason in reasons_of(row)), 80, words)
    return {
        "picture": f"rejected-{index}.jpg",
        "name": name,
        "reason": reason,
        "alt": words.say("rejected_alt", name=name, reason=reason),
    }


def _performance(performance: Performance, words: Words) -> dict[str, Any]:
    counts = performance.counts
    unit = "case" if performance.level == "case" else "field"
    who = {"patients": wording.whole(performance.patients, words)} if performance.patients else {}
    cohort = words.say(
        f"cohort_{unit}s{'_patients' if who else ''}",
        cohort=line(performance.cohort, 150, words),
        data=words.say("data_test" if performance.role == "test" else "data_out_of_fold"),
        n=wording.whole(counts.n, words),
        prevalence=wording.percent(counts.prevalence, 0, words),
        **who,
    )
    method = line(performance.interval_method, 90, words)
    at = performance.threshold
    return {
        "level": words[f"by_{unit}"],
        "threshold": "" if at is None else words.say("threshold_label", threshold=wording.score(at)),
        "counts": [wording.whole(number, words) for number in (counts.tp, counts.fp, counts.fn, counts.tn)],
        "figures": [
            [words[name], *wording.percent_and_interval(getattr(performance, name), words)]
            for name in ("sensitivity", "specificity", "ppv", "npv")
        ],
        "cohort": words.join(cohort, words.say("sentence", text=method)),
    }


def _rule(report: CaseReport, length: int, words: Words) -> list[str]:
    point, at = report.operating_point, report.field_threshold
    counts = {
        "positive": report.positive_fields,
        "evaluable": report.evaluable_fields,
        "rejected": report.rejected_fields,
    }
    sentences = [
        line(report.case_rule, 2 * length, words),
        words.join(
            words.say("rule_counts", **{name: wording.whole(number, words) for name, number in counts.items()}),
            "" if at is None else words.say("rule_field_threshold", threshold=wording.decimal(at, 3)),
        ),
        words.say("rule_threshold_set", threshold=wording.exact(point.threshold))
        if point.overridden
        else words.say(
            "rule_threshold",
            threshold=wording.decimal(point.threshold, 3),
            rule=line(point.rule, length, words),
            data=line(point.data, length, words),
        ),
    ]
    if point.guarantee:
        sentences.append(line(point.guarantee, length, words))
    return sentences


def _model(report: CaseReport, length: int, words: Words) -> list[list[str]]:
    model = report.model
    faithful = report.heat_map.faithfulness if report.heat_map else None
    weights = words["list"].join(
        f"{line(weight.name, 20, words)} {wording.digest(weight.sha256)}" for weight in model.weights[:10]
    )
    if len(model.weights) > 10:
        weights = words.join(weights, words.say("more_weights", number=str(len(model.weights) - 10)))
    name, version = wording.one_line(model.name, 80, words), wording.one_line(model.version, 30, words)
    return [
        [words["model_name"], words.say("model_version", name=name, version=version)],
        [words["model_network"], line(model.architecture, length, words)],
        [words["model_bundle"], wording.digest(model.bundle_digest, 16)],
        [words["model_weights"], weights or wording.MISSING],
        [words["model_data"], line(model.training_data, length, words)],
        *([[words["model_maps"], line(faithful, 2 * length, words)]] if faithful else []),
        [words["model_scored"], _scored(report, words)],
        [words["model_program"], wording.one_line(model.software, 60, words)],
    ]


def _scored(report: CaseReport, words: Words) -> str:
    """When and how the fields were scored."""
    scoring = report.scoring
    total = len(report.model.weights)
    folds = scoring.folds or range(1, total + 1)
    said = [
        words.say("scored_networks", number=wording.whole(len(folds), words), total=wording.whole(total, words)),
        words.say("scored_orientations", number={None: "1", "flips": "4", "dihedral": "8"}[scoring.test_time]),
    ]
    if scoring.folds:
        numbers = words["list"].join(str(fold) for fold in scoring.folds[:10])
        said[0] = words.say("scored_folds", networks=said[0], folds=numbers)
    if scoring.finished is not None:
        said.insert(0, wording.moment(scoring.finished, words))
    if scoring.backend is not None:
        said.append(wording.one_line(scoring.backend, 20, words))
    return words["clause"].join(said)
