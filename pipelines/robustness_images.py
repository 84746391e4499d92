"""Photographs made worse in known steps: compressed, out of focus, stained otherwise, turned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
GLASS = 245.0
"""Brightness of clear glass, from which optical density is counted."""


@dataclass(frozen=True)
class Perturbation:
    """One way at one strength."""

    kind: str
    """What is done."""
    strength: str
    """How much, in words with the unit."""
    number: float
    """How much, for the axis of a figure."""
    apply: Callable[[Pixels], Pixels]
    """From a photograph, RGB uint8 (H, W, 3), to what it becomes."""


def compressed(pixels: Pixels, quality: int) -> Pixels:
    """Write as JPEG and read again."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None, "what was just encoded"
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def blurred(pixels: Pixels, share: float) -> Pixels:
    """Blur by a Gaussian whose standard deviation is a share of the shorter side."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), share * min(pixels.shape[:2])), dtype=np.uint8)


def restained(pixels: Pixels, strength: float = 1.0, warmth: float = 0.0) -> Pixels:
    """Change how much each pixel absorbs, in optical density; clear glass stays clear.

    Args:
        pixels: RGB uint8.
        strength: factor of the density: above 1 a darker stain, below 1 a paler one.
        warmth: above 0 less red and more blue light is absorbed, so that the picture turns red; below 0, blue.

    Source: optical density is proportional to the amount of stain (Beer and Lambert); Ruifrok and Johnston (2001),
    Anal. Quant. Cytol. Histol. 23:291.
    """
    factors = strength * np.array([1.0 - warmth, 1.0, 1.0 + warmth])
    levels = np.arange(256)[:, None]
    density = np.maximum(-np.log((levels + 1.0) / (GLASS + 1.0)), 0.0)
    table = np.where(levels < GLASS, (GLASS + 1.0) * np.exp(-factors * density) - 1.0, levels)
    lookup = np.clip(np.rint(table), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, lookup[None]), dtype=np.uint8)


def turned(pixels: Pixels, degrees: int) -> Pixels:
    """Turn counter-clockwise; by quarters without a change of any pixel, else with mirrored corners."""
    if degrees % 90 == 0:
        return np.ascontiguousarray(np.rot90(pixels, degrees // 90))
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return np.asarray(
        cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101),
        dtype=np.uint8,
    )


def _all() -> dict[str, Perturbation]:
    made = [Perturbation("JPEG", f"quality {q}", float(q), partial(compressed, quality=q)) for q in (75, 50, 25)]
    for share in (0.0025, 0.005, 0.01):
        words = f"sigma {100 * share:g} % of the shorter side"
        made.append(Perturbation("Blur", words, 100 * share, partial(blurred, share=share)))
    for factor in (0.7, 1.3, 1.6):
        words = f"density × {factor:g}"
        made.append(Perturbation("Stain strength", words, factor, partial(restained, strength=factor)))
    for warmth in (-0.2, -0.1, 0.1, 0.2):
        words = f"{100 * abs(warmth):g} % towards {'red' if warmth > 0 else 'blue'}"
        made.append(Perturbation("Stain colour", words, 100 * warmth, partial(restained, warmth=warmth)))
    for degrees in (45, 90, 180):
        made.append(Perturbation("Rotation", f"{degrees}°", float(degrees), partial(turned, degrees=degrees)))
    return {f"{each.kind}, {each.strength}": each for each in made}


PERTURBATIONS = _all()
"""By name, in the order of the report."""
