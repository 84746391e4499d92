"""How large a pixel of a slide is, from what its scanner wrote, or not at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from msht.errors import UnreadableImage

FINEST, COARSEST = 0.02, 10.0
"""Microns a pixel between which the scan of a slide lies; a screen's 72 or 96 dots an inch are far beyond."""

ANISOTROPY = 0.02
"""Largest difference between the two directions that is taken for rounding; tiles are squares of the glass."""

_MICRONS = {"inch": 25_400.0, "centimeter": 10_000.0}
"""Microns of the units that a TIFF file may count its pixels in, in OpenSlide's words."""

_MEND = "Give the scanner's figure with --slide-microns-per-pixel."


@dataclass(frozen=True)
class SlideScale:
    """The size of a pixel of level 0.

    Attributes:
        microns_per_pixel: edge of a pixel in um.
        source: where the figure comes from, in words.
    """

    microns_per_pixel: float
    source: str


def slide_scale(properties: Mapping[str, str], path: Path, given: float | None = None) -> SlideScale:
    """Find how large a pixel of level 0 is: as the user says, else as the scanner wrote, else as TIFF tags have it.

    The power of the objective is no size: the same 20x gives 0.5 um on one scanner and 0.33 on another.

    Args:
        properties: of the slide, in OpenSlide's words.
        path: names it in errors.
        given: the user's figure in um; it goes before what the file says.

    Raises:
        UnreadableImage: if nothing is known, or what is written cannot be true or differs between the directions.
    """
    if given is not None:
        return SlideScale(given, "given by the user")
    for source, pair in (("written by the scanner", _scanner(properties)), ("TIFF resolution", _tags(properties))):
        if pair is None:
            continue
        across, down = pair
        if not all(FINEST <= value <= COARSEST for value in pair):
            raise UnreadableImage(
                f"{path} says that a pixel is {across:.4g} x {down:.4g} um, which no scan of a slide is.", _MEND
            )
        if abs(across - down) > ANISOTROPY * max(pair):
            raise UnreadableImage(
                f"{path} says that a pixel is {across:.4g} um wide and {down:.4g} um high; fields have square pixels.",
                _MEND,
            )
        return SlideScale(math.sqrt(across * down), source)
    power = properties.get("openslide.objective-power")
    known = f", only that the objective was {power}x, which is no size" if power else ""
    raise UnreadableImage(f"{path} does not say how large its pixels are{known}.", _MEND)


def _scanner(properties: Mapping[str, str]) -> tuple[float, float] | None:
    across, down = (_number(properties.get(f"openslide.mpp-{axis}")) for axis in "xy")
    if across is None or down is None:
        only = across if across is not None else down
        return None if only is None else (only, only)
    return across, down


def _tags(properties: Mapping[str, str]) -> tuple[float, float] | None:
    microns = _MICRONS.get(properties.get("tiff.ResolutionUnit", ""))
    across, down = (_number(properties.get(f"tiff.{axis}Resolution")) for axis in "XY")
    if microns is None or not across or not down:
        return None
    return microns / across, microns / down


def _number(text: str | None) -> float | None:
    """Read a property; None where there is none, or no finite number."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
