"""Lightning's Trainer as it is used here, and its range test of the learning rate."""

from __future__ import annotations

import logging
import signal
import tempfile
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.utils.data import DataLoader

from msht.errors import InvalidInput
from msht.training.batches import SharedBatches
from msht.training.checkpoints import WholeFiles
from msht.training.module import FieldClassifier
from msht.training.processes import Processes
from msht.training.recipe import Recipe

RANGE_TEST_STEPS = 100
LOWEST_RATE, HIGHEST_RATE = 1e-7, 1.0


def quiet_trainer(
    processes: Processes | None = None, unused_parameters: bool = False, **settings: Any
) -> lightning.Trainer:
    """Lightning's Trainer without its own words, which the command line has better ones for."""
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"lightning\..*")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*broadcast_buffers.*")
    settings["devices"] = 1
    if processes is not None and processes.count > 1:
        settings["devices"], settings["num_nodes"] = processes.per_node, processes.nodes
        # Evaluation is dealt out unevenly, so a forward pass must not wait for the other processes.
        settings["strategy"] = DDPStrategy(broadcast_buffers=False, find_unused_parameters=unused_parameters)
    return lightning.Trainer(enable_progress_bar=False, enable_model_summary=False, deterministic="warn", **settings)


def fit(
    trainer: lightning.Trainer,
    module: FieldClassifier,
    loader: DataLoader,
    watched: DataLoader,
    checkpoint: Path | None,
) -> None:
    """Train, from a checkpoint where one is given; ctrl-C stays a KeyboardInterrupt."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, loader, watched, ckpt_path=checkpoint)
    except SystemExit as error:
        # Lightning turns ctrl-C into an exit and deafens the process; give both back to the caller.
        signal.signal(signal.SIGINT, handler)
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise


def found_rate(
    recipe: Recipe,
    network: nn.Module,
    loader: DataLoader,
    batches: SharedBatches,
    shares: np.ndarray | None,
    accelerator: str,
) -> float:
    """The learning rate that Lightning's range test suggests on the training images; the network stays as it is.

    Raises:
        InvalidInput: if it finds none.

    Source: Smith (2017), Cyclical learning rates for training neural networks; steepest fall of the loss.
    """
    from lightning.pytorch.tuner.tuning import Tuner

    module = FieldClassifier(deepcopy(network), recipe, batches.steps, batches, shares)
    with tempfile.TemporaryDirectory(prefix="msht-") as scratch:
        trainer = quiet_trainer(
            max_epochs=RANGE_TEST_STEPS,
            accelerator=accelerator,
            precision=recipe.training.precision,
            gradient_clip_val=recipe.optimiser.gradient_clip,
            accumulate_grad_batches=batches.parts,
            plugins=[WholeFiles()],
            logger=False,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
            use_distributed_sampler=False,
            default_root_dir=scratch,
        )
        finder = Tuner(trainer).lr_find(
            module,
            train_dataloaders=loader,
            num_training=RANGE_TEST_STEPS,
            min_lr=LOWEST_RATE,
            max_lr=HIGHEST_RATE,
            update_attr=False,
        )
    rate = finder.suggestion() if finder is not None else None
    if rate is None:
        raise InvalidInput("The range test found no learning rate.", "Set optimiser.lr and leave find_lr out.")
    return float(rate)
