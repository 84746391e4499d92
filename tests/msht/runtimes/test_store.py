"""An export becomes part of the bundle whole or not at all, under the same seal."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from msht.bundle import Bundle, read_bundle
from msht.errors import BrokenBundle, MissingResource
from msht.runtimes import store
from msht.runtimes.choice import choose_backend
from msht.runtimes.description import ExportDescription
from msht.runtimes.store import add_export, exchange

Describe = Callable[..., ExportDescription]

pytestmark = pytest.mark.slow  # the first test of either file waits for the exports


def bytes_of(path: Path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_the_bundle_is_another_and_its_model_the_same(plain: Bundle, exported: Bundle) -> None:
    assert exported.digest != plain.digest
    assert exported.model_digest == plain.model_digest == plain.digest
    before, after = bytes_of(plain.path), bytes_of(exported.path)
    added = {f"exports/{name}" for name in ("onnx/fold-1.onnx", "onnx/fold-2.onnx")}
    added |= {f"exports/openvino/fold-{number}{ending}" for number in (1, 2) for ending in (".xml", ".bin")}
    assert set(after) - set(before) == added
    assert all(after[name] == before[name] for name in before if name not in ("bundle.json", "bundle.sha256"))
    assert [export.backend for export in exported.description.exports] == ["onnx", "openvino"]


def test_nothing_is_left_beside_the_bundle(exported: Bundle) -> None:
    assert [file.name for file in exported.path.parent.iterdir()] == [exported.path.name]


def test_a_second_export_for_a_backend_takes_the_place_of_the_first(
    exported: Bundle, graphs: Path, describe: Describe
) -> None:
    again = add_export(exported, describe("onnx", rate=9.0), graphs)
    assert [export.backend for export in again.description.exports] == ["openvino", "onnx"]
    assert again.description.exports[1].verification.images_per_second == 9.0
    assert again.model_digest == exported.model_digest


@pytest.mark.parametrize("name", ["exports/onnx/fold-2.onnx", "exports/openvino/fold-1.bin"])
def test_a_changed_or_missing_export_is_named(exported: Bundle, name: str) -> None:
    file = exported.path / name
    good = file.read_bytes()
    file.unlink()
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(BrokenBundle, match=name):
        read_bundle(exported.path)
    file.unlink()
    with pytest.raises(BrokenBundle, match=f"lacks {name}"):
        read_bundle(exported.path)


def test_an_export_that_no_digest_vouches_for_is_refused(exported: Bundle) -> None:
    data = json.loads((exported.path / "bundle.json").read_text(encoding="utf-8"))
    del data["files"]["exports/onnx/fold-1.onnx"]
    (exported.path / "bundle.json").write_text(json.dumps(data), encoding="utf-8")
    (exported.path / "bundle.sha256").write_text(store.sha256_of(exported.path / "bundle.json") + "\n")
    with pytest.raises(BrokenBundle, match=r"has no digest of exports/onnx/fold-1\.onnx"):
        read_bundle(exported.path)


@pytest.mark.parametrize("function", ["shutil.copyfile", "msht.runtimes.store.exchange"])
def test_a_full_disk_leaves_the_bundle_byte_for_byte(
    exported: Bundle, graphs: Path, describe: Describe, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = bytes_of(exported.path)
    with monkeypatch.context() as patch:
        patch.setattr(function, fail)
        with pytest.raises(MissingResource, match="No space left on device"):
            add_export(exported, describe("onnx", rate=3.0), graphs)
    assert bytes_of(exported.path) == before
    assert [file.name for file in exported.path.parent.iterdir()] == [exported.path.name]


@pytest.mark.parametrize("system", ["as it is", "without an exchange"])
def test_two_folders_trade_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    if system != "as it is":
        monkeypatch.setattr(store, "_exchange_of_linux", lambda: None)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    exchange(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "one" / "file").read_text() == "two"
    assert (tmp_path / "two" / "file").read_text() == "one"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["one", "two"]


def test_a_trade_that_fails_half_way_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_exchange_of_linux", lambda: None)
    (tmp_path / "two").mkdir()
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "gone", tmp_path / "two")
    assert [file.name for file in tmp_path.iterdir()] == ["two"]


def test_auto_is_pytorch_without_exports_and_on_a_gpu(plain: Bundle, exported: Bundle) -> None:
    assert choose_backend(plain).name == "torch"
    assert "holds no export" in choose_backend(plain).reason
    assert choose_backend(exported, "cuda:0").name == "torch"
    assert "cuda:0" in choose_backend(exported, "cuda:0").reason


def test_auto_is_the_fastest_export_and_says_how_it_was_held_against_pytorch(
    exported: Bundle, graphs: Path, describe: Describe
) -> None:
    faster = add_export(exported, describe("onnx", rate=2.5), graphs)
    choice = choose_backend(faster)
    assert choice.name == "onnx"
    assert "on 4 images" in choice.reason
    assert "0 calls change" in choice.reason
    assert "2.5 times as fast" in choice.reason
    assert faster.ensemble(backend="auto").runtime.backend == "onnx"


def test_auto_passes_over_what_is_not_installed_or_not_faster(
    exported: Bundle, graphs: Path, describe: Describe, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = add_export(add_export(exported, describe("openvino", rate=3.0), graphs), describe("onnx", 0.9), graphs)
    assert choose_backend(bundle).name == "openvino"
    monkeypatch.setattr("msht.runtimes.choice.installed", lambda package: package != "openvino")
    choice = choose_backend(bundle)
    assert choice.name == "torch"
    assert "pip install 'msht[openvino]'" in choice.reason


def test_a_bundle_can_be_copied_with_its_exports(exported: Bundle, tmp_path: Path) -> None:
    moved = shutil.copytree(exported.path, tmp_path / "elsewhere" / "moved")
    assert read_bundle(moved).digest == exported.digest
