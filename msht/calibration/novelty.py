"""Whether an image looks like the development cohort at all.

Nearest neighbours, not Mahalanobis: the features of a cohort form several clouds (two classes, several sites
and stains), which one Gaussian bridges with regions where nothing was ever seen; and a few hundred fields
cannot settle a covariance of 512 to 2,048 dimensions, whatever the shrinkage. The price is that the reference
features travel with the bundle; 2,000 rows of 768 numbers are 6 MB.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msht.calibration.conformal import conformal_p_values
from msht.errors import InvalidInput
from msht.statistics.arrays import Booleans, Floats, as_groups, check_fraction

ROWS_AT_ONCE = 1024
FEWEST_BEYOND = 5
"""Development images that must lie beyond the limit of what is usual."""


@dataclass(frozen=True)
class FeatureReference:
    """Features of the development cohort, and how far its own images lie from each other.

    Source: Sun et al. (2022), ICML, "Out-of-distribution detection with deep nearest neighbors": the distance
    to the k-th neighbour among features of length 1.
    """

    features: NDArray[np.float32]
    """(N, D) reference features, each of length 1."""
    calibration: NDArray[np.float64]
    """(N,) distance of each reference image to those of other patients, sorted."""
    neighbours: int
    """Which neighbour's distance counts."""
    threshold: float
    """An image farther than this is flagged."""
    share: float
    """Share of the development cohort that the threshold was set to let pass; lowered where it is small."""

    @classmethod
    def fit(
        cls,
        features: ArrayLike,
        groups: ArrayLike | None = None,
        *,
        neighbours: int = 5,
        share: float = 0.99,
        most: int = 2000,
        seed: int = 517,
    ) -> Self:
        """Keep a reference and set the threshold.

        Distances within the cohort leave out the image's own patient: fields of one patient are alike, and a
        new patient has no such neighbours. The threshold is the conformal quantile of these distances, so an
        image of a new, exchangeable patient is flagged with probability at most about 1 - `share`. At least
        `FEWEST_BEYOND` images must lie beyond it, which lowers the share of a small cohort: a limit that rests on
        the one or two oddest images, each far from the few other patients, would let noise pass.

        Args:
            features: (N, D) features of the development images, out of fold or not.
            groups: (N,) patient of each image; None if every image stands alone.
            neighbours: which neighbour's distance counts; lowered where other patients have fewer images.
            share: share of such images to let pass, in (0, 1).
            most: keep at most this many images, drawn at random.
            seed: of that draw.

        Returns:
            The reference.

        Raises:
            InvalidInput: if there are fewer than two groups, or a feature is not finite.
        """
        check_fraction(share, "share")
        table = _unit_length(features)
        codes, _ = as_groups(groups, len(table))
        if len(table) > most:
            kept = np.sort(np.random.default_rng(seed).choice(len(table), most, replace=False))
            table, codes = table[kept], codes[kept]
        others = len(table) - int(np.bincount(codes).max())
        if others < 1 or neighbours < 1:
            raise InvalidInput(
                f"A reference needs images of two patients and at least one neighbour, but got {len(table)} "
                f"images of {len(np.unique(codes))} patients and {neighbours} neighbours.",
                "Give the features of the whole development cohort.",
            )
        neighbours = min(neighbours, others)
        own = np.sort(_neighbour_distance(table, table, neighbours, codes))
        rank = int(np.ceil((len(own) + 1) * share - 1e-9))
        most_below = max(len(own) - FEWEST_BEYOND, math.ceil(len(own) / 2))
        if rank > most_below:
            rank, share = most_below, most_below / (len(own) + 1)
        return cls(table, own, neighbours, float(own[rank - 1]), share)

    def distance(self, features: ArrayLike) -> Floats:
        """Distance of new images to the reference.

        Args:
            features: (M, D).

        Returns:
            (M,) distance to the k-th nearest reference image on the unit sphere, in [0, 2].

        Raises:
            InvalidInput: if D differs from the reference's, or a feature is not finite.
        """
        table = _unit_length(features)
        if table.shape[1] != self.features.shape[1]:
            raise InvalidInput(
                f"Expected {self.features.shape[1]} features an image, but got {table.shape[1]}.",
                "Use the network that the reference was made with.",
            )
        return _neighbour_distance(table, self.features, self.neighbours)

    def is_novel(self, features: ArrayLike) -> Booleans:
        """Whether each of (M, D) new images lies farther than the threshold, (M,)."""
        return self.distance(features) > self.threshold

    def p_values(self, features: ArrayLike) -> Floats:
        """Share of the development images that lie at least as far out as each of (M, D) new ones, (M,)."""
        return conformal_p_values(self.calibration, self.distance(features))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The reference as plain arrays, as safetensors stores them."""
        return {
            "features": np.ascontiguousarray(self.features),
            "calibration": np.ascontiguousarray(self.calibration),
            "neighbours": np.array([self.neighbours], dtype=np.int64),
            "threshold": np.array([self.threshold], dtype=np.float64),
            "share": np.array([self.share], dtype=np.float64),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Self:
        """Build the reference again from `to_arrays`.

        Raises:
            InvalidInput: if an array is missing or has the wrong shape.
        """
        missing = {"features", "calibration", "neighbours", "threshold", "share"} - set(arrays)
        if missing or np.asarray(arrays["features"]).ndim != 2:
            raise InvalidInput(
                f"The reference features are incomplete (missing: {', '.join(sorted(missing)) or 'rows'}).",
                "Write the bundle again.",
            )
        return cls(
            features=np.asarray(arrays["features"], dtype=np.float32),
            calibration=np.asarray(arrays["calibration"], dtype=np.float64),
            neighbours=int(np.asarray(arrays["neighbours"]).item()),
            threshold=float(np.asarray(arrays["threshold"]).item()),
            share=float(np.asarray(arrays["share"]).item()),
        )


def _unit_length(features: ArrayLike) -> NDArray[np.float32]:
    table = np.asarray(features, dtype=np.float64)
    if table.ndim != 2 or 0 in table.shape:
        raise InvalidInput(f"Expected features of shape (N, D), but got {table.shape}.", "Give a row each.")
    if not np.isfinite(table).all():
        row = int(np.flatnonzero(~np.isfinite(table).all(axis=1))[0])
        raise InvalidInput(f"The features of row {row} are not finite.", "Leave out images without features.")
    length = np.linalg.norm(table, axis=1, keepdims=True)
    return (table / np.where(length > 0, length, 1.0)).astype(np.float32)


def _neighbour_distance(
    table: NDArray[np.float32],
    reference: NDArray[np.float32],
    neighbours: int,
    groups: NDArray[np.int64] | None = None,
) -> Floats:
    """Distance to the k-th neighbour; with `groups` (table = reference), among rows of other groups."""
    found = np.empty(len(table))
    for start in range(0, len(table), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        squared = 2.0 - 2.0 * (table[part].astype(np.float64) @ reference.T.astype(np.float64))
        if groups is not None:
            squared[groups[part, None] == groups[None, :]] = np.inf
        found[part] = np.partition(squared, neighbours - 1, axis=1)[:, neighbours - 1]
    return np.sqrt(np.maximum(found, 0.0))
