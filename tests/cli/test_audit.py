"""`msht cohort audit` at the keyboard: where it sends a person who has something to mend."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from cli.main import run


@pytest.fixture(autouse=True)
def _handler_of_before() -> Iterator[None]:
    """The command takes SIGTERM for Ctrl-C; the tests after it must not."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two classes, and one image that is not there."""
    for number in range(4):
        Image.effect_noise((64, 48), 40 + number).convert("RGB").save(tmp_path / f"{number}.png")
    rows = [f"{number}.png,{('negative', 'positive')[number % 2]}" for number in range(5)]
    (tmp_path / "m.csv").write_text("image,label\n" + "\n".join(rows) + "\n")
    return tmp_path / "m.csv"


def printed(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["msht", "cohort", "audit", *words])
    with pytest.raises(SystemExit) as stopped:
        run()
    assert not stopped.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "files"), [(["--no-pdf"], ["findings.csv"]), ([], ["audit.pdf", "findings.csv"])], ids=["tables", "PDF"]
)
def test_each_file_to_look_into_is_named_once(
    manifest: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    files: list[str],
) -> None:
    out = manifest.parent / "audit"
    said = printed([str(manifest), "--out", str(out), "--workers", "1", *options], monkeypatch, capsys)
    assert f"before training: see {' and '.join(str(out / name) for name in files)}." in said
    for name in files:
        assert said.count(name) == 1
        assert (out / name).is_file()
