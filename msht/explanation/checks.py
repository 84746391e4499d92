"""The checks of a set of maps, side by side with what maps that know nothing would score."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from msht.explanation.faithfulness import (
    Map,
    Mask,
    Score,
    cascading_similarity,
    deletion,
    energy_inside,
    insertion,
    pointing_game,
    road,
)

Floats = npt.NDArray[np.float64]
Explain = Callable[[nn.Module, torch.Tensor], Map]

SHARES_FORGOTTEN = (0.25, 0.5, 1.0)
"""Shares of the parameters, from the head downwards, that the randomisation check shuffles."""
LARGEST_LIKENESS = 0.5
"""Mean rank correlation with the maps of a network with shuffled weights above which a map fails: half of it would
then be the image and not what the network learned."""


@dataclass(frozen=True)
class MapScores:
    """Scores of B maps and of B maps that know nothing, drawn at random with the same coarseness."""

    deletion: Floats
    """(B,) area under the deletion curve; low is right."""
    insertion: Floats
    """(B,) area under the insertion curve; high is right."""
    road: Floats
    """(B,) ROAD; above zero is right. NaN where it was not computed."""
    deletion_chance: Floats
    insertion_chance: Floats
    road_chance: Floats
    deletion_curve: Floats
    """(steps + 1,) mean score over the images, by share of the pixels taken away."""
    insertion_curve: Floats
    deletion_curve_chance: Floats
    insertion_curve_chance: Floats


def chance_maps(count: int, size: int, coarseness: int, seed: int) -> Map:
    """Maps that know nothing: noise on a grid of coarseness x coarseness, made smooth, shape (count, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, 1, coarseness, coarseness, generator=generator)
    return functional.interpolate(noise, size=(size, size), mode="bilinear", align_corners=False)[:, 0].numpy()


def score_maps(
    score: Score,
    images: torch.Tensor,
    maps: Map,
    *,
    coarseness: int,
    steps: int = 10,
    road_images: int | None = None,
    seed: int = 0,
) -> MapScores:
    """Deletion, insertion and ROAD of maps, and of maps that know nothing.

    Args:
        score: what the network says for the explained class.
        images: shape (B, 3, S, S), as the network takes them.
        maps: shape (B, S, S).
        coarseness: edge of the layer's own grid, so that chance maps are as smooth as the real ones.
        steps: of the curves.
        road_images: how many images ROAD is computed for, which costs most; None: all.
        seed: of the chance maps.
    """
    chance = chance_maps(len(images), images.shape[-1], coarseness, seed)
    wanted = len(images) if road_images is None else road_images
    curves: dict[str, list[Floats]] = {name: [] for name in ("deletion", "insertion", "deletion?", "insertion?")}
    roads: list[tuple[float, float]] = []
    for index, (image, own, blind) in enumerate(zip(images, maps, chance, strict=True)):
        for mark, evidence in (("", own), ("?", blind)):
            curves[f"deletion{mark}"].append(deletion(score, image, evidence, steps=steps).scores)
            curves[f"insertion{mark}"].append(insertion(score, image, evidence, steps=steps).scores)
        nothing = (float("nan"), float("nan"))
        roads.append((road(score, image, own), road(score, image, blind)) if index < wanted else nothing)
    made = {name: np.stack(rows) for name, rows in curves.items()}
    areas = {name: np.asarray(np.trapezoid(rows, dx=1 / steps, axis=1)) for name, rows in made.items()}
    return MapScores(
        deletion=areas["deletion"],
        insertion=areas["insertion"],
        road=np.array([own for own, _ in roads]),
        deletion_chance=areas["deletion?"],
        insertion_chance=areas["insertion?"],
        road_chance=np.array([blind for _, blind in roads]),
        deletion_curve=made["deletion"].mean(axis=0),
        insertion_curve=made["insertion"].mean(axis=0),
        deletion_curve_chance=made["deletion?"].mean(axis=0),
        insertion_curve_chance=made["insertion?"].mean(axis=0),
    )


def joined(parts: list[MapScores]) -> MapScores:
    """Scores of several sets of images as one; the curves are means weighted by the number of images."""
    weights = [len(part.deletion) for part in parts]

    def of(name: str) -> Floats:
        arrays = [getattr(part, name) for part in parts]
        return np.average(arrays, axis=0, weights=weights) if "curve" in name else np.concatenate(arrays)

    return MapScores(**{name: of(name) for name in MapScores.__dataclass_fields__})


def localisation(maps: Map, masks: Mask, *, tolerance: int = 4) -> Iterator[tuple[bool, float, float]]:
    """For each map: pointing game, energy on the known places, and their share of the image, which is chance.

    Args:
        maps: shape (B, S, S).
        masks: the known places, shape (B, S, S).
        tolerance: in px of the pointing game.
    """
    for evidence, mask in zip(maps, masks, strict=True):
        yield pointing_game(evidence, mask, tolerance=tolerance), energy_inside(evidence, mask), float(mask.mean())


def randomisation(network: nn.Module, images: torch.Tensor, explain: Explain, *, seed: int = 0) -> Floats:
    """Likeness of the maps to those of networks that forgot `SHARES_FORGOTTEN` of their weights, shape (K, B)."""
    return cascading_similarity(network, images, explain, shares=SHARES_FORGOTTEN, seed=seed)
