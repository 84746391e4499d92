"""Fields whose views are made on the training device: the same for any number of workers, resident or sent."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.utils.data import DataLoader

from msht.cohort.dataset import EpochSampler, FieldStore, TrainingFields
from msht.cohort.device_fields import DeviceFields
from msht.cohort.manifest import Manifest
from msht.errors import InvalidInput
from msht.images.augmentation import Augmentation, Augmenter
from msht.images.preprocessing import Preprocessing, normalised, planes_of

SMALL = Preprocessing(size=16, mean=(0.7, 0.6, 0.7), std=(0.2, 0.2, 0.2))
STANDARD = Augmentation(name="standard")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def fields(cohort: Callable[..., Manifest]) -> Manifest:
    return cohort(patients=3, fields=2, edge=48)


def data_of(fields: Manifest, *, resident: bool | None, settings: Augmentation = STANDARD) -> DeviceFields:
    store = FieldStore(fields.root, SMALL, 2**30, augmentation=settings)
    augmenter = Augmenter(settings, SMALL, seed=1)
    return DeviceFields(store, list(fields.frame["image"]), [0, 0, 1, 1, 0, 0], augmenter, CPU, resident)


def epoch_of(data: DeviceFields, workers: int, epoch: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    sampler = EpochSampler(len(data), seed=2)
    sampler.set_epoch(epoch)
    loader = DataLoader(data, batch_size=4, sampler=sampler, num_workers=workers, collate_fn=data.collate)
    batches = [(data.views(batch), labels) for batch, labels in loader]
    return torch.cat([views for views, _ in batches]), torch.cat([labels for _, labels in batches])


def test_workers_and_residence_do_not_matter(fields: Manifest) -> None:
    expected, labels = epoch_of(data_of(fields, resident=False), 0)
    assert sorted(labels.tolist()) == [0, 0, 0, 0, 1, 1]
    for resident, workers in ((False, 2), (True, 0), (True, 1)):
        found, same = epoch_of(data_of(fields, resident=resident), workers)
        assert torch.equal(found, expected)
        assert torch.equal(same, labels)
    assert not torch.equal(epoch_of(data_of(fields, resident=True), 0, epoch=1)[0], expected)


def test_the_views_are_those_of_the_workers_but_for_rounding(fields: Manifest) -> None:
    data = data_of(fields, resident=False)
    plain = TrainingFields(data.store, data.images, data.labels, data.augmenter)
    for index in range(len(data)):
        batch, labels = data.collate([data[3, index]])
        expected, label = plain[3, index]
        difference = (data.views(batch)[0] - normalised(expected, data.store.preprocessing)).abs() * 0.2 * 255
        assert labels.tolist() == [label]
        assert difference.mean() < 1.5
        assert difference.quantile(0.99) < 8


@pytest.mark.parametrize("resident", [None, False, True])
def test_without_augmentation_the_views_are_those_of_evaluation(fields: Manifest, resident: bool | None) -> None:
    data = data_of(fields, resident=resident, settings=Augmentation())
    expected = torch.stack([normalised(planes_of(data.store[image].view), SMALL) for image in data.images])
    batch, labels = data.collate([data[3, index] for index in range(len(data))])
    assert torch.equal(data.views(batch), expected)
    assert labels.tolist() == data.labels
    assert torch.equal(epoch_of(data, 2)[0], epoch_of(data, 0)[0])


def test_fields_stay_with_the_processor_where_there_is_no_gpu(fields: Manifest) -> None:
    assert not data_of(fields, resident=None).resident
    with pytest.raises(InvalidInput, match="compression"):
        data_of(fields, resident=None, settings=Augmentation(name="strong-colour"))
