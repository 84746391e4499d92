"""The case report: from the tables of a scoring and its maps to a PDF."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msht import __version__
from msht.bundle import Bundle, read_bundle
from msht.explanation.overlay import colours
from pipelines.explain import Maps, cases_of_scores, explain_case, require_case, require_same_bundle
from pipelines.words import cohort_in_words, find_row, intervals_in_words
from reports.case import (
    CaseReport,
    CaseScore,
    Conformal,
    DecidingField,
    FieldRow,
    HeatMap,
    OperatingPoint,
    write_case_report,
)
from reports.fonts import settable_characters
from reports.parts import Counts, Estimate, Fact, ModelFacts, Performance, Weight

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

    Raises:
        InvalidInput: if the case is unknown, the scores are of another bundle, or a text cannot be set.
    """
    bundle = read_bundle(bundle_path)
    images, cases, rejected, record = cases_of_scores(scores)
    require_same_bundle(bundle, bundle_path, record, scores)
    row = require_case(cases, case, scores)
    fields = images[images["case"] == case] if len(images) else images
    refused = rejected[rejected["case"] == case] if len(rejected) else rejected
    maps = None
    if row["call"] != "not evaluable":
        maps = explain_case(bundle, scores, fields, case, row["call"], device=device)
    report = build_case_report(
        bundle,
        record,
        row,
        fields,
        refused,
        maps,
        entered=entered,
        microns_per_pixel=microns_per_pixel,
        created=created or datetime.now(UTC).astimezone(),
    )
    return write_case_report(report, out)


def build_case_report(
    bundle: Bundle,
    record: dict[str, Any],
    row: dict[str, Any],
    fields: pd.DataFrame,
    refused: pd.DataFrame,
    maps: Maps | None,
    *,
    entered: Sequence[tuple[str, str]],
    microns_per_pixel: float | None,
    created: datetime,
) -> CaseReport:
    """Put together what the report says; nothing is computed here that the tables do not hold."""
    description = bundle.description
    decision, cohort = description.decision, description.cohort
    not_evaluable = row["call"] == "not evaluable"
    novel = int(row["out_of_distribution_fields"])
    evaluable = int(row["evaluable_fields"])
    reasons = tuple(filter(None, [str(row["reasons"])]))
    deciding: tuple[DecidingField, ...] = ()
    heat_map = None
    if maps is not None and maps.fields:
        deciding = tuple(
            DecidingField(
                name=name_in_print(field["image"]),
                crop=maps.folder / field["crop"],
                overlay=maps.folder / field["overlay"],
                probability=field["probability"],
                crop_width=field["crop_width"],
                microns_per_pixel=microns_per_pixel,
            )
            for field in maps.fields
        )
        stops = colours(np.linspace(0, 1, 9))
        heat_map = HeatMap(
            method=maps.method,
            layer=maps.layer,
            high=maps.scale,
            unit="positive evidence, arbitrary units; more is drawn as the last colour",
            colours=tuple(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in stops),
        )
    return CaseReport(
        report_id=f"{bundle.short_digest[:6]}-{created:%Y%m%d-%H%M%S}-{_code(str(row['case']))}",
        case_id=str(row["case"]),
        created=created,
        call=row["call"],
        not_evaluable_because=_why_not(row) if not_evaluable else None,
        positive_means=cohort["positive_means"],
        score=None if not_evaluable else CaseScore(probability=row["probability"], logit=row["logit"]),
        operating_point=OperatingPoint(
            threshold=row["threshold"],
            rule="set by the user for this scoring" if row["threshold_overridden"] else decision.case_point.rule,
            data="none" if row["threshold_overridden"] else decision.case_point.data,
            guarantee=None if row["threshold_overridden"] else decision.case_point.guarantee,
            overridden=bool(row["threshold_overridden"]),
        ),
        conformal=None
        if not_evaluable
        else Conformal(
            classes=tuple(c for c in ("negative", "positive") if c in str(row["conformal_set"]).split()),
            error=decision.conformal_error,
            positive_from=1 - decision.quantiles[1],
            negative_up_to=decision.quantiles[0],
        ),
        refer=bool(row["refer"]),
        refer_because=reasons
        or ("The conformal set holds this call alone, and most fields look like the development cohort.",),
        out_of_distribution=(
            f"{novel} of {evaluable} evaluable fields look unlike the development cohort."
            if evaluable and novel / evaluable > 0.5
            else None
        ),
        case_rule=decision.case_rule_in_words,
        fields=_field_rows(fields, refused),
        deciding=deciding,
        heat_map=heat_map,
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
        full_table="images.csv",
    )


def _why_not(row: dict[str, Any]) -> str:
    total = int(row["fields"]) + int(row["rejected_images"])
    return (
        f"Of {total} image{'' if total == 1 else 's'}, {int(row['evaluable_fields'])} can be evaluated: "
        f"{int(row['rejected_images'])} could not be read and "
        f"{int(row['fields']) - int(row['evaluable_fields'])} did not pass the quality gate."
    )


def _field_rows(fields: pd.DataFrame, refused: pd.DataFrame) -> tuple[FieldRow, ...]:
    rows = [
        FieldRow(
            name=name_in_print(str(field["image"])),
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
            name=name_in_print(str(image["image"])),
            sha256="",
            evaluable=False,
            rejected_because="could not be read whole",
        )
        for image in refused.to_dict("records")
    ]
    return tuple(rows)


def name_in_print(name: str) -> str:
    """A file name as the fonts can set it; what they cannot is shown by its code point, since no one can retype it."""
    settable = settable_characters()
    return "".join(c if ord(c) in settable and c.isprintable() else f"<{ord(c):04X}>" for c in name)


def _flag(reason: str) -> str:
    """The words of a quality reason without its figures, which are in the table of images."""
    return reason.partition(" (")[0]


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
        interval_method=intervals_in_words(row),
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
