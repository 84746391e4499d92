"""A bundle of two tiny networks, and its exports, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from msht.bundle import Bundle, read_bundle, write_bundle
from msht.calibration.novelty import FeatureReference
from msht.decision import Decision, Point
from msht.ensemble import FoldModel
from msht.images.preprocessing import Preprocessing
from msht.images.quality import QualityGate
from msht.network.factory import create_network
from msht.runtimes.description import ExportDescription, Verification

Describe = Callable[..., ExportDescription]
SQUARE = Preprocessing(size=32, mean=(0.7, 0.6, 0.7), std=(0.2, 0.3, 0.2))


@pytest.fixture(scope="session")
def decision() -> Decision:
    point = Point(threshold=0.5, rule="r", data="d", guarantee="g")
    return Decision(
        case_slope=1.0,
        case_intercept=0.0,
        case_point=point,
        field_point=point,
        conformal_quantile=0.9,
        conformal_error=0.1,
        conformal_cases=20,
        minimum_fields=1,
        quality=QualityGate(),
    )


@pytest.fixture(scope="session")
def describe() -> Describe:
    """What a bundle says about an export, with one figure or another changed."""

    def make(backend: str, rate: float = 2.0, **changes: object) -> ExportDescription:
        figures = Verification(
            images=4,
            cases=2,
            data="views",
            largest_change=1e-6,
            largest_change_fold=1e-6,
            flipped_fields=0,
            flipped_cases=0,
            tolerance=1e-3,
            images_per_second=rate,
            images_per_second_torch=1.0,
            processor="any",
        )
        data = {"backend": backend, "precision": "float32", "created": "now", "versions": {}, "verification": figures}
        return ExportDescription.model_validate({**data, **changes})

    return make


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory, decision: Decision) -> Bundle:
    """A bundle without exports; tests must not change it."""
    folds = []
    for number in (1, 2):
        torch.manual_seed(number)
        network = create_network("test_resnet", num_classes=2, img_size=32).eval()
        features = np.random.default_rng(number).random((12, network.num_features))
        reference = FeatureReference.fit(features, np.arange(12).astype(str))
        folds.append(FoldModel(number, network, 0.5 * number, reference))
    fields = {
        "name": "tiny",
        "created": "2026-01-01T00:00:00+00:00",
        "software": "msht 0",
        "architecture": "a tiny network",
        "classes": ("negative", "positive"),
        "preprocessing": SQUARE,
        "decision": decision,
        "cohort": {"name": "Größe", "share": 0.1 + 0.2},
        "performance": [],
        "training": {},
        "limits": ("Research software.",),
    }
    path = tmp_path_factory.mktemp("bundles") / "tiny"
    return write_bundle(path, folds=folds, kept_epochs={1: 1, 2: 1}, fields=fields, recipe_yaml="", data_card="")


@pytest.fixture(scope="session")
def graphs(plain: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of both exports."""
    from msht.runtimes.graph import trace
    from msht.runtimes.onnx import export_onnx
    from msht.runtimes.openvino import export_openvino

    folder = tmp_path_factory.mktemp("graphs")
    for fold in plain.ensemble().folds:
        program = trace(fold.network, SQUARE)
        export_onnx(program, folder / f"fold-{fold.number}.onnx")
        export_openvino(program, folder / f"fold-{fold.number}.xml", size=SQUARE.size)
    return folder


@pytest.fixture
def exported(plain: Bundle, graphs: Path, describe: Describe, tmp_path: Path) -> Bundle:
    """A bundle of one's own with both exports."""
    import shutil

    from msht.runtimes.store import add_export

    bundle = read_bundle(Path(shutil.copytree(plain.path, tmp_path / "bundle")))
    for backend in ("onnx", "openvino"):
        bundle = add_export(bundle, describe(backend), graphs)
    return bundle
