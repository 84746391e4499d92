"""A network as a graph from bytes to features and logit, traced once for every exporter."""

from __future__ import annotations

import torch
from torch import nn

from msht.errors import InvalidInput
from msht.images.preprocessing import Preprocessing
from msht.network.logits import binary_logit, pooled_and_logits

SQUARES, POOLED, LOGIT = "squares", "pooled", "logit"
"""Names of the input and of the outputs."""
MOST = 4096
"""Squares that a graph answers at once at the most."""


class FromBytes(nn.Module):
    """A network that scales the bytes itself, so that bytes and not floats travel to it."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        shape = (1, 3, 1, 1)
        self.register_buffer("mean", torch.tensor(preprocessing.mean or (0.0, 0.0, 0.0)).view(shape))
        self.register_buffer("std", torch.tensor(preprocessing.std or (1.0, 1.0, 1.0)).view(shape))

    def forward(self, squares: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pooled features (N, D) and binary logits (N,) of squares, uint8 of shape (N, S, S, 3)."""
        scaled = (squares.permute(0, 3, 1, 2).to(torch.float32) / 255.0 - self.mean) / self.std
        pooled, logits = pooled_and_logits(self.network, scaled)
        return pooled, binary_logit(logits)


def trace(network: nn.Module, preprocessing: Preprocessing) -> torch.export.ExportedProgram:
    """Trace a network for any number of squares.

    Raises:
        InvalidInput: if PyTorch cannot trace it.
    """
    module = FromBytes(network, preprocessing).eval()
    size = preprocessing.size
    example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=MOST)
    try:
        with torch.no_grad():
            return torch.export.export(module, (example,), dynamic_shapes={SQUARES: {0: batch}})
    except Exception as error:  # whatever the tracer met inside a network that is not ours
        raise InvalidInput(
            f"PyTorch cannot trace {type(network).__name__} for an export ({_first_line(error)}).",
            "Score it with --backend torch.",
        ) from error


def cannot_export(network: str, error: Exception) -> InvalidInput:
    """Say that an exporter refused a network, and why."""
    return InvalidInput(f"The exporter refuses {network} ({_first_line(error)}).", "Score it with --backend torch.")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200].rstrip(".")


def pieces(squares: int, size: int, *, ways: int = 1) -> int:
    """How many squares go through a network at once.

    Few enough that the maps between layers stay small, four of 384 px or their like, and half as many where several
    are worked on together, which then share evenly.

    Args:
        squares: that wait.
        size: of one, in px.
        ways: that work at the same time.
    """
    area = 384 * 384 * (4 if ways == 1 else 2)
    return max(1, min(area // (size * size), -(-squares // ways)))
