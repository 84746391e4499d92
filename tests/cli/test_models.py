"""`msht models` prints a table for people and JSON for programs."""

from __future__ import annotations

import json

import pytest

from cli.models import models


def test_json_is_a_list_of_networks(capsys: pytest.CaptureFixture[str]) -> None:
    models(json=True)
    rows = json.loads(capsys.readouterr().out)
    assert {"name", "size", "parameters", "gmacs", "megabytes", "source"} <= set(rows[0])


def test_table_fits_a_narrow_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    models(json=False)
    lines = capsys.readouterr().out.splitlines()
    assert any("swin_base_patch4_window12_384" in line and "47.08" in line for line in lines)
    assert max(len(line) for line in lines) <= 80
