"""Evening out colour: white balance, flat field, and stain normalisation by Reinhard and by Macenko.

None is applied unless a recipe asks for it: normalisation alone does not remove the signature of a site
(arXiv 2411.05489) and can harm (arXiv 2301.03418). Stains are estimated on cells only; background would
otherwise decide the statistics of a sparse smear.
"""

from __future__ import annotations

from typing import Annotated, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from msht.images.quality import NOISE_SATURATION

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Triple = tuple[float, float, float]

Spread = Annotated[float, Field(ge=0)]
Strength = Annotated[float, Field(gt=0)]

LEAST_CELLS = 200
"""Pixels of cells below which no stain is estimated and the field stays as it is."""

_TRANSMITTED = 240.0
"""Intensity of unstained glass in Macenko's optical density, as in the author's published example."""


_TOLD_APART = 100.0
"""Condition of the matrix of two stains beyond which they are one dye."""

_CERTAIN = 1e8
"""Condition of a fit's equations beyond which what solves them is an accident of rounding."""


def cell_mask(pixels: Pixels) -> Mask:
    """Find stained pixels, shape (H, W): saturation above Otsu's threshold and above noise."""
    saturation = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)[:, :, 1]
    threshold, _ = cv2.threshold(saturation, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return np.asarray(saturation > max(threshold, NOISE_SATURATION))


def background_colour(pixels: Pixels) -> Floats | None:
    """Colour of the bright background, shape (3,): the median of the brightest tenth that is not stained.

    None where no background can be seen: less than one pixel in a hundred is both unstained and bright.
    """
    luminance = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    clear = ~cell_mask(pixels)
    if not clear.any():
        return None
    bright = clear & (luminance >= np.quantile(luminance[clear], 0.9))
    if bright.mean() < 0.01 or luminance[bright].mean() < 64:
        return None
    return np.asarray(np.median(pixels[bright], axis=0), dtype=np.float64)


def white_balance(pixels: Pixels, *, white: float = 240.0) -> Pixels:
    """Scale the channels so that the smear's bright background becomes a neutral `white`.

    A field without visible background is returned unchanged. Source: von Kries' coefficients, with the
    background as the reference white.
    """
    background = background_colour(pixels)
    if background is None:
        return pixels.copy()
    gains = white / np.maximum(background, 1.0)
    levels = np.arange(256)[:, None] * gains[None]
    lookup = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, lookup[None]), dtype=np.uint8)


def flat_field(pixels: Pixels) -> Pixels:
    """Divide out uneven illumination: a paraboloid fitted to the logarithm of the background's luminance.

    Two more rounds leave out what lies off the first fit, so that pale cells do not count as shade. A field
    with less than a tenth of background, or too thin to tell a slope from a bend, is returned unchanged.
    Source: retrospective shading correction by a parametric surface, Likar et al. (2000), J. Microsc. 197:285.
    """
    height, width = pixels.shape[:2]
    step = max(1, max(height, width) // 128)
    small = pixels[::step, ::step]
    luminance = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float64)
    logarithm = np.log(np.maximum(luminance, 1.0))
    terms = _paraboloid(*small.shape[:2])
    clear = ~cell_mask(small)
    if clear.any():  # red cells and debris can be grey, too, but are darker than any shade of the lamp
        clear &= luminance > 0.7 * np.quantile(luminance[clear], 0.95)
    for _ in range(3):
        if clear.mean() < 0.1:
            return pixels.copy()
        seen = terms[clear.ravel()]
        squared = seen.T @ seen
        if np.linalg.cond(squared) > _CERTAIN:
            return pixels.copy()
        weights = np.linalg.solve(squared, seen.T @ logarithm[clear])  # far quicker than a factorisation
        residual = logarithm - (terms @ weights).reshape(logarithm.shape)
        spread = 1.4826 * np.median(np.abs(residual[clear] - np.median(residual[clear])))
        clear = clear & (np.abs(residual) <= 2.5 * max(float(spread), 0.005))
    shade = np.exp(terms @ weights).reshape(small.shape[:2])
    full = cv2.resize((shade / shade.mean()).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.rint(pixels / full[..., None]), 0, 255).astype(np.uint8)


def _paraboloid(height: int, width: int) -> Floats:
    """Terms 1, x, y, x^2, xy, y^2 over a grid, shape (height * width, 6)."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)


class LabStatistics(BaseModel):
    """Mean and standard deviation of cells in CIE L*a*b*, the target of Reinhard's transfer."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mean: Triple
    std: tuple[Spread, Spread, Spread]


class StainMatrix(BaseModel):
    """Two stains as unit vectors of optical density in (R, G, B), and their strong concentrations."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    first: Triple
    """The stain that absorbs more red: azure or haematoxylin."""
    second: Triple
    """The other: eosin."""
    strong: tuple[Strength, Strength]
    """99th percentile of each stain's concentration in cells."""

    @model_validator(mode="after")
    def _stains_differ(self) -> StainMatrix:
        if not np.linalg.cond(np.stack([self.first, self.second], axis=1)) <= _TOLD_APART:
            raise ValueError("first and second must be two stains that can be told apart, measured by stain_matrix")
        return self


def lab_statistics(pixels: Pixels) -> LabStatistics | None:
    """Measure a field's cells in L*a*b*; None where there are too few."""
    cells = cell_mask(pixels)
    if cells.sum() < LEAST_CELLS:
        return None
    values = _lab(pixels)[cells].astype(np.float64)
    mean, std = values.mean(axis=0), values.std(axis=0)
    return LabStatistics(mean=(mean[0], mean[1], mean[2]), std=(std[0], std[1], std[2]))


def reinhard(pixels: Pixels, target: LabStatistics) -> Pixels:
    """Give a field's cells the mean and spread of `target` in L*a*b*; the background stays as it is.

    The change fades out over the edge of the cells. A field with too few of them is returned unchanged.
    Source: Reinhard et al. (2001), IEEE Comput. Graph. Appl. 21(5):34.
    """
    source = lab_statistics(pixels)
    if source is None:
        return pixels.copy()
    lab = _lab(pixels)
    gain = np.array(target.std) / np.maximum(np.array(source.std), 1e-3)
    moved = (lab - np.array(source.mean)) * np.clip(gain, 0.25, 4.0) + np.array(target.mean)
    stained = cv2.GaussianBlur(cell_mask(pixels).astype(np.float32), (0, 0), 1.5)[..., None]
    mixed = (stained * moved + (1 - stained) * lab).astype(np.float32)
    rgb = cv2.cvtColor(mixed, cv2.COLOR_LAB2RGB)
    return np.clip(np.rint(rgb * 255), 0, 255).astype(np.uint8)


def _lab(pixels: Pixels) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), dtype=np.float32)


def stain_matrix(pixels: Pixels, *, least_density: float = 0.15, tail: float = 1.0) -> StainMatrix | None:
    """Estimate the two stains of a field from its cells; None where there are too few.

    Args:
        pixels: RGB uint8, shape (H, W, 3).
        least_density: optical density below which, in any channel, a pixel counts as clear.
        tail: percentile of the angles at which the stains' directions are read, against outliers.

    Source: Macenko et al. (2009), ISBI, 1107.
    """
    density = _density(pixels).reshape(-1, 3)
    stained = density[(density >= least_density).all(axis=1)]
    if len(stained) < LEAST_CELLS:
        return None
    _, vectors = np.linalg.eigh(np.cov(stained.T))
    plane = vectors[:, [2, 1]]
    plane = plane * np.where(plane.sum(axis=0) < 0, -1.0, 1.0)
    projected = stained @ plane
    angles = np.arctan2(projected[:, 1], projected[:, 0])
    ends = [plane @ (np.cos(angle), np.sin(angle)) for angle in np.percentile(angles, [tail, 100 - tail])]
    first, second = sorted(ends, key=lambda end: -end[0])
    stains = np.stack([first, second], axis=1)
    if np.linalg.cond(stains) > _TOLD_APART:
        return None  # a single dye: two stains cannot be told apart
    strong = np.percentile(np.linalg.pinv(stains) @ stained.T, 99, axis=1)
    if strong.min() <= 0:
        return None
    return StainMatrix(
        first=(first[0], first[1], first[2]),
        second=(second[0], second[1], second[2]),
        strong=(strong[0], strong[1]),
    )


def macenko(pixels: Pixels, target: StainMatrix) -> Pixels:
    """Repaint a field with the stains of `target`, each as strong as there.

    A field whose stains cannot be estimated is returned unchanged. Source: Macenko et al. (2009), ISBI, 1107.
    """
    source = stain_matrix(pixels)
    if source is None:
        return pixels.copy()
    density = _density(pixels).reshape(-1, 3)
    # From density to density in one step: take apart with the field's stains, put together with the target's.
    strength = np.diag(np.array(target.strong) / np.array(source.strong))
    unmix = np.linalg.pinv(np.stack([source.first, source.second], axis=1))
    repaint = np.stack([target.first, target.second], axis=1) @ strength @ unmix
    repainted = _TRANSMITTED * np.exp(-density @ repaint.T)
    return np.clip(np.rint(repainted.reshape(pixels.shape) - 1), 0, 255).astype(np.uint8)


_DENSITIES = -np.log((np.arange(256.0) + 1) / _TRANSMITTED)


def _density(pixels: Pixels) -> Floats:
    """Optical density, natural logarithm, shape (H, W, 3)."""
    return np.asarray(_DENSITIES[pixels], dtype=np.float64)


class Colour(BaseModel):
    """What is done to a field's colour before anything else; nothing by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    even_light: bool = False
    """Flat-field correction."""
    white: bool = False
    """White balance."""
    stain: Literal["none", "reinhard", "macenko"] = "none"
    """Stain normalisation to the reference below."""
    reinhard_target: LabStatistics | None = None
    """Cells of the reference field, measured by `lab_statistics`; needed for Reinhard."""
    macenko_target: StainMatrix | None = None
    """Stains of the reference field, measured by `stain_matrix`; needed for Macenko."""

    @model_validator(mode="after")
    def _target_is_given(self) -> Colour:
        if self.stain != "none" and getattr(self, f"{self.stain}_target") is None:
            raise ValueError(f"stain '{self.stain}' needs {self.stain}_target, measured on a reference field")
        return self


def corrected(pixels: Pixels, colour: Colour) -> Pixels:
    """Apply what `colour` asks for, in the order light, white, stain; RGB uint8 in and out, same shape."""
    if colour.even_light:
        pixels = flat_field(pixels)
    if colour.white:
        pixels = white_balance(pixels)
    if colour.stain == "reinhard" and colour.reinhard_target is not None:
        return reinhard(pixels, colour.reinhard_target)
    if colour.stain == "macenko" and colour.macenko_target is not None:
        return macenko(pixels, colour.macenko_target)
    return pixels
