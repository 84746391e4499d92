"""The index of a run of case reports: which case to look at first, and where its report is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from reports import wording
from reports.case import Call
from reports.case_call_view import scoring_notes
from reports.case_facts import ScoringFacts
from reports.parts import Moment, Part, Probability
from reports.typesetting import typeset, write_pdf
from reports.words import Language, Words, words_of

Urgency = Literal["positive", "indeterminate", "not evaluable", "negative"]
URGENCY: tuple[Urgency, ...] = ("positive", "indeterminate", "not evaluable", "negative")
"""The groups, most urgent first; the page says why."""


class IndexRow(Part):
    """One case of the run."""

    case_id: str
    """The case, as entered."""

    call: Call
    """The model's answer."""

    probability: Probability | None = None
    """Calibrated probability of the case; None where not evaluable."""

    low: Probability | None = None
    """Lower end of its interval."""

    high: Probability | None = None
    """Upper end of its interval."""

    refer: bool
    """Whether the case is referred."""

    with_care: bool = False
    """Whether the report asks for care where the rule refers nothing."""

    unlike: bool = False
    """Whether the case looks unlike the development cohort."""

    positive_fields: int = Field(ge=0)
    """Evaluable fields on the positive side."""

    evaluable_fields: int = Field(ge=0)
    """Fields that went into the case."""

    images: int = Field(ge=0)
    """All images of the case."""

    file: str | None = None
    """Name of the report beside the index, in plain characters; None where it could not be written."""

    failed_because: str | None = None
    """Why there is no report."""

    @property
    def urgency(self) -> Urgency:
        """The group of the case: what is unlike the cohort is left to the eye, whatever the call."""
        return "indeterminate" if self.unlike and self.call != "not evaluable" else self.call


class CaseIndex(Part):
    """What the index says."""

    created: Moment
    """Time of the index, with its zone."""

    threshold_set: Probability | None = None
    """The case threshold, where the user replaced the bundle's for this scoring."""

    scoring: ScoringFacts = ScoringFacts()
    """How the fields were scored."""

    networks: int = Field(default=0, ge=0)
    """Of the bundle."""

    synthetic: bool = False
    """True if the model was developed on synthetic phantom data."""

    scores: str
    """Folder of the scores."""

    bundle: str
    """Name and digest of the bundle."""

    rows: tuple[IndexRow, ...]
    """Every case of the scoring."""

    unknown: tuple[str, ...] = ()
    """Cases of the table of entered facts that were not scored."""

    outdated: tuple[str, ...] = ()
    """File names of reports of earlier calls that hold no longer."""

    outdated_folder: str = "outdated"
    """Folder beside the index in which they lie."""


def most_urgent_first(rows: tuple[IndexRow, ...]) -> list[IndexRow]:
    """Sort cases: positive, indeterminate or unlike the cohort, not evaluable, negative; the more probable first."""
    return sorted(rows, key=lambda row: (URGENCY.index(row.urgency), -(row.probability or 0.0), row.case_id))


def write_case_index(index: CaseIndex, out: Path, *, language: Language = "en") -> Path:
    """Set the index as a PDF (PDF/A-2a, PDF/UA-1) with a link to each report.

    Raises:
        InvalidInput: if a text holds a character that the fonts cannot set.
        MissingResource: if there is no font for the language.
    """
    data = index_view(index, words_of(language))
    pdf = typeset("case_index.typ", data, files={}, created=index.created, source=index, language=language)
    return write_pdf(pdf, out)


def index_view(index: CaseIndex, words: Words) -> dict[str, Any]:
    """Give the data of `case_index.typ`."""
    ordered = most_urgent_first(index.rows)
    numbers = {row.case_id: number for number, row in enumerate(ordered, start=1)}
    names = _shown_names(ordered)
    failed = [row for row in ordered if row.file is None]
    counted = {
        name.replace(" ", "_"): wording.whole(sum(row.urgency == name for row in ordered), words) for name in URGENCY
    }
    alerts = [words.say("alert_synthetic")] if index.synthetic else []
    if index.threshold_set is not None:
        alerts.append(words.say("index_threshold", threshold=wording.exact(index.threshold_set)))
    alerts += scoring_notes(index.scoring, index.networks, words, kind="index")
    if failed:
        alerts.append(words.say("index_failed_counts", number=wording.whole(len(failed), words)))
    if index.unknown:
        alerts.append(words.say("index_unknown", cases=_first_names(index.unknown, words)))
    if index.outdated:
        files = _first_names(index.outdated, words)
        alerts.append(words.say("index_outdated", folder=index.outdated_folder, files=files))
    return {
        "words": {**words.tables["page"], **words.tables["index"]},
        "title": words.say("index_title"),
        "subtitle": words.say("index_subtitle"),
        "created": wording.moment(index.created, words),
        "scores": wording.short_name(index.scores, 48),
        "bundle": wording.short_name(index.bundle, 48),
        "alerts": alerts,
        "counts": words.say("index_counts", total=wording.whole(len(ordered), words), **counted),
        "failed": [[*_cells(row, numbers, names, words)[:4], _failure(row, words)] for row in failed],
        "groups": [
            {
                "kind": name,
                "rows": [
                    {"cells": _cells(row, numbers, names, words), "file": row.file or ""}
                    for row in ordered
                    if row.urgency == name
                ],
            }
            for name in URGENCY
        ],
    }


def _first_names(names: tuple[str, ...], words: Words) -> str:
    more = f" … ({len(names)})" if len(names) > 20 else ""
    return words["list"].join(wording.short_name(name) for name in names[:20]) + more


def _shown_names(rows: Sequence[IndexRow]) -> dict[str, str]:
    """What each case is called in the index: shortened, but whole where two would look alike."""
    short = {row.case_id: wording.short_name(row.case_id, 40) or wording.MISSING for row in rows}
    times = Counter(short.values())
    return {case: name if times[name] == 1 else wording.short_name(case, 300) for case, name in short.items()}


def _cells(row: IndexRow, numbers: dict[str, int], names: dict[str, str], words: Words) -> list[str]:
    probability = wording.MISSING
    if row.probability is not None:
        probability = wording.score(row.probability)
        if row.low is not None and row.high is not None:
            bounds = words.say("interval", low=wording.score(row.low), high=wording.score(row.high))
            probability = words.say("with_interval", value=probability, interval=bounds)
    call = words["unlike"] if row.unlike and row.call != "not evaluable" else words.stored(row.call)
    return [
        str(numbers[row.case_id]),
        names[row.case_id],
        call,
        probability,
        _referred(row, words),
        " / ".join(wording.whole(n, words) for n in (row.positive_fields, row.evaluable_fields, row.images)),
        wording.short_name(row.file, 40) if row.file else wording.MISSING,
    ]


def _referred(row: IndexRow, words: Words) -> str:
    if row.refer:
        return words["yes"]
    if row.file is None:  # whether care is asked for stands in the report, which there is not
        return words["not_known"]
    return words["with_care"] if row.with_care else words["no"]


def _failure(row: IndexRow, words: Words) -> str:
    return wording.one_line(row.failed_because or "", 300, words)
