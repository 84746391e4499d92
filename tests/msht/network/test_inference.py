"""A prepared network answers as the original does."""

from __future__ import annotations

import pytest
import timm
import torch

import msht  # noqa: F401  registers the networks
from benchmarks.obvious import obvious_msht
from msht.network.explain import explanation_layers
from msht.network.hybrid import MSHT
from msht.network.inference import prepare_for_inference


@pytest.fixture
def model() -> MSHT:
    torch.manual_seed(0)
    made = timm.create_model(
        "msht_resnet50",
        img_size=64,
        num_classes=2,
        embed_dim=32,
        backbone_args={"layers": (1, 1, 1, 1), "channels": (8, 16, 16, 32)},
    )
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2)
    return made.eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 64, 64)


def test_single_precision_is_unchanged(model: MSHT, images: torch.Tensor) -> None:
    prepared = prepare_for_inference(model)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in prepared.modules())
    with torch.no_grad():
        torch.testing.assert_close(prepared(images), model(images), rtol=1e-4, atol=1e-5)


def test_bfloat16_moves_a_probability_by_a_hundredth_at_most(model: MSHT, images: torch.Tensor) -> None:
    prepared = prepare_for_inference(model, dtype=torch.bfloat16)
    with torch.no_grad():
        found = prepared(images.bfloat16()).float().softmax(dim=1)
        assert float((found - model(images).softmax(dim=1)).abs().max()) <= 0.01


def test_original_is_left_alone_and_layers_keep_their_paths(model: MSHT) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    prepared = prepare_for_inference(model)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert explanation_layers(prepared) == explanation_layers(model)
    for path in explanation_layers(model).values():
        prepared.get_submodule(path)


def test_a_copy_that_shares_answers_alike_holds_less_and_leaves_the_original_trainable(
    model: MSHT, images: torch.Tensor
) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    prepared = prepare_for_inference(model, shared=True)
    own = {value.data_ptr() for value in prepared.parameters()} - {value.data_ptr() for value in model.parameters()}
    assert len(own) < len(list(prepared.parameters())) / 2
    with torch.no_grad():
        torch.testing.assert_close(prepared(images), model(images), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert all(value.requires_grad for value in model.parameters())
    assert not any(value.requires_grad for value in prepared.parameters())


def test_other_networks_can_be_prepared(images: torch.Tensor) -> None:
    model = timm.create_model("resnet10t", num_classes=2).eval()
    with torch.no_grad():
        found = prepare_for_inference(model)(images)
        torch.testing.assert_close(found, model(images), rtol=1e-4, atol=1e-5)


def test_obvious_way_is_the_same_network(model: MSHT, images: torch.Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(obvious_msht(model)(images), model(images), rtol=1e-4, atol=1e-5)
