"""Activation checkpointing for any network: less memory, the same gradients and batch statistics."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint, checkpoint_sequential


def checkpoint_activations(network: nn.Module) -> None:
    """Let a network compute activations again on the way back instead of keeping them.

    timm's own switch where the network has one; else long sequences are cut into about as many segments as the
    square root of their length, and blocks are recomputed whole. Batch norms count a batch once, although they see
    it twice.
    """
    try:
        network.set_grad_checkpointing(True)  # type: ignore[operator]
    except (AssertionError, AttributeError):
        for child in network.children():
            if isinstance(child, nn.Sequential) and len(child) > 3:
                _become(child, _Segments)
            elif any(True for _ in child.children()):
                _become(child, _Whole)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(_before_norm)
            module.register_forward_hook(_after_norm)


@contextmanager
def running_figures_kept(network: nn.Module) -> Iterator[None]:
    """Within the block, batch norms use a batch's own figures and leave the running ones alone."""
    norms: list[Any] = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.training]
    for norm in norms:
        _before(norm)
    try:
        yield
    finally:
        for norm in norms:
            _after(norm)


class _Recomputed(nn.Module):
    """Marks a module whose class was exchanged; unlike a wrapper, that leaves names, copies and weights alone."""


class _Whole(_Recomputed):
    def forward(self, *inputs: Any) -> Any:
        if self.training and torch.is_grad_enabled():
            return checkpoint(super().forward, *inputs, use_reentrant=False)
        return super().forward(*inputs)


class _Segments(_Recomputed):
    def forward(self, x: torch.Tensor) -> Any:
        if self.training and torch.is_grad_enabled():
            layers = list(self.children())
            return checkpoint_sequential(layers, math.isqrt(len(layers)), x, use_reentrant=False)
        return super().forward(x)


def _become(module: nn.Module, kind: type[_Recomputed]) -> None:
    module.__class__ = type(f"{kind.__name__}{type(module).__name__}", (kind, type(module)), {})


def _before_norm(module: Any, _: Any) -> None:
    # Within a backward pass, so a recomputation: the running figures have had this batch already.
    if module.training and torch._C._current_graph_task_id() != -1:
        _before(module)


def _after_norm(module: Any, _: Any, __: Any) -> None:
    if torch._C._current_graph_task_id() != -1:
        _after(module)


def _before(norm: Any) -> None:
    if "_kept" not in norm.__dict__:
        norm._kept = (norm.momentum, norm.num_batches_tracked)
        norm.momentum, norm.num_batches_tracked = 0.0, None


def _after(norm: Any) -> None:
    kept = norm.__dict__.pop("_kept", None)
    if kept is not None:
        norm.momentum, norm.num_batches_tracked = kept
