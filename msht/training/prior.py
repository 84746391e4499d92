"""Classes that weigh the same while learning, and probabilities that still belong to the cohort."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from msht.errors import InvalidInput


def class_shares(labels: np.ndarray) -> np.ndarray:
    """Share of each class (2,) among class indices (N,).

    Raises:
        InvalidInput: if a class is missing.
    """
    counts = np.bincount(labels, minlength=2)
    if counts.min() == 0:
        raise InvalidInput(
            f"The training images hold {counts[0]} negative and {counts[1]} positive ones.",
            "Training needs both classes in every fold; make a split with fewer folds.",
        )
    return counts / counts.sum()


def balancing_weights(shares: np.ndarray) -> torch.Tensor:
    """Weights (2,) under which both classes count the same and the mean weight of an image is 1."""
    return torch.from_numpy(1 / (2 * shares)).float()


def add_prior(network: nn.Module, shares: np.ndarray) -> None:
    """Add the log prior to the head's bias.

    A network trained with balancing weights answers as if both classes were equally common. By Bayes' rule its
    log-odds differ from those of the cohort by the log-odds of the prior, a constant; with it back in place the
    probabilities are the cohort's, for the calibrator to refine.

    Raises:
        InvalidInput: if the network's head is not linear with a bias.

    Source: Elkan (2001), The foundations of cost-sensitive learning, theorem 2.
    """
    head = network.get_classifier()  # type: ignore[operator]
    if not isinstance(head, nn.Linear) or head.bias is None:
        raise InvalidInput(
            f"training.class_prior balanced needs a linear head with a bias, but this network ends with "
            f"{type(head).__name__}.",
            "Use training.class_prior natural.",
        )
    with torch.no_grad():
        head.bias.add_(torch.from_numpy(np.log(shares)).to(head.bias))
