from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import app, run

HEAVY = {"torch", "timm", "lightning", "mlflow", "sklearn", "pandas", "numpy", "cv2", "matplotlib", "scipy", "typst"}
COMMANDS = [
    [],
    ["cohort"],
    ["cohort", "import"],
    ["cohort", "phantom"],
    ["cohort", "audit"],
    ["cohort", "split"],
    ["cohort", "card"],
    ["crossval"],
    ["compare"],
    ["register"],
    ["promote"],
    ["track"],
    ["track", "sync"],
    ["evaluate"],
    ["bundle"],
    ["bundle", "make"],
    ["bundle", "verify"],
    ["score"],
    ["export"],
    ["serve"],
    ["explain"],
    ["report"],
    ["report", "case"],
    ["report", "validation"],
    ["models"],
    ["demo"],
    ["doctor"],
]


def called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `msht` with these words."""
    monkeypatch.setattr(sys, "argv", ["msht", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        run()
    captured = capsys.readouterr()
    return int(stopped.value.code or 0), captured.out, captured.err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = called(monkeypatch, capsys, *command, "--help")
    assert code == 0
    assert "Usage" in out


def test_help_imports_nothing_heavy() -> None:
    """In a process of its own, since this one has imported everything."""
    words = (
        "import sys; sys.argv = ['msht', 'crossval', '--help']; from cli.main import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_every_command_is_listed_here() -> None:
    from typer.main import get_command

    group = get_command(app)
    listed = {tuple(c) for c in COMMANDS}
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert (name,) in listed
        for inner in getattr(command, "commands", {}):
            assert (name, inner) in listed


NEW = ["crossval", "--split", "{tmp}/s.csv", "--out", "{tmp}/run", "--recipe"]
BAD = [
    (["cohort", "import", "{tmp}/nowhere", "--out", "{tmp}/m.csv"], "does not exist"),
    (["cohort", "import", "{tmp}/empty", "--out", "{tmp}/m.csv"], "no class folders"),
    (["cohort", "import", "{tmp}/table.csv", "--out", "{tmp}/m.csv", "--image-column", "x"], "no column 'x'"),
    (["cohort", "import", "{tmp}/table.csv", "--out", "{tmp}/m.csv"], "there is no image"),
    (["cohort", "split", "{tmp}/nowhere.csv", "--out", "{tmp}/s.csv"], "does not exist"),
    (["cohort", "split", "{tmp}/broken.csv", "--out", "{tmp}/s.csv"], "broken.csv"),
    (["cohort", "phantom", "{tmp}/p", "--patients", "1"], "patients"),
    (["cohort", "audit", "{tmp}/nowhere.csv", "--out", "{tmp}/a"], "does not exist"),
    ([*NEW, "small-cpuu"], "small-cpu"),
    ([*NEW, "demo", "--set", "lr=1"], "'lr'"),
    ([*NEW, "demo", "--set", "optimiser.lrr=1"], "optimiser.lr"),
    ([*NEW, "demo", "--set", "training.epochs=-3"], "training.epochs"),
    (["crossval", "--split", "{tmp}/s.csv", "--recipe", "demo"], "--out"),
    ([*NEW, "demo", "--pretrained", "x.safetensors", "--no-pretrained"], "contradict"),
    (["crossval", "--resume", "{tmp}/nowhere"], "not a run"),
    (["evaluate", "{tmp}/nowhere"], "not a run"),
    (["bundle", "{tmp}/nowhere", "--out", "{tmp}/b"], "not a run"),
    (["bundle", "verify", "{tmp}/empty"], "not a bundle"),
    (["score", "{tmp}/nowhere", "{tmp}", "--out", "{tmp}/o"], "no bundle"),
    (["score", "{tmp}/empty", "{tmp}", "--out", "{tmp}/o", "--threshold", "7"], "--threshold is 7"),
    (["score", "{tmp}/empty", "{tmp}", "--out", "{tmp}/o", "--folds", "1;2"], "--folds is '1;2'"),
    (["score", "{tmp}/empty", "{tmp}"], "--out is missing"),
    (["score", "{tmp}/empty", "--out", "{tmp}/o"], "nothing to score"),
    (["score", "{tmp}/empty", "--watch", "{tmp}/nowhere", "--out", "{tmp}/o"], "{tmp}/nowhere does not exist"),
    (["report", "case", "{tmp}/nowhere", "{tmp}", "--case", "x", "--out", "{tmp}/c.pdf"], "no bundle"),
    (["report", "validation", "{tmp}/nowhere", "--out", "{tmp}/v.pdf"], "not a run"),
    (["demo", "--out", "{tmp}"], "not empty"),
    (["demo", "--out", "{tmp}/d", "--patients", "3"], "at least 12"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "expected"), BAD, ids=[" ".join(w[:2]) + f": {e}" for w, e in BAD])
def test_bad_input_is_one_sentence_exit_code_2_and_nothing_written(
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("image,label\nx.png,positive\n")
    (tmp_path / "broken.csv").write_bytes(b"\xff\xfe\x00\x01image")
    before = sorted(p.name for p in tmp_path.iterdir())
    code, _, err = called(monkeypatch, capsys, *[w.format(tmp=tmp_path) for w in words])
    assert code == 2
    assert err.startswith("error: ")
    assert expected.format(tmp=tmp_path) in err
    assert "Traceback" not in err
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_an_unknown_option_is_said_with_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = called(monkeypatch, capsys, "score", "--nonsense")
    assert code == 2
    assert "nonsense" in err


def test_the_version_is_the_package_s(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from msht import __version__

    assert called(monkeypatch, capsys, "--version")[:2] == (0, f"msht {__version__}\n")


def test_a_full_disk_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import errno

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x"))

    monkeypatch.setattr("pipelines.phantom.make_phantom", full)
    code, _, err = called(monkeypatch, capsys, "cohort", "phantom", tmp_path / "p")
    assert code == 2
    assert "No space left on device" in err
