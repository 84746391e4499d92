"""Random views: reproducible by (seed, epoch, index), geometry as torchvision composes it, in one warp."""

from __future__ import annotations

import math
import random
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import functional

from msht.images.augmentation import PRESETS, Augmentation, Augmenter
from msht.images.preprocessing import Preprocessing, crop_box, view_of
from msht.images.warp import warp, warp_matrix

SMALL = Preprocessing(size=32)


def smooth_field(height: int, width: int) -> np.ndarray:
    """Soft coloured blobs: interpolation hardly matters, so geometry can be compared pixel by pixel."""
    rough = np.random.default_rng(3).integers(0, 256, (height // 40 + 2, width // 40 + 2, 3), dtype=np.uint8)
    return cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)


def augmenter(name: str, seed: int = 0) -> Augmenter:
    return Augmenter(Augmentation(name=name), SMALL, seed)


@pytest.mark.parametrize("name", sorted(set(PRESETS) - {"none"}))
def test_views_depend_on_seed_epoch_and_index_and_on_nothing_else(name: str) -> None:
    field = smooth_field(64, 80)
    first = augmenter(name)
    views = {key: first(field, epoch=key[0], index=key[1]) for key in [(0, 0), (0, 1), (1, 0), (1, 1)]}
    assert len({view.tobytes() for view in views.values()}) == 4
    again = augmenter(name)
    for (epoch, index), view in reversed(views.items()):  # another order of calls, another instance
        np.testing.assert_array_equal(again(field, epoch=epoch, index=index), view)
    assert (augmenter(name, seed=1)(field, epoch=0, index=0) != views[0, 0]).any()
    assert all(view.shape == (32, 32, 3) and view.dtype == np.uint8 for view in views.values())


class Views(Dataset):
    """Augmented views of one field by row."""

    def __init__(self) -> None:
        self.field = smooth_field(64, 80)
        self.augment = augmenter("strong-colour")

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.augment(self.field, epoch=2, index=index))


def test_the_number_of_workers_does_not_matter() -> None:
    alone = torch.cat(list(DataLoader(Views(), batch_size=4, num_workers=0)))
    together = torch.cat(list(DataLoader(Views(), batch_size=4, num_workers=2)))
    assert torch.equal(alone, together)


def _one_view(_: int) -> bytes:
    return augmenter("standard")(smooth_field(64, 80), epoch=5, index=7).tobytes()


@pytest.mark.slow
def test_a_fresh_process_makes_the_same_view() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert next(pool.map(_one_view, [0])) == _one_view(0)


@pytest.mark.parametrize("degrees", [0.0, 37.0, 90.0, 180.0])
@pytest.mark.parametrize("flip", [False, True])
def test_one_warp_equals_the_published_order_of_transforms(degrees: float, flip: bool) -> None:
    field = smooth_field(1038, 1390)
    preprocessing = Preprocessing(crop=700, size=384)
    box = crop_box(1390, 1038, preprocessing)
    matrix = warp_matrix(box, 384, math.radians(degrees), flips=(flip, False))
    view = warp(field, matrix, 384)
    image = functional.rotate(Image.fromarray(field), degrees, functional.InterpolationMode.BILINEAR)
    image = functional.resize(functional.center_crop(image, [700]), [384])
    expected = np.asarray(functional.hflip(image) if flip else image)
    difference = np.abs(view.astype(int) - expected)
    assert difference.mean() < 0.6
    assert np.percentile(difference, 99.9) <= 4


def test_a_warp_without_motion_is_the_evaluation_view() -> None:
    field = smooth_field(300, 400)
    for size in (300, 150, 60):
        preprocessing = Preprocessing(size=size)
        view = warp(field, warp_matrix(crop_box(400, 300, preprocessing), size, 0.0), size)
        difference = np.abs(view.astype(int) - view_of(field, preprocessing))
        assert difference.max() <= 2, size


def test_magnification_and_shift_move_a_mark_where_they_should() -> None:
    field = np.zeros((101, 101, 3), np.uint8)
    field[50, 60] = 255  # ten pixels right of the centre
    square = (0.0, 0.0, 101.0, 101.0)
    twice = warp(field, warp_matrix(square, 101, 0.0, magnification=2.0), 101)
    assert np.unravel_index(twice[:, :, 0].argmax(), (101, 101)) == (50, 70)
    shifted = warp(field, warp_matrix(square, 101, 0.0, shifts=(0.0, 10 / 101)), 101)
    assert np.unravel_index(shifted[:, :, 0].argmax(), (101, 101)) == (40, 60)
    turned = warp(field, warp_matrix(square, 101, math.pi / 2), 101)
    assert np.unravel_index(turned[:, :, 0].argmax(), (101, 101)) == (40, 50)  # counter-clockwise


def test_corners_without_pixels_are_reflected_not_black() -> None:
    field = np.full((50, 50, 3), 200, np.uint8)
    for index in range(20):
        view = Augmenter(Augmentation(rotation=(0, 180)), SMALL, 0)(field, epoch=0, index=index)
        assert view.min() >= 199


def test_none_is_the_evaluation_view() -> None:
    field = smooth_field(64, 80)
    np.testing.assert_array_equal(augmenter("none")(field, epoch=3, index=4), view_of(field, SMALL))


def test_a_preset_is_resolved_and_may_be_overridden() -> None:
    settings = Augmentation(name="paper", hue=0.0)
    assert settings.hue == 0.0
    assert settings.rotation == (0.0, 180.0)
    assert Augmentation(**settings.model_dump()) == settings
    field = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    still = Augmentation(
        name="paper", rotation=(0, 0), flip_horizontal=0, brightness=0, contrast=0, saturation=0, hue=0
    )
    np.testing.assert_array_equal(Augmenter(still, SMALL, 0)(field, epoch=0, index=0), field)


def test_colour_alone_keeps_the_cells_where_they_are() -> None:
    field = smooth_field(32, 32)
    jitter = Augmentation(brightness=0.2, contrast=0.3, saturation=0.3)
    for index in range(10):
        view = Augmenter(jitter, SMALL, 0)(field, epoch=0, index=index)
        grey, before = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).ravel() for image in (view, field))
        assert np.corrcoef(grey, before)[0, 1] > 0.9


def test_parameters_of_different_transforms_are_not_tied() -> None:
    """Albumentations' own seeding would give rotation and brightness the same random number."""
    field = np.full((32, 32, 3), 100, np.uint8)
    field[:, 16:] = 110  # turns into a stripe whose direction tells the angle's sign
    settings = Augmentation(rotation=(-40, 40), brightness=0.3)
    angles, levels = [], []
    for index in range(150):
        view = Augmenter(settings, SMALL, 0)(field, epoch=0, index=index)[:, :, 0].astype(float)
        angles.append(view[:8].mean() - view[-8:].mean())
        levels.append(view.mean())
    assert abs(np.corrcoef(angles, levels)[0, 1]) < 0.3
    assert np.std(angles) > 0.3
    assert np.std(levels) > 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"rotation": (10, -10)},
        {"scale": (0, 1)},
        {"scale": (0.0005, 0.0005)},
        {"scale": (1, 11)},
        {"hue": 0.7},
        {"name": "wild"},
    ],
)
def test_settings_without_meaning_are_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        Augmentation(**wrong)


def test_a_list_for_a_name_is_refused_in_words() -> None:
    with pytest.raises(ValidationError, match="name"):
        Augmentation(name=["paper", "standard"])


@pytest.mark.parametrize("name", ["paper", "standard", "strong-colour"])
def test_the_geometry_drawn_has_not_changed_since_the_first_runs(name: str) -> None:
    """The angle is the first number after one that albumentations' Compose took for itself in version 0.1.0."""
    draw = augmenter(name, seed=517).draw([(0.0, 0.0, 80.0, 80.0)], epoch=1, index=2)
    generator = np.random.default_rng((517, 1, 2))
    chance = random.Random(int(generator.integers(2**63)))
    chance.random()
    angle = math.radians(chance.uniform(*PRESETS[name]["rotation"]))
    assert abs(draw.matrix[1, 0]) == pytest.approx(np.hypot(*draw.matrix[:, 0]) * abs(math.sin(angle)))


def test_of_several_crops_each_epoch_draws_one_and_all_come() -> None:
    field = np.zeros((64, 128, 3), np.uint8)
    field[:, :64], field[:, 64:] = 50, 200
    two = Preprocessing(size=32, crops=(2, 1))
    for settings in (Augmentation(), Augmentation(flip_horizontal=0.5)):
        augment = Augmenter(settings, two, 7)
        seen = [int(augment(field, epoch=epoch, index=3).mean()) for epoch in range(24)]
        assert set(seen) == {50, 200}
        assert seen == [int(Augmenter(settings, two, 7)(field, epoch=e, index=3).mean()) for e in range(24)]
