"""What timm asks of any of its models, asked of every form of ours."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.models import group_parameters
from timm.models._hub import save_for_hf

import msht  # noqa: F401  registers the networks
from msht.errors import InvalidInput
from msht.network.explain import explanation_layers
from msht.network.hybrid import MSHT

NARROW = {
    "backbone_args": {"layers": (1, 1, 1, 1), "channels": (8, 16, 16, 32)},
    "embed_dim": 32,
    "num_heads": 4,
}
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "small": ("msht_small", {"img_size": 64}),
    "paper, narrow": ("msht_resnet50", {"img_size": 64, **NARROW}),
    "three stages, squeeze-excitation": (
        "msht_resnet50",
        {"img_size": 64, "stages": (1, 2, 3), "attention": "se", **NARROW},
    ),
    "neither token nor positions, CBAM": (
        "msht_resnet50",
        {"img_size": 64, "class_token": False, "position_embedding": False, "attention": "cbam", **NARROW},
    ),
    "direct stack": (
        "msht_resnet50",
        {"img_size": 64, "stages": (4,), "focus": False, "depth": 2, "attention": "none", **NARROW},
    ),
}
BACKBONES = ("resnet18", "convnext_atto", "efficientnet_b0", "mobilenetv3_small_050", "vgg11", "regnetx_002")


@pytest.fixture(params=FORMS, scope="module")
def form(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    name, settings = FORMS[request.param]
    return name, {"num_classes": 3, **settings}


@pytest.fixture
def model(form: tuple[str, dict[str, Any]]) -> MSHT:
    torch.manual_seed(0)
    made = timm.create_model(form[0], **form[1])
    for parameter in made.parameters():  # away from zero branches, so that every path counts
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.05)
    return made.eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_head_of_features_is_the_whole_network(model: MSHT, images: torch.Tensor) -> None:
    with torch.no_grad():
        tokens = model.forward_features(images)
        assert tokens.shape[0::2] == (2, model.num_features)
        assert tokens.shape[1] == model.grid_size[0] * model.grid_size[1] + model.num_prefix_tokens
        assert model.forward_head(tokens, pre_logits=True).shape == (2, model.num_features)
        assert torch.equal(model.forward_head(tokens), model(images))


def test_every_parameter_learns(model: MSHT, images: torch.Tensor) -> None:
    model.train()(images).square().sum().backward()
    without = [name for name, value in model.named_parameters() if value.grad is None]
    assert without == []


@pytest.mark.parametrize("pool", ["token", "avg", "max", ""])
def test_head_can_be_replaced(model: MSHT, images: torch.Tensor, pool: str) -> None:
    model.reset_classifier(0, pool)
    with torch.no_grad():
        pooled = model(images)
        assert pooled.shape == ((2, model.num_features) if pool else model.forward_features(images).shape)
        assert torch.equal(pooled, model.forward_head(model.forward_features(images), pre_logits=True))
        model.reset_classifier(5)
        assert model.get_classifier().out_features == 5
        assert model(images).shape[-1] == 5


def test_configuration_names_existing_layers(model: MSHT) -> None:
    names = set(model.state_dict())
    assert f"{model.pretrained_cfg['classifier']}.weight" in names
    assert f"{model.pretrained_cfg['first_conv']}.weight" in names
    assert model.no_weight_decay() <= names | {"cls_token", "pos_embed"}


def test_intermediates_are_what_feature_info_says(model: MSHT, images: torch.Tensor) -> None:
    with torch.no_grad():
        tokens, maps = model.forward_intermediates(images)
        last = model.forward_intermediates(images, indices=1, norm=True, intermediates_only=True)
    assert torch.equal(tokens, model.forward_features(images))
    for found, info in zip(maps, model.feature_info, strict=True):
        edge = 64 // info["reduction"]
        assert found.shape == (2, info["num_chs"], edge, edge)
    expected = tokens[:, model.num_prefix_tokens :].transpose(1, 2).reshape(last[0].shape)
    assert torch.equal(last[0], expected)


def test_features_only_prunes_what_is_not_needed(form: tuple[str, dict[str, Any]], images: torch.Tensor) -> None:
    name, settings = form
    settings = {key: value for key, value in settings.items() if key != "num_classes"}
    features = timm.create_model(name, features_only=True, out_indices=(0, 1), **settings).eval()
    with torch.no_grad():
        maps = features(images)
    assert [tuple(found.shape[1:2]) for found in maps] == [(count,) for count in features.feature_info.channels()]


def test_layer_groups_are_ordered_from_stem_to_head(model: MSHT) -> None:
    for coarse in (False, True):
        groups = group_parameters(model, model.group_matcher(coarse), reverse=True)
        assert set(groups) == {name for name, _ in model.named_parameters()}
        stem = max(number for name, number in groups.items() if name.startswith("backbone.conv1"))
        stages = [number for name, number in groups.items() if name.startswith("backbone.layer")]
        blocks = [groups[f"decoders.{index}.norm0.weight"] for index in range(len(model.decoders))]
        assert stem < min(stages) <= max(stages) < blocks[0]
        assert blocks == sorted(set(blocks))
        assert groups["head.weight"] == max(groups.values()) > blocks[-1]


def test_checkpointing_changes_memory_and_nothing_else(model: MSHT, images: torch.Tensor) -> None:
    gradients = []
    for enable in (False, True):
        twin = copy.deepcopy(model).train()
        twin.set_grad_checkpointing(enable)
        twin(images).square().sum().backward()
        gradients.append([value.grad for value in twin.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain, rtol=1e-4, atol=1e-6)


def test_memory_format_changes_nothing(model: MSHT, images: torch.Tensor) -> None:
    with torch.no_grad():
        expected = model(images)
        twin = copy.deepcopy(model).to(memory_format=torch.channels_last)
        found = twin(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_stays_near(model: MSHT, images: torch.Tensor) -> None:
    with torch.no_grad():
        expected = model(images).softmax(dim=1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model(images).float().softmax(dim=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)


def test_other_sizes_when_told(form: tuple[str, dict[str, Any]], images: torch.Tensor) -> None:
    name, settings = form
    model = timm.create_model(name, **settings).eval()
    larger = torch.nn.functional.interpolate(images, size=(96, 128))
    with torch.no_grad():
        with pytest.raises(InvalidInput, match="96 x 128"):
            model(larger)
        twin = timm.create_model(name, **settings, dynamic_img_size=True).eval()
        twin.load_state_dict(model.state_dict())
        dynamic = twin(larger)
        model.set_input_size((96, 128))
        torch.testing.assert_close(model(larger), dynamic, rtol=1e-4, atol=1e-5)
        with pytest.raises(InvalidInput, match="does not divide"):
            model.set_input_size(100)


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_other_channels(form: tuple[str, dict[str, Any]], channels: int) -> None:
    model = timm.create_model(form[0], **form[1], in_chans=channels).eval()
    with torch.no_grad():
        assert model(torch.rand(1, channels, 64, 64)).shape == (1, 3)


def test_attention_maps_are_those_of_the_fused_kernel(model: MSHT) -> None:
    block = model.decoders[0]
    tokens = torch.rand(2, 5, model.embed_dim)
    with torch.no_grad():
        weights = block.mhsa.attention_map(tokens)
        values = block.mhsa._heads(block.mhsa.qkv(tokens).chunk(3, dim=2)[2])
        explicit = block.mhsa.proj((weights @ values).transpose(1, 2).flatten(2))
        torch.testing.assert_close(explicit, block.mhsa(tokens), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, block.mhsa.num_heads, 5))


def test_every_explanation_layer_gets_a_gradient(model: MSHT, images: torch.Tensor) -> None:
    layers = explanation_layers(model)
    assert model.default_explanation_layer in layers
    seen: dict[str, torch.Tensor] = {}
    for name, path in layers.items():
        model.get_submodule(path).register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.__setitem__(name, output)
        )
    logits = model(images)
    for name in layers:
        (gradient,) = torch.autograd.grad(logits[:, 1].sum(), seen[name], retain_graph=True)
        spatial = gradient[:, model.num_prefix_tokens :] if gradient.ndim == 3 else gradient
        assert float(spatial.abs().max()) > 0, name


def test_last_norm_of_the_last_decoder_cannot_explain_a_class_token() -> None:
    """Behind the last attention, patch tokens no longer reach the class token."""
    model = timm.create_model("msht_resnet50", **FORMS["paper, narrow"][1], num_classes=2).eval()
    seen = {}
    model.decoders[-1].norm3.register_forward_hook(lambda _m, _i, output: seen.__setitem__("norm3", output))
    (gradient,) = torch.autograd.grad(model(torch.rand(1, 3, 64, 64))[0, 1], seen["norm3"])
    assert torch.count_nonzero(gradient[:, 1:]) == 0


@pytest.mark.parametrize("backbone", BACKBONES)
def test_any_pyramid_of_timm_is_a_backbone(backbone: str) -> None:
    model = timm.create_model("msht_resnet50", backbone=backbone, img_size=64, num_classes=2, embed_dim=32, num_heads=4)
    model.train()(torch.rand(2, 3, 64, 64)).sum().backward()
    assert [info["reduction"] for info in model.feature_info[:4]] == [4, 8, 16, 32]
    for path in explanation_layers(model).values():
        model.get_submodule(path)


def test_local_folder_loads_through_timm(
    form: tuple[str, dict[str, Any]], model: MSHT, images: torch.Tensor, tmp_path: Any
) -> None:
    settings = {key: value for key, value in form[1].items() if key != "num_classes"}
    save_for_hf(model, tmp_path, model_args=settings, safe_serialization=True)
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))


def test_traces_without_graph_breaks(model: MSHT, images: torch.Tensor) -> None:
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), model(images), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_exports_for_any_batch(model: MSHT, images: torch.Tensor) -> None:
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},))
    more = torch.cat((images, images[:1]))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(more), model(more), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_onnx_runtime_agrees(model: MSHT, images: torch.Tensor, tmp_path: Any) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "model.onnx"
    torch.onnx.export(model, (images,), path, dynamo=True, external_data=False, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, model(images).numpy(), rtol=1e-3, atol=1e-4)
