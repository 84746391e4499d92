"""From a `CaseReport` to what `case.typ` prints: every sentence, every figure as text, every length."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from reports import wording
from reports.words import CASE, FIXED_LIMITS

if TYPE_CHECKING:
    from reports.case import CaseReport, DecidingField, FieldRow
    from reports.parts import Performance

WORDS = CASE["en"]


def view(report: CaseReport, *, page_1: tuple[float, int], page_2: tuple[int, int]) -> dict[str, Any]:
    """Give the data of `case.typ`.

    Args:
        report: the case.
        page_1: most millimetres across a crop, and most characters of a free text.
        page_2: most rows of the table of fields, and most characters of a free text.
    """
    picture_mm, long_1 = page_1
    rows, long_2 = page_2
    return {
        "words": WORDS,
        "report_id": wording.short_name(report.report_id, 48),
        "case_id": wording.short_name(report.case_id, 48),
        "created": wording.moment(report.created),
        "kind": report.call,
        "picture_mm": picture_mm,
        "alerts": _alerts(report, long_1),
        "evaluable": _evaluable(report, long_1),
        "call": _call(report, long_1),
        "scale": _scale(report),
        "refer": {"yes": report.refer, "because": _capped(report.refer_because, 3, long_1)},
        "deciding": [_deciding(field, index) for index, field in enumerate(report.deciding)],
        "heat_map": _heat_map(report),
        "rejections": _rejections(report),
        "rejected_pictures": [_rejected_picture(report, index) for index in range(len(report.rejected_pictures))],
        "performance": [_performance(performance) for performance in report.performance[:2]],
        "table": _table(report, rows),
        "rule": _rule(report, long_2),
        "entered": [
            {"name": wording.one_line(fact.name, 40), "value": wording.one_line(fact.value, long_2)}
            for fact in report.entered[:8]
        ],
        "model": _model(report, long_2),
        "limits": [*FIXED_LIMITS, *_capped(report.limits, 4 if long_2 > 100 else 2, long_2)],
    }


def _capped(sentences: tuple[str, ...], most: int, length: int) -> list[str]:
    kept = [wording.one_line(sentence, length) for sentence in sentences[:most]]
    if len(sentences) > most:
        kept.append(f"{len(sentences) - most} more in the validation report.")
    return kept


def _alerts(report: CaseReport, length: int) -> list[str]:
    alerts = []
    if report.synthetic:
        alerts.append("Synthetic phantom data: the model was developed on drawn images and is unfit for patients.")
    if report.split_by_image:
        alerts.append("Split by image: patients may be on both sides, and the performance below is optimistic.")
    if report.operating_point.overridden:
        alerts.append(
            f"The threshold was set by the user to {wording.score(report.operating_point.threshold)}; the "
            "performance below may belong to another."
        )
    return alerts + _capped(report.warnings, 3, length)


def _counts(report: CaseReport) -> str:
    total, used = len(report.fields), report.evaluable_fields
    sentence = f"{used:,} of {wording.count(total, 'field')} {'was' if used == 1 else 'were'} evaluable"
    if report.rejected_fields:
        rejected = report.rejected_fields
        sentence += f"; {rejected:,} {'was' if rejected == 1 else 'were'} rejected"
        sentence += " (reasons on page 2)" if report.call != "not evaluable" else ""
    return sentence + "."


def _evaluable(report: CaseReport, length: int) -> dict[str, Any]:
    yes = report.call != "not evaluable"
    return {
        "yes": yes,
        "answer": WORDS["evaluable_answer"] if yes else WORDS["not_evaluable_answer"],
        "counts": _counts(report),
        "because": "" if yes else wording.one_line(report.not_evaluable_because or "", length),
    }


def _call(report: CaseReport, length: int) -> dict[str, Any]:
    key = report.call.replace(" ", "_")
    details = []
    point = report.operating_point
    if report.score is not None and report.call != "not evaluable":
        side = "at or above" if report.score.probability >= point.threshold else "below"
        threshold = wording.score(point.threshold, report.score.probability)
        details.append(
            f"Calibrated case score {wording.score(report.score.probability, point.threshold)}, {side} the "
            f"threshold of {threshold} (raw case score {wording.decimal(report.score.logit, signed=True)})."
        )
        if report.score.low is not None and report.score.high is not None:
            details[-1] += (
                f" {wording.one_line(report.score.interval, 80) or 'Interval'}: "
                f"{wording.score(report.score.low)} to {wording.score(report.score.high)}."
            )
    if report.conformal is not None:
        sure = f"{100 * (1 - report.conformal.error):.0f}{wording.NO_BREAK}%"
        found = {
            0: "neither call is typical of the development cases",
            1: f"only \u201c{''.join(report.conformal.classes)}\u201d cannot be ruled out",
            2: "neither \u201cpositive\u201d nor \u201cnegative\u201d can be ruled out",
        }[len(set(report.conformal.classes))]
        details.append(f"Conformal set at {sure} coverage: {found}.")
    if report.call == "negative":
        details.append(WORDS["negative_caveat"])
    return {
        "headline": WORDS[f"{key}_line"].format(means=wording.one_line(report.positive_means, 90)),
        "details": details,
        "unlike": wording.one_line(report.out_of_distribution or "", length),
    }


def _scale(report: CaseReport) -> dict[str, Any] | None:
    if report.score is None or report.call == "not evaluable":
        return None
    threshold = report.operating_point.threshold
    zone = None
    conformal = report.conformal
    if conformal and conformal.positive_from is not None and conformal.negative_up_to is not None:
        bounds = (threshold, conformal.positive_from, conformal.negative_up_to)
        zone = [min(bounds), max(bounds)] if max(bounds) - min(bounds) > 1e-9 else None
    interval = None
    if report.score.low is not None and report.score.high is not None:
        interval = [report.score.low, report.score.high]
    shown = wording.score(report.score.probability, threshold)
    shown_threshold = wording.score(threshold, report.score.probability)
    description = f"Scale from 0 to 1: case score {shown}, threshold {shown_threshold}"
    zone_note = ""
    if zone:
        zone_note = WORDS["zone_note"].format(low=wording.score(zone[0]), high=wording.score(zone[1])) + " "
        description += f", indeterminate from {wording.score(zone[0])} to {wording.score(zone[1])}"
    return {
        "score": report.score.probability,
        "score_label": shown,
        "threshold": threshold,
        "threshold_label": f"threshold {shown_threshold}",
        "zone": zone,
        "zone_note": zone_note,
        "interval": interval,
        "alt": f"{description}.",
    }


def _deciding(field: DecidingField, index: int) -> dict[str, Any]:
    name = wording.short_name(field.name, 26)
    shown = wording.score(field.probability)
    return {
        "name": name,
        "score": shown,
        "crop": f"crop-{index}.jpg",
        "overlay": f"overlay-{index}.jpg",
        "bar": scale_bar(field.crop_width, field.microns_per_pixel),
        "crop_alt": f"Field {name}, the crop that the model saw; calibrated score {shown}.",
        "overlay_alt": f"Field {name}, the same crop with the heat map over it.",
    }


def scale_bar(crop_width: int, microns_per_pixel: float | None) -> dict[str, Any] | None:
    """Choose a bar of 1, 2 or 5 times a power of ten, at most 40 % of the crop's width.

    Args:
        crop_width: pixels of the original photograph that the crop spans.
        microns_per_pixel: size of such a pixel; None gives None.

    Returns:
        `share` of the crop's width and the `label` with its unit.
    """
    if microns_per_pixel is None:
        return None
    width = crop_width * microns_per_pixel
    power = 10.0 ** math.floor(math.log10(0.4 * width))
    length = max(step * power for step in (1, 2, 5) if step * power <= 0.4 * width * (1 + 1e-9))
    return {"share": length / width, "label": f"{length:g}{wording.NO_BREAK}µm"}


def _heat_map(report: CaseReport) -> dict[str, Any] | None:
    heat = report.heat_map
    if heat is None or not report.deciding:
        return None
    middle = (heat.low + heat.high) / 2
    ticks = [f"{value:.3g}".replace("-", "\u2212") for value in (heat.low, middle, heat.high)]
    return {
        "colours": list(heat.colours),
        "ticks": ticks,
        "caption": f"{heat.method} at {heat.layer}; {heat.unit}.",
        "alt": f"Colour bar of the heat maps, from {ticks[0]} to {ticks[2]}, {heat.unit}.",
    }


def _rejections(report: CaseReport) -> list[dict[str, str]]:
    reasons = Counter(row.rejected_because for row in report.fields if not row.evaluable)
    ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0] or ""))
    listed = [{"reason": wording.one_line(why or "", 120), "fields": f"{number:,}"} for why, number in ranked[:8]]
    if len(ranked) > 8:
        rest = sum(number for _, number in ranked[8:])
        listed.append({"reason": "other reasons, in the full table", "fields": f"{rest:,}"})
    return listed


def _rejected_picture(report: CaseReport, index: int) -> dict[str, str]:
    shown = report.rejected_pictures[index]
    row = next(row for row in report.fields if row.name == shown.name)
    name = wording.short_name(shown.name, 26)
    reason = wording.one_line(row.rejected_because or "", 80)
    return {
        "picture": f"rejected-{index}.jpg",
        "name": name,
        "reason": reason,
        "alt": f"Field {name}, rejected: {reason}.",
    }


def _performance(performance: Performance) -> dict[str, Any]:
    counts = performance.counts
    unit = "case" if performance.level == "case" else "field"
    basis = "held-out test set" if performance.role == "test" else "out-of-fold development data, thus optimistic"
    who = f" of {wording.count(performance.patients, 'patient')}" if performance.patients else ""
    return {
        "level": WORDS[f"by_{unit}"],
        "counts": [f"{number:,}" for number in (counts.tp, counts.fp, counts.fn, counts.tn)],
        "figures": [
            [WORDS[name], wording.percent_interval(getattr(performance, name))]
            for name in ("sensitivity", "specificity", "ppv", "npv")
        ],
        "cohort": f"{wording.one_line(performance.cohort, 120)}, {basis}: "
        f"n = {wording.count(counts.n, unit)}{who}, prevalence {wording.percent(counts.prevalence)}. "
        f"{wording.one_line(performance.interval_method, 90)}.",
    }


def _table(report: CaseReport, most: int) -> dict[str, Any]:
    chosen = list(report.fields)
    note = ""
    if len(chosen) > most:
        ranked = sorted(chosen, key=lambda row: -1.0 if row.probability is None else row.probability, reverse=True)
        chosen = ranked[:most]
        note = (
            f"The {most} fields with the highest scores of {len(report.fields):,}; the full table is in "
            f"{wording.one_line(report.full_table, 80)}."
        )
    # Of the narrow rows, a name may take more characters and a remark fewer.
    room, remark = (42, 30) if len(chosen) > 24 else (40, 40)
    # Of long names that begin alike, the beginnings would be all that is left to see.
    common = _common_beginning([row.name for row in chosen])
    skip = common if common > 6 and max(len(row.name) for row in chosen) > room else 0
    return {"rows": [_row(row, room, remark, skip) for row in chosen], "note": note}


def _common_beginning(names: list[str]) -> int:
    columns = zip(*names, strict=False)
    length = sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))
    while length and names[0][length - 1].isdigit():
        length -= 1
    return length


def _row(row: FieldRow, room: int, remark: int, skip: int) -> list[str]:
    size = f"{row.width} × {row.height}" if row.width and row.height else wording.MISSING
    remarks = ", ".join(row.quality)
    if not row.evaluable and row.rejected_because:
        remarks = row.rejected_because
    return [
        wording.short_name(f"…{row.name[skip:]}" if skip else row.name, room),
        wording.digest(row.sha256),
        size,
        wording.short_name(row.orientation, 12),
        wording.short_name(remarks, remark) or "no flag",
        WORDS["yes"] if row.evaluable else WORDS["no"],
        wording.decimal(row.logit, signed=True),
        wording.decimal(row.probability, 3),
        wording.decimal(row.spread, 3),
        WORDS["yes"] if row.out_of_distribution else WORDS["no"],
        row.call or wording.MISSING,
    ]


def _rule(report: CaseReport, length: int) -> list[str]:
    point = report.operating_point
    sentences = [
        wording.one_line(report.case_rule, 2 * length),
        f"Fields: {report.positive_fields:,} positive among {report.evaluable_fields:,} evaluable; "
        f"{report.rejected_fields:,} rejected.",
        f"Threshold {wording.decimal(point.threshold, 3)}: {wording.one_line(point.rule, length)}; "
        f"{wording.one_line(point.data, length)}.",
    ]
    if point.guarantee:
        sentences.append(wording.one_line(point.guarantee, length))
    return sentences


def _model(report: CaseReport, length: int) -> list[list[str]]:
    model = report.model
    weights = ", ".join(f"{wording.one_line(w.name, 20)} {wording.digest(w.sha256)}" for w in model.weights[:10])
    if len(model.weights) > 10:
        weights += f" and {len(model.weights) - 10} more"
    rows = [
        ["Model", f"{wording.one_line(model.name, 80)}, version {wording.one_line(model.version, 30)}"],
        ["Network", wording.one_line(model.architecture, length)],
        ["Bundle", wording.digest(model.bundle_digest, 16)],
        ["Weights", weights or wording.MISSING],
        ["Developed on", wording.one_line(model.training_data, length)],
        ["Program", wording.one_line(model.software, 60)],
    ]
    return rows
