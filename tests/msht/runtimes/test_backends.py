"""An export answers as the networks do, and what cannot run is said in a sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from msht.bundle import Bundle
from msht.ensemble import Ensemble
from msht.errors import BrokenBundle, InvalidInput, MissingResource
from msht.runtimes.graph import pieces
from msht.runtimes.protocol import BackendName
from msht.runtimes.store import find_export, open_runtime

pytestmark = pytest.mark.slow  # the first test of either file waits for the exports
BACKENDS: tuple[BackendName, ...] = ("onnx", "openvino")


def views(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def eager(bundle: Bundle) -> Ensemble:
    loaded = bundle.ensemble()
    return Ensemble(loaded.folds, loaded.preprocessing)


@pytest.mark.parametrize("backend", ["torch", *BACKENDS])
@pytest.mark.parametrize("count", [1, 3, 70])
def test_every_backend_answers_as_the_networks_do(exported: Bundle, backend: BackendName, count: int) -> None:
    expected = eager(exported).score(views(count))
    found = exported.ensemble(backend=backend, threads=2).score(views(count))
    for name in ("fold_logits", "fold_probabilities", "probability", "logit", "spread", "novelty"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-5), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_batches_go_through_in_pieces_and_come_back_in_order(
    exported: Bundle, backend: BackendName, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = exported.ensemble(backend=backend, threads=2).score(views(7))
    for module in ("onnx", "openvino"):
        monkeypatch.setattr(f"msht.runtimes.{module}.pieces", lambda *_, **__: 2)
    parted = exported.ensemble(backend=backend, threads=2).score(views(7))
    assert parted.fold_logits == pytest.approx(whole.fold_logits, abs=1e-6)
    assert len(np.unique(parted.fold_logits)) == parted.fold_logits.size


@pytest.mark.parametrize("backend", BACKENDS)
def test_folds_and_orientations_are_chosen_above_the_backend(exported: Bundle, backend: BackendName) -> None:
    expected = exported.ensemble(folds=[2]).score(views(3), test_time="dihedral")
    found = exported.ensemble(backend=backend, folds=[2]).score(views(3), test_time="dihedral")
    assert found.fold_logits.shape == (1, 3)
    assert found.fold_logits == pytest.approx(expected.fold_logits, abs=1e-5)
    assert found.novelty == pytest.approx(expected.novelty, abs=1e-5)


@pytest.mark.parametrize("backend", ["torch", *BACKENDS])
def test_callers_in_several_threads_each_get_their_own_answers(exported: Bundle, backend: BackendName) -> None:
    from concurrent.futures import ThreadPoolExecutor

    given = [views(3, seed) for seed in range(12)]
    expected = [eager(exported).score(batch).logit for batch in given]
    ensemble = exported.ensemble(backend=backend)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: ensemble.score(batch).logit, given))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_pieces_keep_the_maps_between_layers_small() -> None:
    assert [pieces(32, size) for size in (32, 128, 384, 1000)] == [32, 32, 4, 1]
    assert [pieces(count, 128, ways=2) for count in (1, 2, 7, 32, 500)] == [1, 1, 4, 16, 18]
    assert pieces(32, 384, ways=2) == 2


def test_a_network_that_runs_elsewhere_says_so(exported: Bundle) -> None:
    network = exported.ensemble(backend="onnx").folds[0].network
    with pytest.raises(RuntimeError, match="backend='torch'"):
        network(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_export_that_is_not_there_names_the_command_that_makes_it(plain: Bundle, backend: BackendName) -> None:
    with pytest.raises(InvalidInput, match=rf"holds no {backend} export.*msht export .* --to {backend}"):
        plain.ensemble(backend=backend)


def test_exports_are_refused_on_anything_but_a_processor(exported: Bundle) -> None:
    with pytest.raises(InvalidInput, match="--device cpu, or --backend torch"):
        exported.ensemble("meta", backend="openvino")


@pytest.mark.parametrize(
    ("backend", "package", "extra"), [("onnx", "onnxruntime", "onnx"), ("openvino", "openvino", "openvino")]
)
def test_a_missing_runtime_names_what_installs_it(
    exported: Bundle, backend: BackendName, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingResource, match=rf"{package} is not installed.*pip install 'msht\[{extra}\]'"):
        exported.ensemble(backend=backend)


@pytest.mark.parametrize(("backend", "suffix"), [("onnx", ".onnx"), ("openvino", ".xml")])
def test_a_graph_that_cannot_be_read_is_a_sentence(
    exported: Bundle, backend: BackendName, suffix: str, tmp_path: Path
) -> None:
    broken = tmp_path / f"broken{suffix}"
    broken.write_bytes(b"not a graph")
    with pytest.raises(BrokenBundle, match="Export the bundle again") as caught:
        open_runtime(find_export(exported, backend), [broken], 32, 1)
    assert "\n" not in str(caught.value)


def test_nothing_of_openvino_can_telephone() -> None:
    """In a process of its own: no telemetry package, no attempt at a connection, no file in the home folder."""
    code = """
import os, socket, sys, tempfile
home = tempfile.mkdtemp(); os.environ["HOME"] = home
os.environ.pop("CI", None)
attempts = []
def refuse(self, address, *rest):
    attempts.append(address); raise OSError("no network")
socket.socket.connect = refuse
socket.getaddrinfo = lambda *a, **k: attempts.append(a) or (_ for _ in ()).throw(OSError("no network"))
import torch
from msht.runtimes.quiet import import_nncf, import_openvino
openvino, nncf = import_openvino(), import_nncf()
program = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
model = openvino.convert_model(program)
import numpy
nncf.quantize(model, nncf.Dataset([numpy.zeros((1, 2), numpy.float32)]))
from openvino.tools.ovc import convert_impl
print(sys.modules.get("openvino_telemetry"), convert_impl.tm.__name__, attempts, os.listdir(home))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.splitlines()[-1] == "None openvino.tools.ovc.telemetry_stub [] []"


def test_telemetry_that_was_loaded_before_has_no_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import ModuleType, SimpleNamespace

    from msht.runtimes.quiet import TELEMETRY, shut_telemetry

    sent: list[object] = []
    sender = SimpleNamespace(send=sent.append)
    package, utils, module = ModuleType(TELEMETRY), ModuleType(f"{TELEMETRY}.utils"), ModuleType("sender")
    module.TelemetrySender = sender  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, TELEMETRY, package)
    monkeypatch.setitem(sys.modules, f"{TELEMETRY}.utils", utils)
    monkeypatch.setitem(sys.modules, f"{TELEMETRY}.utils.sender", module)
    shut_telemetry()
    sender.send("a message")
    assert sent == []
