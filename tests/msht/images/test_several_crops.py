"""Several crops of a field: where they lie, and how a field's answer is made of theirs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from msht.ensemble import Ensemble, FoldModel
from msht.images.colour import Colour
from msht.images.preprocessing import Preprocessing, crop_box, crop_boxes, to_tensor, view_of
from msht.network.logits import over_crops

sides = st.integers(min_value=1, max_value=1500)
counts = st.integers(min_value=1, max_value=4)


class MeanColour(nn.Module):
    """A classifier whose features are the mean colour, through timm's contract."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3))

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        return features if pre_logits else self.head(features)

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(images))


@given(width=sides, height=sides, crop=st.none() | st.integers(1, 900), longer=counts, shorter=counts)
def test_the_squares_lie_inside_evenly_and_the_longer_side_has_its_number(
    width: int, height: int, crop: int | None, longer: int, shorter: int
) -> None:
    boxes = crop_boxes(width, height, Preprocessing(crop=crop, size=32, crops=(longer, shorter)))
    assert len(boxes) == longer * shorter
    for box in boxes:
        assert box.right - box.left == box.bottom - box.top == min(width, height, crop or 2000)
        assert 0 <= box.left < box.right <= width
        assert 0 <= box.top < box.bottom <= height
    columns = longer if width >= height else shorter
    if columns > 1:
        assert boxes[0].left == 0
        assert boxes[columns - 1].right == width


def test_two_by_two_of_700_cover_the_published_field() -> None:
    seen = np.zeros((1038, 1390), bool)
    for box in crop_boxes(1390, 1038, Preprocessing(crop=700, size=384, crops=(2, 2))):
        seen[box.top : box.bottom, box.left : box.right] = True
    assert seen.all()


def test_settings_written_before_there_were_several_read_as_before() -> None:
    old = Preprocessing.model_validate({"crop": 700, "size": 384, "mean": None, "std": None})
    assert old.crops == (1, 1)
    assert old.colour == Colour()
    assert crop_boxes(1390, 1038, old) == (crop_box(1390, 1038, old),) == ((345, 169, 1045, 869),)
    assert Preprocessing.model_validate_json(old.model_dump_json()) == old
    with pytest.raises(ValidationError, match="crops"):
        Preprocessing(size=32, crops=(0, 1))


def test_a_field_has_the_mean_of_its_crops_whatever_its_company() -> None:
    torch.manual_seed(0)
    network = MeanColour().eval()
    fields = [np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8) for seed in (0, 1)]
    settings = Preprocessing(crop=30, size=16, crops=(3, 2))
    views = np.stack([view_of(field, settings) for field in fields])
    assert views.shape == (2, 6, 16, 16, 3)
    pooled, logits = over_crops(network, to_tensor(views, settings))
    for field, mean, answer in zip(views, pooled, logits, strict=True):
        alone = network(to_tensor(field, Preprocessing(size=16)))
        torch.testing.assert_close(answer, alone.mean(dim=0))
        torch.testing.assert_close(mean, network.forward_features(to_tensor(field, Preprocessing(size=16))).mean(dim=0))


def test_the_ensemble_takes_the_views_as_they_come_and_refuses_another_number() -> None:
    torch.manual_seed(0)
    settings = Preprocessing(crop=30, size=16, crops=(2, 1))
    reference = SimpleNamespace(distance=lambda pooled: np.abs(pooled).sum(axis=1), threshold=1.0)
    ensemble = Ensemble([FoldModel(1, MeanColour(), 1.0, reference)], settings)
    field = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    views = view_of(field, settings)
    scores = ensemble.score(views[None])
    single = Ensemble([FoldModel(1, ensemble.folds[0].network, 1.0, reference)], Preprocessing(size=16))
    assert scores.fold_logits[0, 0] == pytest.approx(single.score(views).fold_logits[0].mean(), abs=1e-6)
    with pytest.raises(ValueError, match="2 crops"):
        ensemble.score(views)
    with pytest.raises(ValueError, match="1 crops"):
        single.score(views[None])


def test_colour_is_corrected_before_the_crop_is_cut() -> None:
    field = np.full((40, 60, 3), (160, 180, 200), np.uint8)
    field[5:15, 5:15] = (90, 40, 150)
    view = view_of(field, Preprocessing(size=16, colour=Colour(white=True)))
    np.testing.assert_array_equal(view[-1, -1], [240, 240, 240])
