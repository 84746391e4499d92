"""The case report: from the tables of a scoring and its maps to a PDF."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msht import __version__
from msht.bundle import Bundle
from msht.decision import Decision, override_threshold
from msht.errors import InvalidInput
from msht.explanation.overlay import colours
from pipelines.explain import Maps, explain_case, require_case
from pipelines.report_case_interval import CONFIDENCE, case_interval
from pipelines.report_case_pictures import rejected_pictures
from pipelines.report_case_scoring import Scoring, read_scoring
from pipelines.words import cohort_in_words, find_row, intervals_in_words
from reports.case import (
    MOST_ENTERED,
    CaseReport,
    CaseScore,
    Conformal,
    FieldRow,
    OperatingPoint,
    write_case_report,
)
from reports.case_parts import DecidingField, HeatMap, RejectedPicture
from reports.fonts import settable_characters
from reports.parts import Counts, Estimate, Fact, ModelFacts, Performance, Weight
from reports.words import Language

ORIENTATIONS = {
    1: "none",
    2: "mirrored",
    3: "rotated 180",
    4: "mirrored, rotated 180",
    5: "mirrored, rotated 90",
    6: "rotated 90",
    7: "mirrored, rotated 270",
    8: "rotated 270",
}
SURE = "The conformal set holds this call alone, and most fields look like the development cohort."
"""Why a case is not referred."""


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
) -> Path:
    """Write the report of one case; its maps are made unless they are there.

    Args:
        bundle_path: that scored the case.
        scores: folder of `msht score`.
        case: id, as in `cases.csv`.
        out: the PDF.
        entered: name and value of what the user types about the case; printed as entered.
        microns_per_pixel: of the photographs, for the scale bar.
        created: time of the report; None: now. The same time and data give the same bytes.
        device: for maps that must be made.
        language: of the report.

    Raises:
        InvalidInput: if the case is unknown, the scores are of another bundle, or a text cannot be set.
        MissingResource: if there is no font for the language.
    """
    report = prepare_case_report(
        read_scoring(bundle_path, scores),
        case,
        entered=entered,
        microns_per_pixel=microns_per_pixel,
        created=created,
        device=device,
        language=language,
    )
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
) -> CaseReport:
    """What the report of a case says; its maps and pictures are made unless they are there.

    Arguments and errors are those of `report_case`; `networks` is an ensemble loaded before, for many cases.
    """
    if len(entered) > MOST_ENTERED:
        raise InvalidInput(
            f"{len(entered)} facts are entered about the case '{case}'; a report has room for {MOST_ENTERED}.",
            "Leave some out.",
        )
    row = require_case(scoring.cases, case, scoring.folder)
    fields = scoring.fields_of(case)
    maps = None
    if row["call"] != "not evaluable":
        maps = explain_case(scoring.bundle, scoring.folder, fields, case, row["call"], device=device, networks=networks)
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
    return CaseReport(
        report_id=f"{bundle.short_digest[:6]}-{created:%Y%m%d-%H%M%S}-{_code(case)}",
        case_id=case,
        created=created,
        call=row["call"],
        not_evaluable_because=(" ".join(reasons) or "not evaluable") if not_evaluable else None,
        positive_means=cohort["positive_means"],
        score=None if not_evaluable else _score(bundle, decision, fields, row),
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
        refer_because=reasons or (SURE,),
        out_of_distribution=bool(evaluable and novel / evaluable > 0.5),
        field_threshold=decision.field_point.threshold,
        case_rule=decision.case_rule_in_words,
        fields=_field_rows(fields, scoring.refused_of(case), language),
        deciding=_deciding(maps, microns_per_pixel, language),
        rejected_pictures=_pictures(scoring.folder, case, fields, language) if not_evaluable else (),
        heat_map=_heat_map(maps, bundle.description.explanation),
        performance=tuple(performance_part(description.performance, cohort, level) for level in ("case", "field")),
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


def _score(bundle: Bundle, decision: Decision, fields: pd.DataFrame, row: dict[str, Any]) -> CaseScore:
    interval = case_interval(bundle, decision, fields, float(row["probability"]))
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


def _deciding(maps: Maps | None, microns_per_pixel: float | None, language: Language) -> tuple[DecidingField, ...]:
    if maps is None:
        return ()
    return tuple(
        DecidingField(
            name=name_in_print(field["image"], language),
            crop=maps.folder / field["crop"],
            overlay=maps.folder / field["overlay"],
            probability=field["probability"],
            crop_width=field["crop_width"],
            shown=_shown(field),
            whole=maps.folder / field["field"] if field.get("field") else None,
            microns_per_pixel=microns_per_pixel,
        )
        for field in maps.fields
    )


def _shown(field: dict[str, Any]) -> tuple[int, int] | None:
    """Which crop of how many; None where there is but one (older maps say nothing of it)."""
    shown = field.get("shown") or {"number": 1, "of": 1}
    return (shown["number"], shown["of"]) if shown["of"] > 1 else None


def _heat_map(maps: Maps | None, checked: dict[str, Any]) -> HeatMap | None:
    if maps is None or not maps.fields:
        return None
    # The bundle's checks are about its own method and layer; maps made otherwise were not checked.
    same = maps.layer == checked.get("layer_in_words") and maps.method.startswith(checked.get("method_in_words", "-"))
    stops = colours(np.linspace(0, 1, 9))
    return HeatMap(
        method=maps.method,
        layer=maps.layer,
        high=maps.scale,
        colours=tuple(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in stops),
        faithfulness=checked["sentence"] if same and checked.get("scores") else None,
    )


def _pictures(scores: Path, case: str, fields: pd.DataFrame, language: Language) -> tuple[RejectedPicture, ...]:
    return tuple(
        RejectedPicture(name=name_in_print(name, language), picture=path)
        for name, path in rejected_pictures(scores, case, fields)
    )


def _field_rows(fields: pd.DataFrame, refused: pd.DataFrame, language: Language) -> tuple[FieldRow, ...]:
    rows = [
        FieldRow(
            name=name_in_print(str(field["image"]), language),
            sha256=str(field["sha256"]),
            width=int(field["width"]),
            height=int(field["height"]),
            orientation=ORIENTATIONS.get(int(field["orientation"]), "none"),
            quality=tuple(filter(None, map(_flag, str(field["not_evaluable_because"]).split("; ")))),
            evaluable=bool(field["evaluable"]),
            rejected_because=None if field["evaluable"] else str(field["not_evaluable_because"]),
            logit=float(field["raw_logit"]),
            probability=float(field["probability"]),
            spread=float(field["spread"]),
            out_of_distribution=bool(field["out_of_distribution"]),
            call=field["call"] if field["evaluable"] else None,
        )
        for field in fields.to_dict("records")
    ]
    rows += [
        FieldRow(
            name=name_in_print(str(image["image"]), language),
            sha256="",
            evaluable=False,
            rejected_because="could not be read whole",
        )
        for image in refused.to_dict("records")
    ]
    return tuple(rows)


def name_in_print(name: str, language: Language = "en") -> str:
    """A file name as the fonts can set it; what they cannot is shown by its code point, since no one can retype it."""
    settable = settable_characters(language)
    return "".join(c if ord(c) in settable and c.isprintable() else f"<{ord(c):04X}>" for c in name)


def _flag(reason: str) -> str:
    """The words of a quality reason without its figures, which are in the table of images."""
    return reason.partition(" (")[0].partition(":")[0]


def performance_part(rows: list[dict[str, Any]], cohort: dict[str, Any], level: Any) -> Performance:
    """The test figures of a level as a report prints them."""
    row = find_row([r for r in rows if r["role"] == "test"], level)
    counts = row["counts"]
    return Performance(
        level=level,
        cohort=f"test role of {cohort['title']} ({cohort['test_rule']})",
        role="test",
        counts=counts_part(counts),
        sensitivity=estimate_part(row, "sensitivity"),
        specificity=estimate_part(row, "specificity"),
        ppv=estimate_part(row, "ppv"),
        npv=estimate_part(row, "npv"),
        patients=row["n_groups"] if row["unit"] == "patients" else None,
        interval_method=intervals_in_words(row).replace("; AUROC: DeLong", ""),
    )


def counts_part(counts: dict[str, int]) -> Counts:
    """The 2 x 2 table of a summary as a report prints it."""
    return Counts(
        tp=counts["true_positives"],
        fp=counts["false_positives"],
        fn=counts["false_negatives"],
        tn=counts["true_negatives"],
    )


def estimate_part(row: dict[str, Any], measure: str) -> Estimate:
    """A figure of a summary as a report prints it."""
    estimate = row["estimates"][measure]
    return Estimate(value=estimate["value"], low=estimate["low"], high=estimate["high"])


def _code(case: str) -> str:
    from msht.files import sha256_of_text

    return sha256_of_text(case)[:6]
