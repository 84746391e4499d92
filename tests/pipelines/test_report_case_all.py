from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfReader
from scipy.special import expit, logit

from msht.decision import Decision, Point, case_probability
from msht.errors import InvalidInput
from msht.images.quality import QualityGate
from pipelines.report_case_all import INDEX, JOURNAL, report_cases, unique_names
from pipelines.report_case_entered import read_entered
from pipelines.report_case_interval import case_interval

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@given(st.lists(st.text(min_size=1, max_size=60), unique=True, max_size=30))
def test_every_case_has_a_plain_file_name_of_its_own_that_stays_in_the_folder(cases: list[str]) -> None:
    names = unique_names(cases)
    assert len({name.casefold() for name in names.values()}) == len(cases)
    for name in names.values():
        assert name.isascii()
        assert Path(name).name == name
        assert "%" not in name
        assert len(name) < 130


def test_names_that_differ_in_case_alone_are_told_apart() -> None:
    names = unique_names(["p1", "P1", "../p1", "CON", "p 1", "plain"])
    assert len({name.casefold() for name in names.values()}) == 6
    assert names["plain"] == "case-plain.pdf"
    assert names["../p1"].startswith("case-p1-")


def test_entered_facts_come_by_case_without_empty_cells(tmp_path: Path) -> None:
    table = tmp_path / "entered.csv"
    table.write_text('case,Pass,Note\nP1,2,"=1+1, <b>"\nP2,,\n', encoding="utf-8")
    assert read_entered(table) == {"P1": (("Pass", "2"), ("Note", "=1+1, <b>")), "P2": ()}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patient,Pass\nP1,2\n", "no column 'case'"),
        ("case,Pass\nP1,2\nP1,3\n", "row 3: the case 'P1' is there twice"),
        ("case,Pass\n,2\n", "row 2: the cell 'case' is empty"),
    ],
)
def test_a_table_of_facts_that_is_wrong_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    table = tmp_path / "entered.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match=said):
        read_entered(table)


def decision(**changes: Any) -> Decision:
    point = Point(threshold=0.5, rule="", data="", guarantee="")
    values: dict[str, Any] = {
        "case_slope": 1.3,
        "case_intercept": -0.2,
        "case_point": point,
        "field_point": point,
        "conformal_quantile": 0.7,
        "conformal_error": 0.1,
        "conformal_cases": 50,
        "minimum_fields": 1,
        "quality": QualityGate(),
    }
    return Decision(**(values | changes))


def scored(logits: np.ndarray) -> tuple[Any, pd.DataFrame]:
    """A bundle of as many networks as `logits` has rows, and the table of its fields; temperatures are 1."""
    folds = [SimpleNamespace(number=n + 1, temperature=1.0, calibrator=None) for n in range(len(logits))]
    table = pd.DataFrame({f"logit_fold_{n + 1}": row for n, row in enumerate(logits)})
    table["probability"] = expit(logits).mean(axis=0)
    table["evaluable"] = True
    return SimpleNamespace(description=SimpleNamespace(folds=folds)), table


def answer(decided: Decision, table: pd.DataFrame) -> float:
    return float(case_probability(decided, np.array([logit(table["probability"]).mean()]))[0])


def test_the_interval_agrees_with_scipys_bootstrap_where_networks_agree() -> None:
    from scipy.stats import bootstrap

    fields = np.random.default_rng(3).normal(0.4, 1.2, 24)
    bundle, table = scored(np.tile(fields, (5, 1)))
    decided = decision()
    found = case_interval(bundle, decided, table, answer(decided, table))
    oracle = bootstrap((fields,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(1))
    expected = case_probability(decided, np.array(oracle.confidence_interval))
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.02)
    assert found.drawn_again == "fields and networks"


def test_the_interval_says_what_was_drawn_again_and_holds_the_answer() -> None:
    generator = np.random.default_rng(5)
    for networks, fields, kind in ((5, 1, "networks"), (1, 6, "fields"), (5, 6, "fields and networks")):
        for rule in ("mean-logit", "top-k-mean", "maximum", "noisy-or"):
            bundle, table = scored(generator.normal(0, 2, (networks, fields)))
            found = case_interval(bundle, decision(case_rule=rule), table, 0.4)
            assert found is not None
            assert found.drawn_again == kind
            assert found.low <= 0.4 <= found.high
    bundle, table = scored(generator.normal(0, 2, (1, 1)))
    assert case_interval(bundle, decision(), table, 0.4) is None


def test_disagreeing_networks_widen_the_interval() -> None:
    fields = np.random.default_rng(3).normal(0.4, 0.5, 12)
    widths = []
    for apart in (0.0, 2.0):
        bundle, table = scored(fields + np.linspace(-apart, apart, 5)[:, None])
        found = case_interval(bundle, decision(), table, answer(decision(), table))
        assert found is not None
        widths.append(found.high - found.low)
    assert widths[1] > 1.5 * widths[0]


def test_scores_that_the_networks_alone_do_not_explain_draw_fields_again() -> None:
    bundle, table = scored(np.random.default_rng(3).normal(0, 1, (5, 8)))
    table["probability"] = table["probability"] * 0.9
    found = case_interval(bundle, decision(), table, 0.4)
    assert found is not None
    assert found.drawn_again == "fields"


@pytest.mark.slow
def test_all_reports_are_written_kept_and_indexed_and_a_failed_one_costs_no_other(copied: Any, tmp_path: Path) -> None:
    out = tmp_path / "reports"
    cases = [str(case) for case in pd.read_parquet(copied.scores / "cases.parquet")["case"]]
    facts = {cases[0]: (("Note", "\ue000"),), cases[1]: (("Pass", "2"),), "nobody": (("Pass", "1"),)}
    result = report_cases(copied.bundle, copied.scores, out, entered_by_case=facts, created=WHEN, workers=2)
    assert list(result.failed) == [cases[0]]
    assert "U+E000" in result.failed[cases[0]]
    assert result.written == len(cases) - 1
    index = PdfReader(out / INDEX)
    text = " ".join(" ".join(page.extract_text() for page in index.pages).split())
    assert "No report could be written for 1 of the cases" in text
    assert "nobody" in text
    links = {
        str(link.get_object()["/A"]["/URI"])
        for page in index.pages
        for link in page.get("/Annots", [])
        if "/URI" in link.get_object().get("/A", {})
    }
    assert links == {path.name for path in out.glob("case-*.pdf")}

    # The same command: what is there is kept, what a killed run left out is written, with the same bytes.
    before = {path.name: path.read_bytes() for path in out.glob("case-*.pdf")}
    lost = out / unique_names(cases)[cases[2]]
    lost.unlink()
    lines = (out / JOURNAL).read_text().splitlines()
    (out / JOURNAL).write_text("\n".join([*lines[:-1], lines[-1][:10]]))
    facts[cases[0]] = ()
    again = report_cases(copied.bundle, copied.scores, out, entered_by_case=facts, created=WHEN, workers=1)
    assert again.failed == {}
    assert again.written >= 2
    assert again.kept + again.written == len(cases)
    for name, data in before.items():
        assert (out / name).read_bytes() == data
    assert all(json.loads(line)["file"] for line in (out / JOURNAL).read_text().splitlines())
