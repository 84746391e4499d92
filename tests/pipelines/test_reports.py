from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pypdf import PdfReader

from msht.bundle import read_bundle
from msht.errors import InvalidInput
from msht.images.colour import Colour
from msht.images.preprocessing import Preprocessing
from pipelines.case_maps import deciding_fields, explain_case
from pipelines.explain import explain_cases
from pipelines.explain_maps import case_scale
from pipelines.inputs import file_name_for
from pipelines.report_case import report_case
from pipelines.report_case_all import report_cases
from pipelines.report_validation import report_validation
from pipelines.report_validation_settings import in_print, preprocessing_facts, time_in_print

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def text_of(path: Path) -> str:
    return " ".join(" ".join(page.extract_text() for page in PdfReader(path).pages).split())


def test_a_case_report_says_call_score_and_cohort(copied: Any, tmp_path: Path) -> None:
    row = pd.read_parquet(copied.scores / "cases.parquet").iloc[0]
    out = report_case(
        copied.bundle, copied.scores, row["case"], tmp_path / "c.pdf", entered=[("Pass", "2")], created=WHEN
    )
    text = text_of(out)
    assert len(PdfReader(out).pages) <= 2
    assert "Decision support, not a diagnosis" in text
    assert str(row["case"]) in text
    assert f"{row['probability']:.2f}" in text
    assert "Synthetic phantom data" in text
    assert "page 1 of 2" in text
    digest = json.loads((copied.scores / "run.json").read_text())["bundle"]["digest"]
    assert digest[:8] in text


def test_the_same_case_and_time_give_the_same_bytes(copied: Any, tmp_path: Path) -> None:
    case = pd.read_parquet(copied.scores / "cases.parquet")["case"].iloc[0]
    first = report_case(copied.bundle, copied.scores, case, tmp_path / "1.pdf", created=WHEN).read_bytes()
    second = report_case(copied.bundle, copied.scores, case, tmp_path / "2.pdf", created=WHEN).read_bytes()
    assert first == second


def test_an_unknown_case_is_refused_with_the_nearest(copied: Any, tmp_path: Path) -> None:
    case = pd.read_parquet(copied.scores / "cases.parquet")["case"].iloc[0]
    with pytest.raises(InvalidInput, match=f"Did you mean '{case}'"):
        report_case(copied.bundle, copied.scores, f"{case}x", tmp_path / "c.pdf")
    assert not (tmp_path / "c.pdf").exists()


def test_scores_of_another_bundle_are_refused(copied: Any, tmp_path: Path) -> None:
    record = json.loads((copied.scores / "run.json").read_text())
    record["bundle"] |= {"digest": "0" * 64, "model_digest": "0" * 64}
    (copied.scores / "run.json").write_text(json.dumps(record))
    with pytest.raises(InvalidInput, match="was scored with the bundle"):
        report_case(copied.bundle, copied.scores, "x", tmp_path / "c.pdf")


def test_an_export_that_was_added_since_leaves_the_scores_good(copied: Any, tmp_path: Path) -> None:
    record = json.loads((copied.scores / "run.json").read_text())
    record["bundle"]["digest"] = "0" * 64  # of the bundle as it was; the model's is still the same
    (copied.scores / "run.json").write_text(json.dumps(record))
    case = pd.read_parquet(copied.scores / "cases.parquet")["case"].iloc[0]
    assert report_case(copied.bundle, copied.scores, case, tmp_path / "c.pdf").is_file()


def test_an_image_that_changed_since_scoring_is_not_explained(copied: Any, tmp_path: Path) -> None:
    images = pd.read_parquet(copied.scores / "images.parquet")
    images["sha256"] = "0" * 64
    images.to_parquet(copied.scores / "images.parquet", index=False)
    with pytest.raises(InvalidInput, match="changed since it was scored"):
        report_case(copied.bundle, copied.scores, images["case"].iloc[0], tmp_path / "c.pdf")


def test_maps_are_made_once_and_kept_unless_another_method_is_asked_for(copied: Any) -> None:
    case = pd.read_parquet(copied.scores / "cases.parquet")["case"].iloc[0]
    first = explain_cases(copied.bundle, copied.scores, cases=[case])[0]
    stamp = (first.folder / "maps.json").stat().st_mtime_ns
    explain_cases(copied.bundle, copied.scores, cases=[case], method=None)
    assert (first.folder / "maps.json").stat().st_mtime_ns == stamp
    second = explain_cases(copied.bundle, copied.scores, cases=[case], method="gradcam", layer="encoder_4")[0]
    assert "LayerCAM" in first.method
    assert "Grad-CAM" in second.method
    assert second.layer == "backbone stage 4"
    maps = np.load(second.folder / second.fields[0]["array"], allow_pickle=False)
    assert maps.min() >= 0


def test_a_field_whose_photograph_is_gone_is_named_and_shown_again_when_it_is_back(
    copied: Any, tmp_path: Path, said: Any
) -> None:
    images = pd.read_parquet(copied.scores / "images.parquet")
    images["path"] = [str(shutil.copy(path, tmp_path / f"{n}.jpg")) for n, path in enumerate(images["path"])]
    images.to_parquet(copied.scores / "images.parquet", index=False)
    cases = pd.read_parquet(copied.scores / "cases.parquet")
    row = cases[cases["call"] != "not evaluable"].iloc[0]
    chosen = deciding_fields(images[images["case"] == row["case"]], row["call"])
    gone, kept = chosen.iloc[0], chosen.iloc[1:]
    Path(gone["path"]).rename(tmp_path / "away.jpg")
    report_case(copied.bundle, copied.scores, row["case"], tmp_path / "c.pdf", created=WHEN, progress=said)
    assert "Without a picture" in text_of(tmp_path / "c.pdf")
    assert str(gone["path"]) in said.words[0]
    maps = explain_cases(copied.bundle, copied.scores, cases=[row["case"]])[0]
    assert [one.image for one in maps.gone] == [gone["image"]]
    assert [field["image"] for field in maps.fields] == list(kept["image"])
    (tmp_path / "away.jpg").rename(gone["path"])
    report_case(copied.bundle, copied.scores, row["case"], tmp_path / "c.pdf", created=WHEN, progress=said)
    assert "Without a picture" not in text_of(tmp_path / "c.pdf")
    assert len(said.words) == 1
    whole = explain_cases(copied.bundle, copied.scores, cases=[row["case"]])[0]
    assert [field["image"] for field in whole.fields] == list(chosen["image"])
    for path in images["path"]:
        Path(path).unlink()
    kept_maps = explain_cases(copied.bundle, copied.scores, cases=[row["case"]])[0]
    assert kept_maps == whole, "what was drawn once stays when the photographs go"


def test_a_case_without_any_photograph_left_still_has_its_report(copied: Any, tmp_path: Path) -> None:
    images = pd.read_parquet(copied.scores / "images.parquet")
    images["path"] = [str(tmp_path / f"{n}.jpg") for n in range(len(images))]
    images.to_parquet(copied.scores / "images.parquet", index=False)
    result = report_cases(copied.bundle, copied.scores, tmp_path / "out", created=WHEN, workers=1)
    assert not result.failed
    assert result.gone
    cases = pd.read_parquet(copied.scores / "cases.parquet")
    case = cases[cases["call"] != "not evaluable"].iloc[0]["case"]
    assert "no longer where it was scored" in text_of(tmp_path / "out" / f"case-{file_name_for(case)}.pdf")


def test_a_map_is_kept_for_a_photograph_that_went_and_drawn_on_the_new_scale(copied: Any, tmp_path: Path) -> None:
    images = pd.read_parquet(copied.scores / "images.parquet")
    images["path"] = [str(shutil.copy(path, tmp_path / f"{n}.jpg")) for n, path in enumerate(images["path"])]
    images.to_parquet(copied.scores / "images.parquet", index=False)
    cases = pd.read_parquet(copied.scores / "cases.parquet")
    row = cases[cases["call"] != "not evaluable"].iloc[0]
    case = row["case"]
    whole = explain_cases(copied.bundle, copied.scores, cases=[case])[0]
    shown = {field["image"]: np.load(whole.folder / field["array"]) for field in whole.fields}
    pictures = {field["image"]: (whole.folder / field["crop"]).read_bytes() for field in whole.fields}
    gone = whole.fields[0]["image"]
    Path(images.set_index("image").loc[gone, "path"]).unlink()
    other = images[(images["case"] != case) & images["evaluable"]].iloc[[0]].assign(case=case)
    other["logit"] = -99.0 if row["call"] == "negative" else 99.0
    other["image"] = "one more"
    fields = pd.concat([images[images["case"] == case], other], ignore_index=True)
    again = explain_case(read_bundle(copied.bundle), copied.scores, fields, case, row["call"])
    by_name = {field["image"]: field for field in again.fields}
    assert not again.gone
    assert "one more" in by_name
    assert np.array_equal(np.load(again.folder / by_name[gone]["array"]), shown[gone])
    assert (again.folder / by_name[gone]["crop"]).read_bytes() == pictures[gone]
    files = {path.name for path in again.folder.iterdir()}
    named = {field[what] for field in again.fields for what in ("crop", "overlay", "array")}
    assert files == named | {"maps.json"}, "nothing is left of what is no longer shown"


def test_an_unknown_method_is_refused(copied: Any) -> None:
    with pytest.raises(InvalidInput, match="--method tarot"):
        explain_cases(copied.bundle, copied.scores, method="tarot")


def test_the_fields_that_decided_follow_the_call() -> None:
    fields = pd.DataFrame(
        {"image": list("abcde"), "logit": [3.0, -4.0, 1.0, -1.0, 9.0], "evaluable": [True, True, True, True, False]}
    )
    assert list(deciding_fields(fields, "positive")["image"]) == ["a", "c", "d", "b"]
    assert deciding_fields(fields, "negative")["image"].iloc[0] == "b"
    assert list(deciding_fields(fields, "indeterminate")["image"]) == ["a", "b", "c", "d"]


def test_the_scale_of_a_case_lets_half_of_its_fields_reach_the_last_colour() -> None:
    maps = np.array([[[1.0]], [[2.0]], [[30.0]]])
    assert case_scale(maps) == 2.0
    assert case_scale(np.zeros((2, 3, 3))) == 1.0


def test_a_validation_report_prints_the_counts_of_the_test_set(world: Any, tmp_path: Path) -> None:
    out = report_validation(world.run, tmp_path / "v.pdf", created=WHEN)
    text = text_of(out)
    evaluation = json.loads((world.run / "evaluation.json").read_text())
    row = evaluation["performance"][0]
    assert f"On {row['n_rows']} test cases" in text
    for heading in ("Which data chose what", "Calibration", "Limits", "Checklist", "Disjointness"):
        assert heading in text
    assert time_in_print(evaluation["opened"][0]) in text
    assert not re.search(r"crop None|'none'|[{}`]|\d{4}-\d\d-\d\dT", text), "nothing is printed as Python writes it"


def test_a_name_that_no_font_can_set_is_printed_by_its_code_points() -> None:
    from pipelines.report_case_parts import name_in_print

    assert name_in_print("P1_ä.jpg") == "P1_ä.jpg"
    assert name_in_print("标.jpg") == "<6807>.jpg"


def test_a_validation_report_needs_an_opened_test_set(copied: Any, tmp_path: Path) -> None:
    (copied.run / "evaluation.json").unlink()
    with pytest.raises(InvalidInput, match="never opened"):
        report_validation(copied.run, tmp_path / "v.pdf")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "none"),
        (True, "yes"),
        (False, "no"),
        (0.05, "0.05"),
        ((-180.0, 180.0), "\u2212180.0, 180.0"),
        ("32-true", "32-true"),
        ({"even_light": True, "target": None}, "even light: yes, target: none"),
    ],
)
def test_settings_are_printed_in_words(value: object, said: str) -> None:
    assert in_print(value) == said


def test_what_is_done_to_a_field_is_said_as_it_is_done() -> None:
    published = {fact.name: fact.value for fact in preprocessing_facts(Preprocessing(crop=700, size=384))}
    assert published["Part of the field"] == "a centred square of 700 px"
    assert published["Values"] == "to 0 to 1"
    several = Preprocessing(size=96, crops=(2, 2), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), microns_per_pixel=0.25,
                            colour=Colour(white=True))  # fmt: skip
    facts = {fact.name: fact.value for fact in preprocessing_facts(several)}
    assert facts["Part of the field"].startswith("2 × 2 squares as large as they can be")
    assert (facts["Colour"], facts["Scale"]) == ("white balance", "0.25 µm per px")
    assert "divided by 0.2, 0.2, 0.2" in facts["Values"]


def test_names_written_from_the_right_do_not_turn_what_stands_beside_them() -> None:
    from pipelines.report_case_parts import name_in_print

    assert name_in_print("אב-片.jpg") == "<05D0><05D1>-<7247>.jpg"


def test_a_negative_case_shows_what_speaks_against_it_too() -> None:
    fields = pd.DataFrame(
        {"image": list("abcdef"), "logit": [3.0, -4.0, 1.0, -1.0, -3.0, 0.0], "evaluable": [True] * 6}
    )
    assert list(deciding_fields(fields, "negative")["image"]) == ["b", "a", "e", "c"]
