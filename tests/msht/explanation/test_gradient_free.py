"""Maps without gradients find the weights that their definitions give, and every counterpart can be explained."""

from __future__ import annotations

import gc
import resource

import numpy as np
import pytest
import timm
import torch
from pytorch_grad_cam import AblationCAM as LibraryAblationCAM
from pytorch_grad_cam import ScoreCAM as LibraryScoreCAM
from torch import nn

from msht.explanation.cam import class_activation_map, raw_class_activation_map
from msht.explanation.gradient_free import AblationCAM, ScoreCAM
from msht.explanation.targets import ClassEvidence


class PooledConvolution(nn.Module):
    """One convolution, mean pooling and a linear head: its maps are known in closed form."""

    explanation_layers = {"only": "features"}  # noqa: RUF012
    default_explanation_layer = "only"

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 5, 3, stride=4, padding=1)
        self.head = nn.Linear(5, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def images(count: int = 3, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, size, size)


def test_ablation_weighs_a_channel_by_the_evidence_that_it_carries() -> None:
    """With mean pooling and a linear head a channel carries its weight times its mean, exactly."""
    network, batch = PooledConvolution(), images()
    features = network.features(batch)
    weights = (network.head.weight[1] - network.head.weight[0]) * features.mean(dim=(2, 3))
    expected = torch.einsum("bc,bchw->bhw", weights, features).detach().numpy()
    np.testing.assert_allclose(
        raw_class_activation_map(network, batch, method="ablationcam"), expected, rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize(("ours", "theirs"), [(ScoreCAM, LibraryScoreCAM), (AblationCAM, LibraryAblationCAM)])
def test_weights_are_those_of_the_library(ours: type, theirs: type) -> None:
    network, batch = PooledConvolution().eval(), images()
    # Where activations may be negative the library takes a channel far below them all in place of zero.
    network.features = nn.Sequential(network.features, nn.ReLU())
    with torch.no_grad():
        network.head.weight.mul_(20)
        network.head.bias[1] += 100  # the library divides by the evidence, which must be far from zero for that
        activations = network.features(batch).numpy()
        evidence = (network(batch)[:, 1] - network(batch)[:, 0]).numpy()
    found = [
        method(network, [network.features]).get_cam_weights(
            batch, network.features, [ClassEvidence(1)] * 3, activations, None
        )
        for method in (ours, theirs)
    ]
    if ours is AblationCAM:
        found[0] = found[0] / evidence[:, None]
        np.testing.assert_allclose(found[0], found[1], rtol=1e-3, atol=1e-5)
    else:  # the library grows its masks by another rule at the border
        np.testing.assert_allclose(np.log(found[0]), np.log(found[1]), atol=0.35)
        assert (np.argmax(found[0], axis=1) == np.argmax(found[1], axis=1)).all()


def test_the_principal_component_has_the_sign_of_the_evidence() -> None:
    network, batch = PooledConvolution(), images(4)
    whole = raw_class_activation_map(network, batch, method="hirescam")
    component = raw_class_activation_map(network, batch, method="eigengradcam")
    for one, other in zip(whole, component, strict=True):
        assert np.sum(one * other) >= 0
    mirrored = raw_class_activation_map(network, batch, method="eigengradcam", class_index=0)
    np.testing.assert_allclose(mirrored, -component, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("method", ["scorecam", "ablationcam", "eigengradcam"])
def test_layers_of_tokens_are_explained_and_the_network_is_left_as_it_was(method: str) -> None:
    settings = {"class_token": True, "global_pool": "token", "zero_init_residual": False}
    network = timm.create_model("msht_small", num_classes=2, img_size=64, **settings).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    maps = class_activation_map(network, images(1, 64), layer="decoder_1", method=method)
    assert maps.shape == (1, 64, 64)
    assert np.isfinite(maps).all()
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("method", ["hirescam", "ablationcam"])
def test_a_thousand_images_leave_no_hook_no_tensor_and_no_memory(method: str) -> None:
    network = PooledConvolution()

    def explain(count: int) -> tuple[int, int]:
        for _ in range(count):
            class_activation_map(network, images(8), method=method)
        gc.collect()
        tensors = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
        return tensors, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    tensors, kilobytes = explain(20)
    later_tensors, later_kilobytes = explain(125)
    assert later_tensors == tensors
    assert later_kilobytes - kilobytes < 20_000  # the activations of 1,000 images alone are 20 MB
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in network.modules())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("resnet18", {}),
        ("mobilenetv3_small_050", {}),
        ("convnext_atto", {}),
        ("vit_tiny_patch16_224", {"img_size": 64}),
        ("deit_tiny_distilled_patch16_224", {"img_size": 64}),
        ("swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 2}),
        ("pvt_v2_b0", {}),
    ],
)
def test_architectures_of_every_kind_give_maps_in_the_images_own_place(name: str, settings: dict[str, object]) -> None:
    network = timm.create_model(name, num_classes=2, **settings).eval()
    maps = raw_class_activation_map(network, images(2, 64), method="hirescam")
    assert maps.ndim == 3
    assert maps.shape[0] == 2
    assert maps.shape[1] == maps.shape[2]
    assert np.abs(maps).max() > 0
