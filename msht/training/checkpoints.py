"""Checkpoints of a fold: written beside and renamed, read without pickle, and everything a fold needs to go on."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from lightning.pytorch.plugins.io import CheckpointIO

from msht.errors import InvalidInput
from msht.files import atomic_path
from msht.training.batches import SharedBatches
from msht.training.module import FieldClassifier
from msht.training.processes import Processes

EPOCH_FILE = "epoch.ckpt"
STEP_FILE = "step.ckpt"
STATE = "msht"
"""Key of what is ours in a checkpoint."""


class WholeFiles(CheckpointIO):
    """Lightning's way to files: whole or not at all, and plain tensors and numbers only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint beside its name and rename it.

        Raises:
            MissingResource: if the disk is full or cannot be written; what was there remains.
        """
        with atomic_path(Path(path)) as temporary, _Recording(temporary, "w") as file:
            try:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            except RuntimeError:
                if file.error is not None:  # PyTorch's own words hide what the system said
                    raise file.error from None
                raise

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Read a checkpoint; nothing in it can run."""
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint."""
        Path(path).unlink(missing_ok=True)


class _Recording(io.FileIO):
    """A file that remembers why it could not be written."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        view, done = memoryview(data).cast("B"), 0
        try:
            while done < len(view):  # an unbuffered file may take less than it is given
                done += super().write(view[done:]) or 0
        except OSError as error:
            self.error = error
            raise
        return done


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of a fold.

    Raises:
        InvalidInput: if it is damaged.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        checkpoint[STATE]["parts"]
    except OSError as error:
        raise InvalidInput(f"{path} is not readable ({error.strerror or error}).", "Check the folder.") from error
    except Exception as error:  # zip, unpickling and key errors share no base class
        raise InvalidInput(
            f"{path} is no checkpoint of a fold ({type(error).__name__}).",
            "Remove it to train this fold from its start.",
        ) from error
    return checkpoint


def checkpoint_to_resume(folder: Path, parts: int) -> tuple[Path, dict[str, Any]] | None:
    """The furthest checkpoint in a folder that fits, with its content; None where there is none.

    Args:
        folder: of a fold's checkpoints.
        parts: that each batch is cut into, at least; a checkpoint within an epoch counts them and must have as many.
    """
    best = None
    for name in (EPOCH_FILE, STEP_FILE):
        path = folder / name
        if not path.is_file():
            continue
        checkpoint = read_checkpoint(path)
        if name == STEP_FILE and checkpoint[STATE]["parts"] < parts:
            continue
        if best is None or checkpoint["global_step"] > best[1]["global_step"]:
            best = (path, checkpoint)
    return best


class ResumePoint(Checkpoint):
    """Writes checkpoints after epochs, and within them where asked, and takes a fold up where one was written.

    Args:
        folder: for the files.
        batches: of this process.
        processes: that train together.
        every: steps between checkpoints within an epoch; None: none.
        seconds: gives the seconds that the fold has taken so far.
    """

    def __init__(
        self, folder: Path, batches: SharedBatches, processes: Processes, every: int | None, seconds: Any
    ) -> None:
        self.folder = folder
        self.batches = batches
        self.processes = processes
        self.every = every
        self.seconds = seconds
        self._loaded: dict[str, Any] | None = None

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write within an epoch, behind a step and not at its very end."""
        if self.every is None or batch_idx + 1 == len(self.batches) or (batch_idx + 1) % self.batches.parts:
            return
        if (batch_idx + 1) // self.batches.parts % self.every == 0:
            trainer.save_checkpoint(self.folder / STEP_FILE)

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Write after an epoch."""
        trainer.save_checkpoint(self.folder / EPOCH_FILE)
        if self.processes.rank == 0:
            (self.folder / STEP_FILE).unlink(missing_ok=True)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what Lightning does not keep: random states, running figures, time, parts and rate."""
        assert isinstance(module, FieldClassifier)
        states: list[Any] = [_random_states()]
        if self.processes.count > 1:
            states = [None] * self.processes.count
            torch.distributed.all_gather_object(states, _random_states())
        checkpoint[STATE] = {
            "random": states,
            "metrics": [
                {
                    "state": {k: torch.as_tensor(v).cpu() for k, v in metric.metric_state.items()},
                    "updates": metric._update_count,
                }
                for metric in (module.train_loss, module.train_accuracy)
            ],
            "seconds": float(self.seconds()),
            "parts": self.batches.parts,
            "lr": float(module.lr),
            "rate": float(module.rate),
        }

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep what is ours until the training starts."""
        self._loaded = checkpoint[STATE]

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Put back what the checkpoint held, last of all, so that nothing draws in between."""
        assert isinstance(module, FieldClassifier)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping) and callback.wait_count >= callback.patience:
                trainer.should_stop = True
        if self._loaded is None:
            return
        loaded, self._loaded = self._loaded, None
        module.rate = loaded["rate"]
        for metric, kept in zip((module.train_loss, module.train_accuracy), loaded["metrics"], strict=True):
            for name, value in kept["state"].items():
                setattr(metric, name, value.to(module.device))
            metric._update_count = kept["updates"]
        if len(loaded["random"]) == self.processes.count:
            _set_random_states(loaded["random"][self.processes.rank])


def _random_states() -> dict[str, Any]:
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002  libraries still draw from it
    states = {
        "torch": torch.get_rng_state(),
        "numpy": [str(name), np.asarray(keys).tolist(), int(position), int(has_gauss), float(cached)],
        "python": random.getstate(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _set_random_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))  # noqa: NPY002
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
