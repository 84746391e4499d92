"""The networks of all folds as one: a calibrated probability, its spread and the novelty of each field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import expit, logit
from torch import nn

from msht.calibration.novelty import FeatureReference
from msht.images.preprocessing import Preprocessing, to_tensor
from msht.network.logits import binary_logit, pooled_and_logits

SMALLEST_PROBABILITY = 1e-6
"""Probabilities are kept this far from 0 and 1, so that a field logit is always finite."""


SMALLEST_LIMIT = 1e-6
"""A cohort of identical images has no spread; this keeps the ratio finite."""


@dataclass(frozen=True)
class FoldModel:
    """One fold's network with what was fitted on the images that it did not train on.

    Attributes:
        number: of the fold, from 1.
        network: in evaluation mode.
        temperature: divides its logit.
        reference: features of the images that it did not train on, with the limit of what is usual.
    """

    number: int
    network: nn.Module
    temperature: float
    reference: FeatureReference


@dataclass(frozen=True)
class FieldScores:
    """Answers about B fields.

    Attributes:
        fold_logits: raw binary logit of each network, shape (F, B).
        fold_probabilities: each calibrated by its own temperature, shape (F, B).
        probability: mean over the networks, shape (B,).
        logit: log-odds of `probability`, shape (B,).
        spread: standard deviation over the networks of the calibrated probability, shape (B,).
        novelty: distance from the development images relative to the limit, mean over the networks, shape (B,);
            above 1 means out of distribution.
    """

    fold_logits: np.ndarray
    fold_probabilities: np.ndarray
    probability: np.ndarray
    logit: np.ndarray
    spread: np.ndarray
    novelty: np.ndarray


class Ensemble:
    """Scores fields with every fold's network.

    Args:
        folds: at least one.
        preprocessing: what the networks expect.
        device: where they run.

    Source: the mean of calibrated members is what scikit-learn's CalibratedClassifierCV(ensemble=True) gives.
    """

    def __init__(
        self, folds: Sequence[FoldModel], preprocessing: Preprocessing, device: torch.device | str = "cpu"
    ) -> None:
        self.folds = list(folds)
        self.preprocessing = preprocessing
        self.device = torch.device(device)
        for fold in self.folds:
            fold.network.eval().to(self.device)

    @torch.inference_mode()
    def score(self, views: np.ndarray) -> FieldScores:
        """Score views of shape (B, S, S, 3), uint8."""
        images = to_tensor(views, self.preprocessing).to(self.device)
        fold_logits, novelty = [], []
        for fold in self.folds:
            pooled, logits = pooled_and_logits(fold.network, images)
            fold_logits.append(binary_logit(logits).float().cpu().numpy().astype(np.float64))
            distance = fold.reference.distance(pooled.float().cpu().numpy())
            novelty.append(distance / max(fold.reference.threshold, SMALLEST_LIMIT))
        raw = np.stack(fold_logits)
        temperatures = np.array([fold.temperature for fold in self.folds])[:, None]
        return combine(raw, raw / temperatures, np.stack(novelty))


def combine(fold_logits: np.ndarray, calibrated_logits: np.ndarray, novelty: np.ndarray) -> FieldScores:
    """Mean, spread and log-odds from logits of shape (F, B), raw and calibrated, and relative distances (F, B)."""
    probabilities = expit(calibrated_logits)
    mean = np.clip(probabilities.mean(axis=0), SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return FieldScores(
        fold_logits=fold_logits,
        fold_probabilities=probabilities,
        probability=mean,
        logit=logit(mean),
        spread=probabilities.std(axis=0),
        novelty=novelty.mean(axis=0),
    )
