"""A case report that is logged holds no name of a case, a file or a slide."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from msht.bundle import read_bundle
from msht.errors import InvalidInput
from pipelines import tracking
from pipelines.bundle import make_bundle
from pipelines.report_case import prepare_case_report
from pipelines.report_case_scoring import read_scoring
from pipelines.run_folder import RunFolder
from pipelines.tracking_reports import run_of_bundle, without_patient
from reports.case_parts import RejectedPicture, SlidePicture


def test_nothing_that_names_a_patient_is_left_in_a_logged_report(copied: Any) -> None:
    cases = pd.read_parquet(copied.scores / "cases.parquet")
    case = str(cases[cases["call"] != "not evaluable"]["case"].iloc[0])
    report = prepare_case_report(
        read_scoring(copied.bundle, copied.scores), case, entered=[("Name", "Jane Doe")], networks=None
    )
    field, picture = report.deciding[0], report.deciding[0].crop
    report = report.model_copy(
        update={
            "tiles": report.deciding,
            "rejected_pictures": (RejectedPicture(name=field.name, picture=picture),),
            "slides": (SlidePicture(name="Jane Doe.svs", picture=picture, tiles=1, evaluable=1, positive=0),),
        }
    )
    shown = without_patient(report)
    paths = {"deciding": {"__all__": {"crop", "overlay", "whole"}}, "tiles": {"__all__": {"crop", "overlay", "whole"}}}
    said = shown.model_dump_json(exclude={**paths, "rejected_pictures": {"__all__": {"picture"}}})
    for name in (case, "Jane Doe", *(row.name for row in report.fields), *(row.sha256 for row in report.fields)):
        assert name not in said
    assert len(shown.tiles) == len(report.tiles)


def test_every_bundle_of_a_run_leads_back_to_it(copied: Any) -> None:
    later = make_bundle(copied.run, copied.folder / "later", tracking_uri=copied.tracking_uri)
    first = read_bundle(copied.bundle)
    assert later.model_digest != first.model_digest
    client = tracking.open_client(copied.tracking_uri)
    run = RunFolder(copied.run).state()["mlflow_run"]
    assert [run_of_bundle(client, bundle.model_digest) for bundle in (first, later)] == [run, run]
    with pytest.raises(InvalidInput, match="--tracking-uri"):
        run_of_bundle(client, "0" * 64)
