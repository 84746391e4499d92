"""Rows from workers of Ray are the rows of one process, whatever happens to a worker."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from msht import __version__
from msht.bundle import read_bundle
from msht.errors import InvalidInput, MissingResource
from msht.images.slides import Tile
from pipelines.inputs import ScoreInput, find_inputs
from pipelines.score_fields import FieldScorer, ScoreSettings
from pipelines.score_ray import check_seen, files_of, judge
from pipelines.score_ray_worker import Sight, Worker, as_text, from_text, sight_of


def by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    named = {row["image"]: row for row in rows}
    assert len(named) == len(rows), "a row came twice"
    return named


def check_same(found: dict[str, dict[str, Any]], wanted: dict[str, dict[str, Any]]) -> None:
    assert found.keys() == wanted.keys()
    for name, row in wanted.items():
        assert found[name].keys() == row.keys()
        for column, value in row.items():
            # Another number of threads may sum in another order; distances magnify that.
            margin = 1e-4 if column == "novelty" else 1e-6
            same = pytest.approx(value, abs=margin) if isinstance(value, float) else value
            assert found[name][column] == same, (name, column)


@pytest.mark.slow
def test_a_killed_worker_neither_loses_nor_doubles_a_row_and_a_bundle_may_be_sent_along(
    world: Any, tmp_path: Path
) -> None:
    ray = pytest.importorskip("ray")
    from pipelines.score_ray import RayScorer

    settings = ScoreSettings(batch_size=4, device="cpu", backend="torch")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no picture")
    items = [*find_inputs([world.cohort / "images"]), ScoreInput("broken.jpg", broken, "b")]
    wanted = by_name(FieldScorer(world.bundle, settings).score(items))
    assert wanted["broken.jpg"]["status"] == "rejected"

    copy = tmp_path / "bundle"
    shutil.copytree(world.bundle, copy)
    rows: list[dict[str, Any]] = []
    with RayScorer(read_bundle(copy), settings) as scorer:
        scorer._sent = ray.put(files_of(scorer.bundle))
        shutil.rmtree(copy)
        answers = scorer.batches(iter(items))
        rows += next(answers)
        workers = [
            process
            for process in psutil.Process().children(recursive=True)
            if process.name().startswith("ray::MapWorker")
        ]
        assert len(rows) < len(items)
        workers[0].kill()
        for part in answers:
            rows += part
    assert not workers[0].is_running() or workers[0].status() == psutil.STATUS_ZOMBIE
    assert not ray.is_initialized()
    check_same(by_name(rows), wanted)


def ask(worker: Worker, items: list[ScoreInput]) -> dict[str, Any]:
    answer = worker({"part": [3], "items": [as_text(items)]})
    return {name: values[0] for name, values in answer.items()}


def test_a_worker_answers_a_part_as_one_process_does(world: Any) -> None:
    settings = ScoreSettings(device="cpu", workers=1)
    items = find_inputs([world.cohort / "images"])[:5]
    worker = Worker(str(world.bundle), read_bundle(world.bundle).digest, settings.model_dump_json(), [None], 1)
    answer = ask(worker, items)
    assert (answer["part"], answer["problem"]) == (3, "")
    check_same(by_name(json.loads(answer["rows"])), by_name(FieldScorer(world.bundle, settings).score(items)))


def test_a_worker_that_cannot_read_the_bundle_says_so_in_a_sentence(world: Any, tmp_path: Path) -> None:
    settings = ScoreSettings(device="cpu").model_dump_json()
    digest = read_bundle(world.bundle).digest
    for path, wanted in ((tmp_path / "none", digest), (world.bundle, "another")):
        answer = ask(Worker(str(path), wanted, settings, [None], 1), [])
        assert "cannot read the bundle" in answer["problem"]
        assert "same path" in answer["mend"]
    settings = ScoreSettings(device="cpu", folds=(7,)).model_dump_json()
    assert "no fold 7" in ask(Worker(str(world.bundle), digest, settings, [None], 1), [])["problem"]


def test_the_part_of_a_slide_goes_to_a_worker_and_back() -> None:
    items = [
        ScoreInput("slide.svs#1", Path("/slides/slide.svs"), "case", Tile(1, 2, 3, 4)),
        ScoreInput('Ωmega "x".jpg', Path('/fields/Ωmega "x".jpg'), "case"),
    ]
    assert from_text(as_text(items)) == items


def test_machines_that_do_not_fit_are_one_sentence_before_anything_is_scored(world: Any, tmp_path: Path) -> None:
    image = next(iter(find_inputs([world.cohort / "images"]))).path
    digest = read_bundle(world.bundle).digest
    here = sight_of(str(world.bundle), digest, str(image))
    assert asdict(here) == {"machine": here.machine, "version": __version__, "bundle": True, "image": True}
    elsewhere = sight_of(str(tmp_path), digest, str(tmp_path / "gone.jpg"))
    assert (elsewhere.bundle, elsewhere.image) == (False, False)
    judge([here, replace(here, bundle=False)], image)  # the bundle is sent along
    judge([elsewhere], tmp_path / "gone.jpg")  # not there for anyone: a rejected row, as on one machine
    with pytest.raises(InvalidInput, match=r"The machine node-2 has msht 0\.0\.1"):
        judge([here, Sight("node-2", "0.0.1", True, True)], image)
    with pytest.raises(InvalidInput, match="The machine node-3 cannot read the image"):
        judge([Sight("node-3", __version__, True, False)], image)


def dealing(monkeypatch: pytest.MonkeyPatch, answers: list[Any], rooms: list[int]) -> Any:
    """A scorer whose cluster answers as it is told: numbers of parts, then a loss, each time it is asked."""
    exceptions = pytest.importorskip("ray.exceptions")
    from pipelines.score_ray import RayScorer

    asked: list[list[int]] = []

    def answer(self: RayScorer, waiting: dict[int, Any]) -> Iterator[tuple[int, list[Any]]]:
        asked.append(sorted(waiting))
        for number in answers.pop(0):
            yield number, [item.name for item in waiting[number]]
        raise exceptions.WorkerCrashedError

    monkeypatch.setattr(RayScorer, "_answers", answer)
    monkeypatch.setattr(RayScorer, "_room", lambda self: rooms.pop(0))
    scorer = object.__new__(RayScorer)
    scorer.settings, scorer.workers = ScoreSettings(batch_size=1), 2
    scorer._ray, scorer._looked = SimpleNamespace(exceptions=exceptions), True
    return scorer, asked


def some(count: int) -> list[ScoreInput]:
    return [ScoreInput(str(number), Path(f"{number}.jpg"), "case") for number in range(count)]


def test_what_was_lost_with_a_machine_is_dealt_out_again_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, asked = dealing(monkeypatch, [[3, 0], [], [5], [1, 2, 4]], rooms=[1, 1, 1])
    names = [name for rows in scorer.batches(some(6)) for name in rows]
    assert names == ["3", "0", "5", "1", "2", "4"]
    assert asked == [[0, 1, 2, 3, 4, 5], [1, 2, 4, 5], [1, 2, 4, 5], [1, 2, 4]]
    assert scorer.workers == 1


def test_a_part_that_kills_every_worker_and_a_cluster_that_is_gone_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, asked = dealing(monkeypatch, [[0, 1], [], [], []], rooms=[2, 2, 2, 2])
    with pytest.raises(MissingResource, match=r"Ray lost its workers.*What was scored is kept"):
        list(scorer.batches(some(3)))
    assert len(asked) == 4
    scorer, asked = dealing(monkeypatch, [[0]], rooms=[0])
    with pytest.raises(MissingResource, match="Ray lost its workers"):
        list(scorer.batches(some(3)))
    assert len(asked) == 1


def test_a_cluster_that_is_not_there_is_one_sentence_at_once() -> None:
    pytest.importorskip("ray")
    from pipelines.executors_ray import connect

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and never listens
        for address in (f"127.0.0.1:{free.getsockname()[1]}", "nonsense", "head:port"):
            with pytest.raises(MissingResource, match=f"Ray cannot be reached at {address}"):
                connect(address)


def test_an_image_that_only_another_machine_misses_is_no_damaged_image(world: Any, tmp_path: Path) -> None:
    item = next(iter(find_inputs([world.cohort / "images"])))
    gone = ScoreInput("gone.jpg", tmp_path / "gone.jpg", "case")
    check_seen([{"image": "gone.jpg", "stamp": "gone"}], [gone], "node-2")
    with pytest.raises(InvalidInput, match="The machine node-2 cannot read the image"):
        check_seen([{"image": item.name, "stamp": "gone"}], [item], "node-2")
    with pytest.raises(RuntimeError, match="answered about"):
        check_seen([{"image": "other", "stamp": "1"}], [item], "node-2")
