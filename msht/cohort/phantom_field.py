"""One phantom field: cells and surroundings drawn, stained, photographed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from msht.cohort.phantom_canvas import Canvas
from msht.cohort.phantom_cells import Nucleus, plan_cells
from msht.cohort.phantom_paint import paint_cells
from msht.cohort.phantom_scene import paint_surroundings
from msht.cohort.phantom_stain import Appearance, Densities, draw_appearance, photograph, site_style


@dataclass(frozen=True)
class PhantomField:
    """A synthetic field and the truth about it."""

    image: NDArray[np.uint8]
    """RGB, `(height, width, 3)`."""
    mask: NDArray[np.uint8]
    """`(height, width)`: 255 where an atypical nucleus is, 0 elsewhere."""
    nuclei: tuple[Nucleus, ...]
    """Every epithelial nucleus that was planned; lengths in units of 1/384 of the field's height."""
    nuclear_share: float
    """Share of the pixels that lie under epithelial nuclei."""


def patient_appearance(seed: int, patient: int, site: int) -> Appearance:
    """Stain, background and camera of one patient; depends on nothing but the three numbers."""
    rng = np.random.default_rng(SeedSequence(seed, spawn_key=(0, patient)))
    return draw_appearance(rng, site_style(site))


def field_seed(seed: int, patient: int, field: int) -> SeedSequence:
    """The seed of one field, the same whoever draws it and in whatever order."""
    return SeedSequence(seed, spawn_key=(1, patient, field))


def render_field(
    appearance: Appearance,
    *,
    positive: bool,
    width: int = 512,
    height: int = 384,
    seed: int | SeedSequence = 517,
) -> PhantomField:
    """Draw one field.

    Args:
        appearance: of the patient, from `patient_appearance`.
        positive: whether it holds malignant cells.
        width: pixels.
        height: pixels; the specimen fills it at every size, so more pixels show the same in more detail.
        seed: decides everything that `appearance` and `positive` leave open.
    """
    plan, cells_rng, scene_rng, camera_rng = np.random.default_rng(seed).spawn(4)
    canvas = Canvas(width, height)
    nuclei = plan_cells(plan, canvas.field_width, positive=positive, cell_scale=appearance.cell_scale)
    cells = paint_cells(cells_rng, canvas, nuclei)
    scene = paint_surroundings(scene_rng, canvas, appearance, cells.inside)
    densities = Densities(
        film=scene.film * scene.holes,
        red_cells=scene.red_cells * scene.holes * (1 - 0.8 * np.clip(cells.nuclei, 0, 1)),
        mucus=scene.mucus * scene.holes,
        # Under a nucleus the cytoplasm is thinner.
        cytoplasm=cells.cytoplasm * scene.holes * (1 - 0.4 * np.clip(cells.nuclei, 0, 1)),
        nuclei=np.maximum(cells.nuclei * (0.25 + 0.75 * scene.holes), scene.nuclear),
        dark=scene.dark,
    )
    return PhantomField(
        image=photograph(camera_rng, appearance, densities),
        mask=np.where(cells.atypical, 255, 0).astype(np.uint8),
        nuclei=tuple(nuclei),
        nuclear_share=float((cells.nuclei > 0.4).mean()),
    )
