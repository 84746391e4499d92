"""An export is kept when it answers as PyTorch does on images that its networks did not train on, and else refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from msht.bundle import Bundle, read_bundle, write_bundle
from msht.calibration.novelty import FeatureReference
from msht.ensemble import FoldModel
from msht.errors import InvalidInput
from msht.images.preprocessing import Preprocessing
from msht.network.factory import create_network
from pipelines.export import Target, export_bundle, export_with
from pipelines.export_images import Pictures, from_run, from_source
from pipelines.run_folder import RunFolder


def bytes_of(path: Path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 256, (36, 48, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), cv2.GaussianBlur(pixels, (0, 0), 1 + number))
    return folder


def tiny_bundle(world, path: Path, temperature: float) -> Bundle:
    """A bundle of one tiny network; a low temperature makes its calls hang on the last digits of a logit."""
    torch.manual_seed(1)
    network = create_network("test_resnet", num_classes=2, img_size=32).eval()
    features = np.random.default_rng(1).random((12, network.num_features))
    reference = FeatureReference.fit(features, np.arange(12).astype(str))
    folds = [FoldModel(1, network, temperature, reference)]
    known = read_bundle(world.bundle).description.model_dump(exclude={"folds", "files", "exports", "format"})
    known["preprocessing"] = Preprocessing(size=32)
    return write_bundle(path, folds=folds, kept_epochs={1: 1}, fields=known, recipe_yaml="", data_card="")


def pictures(folder: Path) -> Pictures:
    files = sorted(folder.iterdir())
    held_out = np.arange(len(files)) % 2 + 1
    calibrate = {n: [f for f, h in zip(files, held_out, strict=True) if h != n] for n in (1, 2)}
    return Pictures(files, held_out, np.array([file.stem for file in files]), calibrate, "noise")


@pytest.mark.slow
def test_int8_that_changes_an_answer_is_refused_with_the_figures_and_the_bundle_is_untouched(
    world, photographs: Path, tmp_path: Path
) -> None:
    bundle = tiny_bundle(world, tmp_path / "bundle", temperature=1e-4)
    before = bytes_of(bundle.path)
    with pytest.raises(
        InvalidInput, match=r"int8 export to openvino answers differently.*over 8 images.*0\.01 allowed"
    ):
        export_with(bundle, "openvino", "int8", pictures(photographs))
    assert bytes_of(bundle.path) == before
    assert [file.name for file in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_int8_that_keeps_every_answer_is_kept_and_smaller(world, photographs: Path, tmp_path: Path, to: Target) -> None:
    bundle = tiny_bundle(world, tmp_path / "bundle", temperature=50.0)
    made = export_with(bundle, to, "int8", pictures(photographs))
    export = made.description.exports[0]
    assert (export.backend, export.precision) == (to, "int8")
    assert "nncf" in export.versions
    assert "4 to 4 training images" in export.calibration
    assert 0 < export.verification.largest_change_fold <= 0.01
    assert export.verification.flipped_fields == export.verification.flipped_cases == 0
    size = sum((made.path / name).stat().st_size for name in export.files_of(1))
    assert size < (made.path / "fold-1" / "model.safetensors").stat().st_size
    assert made.ensemble(backend=to).runtime.backend == to


@pytest.mark.slow
def test_a_run_verifies_each_network_by_the_images_it_did_not_see_and_auto_then_scores_with_it(copied) -> None:
    from pipelines import tracking
    from pipelines.score_fields import ScoreSettings
    from pipelines.tracking_reports import run_of_bundle

    made = export_bundle(copied.bundle, "openvino", run=copied.run)
    found = made.description.exports[0].verification
    assert "did not train on" in found.data
    assert found.images == len(RunFolder(copied.run).split().development)
    assert max(found.largest_change, found.largest_change_fold) < 1e-4
    assert found.images_per_second > 0
    assert found.images_per_second_torch > 0
    assert made.model_digest == read_bundle(copied.folder / "bundle").model_digest
    mlflow_run = RunFolder(copied.run).state()["mlflow_run"]
    assert run_of_bundle(tracking.open_client(copied.tracking_uri), made.model_digest) == mlflow_run
    assert ScoreSettings(backend="openvino").chosen_backend(made).name == "openvino"


def test_images_of_a_run_never_calibrate_the_network_that_they_verify(copied) -> None:
    bundle = read_bundle(copied.bundle)
    found = from_run(bundle, copied.run, None, most=1000)
    folds = dict(zip(found.verify, found.held_out, strict=True))
    development = RunFolder(copied.run).split().development
    assert len(folds) == len(development)
    for number, files in found.calibrate.items():
        assert files
        assert all(folds[file] != number for file in files)


def test_half_of_a_sample_are_the_images_nearest_to_the_threshold(copied) -> None:
    bundle = read_bundle(copied.bundle)
    answers = pd.read_csv(RunFolder(copied.run).out_of_fold_file)
    distance = (answers["probability"] - bundle.description.decision.field_point.threshold).abs()
    nearest = {Path(image).name for image in answers.loc[distance.sort_values(kind="stable").index[:5], "image"]}
    found = from_run(bundle, copied.run, None, most=10)
    assert len(found.verify) == 10
    assert nearest <= {file.name for file in found.verify}


def test_another_run_is_refused(copied, tmp_path: Path) -> None:
    bundle = tiny_bundle(copied, tmp_path / "other", temperature=1.0)
    with pytest.raises(InvalidInput, match="another network for fold 1"):
        from_run(bundle, copied.run, None, most=10)


def test_images_that_cannot_be_read_do_not_verify(photographs: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(photographs, tmp_path / "some"))
    (folder / "0.png").write_bytes(b"no picture")
    found = from_source(folder, most=100)
    assert len(found.verify) == 7
    assert not found.held_out.any()
    for file in folder.iterdir():
        file.write_bytes(b"no picture")
    with pytest.raises(InvalidInput, match=r"No image of .* can be read"):
        from_source(folder, most=100)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "Give the run that the bundle was made from with --run RUN, or images with --images"),
        ({"images": Path(), "precision": "int8"}, "did not train on"),
        ({"images": Path(), "precision": "bfloat16"}, "did not train on"),
        ({"run": Path(), "most": 0}, "--most is 0"),
    ],
)
def test_what_cannot_be_verified_is_refused_at_once(world, options: dict, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        export_bundle(world.bundle, "openvino", **options)


def test_onnx_has_no_bfloat16(world) -> None:
    with pytest.raises(InvalidInput, match="--to openvino, or leave --bf16 out"):
        export_bundle(world.bundle, "onnx", precision="bfloat16", run=world.run)


def test_a_missing_exporter_is_named_before_anything_is_read(world, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(InvalidInput, match=r"nncf is not installed.*pip install 'msht\[openvino\]'"):
        export_bundle(world.bundle, "openvino", precision="int8", run=world.run)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InvalidInput, match=r"onnxscript is not installed.*pip install 'msht\[onnx\]'"):
        export_bundle(world.bundle, "onnx", run=world.run)
