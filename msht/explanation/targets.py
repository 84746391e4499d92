"""The single number that an explanation explains."""

from __future__ import annotations

import torch


def class_evidence(logits: torch.Tensor, class_index: int) -> torch.Tensor:
    """The log-odds of a class against all others: what raises it speaks for the class.

    For two classes this is the difference of the logits, the very number whose calibrated sigmoid is
    reported; a single logit would leave out the evidence that the network holds in the other one.

    Args:
        logits: shape (..., num_classes), at least two classes.
        class_index: the class that is explained.

    Returns:
        shape (...): z[class] - logsumexp of the others.
    """
    others = [index for index in range(logits.shape[-1]) if index != class_index]
    return logits[..., class_index] - torch.logsumexp(logits[..., others], dim=-1)


class ClassEvidence:
    """`class_evidence` of one class, in the form that pytorch-grad-cam takes for a target."""

    def __init__(self, class_index: int) -> None:
        self.class_index = class_index

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Evidence of logits, shape (num_classes,) or (B, num_classes)."""
        return class_evidence(logits, self.class_index)
