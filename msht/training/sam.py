"""Sharpness-aware minimisation: step along the gradient of a place where the loss is worst nearby."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


class SharpnessAware(Optimizer):
    """Wraps an optimiser: its step uses the gradient at w + radius * g / |g| instead of g, the gradient at w.

    Groups and state are those of the wrapped optimiser, so schedules and checkpoints see nothing else.

    Args:
        base: the optimiser that steps.
        radius: how far the gradient is looked for, at least 0.

    Source: Foret et al. (2021), arXiv 2010.01412, algorithm 1.
    """

    def __init__(self, base: Optimizer, radius: float) -> None:
        self.base = base
        self.radius = radius
        super().__init__(base.param_groups, base.defaults)
        self.param_groups = base.param_groups
        self.state = base.state
        self.second_pass = False
        """Whether the closure is being called at the place nearby."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step once.

        Args:
            closure: clears the gradients, computes the loss and its gradients, and gives the loss; called twice.
        """
        assert closure is not None
        loss = torch.enable_grad()(closure)()
        weights = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if not weights:
            return loss
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(p.grad) for p in weights]))
        before = [p.detach().clone() for p in weights]
        torch._foreach_add_(weights, [p.grad * (self.radius / (norm + 1e-12)) for p in weights])
        self.second_pass = True
        try:
            torch.enable_grad()(closure)()
        finally:
            self.second_pass = False
            for weight, value in zip(weights, before, strict=True):
                weight.copy_(value)
        self.base.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """State of the wrapped optimiser."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of the wrapped optimiser."""
        self.base.load_state_dict(state_dict)
        self.param_groups = self.base.param_groups
        self.state = self.base.state
