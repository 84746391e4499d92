"""What a run logs while the store is away arrives later, in order and once."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from msht.errors import InvalidInput, MissingResource
from pipelines import tracking
from pipelines.tracking_client import Tracker
from pipelines.tracking_spool import FOLDER, pending


class Store:
    """As much of MLflow's client as the pipelines write with; it can be away, and can refuse."""

    def __init__(self) -> None:
        self.away = False
        self.refuses = ""
        self.calls = 0
        self.runs: dict[str, dict[str, Any]] = {}

    def _answer(self, key: str = "") -> None:
        self.calls += 1
        if self.away:
            raise MlflowException("connection refused")
        if self.refuses and self.refuses in key:
            raise MlflowException.invalid_parameter_value(f"{key} is not to my taste")

    def search_experiments(self, max_results: int) -> list[Any]:
        self._answer()
        return []

    def create_run(self, experiment: str, *, start_time: int, tags: dict[str, str], run_name: str) -> Any:
        self._answer()
        number = f"run{len(self.runs) + 1}"
        self.runs[number] = {"name": run_name, "tags": dict(tags), "metrics": [], "files": {}, "start": start_time}
        return SimpleNamespace(info=SimpleNamespace(run_id=number))

    def log_batch(self, run: str, metrics: list[Metric] = (), params: list[Param] = ()) -> None:
        self._answer(metrics[0].key if metrics else "")
        self.runs[run]["metrics"] += [(m.key, m.value, m.step) for m in metrics]

    def set_tag(self, run: str, key: str, value: str) -> None:
        self._answer()
        self.runs[run]["tags"][key] = value

    def update_run(self, run: str, status: str) -> None:
        self._answer()

    def set_terminated(self, run: str, status: str, end_time: int) -> None:
        self._answer()
        self.runs[run]["status"] = status

    def log_artifact(self, run: str, path: str, artifact_path: str | None) -> None:
        self._answer()
        self.runs[run]["files"][f"{artifact_path}/{Path(path).name}"] = Path(path).read_text()


def metric(name: str, value: float, step: int = 0) -> Metric:
    return Metric(name, value, 1, step)


def test_a_store_that_goes_away_stops_nothing_and_gets_everything_later(tmp_path: Path) -> None:
    store, words = Store(), []
    tracker = Tracker(store, tmp_path, words.append)
    parent = tracker.create_run("1", tags={}, run_name="parent")
    tracker.log_batch(parent, metrics=[metric("auroc", 0.5, 1)])
    store.away = True
    tracker.log_batch(parent, metrics=[metric("auroc", 0.6, 2)])
    child = tracker.create_run("1", tags={"mlflow.parentRunId": parent}, run_name="child")
    note = tmp_path / "note.txt"
    note.write_text("as it was then")
    tracker.log_artifact(child, note, "notes")
    note.write_text("changed since")
    tracker.set_terminated(child, "FINISHED")
    assert pending(tmp_path)
    assert "goes on" in words[0]
    store.away = False
    sent = tracker.synchronise()
    assert (sent.waiting, sent.refused) == (0, 0)
    assert store.runs["run1"]["metrics"] == [("auroc", 0.5, 1), ("auroc", 0.6, 2)]
    assert store.runs["run2"]["tags"] == {"mlflow.parentRunId": "run1", "msht.synchronised": "afterwards"}
    assert store.runs["run2"]["files"] == {"notes/note.txt": "as it was then"}
    assert not pending(tmp_path)
    tracker.log_batch(child, metrics=[metric("seconds", 3.0)])
    assert store.runs["run2"]["metrics"] == [("seconds", 3.0, 0)]


def test_a_store_that_is_away_is_not_asked_at_every_step(tmp_path: Path) -> None:
    store = Store()
    tracker = Tracker(store, tmp_path)
    run = tracker.create_run("1", tags={}, run_name="run")
    store.away = True
    before = store.calls
    for step in range(500):
        tracker.log_batch(run, metrics=[metric("loss", 1.0, step)])
    assert store.calls == before + 1


def test_a_store_that_comes_back_is_used_again_without_being_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.tracking_client.FIRST_WAIT", 0.0)
    store = Store()
    tracker = Tracker(store, tmp_path)
    run = tracker.create_run("1", tags={}, run_name="run")
    store.away = True
    tracker.log_batch(run, metrics=[metric("loss", 3.0, 1)])
    store.away = False
    tracker._ask_at = 0.0
    tracker.log_batch(run, metrics=[metric("loss", 2.0, 2)])
    assert store.runs[run]["metrics"] == [("loss", 3.0, 1), ("loss", 2.0, 2)]
    assert not tracker.away


def test_children_of_other_processes_find_their_parent_whoever_is_sent_first(tmp_path: Path) -> None:
    store = Store()
    store.away = True
    worker, main = Tracker(store, tmp_path, away=True), Tracker(store, tmp_path, away=True)
    parent = main.create_run("1", tags={}, run_name="parent")
    child = worker.create_run("1", tags={"mlflow.parentRunId": parent}, run_name="child")
    worker.set_terminated(child, "FINISHED")
    main.set_terminated(parent, "FINISHED")
    files = sorted((tmp_path / FOLDER).glob("*.jsonl"))
    files[-1].rename(files[-1].with_name(files[-1].name.replace("operations-", "operations-0")))
    store.away = False
    assert main.synchronise().waiting == 0
    by_name = {run["name"]: (number, run) for number, run in store.runs.items()}
    assert by_name["child"][1]["tags"]["mlflow.parentRunId"] == by_name["parent"][0]
    assert {run["status"] for run in store.runs.values()} == {"FINISHED"}


def test_a_synchronisation_that_is_cut_short_goes_on_and_doubles_nothing(tmp_path: Path) -> None:
    store = Store()
    tracker = Tracker(store, tmp_path, away=True)
    run = tracker.create_run("1", tags={}, run_name="run")
    for step in range(4):
        tracker.log_batch(run, metrics=[metric("loss", float(step), step)])
    real, left = store.log_batch, [2]

    def fails_after_two(*arguments: Any, **named: Any) -> None:
        left[0] -= 1
        store.away = left[0] < 0
        real(*arguments, **named)

    store.log_batch = fails_after_two  # type: ignore[method-assign]
    assert tracker.synchronise().waiting == 1
    store.log_batch, store.away = real, False  # type: ignore[method-assign]
    tracker.synchronise()
    assert [value for _, value, _ in store.runs["run1"]["metrics"]] == [0.0, 1.0, 2.0, 3.0]
    assert len(store.runs) == 1


def test_what_a_store_refuses_is_kept_with_its_reason_and_holds_nothing_up(tmp_path: Path) -> None:
    store = Store()
    store.refuses = "bad"
    tracker = Tracker(store, tmp_path, away=True)
    run = tracker.create_run("1", tags={}, run_name="run")
    tracker.log_batch(run, metrics=[metric("bad", 1.0)])
    tracker.log_batch(run, metrics=[metric("good", 1.0)])
    sent = tracker.synchronise()
    assert (sent.refused, sent.waiting) == (1, 0)
    assert store.runs["run1"]["metrics"] == [("good", 1.0, 0)]
    assert "not to my taste" in json.loads((tmp_path / FOLDER / "refused.jsonl").read_text())["reason"]


def test_a_line_that_was_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    store = Store()
    tracker = Tracker(store, tmp_path, away=True)
    run = tracker.create_run("1", tags={}, run_name="run")
    tracker.log_batch(run, metrics=[metric("loss", 1.0)])
    file = next((tmp_path / FOLDER).glob("*.jsonl"))
    file.write_text(file.read_text() + '{"do": "log_batch", "run": "lo')
    assert tracker.synchronise().waiting == 0
    assert store.runs["run1"]["metrics"] == [("loss", 1.0, 0)]


@pytest.mark.slow
def test_a_wrong_address_is_said_before_a_run_begins_and_waited_for_after(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    with pytest.raises(MissingResource, match="cannot be opened"):
        tracking.open_client(nowhere, spool=tmp_path)
    (tmp_path / "run.json").write_text("{}")
    client = tracking.open_client(nowhere, spool=tmp_path)
    assert client.away
    number = tracking.experiment_id(client, "msht", nowhere)
    with tracking.tracked_run(client, number, "run") as run:
        tracking.log_metrics(client, run, {"auroc": 0.9})
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    sent = tracking.synchronise_run(tmp_path, tracking_uri=uri)
    assert sent.waiting == 0
    client = tracking.open_client(uri)
    experiment = client.get_experiment_by_name("msht")
    found = client.search_runs([experiment.experiment_id])[0]
    assert (found.info.status, found.data.metrics["auroc"]) == ("FINISHED", 0.9)


def test_a_folder_that_is_no_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not a run"):
        tracking.synchronise_run(tmp_path)
