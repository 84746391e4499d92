"""Networks by name: what is made, where weights come from, and what is refused."""

from __future__ import annotations

import urllib.error
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from msht.errors import InvalidInput, MissingResource
from msht.network import factory
from msht.network.factory import create_network

SMALL = {"num_classes": 2, "img_size": 64}


@pytest.mark.parametrize("name", ["msht_small", "resnet10t", "vit_tiny_patch16_224"])
def test_any_network_by_name_and_size(name: str) -> None:
    model = create_network(name, **SMALL, in_chans=1)
    assert model.training
    assert model(torch.rand(2, 1, 64, 64)).shape == (2, 2)


def test_weights_from_a_file_with_another_head_and_size(tmp_path: Path) -> None:
    source = timm.create_model("msht_small", num_classes=5, img_size=96)
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    model = create_network("msht_small", **SMALL, pretrained=tmp_path / "weights.safetensors")
    assert torch.equal(model.decoders[0].mhsa.qkv.weight, source.decoders[0].mhsa.qkv.weight)
    assert model.head.out_features == 2
    assert model.pos_embed.shape == (1, 4, 128)


def test_unknown_network_names_the_nearest() -> None:
    with pytest.raises(InvalidInput, match=r"no network 'msht_smal'.*msht_small"):
        create_network("msht_smal", **SMALL)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(timm.create_model("resnet10t").state_dict(), tmp_path / "resnet.safetensors")
    with pytest.raises(InvalidInput, match="not a checkpoint of 'msht_small'"):
        create_network("msht_small", **SMALL, pretrained=tmp_path / "resnet.safetensors")


def test_unreachable_hub_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_route(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(factory.urllib.request, "urlopen", no_route)
    monkeypatch.setattr(factory, "_cached", lambda _: False)
    with pytest.raises(MissingResource, match=r"cannot be reached.*--pretrained.*--no-pretrained"):
        create_network("resnet18", **SMALL, pretrained=True)
    with pytest.raises(MissingResource, match="no pretrained weights of 'msht_small'"):
        create_network("msht_small", **SMALL, pretrained=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"backbone": "resnet5"}, "no network 'resnet5'"),
        ({"backbone": "vit_tiny_patch16_224"}, "no feature maps at the reductions"),
        ({"backbone": "resnet18", "stages": (1, 9)}, "no feature maps at the reductions 4, 1024"),
        ({"backbone": "swin_tiny_patch4_window7_224"}, "no feature maps"),
        ({"attention": "simm"}, "'simm' is not one of.*simam"),
        ({"global_pool": "mean"}, "pooling 'mean'"),
        ({"num_heads": 5}, "does not divide into 5 heads"),
        ({"stages": (2, 1)}, "not ascending"),
        ({"img_size": 100}, "100 x 100 pixels does not divide"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(settings: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        create_network("msht_small", **{**SMALL, **settings})  # type: ignore[arg-type]
