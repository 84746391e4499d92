"""`msht report case` with input that cannot be right: one sentence, no success, nothing half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from cli.main import app
from msht.errors import InvalidInput

Words = Callable[[Any, Path], list[str]]


def call(*words: object) -> Exception | None:
    """The error of a command, or None; what is no error for users is raised."""
    result = CliRunner().invoke(app, ["report", "case", *map(str, words)])
    if result.exit_code == 0:
        return None
    error = result.exception
    if isinstance(error, SystemExit):
        return InvalidInput(result.output, "")
    assert isinstance(error, InvalidInput | OSError), error
    return error


def case_of(world: Any) -> str:
    cases = pd.read_parquet(world.scores / "cases.parquet")
    return str(cases[cases["call"] != "not evaluable"]["case"].iloc[0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (lambda w, _: [w.bundle, w.scores, "--case", "nobody at all"], "There is no case"),
        (lambda w, _: [w.bundle, w.scores, "--case", ""], "There is no case"),
        (lambda w, _: [w.bundle, w.scores, "--case", "x" * 300], "There is no case"),
        (lambda w, _: [w.bundle, w.scores, "--case", "../../etc/passwd"], "There is no case"),
        (lambda w, _: [w.run, w.scores, "--case", case_of(w)], "is not a bundle"),
        (lambda w, _: [w.scores / "no", w.scores, "--case", case_of(w)], "There is no bundle"),
        (lambda w, folder: [w.bundle, folder, "--case", case_of(w)], "run.json does not exist"),
        (lambda w, _: [w.bundle, w.bundle, "--case", case_of(w)], "run.json does not exist"),
        (lambda w, _: [w.bundle, w.scores, "--case", case_of(w), "--language", "xx"], "is not one of"),
        (lambda w, _: [w.bundle, w.scores, "--case", case_of(w), "--device", "banana"], "is not a device"),
        (lambda w, _: [w.bundle, w.scores, "--case", case_of(w), "--entered", "=x"], "NAME=VALUE"),
        (lambda w, _: [w.bundle, w.scores, "--case", case_of(w), "--entered-table", w.bundle], "is a folder"),
        (lambda w, _: [w.bundle, w.scores, "--case", case_of(w), "--microns-per-pixel", "nan"], "is nan"),
        (lambda w, _: [w.bundle, w.scores], "Neither a case nor all"),
        (lambda w, _: [w.bundle, w.scores, "--case", case_of(w), "--all"], "both given"),
    ],
)
def test_input_that_cannot_be_right_is_a_sentence(world: Any, tmp_path: Path, words: Words, said: str) -> None:
    out = tmp_path / "case.pdf"
    error = call(*words(world, tmp_path), "--out", out)
    assert error is not None
    assert said in str(error).replace("\n", " ")
    assert list(tmp_path.glob("*")) == []


def test_an_output_that_is_no_pdf_or_a_device_is_left_as_it_is(copied: Any, tmp_path: Path) -> None:
    kept = (copied.bundle / "bundle.json").read_bytes()
    assert "does not end in .pdf" in str(
        call(copied.bundle, copied.scores, "--case", case_of(copied), "--out", copied.bundle / "bundle.json")
    )
    assert (copied.bundle / "bundle.json").read_bytes() == kept
    assert "is a folder" in str(call(copied.bundle, copied.scores, "--case", case_of(copied), "--out", tmp_path))
    assert "cannot be written" in str(
        call(copied.bundle, copied.scores, "--case", case_of(copied), "--out", copied.bundle / "bundle.json" / "x.pdf")
    )


def moved_into(world: Any, folder: Path) -> str:
    """Put the pictures of a case where the test may change them, and say so in the tables."""
    case = case_of(world)
    images = pd.read_parquet(world.scores / "images.parquet")
    folder.mkdir()
    for place in images.index[images["case"] == case]:
        source = Path(images.loc[place, "path"])
        (folder / source.name).write_bytes(source.read_bytes())
        images.loc[place, "path"] = str(folder / source.name)
    images.to_parquet(world.scores / "images.parquet", index=False)
    return case


def test_a_picture_that_changed_or_was_moved_is_named(copied: Any, tmp_path: Path) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "out" / "case.pdf"
    case = moved_into(copied, folder)
    for picture in folder.glob("*"):
        Image.new("RGB", (192, 144), "white").save(picture)
    error = call(copied.bundle, copied.scores, "--case", case, "--out", out)
    assert "changed since it was scored" in str(error)
    for picture in folder.glob("*"):
        picture.unlink()
    assert not out.exists()
    assert not (copied.scores / "maps").exists() or not list((copied.scores / "maps").rglob("maps.json"))
    words = ["report", "case", *map(str, (copied.bundle, copied.scores, "--case", case, "--out", out))]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0
    assert str(folder) in result.stderr
    assert out.is_file()


def test_scores_that_are_empty_broken_or_of_another_bundle_are_refused(copied: Any, tmp_path: Path) -> None:
    out, case = tmp_path / "out" / "case.pdf", case_of(copied)
    record = json.loads((copied.scores / "run.json").read_text())
    for changed, said in (
        ({**record, "bundle": record["bundle"] | dict.fromkeys(("digest", "model_digest"), "0")}, "was scored with"),
        ({**record, "bundle": {"name": "old", "digest": "0" * 64}}, "was scored with the bundle"),
        ({key: value for key, value in record.items() if key != "finished"}, "is unfinished"),
        ({"kind": "something else"}, "holds no scores"),
    ):
        (copied.scores / "run.json").write_text(json.dumps(changed))
        assert said in str(call(copied.bundle, copied.scores, "--case", case, "--out", out))
    (copied.scores / "run.json").write_text(json.dumps(record))
    cases = pd.read_parquet(copied.scores / "cases.parquet")
    cases.iloc[:0].to_parquet(copied.scores / "cases.parquet", index=False)
    assert "There is no case" in str(call(copied.bundle, copied.scores, "--case", case, "--out", out))
    (copied.scores / "cases.parquet").write_bytes(b"not a table")
    assert "cannot be read" in str(call(copied.bundle, copied.scores, "--case", case, "--out", out))
    assert not out.exists()


@pytest.mark.slow
def test_hostile_case_names_stay_in_the_folder_and_cost_no_other_case(copied: Any, tmp_path: Path) -> None:
    hostile = ["../../up", "x" * 300, "a/b", "CON", "\x1b[31mred", "\u202eover", "", "-rf"]
    cases = pd.read_parquet(copied.scores / "cases.parquet")
    names = dict(zip(cases["case"], hostile, strict=False))
    for table in ("cases", "images", "rejected"):
        frame = pd.read_parquet(copied.scores / f"{table}.parquet")
        frame["case"] = [names.get(case, case) for case in frame["case"]]
        frame.to_parquet(copied.scores / f"{table}.parquet", index=False)
    out = tmp_path / "reports"
    result = CliRunner().invoke(
        app, ["report", "case", str(copied.bundle), str(copied.scores), "--all", "--out", str(out)]
    )
    refused = {"\x1b[31mred", "\u202eover"} & set(names.values())
    assert result.exit_code == (1 if refused else 0)
    assert "\x1b[31mred" not in result.output
    assert "<001B>[31mred: no report." in result.output
    assert len(list(out.glob("case-*.pdf"))) == len(cases) - len(refused)
    assert {path.parent for path in tmp_path.rglob("*.pdf")} == {out}
