"""Training whose views are made on the device learns as training whose workers make them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from msht.cohort.dataset import FieldStore
from msht.cohort.manifest import Manifest
from msht.training.recipe import Recipe, recipe_from
from msht.training.trainer import train_fold

SETTINGS = {
    "name": "tiny",
    "network": {"name": "msht_small"},
    "preprocessing": {"size": 32},
    "augmentation": {"name": "standard"},
    "training": {"epochs": 1, "batch_size": 4},
}


def recipe_of(**changes: dict) -> Recipe:
    data = {
        key: {**value, **changes.get(key, {})} if isinstance(value, dict) else value for key, value in SETTINGS.items()
    }
    return recipe_from(data, source="test")


def trained(recipe: Recipe, cohort: Manifest) -> np.ndarray:
    store = FieldStore(cohort.root, recipe.preprocessing, 2**30, augmentation=recipe.augmentation)
    frame = cohort.frame
    held_out = frame["patient_id"].isin(["P0", "P1"])
    result = train_fold(
        recipe=recipe, store=store, training=frame[~held_out], held_out=frame[held_out], fold=1, accelerator="cpu"
    )
    assert np.isfinite(result.logits).all()
    return result.logits


@pytest.mark.slow
def test_on_the_device_and_by_workers_the_answers_are_close(cohort: Callable[..., Manifest]) -> None:
    fields = cohort(patients=4, fields=2, edge=48)
    plain = trained(recipe_of(), fields)
    device = trained(recipe_of(training={"augment_on": "device"}), fields)
    assert not np.array_equal(device, plain)
    assert np.abs(device - plain).max() < 0.1 * np.abs(plain).max(), (device, plain)


@pytest.mark.slow
def test_fields_of_several_crops_are_trained_watched_and_scored(cohort: Callable[..., Manifest]) -> None:
    fields = cohort(patients=4, fields=2, edge=64)
    logits = trained(recipe_of(preprocessing={"crop": 40, "crops": [2, 2]}), fields)
    assert logits.shape == (4,)
