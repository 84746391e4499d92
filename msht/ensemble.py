"""The networks of all folds as one: a calibrated probability, its spread and the novelty of each field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import expit, logit
from torch import nn

from msht.calibration.novelty import FeatureReference
from msht.calibration.stored import SMALLEST_PROBABILITY, StoredCalibrator
from msht.images.preprocessing import Preprocessing, to_tensor
from msht.network.logits import binary_logit, over_crops

SMALLEST_LIMIT = 1e-6
"""A cohort of identical images has no spread; this keeps the ratio finite."""


@dataclass(frozen=True)
class FoldModel:
    """One fold's network with what was fitted on the images that it did not train on.

    Attributes:
        number: of the fold, from 1.
        network: in evaluation mode.
        temperature: divides its logit, where there is no `calibrator`.
        reference: features of the images that it did not train on, with the limit of what is usual.
        calibrator: from its logit to calibrated log-odds, where that is more than a temperature.
    """

    number: int
    network: nn.Module
    temperature: float
    reference: FeatureReference
    calibrator: StoredCalibrator | None = None

    def log_odds(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated log-odds of raw binary logits, in their shape."""
        return logits / self.temperature if self.calibrator is None else self.calibrator.log_odds(logits)


@dataclass(frozen=True)
class FieldScores:
    """Answers about B fields.

    Attributes:
        fold_logits: raw binary logit of each network, shape (F, B).
        fold_probabilities: each calibrated by what was fitted for its network, shape (F, B).
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
        """Score fields as `view_of` gives them: uint8, shape (B, S, S, 3), or (B, K, S, S, 3) for K > 1 crops.

        The logit of a field of several crops is, for each network, the mean of theirs, and so are its features.

        Raises:
            ValueError: if the views have another number of crops than the networks were fitted with.
        """
        crops = math.prod(self.preprocessing.crops)
        if (views.shape[1] if views.ndim == 5 else 1) != crops:
            raise ValueError(f"Expected `views` with {crops} crops a field, but got the shape {views.shape}")
        images = to_tensor(views, self.preprocessing).to(self.device)
        fold_logits, novelty = [], []
        for fold in self.folds:
            pooled, logits = over_crops(fold.network, images)
            fold_logits.append(binary_logit(logits).float().cpu().numpy().astype(np.float64))
            distance = fold.reference.distance(pooled.float().cpu().numpy())
            novelty.append(distance / max(fold.reference.threshold, SMALLEST_LIMIT))
        raw = np.stack(fold_logits)
        calibrated = np.stack([fold.log_odds(logits) for fold, logits in zip(self.folds, raw, strict=True)])
        return combine(raw, calibrated, np.stack(novelty))


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
