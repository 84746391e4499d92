"""How a phantom specimen is coloured and photographed: the stain of a patient, the camera of a site.

Colour follows the Beer-Lambert law: every structure adds to an optical density for red, green and blue, and
the light that is left meets an imperfect camera. The appearance is drawn for a patient, then varies a little
by field, and knows nothing of the label.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Map = NDArray[np.float32]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class SiteStyle:
    """What a laboratory's stain and camera have in common; each pair is a range for its patients."""

    name: str
    nucleus: tuple[Colour, Colour]
    """Light left by a nucleus of unit density, 0 to 1; patients lie between the two."""
    cytoplasm: tuple[Colour, Colour]
    red_cell: tuple[Colour, ...]
    """One of these, mixed with a little of another."""
    background: tuple[Colour, Colour]
    exposure: tuple[float, float]
    contrast: tuple[float, float]
    vignetting: tuple[float, float]
    jpeg_quality: tuple[int, int]
    stain: str = "Diff-Quik"
    magnification: str = "40x"


SITE_STYLES: tuple[SiteStyle, ...] = (
    SiteStyle(
        name="site-a",  # bright, saturated camera; blue-violet nuclei on white
        nucleus=((0.25, 0.08, 0.74), (0.14, 0.09, 0.66)),
        cytoplasm=((0.56, 0.42, 0.93), (0.34, 0.32, 0.90)),
        red_cell=((0.55, 0.56, 0.46), (0.34, 0.38, 0.42), (0.62, 0.72, 0.52), (0.60, 0.52, 0.46)),
        background=((1.0, 0.98, 1.0), (0.95, 0.90, 0.99)),
        exposure=(1.02, 1.2),
        contrast=(1.05, 1.25),
        vignetting=(0.0, 0.10),
        jpeg_quality=(90, 95),
    ),
    SiteStyle(
        name="site-b",  # flat, blue-grey exposure; grey-green red cells
        nucleus=((0.34, 0.24, 0.70), (0.16, 0.17, 0.68)),
        cytoplasm=((0.64, 0.58, 0.88), (0.40, 0.46, 0.86)),
        red_cell=((0.66, 0.80, 0.83), (0.58, 0.70, 0.72), (0.60, 0.62, 0.66)),
        background=((0.80, 0.80, 0.90), (0.72, 0.72, 0.86)),
        exposure=(0.86, 1.06),
        contrast=(0.9, 1.05),
        vignetting=(0.04, 0.20),
        jpeg_quality=(84, 92),
    ),
    SiteStyle(
        name="site-c",  # purple, heavier stain; mauve and brown red cells
        nucleus=((0.22, 0.10, 0.36), (0.36, 0.19, 0.52)),
        cytoplasm=((0.70, 0.62, 0.82), (0.70, 0.46, 0.80)),
        red_cell=((0.56, 0.42, 0.58), (0.64, 0.56, 0.50), (0.48, 0.40, 0.46)),
        background=((1.0, 0.99, 1.0), (0.90, 0.84, 0.94)),
        exposure=(0.92, 1.12),
        contrast=(0.95, 1.15),
        vignetting=(0.02, 0.16),
        jpeg_quality=(86, 94),
    ),
)


@dataclass(frozen=True)
class Appearance:
    """How one patient's specimen looks, whatever is on it."""

    site: str
    nucleus: Colour
    cytoplasm: Colour
    red_cell: Colour
    mucus: Colour
    background: Colour
    nucleus_strength: float
    cytoplasm_strength: float
    red_cell_strength: float
    red_cell_style: float
    """0: discs with a pale centre; 1: flat discs with a dark outline."""
    film: float
    """Density of the protein film that covers the glass."""
    granules: float
    exposure: float
    contrast: float
    vignetting: float
    defocus: float
    """Standard deviation of the blur, in pixels of a field 384 pixels high."""
    noise: float
    jpeg_quality: int
    cell_scale: float
    """Size of this patient's cells, in relation to the average."""
    stain: str
    magnification: str


def site_style(index: int) -> SiteStyle:
    """The style of site number `index`; sites beyond the drawn three share styles under their own names."""
    style = SITE_STYLES[index % len(SITE_STYLES)]
    if index < len(SITE_STYLES):
        return style
    return SiteStyle(**{**style.__dict__, "name": f"site-{index + 1:02d}"})


def draw_appearance(rng: Generator, style: SiteStyle) -> Appearance:
    """Draw one patient's stain, background and camera settings from a site."""
    red_one, red_two = rng.choice(len(style.red_cell), 2)
    return Appearance(
        site=style.name,
        nucleus=_between(rng, *style.nucleus),
        cytoplasm=_between(rng, *style.cytoplasm),
        red_cell=_mix(style.red_cell[red_one], style.red_cell[red_two], rng.uniform(0.0, 0.35)),
        mucus=_mix((0.86, 0.52, 0.88), (0.72, 0.46, 0.86), rng.uniform()),
        background=_between(rng, *style.background),
        nucleus_strength=rng.uniform(0.72, 1.18),
        cytoplasm_strength=float(np.exp(rng.uniform(np.log(0.4), np.log(1.25)))),
        red_cell_strength=rng.uniform(0.6, 1.15),
        red_cell_style=rng.uniform(),
        film=rng.uniform(0.0, 0.22),
        granules=rng.uniform(0.1, 1.0),
        exposure=rng.uniform(*style.exposure),
        contrast=rng.uniform(*style.contrast),
        vignetting=rng.uniform(*style.vignetting),
        defocus=rng.uniform(0.35, 0.85),
        noise=rng.uniform(0.004, 0.012),
        jpeg_quality=int(rng.integers(style.jpeg_quality[0], style.jpeg_quality[1] + 1)),
        cell_scale=float(np.clip(rng.normal(1.0, 0.035), 0.93, 1.07)),
        stain=style.stain,
        magnification=style.magnification,
    )


@dataclass(frozen=True)
class Densities:
    """Density maps of what lies on the glass, each `(height, width)` float32, 0 where there is nothing."""

    film: Map
    red_cells: Map
    mucus: Map
    cytoplasm: Map
    nuclei: Map
    dark: Map
    """Fibres and pigment: nearly black."""


def photograph(rng: Generator, appearance: Appearance, densities: Densities) -> NDArray[np.uint8]:
    """Shine light through the specimen and take its picture.

    Returns:
        RGB image `(height, width, 3)`, uint8.
    """
    height, width = densities.film.shape
    unit = height / 384
    layers: tuple[tuple[Map, Colour, float], ...] = (
        (densities.film, (0.80, 0.66, 0.90), 1.0),
        (densities.red_cells, appearance.red_cell, appearance.red_cell_strength),
        (densities.mucus, appearance.mucus, 1.0),
        (densities.cytoplasm, appearance.cytoplasm, appearance.cytoplasm_strength),
        (densities.nuclei, appearance.nucleus, appearance.nucleus_strength),
        (densities.dark, (0.10, 0.06, 0.12), 1.0),
    )
    coefficients = np.array([np.log(np.clip(colour, 0.02, 1.0)) * strength for _, colour, strength in layers])
    stacked = np.stack([layer for layer, _, _ in layers], axis=-1).reshape(-1, len(layers))
    hue_jitter = rng.normal(1.0, 0.03, 3)
    light = np.exp(stacked @ (coefficients * hue_jitter).astype(np.float32)).reshape(height, width, 3)

    balance = np.array(appearance.background) * rng.normal(1.0, 0.012, 3)
    light *= (balance * appearance.exposure * rng.uniform(0.94, 1.06)).astype(np.float32)
    light *= _vignette(rng, height, width, appearance.vignetting)[..., None]
    sigma = max(0.25, appearance.defocus * rng.uniform(0.8, 1.3)) * unit
    light = cv2.GaussianBlur(light, (0, 0), sigma)

    middle = 0.5
    light = (light - middle) * appearance.contrast * rng.uniform(0.96, 1.04) + middle
    grain = rng.standard_normal((height, width, 3), dtype=np.float32)
    light += grain * appearance.noise * np.sqrt(np.clip(light, 0.05, 1.0))
    return np.rint(np.clip(light, 0.0, 1.0) * 255).astype(np.uint8)


def _vignette(rng: Generator, height: int, width: int, depth: float) -> Map:
    centre_x, centre_y = rng.uniform(0.4, 0.6, 2)
    ys = (np.arange(height, dtype=np.float32)[:, None] / height - centre_y) * (height / width)
    xs = np.arange(width, dtype=np.float32)[None, :] / width - centre_x
    return np.asarray(1 - depth * (xs**2 + ys**2) / 0.39, dtype=np.float32)


def _mix(one: Colour, two: Colour, share: float) -> Colour:
    red, green, blue = (a * (1 - share) + b * share for a, b in zip(one, two, strict=True))
    return (red, green, blue)


def _between(rng: Generator, one: Colour, two: Colour) -> Colour:
    return _mix(one, two, rng.uniform())
