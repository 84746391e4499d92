"""What `case.typ` prints of the answer: alerts, whether evaluable, the call and what it rests on, refer or not."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from reports import wording
from reports.words import Words

if TYPE_CHECKING:
    from reports.case import CaseReport
    from reports.case_facts import CaseScore, FieldRow, ScoringFacts

REASONS_NAMED = 3
"""Reasons of refused fields that page 1 names; the table names them all."""

_PERCENT = re.compile(r"(?<=\d)%")

BINS = 40
"""Steps of probability in the strip of all fields."""


def line(text: str, limit: int, words: Words) -> str:
    """Text that the program may have stored in English, as one line of at most `limit` characters."""
    said = words.stored(text)
    if words.language == "en":
        # Stored sentences write "95%"; the page writes every share alike.
        said = _PERCENT.sub(f"{wording.NO_BREAK}%", said)
    return wording.one_line(said, limit, words)


def capped(sentences: tuple[str, ...], most: int, length: int, words: Words) -> list[str]:
    """The first sentences, and how many more there are."""
    kept = [line(sentence, length, words) for sentence in sentences[:most]]
    if len(sentences) > most:
        kept.append(words.say("more", number=wording.whole(len(sentences) - most, words)))
    return kept


def alerts(report: CaseReport, words: Words, length: int) -> list[str]:
    """What changes how everything below is to be read."""
    said = []
    if report.synthetic:
        said.append(words.say("alert_synthetic"))
    if report.split_by_image:
        said.append(words.say("alert_split_by_image"))
    if report.operating_point.overridden:
        said.append(words.say("alert_threshold", threshold=wording.exact(report.operating_point.threshold)))
    if report.copies:
        said.append(words.say("alert_copies", number=wording.whole(report.copies, words)))
    said += scoring_notes(report.scoring, len(report.model.weights), words, kind="alert")
    return said + capped(report.warnings, 3, length, words)


def scoring_notes(scoring: ScoringFacts, networks: int, words: Words, *, kind: str) -> list[str]:
    """What differs from how the bundle was validated: some networks only, several orientations.

    Args:
        scoring: how the fields were scored.
        networks: of the bundle.
        words: of the language.
        kind: "alert" on a case's page, "index" in the index.
    """
    said = []
    if scoring.folds:
        said.append(
            words.say(
                f"{kind}_folds",
                number=wording.whole(len(scoring.folds), words),
                total=wording.whole(networks, words),
                folds=words["list"].join(str(fold) for fold in scoring.folds[:10]),
            )
        )
    if scoring.test_time is not None:
        said.append(words.say(f"{kind}_test_time", number={"flips": "4", "dihedral": "8"}[scoring.test_time]))
    return said


def reasons_of(row: FieldRow) -> tuple[str, ...]:
    """Why a field was refused, in the words of the table."""
    return row.quality or (row.rejected_because or "",)


def counted_reasons(report: CaseReport) -> list[tuple[str, int]]:
    """Reasons of refused fields, the most frequent first."""
    reasons = Counter(reason for row in report.fields if not row.evaluable for reason in reasons_of(row))
    return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))


def counts_view(report: CaseReport, words: Words, length: int) -> str:
    """How many fields were used, and what was wrong with the others."""
    total, used = wording.whole(len(report.fields), words), wording.whole(report.evaluable_fields, words)
    if report.call == "not evaluable":
        refused = report.rejected_fields - report.unreadable_fields
        counted = words.say(
            "not_evaluable_counts_one" if len(report.fields) == 1 else "not_evaluable_counts",
            total=total,
            used=used,
            unreadable=wording.whole(report.unreadable_fields, words),
            refused=wording.whole(refused, words),
        )
        why = report.not_evaluable_because or ""
        return words.join(counted, line(why, length, words) if why not in report.refer_because else "")
    named = [
        words.say("reason_count", reason=line(why, 60, words), number=wording.whole(number, words))
        for why, number in counted_reasons(report)[:REASONS_NAMED]
    ]
    rejected = wording.whole(report.rejected_fields, words)
    several = sum(number for _, number in counted_reasons(report)) > report.rejected_fields
    return words.join(
        words.say("evaluable_counts", used=used, total=total),
        words.say("rejected_counts", rejected=rejected, reasons=words["list"].join(named)) if named else "",
        words.say("several_reasons") if several else "",
        words.say("single_field") if report.different_fields == 1 else "",
    )


def call_view(report: CaseReport, words: Words) -> dict[str, Any]:
    """The headline, and the facts below it: a name, what is said of it, and whether it is said with weight."""
    unlike = report.out_of_distribution and report.call != "not evaluable"
    if unlike:
        headline = words.say("unlike_line")
    elif report.call == "indeterminate":
        headline = _indeterminate(report, words)
    elif report.call == "not evaluable":
        headline = words.say("not_evaluable_line")
    else:
        headline = words.say(f"{report.call}_line", means=line(report.positive_means, 90, words))
    return {
        "headline": headline,
        "facts": _facts(report, words),
        "caveat": words.say("negative_caveat") if report.call == "negative" and not unlike else "",
        "unlike": _unlike(report, words) if unlike else "",
    }


def _indeterminate(report: CaseReport, words: Words) -> str:
    """The headline by the reason: what the conformal set holds beside what the threshold says."""
    score, conformal = report.score, report.conformal
    if score is None or conformal is None or len(set(conformal.classes)) > 1:
        return words.say("indeterminate_line")
    if not conformal.classes:
        return words.say("indeterminate_neither_line")
    side, other = _side(report), conformal.classes[0]
    if side == other:
        return words.say("indeterminate_near_line")
    return words.say("indeterminate_apart_line", side=words.stored(side), other=words.stored(other))


def _side(report: CaseReport) -> str:
    above = report.score is not None and report.score.probability >= report.operating_point.threshold
    return "positive" if above else "negative"


def _unlike(report: CaseReport, words: Words) -> str:
    """How many of the evaluable fields or tiles look unlike the development cohort."""
    number = report.unlike_fields
    name = f"unlike_{'tiles' if report.of_slides else 'fields'}{'_one' if number == 1 else ''}"
    return words.say(name, number=wording.whole(number, words), total=wording.whole(report.evaluable_fields, words))


def _facts(report: CaseReport, words: Words) -> list[list[str]]:
    point, score = report.operating_point, report.score
    if score is None or report.call == "not evaluable":
        return []
    side = "probability_above" if _side(report) == "positive" else "probability_below"
    said = words.say(
        side,
        probability=wording.score(score.probability, point.threshold, *(_zone(report) or ())),
        threshold=wording.score(point.threshold, score.probability),
        raw=wording.decimal(score.logit, signed=True),
    )
    crosses = words.say("interval_crosses") if report.borderline else ""
    facts = [
        [words["fact_probability"], said, ""],
        [words["fact_interval"], _interval(score, words), crosses],
        [words["fact_point"], words.say("point", rule=line(point.rule, 130, words)), ""],
    ]
    if report.conformal is not None:
        members = report.conformal.classes
        found = ("conformal_none", "conformal_one", "conformal_both")[len(set(members))]
        named = {"call": words.stored(members[0])} if found == "conformal_one" else {}
        coverage = wording.percent(1 - report.conformal.error, 0, words)
        facts.append([words["fact_conformal"], words.say(found, coverage=coverage, **named), ""])
    return facts


def _interval(score: CaseScore, words: Words) -> str:
    if score.low is None or score.high is None or score.drawn_again is None:
        return words.say("interval_none")
    kind = {"fields and networks": "both", "fields": "fields", "networks": "networks"}[score.drawn_again]
    confidence = wording.percent(score.confidence, 0, words)
    bounds = words.say("interval", low=wording.score(score.low), high=wording.score(score.high))
    return words.say(f"interval_{kind}", confidence=confidence, interval=bounds)


def _zone(report: CaseReport) -> list[float] | None:
    """Between which probabilities a case is indeterminate; None where that is nowhere."""
    conformal = report.conformal
    bounds = [report.operating_point.threshold, *(report.operating_point.unsure or ())]
    if conformal and conformal.positive_from is not None and conformal.negative_up_to is not None:
        bounds += [conformal.positive_from, conformal.negative_up_to]
    return [min(bounds), max(bounds)] if max(bounds) - min(bounds) > 1e-9 else None


def scale_view(report: CaseReport, words: Words) -> dict[str, Any] | None:
    """The probability on its scale, with threshold, indeterminate zone and interval."""
    score = report.score
    if score is None or report.call == "not evaluable":
        return None
    threshold, zone = report.operating_point.threshold, _zone(report)
    shown = wording.score(score.probability, threshold, *(zone or ()))
    shown_threshold = wording.score(threshold, score.probability)
    zone_note = interval_note = ""
    if zone:
        low, high = (wording.score(bound, score.probability) for bound in zone)
        zone_note = words.say("zone_note", interval=words.say("interval", low=low, high=high))
    if score.low is not None and score.high is not None:
        interval_note = words.say("interval_note")
    return {
        "score": score.probability,
        "score_label": shown,
        "threshold": threshold,
        "threshold_label": words.say("threshold_label", threshold=shown_threshold),
        "zone": zone,
        "note": words.join(zone_note, interval_note, words["score_caveat"]),
        "interval": None if score.low is None or score.high is None else [score.low, score.high],
        "alt": words.join(
            words.say("scale_alt", probability=shown, threshold=shown_threshold), _interval(score, words), zone_note
        ),
    }


def refer_view(report: CaseReport, words: Words, length: int) -> dict[str, str]:
    """Refer or not, and why; a call that could have been the other one is never passed over in silence."""
    because = capped(report.refer_because, 3, length, words)
    # A case unlike the cohort as a whole has its count in place of the call.
    said_above = report.out_of_distribution and report.call != "not evaluable"
    unlike = _unlike(report, words) if report.unlike_fields and not said_above else ""
    if report.refer:
        return {"answer": words["refer_yes"], "because": words.join(*because), "unlike": unlike}
    if report.with_care:
        because = [*(words.say(why) for why in report.care), *because]
        return {"answer": words["refer_borderline"], "because": words.join(*because), "unlike": unlike}
    return {"answer": words["refer_no"], "because": words.join(*because), "unlike": unlike}


def strip_view(report: CaseReport, words: Words) -> dict[str, Any] | None:
    """Every evaluable field by its probability: how far the fields agree. None where there is nothing to show."""
    shown = [row for row in report.fields if row.evaluable and row.probability is not None]
    found = [row.probability for row in shown if row.probability is not None]
    threshold = report.field_threshold
    if not found or threshold is None or report.call == "not evaluable":
        return None
    one = words.stored("positive" if report.positive_fields else "negative") if len(found) == 1 else ""
    # By the field's own call: the threshold lies within a step, whose fields are not all on one side of it.
    counts = Counter((min(int((row.probability or 0.0) * BINS), BINS - 1), row.call == "positive") for row in shown)
    steps = sorted({step for step, _ in counts})
    most = max(counts[step, False] + counts[step, True] for step in steps)
    said = (
        words.say("strip_one", call=one, threshold=wording.score(threshold))
        if one
        else words.say(
            "strip",
            positive=wording.whole(report.positive_fields, words),
            evaluable=wording.whole(report.evaluable_fields, words),
            threshold=wording.score(threshold),
        )
    )
    return {
        "bars": [[step / BINS, 1 / BINS, counts[step, False] / most, counts[step, True] / most] for step in steps],
        "threshold": threshold,
        "said": said,
        "alt": words.join(said, words.say("strip_alt", low=wording.score(min(found)), high=wording.score(max(found)))),
    }
