"""The table of counterparts: each exists, costs what it says, learns and explains itself."""

from __future__ import annotations

import pytest
import torch

from msht.network.costs import measure_cost
from msht.network.counterparts import COUNTERPARTS, OWN, Counterpart, counterpart
from msht.network.explain import explanation_layers
from msht.network.factory import create_network

TABLE = [*OWN, *COUNTERPARTS]
QUICK = ("msht_small", "resnet50", "tnt_s_patch16_224")


def rows(quick: tuple[str, ...] = QUICK) -> list[object]:
    return [pytest.param(row, id=row.name, marks=() if row.name in quick else pytest.mark.slow) for row in TABLE]


def test_the_papers_eleven_are_there_and_names_are_unique() -> None:
    assert sum(row.in_paper for row in COUNTERPARTS) == 11
    assert len({row.name for row in TABLE}) == len({row.label for row in TABLE}) == len(TABLE)
    assert counterpart("resnet50.a1_in1k") == counterpart("resnet50")
    assert counterpart("nothing") is None


@pytest.mark.parametrize("row", rows())
def test_cost_in_the_table_is_the_cost(row: Counterpart) -> None:
    cost = measure_cost(row.name, row.size)
    assert cost.parameters == row.parameters
    assert cost.gmacs == pytest.approx(row.gmacs, abs=1e-3)


def test_cost_of_the_proposed_model_is_the_published_one() -> None:
    """The facts of the paper: 87,816,514 parameters, 20.88 GMAC at 384 and 7.08 at 224."""
    own = OWN[0]
    assert own.parameters == 87_816_514
    assert own.gmacs == pytest.approx(20.88, abs=0.005)
    assert measure_cost(own.name, 224).gmacs == pytest.approx(7.08, abs=0.005)


@pytest.mark.parametrize("row", rows())
def test_every_network_trains_a_step_and_explains_itself(row: Counterpart) -> None:
    """At the smallest size it takes: finite gradients, a step, and a named layer that feels the logit."""
    torch.manual_seed(0)
    model = create_network(row.name, num_classes=2, img_size=row.smallest)
    images, labels = torch.rand(2, 3, row.smallest, row.smallest), torch.tensor([0, 1])

    (path,) = {explanation_layers(model).get(name) for name in ("last", "norm")} - {None} or {row.layer}
    seen: dict[str, torch.Tensor] = {}
    handle = model.get_submodule(path).register_forward_hook(lambda _m, _i, output: seen.update(map=output))
    loss = torch.nn.functional.cross_entropy(model.train()(images), labels)
    loss.backward()
    handle.remove()
    moved = [value.grad for value in model.parameters() if value.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in moved)
    assert any(float(gradient.abs().max()) > 0 for gradient in moved)
    with torch.no_grad():
        for value in model.parameters():
            if value.grad is not None:
                value -= 1e-3 * value.grad
    assert all(torch.isfinite(value).all() for value in model.parameters())

    handle = model.get_submodule(path).register_forward_hook(lambda _m, _i, output: seen.update(map=output))
    logits = model.eval()(images)
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), seen["map"])
    handle.remove()
    spatial = gradient
    if gradient.ndim == 3:
        spatial = gradient[:, int(getattr(model, "num_prefix_tokens", 0)) :]
    assert float(spatial.abs().max()) > 0
