"""From a `CaseReport` to what `case.typ` prints: every sentence, every figure as text, every length."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

from reports import wording
from reports.case_maps_view import deciding_view, heat_map_view
from reports.pictures import WHOLE_MM
from reports.words import Words

if TYPE_CHECKING:
    from reports.case import CaseReport, CaseScore, FieldRow
    from reports.parts import Performance

FIXED_LIMITS = ("limit_smear", "limit_adequacy", "limit_cohort")
"""Limits that hold for every model of this kind, printed before those of the bundle."""

FIRST_OF_MANY = 20
"""Fields listed on page 2 where all of them fill pages of their own."""


def view(
    report: CaseReport, words: Words, *, page_1: tuple[float, int], page_2: tuple[int, int, int]
) -> dict[str, Any]:
    """Give the data of `case.typ`.

    Args:
        report: the case.
        words: of the language.
        page_1: most millimetres across a crop, and most characters of a free text.
        page_2: most rows of the table of fields, most characters of a free text, and most limits.
    """
    picture_mm, long_1 = page_1
    rows, long_2, limits = page_2
    return {
        "words": words.tables["page"],
        "report_id": wording.short_name(report.report_id, 48),
        "case_id": wording.short_name(report.case_id, 48),
        "created": wording.moment(report.created, words),
        "kind": report.call,
        "picture_mm": picture_mm,
        "whole_mm": WHOLE_MM,
        "alerts": _alerts(report, words, long_1),
        "evaluable": {"yes": report.call != "not evaluable", "counts": _counts(report, words, long_1)},
        "call": _call(report, words),
        "scale": _scale(report, words),
        "refer": {
            "yes": report.refer,
            "because": words.join(*_capped(report.refer_because, 3, long_1, words)),
        },
        "deciding": [deciding_view(field, index, words) for index, field in enumerate(report.deciding)],
        "heat_map": heat_map_view(report, words),
        "rejections": _rejections(report, words),
        "rejected_pictures": [
            _rejected_picture(report, index, words) for index in range(len(report.rejected_pictures))
        ],
        "performance": [_performance(performance, words) for performance in report.performance[:2]],
        "table": _table(report, rows, words),
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
            *_capped(report.limits, limits, long_2, words),
        ],
    }


def _line(text: str, limit: int, words: Words) -> str:
    return wording.one_line(words.stored(text), limit, words)


def _capped(sentences: tuple[str, ...], most: int, length: int, words: Words) -> list[str]:
    kept = [_line(sentence, length, words) for sentence in sentences[:most]]
    if len(sentences) > most:
        kept.append(words.say("more", number=str(len(sentences) - most)))
    return kept


def _alerts(report: CaseReport, words: Words, length: int) -> list[str]:
    alerts = []
    if report.synthetic:
        alerts.append(words.say("alert_synthetic"))
    if report.split_by_image:
        alerts.append(words.say("alert_split_by_image"))
    if report.operating_point.overridden:
        alerts.append(words.say("alert_threshold", threshold=wording.score(report.operating_point.threshold)))
    return alerts + _capped(report.warnings, 3, length, words)


def _counts(report: CaseReport, words: Words, length: int) -> str:
    total, used = wording.whole(len(report.fields), words), wording.whole(report.evaluable_fields, words)
    if report.call == "not evaluable":
        refused = report.rejected_fields - report.unreadable_fields
        counted = words.say(
            "not_evaluable_counts",
            total=total,
            used=used,
            unreadable=wording.whole(report.unreadable_fields, words),
            refused=wording.whole(refused, words),
        )
        why = report.not_evaluable_because or ""
        return words.join(counted, _line(why, length, words) if why not in report.refer_because else "")
    rejected = wording.whole(report.rejected_fields, words)
    return words.join(
        words.say("evaluable_counts", used=used, total=total),
        words.say("rejected_counts", rejected=rejected) if report.rejected_fields else "",
    )


def _call(report: CaseReport, words: Words) -> dict[str, Any]:
    details = []
    point, score = report.operating_point, report.score
    if score is not None and report.call != "not evaluable":
        side = "probability_above" if score.probability >= point.threshold else "probability_below"
        details.append(
            words.say(
                side,
                probability=wording.score(score.probability, point.threshold),
                threshold=wording.score(point.threshold, score.probability),
                raw=wording.decimal(score.logit, signed=True),
            )
        )
        details.append(_interval(score, words))
        if score.low is not None and score.high is not None and score.low < point.threshold <= score.high:
            details.append(words.say("interval_crosses"))
        if report.conformal is not None:
            members = report.conformal.classes
            found = ("conformal_none", "conformal_one", "conformal_both")[len(set(members))]
            named = {"call": words.stored(members[0])} if found == "conformal_one" else {}
            coverage = wording.percent(1 - report.conformal.error, 0, words)
            details.append(words.say(found, coverage=coverage, **named))
    if report.call == "negative":
        details.append(words.say("negative_caveat"))
    unlike = report.out_of_distribution and report.call != "not evaluable"
    line = "unlike_line" if unlike else f"{report.call.replace(' ', '_')}_line"
    means = {"means": _line(report.positive_means, 90, words)} if line in ("positive_line", "negative_line") else {}
    number, total = (wording.whole(n, words) for n in (report.unlike_fields, report.evaluable_fields))
    return {
        "headline": words.say(line, **means),
        "details": words.join(*details),
        "unlike": words.say("unlike_fields", number=number, total=total) if unlike else "",
    }


def _interval(score: CaseScore, words: Words) -> str:
    if score.low is None or score.high is None or score.drawn_again is None:
        return words.say("interval_none")
    kind = {"fields and networks": "both", "fields": "fields", "networks": "networks"}[score.drawn_again]
    confidence = wording.percent(score.confidence, 0, words)
    bounds = words.say("interval", low=wording.score(score.low), high=wording.score(score.high))
    return words.say(f"interval_{kind}", confidence=confidence, interval=bounds)


def _scale(report: CaseReport, words: Words) -> dict[str, Any] | None:
    score, conformal = report.score, report.conformal
    if score is None or report.call == "not evaluable":
        return None
    threshold = report.operating_point.threshold
    bounds = [threshold]
    if conformal and conformal.positive_from is not None and conformal.negative_up_to is not None:
        bounds += [conformal.positive_from, conformal.negative_up_to]
    bounds += report.operating_point.unsure or ()
    zone = [min(bounds), max(bounds)] if max(bounds) - min(bounds) > 1e-9 else None
    shown, shown_threshold = wording.score(score.probability, threshold), wording.score(threshold, score.probability)
    zone_note = ""
    if zone:
        low, high = (wording.score(bound) for bound in zone)
        zone_note = words.say("zone_note", interval=words.say("interval", low=low, high=high))
    return {
        "score": score.probability,
        "score_label": shown,
        "threshold": threshold,
        "threshold_label": words.say("threshold_label", threshold=shown_threshold),
        "zone": zone,
        "note": words.join(words["scale_axis"], zone_note, words["score_caveat"]),
        "interval": None if score.low is None or score.high is None else [score.low, score.high],
        "alt": words.join(words.say("scale_alt", probability=shown, threshold=shown_threshold), zone_note),
    }


def _reasons(row: FieldRow) -> tuple[str, ...]:
    return row.quality or (row.rejected_because or "",)


def _rejections(report: CaseReport, words: Words) -> list[list[str]]:
    reasons = Counter(reason for row in report.fields if not row.evaluable for reason in _reasons(row))
    ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    listed = [[_line(why, 120, words), wording.whole(number, words)] for why, number in ranked[:8]]
    if len(ranked) > 8:
        rest = sum(number for _, number in ranked[8:])
        listed.append([words.say("other_reasons"), wording.whole(rest, words)])
    return listed


def _rejected_picture(report: CaseReport, index: int, words: Words) -> dict[str, str]:
    shown = report.rejected_pictures[index]
    row = next(row for row in report.fields if row.name == shown.name)
    name = wording.short_name(shown.name, 26)
    reason = wording.one_line(words["list"].join(words.stored(reason) for reason in _reasons(row)), 80, words)
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
        cohort=_line(performance.cohort, 150, words),
        data=words.say("data_test" if performance.role == "test" else "data_out_of_fold"),
        n=wording.whole(counts.n, words),
        prevalence=wording.percent(counts.prevalence, 0, words),
        **who,
    )
    method = _line(performance.interval_method, 90, words)
    return {
        "level": words[f"by_{unit}"],
        "counts": [wording.whole(number, words) for number in (counts.tp, counts.fp, counts.fn, counts.tn)],
        "figures": [
            [words[name], *wording.percent_and_interval(getattr(performance, name), words)]
            for name in ("sensitivity", "specificity", "ppv", "npv")
        ],
        "cohort": words.join(cohort, words.say("sentence", text=method)),
    }


def _table(report: CaseReport, most: int, words: Words) -> dict[str, Any]:
    chosen = list(report.fields)
    if len(chosen) <= most:
        return {"rows": _rows(chosen, words), "all": [], "note": ""}
    ranked = sorted(chosen, key=lambda row: -1.0 if row.probability is None else row.probability, reverse=True)
    shown = ranked[: min(most, FIRST_OF_MANY)]
    number, total = wording.whole(len(shown), words), wording.whole(len(chosen), words)
    note = words.say("table_continued", number=number, total=total)
    return {"rows": _rows(shown, words), "all": _rows(chosen, words), "note": note}


def _rows(chosen: list[FieldRow], words: Words) -> list[dict[str, Any]]:
    # Of the narrow rows, a name may take more characters and a remark fewer.
    room, remark = (42, 30) if len(chosen) > 24 else (40, 40)
    # Of long names that begin alike, the beginnings would be all that is left to see.
    common = _common_beginning([row.name for row in chosen])
    skip = common if common > 6 and max(len(row.name) for row in chosen) > room else 0
    return [_row(row, room, remark, skip, words) for row in chosen]


def _common_beginning(names: list[str]) -> int:
    columns = zip(*names, strict=False)
    length = sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))
    while length and names[0][length - 1].isdigit():
        length -= 1
    return length


def _row(row: FieldRow, room: int, remark: int, skip: int, words: Words) -> dict[str, Any]:
    size = f"{row.width} × {row.height}" if row.width and row.height else wording.MISSING
    reasons = row.quality if row.evaluable else _reasons(row)
    remarks = words["list"].join(words.stored(reason) for reason in reasons)
    cells = [
        wording.short_name(f"…{row.name[skip:]}" if skip else row.name, room),
        wording.digest(row.sha256),
        size,
        wording.short_name(words.stored(row.orientation), 12),
        wording.short_name(remarks, remark) or words["no_flag"],
        words["yes"] if row.evaluable else words["no"],
        wording.decimal(row.logit, signed=True),
        wording.decimal(row.probability, 3),
        wording.decimal(row.spread, 3),
        words["yes"] if row.out_of_distribution else words["no"],
        words.stored(row.call) if row.call else wording.MISSING,
    ]
    return {"cells": cells, "positive": row.call == "positive"}


def _rule(report: CaseReport, length: int, words: Words) -> list[str]:
    point, at = report.operating_point, report.field_threshold
    counts = {
        "positive": report.positive_fields,
        "evaluable": report.evaluable_fields,
        "rejected": report.rejected_fields,
    }
    sentences = [
        _line(report.case_rule, 2 * length, words),
        words.join(
            words.say("rule_counts", **{name: wording.whole(number, words) for name, number in counts.items()}),
            "" if at is None else words.say("rule_field_threshold", threshold=wording.decimal(at, 3)),
        ),
        words.say(
            "rule_threshold",
            threshold=wording.decimal(point.threshold, 3),
            rule=_line(point.rule, length, words),
            data=_line(point.data, length, words),
        ),
    ]
    if point.guarantee:
        sentences.append(_line(point.guarantee, length, words))
    return sentences


def _model(report: CaseReport, length: int, words: Words) -> list[list[str]]:
    model = report.model
    weights = words["list"].join(
        f"{_line(weight.name, 20, words)} {wording.digest(weight.sha256)}" for weight in model.weights[:10]
    )
    if len(model.weights) > 10:
        weights = words.join(weights, words.say("more_weights", number=str(len(model.weights) - 10)))
    name, version = wording.one_line(model.name, 80, words), wording.one_line(model.version, 30, words)
    return [
        [words["model_name"], words.say("model_version", name=name, version=version)],
        [words["model_network"], _line(model.architecture, length, words)],
        [words["model_bundle"], wording.digest(model.bundle_digest, 16)],
        [words["model_weights"], weights or wording.MISSING],
        [words["model_data"], _line(model.training_data, length, words)],
        [words["model_program"], wording.one_line(model.software, 60, words)],
    ]
