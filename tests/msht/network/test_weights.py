"""Checkpoints of the published code: which variant they are, what is loaded, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import msht  # noqa: F401  registers the networks
from msht.errors import InvalidInput
from msht.network.published import to_published
from msht.network.weights import load_published, read_published, save_published

PAPER = {"num_classes": 2, "img_size": 64, "embed_dim": 96}
"""The published backbone and names, narrower tokens at a small edge: the variant shows all the same."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    """Checkpoints as the published code writes them, with the network that each came from."""
    folder = tmp_path_factory.mktemp("published")
    variants = {
        "proposed": {},
        "cbam": {"attention": "cbam", "stages": (1, 2, 3)},
        "no class token": {"class_token": False},
        "direct stack": {"stages": (4,), "focus": False, "depth": 2, "num_heads": 12, "attention": "none"},
    }
    written = {}
    for name, settings in variants.items():
        model = timm.create_model("msht_resnet50", **PAPER, **settings).eval()
        path = folder / f"{name}.pth"
        save_published(model, path)
        written[name] = (path, model)
    return written


def answers_alike(one: Any, other: Any) -> bool:
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        return torch.allclose(one(images), other(images), atol=1e-6)


@pytest.mark.parametrize("variant", ["proposed", "cbam", "no class token", "direct stack"])
def test_variant_is_read_off_names_and_shapes(published: dict[str, tuple[Path, Any]], variant: str) -> None:
    path, original = published[variant]
    model, report = read_published(path)
    assert not model.training
    assert model.img_size == (64, 64)
    assert answers_alike(model, original)
    assert report.resampled == report.drawn == ()
    assert report.left_out == (("cls_token_0",) if variant == "no class token" else ())


def test_report_makes_the_same_network_again(published: dict[str, tuple[Path, Any]]) -> None:
    model, report = read_published(published["cbam"][0])
    again = timm.create_model("msht_resnet50", **report.settings)
    assert {name: value.shape for name, value in again.state_dict().items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }


def test_prefix_of_data_parallel_and_wrapping_are_dropped(
    published: dict[str, tuple[Path, Any]], tmp_path: Path
) -> None:
    path, original = published["proposed"]
    state = {f"module.{name}": value for name, value in torch.load(path, weights_only=True).items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "wrapped.pth")
    assert answers_alike(load_published(tmp_path / "wrapped.pth"), original)


def test_other_size_and_classes_on_request(published: dict[str, tuple[Path, Any]]) -> None:
    model, report = read_published(published["proposed"][0], img_size=96, num_classes=4)
    assert model(torch.rand(1, 3, 96, 96)).shape == (1, 4)
    assert report.resampled == ("pos_embed_0",)
    assert report.drawn == ("head.weight", "head.bias")
    assert set(report.left_out) == {"head.weight", "head.bias"}
    assert "resampled: pos_embed_0" in str(report)


def test_no_attention_is_told_apart_only_by_the_caller(published: dict[str, tuple[Path, Any]]) -> None:
    path, original = published["proposed"]
    _, report = read_published(path)
    assert report.settings["attention"] == "simam"
    assert "SimAM assumed" in str(report)
    plain = load_published(path, attention="none")
    assert not answers_alike(plain, original)


def test_attention_that_contradicts_the_file_is_refused(published: dict[str, tuple[Path, Any]]) -> None:
    with pytest.raises(InvalidInput, match="trained with the attention module 'cbam', not 'se'"):
        load_published(published["cbam"][0], attention="se")


def test_export_gives_back_what_was_read(published: dict[str, tuple[Path, Any]], tmp_path: Path) -> None:
    path, _ = published["no class token"]
    model = load_published(path)
    save_published(model, tmp_path / "again.safetensors")
    again = load_published(tmp_path / "again.safetensors")
    written = torch.load(path, weights_only=True)
    exported = to_published(again)
    assert set(exported) == set(written)
    assert all(torch.equal(exported[name], written[name]) for name in written)


class Malice:
    """Unpickling this would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_pickle_with_code_is_refused_without_running_it(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"weight": Malice(trace)}, tmp_path / "zip.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Malice(trace)))
    for name in ("zip.pth", "raw.pth"):
        with pytest.raises(InvalidInput, match="could run code"):
            load_published(tmp_path / name)
    assert not trace.exists()


def test_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pth")
    with pytest.raises(InvalidInput, match="state_dict"):
        load_published(tmp_path / "whole.pth")


def test_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(InvalidInput, match="not a checkpoint of the published MSHT"):
        load_published(tmp_path / "resnet.pth")


def test_incomplete_checkpoint_is_refused(published: dict[str, tuple[Path, Any]], tmp_path: Path) -> None:
    state = torch.load(published["proposed"][0], weights_only=True)
    del state["dec2.FFN1.fc1.weight"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(InvalidInput, match=r"dec2\.FFN1\.fc1\.weight is missing"):
        load_published(tmp_path / "short.pth")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken"])
def test_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.pth"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"damaged\.pth"):
        load_published(path)
    with pytest.raises(InvalidInput, match="no checkpoint"):
        load_published(tmp_path / "absent.pth")
