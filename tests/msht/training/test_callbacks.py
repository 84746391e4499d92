from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from msht.training.callbacks import KeepBest


def epoch(keeper: KeepBest, number: int, score: float) -> None:
    """End an epoch whose only weight is its number."""
    module: Any = SimpleNamespace(network=nn.Linear(1, 1, bias=False))
    nn.init.constant_(module.network.weight, number)
    trainer: Any = SimpleNamespace(callback_metrics={"selection_score": torch.tensor(score)}, current_epoch=number - 1)
    keeper.on_train_epoch_end(trainer, module)
    nn.init.zeros_(module.network.weight)  # training goes on with the same tensors


def test_the_best_epoch_is_kept_and_of_equals_the_first() -> None:
    keeper = KeepBest(averaging=None)
    for number, score in enumerate((0.5, 0.75, 0.7, 0.75, 0.6), start=1):
        epoch(keeper, number, score)
    assert keeper.epoch == 2
    assert keeper.weights["weight"].item() == 2.0


def test_an_accuracy_weighs_more_than_any_training_accuracy_and_ties_go_by_it() -> None:
    keeper = KeepBest(averaging=None)
    # As the module scores them: one image in a thousand more outweighs a training accuracy of one.
    for number, (held_out, train) in enumerate(((0.900, 1.0), (0.901, 0.0), (0.901, 0.5), (0.901, 0.4)), start=1):
        epoch(keeper, number, held_out + 1e-4 * train)
    assert keeper.epoch == 3


def test_the_best_so_far_survives_a_checkpoint() -> None:
    keeper = KeepBest(averaging=None)
    epoch(keeper, 1, 0.5)
    later = KeepBest(averaging=None)
    later.load_state_dict(keeper.state_dict())
    epoch(later, 2, 0.4)
    assert (later.epoch, later.weights["weight"].item()) == (1, 1.0)
