"""One fold: train a network, keep the weights the recipe asks for, score what it did not see."""

from __future__ import annotations

import logging
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.utils.data import DataLoader

from msht.cohort.dataset import EpochSampler, EvaluationFields, FieldStore, TrainingFields
from msht.cohort.manifest import CLASSES
from msht.images.augmentation import Augmenter
from msht.network.factory import create_network
from msht.network.logits import binary_logit, pooled_and_logits
from msht.training.module import FieldClassifier
from msht.training.recipe import Recipe

MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


@dataclass(frozen=True)
class FoldResult:
    """What a fold gives.

    Attributes:
        network: in evaluation mode, on the CPU.
        logits: of the held-out images, in their order, shape (N,).
        features: pooled features of the held-out images, shape (N, D).
        history: a row per epoch.
        kept_epoch: the epoch whose weights were kept, from 1.
        seconds: of training and scoring.
        device: what it ran on.
    """

    network: nn.Module
    logits: np.ndarray
    features: np.ndarray
    history: pd.DataFrame
    kept_epoch: int
    seconds: float
    device: str


def fold_seed(recipe: Recipe, fold: int) -> int:
    """Seed of a fold: the recipe's, moved on so that no two folds draw alike."""
    return recipe.seed + 1000 * fold


def labels_of(frame: pd.DataFrame) -> np.ndarray:
    """Class indices (N,) of a table's labels."""
    return (frame["label"] == CLASSES[1]).to_numpy(dtype=np.int64)


def network_of(recipe: Recipe) -> nn.Module:
    """Make the recipe's network, in training mode, from the weights it starts with.

    Raises:
        InvalidInput: if the name or an option is unknown, or the weights do not fit.
        MissingResource: if the weights cannot be fetched.
    """
    return create_network(
        recipe.network.name,
        num_classes=len(recipe.classes),
        img_size=recipe.preprocessing.size,
        pretrained=_pretrained(recipe),
        **recipe.network.options,
    )


def train_fold(
    *,
    recipe: Recipe,
    store: FieldStore,
    training: pd.DataFrame,
    held_out: pd.DataFrame,
    fold: int,
    loggers: Sequence[Logger] = (),
    on_batch: Callable[[], None] | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    accelerator: str = "auto",
) -> FoldResult:
    """Train on some rows and score others.

    Args:
        recipe: every choice.
        store: decoded fields.
        training: rows with `image` and `label` to learn from.
        held_out: rows that only get scores (and choose the epoch where the recipe says so).
        fold: number of the fold, from 1; it moves the seed.
        loggers: Lightning loggers that get the metrics by epoch.
        on_batch: called after each training batch.
        on_epoch: called after each epoch with its metrics.
        accelerator: of Lightning's Trainer.

    Raises:
        InvalidInput: if an image cannot be read, the network cannot be made, or the loss is no number.
        KeyboardInterrupt: on ctrl-C, after Lightning has shut down.
    """
    started = time.monotonic()
    seed = fold_seed(recipe, fold)
    lightning.seed_everything(seed, workers=True, verbose=False)
    network = network_of(recipe)
    network.to(memory_format=MEMORY_FORMATS[recipe.training.memory_format])
    augmenter = Augmenter(recipe.augmentation, store.source_preprocessing, seed=seed)
    train_set = TrainingFields(store, list(training["image"]), labels_of(training).tolist(), augmenter)
    batch = min(recipe.training.batch_size, len(train_set))
    loader = DataLoader(
        train_set,
        batch_size=batch,
        sampler=EpochSampler(len(train_set), seed),
        num_workers=recipe.training.workers,
        persistent_workers=recipe.training.workers > 0,
        # A last batch of one image has no variance for batch norm to work with.
        drop_last=len(train_set) % batch == 1,
    )
    validation = _loader(store, held_out)
    module = FieldClassifier(network, recipe, batches_per_epoch=len(loader))
    with tempfile.TemporaryDirectory(prefix="msht-") as scratch:
        watch = _Watch(on_batch, on_epoch)
        callbacks: list[Callback] = [watch]
        if recipe.training.average_weights is not None:
            callbacks.append(EMAWeightAveraging(decay=recipe.training.average_weights))
        best: ModelCheckpoint | None = None
        if recipe.training.selection == "validation-fold":
            best = ModelCheckpoint(
                dirpath=scratch,
                monitor="selection_score",
                mode="max",
                # The averaged weights take their place in a whole checkpoint only.
                save_weights_only=recipe.training.average_weights is None,
                save_top_k=1,
            )
            callbacks.append(best)
        trainer = quiet_trainer(
            max_epochs=recipe.training.epochs,
            accelerator=accelerator,
            precision=recipe.training.precision,
            gradient_clip_val=recipe.optimiser.gradient_clip,
            callbacks=callbacks,
            logger=list(loggers) or False,
            enable_checkpointing=best is not None,
            num_sanity_val_steps=0,
            default_root_dir=scratch,
        )
        _fit(trainer, module, loader, validation)
        kept = recipe.training.epochs
        if best is not None:
            checkpoint = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
            module.load_state_dict(checkpoint["state_dict"])
            kept = int(checkpoint["epoch"]) + 1
    device = trainer.strategy.root_device
    network.eval().to(device)
    logits, features = score_fields(network, validation, device)
    return FoldResult(
        network=network.cpu().to(memory_format=torch.contiguous_format),
        logits=logits,
        features=features,
        history=pd.DataFrame(watch.rows),
        kept_epoch=kept,
        seconds=time.monotonic() - started,
        device=str(device),
    )


@torch.inference_mode()
def score_fields(network: nn.Module, loader: DataLoader, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Binary logits (N,) and pooled features (N, D), float32, of every image of a loader, in its order."""
    logits: list[np.ndarray] = []
    features: list[np.ndarray] = []
    for images, _ in loader:
        pooled, scores = pooled_and_logits(network, images.to(device))
        logits.append(binary_logit(scores).float().cpu().numpy())
        features.append(pooled.float().cpu().numpy())
    return np.concatenate(logits), np.concatenate(features)


def quiet_trainer(**settings: Any) -> lightning.Trainer:
    """Lightning's Trainer without its own words, which the command line has better ones for."""
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"lightning\..*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    return lightning.Trainer(
        devices=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        deterministic="warn",
        **settings,
    )


def _fit(trainer: lightning.Trainer, module: FieldClassifier, loader: DataLoader, validation: DataLoader) -> None:
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, loader, validation)
    except SystemExit as error:
        # Lightning turns ctrl-C into an exit and deafens the process; give both back to the caller.
        signal.signal(signal.SIGINT, handler)
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise


def _loader(store: FieldStore, rows: pd.DataFrame) -> DataLoader:
    return DataLoader(EvaluationFields(store, list(rows["image"]), labels_of(rows).tolist()), batch_size=64)


def _pretrained(recipe: Recipe) -> bool | Path:
    value = recipe.network.pretrained
    return Path(value) if isinstance(value, str) else value


class _Watch(Callback):
    """Keeps the metrics of each epoch and tells whoever asked."""

    def __init__(
        self,
        on_batch: Callable[[], None] | None,
        on_epoch: Callable[[dict[str, float]], None] | None,
    ) -> None:
        self.on_batch = on_batch
        self.on_epoch = on_epoch
        self.rows: list[dict[str, float]] = []

    def on_train_batch_end(self, *_: Any) -> None:
        if self.on_batch is not None:
            self.on_batch()

    def on_train_epoch_end(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        names = [n for n in trainer.callback_metrics if n != "selection_score"]
        row = {"epoch": float(trainer.current_epoch + 1)}
        row.update({name: float(trainer.callback_metrics[name]) for name in sorted(names)})
        self.rows.append(row)
        if self.on_epoch is not None:
            self.on_epoch(row)
