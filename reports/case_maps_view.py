"""What `case.typ` prints of the fields that weighed most, and of their heat maps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from reports import wording
from reports.case_pictures import TILE_MM
from reports.words import Words

if TYPE_CHECKING:
    from reports.case import CaseReport
    from reports.case_parts import DecidingField, SlidePicture


BLANK_BELOW = 0.25
"""Share of the scale below which a map looks empty on the page, and is said to be."""


MOST_NOT_SHOWN = 4
"""Fields without a picture that page 1 names."""


def heading_of_deciding(report: CaseReport, words: Words) -> str:
    """What the fields that are shown have in common."""
    heading = "deciding_positive" if report.call == "positive" else "deciding_both"
    return words.say(heading if len(report.deciding) + len(report.not_shown) > 1 else "deciding_one")


def not_shown_view(report: CaseReport, words: Words) -> str:
    """Which fields have no picture, and why; empty where all have."""
    named = [
        words.say("field_named", name=wording.short_name(field.name, 26), probability=wording.score(field.probability))
        for field in report.not_shown[:MOST_NOT_SHOWN]
    ]
    more = len(report.not_shown) - len(named)
    return words.join(
        words.say("not_shown", fields=words["list"].join(named)) if named else "",
        words.say("not_shown_more", number=wording.whole(more, words)) if more else "",
    )


def deciding_view(field: DecidingField, index: int, high: float, words: Words, kind: str = "") -> dict[str, Any]:
    """One field: its pictures, its words, its scale bar.

    Args:
        field: the field.
        index: its place among those that are shown.
        high: value of the last colour of the case's maps.
        words: of the language.
        kind: what the names of its pictures begin with.
    """
    name = wording.short_name(field.name, 26)
    shown = wording.score(field.probability)
    return {
        "name": name,
        "probability": words.say("field_speaks", probability=shown, side=words.say(f"speaks_{field.speaks}"))
        if field.speaks
        else words.say("field_probability", probability=shown),
        "peak": _peak(field, high, words),
        "crop": f"{kind}crop-{index}.jpg",
        "overlay": f"{kind}overlay-{index}.jpg",
        "bar": scale_bar(field.crop_width, field.microns_per_pixel),
        "crop_alt": words.say("crop_alt", name=name, probability=shown),
        "overlay_alt": words.join(words.say("overlay_alt", name=name), _peak(field, high, words)),
        "whole": _whole(field, index, name, words),
    }


def _peak(field: DecidingField, high: float, words: Words) -> str:
    """The largest value of a map, and whether the page can show it: the same picture may mean little or nothing."""
    if field.peak is None:
        return ""
    value = f"{field.peak:.2g}" if field.peak else "0"
    if field.peak < BLANK_BELOW * high:
        return words.say("peak_blank", value=value)
    return words.say("peak_beyond" if field.peak > high * 1.01 else "peak", value=value)


def _whole(field: DecidingField, index: int, name: str, words: Words) -> dict[str, str] | None:
    if field.shown is None:
        return None
    number, total = (wording.whole(count, words) for count in field.shown)
    return {
        "picture": f"whole-{index}.jpg",
        "words": words.say("crop_of", number=number, total=total),
        "alt": words.say("whole_alt", name=name, number=number, total=total),
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


def heat_map_view(report: CaseReport, words: Words) -> dict[str, Any] | None:
    """The scale that the maps of the case share; None where none is shown."""
    heat = report.heat_map
    if heat is None or not (report.deciding or report.tiles):
        return None
    middle = (heat.low + heat.high) / 2
    ticks = [f"{value:.3g}".replace("-", "\u2212") for value in (heat.low, middle, heat.high)]
    unit = words.say("map_unit")
    method, layer = words.stored(heat.method), words.stored(heat.layer)
    checks = "faithfulness_unmeasured"
    if heat.faithfulness:
        checks = "faithfulness_failed" if heat.failed_checks else "faithfulness_passed"
    failed = words["list"].join(words.stored(name) for name in heat.failed_checks)
    size = ""
    if heat.view_size is not None:
        size = words.say("view_size", size=wording.whole(heat.view_size, words), share=_share_seen(report, words))
    legend = (
        words.say("map_caption", method=method, layer=layer, unit=unit),
        words.say("map_crops") if any(field.shown for field in report.deciding) else "",
        words["same_scale"],
        words.say("maps_negative") if report.call == "negative" else "",
        words["two_curves"],
        words.say(checks, **({"names": failed} if checks == "faithfulness_failed" else {})),
        "" if any(field.microns_per_pixel for field in report.deciding) else words.say("scale_unknown"),
        words["map_caveat"],
    )
    return {
        "colours": list(heat.colours),
        "ticks": ticks,
        "legend_stacked": words.join(words.say("order_stacked", size=size), *legend),
        "legend_wide": words.join(words.say("order_wide", size=size), *legend),
        "alt": words.say("map_alt", low=ticks[0], high=ticks[2], unit=unit),
    }


def _share_seen(report: CaseReport, words: Words) -> str:
    """How much of its field each shown crop is; empty for tiles, and where a field has several crops."""
    if report.of_slides or any(field.shown for field in report.deciding):
        return ""
    areas = {row.name: row.width * row.height for row in report.fields if row.width and row.height}
    shares = [min(1.0, field.crop_width**2 / areas[field.name]) for field in report.deciding if field.name in areas]
    if not shares:
        return ""
    name = "view_share" if max(shares) - min(shares) < 0.01 else "view_share_least"
    return words.say(name, share=wording.percent(min(shares), 0, words))


def tiles_view(report: CaseReport, words: Words) -> dict[str, Any] | None:
    """The page of the tiles that weighed most; None where there is none."""
    if not report.tiles or report.heat_map is None:
        return None
    number = wording.whole(len(report.tiles), words)
    return {
        "heading": words.say("tiles_heading", number=number),
        "width_mm": TILE_MM,
        "fields": [
            deciding_view(tile, index, report.heat_map.high, words, kind="tile-")
            for index, tile in enumerate(report.tiles)
        ],
    }


def slides_view(report: CaseReport, words: Words) -> list[dict[str, str]]:
    """The page of each slide."""
    return [
        {
            "heading": words.say("slide_heading", name=wording.short_name(slide.name, 60)),
            "picture": f"slide-{index}.jpg",
            "said": words.say("slide_counts", **_counted(slide, words)),
            "key": words.say("slide_key"),
            "alt": words.say("slide_alt", name=wording.short_name(slide.name, 60), **_counted(slide, words)),
        }
        for index, slide in enumerate(report.slides)
    ]


def _counted(slide: SlidePicture, words: Words) -> dict[str, str]:
    return {name: wording.whole(getattr(slide, name), words) for name in ("tiles", "evaluable", "positive")}
