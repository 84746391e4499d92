"""What the network itself attends to: maps of MHSA and MHGA, rollout, distance, likeness of positions.

Attention says where information is mixed, not what speaks for a class: these maps describe the network and
explain no call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from msht.errors import InvalidInput

Weights = npt.NDArray[np.float32]


def attention_weights(network: nn.Module, images: torch.Tensor) -> dict[str, Weights]:
    """Record the weights of every attention module that can tell them.

    Args:
        network: holds modules with `attention_map`, as MSHT's decoders do.
        images: shape (B, 3, S, S).

    Returns:
        Weights by the module's dotted path, in the order of use, each of shape (B, H, N, N); rows are queries
        and sum to one, class token first where there is one.

    Raises:
        InvalidInput: if the network has no such module.
    """
    recorded: dict[str, Weights] = {}
    handles = []

    def recorder(path: str) -> Any:
        def record(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            # MHSA is given its tokens; MHGA is given queries, keys and then values, which play no part here.
            weights = module.attention_map(*inputs[:2])
            recorded[path] = weights.detach().float().cpu().numpy()

        return record

    training = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        for path, module in network.named_modules():
            if hasattr(module, "attention_map"):
                handles.append(module.register_forward_pre_hook(recorder(path)))
        with torch.no_grad():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
        for module, was_training in training:
            module.training = was_training
    if not recorded:
        raise InvalidInput(
            "This network has no attention module that tells its weights.",
            "Explain it by class activation maps.",
        )
    return recorded


def attention_map(weights: Weights, grid: tuple[int, int], prefix: int) -> Weights:
    """Fold attention to a picture for each head.

    Args:
        weights: shape (B, H, N, N) with N = prefix + h * w.
        grid: (h, w).
        prefix: number of class tokens.

    Returns:
        shape (B, H, h, w): what the class token attends to; without one, how much each patch is attended to
        on average.
    """
    rows = weights[:, :, 0] if prefix else weights.mean(axis=2)
    return np.ascontiguousarray(rows[:, :, prefix:].reshape(*weights.shape[:2], *grid))


def rollout(layers: Sequence[Weights]) -> Weights:
    """Follow attention through the layers: mean over heads, half kept for the residual path, multiplied up.

    Args:
        layers: weights from the first layer to the last, each (B, H, N, N).

    Returns:
        shape (B, N, N); rows sum to one.

    Source: Abnar and Zuidema (2020), arXiv 2005.00928.
    """
    count = layers[0].shape[-1]
    flow = np.broadcast_to(np.eye(count, dtype=np.float32), (layers[0].shape[0], count, count))
    for weights in layers:
        flow = (0.5 * weights.mean(axis=1) + 0.5 * np.eye(count, dtype=np.float32)) @ flow
    return np.asarray(flow, dtype=np.float32)


def attention_distance(weights: Weights, grid: tuple[int, int], prefix: int, *, pitch: float = 1.0) -> Weights:
    """Mean distance over which each head attends from patch to patch.

    Args:
        weights: shape (B, H, N, N).
        grid: (h, w).
        prefix: number of class tokens, which have no place and are left out.
        pitch: px of the view between two neighbouring patches.

    Returns:
        shape (H,), in px.

    Source: Dosovitskiy et al. (2021), arXiv 2010.11929, figure 7 and appendix D.7.
    """
    rows, columns = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    places = np.stack([rows, columns], axis=1).astype(np.float32)
    distances = pitch * np.linalg.norm(places[:, None] - places[None], axis=-1)
    patches = weights[:, :, prefix:, prefix:]
    patches = patches / np.maximum(patches.sum(axis=-1, keepdims=True), 1e-12)
    return np.asarray((patches * distances).sum(axis=-1).mean(axis=(0, 2)), dtype=np.float32)


def position_similarity(positions: torch.Tensor, grid: tuple[int, int], prefix: int) -> Weights:
    """Cosine likeness of each position embedding to all others.

    Args:
        positions: shape (1, N, C).
        grid: (h, w).
        prefix: number of class tokens, left out.

    Returns:
        shape (h, w, h, w), in [-1, 1].

    Source: Dosovitskiy et al. (2021), arXiv 2010.11929, figure 7.
    """
    vectors = torch.nn.functional.normalize(positions.detach()[0, prefix:].float(), dim=-1)
    return (vectors @ vectors.T).reshape(*grid, *grid).cpu().numpy()
