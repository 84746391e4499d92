"""Drawing a map of evidence over the view that it explains.

Viridis: even steps of evidence look even, readers with any colour vision see the order, and its green and
yellow belong to no dye of the Romanowsky family. Where there is no evidence the view shows unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Map = npt.NDArray[np.floating]

_LOOKUP: Pixels = np.asarray(
    cv2.cvtColor(cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB),
    dtype=np.uint8,
).reshape(256, 3)


def colours(values: Map) -> Pixels:
    """Colour values of [0, 1], any shape; RGB uint8 with a last axis of 3. Values outside are clipped."""
    levels = np.rint(np.clip(np.nan_to_num(values), 0.0, 1.0) * 255).astype(np.uint8)
    return np.asarray(_LOOKUP[levels], dtype=np.uint8)


def shared_scale(maps: Sequence[Map]) -> float:
    """The evidence that is drawn as full, for all maps of a case: the largest in any of them.

    One scale keeps the fields of a case comparable: a field without evidence stays dark beside one with it.
    It is 1.0 where no map holds any evidence.
    """
    largest = max((float(np.max(map_)) for map_ in maps), default=0.0)
    return largest if largest > 0 else 1.0


def overlay(view: Pixels, evidence: Map, *, scale: float, strength: float = 0.65) -> Pixels:
    """Lay a map over its view; the more evidence, the less transparent, so that cells stay visible.

    Args:
        view: RGB uint8, shape (S, S, 3), the very pixels that the network saw.
        evidence: shape (S, S), from `class_activation_map`.
        scale: the evidence that is drawn as full; the same for every field of a case.
        strength: opacity at full evidence, in (0, 1].

    Returns:
        RGB uint8, shape (S, S, 3).
    """
    if scale <= 0:
        raise ValueError(f"Expected argument `scale` to be larger than 0, but got {scale}")
    if view.shape[:2] != evidence.shape:
        raise ValueError(f"Expected a map of the view's shape {view.shape[:2]}, but got {evidence.shape}")
    share = np.clip(np.nan_to_num(evidence) / scale, 0.0, 1.0)
    opacity = opacities(share, strength)[..., None]
    mixed = (1.0 - opacity) * view + opacity * colours(share)
    return np.rint(mixed).astype(np.uint8)


def opacities(share: Map, strength: float = 0.65) -> Map:
    """Opacity for a share of the full evidence: none at zero, `strength` from half the scale on."""
    return strength * np.clip(2.0 * share, 0.0, 1.0)


def colour_bar(length: int, thickness: int, *, vertical: bool = True) -> Pixels:
    """The colours of no to full evidence: RGB uint8, upwards (vertical) or to the right.

    Numbers and words beside it are the document's, set in its own type.
    """
    ramp = colours(np.linspace(0.0, 1.0, length))
    if vertical:
        return np.ascontiguousarray(np.repeat(ramp[::-1, None], thickness, axis=1))
    return np.ascontiguousarray(np.repeat(ramp[None], thickness, axis=0))
