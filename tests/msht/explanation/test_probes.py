"""Dropping and shuffling patches change what they say and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msht.explanation.checks import SHARES_FORGOTTEN, chance_maps, joined, localisation, randomisation, score_maps
from msht.explanation.faithfulness import road
from msht.explanation.probes import drop_patches, occlusion, shuffle_patches, shuffling

SIZE = 32


def marked() -> tuple[torch.Tensor, np.ndarray]:
    """Two dark noisy images with a red square each, and where it is."""
    images = 0.2 * torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    mask = np.zeros((2, SIZE, SIZE), bool)
    mask[0, 4:12, 16:24] = mask[1, 20:28, 8:16] = True
    images[:, 0][torch.from_numpy(mask)] = 1.0
    return images, mask


def redness(images: torch.Tensor) -> torch.Tensor:
    return (images[:, 0] - images[:, 1]).clamp(min=0.3).sub(0.3).mean(dim=(1, 2))


def test_a_dropped_patch_has_the_images_mean_colour_and_others_are_untouched() -> None:
    images, _ = marked()
    gone = np.zeros((2, 4, 4), bool)
    gone[0, 1, 2] = True
    changed = drop_patches(images, gone)
    torch.testing.assert_close(changed[0, :, 8:16, 16:24], images[0].mean(dim=(1, 2))[:, None, None].expand(3, 8, 8))
    assert torch.equal(changed[0, :, :8], images[0, :, :8])
    assert torch.equal(changed[1], images[1])


def test_without_the_salient_patches_the_score_falls_first_and_without_the_others_last() -> None:
    images, mask = marked()
    scores = {
        order: occlusion(redness, images, mask.astype(np.float32), order=order, shares=(0.0, 0.25, 0.75))
        for order in ("random", "salient", "non-salient")
    }
    whole = redness(images).numpy()
    for curve in scores.values():
        np.testing.assert_allclose(curve[0], whole, rtol=1e-6)
    assert (scores["salient"][1] < 0.2 * whole).all()
    assert (scores["non-salient"][2] > 0.8 * whole).all()
    assert scores["salient"][1].mean() < scores["random"][1].mean()


@settings(max_examples=20, deadline=None)
@given(grid=st.integers(1, 9), seed=st.integers(0, 5))
def test_shuffling_keeps_every_pixel_and_only_moves_it(grid: int, seed: int) -> None:
    images = torch.arange(3.0 * SIZE * SIZE).view(1, 3, SIZE, SIZE)
    moved = shuffle_patches(images, grid, seed=seed)
    assert torch.equal(moved.flatten().sort().values, images.flatten().sort().values)
    for channel in (1, 2):  # the channels move together
        torch.testing.assert_close(moved[0, channel] - moved[0, 0], images[0, channel] - images[0, 0])


def test_a_score_that_looks_at_no_order_survives_shuffling() -> None:
    images, _ = marked()
    curve = shuffling(redness, images, grids=(1, 4))
    np.testing.assert_allclose(curve[1], curve[0], rtol=1e-5)


def test_road_is_positive_for_a_true_map_and_negative_for_its_reverse() -> None:
    images, mask = marked()
    true = mask[0].astype(float)
    assert road(redness, images[0], true, shares=(0.2, 0.5)) > 0.01
    assert road(redness, images[0], -true, shares=(0.2, 0.5)) == pytest.approx(
        -road(redness, images[0], true, shares=(0.2, 0.5)), abs=1e-3
    )


def test_a_true_map_beats_chance_in_every_check_and_chance_does_not_beat_itself() -> None:
    images, mask = marked()
    true = score_maps(redness, images, mask.astype(np.float32), coarseness=4, steps=5, road_images=1)
    assert (true.deletion < true.deletion_chance).all()
    assert (true.insertion > true.insertion_chance).all()
    assert true.road[0] > true.road_chance[0]
    assert np.isnan(true.road[1])
    blind = score_maps(redness, images, chance_maps(2, SIZE, 4, 0), coarseness=4, steps=5, road_images=0)
    np.testing.assert_allclose(blind.deletion, blind.deletion_chance)
    both = joined([true, blind])
    assert both.deletion.shape == (4,)
    np.testing.assert_allclose(both.deletion_curve, (true.deletion_curve + blind.deletion_curve) / 2)


def test_localisation_gives_the_area_of_the_mask_beside_the_energy() -> None:
    _, mask = marked()
    rows = list(localisation(mask.astype(np.float32), mask))
    assert rows == [(True, 1.0, pytest.approx(64 / SIZE**2))] * 2


def test_a_map_that_ignores_the_weights_keeps_its_likeness_and_one_that_uses_them_loses_it() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 1))
    images, _ = marked()
    edges = randomisation(network, images, lambda _network, batch: batch[:, 0].numpy())
    assert edges.shape == (len(SHARES_FORGOTTEN), 2)
    np.testing.assert_allclose(edges, 1.0)
    with torch.no_grad():
        used = randomisation(network, images, lambda learned, batch: learned(batch)[:, 1].detach().numpy())
    assert (used[-1] < 0.99).all()
