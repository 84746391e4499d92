"""The command line as a person calls it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from cli.main import run

Called = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Called:
    """Give a function that calls `msht cohort` with words parted by `|`: exit code, standard output and error."""

    def call(words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["msht", "cohort", *words.split("|")])
        with pytest.raises(SystemExit) as stopped:
            run()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return call
