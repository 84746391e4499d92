"""The seam between an ensemble and what runs its networks."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

import numpy as np

BackendName = Literal["torch", "onnx", "openvino"]
BACKENDS: tuple[BackendName, ...] = ("torch", "onnx", "openvino")


class Answers(NamedTuple):
    """What one network says of N squares."""

    pooled: np.ndarray
    """Pooled features, float32 of shape (N, D)."""
    logits: np.ndarray
    """Binary logits, z[1] - z[0], float32 of shape (N,)."""


class Runtime(Protocol):
    """Runs every network of an ensemble; scaling from bytes to the networks' range is its own affair."""

    backend: BackendName

    def answers(self, squares: np.ndarray) -> list[Answers]:
        """What each network says of squares, RGB uint8 of shape (N, S, S, 3), in the ensemble's order."""
        ...
