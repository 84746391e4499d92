"""Drawing for the phantom: anti-aliased lobed shapes and clouds of noise, in units apart from pixels.

A field is always 384 units high; a canvas knows how many pixels a unit is. The same draws give the same
specimen at every size.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Map = NDArray[np.float32]

FIELD_HEIGHT = 384.0
"""Units in the height of a field."""


@dataclass(frozen=True)
class Shape:
    """A closed outline: an ellipse whose radius is waved by a few harmonics; units and radians."""

    x: float
    y: float
    radius: float
    """Radius of the circle of about equal area."""
    elongation: float = 1.0
    angle: float = 0.0
    amplitudes: tuple[float, ...] = ()
    """Of the harmonics 2, 3, 4 …, as shares of the radius."""
    phases: tuple[float, ...] = ()

    def reach(self) -> float:
        """No point of the outline is farther from the centre."""
        return self.radius * np.sqrt(self.elongation) * (1 + sum(abs(a) for a in self.amplitudes))


@dataclass(frozen=True)
class Patch:
    """The part of a canvas that a shape covers."""

    rows: slice
    columns: slice
    depth: Map
    """0 at the outline, 1 at the centre, negative outside: one minus the share of the radius."""
    coverage: Map
    """Share of each pixel that lies inside, 0 to 1, softened at the edge."""


class Canvas:
    """The pixel grid of one field.

    Args:
        width: pixels.
        height: pixels; 384 units.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.scale = height / FIELD_HEIGHT
        self.field_width = width / self.scale

    def blank(self) -> Map:
        """An empty density map, `(height, width)`."""
        return np.zeros((self.height, self.width), np.float32)

    def patch(self, shape: Shape, softness: float = 1.0) -> Patch | None:
        """Cover the pixels of a shape; None where it lies outside.

        Args:
            shape: what to draw.
            softness: width of its edge in units; never less than a pixel.
        """
        margin = shape.reach() + softness + 1 / self.scale
        top, bottom = self._range(shape.y, margin, self.height)
        left, right = self._range(shape.x, margin, self.width)
        if top >= bottom or left >= right:
            return None
        ys = (np.arange(top, bottom, dtype=np.float32)[:, None] + 0.5) / self.scale - shape.y
        xs = (np.arange(left, right, dtype=np.float32)[None, :] + 0.5) / self.scale - shape.x
        cosine, sine = np.cos(shape.angle), np.sin(shape.angle)
        stretch = np.sqrt(shape.elongation)
        u = ((xs * cosine + ys * sine) / stretch).astype(np.float32)
        v = ((ys * cosine - xs * sine) * stretch).astype(np.float32)
        distance = np.sqrt(u * u + v * v)
        outline: Map | float = 1.0
        if shape.amplitudes:
            theta = np.arctan2(v, u)
            outline = np.ones_like(theta)
            for order, (amplitude, phase) in enumerate(zip(shape.amplitudes, shape.phases, strict=True), start=2):
                outline += np.float32(amplitude) * np.cos(order * theta + np.float32(phase))
        depth = 1 - distance / (shape.radius * outline)
        edge = max(softness, 1 / self.scale)
        coverage = np.clip(depth * (shape.radius / edge) + 0.5, 0, 1)
        return Patch(slice(top, bottom), slice(left, right), depth.astype(np.float32), coverage.astype(np.float32))

    def cloud(self, rng: Generator, grain: float, stretch: float = 1.0) -> Map:
        """Smooth noise of about zero mean and unit variance, `(height, width)`.

        Args:
            rng: source of randomness; how much it is asked for does not depend on the pixels.
            grain: size of a lump in units.
            stretch: how much longer than wide the lumps are, along the rows.
        """
        rows = int(np.ceil(FIELD_HEIGHT / grain)) + 4
        columns = int(np.ceil(self.field_width / (grain * stretch))) + 4
        grid = rng.standard_normal((rows, columns), dtype=np.float32)
        ys, xs = self.scale * grain, self.scale * grain * stretch
        matrix = np.array([[xs, 0, -1.5 * xs], [0, ys, -1.5 * ys]], np.float32)
        flags = cv2.INTER_CUBIC if grain * self.scale >= 1 else cv2.INTER_LINEAR
        warped = cv2.warpAffine(grid, matrix, (self.width, self.height), flags=flags, borderMode=cv2.BORDER_REFLECT)
        return np.asarray(warped, dtype=np.float32) * np.float32(1.3)

    def _range(self, centre: float, margin: float, size: int) -> tuple[int, int]:
        start = int(np.floor((centre - margin) * self.scale))
        stop = int(np.ceil((centre + margin) * self.scale))
        return max(0, start), min(size, stop)


def lobed(
    rng: Generator, x: float, y: float, radius: float, *, elongation: float, angle: float, roughness: float
) -> Shape:
    """A shape whose outline departs from an ellipse by about `roughness` of its radius."""
    orders = np.arange(2, 7)
    amplitudes = rng.normal(0, 1, len(orders)) * roughness / (orders - 1) ** 0.7
    phases = rng.uniform(0, 2 * np.pi, len(orders))
    return Shape(float(x), float(y), float(radius), float(elongation), float(angle), tuple(amplitudes), tuple(phases))
