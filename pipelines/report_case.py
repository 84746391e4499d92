"""The case report: from the tables of a scoring and its maps to a PDF."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from msht import __version__
from msht.decision import Decision, override_threshold
from msht.errors import InvalidInput
from pipelines.case_maps import SHOWN, Gone, Maps, explain_case, gone_in_words
from pipelines.explain import require_case
from pipelines.progress import Progress
from pipelines.report_case_interval import CONFIDENCE, case_interval
from pipelines.report_case_parts import (
    deciding_parts,
    field_rows,
    heat_map_part,
    name_in_print,
    not_shown_parts,
    performance_part,
    slide_parts,
)
from pipelines.report_case_pictures import rejected_pictures
from pipelines.report_case_scoring import Scoring, read_scoring
from pipelines.words import cohort_in_words
from reports.case import (
    MOST_ENTERED,
    CaseReport,
    CaseScore,
    Conformal,
    OperatingPoint,
    write_case_report,
)
from reports.case_parts import RejectedPicture
from reports.parts import Fact, ModelFacts, Weight
from reports.words import Language

SURE = (
    "The conformal set holds this call alone, and no field was flagged as unlike the development cohort; the check "
    "does not see every difference."
)
"""Why a case is not referred."""

SURE_OF_SET = "The conformal set holds this call alone."
"""The same where some fields look unlike the cohort; the page says of how many."""

MOST_LISTED = 1000
"""Photographs that a report lists; of more it shows the weightiest, and how all are spread."""


def report_case(
    bundle_path: Path,
    scores: Path,
    case: str,
    out: Path,
    *,
    entered: Sequence[tuple[str, str]] = (),
    microns_per_pixel: float | None = None,
    created: datetime | None = None,
    device: str = "cpu",
    language: Language = "en",
    progress: Progress | None = None,
) -> Path:
    """Write the report of one case; its maps are made unless they are there.

    Args:
        bundle_path: that scored the case.
        scores: folder of `msht score`.
        case: id, as in `cases.csv`.
        out: the PDF.
        entered: name and value of what the user types about the case; printed as entered, empty values left out.
        microns_per_pixel: of the photographs, for the scale bar.
        created: time of the report; None: now. The same time and data give the same bytes.
        device: for maps that must be made.
        language: of the report.
        progress: who is told that a photograph is gone, whose field the page then only names.

    Raises:
        InvalidInput: if the case is unknown, the scores are of another bundle, or a text cannot be set.
        MissingResource: if there is no font for the language.
    """
    gone: list[Gone] = []
    report = prepare_case_report(
        read_scoring(bundle_path, scores),
        case,
        gone=gone,
        entered=entered,
        microns_per_pixel=microns_per_pixel,
        created=created,
        device=device,
        language=language,
    )
    if gone and progress is not None:
        progress.say(gone_in_words(gone))
    return write_case_report(report, out, language=language)


def prepare_case_report(
    scoring: Scoring,
    case: str,
    *,
    entered: Sequence[tuple[str, str]] = (),
    microns_per_pixel: float | None = None,
    created: datetime | None = None,
    device: str = "cpu",
    networks: Any = None,
    language: Language = "en",
    gone: list[Gone] | None = None,
) -> CaseReport:
    """What the report of a case says; its maps and pictures are made unless they are there.

    Arguments and errors are those of `report_case`; `networks` is an ensemble loaded before, for many cases, and to
    `gone` the fields are added that have no picture since their photographs are no longer there.
    """
    entered = [(name, value) for name, value in entered if value.strip()]
    if len(entered) > MOST_ENTERED:
        raise InvalidInput(
            f"{len(entered)} facts are entered about the case '{case}'; a report has room for {MOST_ENTERED}.",
            "Leave some out.",
        )
    row = require_case(scoring.cases, case, scoring.folder)
    fields = scoring.fields_of(case)
    maps = None
    if row["call"] != "not evaluable":
        maps = explain_case(
            scoring.bundle,
            scoring.folder,
            fields,
            case,
            row["call"],
            device=device,
            networks=networks,
            folds=scoring.facts.folds,
        )
        if gone is not None:
            gone += maps.gone
    return build_case_report(
        scoring,
        row,
        fields,
        maps,
        entered=entered,
        microns_per_pixel=microns_per_pixel,
        created=created or datetime.now(UTC).astimezone(),
        language=language,
    )


def build_case_report(
    scoring: Scoring,
    row: dict[str, Any],
    fields: pd.DataFrame,
    maps: Maps | None,
    *,
    entered: Sequence[tuple[str, str]],
    microns_per_pixel: float | None,
    created: datetime,
    language: Language = "en",
) -> CaseReport:
    """Put together what the report says: what the tables hold, and the interval of the case's probability."""
    bundle, case = scoring.bundle, str(row["case"])
    description = bundle.description
    decision, cohort = description.decision, description.cohort
    if row["threshold_overridden"]:
        decision = override_threshold(decision, float(row["threshold"]))
    point = decision.case_point
    not_evaluable = row["call"] == "not evaluable"
    novel, evaluable = int(row["out_of_distribution_fields"]), int(row["evaluable_fields"])
    reasons = tuple(filter(None, [str(row["reasons"])]))
    of_slides = "slide" in fields and bool((fields["slide"].notna() & (fields["slide"] != "")).any())
    if of_slides and microns_per_pixel is None:
        microns_per_pixel = scoring.tile_microns_per_pixel
    networks = len(scoring.facts.folds) or len(description.folds)
    deciding = deciding_parts(maps, microns_per_pixel, decision.field_point.threshold, language)
    refused, lost = rejected_pictures(scoring.folder, case, fields) if not_evaluable else ([], [])
    code = _code(row, fields, scoring, entered, language, maps)
    return CaseReport(
        report_id=f"{bundle.short_digest[:6]}-{created:%Y%m%d-%H%M%S}-{code}",
        case_id=case,
        created=created,
        call=row["call"],
        not_evaluable_because=(" ".join(reasons) or "not evaluable") if not_evaluable else None,
        positive_means=cohort["positive_means"],
        score=None if not_evaluable else _score(scoring, decision, fields, row),
        operating_point=OperatingPoint(
            threshold=row["threshold"],
            rule=point.rule,
            data=point.data,
            guarantee=None if point.overridden else point.guarantee,
            unsure=_unsure(decision),
            overridden=point.overridden,
        ),
        conformal=None if not_evaluable else _conformal(decision, str(row["conformal_set"])),
        refer=bool(row["refer"]),
        refer_because=reasons or ((SURE_OF_SET,) if novel else (SURE,)),
        out_of_distribution=bool(evaluable and novel / evaluable > 0.5),
        field_threshold=decision.field_point.threshold,
        case_rule=decision.case_rule_in_words,
        fields=field_rows(fields, scoring.refused_of(case), language, networks=networks),
        deciding=deciding[:SHOWN],
        not_shown=not_shown_parts(maps, language),
        tiles=deciding if of_slides else (),
        slides=slide_parts(scoring.folder, fields, language) if of_slides else (),
        of_slides=of_slides,
        listed_in="images.csv" if of_slides or len(fields) > MOST_LISTED else None,
        rejected_pictures=tuple(RejectedPicture(name=name_in_print(n, language), picture=p) for n, p in refused),
        rejected_gone=tuple(name_in_print(name, language) for name in lost[:4]),
        heat_map=heat_map_part(maps, description.explanation, description.preprocessing.size),
        performance=tuple(performance_part(description.performance, cohort, level) for level in ("case", "field")),
        scoring=scoring.facts,
        entered=tuple(Fact(name=name, value=value) for name, value in entered),
        model=ModelFacts(
            name=description.name,
            version=description.created[:10],
            architecture=description.architecture,
            bundle_digest=bundle.digest,
            weights=tuple(Weight(name=f"fold {fold.number}", sha256=fold.weights_sha256) for fold in description.folds),
            training_data=cohort_in_words(cohort),
            software=f"msht {__version__}",
        ),
        split_by_image=cohort["grouped_by"] is None,
        synthetic=cohort["synthetic"],
        warnings=decision.warnings,
        limits=description.limits,
    )


def _score(scoring: Scoring, decision: Decision, fields: pd.DataFrame, row: dict[str, Any]) -> CaseScore:
    interval = case_interval(scoring.bundle, decision, fields, float(row["probability"]), folds=scoring.facts.folds)
    return CaseScore(
        probability=row["probability"],
        logit=row["logit"],
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        drawn_again=interval.drawn_again if interval else None,
        confidence=CONFIDENCE,
    )


def _conformal(decision: Decision, members: str) -> Conformal:
    negative, positive = decision.quantiles
    return Conformal(
        classes=tuple(c for c in ("negative", "positive") if c in members.split()),
        error=decision.conformal_error,
        positive_from=1 - positive,
        negative_up_to=negative,
    )


def _unsure(decision: Decision) -> tuple[float, float] | None:
    """Probabilities that the bundle refers for being near the threshold; see `confidence_of`."""
    if decision.refer_below is None:
        return None
    threshold, share = decision.case_point.threshold, min(1.0, decision.refer_below)
    return (threshold * (1 - share), threshold + (1 - threshold) * share)


def _code(
    row: dict[str, Any],
    fields: pd.DataFrame,
    scoring: Scoring,
    entered: Sequence[tuple[str, str]],
    language: Language,
    maps: Maps | None,
) -> str:
    """Six digits of the digest of what the report rests on: two that say different things never share an id."""
    from msht.files import sha256_of_text

    rests_on = [
        {name: str(value) for name, value in row.items()},
        [str(digest) for digest in fields["sha256"]],
        scoring.facts.model_dump(mode="json"),
        [list(fact) for fact in entered],
        language,
        [gone.image for gone in maps.gone] if maps else [],
    ]
    return sha256_of_text(json.dumps(rests_on, sort_keys=True))[:6]
