"""The demo is the whole way: if it works on phantoms, a new user's first ten minutes do."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from pypdf import PdfReader

from msht.images.reading import read_image
from pipelines.demo import run_demo


@pytest.mark.slow
def test_the_demo_learns_the_phantom_and_writes_every_document(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    result = run_demo(out, patients=16)  # two thirds of what `make demo` draws: the same way in less time
    evaluation = json.loads((out / "run" / "evaluation.json").read_text())
    by_field = next(r for r in evaluation["performance"] if r["level"] == "field")
    assert by_field["estimates"]["auroc"]["value"] >= 0.90
    assert len(evaluation["opened"]) == 1
    cases = pd.read_parquet(out / "scores" / "cases.parquet")
    assert "not evaluable" in set(cases["call"])
    rejected = pd.read_parquet(out / "scores" / "rejected.parquet")
    assert list(rejected["image"].str.split("/").str[-1]) == ["interrupted-copy.jpg"]
    reports = sorted((out / "reports").glob("case-*.pdf"))
    assert len(reports) == len(cases)
    assert all(len(PdfReader(report).pages) <= 2 for report in reports)
    assert len(PdfReader(out / "reports" / "validation.pdf").pages) > 3
    overlays = sorted((out / "scores" / "maps").rglob("*-overlay.jpg"))
    assert overlays
    assert read_image(overlays[0]).pixels.std() > 5
    assert any("AUROC" in row[0] for row in result.rows)
