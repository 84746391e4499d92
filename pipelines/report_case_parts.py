"""From rows of tables, maps and bundles to the parts of a case report."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unicodedata import bidirectional

import numpy as np
import pandas as pd

from msht.errors import BrokenBundle
from msht.explanation.overlay import colours
from pipelines.case_maps import Maps
from pipelines.inputs import file_name_for
from pipelines.words import find_row, intervals_in_words
from reports.case import FieldRow
from reports.case_parts import DecidingField, HeatMap, NotShown, SlidePicture
from reports.fonts import settable_characters
from reports.parts import Counts, Estimate, Performance
from reports.words import Language

ORIENTATIONS = {
    1: "none",
    2: "mirrored",
    3: "rotated 180°",
    4: "mirrored, rotated 180°",
    5: "mirrored, rotated 90°",
    6: "rotated 90°",
    7: "mirrored, rotated 270°",
    8: "rotated 270°",
}
_FROM_THE_RIGHT = frozenset(("R", "AL", "AN"))
"""Classes of characters that run from right to left (Unicode, UAX 9)."""
MOST_SLIDES = 4
"""Slides of a case whose heat maps are shown."""


def deciding_parts(
    maps: Maps | None, microns_per_pixel: float | None, field_threshold: float, language: Language
) -> tuple[DecidingField, ...]:
    """The fields that weighed most, as their maps' record keeps them, most weighty first."""
    if maps is None:
        return ()
    sides = [field["probability"] >= field_threshold for field in maps.fields]
    mixed = len(set(sides)) > 1
    return tuple(
        DecidingField(
            name=name_in_print(field["image"], language),
            crop=maps.folder / field["crop"],
            overlay=maps.folder / field["overlay"],
            probability=field["probability"],
            crop_width=field["crop_width"],
            peak=_peak(maps, place),
            speaks=("for" if sides[place] else "against") if mixed else None,
            shown=_shown(field),
            whole=maps.folder / field["field"] if field.get("field") else None,
            microns_per_pixel=microns_per_pixel,
        )
        for place, field in enumerate(maps.fields)
    )


def not_shown_parts(maps: Maps | None, language: Language) -> tuple[NotShown, ...]:
    """The fields that weighed most and whose photographs are gone."""
    gone = maps.gone if maps else ()
    return tuple(NotShown(name=name_in_print(one.image, language), probability=one.probability) for one in gone)


def _peak(maps: Maps, place: int) -> float | None:
    """Largest value of a map; records of older versions leave it to the map itself."""
    known = maps.fields[place].get("peak")
    if known is not None:
        return float(known)
    kept = maps.folder / f"{place + 1}-map.npy"
    return float(np.load(kept, allow_pickle=False).max()) if kept.is_file() else None


def _shown(field: dict[str, Any]) -> tuple[int, int] | None:
    """Which crop of how many; None where there is but one (older maps say nothing of it)."""
    shown = field.get("shown") or {"number": 1, "of": 1}
    return (shown["number"], shown["of"]) if shown["of"] > 1 else None


def heat_map_part(maps: Maps | None, checked: dict[str, Any], view_size: int) -> HeatMap | None:
    """The scale that the maps share, and what was measured of such maps."""
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
        view_size=view_size,
        faithfulness=checked["sentence"] if same and checked.get("scores") else None,
        failed_checks=tuple(
            str(name) for name, found in (checked.get("scores") or {}).items() if same and found.get("passed") is False
        ),
    )


_UNREADABLE, _UNPRINTABLE = "could not be read whole", "not read: its name cannot be printed"


def field_rows(
    fields: pd.DataFrame, refused: pd.DataFrame, language: Language, *, networks: int
) -> tuple[FieldRow, ...]:
    """A row for each scored field, then one for each file that could not be read.

    Args:
        fields: scored.
        refused: rows of the table of rejected images.
        language: of the page.
        networks: that answered; of one alone there is no spread.
    """
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
            spread=float(field["spread"]) if networks > 1 else None,
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
            rejected_because=_UNPRINTABLE if "cannot be printed" in str(image["reason"]) else _UNREADABLE,
        )
        for image in refused.to_dict("records")
    ]
    return tuple(rows)


def slide_parts(scores: Path, fields: pd.DataFrame, language: Language) -> tuple[SlidePicture, ...]:
    """The heat map of each slide of the case that has one, the first `MOST_SLIDES` of them."""
    if "slide" not in fields:
        return ()
    shown: list[SlidePicture] = []
    for name, tiles in fields[fields["slide"].notna() & (fields["slide"] != "")].groupby("slide", sort=True):
        picture = scores / "slides" / file_name_for(str(name)) / "heatmap.png"
        if picture.is_file() and len(shown) < MOST_SLIDES:
            good = tiles[tiles["evaluable"].astype(bool)]
            shown.append(
                SlidePicture(
                    name=name_in_print(str(name), language),
                    picture=picture,
                    tiles=len(tiles),
                    evaluable=len(good),
                    positive=int((good["call"] == "positive").sum()),
                )
            )
    return tuple(shown)


def name_in_print(name: str, language: Language = "en") -> str:
    """A file name as the fonts can set it; what they cannot is shown by its code point, since no one can retype it.

    So is what is written from the right, since it would turn the code points and marks beside it around.
    """
    settable = settable_characters(language)
    return "".join(
        c if ord(c) in settable and c.isprintable() and bidirectional(c) not in _FROM_THE_RIGHT else f"<{ord(c):04X}>"
        for c in name
    )


def _flag(reason: str) -> str:
    """The words of a quality reason without its figures, which are in the table of images."""
    return reason.partition(" (")[0].partition(":")[0]


def performance_part(rows: list[dict[str, Any]], cohort: dict[str, Any], level: Any) -> Performance:
    """The test figures of a level as a report prints them.

    Raises:
        BrokenBundle: if they do not say what the intervals leave out, as those of the first versions.
    """
    row = find_row([r for r in rows if r["role"] == "test"], level)
    if "unit" not in row:
        raise BrokenBundle(
            "The bundle's figures do not say whose they are: it was made by an earlier version of msht.",
            "Make it again with `msht bundle`, from a run of this version.",
        )
    counts = row["counts"]
    return Performance(
        level=level,
        cohort=f"Test role of {cohort['title']} ({cohort['test_rule']})",
        role="test",
        threshold=row["threshold"],
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
