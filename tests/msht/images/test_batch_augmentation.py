"""Views made of batches agree with those made one by one, to rounding, for every preset that a device can do."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms import functional

from msht.errors import InvalidInput
from msht.images.augmentation import Augmentation, Augmenter
from msht.images.batch_augmentation import _turned, batch_views, packed_draw, padded, require_batchable
from msht.images.preprocessing import Preprocessing, crop_boxes

SMALL = Preprocessing(crop=70, size=56)


def smooth_field(height: int, width: int, seed: int = 3) -> np.ndarray:
    rough = np.random.default_rng(seed).integers(30, 225, (height // 20 + 2, width // 20 + 2, 3), dtype=np.uint8)
    return cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize(
    "settings",
    [
        Augmentation(rotation=(0, 180), scale=(0.6, 1.2), shift=0.4, flip_horizontal=0.5, flip_vertical=0.5),
        Augmentation(name="paper"),
        Augmentation(name="standard"),
        Augmentation(name="strong-colour", compression=0.0),
        Augmentation(channel_shift=0.1, gamma=0.3, grey=0.5, blur=0.5),
    ],
    ids=["geometry", "paper", "standard", "strong-colour", "rest"],
)
def test_a_batch_gives_the_views_of_the_worker_path(settings: Augmentation) -> None:
    augmenter = Augmenter(settings, SMALL, seed=5)
    fields = [smooth_field(90, 120), smooth_field(100, 80), smooth_field(60, 60)]
    rows = [(epoch, index) for epoch in range(4) for index in range(3)]
    draws = [
        augmenter.draw(crop_boxes(fields[i].shape[1], fields[i].shape[0], SMALL), epoch=e, index=i) for e, i in rows
    ]
    packed = [packed_draw(draw) for draw in draws]
    batch = {name: torch.stack([one[name] for one in packed]) for name in packed[0]}
    batch |= padded([torch.from_numpy(fields[i]) for _, i in rows])
    views = batch_views(batch, SMALL.size).permute(0, 2, 3, 1).numpy()
    for (_, index), draw, view in zip(rows, draws, views, strict=True):
        difference = np.abs(view - augmenter.apply(fields[index], draw))
        # Each of up to seven steps rounds to a byte there, and none does here.
        assert difference.mean() < 2.0, (index, difference.mean())
        assert np.percentile(difference, 99) <= 8


def test_hue_is_turned_as_torchvision_turns_it() -> None:
    views = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for hue in (-0.4, 0.0, 0.1, 0.5):
        expected = functional.adjust_hue(views, hue)
        found = _turned(views * 255, torch.full((2, 1, 1, 1), hue)) / 255
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_what_a_device_cannot_do_is_refused() -> None:
    with pytest.raises(InvalidInput, match="compression"):
        require_batchable(Augmentation(name="strong-colour"))
    with pytest.raises(InvalidInput, match="scale"):
        require_batchable(Augmentation(scale=(0.3, 1.0)))
    require_batchable(Augmentation(name="standard"))
