"""One fold: train a network, keep the weights the recipe asks for, score what it did not see."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.memory import is_oom_error
from torch import nn
from torch.utils.data import DataLoader

from msht.cohort.dataset import EpochSampler, FieldStore
from msht.cohort.manifest import GROUP_COLUMNS
from msht.errors import InvalidInput, MissingResource
from msht.images.preprocessing import Preprocessing, normalised
from msht.network.factory import create_network
from msht.network.logits import binary_logit, over_crops
from msht.training.activations import checkpoint_activations
from msht.training.batches import SharedBatches
from msht.training.callbacks import Averaging, Freeze, KeepBest, Watch, frozen_parts
from msht.training.checkpoints import STATE, ResumePoint, WholeFiles, checkpoint_to_resume
from msht.training.loaders import evaluation_loader, labels_of, start_at, training_loader
from msht.training.loop import fit, found_rate, quiet_trainer
from msht.training.module import FieldClassifier
from msht.training.prior import add_prior, class_shares
from msht.training.processes import Processes, check_norms, find_processes, gather_rows
from msht.training.recipe import Recipe
from msht.training.selection import inner_split

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
        seconds: of training and scoring, over all attempts.
        device: what it ran on.
        lr: the learning rate, given or found.
        accumulate: parts that each batch was cut into in the end.
        selection_images: images that chose the epoch; 0 where none did.
    """

    network: nn.Module
    logits: np.ndarray
    features: np.ndarray
    history: pd.DataFrame
    kept_epoch: int
    seconds: float
    device: str
    lr: float
    accumulate: int
    selection_images: int


@dataclass(frozen=True)
class _Fold:
    """What stays the same over the attempts at a fold."""

    recipe: Recipe
    store: FieldStore
    training: pd.DataFrame
    watched: pd.DataFrame
    held_out: pd.DataFrame
    seed: int
    accelerator: str
    folder: Path
    processes: Processes
    loggers: Sequence[Logger]
    on_batch: Callable[[int], None] | None
    on_epoch: Callable[[dict[str, float]], None] | None
    selection_images: int
    started: float
    seconds_before: float


def fold_seed(recipe: Recipe, fold: int) -> int:
    """Seed of a fold: the recipe's, moved on so that no two folds draw alike."""
    return recipe.seed + 1000 * fold


def network_of(recipe: Recipe) -> nn.Module:
    """Make the recipe's network, in training mode, from the weights it starts with.

    Raises:
        InvalidInput: if the name or an option is unknown, the weights do not fit, or a part to freeze is not there.
        MissingResource: if the weights cannot be fetched.
    """
    network = create_network(
        recipe.network.name,
        num_classes=len(recipe.classes),
        img_size=recipe.preprocessing.size,
        pretrained=_pretrained(recipe),
        **recipe.network.options,
    )
    if recipe.freezing.parts:
        frozen_parts(network, recipe.freezing.parts)
    return network


def train_fold(
    *,
    recipe: Recipe,
    store: FieldStore,
    training: pd.DataFrame,
    held_out: pd.DataFrame,
    fold: int,
    groups: Sequence[str] | None = None,
    checkpoints: Path | None = None,
    seconds_before: float = 0.0,
    loggers: Sequence[Logger] = (),
    on_batch: Callable[[int], None] | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    accelerator: str = "auto",
) -> FoldResult:
    """Train on some rows and score others.

    Under torchrun or SLURM every process calls this with the same arguments; they share the work, and all return
    the same result.

    Args:
        recipe: every choice.
        store: decoded fields.
        training: rows with `image` and `label` to learn from.
        held_out: rows that only get scores (and choose the epoch where the recipe says so).
        fold: number of the fold, from 1; it moves the seed.
        groups: of the training rows, which the inner split keeps whole; None: patient, else case, else slide.
        checkpoints: folder for checkpoints; where one is there already, the fold goes on from it. None: none.
        seconds_before: that earlier attempts took, if more is known of them than their checkpoint says.
        loggers: Lightning loggers that get the metrics by epoch.
        on_batch: called with the number of steps done since the last call.
        on_epoch: called after each epoch with its metrics.
        on_note: called with a sentence worth keeping, such as that a batch was halved.
        accelerator: of Lightning's Trainer.

    Raises:
        InvalidInput: if an image cannot be read, the network cannot be made, or the loss is no number.
        MissingResource: if memory or disk run out.
        KeyboardInterrupt: on ctrl-C, after Lightning has shut down.
    """
    started = time.monotonic()
    seed = fold_seed(recipe, fold)
    watched = held_out
    if recipe.training.selection == "inner-split":
        names = groups if groups is not None else _groups_of(training)
        training, watched = inner_split(training, names, share=recipe.training.selection_share, seed=seed)
    with tempfile.TemporaryDirectory(prefix="msht-") as scratch:
        plan = _Fold(
            recipe=recipe,
            store=store,
            training=training,
            watched=watched,
            held_out=held_out,
            seed=seed,
            accelerator=accelerator,
            folder=checkpoints or Path(scratch),
            processes=find_processes(),
            loggers=loggers,
            on_batch=on_batch,
            on_epoch=on_epoch,
            selection_images=0 if recipe.training.selection == "last" else len(watched),
            started=started,
            seconds_before=seconds_before,
        )
        parts = recipe.training.accumulate
        while True:
            try:
                return _attempt(plan, parts, keep=checkpoints is not None)
            except Exception as error:
                if not is_oom_error(error):
                    raise
                parts = _smaller(recipe, plan.processes, parts)
            # Outside of the handler, whose error holds on to the tensors of the failed step.
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if on_note is not None:
                on_note(f"Memory ran out: each batch of {recipe.training.batch_size} now goes in {parts} parts.")


def _smaller(recipe: Recipe, processes: Processes, parts: int) -> int:
    """Twice as many parts, if the recipe lets them be halved and they can be."""
    size = recipe.training.batch_size / (parts * processes.count)
    if not recipe.training.halve_batch:
        raise MissingResource(
            f"Memory ran out with {size:g} images of {recipe.preprocessing.size} px at once.",
            f"Use --set training.halve_batch=true, or --set training.accumulate={2 * parts}, or a smaller size.",
        )
    if size < 2:
        raise MissingResource(
            f"Memory ran out with a single image of {recipe.preprocessing.size} px.",
            "Use a smaller preprocessing.size or network, or training.checkpoint_activations.",
        )
    return 2 * parts


def _attempt(plan: _Fold, parts: int, *, keep: bool) -> FoldResult:
    """Train and score once, from the furthest checkpoint there is."""
    recipe, processes = plan.recipe, plan.processes
    found = checkpoint_to_resume(plan.folder, parts)
    before: dict[str, Any] = found[1][STATE] if found is not None else {"parts": parts, "seconds": 0.0}
    # A fold goes on with as many parts as it had come to need.
    parts = max(parts, before["parts"])
    lightning.seed_everything(plan.seed, workers=True, verbose=False)
    on_gpu = plan.accelerator in {"gpu", "cuda"} or (plan.accelerator == "auto" and torch.cuda.is_available())
    network = check_norms(network_of(recipe), processes, on_gpu=on_gpu)
    network.to(memory_format=MEMORY_FORMATS[recipe.training.memory_format])
    if recipe.training.checkpoint_activations:
        checkpoint_activations(network)
    if recipe.training.compile != "none":
        network.compile(backend=recipe.training.compile, dynamic=True)
    device = torch.device("cuda" if on_gpu else "cpu")
    loader, batches = training_loader(
        recipe, plan.store, plan.training, seed=plan.seed, parts=parts, processes=processes, device=device
    )
    shares = class_shares(labels_of(plan.training)) if recipe.training.class_prior == "balanced" else None
    module = FieldClassifier(network, recipe, batches.steps, batches, shares)
    if found is not None:
        module.lr = float(before["lr"])
        start_at(batches, found[1])
    elif recipe.optimiser.find_lr:
        if processes.count > 1:
            raise InvalidInput(
                "optimiser.find_lr works with one process only.",
                "Find the rate with one process, then set optimiser.lr.",
            )
        module.lr = found_rate(recipe, network, loader, batches, shares, plan.accelerator)
        batches.sampler.set_epoch(0)
        lightning.seed_everything(plan.seed, workers=True, verbose=False)
    averaging = Averaging(decay=recipe.training.average_weights) if recipe.training.average_weights else None
    watch = Watch(batches, plan.on_batch, plan.on_epoch)
    best = KeepBest(averaging) if recipe.training.selection != "last" else None
    callbacks: list[Callback] = [watch]
    if recipe.freezing.parts:
        callbacks.append(Freeze(recipe.freezing))
    callbacks += [callback for callback in (averaging, best) if callback is not None]
    if recipe.training.patience is not None:
        callbacks.append(
            EarlyStopping("selection_score", mode="max", patience=recipe.training.patience, check_finite=False)
        )

    def seconds() -> float:
        return max(plan.seconds_before, float(before["seconds"])) + time.monotonic() - plan.started

    if keep:
        callbacks.append(ResumePoint(plan.folder, batches, processes, recipe.training.checkpoint_batches, seconds))
    trainer = quiet_trainer(
        max_epochs=recipe.training.epochs,
        accelerator=plan.accelerator,
        precision=recipe.training.precision,
        gradient_clip_val=recipe.optimiser.gradient_clip,
        accumulate_grad_batches=batches.parts,
        callbacks=callbacks,
        plugins=[WholeFiles()],
        logger=list(plan.loggers) or False,
        enable_checkpointing=keep,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=plan.folder,
        processes=processes,
        unused_parameters=bool(recipe.freezing.parts),
    )
    watched, _ = evaluation_loader(plan.store, plan.watched, processes)
    fit(trainer, module, loader, watched, found[0] if found is not None else None)
    if best is not None:
        weights, kept = best.weights, best.epoch
    else:
        weights = network.state_dict() if averaging is None else averaging.network_weights()
        kept = int(watch.rows[-1]["epoch"])
    network = _clean_network(recipe, weights, shares)
    device = trainer.strategy.root_device
    network.to(device, memory_format=MEMORY_FORMATS[recipe.training.memory_format])  # type: ignore[call-overload]
    held_out, rows = evaluation_loader(plan.store, plan.held_out, processes)
    answers = score_fields(network, held_out, device, recipe.preprocessing)
    logits, features = gather_rows(np.array(rows.rows), answers, len(plan.held_out))
    return FoldResult(
        network=network.cpu().to(memory_format=torch.contiguous_format),
        logits=logits,
        features=features,
        history=pd.DataFrame(watch.rows),
        kept_epoch=kept,
        seconds=seconds(),
        device=str(device),
        lr=module.lr,
        accumulate=batches.parts,
        selection_images=plan.selection_images,
    )


def steps_of_fold(recipe: Recipe, training_images: int) -> int:
    """Steps that a fold takes at most, for showing how far it is."""
    if recipe.training.selection == "inner-split":
        training_images -= round(training_images / max(2, round(1 / recipe.training.selection_share)))
    sampler = EpochSampler(max(1, training_images), 0)
    return recipe.training.epochs * SharedBatches(sampler, recipe.training.batch_size).steps


@torch.inference_mode()
def score_fields(
    network: nn.Module, loader: DataLoader, device: torch.device, preprocessing: Preprocessing
) -> tuple[np.ndarray, np.ndarray]:
    """Binary logits (N,) and pooled features (N, D), float32, of every image of a loader, in its order."""
    logits: list[np.ndarray] = []
    features: list[np.ndarray] = []
    for images, _ in loader:
        pooled, scores = over_crops(network, normalised(images.to(device), preprocessing))
        logits.append(binary_logit(scores).float().cpu().numpy())
        features.append(pooled.float().cpu().numpy())
    return np.concatenate(logits), np.concatenate(features)


def _clean_network(recipe: Recipe, weights: dict[str, torch.Tensor], shares: np.ndarray | None) -> nn.Module:
    """The network with the kept weights, in evaluation mode, without what training put around it."""
    plain = recipe.model_copy(update={"network": recipe.network.model_copy(update={"pretrained": False})})
    network = network_of(plain)
    network.load_state_dict(weights)
    if shares is not None:
        add_prior(network, shares)
    return network.eval()


def _groups_of(training: pd.DataFrame) -> list[str]:
    column = next((name for name in GROUP_COLUMNS if name in training), "image")
    return training[column].astype(str).tolist()


def _pretrained(recipe: Recipe) -> bool | Path:
    value = recipe.network.pretrained
    return Path(value) if isinstance(value, str) else value
