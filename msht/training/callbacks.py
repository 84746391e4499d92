"""What accompanies the loop: the history, the best weights, frozen parts, averaged weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from msht.errors import InvalidInput
from msht.network.naming import nearest
from msht.training.batches import SharedBatches
from msht.training.settings import Freezing


class Averaging(EMAWeightAveraging):
    """Lightning's moving average of the weights, whose average can be asked for."""

    def network_weights(self) -> dict[str, torch.Tensor]:
        """Averaged weights and buffers of the network."""
        assert self._average_model is not None
        module: Any = self._average_model.module
        weights: dict[str, torch.Tensor] = module.network.state_dict()
        return weights


class Watch(Callback):
    """Keeps the metrics of each epoch and tells whoever asked.

    Args:
        batches: how steps are cut into parts.
        on_batch: called with the number of steps done since the last call.
        on_epoch: called with each epoch's row.
    """

    def __init__(
        self,
        batches: SharedBatches,
        on_batch: Callable[[int], None] | None,
        on_epoch: Callable[[dict[str, float]], None] | None,
    ) -> None:
        self.batches = batches
        self.on_batch = on_batch
        self.on_epoch = on_epoch
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on behind these rows."""
        self.rows = list(state_dict["rows"])

    def on_train_start(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        """Count the steps of an earlier attempt."""
        if self.on_batch is not None and trainer.global_step:
            self.on_batch(trainer.global_step)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a step when its last part is through."""
        done = (batch_idx + 1) % self.batches.parts == 0 or batch_idx + 1 == len(self.batches)
        if self.on_batch is not None and done:
            self.on_batch(1)

    def on_train_epoch_end(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        """Keep the figures of the epoch."""
        names = [n for n in trainer.callback_metrics if n != "selection_score"]
        row = {"epoch": float(trainer.current_epoch + 1)}
        row.update({name: float(trainer.callback_metrics[name]) for name in sorted(names)})
        self.rows.append(row)
        if self.on_epoch is not None:
            self.on_epoch(row)


class KeepBest(Callback):
    """Keeps a copy of the best epoch's weights; of equally good epochs the first.

    The copy is part of every checkpoint, so that checkpoint and best weights cannot disagree.

    Args:
        averaging: whose weights count, where there is one: they are the ones that were judged.
    """

    def __init__(self, averaging: Averaging | None) -> None:
        self.averaging = averaging
        self.score = float("-inf")
        self.epoch = 0
        self.weights: dict[str, torch.Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """The best so far."""
        return {"score": self.score, "epoch": self.epoch, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with an earlier best."""
        self.score, self.epoch = float(state_dict["score"]), int(state_dict["epoch"])
        self.weights = state_dict["weights"]

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Compare."""
        score = float(trainer.callback_metrics["selection_score"])
        if score > self.score:
            found = module.network.state_dict() if self.averaging is None else self.averaging.network_weights()
            self.score, self.epoch = score, trainer.current_epoch + 1
            self.weights = {name: value.detach().cpu().clone() for name, value in found.items()}


class Freeze(Callback):
    """Keeps parts of the network as they are, for some epochs or for good.

    Args:
        settings: which parts, and for how long.
    """

    def __init__(self, settings: Freezing) -> None:
        self.settings = settings

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Freeze or not, also where a fold goes on within an epoch."""
        self.on_train_epoch_start(trainer, module)

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Freeze, or unfreeze when the time has come."""
        frozen = self.settings.epochs is None or trainer.current_epoch < self.settings.epochs
        for part in frozen_parts(module.network, self.settings.parts):
            part.requires_grad_(not frozen)
            for norm in (m for m in part.modules() if isinstance(m, _BatchNorm)):
                norm.train(not frozen)


def frozen_parts(network: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Modules of a network by their dotted names.

    Raises:
        InvalidInput: if there is none of that name, with the nearest, or if nothing would be left to learn.
    """
    modules = dict(network.named_modules())
    for name in names:
        if not name or name not in modules:
            raise InvalidInput(
                f"freezing.parts: the network has no part '{name}'.",
                nearest(name, [n for n in modules if n])
                or f"Its parts are {', '.join(dict(network.named_children()))}.",
            )
    found = [modules[name] for name in names]
    held = {id(p) for part in found for p in part.parameters()}
    if held >= {id(p) for p in network.parameters()}:
        raise InvalidInput("freezing.parts leaves nothing of the network to learn.", "Freeze fewer parts.")
    return found
