import pytest
import torch
from torch import nn

from msht.training.sam import SharpnessAware


def quadratic(weight: torch.Tensor) -> torch.Tensor:
    return (weight**2 * torch.tensor([1.0, 10.0])).sum()


def test_a_step_is_that_of_the_definition() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    start = weight.detach().clone()
    optimiser = SharpnessAware(torch.optim.SGD([weight], lr=0.01), radius=0.5)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = quadratic(weight)
        loss.backward()
        return loss

    loss = optimiser.step(closure)
    # w - lr * grad L(w + rho * g / |g|), by hand: the gradient of the quadratic is 2 a w.
    scale = 2 * torch.tensor([1.0, 10.0])
    gradient = scale * start
    nearby = start + 0.5 * gradient / gradient.norm()
    assert torch.allclose(weight, start - 0.01 * scale * nearby)
    assert float(loss) == pytest.approx(float(quadratic(start)))


def test_the_weights_are_put_back_when_the_second_pass_fails() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimiser = SharpnessAware(torch.optim.SGD([weight], lr=0.1), radius=0.5)

    def closure() -> torch.Tensor:
        if optimiser.second_pass:
            raise RuntimeError("memory")
        loss = quadratic(weight)
        loss.backward()
        return loss

    with pytest.raises(RuntimeError, match="memory"):
        optimiser.step(closure)
    assert torch.equal(weight, torch.ones(2))
    assert not optimiser.second_pass


def test_schedules_and_checkpoints_reach_the_wrapped_optimiser() -> None:
    weight = nn.Parameter(torch.ones(2))
    base = torch.optim.AdamW([weight], lr=0.1)
    optimiser = SharpnessAware(base, radius=0.05)
    torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.5)
    assert base.param_groups[0]["lr"] == 0.05

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = quadratic(weight)
        loss.backward()
        return loss

    optimiser.step(closure)
    kept = optimiser.state_dict()
    fresh = SharpnessAware(torch.optim.AdamW([weight], lr=0.1), radius=0.05)
    fresh.load_state_dict(kept)
    assert fresh.base.state_dict()["state"][0]["step"] == 1
    assert fresh.param_groups is fresh.base.param_groups
