"""`msht export` refuses what it cannot make in a sentence, and tells what it made."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.export import export
from msht.errors import InvalidInput
from msht.runtimes.description import ExportDescription


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "tensorrt"}, "--to is 'tensorrt'"),
        ({"to": "openvino", "int8": True, "bf16": True}, "exclude each other"),
        ({"to": "openvino"}, "There is no bundle at"),
    ],
)
def test_absurd_wishes_are_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {"run": None, "images": None, "int8": False, "bf16": False, "most": 4, "json": False}
    with pytest.raises(InvalidInput, match=words):
        export(tmp_path / "nowhere", **{**arguments, **options})


def test_the_figures_are_told_to_people_and_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = {
        "images": 400,
        "cases": 82,
        "data": "d",
        "largest_change": 1.2e-6,
        "largest_change_fold": 3e-6,
        "flipped_fields": 0,
        "flipped_cases": 0,
        "tolerance": 1e-3,
        "images_per_second": 50.0,
        "images_per_second_torch": 20.0,
        "processor": "p",
    }
    made = ExportDescription.model_validate(
        {"backend": "onnx", "precision": "float32", "created": "now", "versions": {}, "verification": figures}
    )
    asked: dict[str, Any] = {}

    def instead(bundle: Path, to: str, **options: Any) -> SimpleNamespace:
        asked.update(options, to=to)
        return SimpleNamespace(
            description=SimpleNamespace(exports=(made,)), digest="d" * 64, model_digest="m" * 64, short_digest="d" * 12
        )

    monkeypatch.setattr("pipelines.export.export_bundle", instead)
    arguments: dict[str, Any] = {"images": None, "int8": False, "bf16": False, "most": 7}
    export(tmp_path, "onnx", run=tmp_path / "run", json=False, **arguments)
    words = " ".join(capsys.readouterr().out.split())
    assert "on 400 images" in words
    assert "1e-06 at most (3e-06 of a single network), 0 calls change" in words
    assert "(2.5 times)" in words
    assert (asked["to"], asked["precision"], asked["most"]) == ("onnx", "float32", 7)
    export(tmp_path, "onnx", run=tmp_path / "run", json=True, **{**arguments, "int8": True})
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["verification"]["images"]) == ("m" * 64, 400)
    assert asked["precision"] == "int8"
