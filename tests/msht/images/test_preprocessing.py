"""The square that the network sees: centred, area-averaged, scaled as the recipe says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from torchvision.transforms.functional import center_crop, normalize
from torchvision.transforms.functional import to_tensor as torchvision_to_tensor

from msht.images.preprocessing import Preprocessing, crop_box, to_tensor, view_of

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


def test_shrinking_averages_areas() -> None:
    field = noise(64, 64)
    view = view_of(field, Preprocessing(size=16))
    blocks = field.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    assert np.abs(view - blocks).max() <= 0.5 + 1e-6


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
