"""Colour jitter: torchvision's on Pillow images and albumentations' are the oracles."""

from __future__ import annotations

from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from msht.images.jitter import colour_jitter, turn_hue


def stained(edge: int = 96) -> np.ndarray:
    rough = np.random.default_rng(3).integers(60, 230, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(rough, (edge, edge), interpolation=cv2.INTER_CUBIC)


def published(image: Any, factors: tuple[float, ...], order: list[int]) -> Any:
    steps = (
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
        functional.adjust_hue,
    )
    for step in order:
        image = steps[step](image, factors[step])
    return image


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]])
@pytest.mark.parametrize("factors", [(1.15, 0.7, 1.3, 0.06), (0.85, 1.3, 0.7, -0.06), (1.0, 1.0, 1.0, 0.0)])
def test_it_is_torchvisions(factors: tuple[float, ...], order: list[int]) -> None:
    ours = colour_jitter(stained(), *factors, order=order).astype(float)
    exact = published(torch.from_numpy(stained()).permute(2, 0, 1) / 255, factors, order)
    difference = np.abs(ours - exact.permute(1, 2, 0).numpy() * 255)
    assert difference.mean() < 1.0
    assert np.percentile(difference, 99) <= 5  # hue, saturation and value are bytes on the way
    on_bytes = np.asarray(published(Image.fromarray(stained()), factors, order)).astype(float)
    assert difference.mean() <= np.abs(on_bytes - exact.permute(1, 2, 0).numpy() * 255).mean() + 0.1  # as Pillow's


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_each_affine_step_is_albumentations_to_a_level(place: int, factor: float) -> None:
    factors = [1.0, 1.0, 1.0]
    factors[place] = factor
    ours = colour_jitter(stained(), *factors, hue=0.0, order=[place]).astype(int)
    jitter = A.ColorJitter()
    theirs = jitter.apply(stained(), *factors, hue=0.0, order=[place]).astype(int)
    assert np.abs(ours - theirs).max() <= 2


def test_hues_wrap_round_the_circle_and_grey_has_none() -> None:
    there_and_back = turn_hue(turn_hue(stained(), 0.25), -0.25).astype(int)
    assert np.abs(there_and_back - stained()).mean() < 2.5
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    np.testing.assert_allclose(turn_hue(red, 1 / 3)[0, 0], [0, 200, 0], atol=6)
    np.testing.assert_allclose(turn_hue(red, -1 / 3)[0, 0], [0, 0, 200], atol=6)
    grey = np.full((4, 4, 3), 90, np.uint8)
    np.testing.assert_array_equal(turn_hue(grey, 0.4), grey)
    same = stained()
    assert turn_hue(same, 0.0) is same
