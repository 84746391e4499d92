"""Whether two files show one picture: laid over each other, do their fine details agree?

Cells of one stain look alike in their coarse form, never in the grain of their chromatin and the place of every
red cell. So a pair is registered first, and then only fine detail is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from msht.cohort.duplicates import oriented

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

COMPARED_EDGE = 256
"""Longer edge in px at which two pictures are compared; smaller ones are compared at their own size."""

SAME_FROM = 0.70
"""Correlation of fine detail from which two pictures are the same; docs/audit.md tells where it comes from."""

LEAST_OVERLAP = 0.60
"""Share of each picture that must be seen in the other: neighbouring crops of one slide that overlap less are two."""

_COARSE_EDGE = 96
_COARSE_FROM = 0.55
_SCALES = (0.86, 0.90, 0.94, 0.97, 1.0, 1.03, 1.07, 1.11, 1.16)
_CORE = 0.76
_BORDER = 4
_LEAST_DETAIL = 0.6
_IDENTITY = np.eye(2, 3, dtype=np.float32)


@dataclass(frozen=True)
class Comparison:
    """What laying one picture over another showed."""

    correlation: float
    """Of the fine detail where both are seen, -1 to 1; 0 where nothing could be compared."""
    overlap: float
    """Share of the picture that is seen less, 0 to 1."""

    @property
    def same(self) -> bool:
        """Whether both are one picture."""
        return self.correlation >= SAME_FROM and self.overlap >= LEAST_OVERLAP


NOTHING_COMPARED = Comparison(0.0, 0.0)


def reduced(pixels: Pixels, edge: int = COMPARED_EDGE) -> Pixels:
    """Luminance, shape (h, w), averaged down to a longer edge of at most `edge` px."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels
    factor = edge / max(grey.shape)
    if factor >= 1:
        return np.asarray(grey, dtype=np.uint8)
    size = (max(8, round(grey.shape[1] * factor)), max(8, round(grey.shape[0] * factor)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def compare(first: Pixels, second: Pixels, orientation: int = 0) -> Comparison:
    """Register two pictures and compare their fine detail.

    Args:
        first: luminance as `reduced` gives it.
        second: another.
        orientation: how the second is to be turned to look like the first (see `duplicates.oriented`).

    Returns:
        The comparison; `NOTHING_COMPARED` where a picture is flat or far too small.
    """
    second = oriented(second, orientation)
    if min(first.shape + second.shape) < 16:
        return NOTHING_COMPARED
    # Both at the size of the smaller one: detail that only one of them holds is no evidence.
    edge = min(max(first.shape), max(second.shape))
    first, second = reduced(first, edge), reduced(second, edge)
    if min(_detail(first).std(), _detail(second).std()) < _LEAST_DETAIL:
        return NOTHING_COMPARED
    warp, agreement = _coarse(first, second)
    if agreement < _COARSE_FROM:
        return Comparison(agreement, 0.0)
    return max(
        (_judge(first, second, candidate) for candidate in (warp, _refined(first, second, warp))),
        key=lambda comparison: comparison.correlation,
    )


def _detail(grey: Any, fine: float = 1.0, coarse: float = 3.0) -> Floats:
    """Detail between two scales in px: no shade of the lamp, no noise of the sensor."""
    values = np.asarray(grey, dtype=np.float32)
    return np.asarray(cv2.GaussianBlur(values, (0, 0), fine) - cv2.GaussianBlur(values, (0, 0), coarse))


def _coarse(first: Pixels, second: Pixels) -> tuple[Floats, float]:
    """Find how the second lies in the first: the warp from the first's pixels to the second's, and how well."""
    one = _detail(_square(first))
    best = (-1.0, _IDENTITY)
    side = _COARSE_EDGE
    for scale in _SCALES:
        edge = round(side * scale)
        two = _detail(cv2.resize(_square(second), (edge, edge), interpolation=cv2.INTER_LINEAR))
        core = round(min(_CORE * side, _CORE * edge))
        start = (edge - core) // 2
        found = cv2.matchTemplate(one, two[start : start + core, start : start + core], cv2.TM_CCOEFF_NORMED)
        _, agreement, _, (x, y) = cv2.minMaxLoc(found)
        if agreement > best[0]:
            # A point p of the first lies at (p - at + start) / scale of the second, in px of the squares.
            best = (agreement, np.array([[1 / scale, 0, (start - x) / scale], [0, 1 / scale, (start - y) / scale]]))
    warp = np.array(best[1], dtype=np.float64)
    to_square = np.diag([side / first.shape[1], side / first.shape[0]])
    from_square = np.diag([second.shape[1] / side, second.shape[0] / side])
    result = np.zeros((2, 3), dtype=np.float32)
    result[:, :2] = from_square @ warp[:, :2] @ to_square
    result[:, 2] = from_square @ warp[:, 2]
    return result, float(best[0])


def _square(grey: Pixels) -> Pixels:
    return np.asarray(cv2.resize(grey, (_COARSE_EDGE, _COARSE_EDGE), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _refined(first: Pixels, second: Pixels, warp: Floats) -> Floats:
    """Improve a warp to fractions of a pixel (Evangelidis and Psarakis (2008), IEEE TPAMI 30:1858)."""
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
    try:
        everywhere = np.ones(second.shape, dtype=np.uint8)
        _, better = cv2.findTransformECC(first, second, warp.copy(), cv2.MOTION_AFFINE, stop, everywhere, 5)
    except cv2.error:  # it did not converge: the pictures do not fit
        return warp
    return np.asarray(better, dtype=np.float32)


def _judge(first: Pixels, second: Pixels, warp: Floats) -> Comparison:
    height, width = first.shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(second.astype(np.float32), warp, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
    inner = np.zeros(second.shape, dtype=np.uint8)
    inner[_BORDER:-_BORDER, _BORDER:-_BORDER] = 1
    seen = cv2.warpAffine(inner, warp, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP).astype(bool)
    seen[:_BORDER], seen[-_BORDER:], seen[:, :_BORDER], seen[:, -_BORDER:] = False, False, False, False
    stretch = abs(float(np.linalg.det(warp[:, :2])))
    share_of_first = float(seen.mean())
    share_of_second = float(seen.sum()) * stretch / second.size
    overlap = min(1.0, share_of_first, share_of_second)
    if seen.sum() < 256:
        return NOTHING_COMPARED
    one, two = _detail(first)[seen], _detail(laid)[seen]
    spread = float(one.std() * two.std())
    if spread < _LEAST_DETAIL**2:
        return NOTHING_COMPARED
    correlation = float(np.mean((one - one.mean()) * (two - two.mean()))) / spread
    return Comparison(correlation, overlap)
