"""The images of a fold, in the order and number in which each process sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from msht.cohort.dataset import EpochSampler, EvaluationFields, FieldStore, TrainingFields
from msht.cohort.device_fields import DeviceFields
from msht.cohort.manifest import CLASSES
from msht.images.augmentation import Augmenter
from msht.training.batches import SharedBatches, SharedRows
from msht.training.processes import Processes
from msht.training.recipe import Recipe

EVALUATION_BATCH = 64
CPU = torch.device("cpu")


def labels_of(frame: pd.DataFrame) -> np.ndarray:
    """Class indices (N,) of a table's labels."""
    return (frame["label"] == CLASSES[1]).to_numpy(dtype=np.int64)


def training_loader(
    recipe: Recipe,
    store: FieldStore,
    rows: pd.DataFrame,
    *,
    seed: int,
    parts: int,
    processes: Processes,
    device: torch.device = CPU,
) -> tuple[DataLoader, SharedBatches]:
    """Augmented images in random order, and how they are cut into batches and parts.

    Args:
        recipe: batch size, augmentation and workers.
        store: decoded fields.
        rows: with `image` and `label`.
        seed: of order and augmentation.
        parts: that each batch is cut into.
        processes: that share them.
        device: that trains, where the recipe augments there.
    """
    augmenter = Augmenter(recipe.augmentation, store.source_preprocessing, seed=seed)
    images, labels = list(rows["image"]), labels_of(rows).tolist()
    data: TrainingFields | DeviceFields = TrainingFields(store, images, labels, augmenter)
    if recipe.training.augment_on == "device":
        data = DeviceFields(store, images, labels, augmenter, device)
    batches = SharedBatches(
        EpochSampler(len(data), seed),
        recipe.training.batch_size,
        parts=parts,
        rank=processes.rank,
        processes=processes.count,
    )
    loader = DataLoader(
        data,
        batch_sampler=batches,
        collate_fn=data.collate if isinstance(data, DeviceFields) else None,
        num_workers=recipe.training.workers,
        persistent_workers=recipe.training.workers > 0,
        # Of its own, so that starting an epoch draws nothing from the generator that a checkpoint holds.
        generator=torch.Generator().manual_seed(seed),
    )
    return loader, batches


def evaluation_loader(store: FieldStore, rows: pd.DataFrame, processes: Processes) -> tuple[DataLoader, SharedRows]:
    """Images as they are, in the order of the rows, and which rows are this process's."""
    shared = SharedRows(len(rows), rank=processes.rank, processes=processes.count)
    data = EvaluationFields(store, list(rows["image"]), labels_of(rows).tolist())
    return DataLoader(data, batch_size=EVALUATION_BATCH, sampler=shared, generator=torch.Generator()), shared


def start_at(batches: SharedBatches, checkpoint: dict[str, Any]) -> None:
    """Point the batches to where a checkpoint was written.

    Lightning starts the first pass of a resumed training before it says which epoch it is.
    """
    progress = checkpoint["loops"]["fit_loop"]
    batches.sampler.set_epoch(int(progress["epoch_progress"]["current"]["processed"]))
    done = int(progress["epoch_loop.batch_progress"]["current"]["processed"])
    if done < len(batches):
        batches.skip = done
