from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.doctor import examine


def test_a_sound_installation_has_nothing_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    findings = examine(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert [f.name for f in findings if not f.good and f.name != "disk"] == []
    assert {"packages", "devices", "threads", "MLflow store", "PDF", "recipes", "data cards", "disk"} <= {
        f.name for f in findings
    }
    assert not (tmp_path / "mlflow.db").exists()


def test_two_versions_of_opencv_are_found_with_the_way_to_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0.1" if name == "opencv-python-headless" else real(name)
    )
    bad = next(f for f in examine() if f.name == "opencv")
    assert not bad.good
    assert "same version" in bad.mend


def test_it_says_which_extras_are_there_and_how_to_get_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    real = importlib.metadata.version

    def without(name: str) -> str:
        if name == "openvino":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    found = next(f for f in examine() if f.name == "extras")
    assert found.good
    assert f"wsi (openslide-python {real('openslide-python')})" in found.found
    assert "msht[openvino]" in found.found


def test_a_store_that_cannot_be_opened_is_found(tmp_path: Path) -> None:
    bad = next(f for f in examine("nonsense") if f.name == "MLflow store")
    assert not bad.good
