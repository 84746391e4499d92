"""The Lightning module: a network, its loss, its optimiser and what is watched by epoch."""

from __future__ import annotations

import math
from typing import Any

import lightning
import torch
from timm.optim._optim_factory import create_optimizer_v2
from torch import nn
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC

from msht.errors import InvalidInput
from msht.network.logits import binary_logit
from msht.training.recipe import Recipe


class FieldClassifier(lightning.LightningModule):
    """Trains a network on fields, as the recipe says.

    Args:
        network: gives (B, 2) logits for (B, 3, S, S) images.
        recipe: the choices.
        batches_per_epoch: how long an epoch is, for the schedule.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, batches_per_epoch: int) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.batches_per_epoch = batches_per_epoch
        self.loss = nn.CrossEntropyLoss(label_smoothing=recipe.training.label_smoothing)
        self.rate = math.nan
        self.train_accuracy = BinaryAccuracy()
        self.validation_accuracy = BinaryAccuracy()
        self.validation_auroc = BinaryAUROC()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Class logits (B, 2) of images (B, 3, S, S)."""
        return self.network(images)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        """Cross-entropy of one batch; a loss that is no number stops the training."""
        images, labels = batch
        self.rate = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        logits = self(images)
        loss = self.loss(logits, labels)
        if not torch.isfinite(loss):
            raise InvalidInput(
                f"The loss became {loss.item()} in epoch {self.current_epoch + 1}, batch {index + 1}.",
                "Lower optimiser.lr, set optimiser.gradient_clip, or train in 32-true precision.",
            )
        self.train_accuracy.update(binary_logit(logits.detach()).sigmoid(), labels)
        self.log("train_loss", loss.detach(), on_step=False, on_epoch=True, batch_size=len(labels))
        return loss

    def on_train_epoch_start(self) -> None:
        """Count anew."""
        self.train_accuracy.reset()

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> None:
        """Watch the held-out fold."""
        images, labels = batch
        logits = self(images).float()
        scores = binary_logit(logits).sigmoid()
        self.validation_accuracy.update(scores, labels)
        self.validation_auroc.update(scores, labels)
        loss = nn.functional.cross_entropy(logits, labels)
        self.log("validation_loss", loss, on_epoch=True, batch_size=len(labels))

    def on_validation_epoch_end(self) -> None:
        """Log accuracy and AUROC of the held-out fold, and what the epoch that ends with it gave.

        Here rather than at the end of the epoch, where callbacks come before the module and would see the figures
        of the epoch before.
        """
        accuracy = self.validation_accuracy.compute()
        self.log("validation_accuracy", accuracy)
        self.log("validation_auroc", self.validation_auroc.compute())
        # Published rule: best validation accuracy, ties by training accuracy; one image weighs far more than 1e-4.
        train = self.train_accuracy.compute() if self.train_accuracy.update_called else torch.zeros(())
        self.log("selection_score", accuracy + 1e-4 * train.to(accuracy.device))
        self.log("train_accuracy", train)
        self.log("learning_rate", self.rate)
        self.validation_accuracy.reset()
        self.validation_auroc.reset()

    def configure_optimizers(self) -> Any:
        """Optimiser by name, cosine schedule with linear warm-up."""
        settings = self.recipe.optimiser
        optimiser = create_optimizer_v2(
            self.network,
            opt={"adam": "adam", "adamw": "adamw", "sgd": "sgd"}[settings.name],
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            filter_bias_and_bn=not settings.decay_biases,
        )
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


class RateSchedule:
    """Share of the learning rate at a step: linear rise, then half a cosine down to the floor.

    Args:
        total: steps in all.
        warmup: steps of the rise, from 1 % of the rate.
        floor: share at the end.

    Source: the published protocol, floor + (1 - floor) (1 + cos(pi t / T)) / 2, by epoch and without a rise.
    """

    def __init__(self, total: int, warmup: int, floor: float) -> None:
        self.total = total
        self.warmup = warmup
        self.floor = floor

    def __call__(self, step: int) -> float:
        """Share of the rate at a step, from 0."""
        if step < self.warmup:
            return 0.01 + 0.99 * step / self.warmup
        share = min(1.0, (step - self.warmup) / max(1, self.total - self.warmup))
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * share)) / 2
