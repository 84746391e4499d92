from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from msht.decision import decide_case
from msht.errors import InvalidInput, MissingResource
from pipelines import score as score_module
from pipelines.score import SAME, score_images
from pipelines.score_fields import ScoreSettings, decision_of
from pipelines.score_store import Store
from pipelines.score_tables import CASE_COLUMNS, REJECTED_COLUMNS, image_columns


@pytest.fixture
def incoming(world: Any, tmp_path: Path) -> Path:
    """Twelve fields of a case."""
    folder = tmp_path / "in" / "case"
    folder.mkdir(parents=True)
    for number, file in enumerate(sorted((world.cohort / "images").rglob("*.jpg"))[:12]):
        shutil.copy(file, folder / f"{number:02d}.jpg")
    return tmp_path / "in"


def test_two_scorings_into_one_folder_do_not_run_at_once(world: Any, incoming: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    score_images(world.bundle, [incoming], out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    record = json.loads((out / "run.json").read_text())
    with Store(out, record, SAME), pytest.raises(InvalidInput, match="Another program is scoring into"):
        score_images(world.bundle, [incoming], out)
    after = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix != ".sqlite"}
    assert after == {name: data for name, data in before.items() if not name.endswith(".sqlite")}
    assert score_images(world.bundle, [incoming], out).images == 12


def test_scores_of_a_former_version_are_refused(world: Any, incoming: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "parts").mkdir(parents=True)
    (out / "parts" / "part-000001-ab.json").write_text('{"scored": [], "rejected": []}')
    (out / "run.json").write_text('{"kind": "scores"}')
    with pytest.raises(InvalidInput, match="former version"):
        score_images(world.bundle, [incoming], out)
    assert not (out / "scores.sqlite").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (ScoreSettings(folds=(1,)), "another choice of folds"),
        (ScoreSettings(test_time="flips"), "another test-time augmentation"),
        (ScoreSettings(batch_size=5), "another batch size"),
        (ScoreSettings(threshold=0.2), "another threshold"),
    ],
)
def test_rows_made_with_other_settings_are_not_added_to(world: Any, copied: Any, settings: Any, words: str) -> None:
    before = (copied.scores / "images.parquet").read_bytes()
    with pytest.raises(InvalidInput, match=words):
        score_images(world.bundle, [world.cohort / "images"], copied.scores, settings=settings)
    assert (copied.scores / "images.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (ScoreSettings(folds=(9,)), "no fold 9"),
        (ScoreSettings(folds=()), "folds"),
        (ScoreSettings(batch_size=0), "--batch-size is 0"),
        (ScoreSettings(workers=0), "--workers is 0"),
        (ScoreSettings(threshold=1.5), "--threshold is 1.5"),
        (ScoreSettings(backend="onnx"), "onnx"),
    ],
)
def test_settings_that_cannot_be_write_nothing(
    world: Any, incoming: Path, tmp_path: Path, settings: Any, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        score_images(world.bundle, [incoming], tmp_path / "out", settings=settings)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_sentence_and_what_was_scored_is_kept(
    world: Any, incoming: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ScoreSettings(batch_size=2)
    whole = score_images(world.bundle, [incoming], tmp_path / "whole", settings=small)
    connect = sqlite3.connect
    with closing(connect(tmp_path / "whole" / "scores.sqlite")) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]

    def narrow(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.execute(f"PRAGMA max_page_count = {pages - 1}")
        return connection

    monkeypatch.setattr("pipelines.score_store.sqlite3.connect", narrow)
    with pytest.raises(MissingResource, match="full"):
        score_images(world.bundle, [incoming], tmp_path / "out", settings=small)
    monkeypatch.undo()
    with closing(connect(tmp_path / "out" / "scores.sqlite")) as connection:
        kept = connection.execute("SELECT count(*) FROM answers").fetchone()[0]
    assert 0 < kept < 12
    again = score_images(world.bundle, [incoming], tmp_path / "out", settings=small)
    assert again.record["tables"] == whole.record["tables"]


def test_a_folder_that_cannot_be_made_is_one_sentence(world: Any, incoming: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot be written"):
        score_images(world.bundle, [incoming], tmp_path / "file" / "out")


def test_a_damaged_database_is_one_sentence(world: Any, incoming: Path, tmp_path: Path) -> None:
    score_images(world.bundle, [incoming], tmp_path / "out")
    (tmp_path / "out" / "scores.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(InvalidInput, match="damaged"):
        score_images(world.bundle, [incoming], tmp_path / "out")


def test_a_rejected_file_is_tried_again_by_the_next_call(world: Any, incoming: Path, tmp_path: Path) -> None:
    place = incoming / "case" / "late.jpg"
    place.write_bytes(b"\xff\xd8\xff no photograph")
    assert score_images(world.bundle, [incoming], tmp_path / "out").rejected == 1
    shutil.copy(incoming / "case" / "00.jpg", place)
    again = score_images(world.bundle, [incoming], tmp_path / "out")
    assert (again.images, again.rejected) == (13, 0)
    place.unlink()
    assert score_images(world.bundle, [incoming], tmp_path / "out").images == 12, "what is gone has no row"


def test_a_pipe_and_a_link_to_nothing_are_rejected_rows(world: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "in" / "gone.png")
    result = score_images(world.bundle, [tmp_path / "in", tmp_path / "pipe.png"], tmp_path / "out")
    rejected = pd.read_csv(tmp_path / "out" / "rejected.csv").set_index("image")["reason"]
    assert (result.images, result.rejected) == (0, 2)
    assert "not a regular file" in rejected["pipe.png"]
    assert "link.png" in rejected["link.png"]


def test_a_subset_of_folds_and_augmentation_are_said_in_every_output(
    world: Any, incoming: Path, tmp_path: Path
) -> None:
    settings = ScoreSettings(folds=(2,), test_time="flips", threshold=0.3)
    result = score_images(world.bundle, [incoming], tmp_path / "out", settings=settings)
    for name in ("images", "cases"):
        table = pd.read_csv(tmp_path / "out" / f"{name}.csv", dtype={"folds": str})
        assert set(table["folds"]) == {"2"}
        assert set(table["test_time_augmentation"]) == {"flips"}
        overridden = "case_threshold_overridden" if name == "images" else "threshold_overridden"
        assert table[overridden].all()
    images = pd.read_parquet(tmp_path / "out" / "images.parquet")
    assert [column for column in images if str(column).startswith("logit_fold_")] == ["logit_fold_2"]
    assert (images["spread"] == 0).all(), "one network has no spread"
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (record["folds"], record["all_folds"], record["test_time_augmentation"]) == ([2], False, "flips")
    for words in ("threshold 0.3", "fold 2", "flips"):
        assert words in result.in_words()
    assert result.summary()["folds"] == [2]
    assert json.loads(json.dumps(result.summary()))["tables"] == record["tables"]


def test_one_network_alone_answers_as_it_does_among_all(world: Any, incoming: Path, tmp_path: Path) -> None:
    score_images(world.bundle, [incoming], tmp_path / "out", settings=ScoreSettings(folds=(1,)))
    alone, among = (pd.read_parquet(where / "images.parquet") for where in (tmp_path / "out", world.scores))
    both = alone.merge(among, on="sha256", suffixes=("", "_among"))
    assert len(both) == 12
    pd.testing.assert_series_equal(both["logit_fold_1"], both["logit_fold_1_among"], rtol=1e-5, check_names=False)
    assert set(among["folds"]) == {"all"}


def test_the_conformal_set_of_a_field_is_there_only_where_the_guarantee_is_about_fields(
    world: Any, incoming: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score_images(world.bundle, [incoming], tmp_path / "case")
    images = pd.read_parquet(tmp_path / "case" / "images.parquet")
    cases = pd.read_parquet(tmp_path / "case" / "cases.parquet").set_index("case")
    assert (images["conformal_set"] == "").all()
    assert list(images["case_conformal_set"]) == list(cases["conformal_set"][images["case"]])
    by_field: Callable[[Any, Any], Any] = lambda bundle, settings: decision_of(bundle, settings).model_copy(  # noqa: E731
        update={"conformal_level": "field", "case_slope": 1.0, "case_intercept": 0.0, "minimum_fields": 1}
    )
    monkeypatch.setattr(score_module, "decision_of", by_field)
    score_images(world.bundle, [incoming], tmp_path / "field")
    from msht.bundle import read_bundle

    decision = by_field(read_bundle(world.bundle), ScoreSettings())
    images = pd.read_parquet(tmp_path / "field" / "images.parquet")
    for row in images.to_dict("records"):  # of a case with this field alone
        alone = decide_case(decision, pd.Series([row["logit"]]).to_numpy()).conformal
        assert row["conformal_set"] == (" ".join(alone) if row["evaluable"] else "")


def test_numbers_stay_numbers_in_the_csv_though_some_begin_with_a_minus(world: Any) -> None:
    csv = pd.read_csv(world.scores / "images.csv")
    parquet = pd.read_parquet(world.scores / "images.parquet")
    numeric = parquet.select_dtypes("number").columns
    assert (parquet[numeric] < 0).any(axis=None)
    pd.testing.assert_frame_equal(csv[numeric], parquet[numeric], rtol=1e-15)


def test_tables_have_the_columns_that_are_promised_even_when_they_are_empty(world: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"")
    score_images(world.bundle, [tmp_path / "broken.png"], tmp_path / "out")
    folds = [fold["number"] for fold in json.loads((world.bundle / "bundle.json").read_text())["folds"]]
    wanted = {"images": image_columns(folds), "cases": CASE_COLUMNS, "rejected": REJECTED_COLUMNS}
    for name, columns in wanted.items():
        for where in (tmp_path / "out", world.scores):
            table = pd.read_parquet(where / f"{name}.parquet")
            assert list(table) == list(columns)
            assert {str(c): str(table[c].dtype) for c in table} == columns
            assert list(pd.read_csv(where / f"{name}.csv")) == list(columns)


def test_the_page_on_scoring_names_every_column(root: Path) -> None:
    page = (root / "docs" / "scoring.md").read_text(encoding="utf-8")
    columns = {*image_columns([], slides=True), *CASE_COLUMNS, *REJECTED_COLUMNS, "logit_fold_N"}
    assert [column for column in sorted(columns) if f"`{column}`" not in page] == []
