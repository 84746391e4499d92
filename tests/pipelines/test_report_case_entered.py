"""What is typed about a case reaches its page, or is said to be lost."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import Result
from pypdf import PdfReader
from typer.testing import CliRunner

from cli.main import app
from msht.errors import InvalidInput
from pipelines.report_case import prepare_case_report
from pipelines.report_case_scoring import read_scoring


def call(*words: object) -> Result:
    return CliRunner().invoke(app, ["report", "case", *map(str, words)])


def case_of(world: Any) -> str:
    return str(pd.read_parquet(world.scores / "cases.parquet")["case"].iloc[0])


def table_of(folder: Path, text: str) -> Path:
    path = folder / "entered.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_without_a_row_for_the_case_is_refused(copied: Any, tmp_path: Path) -> None:
    case, out = case_of(copied), tmp_path / "case.pdf"
    table = table_of(tmp_path, f"case,Pass\n{case}x,2\n")
    result = call(copied.bundle, copied.scores, "--case", case, "--entered-table", table, "--out", out)
    assert isinstance(result.exception, InvalidInput)
    assert f"entered.csv has no row for the case '{case}'; it has {case}x." in str(result.exception)
    assert not out.exists()
    table = table_of(tmp_path, f"case,Pass\n{case},2\n")
    assert call(copied.bundle, copied.scores, "--case", case, "--entered-table", table, "--out", out).exit_code == 0
    assert "Pass" in PdfReader(out).pages[1].extract_text()


@pytest.mark.slow
def test_rows_about_cases_that_were_not_scored_are_named_on_the_command_line(copied: Any, tmp_path: Path) -> None:
    table = table_of(tmp_path, "case,Pass\nnobody,2\nno\x1bone,3\n")
    result = call(copied.bundle, copied.scores, "--all", "--entered-table", table, "--out", tmp_path / "all")
    assert result.exit_code == 0
    assert "entered.csv names cases that were not scored: no<001B>one, nobody." in " ".join(result.output.split())


def test_a_fact_without_a_value_is_left_out(copied: Any) -> None:
    facts = [("Pass", ""), ("Stain", "Diff-Quik"), ("Note", "  ")] + [(f"empty {n}", "") for n in range(20)]
    report = prepare_case_report(read_scoring(copied.bundle, copied.scores), case_of(copied), entered=facts)
    assert [(fact.name, fact.value) for fact in report.entered] == [("Stain", "Diff-Quik")]


def test_a_fact_that_is_entered_twice_is_refused(copied: Any, tmp_path: Path) -> None:
    case, out = case_of(copied), tmp_path / "case.pdf"
    table = table_of(tmp_path, f"case,Pass\n{case},2\n")
    words = ("--case", case, "--entered-table", table, "--entered", "pass=3", "--out", out)
    result = call(copied.bundle, copied.scores, *words)
    assert isinstance(result.exception, InvalidInput)
    assert f"'pass' is entered twice for the case '{case}'." in str(result.exception)
    assert not out.exists()


def test_reports_that_say_different_things_have_different_ids(copied: Any) -> None:
    scoring, case = read_scoring(copied.bundle, copied.scores), case_of(copied)
    created = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)

    def report_id(**how: Any) -> str:
        return prepare_case_report(scoring, case, created=created, **how).report_id

    plain = report_id(entered=())
    assert report_id(entered=()) == plain
    assert len({plain, report_id(entered=[("Pass", "1")]), report_id(entered=[("Pass", "2")])}) == 3
    scoring.cases["threshold"] += 0.01
    assert report_id(entered=()) != plain
