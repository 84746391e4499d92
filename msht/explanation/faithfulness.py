"""Is a map true? Tests of explanations against the network, and against known places.

A map passes when removing what it marks removes the evidence (deletion), when bringing that back restores
it (insertion), when it marks what is known to matter (pointing game, energy inside), and when it does not
survive the loss of what the network has learned (weight randomisation).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional

Map = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]
Score = Callable[[torch.Tensor], torch.Tensor]
"""From images (B, 3, S, S) to one number each, shape (B,): the probability of the explained class."""

Fill = Literal["mean", "blur", "zero", "road"]


@dataclass(frozen=True, eq=False)
class Curve:
    """How the score changes while pixels are taken away or brought back in the order of a map."""

    shares: npt.NDArray[np.float64]
    """Shares of pixels changed, from 0 to 1, shape (K,)."""
    scores: npt.NDArray[np.float64]
    """Scores at these shares, shape (K,)."""

    @property
    def area(self) -> float:
        """Area under the curve by the trapezoidal rule, in units of the score."""
        return float(np.trapezoid(self.scores, self.shares))


def deletion(score: Score, image: torch.Tensor, evidence: Map, *, steps: int = 20, fill: Fill = "mean") -> Curve:
    """Take pixels away, those with most evidence first; for a true map the score falls early.

    Args:
        score: what the network says, in the same units for all maps that are compared.
        image: one image as the network takes it, shape (3, S, S).
        evidence: shape (S, S).
        steps: number of equal steps from none to all pixels.
        fill: what takes a pixel's place: the mean colour of the image, a strong blur, zero, or ROAD's noisy linear
            imputation, which leaves no edge in the shape of the mask to be recognised. Blur suits scenes and fails
            where colour alone is telling: a blurred stain is still stained.

    Source: Petsiuk et al. (2018), arXiv 1806.07421; ROAD: Rong et al. (2022), arXiv 2202.00449.
    """
    masks = _ordered_masks(evidence, steps)
    changed = torch.stack([_filled(image, mask, fill) for mask in masks])
    return Curve(np.linspace(0.0, 1.0, steps + 1), _scores(score, changed))


def insertion(score: Score, image: torch.Tensor, evidence: Map, *, steps: int = 20, fill: Fill = "mean") -> Curve:
    """Bring pixels back into an emptied image, most evidence first; for a true map the score rises early.

    Arguments and source as `deletion`.
    """
    masks = ~_ordered_masks(evidence, steps)
    changed = torch.stack([_filled(image, mask, fill) for mask in masks])
    return Curve(np.linspace(0.0, 1.0, steps + 1), _scores(score, changed))


def road(score: Score, image: torch.Tensor, evidence: Map, *, shares: tuple[float, ...] = (0.3, 0.7)) -> float:
    """ROAD: what is left without the least telling pixels, less what is left without the most telling ones, halved.

    Pixels are removed by noisy linear imputation, which leaves no edge in the shape of the mask; above zero the order
    of the map is better than its reverse.

    Args:
        score: what the network says.
        image: shape (3, S, S).
        evidence: shape (S, S).
        shares: of the pixels that are removed; the mean over them is given.

    Source: Rong et al. (2022), arXiv 2202.00449, in the form of pytorch-grad-cam's `ROADCombined`.
    """
    first, last = _masks_at(evidence, shares), _masks_at(-np.asarray(evidence), shares)
    left = _scores(score, torch.stack([_filled(image, mask, "road") for mask in [*first, *last]]))
    return float((left[len(shares) :] - left[: len(shares)]).mean() / 2)


def _masks_at(evidence: Map, shares: tuple[float, ...]) -> Mask:
    """Which pixels are among the first by evidence, shape (K, S, S) for K shares."""
    # Ties keep the order of reading; without that an empty map would not be a defined order.
    order = np.argsort(-evidence.ravel(), kind="stable")
    rank = np.empty(evidence.size, dtype=np.int64)
    rank[order] = np.arange(evidence.size)
    counts = np.rint(np.array(shares) * evidence.size)
    return np.asarray(rank[None] < counts[:, None]).reshape(len(shares), *evidence.shape)


def _ordered_masks(evidence: Map, steps: int) -> Mask:
    """Which pixels are among the first k/steps by evidence, for k = 0..steps: shape (steps + 1, S, S)."""
    return _masks_at(evidence, tuple(np.linspace(0.0, 1.0, steps + 1)))


def _filled(image: torch.Tensor, removed: Mask, fill: Fill) -> torch.Tensor:
    """Replace the pixels that are removed, shape (S, S), in an image (3, S, S)."""
    mask = torch.from_numpy(removed).to(image.device)
    if fill == "zero":
        return torch.where(mask, torch.zeros_like(image), image)
    if fill == "mean":
        return torch.where(mask, image.mean(dim=(1, 2), keepdim=True), image)
    if fill == "road" and not removed.all():
        return torch.where(mask, _imputed(image, removed), image)
    blurred = cv2.GaussianBlur(image.permute(1, 2, 0).cpu().numpy(), (0, 0), max(1.0, image.shape[-1] / 16))
    return torch.where(mask, torch.from_numpy(blurred).permute(2, 0, 1).to(image.device), image)


LARGEST_IMPUTED = 64
"""Edge in px up to which pixels are imputed one by one; the system of equations grows with the square of it."""


def _imputed(image: torch.Tensor, removed: Mask) -> torch.Tensor:
    """Fill the pixels that are removed from their neighbours; large images are filled on a coarser grid."""
    size = image.shape[-2:]
    known = torch.from_numpy(~removed).float()[None]
    small, weight = image.cpu().float() * known, known
    if max(size) > LARGEST_IMPUTED:
        shrink = max(size) / LARGEST_IMPUTED
        grid = (max(1, round(size[0] / shrink)), max(1, round(size[1] / shrink)))
        small, weight = (functional.adaptive_avg_pool2d(part[None], grid)[0] for part in (small, weight))
    small = small / weight.clamp(min=1e-6)
    generator_state = torch.get_rng_state()
    torch.manual_seed(0)  # the imputer draws its noise from the global generator
    try:
        filled = NoisyLinearImputer(noise=0.01)(small, (weight[0] > 0).float()) if not (weight > 0).all() else small
    finally:
        torch.set_rng_state(generator_state)
    grown = functional.interpolate(filled[None], size=size, mode="bilinear", align_corners=False)[0]
    return grown.to(image.device, image.dtype)


def _scores(score: Score, images: torch.Tensor) -> npt.NDArray[np.float64]:
    with torch.no_grad():
        return np.asarray(score(images).detach().cpu().numpy(), dtype=np.float64)


def pointing_game(evidence: Map, mask: Mask, *, tolerance: int = 0) -> bool:
    """Whether the strongest evidence lies on a known place.

    Args:
        evidence: shape (S, S); an empty map points nowhere and misses.
        mask: the known places, shape (S, S).
        tolerance: distance in px at which a miss still counts as a hit.

    Source: Zhang et al. (2016), arXiv 1608.00507.
    """
    if not evidence.max() > 0:
        return False
    row, column = np.unravel_index(int(np.argmax(evidence)), evidence.shape)
    reach = mask
    if tolerance > 0 and mask.any():
        distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        reach = np.asarray(distance <= tolerance)
    return bool(reach[row, column])


def energy_inside(evidence: Map, mask: Mask) -> float:
    """Share of all evidence that lies on known places; NaN for an empty map.

    A map that knows nothing scores the area of the mask, `mask.mean()`: report the two side by side.

    Source: Wang et al. (2020), arXiv 1910.01279.
    """
    total = float(evidence.sum())
    return float(evidence[mask].sum()) / total if total > 0 else float("nan")


def cascading_similarity(
    network: nn.Module,
    images: torch.Tensor,
    explain: Callable[[nn.Module, torch.Tensor], Map],
    *,
    shares: tuple[float, ...] = (0.25, 0.5, 1.0),
    seed: int = 0,
) -> npt.NDArray[np.float64]:
    """Likeness of each map to those of ever more forgetful networks, shape (K, B) for K shares of the parameters.

    Arguments as `randomisation_similarity`; the learned maps are made once.

    Source: cascading randomisation from the head downwards, Adebayo et al. (2018), arXiv 1810.03292.
    """
    learned = explain(network, images)
    rows = []
    for share in shares:
        forgotten = explain(randomised_copy(network, seed=seed, share=share), images)
        rows.append([map_similarity(first, second) for first, second in zip(learned, forgotten, strict=True)])
    return np.array(rows)


def map_similarity(first: Map, second: Map) -> float:
    """Spearman's rank correlation of two maps, in [-1, 1]; 0 where one of them is flat.

    Source: one of the similarities of Adebayo et al. (2018), arXiv 1810.03292.
    """
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first.ravel(), second.ravel()).statistic)


def randomised_copy(network: nn.Module, *, seed: int, share: float = 1.0) -> nn.Module:
    """Copy a network and destroy what it learned, from the head downwards.

    The values inside each parameter are shuffled: their distribution stays, so that activations keep a sane
    range, and their meaning goes.

    Args:
        network: left as it is.
        seed: of the shuffling.
        share: share of the parameter tensors, counted from the head, that are shuffled.
    """
    other = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    parameters = list(other.parameters())
    with torch.no_grad():
        for parameter in parameters[len(parameters) - round(share * len(parameters)) :]:
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return other


def randomisation_similarity(
    network: nn.Module,
    images: torch.Tensor,
    explain: Callable[[nn.Module, torch.Tensor], Map],
    *,
    seed: int = 0,
    share: float = 1.0,
) -> npt.NDArray[np.float64]:
    """Likeness of each map to that of a network with shuffled weights, shape (B,).

    Near zero is right; a map that stays the same shows the image and not what the network learned, and fails.

    Args:
        network: the trained network.
        images: shape (B, 3, S, S).
        explain: makes maps (B, S, S), such as `class_activation_map`.
        seed: of the shuffling.
        share: share of the parameters, from the head downwards.

    Source: Adebayo et al. (2018), arXiv 1810.03292.
    """
    learned = explain(network, images)
    forgotten = explain(randomised_copy(network, seed=seed, share=share), images)
    return np.array([map_similarity(first, second) for first, second in zip(learned, forgotten, strict=True)])
