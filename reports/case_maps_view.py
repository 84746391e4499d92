"""What `case.typ` prints of the fields that weighed most, and of their heat maps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from reports import wording
from reports.words import Words

if TYPE_CHECKING:
    from reports.case import CaseReport
    from reports.case_parts import DecidingField


def deciding_view(field: DecidingField, index: int, words: Words) -> dict[str, Any]:
    """One field: its pictures, its words, its scale bar."""
    name = wording.short_name(field.name, 26)
    shown = wording.score(field.probability)
    return {
        "name": name,
        "probability": words.say("field_probability", probability=shown),
        "crop": f"crop-{index}.jpg",
        "overlay": f"overlay-{index}.jpg",
        "bar": scale_bar(field.crop_width, field.microns_per_pixel),
        "crop_alt": words.say("crop_alt", name=name, probability=shown),
        "overlay_alt": words.say("overlay_alt", name=name),
        "whole": _whole(field, index, name, words),
    }


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
    if heat is None or not report.deciding:
        return None
    middle = (heat.low + heat.high) / 2
    ticks = [f"{value:.3g}".replace("-", "\u2212") for value in (heat.low, middle, heat.high)]
    unit = words.say("map_unit")
    method, layer = words.stored(heat.method), words.stored(heat.layer)
    return {
        "colours": list(heat.colours),
        "ticks": ticks,
        "caption": words.say("map_caption", method=method, layer=layer, unit=unit),
        "faithfulness": words.stored(heat.faithfulness) if heat.faithfulness else words.say("faithfulness_unmeasured"),
        "crops": words.say("map_crops") if any(field.shown for field in report.deciding) else "",
        "alt": words.say("map_alt", low=ticks[0], high=ticks[2], unit=unit),
    }
