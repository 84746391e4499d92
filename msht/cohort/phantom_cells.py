"""The epithelial cells of a phantom field: where they lie, how large and how regular their nuclei are.

Benign: flat sheets, nuclei on a honeycomb, even in size, round, aligned. Malignant: crowded groups without
order and single cells, nuclei enlarged, uneven, irregular, overlapping. The area that nuclei cover, and the
cytoplasm around them, are drawn from the same distribution for both, so that large nuclei mean fewer of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from msht.cohort.phantom_canvas import FIELD_HEIGHT, Shape, lobed

NUCLEAR_SHARE = (0.07, 0.16, 0.40)
"""Share of the field under nuclei: least, most frequent, largest."""


@dataclass(frozen=True)
class Nucleus:
    """One epithelial nucleus, as planned; lengths in units of 1/384 of the field's height."""

    shape: Shape
    roughness: float
    atypical: bool
    cytoplasm_radius: float
    single: bool
    clumping: float
    """How coarse its chromatin is, 0 to 1."""
    strength: float
    blur: float

    @property
    def diameter(self) -> float:
        """Of the circle of equal area, in units."""
        return 2 * self.shape.radius


@dataclass
class _Manner:
    """How the nuclei of one kind are drawn in one field."""

    diameter: float
    spread: float
    roughness: float
    elongation: float
    atypical: bool
    packing: float
    overlap: float
    """Smallest distance of two centres, as a share of the sum of their radii."""
    jitter: float
    angle: float
    clumping: float
    cytoplasm: float
    """Reach of the cytoplasm in relation to that of a cell of a honeycomb."""


class _Coverage:
    """Area under nuclei so far, on a coarse grid that does not depend on the pixels of the picture."""

    step = 2.0

    def __init__(self, field_width: float) -> None:
        self.grid = np.zeros((int(FIELD_HEIGHT / self.step), int(np.ceil(field_width / self.step))), np.uint8)

    def add(self, shape: Shape) -> None:
        stretch = np.sqrt(shape.elongation)
        axes = (shape.radius * stretch / self.step, shape.radius / stretch / self.step)
        centre = (shape.x / self.step, shape.y / self.step)
        cv2.ellipse(self.grid, (centre, (2 * axes[0], 2 * axes[1]), np.degrees(shape.angle)), 1, -1)

    def share(self) -> float:
        return float(self.grid.mean())


def plan_cells(rng: Generator, field_width: float, *, positive: bool, cell_scale: float) -> list[Nucleus]:
    """Plan the epithelial nuclei of a field, in the order in which they are painted.

    Args:
        rng: source of randomness.
        field_width: in units.
        positive: whether the field holds malignant cells.
        cell_scale: size of this patient's cells in relation to the average.
    """
    target = rng.triangular(*NUCLEAR_SHARE)
    packing = rng.uniform(0.36, 0.62)
    benign, malignant = _benign(rng, packing, cell_scale), _malignant(rng, packing, cell_scale)
    coverage = _Coverage(field_width)
    nuclei: list[Nucleus] = []

    bystanders = rng.uniform() < 0.4
    sheet_share = (rng.uniform(0.15, 0.5) if bystanders else 0.0) if positive else 1.0
    single_share = rng.uniform(0.05, 0.4) if positive else rng.choice([0.0, rng.uniform(0.03, 0.25)])
    main = malignant if positive else benign
    grouped = target * (1 - single_share)
    if sheet_share:
        goals = _portions(rng, grouped * sheet_share)
        for goal in goals:
            _grow(rng, nuclei, coverage, coverage.share() + goal, field_width, benign, lattice=True)
    if positive:
        for goal in _portions(rng, grouped * (1 - sheet_share)):
            _grow(rng, nuclei, coverage, coverage.share() + goal, field_width, malignant, lattice=False)
    _scatter(rng, nuclei, coverage, target, field_width, main)
    order = rng.permutation(len(nuclei))
    return [nuclei[i] for i in order]


def _benign(rng: Generator, packing: float, scale: float) -> _Manner:
    """Quiet epithelium, or, in every third field, reactive: larger, a little uneven, less tidy."""
    reactive = rng.uniform() < 0.33
    return _Manner(
        diameter=scale * (rng.uniform(32, 39) if reactive else rng.uniform(26.5, 33)),
        spread=rng.uniform(0.08, 0.14) if reactive else rng.uniform(0.04, 0.10),
        roughness=rng.uniform(0.02, 0.05) if reactive else rng.uniform(0.012, 0.035),
        elongation=rng.uniform(1.04, 1.3),
        atypical=False,
        packing=packing,
        overlap=rng.uniform(0.8, 1.0) if reactive else rng.uniform(0.9, 1.05),
        jitter=rng.uniform(0.08, 0.17) if reactive else rng.uniform(0.04, 0.11),
        angle=rng.uniform(0, np.pi),
        clumping=rng.uniform(0.1, 0.9),
        cytoplasm=rng.uniform(0.94, 1.04),
    )


def _malignant(rng: Generator, packing: float, scale: float) -> _Manner:
    """Plainly malignant, or, in every third field, well differentiated: nearer to reactive epithelium."""
    mild = rng.uniform() < 0.33
    return _Manner(
        diameter=scale * (rng.uniform(34, 41) if mild else rng.uniform(38, 53)),
        spread=rng.uniform(0.12, 0.18) if mild else rng.uniform(0.16, 0.30),
        roughness=rng.uniform(0.035, 0.065) if mild else rng.uniform(0.05, 0.11),
        elongation=rng.uniform(1.1, 1.4),
        atypical=True,
        packing=packing,
        overlap=rng.uniform(0.72, 0.92) if mild else rng.uniform(0.58, 0.85),
        jitter=0.0,
        angle=0.0,
        clumping=rng.uniform(0.2, 1.0),
        # Crowded nuclei share their cytoplasm; without this the classes would differ in its area.
        cytoplasm=rng.uniform(1.12, 1.34),
    )


def _portions(rng: Generator, total: float) -> Iterator[float]:
    groups = int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15]))
    yield from total * rng.dirichlet(np.full(groups, 4.0))


def _grow(
    rng: Generator,
    nuclei: list[Nucleus],
    coverage: _Coverage,
    goal: float,
    field_width: float,
    manner: _Manner,
    *,
    lattice: bool,
) -> None:
    """Let a group grow outwards from its centre until `goal` of the field is under nuclei."""
    centre = np.array([rng.uniform(0.22, 0.78) * field_width, rng.uniform(0.15, 0.85) * FIELD_HEIGHT])
    outline = lobed(
        rng,
        centre[0],
        centre[1],
        100,
        elongation=rng.uniform(1.0, 2.8),
        angle=rng.uniform(0, np.pi),
        roughness=0.12,
    )
    points = _honeycomb(rng, manner, field_width) if lattice else _darts(rng, field_width)
    for x, y in points[np.argsort(_rank(outline, points))]:
        if coverage.share() >= goal:
            return
        _settle(rng, nuclei, coverage, x, y, manner, single=False)


def _scatter(
    rng: Generator,
    nuclei: list[Nucleus],
    coverage: _Coverage,
    goal: float,
    field_width: float,
    manner: _Manner,
) -> None:
    for x, y in _darts(rng, field_width)[:400]:
        if coverage.share() >= goal:
            return
        _settle(rng, nuclei, coverage, x, y, manner, single=True)


def _settle(
    rng: Generator,
    nuclei: list[Nucleus],
    coverage: _Coverage,
    x: float,
    y: float,
    manner: _Manner,
    *,
    single: bool,
) -> None:
    """Place a nucleus at a point if its neighbours leave it room."""
    radius = manner.diameter / 2 * float(np.exp(rng.normal(0, manner.spread) - manner.spread**2 / 2))
    radius = float(np.clip(radius, 11.5, 33))
    room = 1.5 if single else manner.overlap
    for other in nuclei:
        gap = (other.shape.x - x) ** 2 + (other.shape.y - y) ** 2
        if gap < (room * (other.shape.radius + radius)) ** 2:
            return
    roughness = manner.roughness * float(rng.uniform(0.6, 1.4))
    elongation = 1 + (manner.elongation - 1) * float(rng.uniform(0.4, 1.6))
    turn = rng.uniform(0, np.pi) if manner.atypical else manner.angle + rng.normal(0, 0.35)
    shape = lobed(rng, x, y, radius, elongation=elongation, angle=turn, roughness=roughness)
    coverage.add(shape)
    nuclei.append(
        Nucleus(
            shape=shape,
            roughness=roughness,
            atypical=manner.atypical,
            cytoplasm_radius=radius * manner.cytoplasm / np.sqrt(manner.packing) * float(rng.uniform(1.0, 1.12)),
            single=single,
            clumping=manner.clumping * float(rng.uniform(0.7, 1.3)),
            # Large nuclei have less edge and more overlap: paler chromatin keeps them as dark on the whole.
            strength=float(np.clip(rng.normal(0.965 if manner.atypical else 1.0, 0.07), 0.8, 1.2)),
            blur=float(rng.choice([0.9, 0.9, 1.4, 2.2])),
        )
    )


def _honeycomb(rng: Generator, manner: _Manner, field_width: float) -> NDArray[np.float64]:
    """Points of a jittered, slowly bent hexagonal lattice over the field, `(N, 2)`."""
    spacing = manner.diameter * np.sqrt((np.pi / 4) / (np.sqrt(0.75) * manner.packing))
    reach = int(np.hypot(field_width, FIELD_HEIGHT) / spacing) + 3
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    lattice = np.stack([columns + 0.5 * (rows % 2), rows * np.sqrt(0.75)], axis=-1).reshape(-1, 2) * spacing
    turn = rng.uniform(0, np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = lattice @ rotation.T
    bend = rng.uniform(0, 2 * np.pi, 2)
    points = points + 6 * np.sin(points[:, ::-1] / 70 + bend)
    points = points + rng.normal(0, manner.jitter * spacing, points.shape)
    points = points + np.array([field_width, FIELD_HEIGHT]) / 2
    return _within(points, field_width)


def _darts(rng: Generator, field_width: float) -> NDArray[np.float64]:
    return rng.uniform((-12, -12), (field_width + 12, FIELD_HEIGHT + 12), (900, 2))


def _within(points: NDArray[np.float64], field_width: float) -> NDArray[np.float64]:
    inside = (points > -12).all(axis=1) & (points < np.array([field_width + 12, FIELD_HEIGHT + 12])).all(axis=1)
    return points[inside]


def _rank(outline: Shape, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of points from the centre of an outline, as a share of its radius in their direction."""
    offset = points - (outline.x, outline.y)
    cosine, sine = np.cos(outline.angle), np.sin(outline.angle)
    stretch = np.sqrt(outline.elongation)
    u = (offset @ (cosine, sine)) / stretch
    v = (offset @ (-sine, cosine)) * stretch
    theta = np.arctan2(v, u)
    radius = np.ones_like(theta)
    for order, (amplitude, phase) in enumerate(zip(outline.amplitudes, outline.phases, strict=True), start=2):
        radius += amplitude * np.cos(order * theta + phase)
    return np.asarray(np.hypot(u, v) / (outline.radius * radius))
