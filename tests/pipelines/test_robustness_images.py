"""Perturbations do what their names say, in the steps that they say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipelines.robustness_images import GLASS, PERTURBATIONS, blurred, compressed, restained, turned


@pytest.fixture
def photograph() -> np.ndarray:
    """A smooth stained cell on glass, wider than high."""
    rows, columns = np.mgrid[:90, :120]
    density = np.exp(-((rows - 45) ** 2 + (columns - 60) ** 2) / 300)
    return np.rint(245 * np.exp(-density[..., None] * [1.2, 1.6, 0.4])).astype(np.uint8)


@pytest.mark.parametrize("name", sorted(PERTURBATIONS))
def test_every_perturbation_gives_a_photograph_and_leaves_the_original(name: str, photograph: np.ndarray) -> None:
    large = cv2.resize(photograph, (480, 360), interpolation=cv2.INTER_NEAREST)
    before = large.copy()
    changed = PERTURBATIONS[name].apply(large)
    assert changed.dtype == np.uint8
    assert sorted(changed.shape) == sorted(large.shape)
    assert changed.shape != large.shape or (changed != large).any()
    np.testing.assert_array_equal(large, before)


def test_lower_quality_and_more_blur_lose_more(photograph: np.ndarray) -> None:
    noisy = cv2.add(photograph, np.random.default_rng(0).integers(0, 9, photograph.shape, dtype=np.uint8))

    def error(other: np.ndarray) -> float:
        return float(np.abs(other.astype(int) - noisy).mean())

    assert error(compressed(noisy, 75)) < error(compressed(noisy, 25))
    assert error(blurred(photograph, 0.01)) < error(blurred(photograph, 0.05))


def test_stain_is_multiplied_in_optical_density_and_glass_stays_glass(photograph: np.ndarray) -> None:
    stronger = restained(photograph, strength=1.5)
    density = -np.log((photograph + 1.0) / (GLASS + 1))
    changed = -np.log((stronger + 1.0) / (GLASS + 1))
    seen = density > 0.1
    np.testing.assert_allclose(changed[seen] / density[seen], 1.5, rtol=0.06)
    glass = np.full((4, 4, 3), 250, np.uint8)
    np.testing.assert_array_equal(restained(glass, strength=1.6), glass)
    np.testing.assert_array_equal(restained(photograph), photograph)


def test_warmth_moves_colour_from_blue_to_red_and_back(photograph: np.ndarray) -> None:
    means = {warmth: restained(photograph, warmth=warmth).mean(axis=(0, 1)) for warmth in (-0.2, 0.0, 0.2)}
    assert means[0.2][0] > means[0.0][0] > means[-0.2][0]
    assert means[0.2][2] < means[0.0][2] < means[-0.2][2]
    assert means[0.2][1] == means[-0.2][1]


def test_quarter_turns_keep_every_pixel_and_four_of_them_nothing_changed(photograph: np.ndarray) -> None:
    turn = photograph
    for _ in range(4):
        turn = turned(turn, 90)
    np.testing.assert_array_equal(turn, photograph)
    np.testing.assert_array_equal(turned(photograph, 180), photograph[::-1, ::-1])
    middle = turned(photograph, 45)[45, 60].astype(int)
    assert np.abs(middle - photograph[45, 60].astype(int)).max() <= 3
