"""The Lightning module: a network, its loss, its optimiser and what is watched by epoch."""

from __future__ import annotations

import math
from typing import Any

import lightning
import numpy as np
import torch
from torch import nn
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC
from torchvision.transforms import v2

from msht.errors import InvalidInput
from msht.images.preprocessing import normalised
from msht.network.logits import binary_logit, over_crops
from msht.training.activations import running_figures_kept
from msht.training.batches import SharedBatches
from msht.training.optimisers import RateSchedule, make_optimiser
from msht.training.prior import balancing_weights
from msht.training.recipe import Recipe
from msht.training.sam import SharpnessAware

Batch = tuple[torch.Tensor, torch.Tensor]


class FieldClassifier(lightning.LightningModule):
    """Trains a network on fields, as the recipe says.

    Args:
        network: gives (B, 2) logits for (B, 3, S, S) images.
        recipe: the choices.
        batches_per_epoch: steps of the optimiser in an epoch, for the schedule.
        batches: how steps are cut into parts; None: each batch is a step.
        shares: share of each class among the training images, where the recipe balances them.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        batches_per_epoch: int,
        batches: SharedBatches | None = None,
        shares: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.batches_per_epoch = batches_per_epoch
        self.batches = batches
        self.lr = recipe.optimiser.lr
        self.rate = math.nan
        balanced = recipe.training.class_prior == "balanced" and shares is not None
        self.weights = balancing_weights(shares) if balanced and shares is not None else None
        self.log_prior = torch.from_numpy(np.log(shares)).float() if balanced and shares is not None else None
        self.mix = _mixer(recipe)
        self.train_loss = MeanMetric()
        self.train_accuracy = BinaryAccuracy()
        self.validation_loss = MeanMetric()
        self.validation_accuracy = BinaryAccuracy()
        self.validation_auroc = BinaryAUROC()
        self._first_pass: tuple[Batch, dict[str, torch.Tensor]] | None = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Class logits (B, 2) of images (B, 3, S, S), or of fields of several crops (B, K, 3, S, S)."""
        return self.network(images) if images.ndim == 4 else over_crops(self.network, images)[1]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:
        """Scale the bytes of a batch, or make its views where the recipe augments on the device (`DeviceFields`)."""
        images, labels = batch
        if isinstance(images, dict):
            images = self.trainer.train_dataloader.dataset.views(images)  # type: ignore[union-attr]
        elif images.dtype == torch.uint8:
            images = normalised(images, self.recipe.preprocessing)
        return images, labels

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of logits (B, 2) against class indices (B,) or probabilities (B, 2)."""
        weights = None if self.weights is None else self.weights.to(logits)
        return nn.functional.cross_entropy(
            logits, labels, weight=weights, label_smoothing=self.recipe.training.label_smoothing, reduction="none"
        ).mean()

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        """Loss of one part of a batch, weighted so that a step has the mean over its whole batch."""
        optimiser = self.optimizers(use_pl_optimizer=False)
        second = isinstance(optimiser, SharpnessAware) and optimiser.second_pass
        if second:
            logits, labels, loss = self._again()
        else:
            if isinstance(optimiser, torch.optim.Optimizer):
                self.rate = max(float(group["lr"]) for group in optimiser.param_groups)
            images, labels = batch if self.mix is None else self.mix(*batch)
            if isinstance(optimiser, SharpnessAware):
                self._first_pass = ((images, labels), _random_state(images.device))
            logits = self(images)
            loss = self.loss(logits.float(), labels)
        if not torch.isfinite(loss):
            parts = self.batches.parts if self.batches is not None else 1
            raise _no_number(loss, f"in epoch {self.current_epoch + 1}, batch {index // parts + 1}")
        if not second:
            hard = labels if labels.ndim == 1 else labels.argmax(dim=1)
            self.train_loss.update(loss.detach(), weight=len(labels))
            self.train_accuracy.update(self._scores(logits.detach()), hard)
        return loss * (1.0 if self.batches is None else self.batches.share(index, len(labels)))

    def _again(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same loss at the place nearby: the same images, the same dropout, running figures left alone."""
        assert self._first_pass is not None
        (images, labels), state = self._first_pass
        _set_random_state(state)
        with running_figures_kept(self.network):
            logits = self(images)
        return logits, labels, self.loss(logits.float(), labels)

    def _scores(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities (B,) of the positive class, the training prior put back where it was balanced away."""
        logits = logits.float()
        if self.log_prior is not None:
            logits = logits + self.log_prior.to(logits)
        return binary_logit(logits).sigmoid()

    def on_validation_epoch_start(self) -> None:
        """Count anew."""
        for metric in (self.validation_loss, self.validation_accuracy, self.validation_auroc):
            metric.reset()

    def validation_step(self, batch: Batch, index: int) -> None:
        """Watch the data that choose the epoch, or the fold held out."""
        images, labels = batch
        logits = self(images).float()
        if self.log_prior is not None:
            logits = logits + self.log_prior.to(logits)
        scores = binary_logit(logits).sigmoid()
        self.validation_accuracy.update(scores, labels)
        self.validation_auroc.update(scores, labels)
        self.validation_loss.update(nn.functional.cross_entropy(logits, labels), weight=len(labels))

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the watched data, and what the epoch that ends with them gave.

        Here rather than at the end of the epoch, where callbacks come before the module and would see the figures
        of the epoch before.

        Raises:
            InvalidInput: if the network answers with no number, so that no checkpoint keeps such weights.
        """
        loss = self.validation_loss.compute()
        if not torch.isfinite(loss):
            raise _no_number(loss, f"on the watched images after epoch {self.current_epoch + 1}")
        accuracy = self.validation_accuracy.compute()
        self.log("validation_loss", loss)
        self.log("validation_accuracy", accuracy)
        self.log("validation_auroc", self.validation_auroc.compute())
        # Published rule: best validation accuracy, ties by training accuracy; one image weighs far more than 1e-4.
        seen = self.train_accuracy.update_called
        train = self.train_accuracy.compute() if seen else torch.zeros(())
        self.log("selection_score", accuracy + 1e-4 * train.to(accuracy.device))
        self.log("train_accuracy", train)
        self.log("train_loss", self.train_loss.compute() if seen else torch.zeros(()))
        self.log("learning_rate", self.rate)
        self.train_accuracy.reset()
        self.train_loss.reset()

    def configure_optimizers(self) -> Any:
        """Optimiser by name, cosine schedule with linear warm-up."""
        optimiser = make_optimiser(self.network, self.recipe.optimiser, self.lr)
        by_batch = self.recipe.schedule.step == "batch"
        unit = self.batches_per_epoch if by_batch else 1
        rate = RateSchedule(
            total=self.recipe.training.epochs * unit,
            warmup=round(self.recipe.schedule.warmup_epochs * unit),
            floor=self.recipe.schedule.floor,
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step" if by_batch else "epoch"},
        }


def _no_number(loss: torch.Tensor, where: str) -> InvalidInput:
    return InvalidInput(
        f"The loss became {loss.item()} {where}; the last good checkpoint is kept.",
        "Start a new run with a lower optimiser.lr, with optimiser.gradient_clip, or in 32-true precision; a resumed "
        "run keeps its recipe.",
    )


def _mixer(recipe: Recipe) -> Any:
    """What blends the images of a batch: torchvision's mixup, its cutmix, or one of them drawn for each batch."""
    found: list[Any] = []
    if recipe.training.mixup > 0:
        found.append(v2.MixUp(alpha=recipe.training.mixup, num_classes=2))
    if recipe.training.cutmix > 0:
        found.append(v2.CutMix(alpha=recipe.training.cutmix, num_classes=2))
    if not found:
        return None
    return found[0] if len(found) == 1 else v2.RandomChoice(found)


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(state: dict[str, torch.Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
