"""What surrounds the cells of a phantom field: red cells, mucus, neutrophils, vacuoles, fibres, granules.

None of it knows whether the field is benign or malignant.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from msht.cohort.phantom_canvas import FIELD_HEIGHT, Canvas, Map, Shape, lobed
from msht.cohort.phantom_stain import Appearance


@dataclass(frozen=True)
class Surroundings:
    """Density maps of everything but epithelial cells, each `(height, width)`."""

    film: Map
    red_cells: Map
    mucus: Map
    nuclear: Map
    """Neutrophils, smeared nuclei and granules: they take the nuclear stain."""
    dark: Map
    holes: Map
    """Share of the density that vacuoles leave, 0 to 1."""


def paint_surroundings(rng: Generator, canvas: Canvas, appearance: Appearance, cells: Map) -> Surroundings:
    """Paint everything but epithelial cells.

    Args:
        rng: source of randomness.
        canvas: pixel grid.
        appearance: of the patient.
        cells: share of each pixel covered by epithelial cells; red cells mostly keep out of it.
    """
    red, mucus_rng, leukocytes, debris, holes = rng.spawn(5)
    red_cells = _red_cells(red, canvas, appearance) * (1 - 0.88 * cells)
    mucus = _mucus(mucus_rng, canvas) * (1 - 0.7 * cells)
    film = appearance.film * np.clip(1 + 0.5 * canvas.cloud(mucus_rng, 90) + 0.18 * canvas.cloud(mucus_rng, 5), 0, 3)
    nuclear = np.maximum(_neutrophils(leukocytes, canvas), _strands(leukocytes, canvas) * (1 - cells))
    nuclear = np.maximum(nuclear, _granules(debris, canvas, appearance.granules))
    return Surroundings(
        film=film.astype(np.float32),
        red_cells=red_cells.astype(np.float32),
        mucus=mucus.astype(np.float32),
        nuclear=nuclear.astype(np.float32),
        dark=_fibres(debris, canvas),
        holes=_vacuoles(holes, canvas),
    )


def _red_cells(rng: Generator, canvas: Canvas, appearance: Appearance) -> Map:
    """Discs with a pale centre or a dark outline, alone or in clumps that run together."""
    density, lines = canvas.blank(), canvas.blank()
    abundance = rng.choice([0, 1, 2, 3], p=[0.15, 0.35, 0.3, 0.2])
    clumps = int(rng.integers(0, 3) + 2 * abundance)
    area = canvas.field_width / 512
    loose = int(rng.integers(0, 12) * max(abundance, 0.4) * area)
    radius = 13 * appearance.cell_scale * rng.uniform(0.92, 1.08)
    centres = [rng.uniform((0, 0), (canvas.field_width, FIELD_HEIGHT)) for _ in range(loose)]
    for _ in range(round(clumps * area)):
        middle = rng.uniform((0, 0), (canvas.field_width, FIELD_HEIGHT))
        members = int(rng.integers(4, 40))
        spread = radius * np.sqrt(members) * rng.uniform(0.75, 1.2)
        direction = rng.normal(0, 1, 2)
        along = rng.normal(0, spread, members)[:, None] * direction / np.linalg.norm(direction)
        centres.extend(middle + along * 0.7 + rng.normal(0, 0.6 * spread, (members, 2)))
    style = appearance.red_cell_style
    confluent = rng.uniform() < 0.4
    for x, y in centres:
        size = radius * rng.normal(1, 0.06)
        cell = lobed(rng, x, y, size, elongation=rng.uniform(1, 1.25), angle=rng.uniform(0, np.pi), roughness=0.025)
        patch = canvas.patch(cell, softness=2.0)
        if patch is None:
            continue
        where = (patch.rows, patch.columns)
        depth = np.clip(patch.depth, 0, 1)
        pale = (1 - style) * 0.75 * np.exp(-(((1 - depth) / 0.42) ** 4))
        body = patch.coverage * (0.85 - pale)
        outline = (0.15 + 0.55 * style) * np.exp(-(((depth - 0.09) * size / 1.5) ** 2)) * (patch.depth > -0.05)
        density[where] = np.maximum(density[where], body) + 0.10 * np.minimum(density[where], body)
        lines[where] = np.maximum(lines[where], outline)
    if confluent:
        blurred = np.asarray(cv2.GaussianBlur(density, (0, 0), 5 * canvas.scale), np.float32)
        density = np.clip((blurred - 0.25) * 3, 0, 0.9)
        lines *= 0.35
    return density * (1 + 0.06 * canvas.cloud(rng, 3)) + 0.5 * lines


def _mucus(rng: Generator, canvas: Canvas) -> Map:
    """Pink veils with streaks, in about a third of the fields."""
    present = rng.uniform() < 0.35
    veil, fold, streaks = canvas.cloud(rng, 120), canvas.cloud(rng, 60), canvas.cloud(rng, 7, stretch=6)
    turn = rng.uniform(0, 180)
    strength = rng.uniform(0.4, 1.0)
    if not present:
        return canvas.blank()
    rotation = cv2.getRotationMatrix2D((canvas.width / 2, canvas.height / 2), turn, 1.0)
    size = (canvas.width, canvas.height)
    streaks = np.asarray(cv2.warpAffine(streaks, rotation, size, borderMode=cv2.BORDER_REFLECT_101), np.float32)
    ridges = np.exp(-((fold / 0.22) ** 2))
    body = np.clip(veil - 0.35, 0, 1) * 1.3
    return np.asarray(strength * np.clip(body, 0, 1) * (0.7 + 0.25 * streaks + 0.8 * ridges), np.float32).clip(0)


def _neutrophils(rng: Generator, canvas: Canvas) -> Map:
    """A few cells with three or four small dark lobes."""
    density = canvas.blank()
    for _ in range(int(rng.choice([0, 1, 2, 4], p=[0.45, 0.3, 0.17, 0.08]))):
        x, y = rng.uniform((0, 0), (canvas.field_width, FIELD_HEIGHT))
        turn = rng.uniform(0, 2 * np.pi)
        for lobe in range(int(rng.integers(3, 5))):
            angle = turn + lobe * rng.uniform(1.0, 1.5)
            shape = lobed(
                rng,
                x + 7.5 * np.cos(angle),
                y + 7.5 * np.sin(angle),
                rng.uniform(4.5, 6.2),
                elongation=rng.uniform(1.1, 1.6),
                angle=angle + np.pi / 2,
                roughness=0.06,
            )
            patch = canvas.patch(shape, softness=1.5)
            if patch is not None:
                where = (patch.rows, patch.columns)
                density[where] = np.maximum(density[where], 0.95 * patch.coverage)
    return density


def _strands(rng: Generator, canvas: Canvas) -> Map:
    """Smeared nuclear material: crooked purple threads, in some fields."""
    density = np.zeros((canvas.height, canvas.width), np.uint8)
    count = int(rng.choice([0, 1, 3], p=[0.7, 0.2, 0.1]))
    for _ in range(count):
        _thread(rng, canvas, density, length=int(rng.integers(6, 16)), step=9, thickness=rng.uniform(1.5, 4))
    return _soften(canvas, density, 1.2) * 0.7


def _fibres(rng: Generator, canvas: Canvas) -> Map:
    """A dark thread or a speck of pigment, in some fields."""
    density = np.zeros((canvas.height, canvas.width), np.uint8)
    if rng.uniform() < 0.15:
        _thread(rng, canvas, density, length=int(rng.integers(8, 24)), step=6, thickness=rng.uniform(1.5, 3))
    for _ in range(int(rng.poisson(0.8))):
        x, y = rng.uniform((0, 0), (canvas.field_width, FIELD_HEIGHT))
        _disc(canvas, density, x, y, rng.uniform(1.0, 3.5))
    return _soften(canvas, density, 0.7)


def _granules(rng: Generator, canvas: Canvas, abundance: float) -> Map:
    """Dust, platelets and stain granules."""
    density = np.zeros((canvas.height, canvas.width), np.uint8)
    count = int(rng.uniform(10, 220) * abundance * canvas.field_width / 512)
    points = rng.uniform((0, 0), (canvas.field_width, FIELD_HEIGHT), (count, 2))
    for (x, y), radius in zip(points, rng.gamma(2.0, 0.45, count), strict=True):
        _disc(canvas, density, x, y, min(radius, 4.0))
    return _soften(canvas, density, 0.6) * rng.uniform(0.25, 0.8)


def _vacuoles(rng: Generator, canvas: Canvas) -> Map:
    """Bright round holes, alone or in foamy groups."""
    holes = np.ones((canvas.height, canvas.width), np.float32)
    groups = int(rng.choice([0, 1, 2], p=[0.45, 0.35, 0.2]))
    for _ in range(groups):
        middle = rng.uniform((0, 0), (canvas.field_width, FIELD_HEIGHT))
        for _ in range(int(rng.integers(1, 28))):
            x, y = middle + rng.normal(0, 32, 2)
            patch = canvas.patch(Shape(x, y, min(2.0 + rng.gamma(2.0, 1.4), 12.0)), softness=1.6)
            if patch is not None:
                holes[patch.rows, patch.columns] *= 1 - 0.8 * patch.coverage
    return holes


def _thread(rng: Generator, canvas: Canvas, target: np.ndarray, *, length: int, step: float, thickness: float) -> None:
    start = rng.uniform((0, 0), (canvas.field_width, FIELD_HEIGHT))
    turns = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.4, length))
    points = start + np.cumsum(np.stack([np.cos(turns), np.sin(turns)], axis=1) * step, axis=0)
    fixed = np.rint(points * canvas.scale * 16).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(target, [fixed], False, 255, max(1, round(thickness * canvas.scale)), lineType=cv2.LINE_AA, shift=4)


def _disc(canvas: Canvas, target: np.ndarray, x: float, y: float, radius: float) -> None:
    centre = (round(x * canvas.scale * 16), round(y * canvas.scale * 16))
    cv2.circle(target, centre, max(8, round(radius * canvas.scale * 16)), 255, -1, lineType=cv2.LINE_AA, shift=4)


def _soften(canvas: Canvas, drawn: np.ndarray, sigma: float) -> Map:
    return np.asarray(cv2.GaussianBlur(drawn.astype(np.float32) / 255, (0, 0), sigma * canvas.scale), np.float32)
