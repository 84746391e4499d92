"""Class activation maps: equal to their definitions, on the network's own scale, and without traces."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import timm
import torch
from pytorch_grad_cam import GradCAM
from torch import nn
from torch.nn import functional

from msht.errors import InvalidInput
from msht.explanation.cam import COSTLY, METHODS, class_activation_map, fold_tokens, raw_class_activation_map
from msht.explanation.targets import ClassEvidence
from msht.network.explain import explanation_layers


class PooledConvolution(nn.Module):
    """One convolution, mean pooling and a linear head: its class activation map is known in closed form."""

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


def msht(**settings: object) -> nn.Module:
    """A small MSHT whose residual branches carry signal, with a class token as in the paper."""
    settings = {"class_token": True, "global_pool": "token", "zero_init_residual": False, **settings}
    return timm.create_model("msht_small", num_classes=2, img_size=64, **settings).eval()


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "xgradcam"])
def test_with_mean_pooling_the_map_is_zhous_class_activation_map(method: str) -> None:
    """Zhou et al. (2016): the head's weights on the feature maps; for one linear layer the methods agree."""
    network, batch = PooledConvolution(), images()
    features = network.features(batch)
    weights = network.head.weight[1] - network.head.weight[0]
    expected = torch.einsum("c,bchw->bhw", weights, features) / features[0, 0].numel()
    if method == "xgradcam":  # its weights are gradients normalised by the activations of each channel
        share = features / (features.sum(dim=(2, 3), keepdim=True) + 1e-7)
        gradient = weights[:, None, None] / features[0, 0].numel()
        expected = torch.einsum("bc,bchw->bhw", (share * gradient).sum(dim=(2, 3)), features)
    raw = raw_class_activation_map(network, batch, method=method)
    np.testing.assert_allclose(raw, expected.detach().numpy(), rtol=1e-3, atol=1e-6)


def test_the_map_sums_to_the_log_odds_where_it_decomposes_them() -> None:
    network, batch = PooledConvolution(), images()
    bias = (network.head.bias[1] - network.head.bias[0]).item()
    logits = network(batch).detach()
    evidence = raw_class_activation_map(network, batch).sum(axis=(1, 2)) + bias
    np.testing.assert_allclose(evidence, (logits[:, 1] - logits[:, 0]).numpy(), rtol=1e-5)


@pytest.mark.parametrize("layer", ["encoder_3", "decoder_1", "decoder_4"])
def test_grad_cam_equals_its_definition_by_autograd(layer: str) -> None:
    network, batch = msht(), images(2, 64)
    kept: list[torch.Tensor] = []
    module = network.get_submodule(explanation_layers(network)[layer])
    handle = module.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    logits = network(batch)
    handle.remove()
    gradient = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), kept[0])[0]
    activation = kept[0]
    if activation.ndim == 3:
        activation, gradient = (tensor[:, 1:].transpose(1, 2).unflatten(2, (2, 2)) for tensor in (activation, gradient))
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1).detach()
    # Sums over channels that cancel round by what they are summed of, which differs between processors.
    rounding = 1e-5 * float(expected.abs().max())
    found = raw_class_activation_map(network, batch, layer=layer)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=rounding)


def test_maps_are_those_of_the_library_before_its_stretching() -> None:
    network, batch = PooledConvolution(), images(4)
    with GradCAM(network, [network.features]) as library:
        stretched = library(batch, [ClassEvidence(1)] * 4)
    raw = np.maximum(raw_class_activation_map(network, batch), 0)
    for ours, theirs in zip(raw, stretched, strict=True):
        resized = functional.interpolate(torch.from_numpy(ours)[None, None], size=32, mode="bilinear")[0, 0].numpy()
        assert np.corrcoef(resized.ravel(), theirs.ravel())[0, 1] > 0.999


def test_more_evidence_gives_a_higher_map_and_none_gives_zero() -> None:
    network, batch = PooledConvolution(), images(2)
    once = class_activation_map(network, batch)
    with torch.no_grad():
        network.head.weight.mul_(3)
    np.testing.assert_allclose(class_activation_map(network, batch), 3 * once, rtol=1e-4)
    with torch.no_grad():
        network.head.weight.zero_()
    assert (class_activation_map(network, batch) == 0).all()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_maps_are_not_negative_and_have_the_images_size(method: str) -> None:
    network, batch = msht(), images(2, 64)
    for layer in ("encoder_1", "decoder_2") if method in COSTLY else explanation_layers(network):
        maps = class_activation_map(network, batch, layer=layer, method=method)
        assert maps.shape == (2, 64, 64)
        assert maps.dtype == np.float32
        assert np.isfinite(maps).all()
        assert maps.min() >= 0


def test_the_classes_mirror_each_other() -> None:
    network, batch = msht(), images(2, 64)
    positive = raw_class_activation_map(network, batch, class_index=1)
    np.testing.assert_allclose(raw_class_activation_map(network, batch, class_index=0), -positive, atol=1e-7)


def test_a_batch_gives_what_single_images_give() -> None:
    network, batch = msht(), images(3, 64)
    together = class_activation_map(network, batch)
    alone = np.concatenate([class_activation_map(network, image[None]) for image in batch])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-7)


def test_the_last_layer_norm_before_the_last_ffn_has_no_gradient_at_the_patches() -> None:
    """Only the class token is read after it, and an FFN mixes no tokens: a map taken there would be empty."""
    network, batch = msht(), images(2, 64)
    kept: list[torch.Tensor] = []
    for name in ("norm1", "norm3"):
        getattr(network.decoders[-1], name).register_forward_hook(lambda _m, _i, output: kept.append(output))
    logits = network(batch)
    gradients = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), kept)
    after_mhsa, before_last_ffn = gradients
    assert (before_last_ffn[:, 1:] == 0).all()
    assert (before_last_ffn[:, 0] != 0).any()
    assert (after_mhsa[:, 1:] != 0).any()


def test_explaining_leaves_no_trace() -> None:
    network, batch = msht(), images(1, 64)
    network.train()
    network.decoders[0].eval()
    network.head.weight.requires_grad_(False)
    gradient = torch.ones_like(network.norm.weight)
    network.norm.weight.grad = gradient
    before = {name: value.clone() for name, value in network.state_dict().items()}
    class_activation_map(network, batch)
    with pytest.raises(RuntimeError):
        class_activation_map(network, torch.rand(1, 4, 64, 64))  # a failure must clean up, too
    assert network.training
    assert not network.decoders[0].training
    assert not network.head.weight.requires_grad
    assert network.norm.weight.requires_grad
    assert network.norm.weight.grad is gradient
    assert all(p.grad is None for p in network.parameters() if p is not network.norm.weight)
    assert not any(module._forward_hooks for module in network.modules())
    assert not batch.requires_grad
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_no_activation_outlives_its_map() -> None:
    network, batch = PooledConvolution(), images(1)
    outputs: list[weakref.ref] = []
    network.features.register_forward_hook(lambda _m, _i, output: outputs.append(weakref.ref(output)))
    for _ in range(3):
        class_activation_map(network, batch)
    gc.collect()
    assert len(outputs) == 3
    assert all(output() is None for output in outputs)


def test_maps_can_be_made_in_inference_mode() -> None:
    network, batch = PooledConvolution(), images(1)
    expected = class_activation_map(network, batch)
    with torch.inference_mode():
        np.testing.assert_array_equal(class_activation_map(network, batch.clone()), expected)


@pytest.mark.slow
def test_a_compiled_network_is_explained_by_the_module_inside() -> None:
    network, batch = PooledConvolution(), images(1)
    expected = class_activation_map(network, batch)
    np.testing.assert_array_equal(class_activation_map(torch.compile(network), batch), expected)


def test_tokens_fold_row_by_row_without_the_class_token() -> None:
    maps = torch.arange(2 * 5 * 3 * 4, dtype=torch.float32).view(2, 5, 3, 4)
    tokens = torch.cat([torch.full((2, 1, 5), -1.0), maps.flatten(2).transpose(1, 2)], dim=1)
    assert torch.equal(fold_tokens(tokens, 1, (96, 128)), maps)
    with pytest.raises(ValueError, match="13 tokens"):
        fold_tokens(tokens, 0, (96, 128))


def test_channels_last_features_are_explained() -> None:
    settings = {"embed_dim": 16, "depths": (1, 1), "num_heads": (2, 2), "window_size": 4}
    network = timm.create_model("swin_tiny_patch4_window7_224", num_classes=2, img_size=32, **settings).eval()
    assert raw_class_activation_map(network, images(2)).shape == (2, 4, 4)


def test_unknown_names_are_refused_with_the_choice() -> None:
    with pytest.raises(InvalidInput, match=r"no layer 'decoder_9'.*encoder_1"):
        class_activation_map(msht(), images(1, 64), layer="decoder_9")
    with pytest.raises(InvalidInput, match=r"no explanation method 'magic'.*hirescam"):
        class_activation_map(msht(), images(1, 64), method="magic")
