"""The networks of all folds as one: a calibrated probability, its spread and the novelty of each field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.special import expit, logit
from torch import nn

from msht.calibration.novelty import FeatureReference
from msht.calibration.stored import SMALLEST_PROBABILITY, StoredCalibrator
from msht.images.preprocessing import Preprocessing
from msht.runtimes.protocol import Answers, Runtime
from msht.runtimes.torch import TorchRuntime

TestTime = Literal["none", "flips", "dihedral"]
ORIENTATIONS: dict[TestTime, tuple[tuple[int, bool], ...]] = {
    "none": ((0, False),),
    "flips": ((0, False), (0, True), (2, False), (2, True)),
    "dihedral": tuple((turns, mirrored) for turns in range(4) for mirrored in (False, True)),
}
"""Quarter turns, and whether the square is mirrored left to right first. Each set is closed under its own turns and
mirror images, so that the mean over it is the same for a field and for its mirror image."""
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
        runtime: what runs them; PyTorch, as they are, by default.

    Source: the mean of calibrated members is what scikit-learn's CalibratedClassifierCV(ensemble=True) gives.
    """

    def __init__(
        self,
        folds: Sequence[FoldModel],
        preprocessing: Preprocessing,
        device: torch.device | str = "cpu",
        *,
        runtime: Runtime | None = None,
    ) -> None:
        self.folds = list(folds)
        self.preprocessing = preprocessing
        self.device = torch.device(device)
        if runtime is None:
            for fold in self.folds:
                fold.network.eval().to(self.device)
            runtime = TorchRuntime([fold.network for fold in self.folds], preprocessing, self.device)
        self.runtime: Runtime = runtime

    def score(self, views: np.ndarray, *, test_time: TestTime = "none") -> FieldScores:
        """Score fields as `view_of` gives them: uint8, shape (B, S, S, 3), or (B, K, S, S, 3) for K > 1 crops.

        The logit of a field of several crops is, for each network, the mean of theirs, and so are its features.

        Args:
            views: RGB uint8.
            test_time: orientations of each square whose raw logits and features are averaged: `none` (as it is),
                `flips` (4: as it is, its two mirror images, and half a turn) or `dihedral` (8: those four, and
                each turned by a quarter). The cost is theirs times as many networks. The calibrators were fitted
                on answers about squares as they are; the mean over orientations is not what they saw.

        Raises:
            ValueError: if the views have another number of crops than the networks were fitted with.
        """
        crops = math.prod(self.preprocessing.crops)
        if (views.shape[1] if views.ndim == 5 else 1) != crops:
            raise ValueError(f"Expected `views` with {crops} crops a field, but got the shape {views.shape}")
        squares = views.reshape(-1, *views.shape[-3:])
        turned = [self.runtime.answers(oriented(squares, *way)) for way in ORIENTATIONS[test_time]]
        fold_logits, novelty = [], []
        for number, fold in enumerate(self.folds):
            pooled, logits = _mean([answers[number] for answers in turned], crops)
            fold_logits.append(logits.astype(np.float64))
            distance = fold.reference.distance(pooled)
            novelty.append(distance / max(fold.reference.threshold, SMALLEST_LIMIT))
        raw = np.stack(fold_logits)
        calibrated = np.stack([fold.log_odds(logits) for fold, logits in zip(self.folds, raw, strict=True)])
        return combine(raw, calibrated, np.stack(novelty))


def oriented(squares: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """Squares (N, S, S, 3), mirrored left to right if asked, then turned by quarters counter-clockwise."""
    if mirrored:
        squares = squares[:, :, ::-1]
    return np.ascontiguousarray(np.rot90(squares, turns, axes=(1, 2)))


def _mean(answers: Sequence[Answers], crops: int) -> Answers:
    """Mean over orientations, each with (B * crops) answers, and over the crops of each field."""
    pooled = np.mean([part.pooled for part in answers], axis=0)
    logits = np.mean([part.logits for part in answers], axis=0)
    fields = len(logits) // crops
    return Answers(pooled.reshape(fields, crops, -1).mean(axis=1), logits.reshape(fields, crops).mean(axis=1))


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
