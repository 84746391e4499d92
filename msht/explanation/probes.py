"""How a network answers when patches of an image are dropped or change places.

These probe the network, not a map: one that answers the same whatever patches are where looks at texture alone; one
that answers the same when the most salient patches are gone did not need them.

Source: Naseer et al. (2021), "Intriguing properties of vision transformers", arXiv 2105.10497.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from msht.explanation.faithfulness import Map, Score

Floats = npt.NDArray[np.float64]
Order = Literal["random", "salient", "non-salient"]
ORDERS: tuple[Order, ...] = ("random", "salient", "non-salient")


def patch_edges(size: int, grid: int) -> list[int]:
    """Borders of `grid` strips of almost equal width over `size` pixels: grid + 1 numbers from 0 to size."""
    return [round(size * step / grid) for step in range(grid + 1)]


def drop_patches(images: torch.Tensor, dropped: npt.NDArray[np.bool_]) -> torch.Tensor:
    """Fill patches with the mean colour of their image, where nothing can be seen.

    Args:
        images: shape (B, C, S, S).
        dropped: which patches are filled, shape (B, g, g).

    Returns:
        shape (B, C, S, S); the images are left as they are.
    """
    height, width = images.shape[-2:]
    rows = np.repeat(np.arange(dropped.shape[1]), np.diff(patch_edges(height, dropped.shape[1])))
    columns = np.repeat(np.arange(dropped.shape[2]), np.diff(patch_edges(width, dropped.shape[2])))
    mask = torch.from_numpy(dropped[:, rows][:, :, columns]).to(images.device)[:, None]
    return torch.where(mask, images.mean(dim=(2, 3), keepdim=True), images)


def occlusion(
    score: Score,
    images: torch.Tensor,
    maps: Map,
    *,
    order: Order,
    shares: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75),
    grid: int = 8,
    seed: int = 0,
) -> Floats:
    """Scores while more and more patches are dropped.

    Args:
        score: what the network says.
        images: shape (B, 3, S, S), as the network takes them.
        maps: evidence of each image, shape (B, S, S); it says which patches are salient.
        order: which go first: at random, those with most evidence, or those with least.
        shares: of the patches that are dropped.
        grid: patches along an edge.
        seed: of the random order.

    Returns:
        Scores, shape (K, B), for the K shares.
    """
    patches = functional.adaptive_avg_pool2d(torch.from_numpy(np.asarray(maps, dtype=np.float32)), grid).numpy()
    rank = _ranks(patches.reshape(len(images), -1), order, seed)
    made = []
    for share in shares:
        gone = (rank < round(share * grid * grid)).reshape(-1, grid, grid)
        made.append(_scored(score, drop_patches(images, gone)))
    return np.stack(made)


def _ranks(evidence: npt.NDArray[np.float32], order: Order, seed: int) -> npt.NDArray[np.int64]:
    """Place of each patch in the order of dropping, shape (B, g * g)."""
    keys: Floats = np.random.default_rng(seed).random(evidence.shape)
    if order != "random":
        keys = (-evidence if order == "salient" else evidence).astype(np.float64)
    return np.argsort(np.argsort(keys, axis=1, kind="stable"), axis=1, kind="stable")


def shuffle_patches(images: torch.Tensor, grid: int, *, seed: int = 0) -> torch.Tensor:
    """Cut each image into grid x grid patches and put them together in another order, the same for all images.

    Args:
        images: shape (B, C, S, S); a border that does not fill a patch stays where it is.
        grid: patches along an edge; 1 changes nothing.
        seed: of the order.
    """
    if grid == 1:
        return images.clone()
    edge = min(images.shape[-2:]) // grid
    inner = edge * grid
    patches = images[..., :inner, :inner].unfold(2, edge, edge).unfold(3, edge, edge).flatten(2, 3)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(grid * grid)).to(images.device)
    moved = patches[:, :, order].unflatten(2, (grid, grid)).permute(0, 1, 2, 4, 3, 5).flatten(4, 5).flatten(2, 3)
    made = images.clone()
    made[..., :inner, :inner] = moved
    return made


def shuffling(score: Score, images: torch.Tensor, *, grids: tuple[int, ...] = (1, 2, 4, 8), seed: int = 0) -> Floats:
    """Scores while images are cut into ever smaller patches that change places: shape (K, B) for the K grids."""
    return np.stack([_scored(score, shuffle_patches(images, grid, seed=seed)) for grid in grids])


def _scored(score: Score, images: torch.Tensor) -> Floats:
    with torch.no_grad():
        return np.asarray(score(images).detach().cpu().numpy(), dtype=np.float64)
