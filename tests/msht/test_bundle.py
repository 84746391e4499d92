import errno
import hashlib
import json
import os
import pickle
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from torch import nn

from msht.bundle import Bundle, load_network, read_bundle, save_arrays, save_network, write_bundle
from msht.calibration.novelty import FeatureReference
from msht.decision import Decision, Point
from msht.ensemble import Ensemble, FoldModel
from msht.errors import BrokenBundle, InvalidInput, MissingResource
from msht.images.preprocessing import Preprocessing
from msht.images.quality import QualityGate
from msht.network.factory import create_network

SQUARE = Preprocessing(crop=60, size=32, mean=(0.7, 0.6, 0.7), std=(0.2, 0.2, 0.2))


def network_of(name: str = "test_resnet", size: int = 32, seed: int = 0, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    return create_network(name, num_classes=2, img_size=size, **options).eval()


def members() -> list[FoldModel]:
    folds = []
    for number in (1, 2):
        network = network_of(seed=number)
        width = network.get_classifier().in_features
        features = np.random.default_rng(number).random((12, width))
        reference = FeatureReference.fit(features, np.arange(12).astype(str))
        folds.append(FoldModel(number, network, temperature=0.5 + 1 / 3 * number, reference=reference))
    return folds


def described() -> dict[str, Any]:
    point = Point(threshold=1 / 3, rule="r", data="d", guarantee="g")
    return {
        "name": "test",
        "created": "2026-01-01T00:00:00+00:00",
        "software": "msht 0",
        "architecture": "a tiny network",
        "classes": ("negative", "positive"),
        "preprocessing": SQUARE,
        "decision": Decision(
            case_slope=1.1,
            case_intercept=-0.2,
            case_point=point,
            field_point=point,
            conformal_quantile=0.9,
            conformal_error=0.1,
            conformal_cases=20,
            minimum_fields=1,
            quality=QualityGate(),
        ),
        "cohort": {"name": "Größe"},
        "performance": [{"level": "case", "value": 0.1 + 0.2}],
        "training": {"epochs": 1},
        "limits": ("Research software.",),
    }


def write(path: Path, **changes: Any) -> Bundle:
    arguments: dict[str, Any] = {
        "folds": members(),
        "kept_epochs": {1: 3, 2: 4},
        "fields": described(),
        "recipe_yaml": "name: test\n",
        "data_card": "# Card\n",
    }
    return write_bundle(path, **{**arguments, **changes})


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("bundles") / "original").path


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def files_of(path: Path) -> list[str]:
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the description and seal it again, as someone who knows the format could."""
    data = json.loads((path / "bundle.json").read_text(encoding="utf-8"))
    change(data)
    (path / "bundle.json").write_text(json.dumps(data), encoding="utf-8")
    seal(path)


def seal(path: Path) -> None:
    (path / "bundle.sha256").write_text(hashlib.sha256((path / "bundle.json").read_bytes()).hexdigest() + "\n")


def test_a_bundle_scores_as_the_networks_it_was_made_from(original: Path) -> None:
    views = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    before = Ensemble(members(), SQUARE).score(views)
    after = read_bundle(original).ensemble().score(views)
    for name in ("fold_logits", "fold_probabilities", "probability", "logit", "spread", "novelty"):
        assert getattr(after, name) == pytest.approx(getattr(before, name), abs=1e-5), name


def test_a_subset_of_the_folds_answers_as_those_folds_alone(original: Path) -> None:
    views = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    bundle = read_bundle(original)
    whole, second = bundle.ensemble().score(views), bundle.ensemble(folds=[2]).score(views)
    assert second.fold_logits == pytest.approx(whole.fold_logits[1:], abs=1e-6)
    assert second.probability == pytest.approx(whole.fold_probabilities[1], abs=1e-6)
    assert [fold.number for fold in bundle.ensemble(folds=[2, 1]).folds] == [1, 2]


@pytest.mark.parametrize(("numbers", "words"), [([3], "no fold 3"), ([], "none"), ([1, 1], "each once")])
def test_folds_that_are_not_there_are_refused(original: Path, numbers: list[int], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_bundle(original).ensemble(folds=numbers)


def test_a_bundle_says_what_it_was_told_to_the_last_bit(original: Path) -> None:
    bundle = read_bundle(original)
    description = bundle.description
    for name, value in described().items():
        assert getattr(description, name) == value
    assert [fold.temperature for fold in description.folds] == [0.5 + 1 / 3, 0.5 + 2 / 3]
    assert [fold.kept_epoch for fold in description.folds] == [3, 4]
    assert bundle.digest == hashlib.sha256((original / "bundle.json").read_bytes()).hexdigest()
    assert bundle.model_digest == bundle.digest
    assert bundle.digest.startswith(bundle.short_digest)
    assert len(bundle.short_digest) == 12


def test_a_bundle_is_complete_and_every_file_has_its_digest(original: Path) -> None:
    assert files_of(original) == [
        "bundle.json",
        "bundle.sha256",
        "data_card.md",
        "fold-1/config.json",
        "fold-1/model.safetensors",
        "fold-2/config.json",
        "fold-2/model.safetensors",
        "recipe.yaml",
        "reference.safetensors",
    ]
    description = read_bundle(original).description
    assert {*description.files, "bundle.json", "bundle.sha256"} == set(files_of(original))
    for fold in description.folds:
        assert fold.weights_sha256 == description.files[f"{fold.folder}/model.safetensors"]


def test_a_bundle_works_elsewhere_and_without_the_one_it_was_copied_from(original: Path, tmp_path: Path) -> None:
    moved = tmp_path / "with a space" / "renamed"
    shutil.copytree(original, moved)
    assert read_bundle(moved).digest == read_bundle(original).digest
    assert str(original) not in (moved / "bundle.json").read_text(encoding="utf-8")
    read_bundle(moved).ensemble()


def test_anyone_may_read_what_the_mask_lets_them(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        path = write(tmp_path / "bundle").path
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((path / name).stat().st_mode) for name in files_of(path)}
    assert modes == dict.fromkeys(modes, 0o644)
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


def test_nothing_in_a_bundle_is_a_pickle_and_none_is_read(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in files_of(original):
        assert Path(name).suffix in {".json", ".safetensors", ".yaml", ".md", ".sha256"}
        assert (original / name).read_bytes()[:2] not in {b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05"}

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was read")

    for module, function in ((torch, "load"), (pickle, "load"), (pickle, "loads")):
        monkeypatch.setattr(module, function, refuse)
    read_bundle(original).ensemble()


def test_timm_reads_a_fold_by_itself(original: Path) -> None:
    loaded = timm.create_model(f"local-dir:{original / 'fold-1'}", pretrained=True).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(loaded(images), members()[0].network(images))


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("msht_small", 64, {}),
        ("msht_small", 64, {"embed_dim": 64, "num_heads": 2}),
        ("test_vit", 64, {}),
        ("test_efficientnet", 32, {"drop_rate": 0.2}),
    ],
)
def test_a_network_reads_back_with_its_size_and_options(
    tmp_path: Path, name: str, size: int, options: dict[str, Any]
) -> None:
    network = network_of(name, size, **options)
    digest = save_network(network, tmp_path / "fold")
    again = load_network(tmp_path / "fold")
    assert digest == hashlib.sha256((tmp_path / "fold" / "model.safetensors").read_bytes()).hexdigest()
    assert not again.training
    images = torch.rand(2, 3, size, size)
    with torch.inference_mode():
        assert torch.equal(again(images), network(images))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_changed_byte_is_refused_and_its_file_is_named(original: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(files_of(original)))
    file = original / name
    good = file.read_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    changed = bytearray(good)
    changed[place] ^= data.draw(st.integers(1, 255))
    try:
        file.write_bytes(changed)
        with pytest.raises(BrokenBundle, match=name.replace(".", r"\.")):
            read_bundle(original)
    finally:
        file.write_bytes(good)


def test_every_byte_of_the_seal_counts(copy: Path) -> None:
    good = (copy / "bundle.sha256").read_bytes()
    for changed in (good[:-1], good + b"\n", b" " + good, good.upper(), good[:-1] + b"\x0b", b"", b"\xff" * 65):
        (copy / "bundle.sha256").write_bytes(changed)
        with pytest.raises(BrokenBundle, match=r"bundle\.sha256"):
            read_bundle(copy)


def test_a_missing_file_is_named(copy: Path, original: Path) -> None:
    for name in files_of(original):
        (copy / name).rename(copy / ".aside")
        with pytest.raises(BrokenBundle, match=name.replace(".", r"\.")):
            read_bundle(copy)
        (copy / ".aside").rename(copy / name)
    read_bundle(copy)


@pytest.mark.parametrize("name", ["fold-1/pytorch_model.bin", "notes.txt", "fold-3/config.json"])
def test_a_file_too_many_is_refused(copy: Path, name: str) -> None:
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_bytes(b"x")
    with pytest.raises(BrokenBundle, match="does not belong to the bundle"):
        read_bundle(copy)


@pytest.mark.parametrize("name", [".DS_Store", "fold-1/._config.json", "Thumbs.db"])
def test_what_file_managers_leave_behind_is_no_harm(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"x")
    read_bundle(copy)


def test_a_foreign_folder_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BrokenBundle, match="There is no bundle at"):
        read_bundle(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(BrokenBundle, match="There is no bundle at"):
        read_bundle(tmp_path / "file")
    with pytest.raises(BrokenBundle, match=r"is not a bundle: it has no bundle\.json"):
        read_bundle(tmp_path)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "fold-1/../../secret", "link"])
def test_a_path_that_climbs_out_of_the_bundle_is_refused(copy: Path, name: str) -> None:
    secret = copy.parent / "secret"
    secret.write_text("x")
    (copy / "link").symlink_to(secret)
    digest = hashlib.sha256(b"x").hexdigest()
    edit(copy, lambda data: data["files"].update({name: digest}))
    with pytest.raises(BrokenBundle, match="leaves the folder"):
        read_bundle(copy)


@pytest.mark.parametrize("folder", ["../elsewhere", ".", "fold-9", "/tmp"])
def test_a_network_that_no_digest_vouches_for_is_refused(copy: Path, folder: str) -> None:
    shutil.copytree(copy / "fold-1", copy.parent / "elsewhere")
    edit(copy, lambda data: data["folds"][0].update(folder=folder))
    with pytest.raises(BrokenBundle, match="has no digest of"):
        read_bundle(copy)


@pytest.mark.parametrize("name", ["reference.safetensors", "fold-2/model.safetensors", "fold-2/config.json"])
def test_a_file_that_is_read_needs_a_digest(copy: Path, name: str) -> None:
    edit(copy, lambda data: data["files"].pop(name))
    with pytest.raises(BrokenBundle, match="has no digest of"):
        read_bundle(copy)


def test_weights_that_are_not_those_of_the_fold_are_refused(copy: Path) -> None:
    edit(copy, lambda data: data["folds"][0].update(weights_sha256=data["folds"][1]["weights_sha256"]))
    with pytest.raises(BrokenBundle, match="names other weights for fold-1"):
        read_bundle(copy)


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_another_format_is_refused_with_what_this_version_reads(copy: Path, version: object) -> None:
    edit(copy, lambda data: data.update(format=version))
    with pytest.raises(BrokenBundle, match=f"has format {version}; this version reads 1"):
        read_bundle(copy)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda data: data.update(extra=1), "extra"),
        (lambda data: data.pop("decision"), "decision"),
        (lambda data: data["decision"].pop("case_slope"), r"decision\.case_slope"),
        (lambda data: data["decision"]["case_point"].update(threshold=2), r"decision\.case_point\.threshold"),
        (lambda data: data["preprocessing"].update(size="large"), r"preprocessing\.size"),
    ],
)
def test_a_description_that_lacks_or_adds_something_is_refused_by_its_key(
    copy: Path, change: Callable[[dict[str, Any]], None], where: str
) -> None:
    edit(copy, change)
    with pytest.raises(BrokenBundle, match=rf"bundle\.json: {where}"):
        read_bundle(copy)


@pytest.mark.parametrize("content", ["[]", "{", '"text"'])
def test_a_description_that_is_none_is_refused(copy: Path, content: str) -> None:
    (copy / "bundle.json").write_text(content)
    seal(copy)
    with pytest.raises(BrokenBundle, match=r"bundle\.json"):
        read_bundle(copy)


@pytest.mark.parametrize("architecture", ["no_such_network", "test_efficientnet"])
def test_a_network_that_cannot_be_built_is_refused_in_one_sentence(copy: Path, architecture: str) -> None:
    config = copy / "fold-1" / "config.json"
    data = json.loads(config.read_text())
    config.write_text(json.dumps({**data, "architecture": architecture}))
    with pytest.raises(BrokenBundle, match="does not hold a network that this program can build") as caught:
        load_network(copy / "fold-1")
    assert "\n" not in str(caught.value)


def test_cut_weights_are_refused_in_one_sentence(copy: Path) -> None:
    weights = copy / "fold-1" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BrokenBundle, match="does not hold a network"):
        load_network(copy / "fold-1")


def test_a_folder_with_a_pickle_in_place_of_safetensors_is_not_read(copy: Path) -> None:
    (copy / "fold-1" / "model.safetensors").rename(copy / "fold-1" / "pytorch_model.bin")
    with pytest.raises(BrokenBundle, match=r"has no model\.safetensors"):
        load_network(copy / "fold-1")


def test_what_is_there_already_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine.txt").write_text("x")
    with pytest.raises(InvalidInput, match="exists already"):
        write(tmp_path / "bundle")
    assert files_of(tmp_path) == ["bundle/mine.txt"]


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
FULL_IN_SAFETENSORS = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("function", "error", "expected"),
    [
        ("timm.models.save_for_hf", FULL, MissingResource),
        ("timm.models.save_for_hf", FULL_IN_SAFETENSORS, MissingResource),
        ("safetensors.numpy.save_file", FULL_IN_SAFETENSORS, MissingResource),
        ("pathlib.Path.write_text", FULL, MissingResource),
        ("pathlib.Path.rename", FULL, MissingResource),
        ("tempfile.mkdtemp", FULL, MissingResource),
        ("safetensors.numpy.save_file", KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=["weights", "weights as safetensors says it", "reference", "text", "last step", "first step", "ctrl-C"],
)
def test_a_bundle_is_written_whole_or_not_at_all(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    error: BaseException,
    expected: type[BaseException],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    folds = members()
    with monkeypatch.context() as patch:
        patch.setattr(function, fail)
        with pytest.raises(expected) as caught:
            write(tmp_path / "bundle", folds=folds)
    if expected is MissingResource:
        assert "No space left on device" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "bundle", folds=folds)


def test_arrays_that_cannot_be_written_are_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        save_arrays({"a": np.zeros(3)}, tmp_path / "nowhere" / "a.safetensors")


def test_a_fold_of_a_published_run_scores_through_a_bundle_like_any_other(tmp_path: Path) -> None:
    """From a checkpoint with the published names to a bundle, and the same answers on the other side."""
    from msht.network.weights import load_published, save_published

    save_published(network_of("msht_resnet50", size=32, embed_dim=96), tmp_path / "fold.pth")
    network = load_published(tmp_path / "fold.pth")
    features = np.random.default_rng(1).random((12, network.num_features))
    member = FoldModel(1, network, temperature=1.3, reference=FeatureReference.fit(features, np.arange(12).astype(str)))
    bundle = write(tmp_path / "bundle", folds=[member], kept_epochs={1: 50})
    views = np.random.default_rng(2).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    direct = Ensemble([member], SQUARE).score(views)
    bundled = read_bundle(bundle.path).ensemble().score(views)
    np.testing.assert_allclose(bundled.fold_logits, direct.fold_logits, atol=1e-5)
    np.testing.assert_allclose(bundled.probability, direct.probability, atol=1e-6)
