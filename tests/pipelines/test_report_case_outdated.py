"""A folder of reports holds the answers of today: what is out of date lies aside, what did not change is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pypdf import PdfReader
from typer.testing import CliRunner

from cli.main import app
from msht.files import sha256_of
from pipelines.report_case_all import INDEX, JOURNAL, OUTDATED, CasesResult, report_cases, unique_names

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def write(world: Any, out: Path, **changes: Any) -> CasesResult:
    return report_cases(world.bundle, world.scores, out, created=WHEN, workers=1, **changes)


def cases_of(world: Any) -> list[str]:
    return [str(case) for case in pd.read_parquet(world.scores / "cases.parquet")["case"]]


def index_text(out: Path) -> str:
    text = " ".join(page.extract_text() for page in PdfReader(out / INDEX).pages)
    return " ".join(text.replace("\u200b", "").split())


def add_to_journal(out: Path, case: str, file: str, sha256: str = "0") -> None:
    with (out / JOURNAL).open("a", encoding="utf-8") as journal:
        journal.write(json.dumps({"case": case, "file": file, "key": "k", "sha256": sha256}) + "\n")


@pytest.mark.slow
def test_the_old_report_of_a_case_that_now_fails_is_moved_aside_and_named(copied: Any, tmp_path: Path) -> None:
    out = tmp_path / "reports"
    case = cases_of(copied)[0]
    name = unique_names(cases_of(copied))[case]
    assert write(copied, out).outdated == ()
    assert "earlier calls" not in index_text(out)
    old = (out / name).read_bytes()
    result = write(copied, out, entered_by_case={case: (("Note", "\ue000"),)})
    assert list(result.failed) == [case]
    assert result.outdated == (out / OUTDATED / name,)
    assert not (out / name).exists()
    assert (out / OUTDATED / name).read_bytes() == old
    assert f"hold no longer lie in the folder {OUTDATED}: {name}." in index_text(out)

    # Mended, and failing once more: nothing that was moved is overwritten.
    assert write(copied, out, entered_by_case={case: (("Note", "new"),)}).outdated == ()
    again = write(copied, out, entered_by_case={case: (("Note", "\ue000"),)})
    assert [path.name for path in again.outdated] == [f"{Path(name).stem}-2.pdf"]
    assert (out / OUTDATED / name).read_bytes() == old


@pytest.mark.slow
def test_the_report_of_a_case_that_is_gone_is_moved_and_no_other_file_is_touched(copied: Any, tmp_path: Path) -> None:
    out = tmp_path / "reports"
    write(copied, out)
    ours, theirs, outside = out / "case-gone.pdf", out / "case-of-a-doctor.pdf", tmp_path / "case-x.pdf"
    for path in (ours, theirs, outside):
        path.write_bytes(b"%PDF")
    add_to_journal(out, "gone", ours.name, sha256_of(ours))
    add_to_journal(out, "evil", "../case-x.pdf")
    add_to_journal(out, "index", INDEX)
    result = CliRunner().invoke(
        app, ["report", "case", *map(str, (copied.bundle, copied.scores, "--all", "--out", out, "--workers", 1))]
    )
    assert result.exit_code == 0
    said = " ".join(result.output.split())
    assert f"The earlier report case-gone.pdf holds no longer: moved to {out / OUTDATED / 'case-gone.pdf'}." in said
    assert f"0 reports written, {len(cases_of(copied))} kept" in said
    assert not ours.exists()
    assert theirs.exists()
    assert outside.exists()
    assert [path.name for path in (out / OUTDATED).iterdir()] == ["case-gone.pdf"]
    assert "case-gone.pdf" in index_text(out)
    assert "case-of-a-doctor" not in index_text(out)


@pytest.mark.slow
def test_a_report_under_a_name_that_its_case_no_longer_has_is_moved(copied: Any, tmp_path: Path) -> None:
    out = tmp_path / "reports"
    case = cases_of(copied)[0]
    out.mkdir()
    (out / "case-former.pdf").write_bytes(b"%PDF")
    add_to_journal(out, case, "case-former.pdf")
    assert [path.name for path in write(copied, out).outdated] == ["case-former.pdf"]
    assert (out / unique_names(cases_of(copied))[case]).is_file()


@pytest.mark.slow
def test_a_scoring_that_changed_nothing_but_its_time_keeps_every_report(copied: Any, tmp_path: Path) -> None:
    out, total = tmp_path / "reports", len(cases_of(copied))
    assert write(copied, out).written == total
    before = {path.name: path.read_bytes() for path in out.glob("case-*.pdf")}
    path = copied.scores / "run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"finished": "2031-01-01T00:00:00+00:00"}))
    again = write(copied, out)
    assert (again.written, again.kept) == (0, total)
    assert {path.name: path.read_bytes() for path in out.glob("case-*.pdf")} == before

    # Neither does the place of the scores count.
    moved = replace(copied, scores=copied.scores.rename(tmp_path / "elsewhere"))
    assert write(moved, out).kept == total

    # What else is printed of the scoring still counts.
    (moved.scores / "run.json").write_text(json.dumps(record | {"backend": "onnx"}))
    assert write(moved, out).written == total
