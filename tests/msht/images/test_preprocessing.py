"""The square that the network sees: centred, area-averaged, scaled as the recipe says."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from torchvision.transforms.functional import center_crop, normalize
from torchvision.transforms.functional import to_tensor as torchvision_to_tensor

from msht.images.halving import Halves
from msht.images.preprocessing import Preprocessing, crop_box, crop_boxes, resized, to_tensor, view_of
from msht.images.quality import measure_quality

sides = st.integers(min_value=1, max_value=2000)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(width=sides, height=sides, crop=st.none() | st.integers(1, 1500))
def test_the_box_is_a_centred_square_inside_the_field(width: int, height: int, crop: int | None) -> None:
    box = crop_box(width, height, Preprocessing(crop=crop, size=32))
    edge = box.right - box.left
    assert edge == box.bottom - box.top == min(width, height, crop or 2000)
    assert 0 <= box.left < box.right <= width
    assert 0 <= box.top < box.bottom <= height
    assert abs(box.left - (width - box.right)) <= 1
    assert abs(box.top - (height - box.bottom)) <= 1


def test_the_published_crop_is_torchvisions() -> None:
    field = noise(1038, 1390)
    view = view_of(field, Preprocessing(crop=700, size=700))
    np.testing.assert_array_equal(view, np.asarray(center_crop(Image.fromarray(field), [700])))
    assert not np.shares_memory(view, field)


@pytest.mark.parametrize(("factor", "rounding"), [(2, 0.5), (3, 0.5), (4, 1.0), (8, 1.5)])
def test_shrinking_averages_areas(factor: int, rounding: float) -> None:
    field = noise(16 * factor, 16 * factor)
    view = view_of(field, Preprocessing(size=16))
    blocks = field.reshape(16, factor, 16, factor, 3).mean(axis=(1, 3))
    assert np.abs(view - blocks).max() <= rounding + 1e-6
    # Of the means of four bytes a quarter ends in .5, which is rounded up: an eighth of a level a halving.
    assert abs((view - blocks).mean()) < 0.05 + 0.125 * math.log2(factor)


@pytest.mark.parametrize(("width", "height"), [(1390, 1038), (1391, 1038), (640, 480), (333, 512), (97, 97)])
@pytest.mark.parametrize("crops", [(1, 1), (2, 2)])
def test_a_view_is_the_same_whatever_else_needs_the_halves(width: int, height: int, crops: tuple[int, int]) -> None:
    field = noise(height, width)
    preprocessing = Preprocessing(size=24, crops=crops)
    halves = Halves(field)
    squares = [field[b.top : b.bottom, b.left : b.right] for b in crop_boxes(width, height, preprocessing)]
    expected = np.stack([resized(square.copy(), 24) for square in squares])
    views = view_of(halves, preprocessing)
    np.testing.assert_array_equal(views if views.ndim == 4 else views[None], expected)
    assert measure_quality(halves) == measure_quality(field)


def test_a_smooth_field_is_shrunk_by_halves_to_what_averaging_at_once_gives() -> None:
    coarse = np.random.default_rng(3).integers(60, 240, (70, 70, 3), dtype=np.uint8)
    field = cv2.resize(coarse, (1038, 1038), interpolation=cv2.INTER_CUBIC)
    at_once = cv2.resize(field, (128, 128), interpolation=cv2.INTER_AREA)
    difference = np.abs(resized(field, 128).astype(int) - at_once)
    assert difference.max() <= 3
    assert difference.mean() < 0.3


def test_growing_makes_no_new_extremes() -> None:
    field = noise(20, 30)
    view = view_of(field, Preprocessing(crop=700, size=64))
    assert view.shape == (64, 64, 3)
    assert view.min() >= field.min()
    assert view.max() <= field.max()


@pytest.mark.parametrize("mean_std", [None, ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
def test_tensors_are_torchvisions(mean_std: tuple | None) -> None:
    views = np.stack([noise(16, 16), noise(16, 16)[::-1]])
    mean, std = mean_std or (None, None)
    batch = to_tensor(views, Preprocessing(size=16, mean=mean, std=std))
    expected = torch.stack([torchvision_to_tensor(Image.fromarray(view)) for view in views])
    if mean_std:
        expected = normalize(expected, mean, std)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous()
    torch.testing.assert_close(batch, expected)


def test_one_view_becomes_a_batch_of_one() -> None:
    assert to_tensor(noise(16, 16), Preprocessing(size=16)).shape == (1, 3, 16, 16)
    assert to_tensor([noise(16, 16)] * 3, Preprocessing(size=16)).shape == (3, 3, 16, 16)


@pytest.mark.parametrize(
    "wrong", [{"size": 0}, {"size": 64, "crop": 0}, {"size": 64, "mean": (0, 0, 0)}, {"size": 64, "zoom": 2}]
)
def test_settings_without_meaning_are_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        Preprocessing(**wrong)
