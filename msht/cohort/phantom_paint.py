"""Painting the epithelial cells of a phantom: cytoplasm with its borders, nuclei with their chromatin."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from msht.cohort.phantom_canvas import Canvas, Map, lobed
from msht.cohort.phantom_cells import Nucleus

OVERLAP = 0.12
"""Share of its density that the paler of two overlapping nuclei adds; real ones darken little there."""
FUSION = 5.0
"""How sharply one cell's cytoplasm is told from its neighbour's."""


@dataclass(frozen=True)
class CellMaps:
    """What the epithelial cells add to a field; every map `(height, width)`."""

    nuclei: Map
    """Density of nuclear stain."""
    cytoplasm: Map
    """Density of cytoplasmic stain."""
    inside: Map
    """Share of each pixel that belongs to a cell, 0 to 1."""
    atypical: NDArray[np.bool_]
    """Pixels of atypical nuclei."""


def paint_cells(rng: Generator, canvas: Canvas, nuclei: list[Nucleus]) -> CellMaps:
    """Paint planned cells on a canvas."""
    inside, cytoplasm = _cytoplasm(rng, canvas, nuclei)
    density, atypical = _nuclei(rng, canvas, nuclei)
    # Thick places of a smear take more stain.
    density = density * np.clip(1 + 0.14 * canvas.cloud(rng, 90), 0.7, 1.4)
    return CellMaps(density, cytoplasm, inside, atypical)


def _nuclei(rng: Generator, canvas: Canvas, nuclei: list[Nucleus]) -> tuple[Map, NDArray[np.bool_]]:
    fine, coarse = canvas.cloud(rng, 1.6), canvas.cloud(rng, 3.6)
    rim_strength = rng.uniform(0.0, 0.25)
    nucleoli = rng.uniform() < 0.5
    density = canvas.blank()
    atypical = np.zeros((canvas.height, canvas.width), bool)
    for nucleus in nuclei:
        seed = rng.integers(2**63)
        patch = canvas.patch(nucleus.shape, softness=nucleus.blur)
        if patch is None:
            continue
        own = np.random.default_rng(seed)
        area = (patch.rows, patch.columns)
        depth = np.clip(patch.depth, 0, 1)
        chromatin = 0.11 * fine[area] + (0.05 + 0.13 * nucleus.clumping) * coarse[area]
        thickness = 0.86 + 0.2 * np.sqrt(np.clip(1 - (1 - depth) ** 2, 0, 1))
        rim = rim_strength * np.exp(-(((depth * nucleus.shape.radius) / 1.6) ** 2))
        body = nucleus.strength * (thickness + chromatin + rim)
        if nucleoli and own.uniform() < 0.5:
            body *= _nucleolus(own, canvas, nucleus, body.shape, patch.rows, patch.columns)
        painted = np.clip(body, 0.25, 1.8) * patch.coverage
        below = density[area]
        density[area] = np.maximum(painted, below) + OVERLAP * np.minimum(painted, below)
        if nucleus.atypical:
            atypical[area] |= patch.coverage > 0.5
    return density, atypical


def _nucleolus(
    rng: Generator, canvas: Canvas, nucleus: Nucleus, shape: tuple[int, ...], rows: slice, columns: slice
) -> Map:
    """A pale, rounded spot or two in the chromatin, as a factor of its density."""
    factor = np.ones(shape, np.float32)
    for _ in range(int(rng.integers(1, 3))):
        away, turn = rng.uniform(0, 0.45) * nucleus.shape.radius, rng.uniform(0, 2 * np.pi)
        spot = lobed(
            rng,
            nucleus.shape.x + away * np.cos(turn),
            nucleus.shape.y + away * np.sin(turn),
            rng.uniform(2.2, 4.2),
            elongation=1.1,
            angle=turn,
            roughness=0.03,
        )
        patch = canvas.patch(spot, softness=2.0)
        if patch is None:
            continue
        top, left = patch.rows.start - rows.start, patch.columns.start - columns.start
        height, width = patch.coverage.shape
        y0, x0 = max(0, top), max(0, left)
        y1, x1 = min(shape[0], top + height), min(shape[1], left + width)
        if y0 < y1 and x0 < x1:
            factor[y0:y1, x0:x1] *= 1 - 0.22 * patch.coverage[y0 - top : y1 - top, x0 - left : x1 - left]
    return factor


def _cytoplasm(rng: Generator, canvas: Canvas, nuclei: list[Nucleus]) -> tuple[Map, Map]:
    """Cytoplasm of groups, with borders between the cells, and of single cells."""
    lumps, grain = canvas.cloud(rng, 26), canvas.cloud(rng, 2.4)
    thick = canvas.cloud(rng, 80)
    border_strength = rng.uniform(0.2, 0.6)
    inside, border = canvas.blank(), canvas.blank()
    grouped = [nucleus for nucleus in nuclei if not nucleus.single]
    if grouped:
        inside, border = _sheet(canvas, grouped, lumps)
    for nucleus in nuclei:
        if nucleus.single:
            body = lobed(
                rng,
                nucleus.shape.x + rng.normal(0, 0.25) * nucleus.shape.radius,
                nucleus.shape.y + rng.normal(0, 0.25) * nucleus.shape.radius,
                nucleus.cytoplasm_radius * rng.uniform(1.0, 1.15),
                elongation=rng.uniform(1.0, 1.7),
                angle=rng.uniform(0, np.pi),
                roughness=0.06,
            )
            patch = canvas.patch(body, softness=2.5)
            if patch is not None:
                area = (patch.rows, patch.columns)
                inside[area] = np.maximum(inside[area], patch.coverage)
    body_density = 0.62 + 0.10 * lumps + 0.05 * grain + 0.16 * thick
    density = inside * np.clip(body_density * (1 - border_strength * border), 0.12, 1.6)
    return inside, density.astype(np.float32)


def _sheet(canvas: Canvas, nuclei: list[Nucleus], lumps: Map) -> tuple[Map, Map]:
    """Where groups of cells are, and how near to a border of two of them, at a third of the detail."""
    step = 3.0
    rows, columns = int(np.ceil(384 / step)), int(np.ceil(canvas.field_width / step))
    centres = np.array([(nucleus.shape.x, nucleus.shape.y) for nucleus in nuclei])
    radii = np.array([nucleus.cytoplasm_radius for nucleus in nuclei])
    ys, xs = np.mgrid[0:rows, 0:columns] * step + step / 2
    grid = np.stack([xs, ys], axis=-1).reshape(-1, 2)
    count = min(3, len(nuclei))
    distance, index = cKDTree(centres).query(grid, k=count)
    distance = np.asarray(distance).reshape(-1, count)
    index = np.asarray(index).reshape(-1, count)
    # Distances in shares of each cell's own size, so that larger cells take more room; a soft minimum, so
    # that neighbours fuse instead of touching.
    relative = np.sort(distance / radii[index], axis=1)
    near = -np.log(np.exp(-FUSION * relative).sum(axis=1)) / FUSION
    near = near.reshape(rows, columns).astype(np.float32)
    if count > 1:
        seam = np.exp(-(((relative[:, 1] - relative[:, 0]) / 0.10) ** 2))
        seam = (seam * (relative[:, 1] < 1.25)).reshape(rows, columns).astype(np.float32)
    else:
        seam = np.zeros((rows, columns), np.float32)
    size = (canvas.width, canvas.height)
    near = np.asarray(cv2.resize(near, size, interpolation=cv2.INTER_LINEAR), np.float32)
    seam = np.asarray(cv2.resize(seam, size, interpolation=cv2.INTER_LINEAR), np.float32)
    inside = np.clip((0.97 + 0.10 * lumps - near) / 0.09 + 0.5, 0, 1)
    return inside.astype(np.float32), seam
