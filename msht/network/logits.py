"""What every classifier here gives: pooled features, class logits, and the one number of a binary answer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def pooled_and_logits(network: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooled features (B, D) and class logits (B, C) in one pass, through timm's contract of a classifier."""
    classifier: Any = network
    pooled = classifier.forward_head(classifier.forward_features(images), pre_logits=True)
    head = classifier.get_classifier()
    # Most heads are linear on the pooled features; where the architecture has more in between, ask it.
    if isinstance(head, nn.Linear) and head.in_features == pooled.shape[-1]:
        return pooled, head(pooled)
    return pooled, classifier(images)


def binary_logit(logits: torch.Tensor) -> torch.Tensor:
    """Log-odds (B,) of the positive class from class logits (B, 2)."""
    return logits[:, 1] - logits[:, 0]


def over_crops(network: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooled features (B, D) and class logits (B, C) of fields, each the mean over its crops.

    Args:
        network: a classifier.
        images: (B, 3, S, S), or (B, K, 3, S, S) for fields of K crops.
    """
    if images.ndim == 4:
        return pooled_and_logits(network, images)
    pooled, logits = pooled_and_logits(network, images.flatten(0, 1))
    shape = images.shape[:2]
    return pooled.unflatten(0, shape).mean(dim=1), logits.unflatten(0, shape).mean(dim=1)
