"""What is explained is the log-odds of the class, the number that is calibrated and reported."""

from __future__ import annotations

import torch

from msht.explanation.targets import ClassEvidence, class_evidence


def test_two_classes_give_the_difference_of_logits() -> None:
    logits = torch.tensor([[0.5, 2.0], [3.0, -1.0]])
    torch.testing.assert_close(class_evidence(logits, 1), torch.tensor([1.5, -4.0]))
    torch.testing.assert_close(class_evidence(logits, 0), torch.tensor([-1.5, 4.0]))


def test_several_classes_give_the_log_odds_of_softmax() -> None:
    logits = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for index in range(4):
        probability = logits.softmax(dim=-1)[:, index]
        torch.testing.assert_close(class_evidence(logits, index), torch.logit(probability))
        torch.testing.assert_close(ClassEvidence(index)(logits[0]), torch.logit(probability[0]))
