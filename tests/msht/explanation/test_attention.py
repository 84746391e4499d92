"""Attention maps: the very weights that the network mixes with, and their laws."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import nn

from msht.errors import InvalidInput
from msht.explanation.attention import (
    attention_distance,
    attention_map,
    attention_weights,
    position_similarity,
    rollout,
)


def network(**settings: object) -> nn.Module:
    torch.manual_seed(0)
    settings = {"class_token": True, "global_pool": "token", "zero_init_residual": False, **settings}
    return timm.create_model("msht_small", num_classes=2, img_size=64, **settings)


def images() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_every_decoder_tells_both_its_attentions_and_rows_sum_to_one() -> None:
    weights = attention_weights(network(), images())
    assert list(weights) == [f"decoders.{index}.{kind}" for index in range(4) for kind in ("mhsa", "mhga")]
    for layer in weights.values():
        assert layer.shape == (2, 4, 5, 5)
        np.testing.assert_allclose(layer.sum(axis=-1), 1.0, rtol=1e-5)


def test_the_recorded_weights_mix_the_values_as_the_network_does() -> None:
    model = network().eval()
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    attention = model.decoders[1].mhsa
    handle = attention.register_forward_hook(lambda _m, inputs, output: kept.append((inputs[0], output)))
    weights = torch.from_numpy(attention_weights(model, images())["decoders.1.mhsa"])
    handle.remove()
    tokens, output = kept[0]
    values = attention.qkv(tokens).chunk(3, dim=2)[2].unflatten(2, (4, -1)).transpose(1, 2)
    torch.testing.assert_close(attention.proj((weights @ values).transpose(1, 2).flatten(2)), output)


def test_recording_leaves_no_trace() -> None:
    model = network()
    attention_weights(model, images())
    assert model.training
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_the_class_tokens_row_is_folded_and_patches_without_one_are_averaged() -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(7), size=(2, 3, 7)).astype(np.float32)
    folded = attention_map(weights, (2, 3), prefix=1)
    np.testing.assert_array_equal(folded[1, 2].ravel(), weights[1, 2, 0, 1:])
    without = attention_map(weights[:, :, 1:, 1:], (2, 3), prefix=0)
    np.testing.assert_allclose(without[0, 0].ravel(), weights[0, 0, 1:, 1:].mean(axis=0))


def test_rollout_of_one_layer_is_its_mean_with_the_residual_and_rows_stay_distributions() -> None:
    layers = list(np.random.default_rng(1).dirichlet(np.ones(5), size=(3, 2, 4, 5)).astype(np.float32))
    np.testing.assert_allclose(rollout(layers[:1]), 0.5 * layers[0].mean(axis=1) + 0.5 * np.eye(5), rtol=1e-5)
    np.testing.assert_allclose(rollout(layers).sum(axis=-1), 1.0, rtol=1e-5)
    identity = np.broadcast_to(np.eye(5, dtype=np.float32), (2, 4, 5, 5))
    np.testing.assert_allclose(rollout([layers[0], identity]), rollout(layers[:1]), rtol=1e-5)


def test_distance_is_zero_for_self_attention_of_each_patch_and_known_for_even_attention() -> None:
    own = np.broadcast_to(np.eye(4, dtype=np.float32), (1, 2, 4, 4))
    np.testing.assert_allclose(attention_distance(own, (2, 2), 0), 0.0)
    even = np.full((1, 2, 4, 4), 0.25, np.float32)
    np.testing.assert_allclose(attention_distance(even, (2, 2), 0, pitch=32), 32 * (2 + np.sqrt(2)) / 4, rtol=1e-6)


def test_positions_are_most_like_themselves() -> None:
    model = network()
    similarity = position_similarity(model.pos_embed, model.grid_size, 1)
    assert similarity.shape == (2, 2, 2, 2)
    np.testing.assert_allclose([similarity[i, j, i, j] for i in range(2) for j in range(2)], 1.0, rtol=1e-5)
    assert np.abs(similarity).max() <= 1 + 1e-5


def test_a_network_without_attention_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no attention module"):
        attention_weights(nn.Conv2d(3, 1, 1), images())
