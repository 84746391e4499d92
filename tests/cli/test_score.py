from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cli.main import run


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, *words: object) -> str:
    """What `msht score` says when it refuses its options."""
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["msht", "score", "bundle", *map(str, words), "--out", str(out)])
    with pytest.raises(SystemExit) as left:
        run()
    assert left.value.code == 2
    assert not out.exists()
    return " ".join(capsys.readouterr().err.split())


def test_images_without_a_table_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "table.csv"  # a folder, whatever its name says
    folder.mkdir()
    for words in ((tmp_path,), (folder,), ("-",), ("--watch", tmp_path)):
        assert "--images is for" in refused(monkeypatch, capsys, tmp_path, *words, "--images", tmp_path)
    table = tmp_path / "manifest.csv"
    assert "--images" not in refused(monkeypatch, capsys, tmp_path, table, "--images", tmp_path)


def test_patience_without_watch_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "--patience is for --watch" in refused(monkeypatch, capsys, tmp_path, tmp_path, "--patience", "10")
    assert "--patience" not in refused(monkeypatch, capsys, tmp_path, "--watch", tmp_path, "--patience", "10")
