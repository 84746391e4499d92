import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from msht.network.factory import create_network
from msht.training.module import FieldClassifier
from msht.training.optimisers import RateSchedule
from msht.training.recipe import Recipe, recipe_from


def recipe(**changes: object) -> Recipe:
    return recipe_from({"name": "t", "preprocessing": {"size": 32}, **changes}, source="t")


PAPER = {
    "optimiser": {"name": "adam", "lr": 1e-5, "weight_decay": 0.01, "decay_biases": True},
    "schedule": {"warmup_epochs": 0, "floor": 0.25, "step": "epoch"},
    "training": {"epochs": 50, "batch_size": 8, "selection": "validation-fold"},
}


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return create_network("test_resnet", num_classes=2, img_size=32)


def optimiser_of(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    return FieldClassifier(network, recipe, batches_per_epoch=10).configure_optimizers()["optimizer"]


def step(network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    optimiser.zero_grad()
    nn.functional.cross_entropy(network.eval()(images), torch.tensor([0, 1, 0, 1])).backward()
    optimiser.step()


def test_the_published_rate_ends_at_a_quarter_by_epoch() -> None:
    rate = RateSchedule(total=50, warmup=0, floor=0.25)
    assert rate(0) == 1.0
    assert rate(50) == pytest.approx(0.25)
    for epoch in range(50):  # PyTorch's own cosine, down to the same floor
        cosine = 0.25 + 0.75 * (1 + math.cos(math.pi * epoch / 50)) / 2
        assert rate(epoch) == pytest.approx(cosine)
    weight = nn.Parameter(torch.zeros(1))
    reference = torch.optim.SGD([weight], lr=1.0)
    annealing = torch.optim.lr_scheduler.CosineAnnealingLR(reference, T_max=50, eta_min=0.25)
    for epoch in range(50):
        assert reference.param_groups[0]["lr"] == pytest.approx(rate(epoch))
        reference.step()
        annealing.step()


def test_the_rate_rises_in_a_line_and_falls_to_its_floor() -> None:
    rate = RateSchedule(total=100, warmup=10, floor=0.01)
    values = [rate(step) for step in range(101)]
    assert values[0] == pytest.approx(0.01)
    assert values[10] == pytest.approx(1.0)
    assert values[100] == pytest.approx(0.01)
    rises = [b - a for a, b in pairwise(values[:11])]
    assert rises == pytest.approx([0.099] * 10)
    assert all(a > b for a, b in pairwise(values[10:]))


@pytest.mark.parametrize("total", [1, 2, 7])
def test_the_rate_never_leaves_its_range_even_past_the_end(total: int) -> None:
    rate = RateSchedule(total=total, warmup=min(1, total - 1), floor=0.1)
    assert all(0.01 <= rate(step) <= 1 for step in range(2 * total + 2))
    assert rate(2 * total) == pytest.approx(0.1)


@pytest.mark.parametrize(("unit", "interval", "total"), [("epoch", "epoch", 50), ("batch", "step", 500)])
def test_the_rate_moves_by_epoch_or_by_batch(network: nn.Module, unit: str, interval: str, total: int) -> None:
    chosen = recipe(schedule={"step": unit, "floor": 0.25}, training={"epochs": 50})
    configured = FieldClassifier(network, chosen, batches_per_epoch=10).configure_optimizers()["lr_scheduler"]
    assert configured["interval"] == interval
    share = configured["scheduler"].lr_lambdas[0]
    assert (share(0), share(total // 2), share(total)) == pytest.approx((1.0, 0.625, 0.25))


def test_the_published_optimiser_is_adam_with_l2_on_every_parameter(network: nn.Module) -> None:
    optimiser = optimiser_of(network, recipe(**PAPER))
    assert type(optimiser) is torch.optim.Adam
    held = {id(p) for group in optimiser.param_groups for p in group["params"]}
    assert held == {id(p) for p in network.parameters()}
    assert {group["weight_decay"] for group in optimiser.param_groups} == {0.01}


def test_a_step_of_the_published_optimiser_is_that_of_plain_pytorch(network: nn.Module) -> None:
    torch.manual_seed(0)
    other = create_network("test_resnet", num_classes=2, img_size=32)
    step(network, optimiser_of(network, recipe(**PAPER)))
    step(other, torch.optim.Adam(other.parameters(), lr=1e-5, weight_decay=0.01))
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_l2_and_decoupled_decay_are_not_the_same(network: nn.Module) -> None:
    torch.manual_seed(0)
    other = create_network("test_resnet", num_classes=2, img_size=32)
    settings = {"lr": 1e-3, "weight_decay": 0.5, "decay_biases": True}
    step(network, optimiser_of(network, recipe(optimiser={"name": "adam", **settings})))
    step(other, optimiser_of(other, recipe(optimiser={"name": "adamw", **settings})))
    assert not all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_biases_and_norms_are_spared_unless_the_recipe_says_otherwise(network: nn.Module, name: str) -> None:
    optimiser = optimiser_of(network, recipe(optimiser={"name": name, "weight_decay": 0.05}))
    assert type(optimiser).__name__.lower() == name
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert len(decay) == len(list(network.parameters()))
    for parameter in network.parameters():
        assert decay[id(parameter)] == (0.05 if parameter.ndim > 1 else 0.0)


def test_the_loss_is_cross_entropy_without_weights_and_with_the_smoothing_of_the_recipe(network: nn.Module) -> None:
    logits, labels = torch.tensor([[2.0, -1.0], [0.5, 0.0]]), torch.tensor([0, 1])
    for smoothing in (0.0, 0.1):
        module = FieldClassifier(network, recipe(training={"label_smoothing": smoothing}), batches_per_epoch=1)
        targets = torch.full((2, 2), smoothing / 2) + nn.functional.one_hot(labels, 2) * (1 - smoothing)
        expected = -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()
        assert module.loss(logits, labels) == pytest.approx(float(expected))
