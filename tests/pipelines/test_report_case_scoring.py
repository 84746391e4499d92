"""What a report says of how its fields were scored, and what it takes of the tiles of slides."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from msht.bundle import read_bundle
from msht.errors import BrokenBundle
from pipelines.case_maps import SHOWN, TILES_SHOWN, deciding_fields
from pipelines.report_case import SURE, SURE_OF_SET, prepare_case_report
from pipelines.report_case_interval import case_interval
from pipelines.report_case_parts import field_rows, performance_part, slide_parts
from pipelines.report_case_scoring import read_scoring
from reports.case_facts import ScoringFacts
from reports.words import words_of


def changed(world: Any, **said: object) -> ScoringFacts:
    path = world.scores / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | said))
    return read_scoring(world.bundle, world.scores).facts


def test_networks_orientations_and_backend_come_from_the_record(copied: Any) -> None:
    plain = changed(copied, backend="torch")
    assert (plain.folds, plain.test_time, plain.backend) == ((), None, "torch")
    assert plain.finished is not None
    assert plain.finished.utcoffset() is not None
    some = changed(copied, folds=[2], test_time_augmentation="dihedral", backend="onnx")
    assert (some.folds, some.test_time, some.backend) == ((2,), "dihedral", "onnx")


def test_a_record_of_an_older_version_says_less_and_is_read(copied: Any) -> None:
    path = copied.scores / "run.json"
    record = json.loads(path.read_text())
    kept = {key: record[key] for key in ("kind", "bundle", "threshold", "threshold_overridden", "finished")}
    path.write_text(json.dumps(kept))
    facts = read_scoring(copied.bundle, copied.scores).facts
    assert (facts.folds, facts.test_time, facts.backend) == ((), None, None)


def test_an_interval_draws_only_the_networks_that_answered(copied: Any) -> None:
    scoring = read_scoring(copied.bundle, copied.scores)
    fields = scoring.images.copy()
    decision = scoring.bundle.description.decision
    column = f"logit_fold_{scoring.bundle.description.folds[0].number}"
    lost = [name for name in fields if str(name).startswith("logit_fold_") and name != column]
    fold = scoring.bundle.description.folds[0]
    alone = fields.drop(columns=lost)
    logits = alone[column].to_numpy(dtype=float)
    odds = logits / fold.temperature if fold.calibrator is None else fold.calibrator.log_odds(logits)
    alone["probability"] = 1 / (1 + np.exp(-odds))
    found = case_interval(scoring.bundle, decision, alone, 0.5, folds=(fold.number,))
    assert found is not None
    assert found.drawn_again == "fields"


@pytest.mark.parametrize("of_slides", [False, True])
def test_a_case_with_some_fields_unlike_the_cohort_is_not_said_to_be_like_it(copied: Any, of_slides: bool) -> None:
    scoring = read_scoring(copied.bundle, copied.scores)
    case = str(scoring.cases["case"].iloc[0])
    cases, images = scoring.cases.copy(), scoring.images.copy()
    mine = cases["case"] == case
    cases.loc[mine, ["call", "refer", "reasons"]] = ["positive", False, ""]
    cases.loc[mine, "out_of_distribution_fields"] = 0
    images["out_of_distribution"] = False
    like = replace(scoring, cases=cases, images=images)
    assert prepare_case_report(like, case).refer_because == (SURE,)
    cases.loc[mine, "out_of_distribution_fields"] = 1
    first = images.index[(images["case"] == case) & images["evaluable"].astype(bool)][0]
    images.loc[first, "out_of_distribution"] = True
    if of_slides:
        images["slide"] = "s.svs"
    report = prepare_case_report(replace(scoring, cases=cases, images=images), case)
    assert report.refer_because == (SURE_OF_SET,)
    assert report.unlike_fields == 1
    assert report.of_slides == of_slides


def tiles(number: int) -> pd.DataFrame:
    logits = np.linspace(-4, 4, number)
    return pd.DataFrame(
        {
            "image": [f"s.svs#y{n}" for n in range(number)],
            "slide": "s.svs",
            "logit": logits,
            "evaluable": True,
            "call": np.where(logits > 0, "positive", "negative"),
        }
    )


@pytest.mark.parametrize("call", ["positive", "negative", "indeterminate"])
def test_twenty_tiles_are_shown_of_a_slide_and_four_fields_of_photographs(call: str) -> None:
    frame = tiles(50)
    assert len(deciding_fields(frame, call)) == TILES_SHOWN == 20
    assert len(deciding_fields(frame.drop(columns="slide"), call)) == SHOWN
    assert len(deciding_fields(frame.assign(slide=None), call)) == SHOWN


def test_the_map_of_a_slide_is_taken_with_its_counts_and_a_missing_one_left_out(tmp_path: Path) -> None:
    frame = tiles(10)
    assert slide_parts(tmp_path, frame, "en") == ()
    folder = tmp_path / "slides" / "s.svs"
    folder.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "heatmap.png")
    (shown,) = slide_parts(tmp_path, frame, "en")
    assert (shown.name, shown.tiles, shown.evaluable, shown.positive) == ("s.svs", 10, 10, 5)
    assert slide_parts(tmp_path, frame.drop(columns="slide"), "en") == ()


def test_figures_of_a_first_version_are_refused_in_a_sentence(world: Any) -> None:
    description = read_bundle(world.bundle).description
    rows = [{key: value for key, value in row.items() if key != "unit"} for row in description.performance]
    with pytest.raises(BrokenBundle, match="made by an earlier version"):
        performance_part(rows, description.cohort, "case")
    assert performance_part(description.performance, description.cohort, "case").role == "test"


def test_one_network_alone_has_no_spread_and_a_name_that_cannot_be_printed_is_no_damage(copied: Any) -> None:
    fields = read_scoring(copied.bundle, copied.scores).images.head(2)
    refused = pd.DataFrame(
        {
            "image": ["a.jpg", "b.jpg"],
            "reason": ["b is damaged.", "The name 'b' holds characters that cannot be printed."],
        }
    )
    alone = field_rows(fields, refused, "en", networks=1)
    assert [row.spread for row in alone] == [None] * 4
    assert [row.rejected_because for row in alone[2:]] == [
        "could not be read whole",
        "not read: its name cannot be printed",
    ]
    assert all(row.spread is not None for row in field_rows(fields, refused, "en", networks=2)[:2])
    assert words_of("zh").stored("not read: its name cannot be printed") == "未读取：文件名无法显示"
