"""The tests of maps tell a true map from an untrue one where the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from msht.explanation.cam import class_activation_map
from msht.explanation.faithfulness import (
    deletion,
    energy_inside,
    insertion,
    map_similarity,
    pointing_game,
    randomisation_similarity,
    randomised_copy,
)

SIZE = 32


def image_with_a_mark() -> tuple[torch.Tensor, np.ndarray]:
    """A bright red square on dark noise, and its mask."""
    image = 0.2 * torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    mask = np.zeros((SIZE, SIZE), bool)
    mask[6:14, 18:26] = True
    image[0, 6:14, 18:26] = 1.0
    return image, mask


def redness(images: torch.Tensor) -> torch.Tensor:
    """A score that the mark alone decides."""
    return (images[:, 0] - images[:, 1]).clamp(min=0).mean(dim=(1, 2))


@pytest.mark.parametrize("fill", ["mean", "blur", "zero", "road"])
def test_a_true_map_deletes_early_and_inserts_early(fill: str) -> None:
    image, mask = image_with_a_mark()
    true, false = mask.astype(float), 1.0 - mask
    assert deletion(redness, image, true, fill=fill).area < deletion(redness, image, false, fill=fill).area
    assert insertion(redness, image, true, fill=fill).area > insertion(redness, image, false, fill=fill).area


def test_curves_run_from_the_image_to_the_empty_image_and_back() -> None:
    image, mask = image_with_a_mark()
    full, empty = redness(image[None]).item(), 0.0
    away = deletion(redness, image, mask.astype(float), steps=8, fill="zero")
    back = insertion(redness, image, mask.astype(float), steps=8, fill="zero")
    np.testing.assert_allclose(away.shares, np.arange(9) / 8)
    assert (away.scores[0], away.scores[-1]) == pytest.approx((full, empty))
    assert (back.scores[0], back.scores[-1]) == pytest.approx((empty, full))
    assert (np.diff(away.scores) <= 1e-7).all()


def test_the_area_of_a_linear_loss_is_one_half() -> None:
    image = torch.ones(3, SIZE, SIZE)
    curve = deletion(
        lambda images: images.mean(dim=(1, 2, 3)),
        image,
        np.random.default_rng(0).random((SIZE, SIZE)),
        fill="zero",
    )
    assert curve.area == pytest.approx(0.5, abs=1e-6)


def test_measuring_leaves_the_random_state_alone() -> None:
    image, mask = image_with_a_mark()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    deletion(redness, image, mask.astype(float), steps=2, fill="road")
    assert torch.equal(torch.rand(1), expected)


def test_the_pointing_game_is_won_on_the_mark_and_near_it_only_with_tolerance() -> None:
    _, mask = image_with_a_mark()
    evidence = np.zeros((SIZE, SIZE))
    assert not pointing_game(evidence, mask)
    evidence[10, 20] = 1
    assert pointing_game(evidence, mask)
    evidence[10, 28] = 2  # three px right of the last marked column
    assert not pointing_game(evidence, mask)
    assert not pointing_game(evidence, mask, tolerance=2)
    assert pointing_game(evidence, mask, tolerance=3)
    assert not pointing_game(evidence, np.zeros_like(mask), tolerance=3)


def test_energy_inside_is_a_share_and_chance_is_the_area() -> None:
    _, mask = image_with_a_mark()
    assert energy_inside(mask.astype(float), mask) == 1.0
    assert energy_inside(1.0 - mask, mask) == 0.0
    assert energy_inside(np.ones((SIZE, SIZE)), mask) == pytest.approx(mask.mean())
    assert math.isnan(energy_inside(np.zeros((SIZE, SIZE)), mask))


def test_likeness_is_a_rank_correlation() -> None:
    evidence = np.random.default_rng(0).random((SIZE, SIZE))
    assert map_similarity(evidence, np.exp(5 * evidence)) == pytest.approx(1.0)
    assert map_similarity(evidence, -evidence) == pytest.approx(-1.0)
    assert map_similarity(evidence, np.zeros_like(evidence)) == 0.0


class RedDetector(nn.Module):
    """A network that knows one thing: red is positive."""

    explanation_layers = {"only": "features"}  # noqa: RUF012
    default_explanation_layer = "only"

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 12, 1), nn.ReLU())
        self.head = nn.Linear(12, 2)
        with torch.no_grad():
            self.features[0].weight.zero_()
            self.features[0].bias.zero_()
            for channel in range(12):
                self.features[0].weight[channel, channel % 3] = 1.0
            self.head.weight.zero_()
            self.head.weight[1, ::3] = 1.0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))


def test_a_map_that_follows_the_weights_changes_with_them_and_one_that_shows_the_image_does_not() -> None:
    image, _ = image_with_a_mark()
    images = torch.stack([image, image.flip(1)])
    network = RedDetector()

    def brightness(_: nn.Module, batch: torch.Tensor) -> np.ndarray:
        return batch.mean(dim=1).numpy()

    honest = [randomisation_similarity(network, images, class_activation_map, seed=seed).mean() for seed in range(8)]
    assert randomisation_similarity(network, images, brightness).min() == pytest.approx(1.0)
    assert np.mean(honest) < 0.8


def test_shuffling_keeps_the_values_and_spares_the_original() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 2))
    before = [parameter.clone() for parameter in network.parameters()]
    shuffled = list(randomised_copy(network, seed=1).parameters())
    for ours, original, other in zip(network.parameters(), before, shuffled, strict=True):
        assert torch.equal(ours, original)
        assert not torch.equal(other, original) or original.numel() <= 2
        assert torch.equal(other.flatten().sort().values, original.flatten().sort().values)
    head_only = list(randomised_copy(network, seed=1, share=0.5).parameters())
    assert torch.equal(head_only[0], before[0])
    assert not torch.equal(head_only[2], before[2])


def test_the_true_map_of_a_red_detector_passes_all_checks() -> None:
    image, mask = image_with_a_mark()
    evidence = class_activation_map(RedDetector(), image[None])[0]
    assert pointing_game(evidence, mask)
    assert energy_inside(evidence, mask) > 5 * mask.mean()
