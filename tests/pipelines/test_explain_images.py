"""Any images can be explained: overlays, arrays, a contact sheet, and the network's own attention."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from msht.errors import InvalidInput
from pipelines.explain_images import explain_images


@pytest.fixture
def pictures(world: Any, tmp_path: Path) -> Path:
    """Two cases of two images each."""
    rows = pd.read_csv(world.manifest).groupby("case_id").head(2).iloc[:4]
    for row in rows.itertuples():
        place = tmp_path / "pictures" / row.case_id
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(world.cohort / row.image, place)
    return tmp_path / "pictures"


def test_every_image_gets_an_overlay_an_array_and_a_place_on_the_sheet(
    world: Any, pictures: Path, tmp_path: Path
) -> None:
    done = explain_images(world.bundle, [pictures], tmp_path / "out", attention=True)
    table = pd.read_csv(tmp_path / "out" / "maps.csv")
    assert len(table) == done.images == 4
    assert table["case"].nunique() == 2
    for row in table.itertuples():
        evidence = np.load(tmp_path / "out" / row.array, allow_pickle=False)
        assert evidence.shape == (64, 64)
        assert evidence.max() == pytest.approx(row.largest)
        with Image.open(tmp_path / "out" / row.overlay) as picture:
            assert picture.width == 2 * picture.height
    for _, case in table.groupby("case"):
        assert case["scale"].nunique() == 1
        assert case["scale"].iloc[0] == pytest.approx(case["largest"].median())
    with Image.open(done.sheets[0]) as sheet:
        assert sheet.width > 800
    folder = tmp_path / "out" / "attention"
    network = np.load(folder / "network.npz", allow_pickle=False)
    assert network["decoder_1_mhsa"].shape == network["decoder_4_mhga"].shape
    assert (network["decoder_1_mhsa"] >= 0).all()
    assert network["positions"].shape == (2, 2, 2, 2)
    arrays = [path for path in folder.glob("*.npz") if path.name != "network.npz"]
    assert len(arrays) == 4
    one = np.load(arrays[0], allow_pickle=False)
    assert one["decoder_2_mhga"].shape[1:] == one["rollout"].shape == (2, 2)
    assert one["rollout"].sum() == pytest.approx(1.0, abs=1e-4)  # no class token: patches share all attention
    assert arrays[0].with_suffix(".png").is_file()
    assert (folder / "network.png").is_file()


def test_a_second_call_keeps_arrays_and_another_method_wants_another_folder(
    world: Any, pictures: Path, tmp_path: Path
) -> None:
    explain_images(world.bundle, [pictures], tmp_path / "out")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "arrays").iterdir()}
    first = next(iter(stamps))
    first.unlink()
    explain_images(world.bundle, [pictures], tmp_path / "out")
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "arrays").iterdir()}
    assert [path for path in stamps if again[path] != stamps[path]] == [first]
    with pytest.raises(InvalidInput, match="maps of another bundle, method or layer"):
        explain_images(world.bundle, [pictures], tmp_path / "out", method="gradcam")
    with pytest.raises(InvalidInput, match=r"--fold is 9.*folds 1, 2"):
        explain_images(world.bundle, [pictures], tmp_path / "out", attention=True, fold=9)
    with pytest.raises(InvalidInput, match="--method tarot"):
        explain_images(world.bundle, [pictures], tmp_path / "new", method="tarot")
