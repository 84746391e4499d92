"""Against a real MLflow server and a real model server, over HTTP on the loopback."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from msht.errors import BrokenBundle, InvalidInput
from msht.images.reading import decode_image
from pipelines.progress import Silent
from pipelines.registry import promote, register_bundle
from pipelines.serving import BundleModel, bytes_of, example, named

ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",  # where uvicorn lies
    "OMP_NUM_THREADS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server:
    """A program of MLflow in a process group of its own."""

    def __init__(self, arguments: list[str], port: int, health: str, folder: Path, **environment: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / f"server-{port}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *arguments, "--host", "127.0.0.1", "--port", str(port)],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**ENVIRONMENT, **environment},
                cwd=folder,
            )
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"{self.url}{health}", timeout=2).close()
                return
            except OSError:
                time.sleep(0.2)
        self.stop()
        raise AssertionError(self.log.read_text()[-3000:])

    def stop(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.process.wait()


def start_tracking_server(folder: Path, port: int | None = None) -> Server:
    arguments = [
        "server",
        *("--backend-store-uri", f"sqlite:///{folder / 'server.db'}"),
        *("--artifacts-destination", str(folder / "artefacts")),
        *("--workers", "1"),
    ]
    return Server(arguments, port or free_port(), "/health", folder, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start_tracking_server(tmp_path_factory.mktemp("server"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def registered(world: Any, server: Server) -> Any:
    """The world's bundle, registered twice by a run of its own on the server."""
    client = MlflowClient(tracking_uri=server.url)
    experiment = client.create_experiment("msht")
    digest = (world.bundle / "bundle.sha256").read_text().strip()
    run = client.create_run(experiment, tags={"msht.bundle_digest": digest}).info.run_id
    first = register_bundle(world.bundle, "rose", tracking_uri=server.url)
    assert first.run == run
    return client, first, register_bundle(world.bundle, "rose", tracking_uri=server.url)


@pytest.mark.slow
def test_a_promoted_bundle_is_served_over_http_and_answers_as_the_command_line(
    world: Any, server: Server, registered: Any
) -> None:
    client, first, second = registered
    done = promote("rose", "1", tracking_uri=server.url)
    assert (done.version, done.before, done.digest) == ("1", None, first.digest)
    again = promote("rose", second.run, tracking_uri=server.url)
    assert (again.version, again.before) == ("2", "1")
    assert str(client.get_model_version_by_alias("rose", "champion").version) == "2"

    folder = world.folder / "serving"
    folder.mkdir()
    arguments = ["models", "serve", "--model-uri", "models:/rose@champion", "--env-manager", "local"]
    serving = Server(arguments, free_port(), "/ping", folder, MLFLOW_TRACKING_URI=server.url)
    try:
        scores = pd.read_parquet(world.scores / "images.parquet").head(3)
        files = [Path(path).read_bytes() for path in scores["path"]]
        rows = [[base64.b64encode(data).decode()] for data in (*files, b"no image")]
        answers = invoke(serving, {"dataframe_split": {"columns": ["image"], "data": rows}})["predictions"]
        for answer, row in zip(answers, scores.to_dict("records"), strict=False):
            assert answer["probability"] == pytest.approx(row["probability"], abs=1e-5)
            assert (answer["call"], answer["evaluable"]) == (row["call"], row["evaluable"])
            assert answer["sha256"] == row["sha256"]
            assert answer["out_of_distribution"] == row["out_of_distribution"]
            assert answer["bundle"] == first.digest
        assert answers[3]["call"] == "not evaluable"
        assert answers[3]["probability"] is None
        with pytest.raises(urllib.error.HTTPError) as refused:
            invoke(serving, {"dataframe_split": {"columns": ["picture"], "data": [["AAAA"]]}})
        assert refused.value.code == 400
    finally:
        serving.stop()


def invoke(serving: Server, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{serving.url}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read())


@pytest.mark.slow
def test_the_alias_stays_where_it_is_when_the_copy_in_the_registry_was_changed(
    world: Any, server: Server, registered: Any, tmp_path: Path
) -> None:
    client, first, second = registered
    client.set_registered_model_alias("rose", "champion", first.version)
    source = client.get_model_version("rose", second.version).source
    stored = list(
        server.log.parent.glob(f"artefacts/**/{source.rsplit('/', 1)[-1]}/artifacts/**/fold-1/model.safetensors")
    )
    assert len(stored) == 1, source
    data = bytearray(stored[0].read_bytes())
    data[-1] ^= 1
    stored[0].write_bytes(bytes(data))
    with pytest.raises(BrokenBundle, match="changed since the bundle was made"):
        promote("rose", second.version, tracking_uri=server.url)
    assert str(client.get_model_version_by_alias("rose", "champion").version) == first.version


class StopsServer(Silent):
    """Kills the tracking server when the second fold begins."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.words: list[str] = []

    def start(self, title: str, total: int | None) -> int:
        if title.startswith("Fold 2"):
            self.server.stop()
        return 0

    def say(self, words: str) -> None:
        self.words.append(words)


@pytest.mark.slow
def test_a_server_that_is_killed_mid_run_stops_no_training_and_is_told_afterwards(world: Any, tmp_path: Path) -> None:
    from pipelines.crossval import cross_validate
    from pipelines.tracking import synchronise_run

    first = start_tracking_server(tmp_path)
    listener = StopsServer(first)
    out = tmp_path / "run"
    try:
        cross_validate(world.split, "demo", out, overrides=world.overrides, tracking_uri=first.url, progress=listener)
    finally:
        first.stop()
    state = json.loads((out / "run.json").read_text())
    assert state["status"] == "finished"
    assert any("The run goes on" in words for words in listener.words)
    assert any("msht track sync" in words for words in listener.words)
    again = start_tracking_server(tmp_path, int(first.url.rsplit(":", 1)[1]))
    try:
        sent = synchronise_run(out)
        assert (sent.waiting, sent.refused) == (0, 0)
        client = MlflowClient(tracking_uri=again.url)
        experiment = client.get_experiment_by_name("msht")
        runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
        assert set(runs) == {"run", "run fold 1", "run fold 2"}
        assert {run.info.status for run in runs.values()} == {"FINISHED"}
        parent = runs["run"].info.run_id
        for number in (1, 2):
            child = runs[f"run fold {number}"]
            assert child.data.tags["mlflow.parentRunId"] == parent
            history = client.get_metric_history(child.info.run_id, "validation_auroc")
            assert [point.step for point in history] == [1, 2]
            assert "system/cpu_utilization_percentage" in child.data.metrics
        assert runs["run fold 2"].data.tags["msht.synchronised"] == "afterwards"
        assert "msht.synchronised" not in runs["run fold 1"].data.tags
        assert "out_of_fold_case_auroc" in runs["run"].data.metrics
        assert "out_of_fold.csv" in {file.path for file in client.list_artifacts(parent)}
        assert "figures/training.png" in {file.path for file in client.list_artifacts(parent, "figures")}
    finally:
        again.stop()


@pytest.mark.slow
def test_a_server_that_takes_calls_and_never_answers_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines import tracking

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    calls: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    calls.append(listener.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        (tmp_path / "run.json").write_text("{}")
        client = tracking.open_client(f"http://127.0.0.1:{listener.getsockname()[1]}", spool=tmp_path)
        with tracking.tracked_run(client, "1", "run") as run:
            for step in range(300):
                tracking.log_metrics(client, run, {"loss": 1.0}, step)
    assert 1 <= len(calls) <= 4  # two for the first call and its retry, one or two when the run ends
    lines = next((tmp_path / "mlflow-spool").glob("*.jsonl")).read_text().splitlines()
    assert sum('"log_batch"' in line for line in lines) == 300


@pytest.mark.slow
def test_what_is_not_in_the_registry_is_one_sentence(server: Server, registered: Any) -> None:
    with pytest.raises(InvalidInput, match="no model 'thyroid'"):
        promote("thyroid", "1", tracking_uri=server.url)
    with pytest.raises(InvalidInput, match=r"no version of '99'.*1, 2"):
        promote("rose", "99", tracking_uri=server.url)


@pytest.mark.slow
def test_nothing_that_is_logged_is_a_pickle(server: Server, registered: Any) -> None:
    files = [path for path in (server.log.parent / "artefacts").rglob("*") if path.is_file()]
    assert {"model.safetensors", "MLmodel", "serving_model.py"} <= {path.name for path in files}
    assert not [path for path in files if path.suffix in {".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib"}]


def test_bytes_and_base64_are_the_same_image_and_anything_else_is_none() -> None:
    data = example()["image"].iloc[0]
    assert bytes_of(data) == bytes_of(base64.b64encode(data).decode()) == data
    assert bytes_of("no base64 at all!") == bytes_of(None) == bytes_of(3.5) == b""


def test_a_loaded_bundle_answers_as_the_command_line_and_a_broken_file_costs_only_its_own_row(world: Any) -> None:
    model = BundleModel()
    model.load_context(SimpleNamespace(artifacts={"bundle": str(world.bundle)}))
    scores = pd.read_parquet(world.scores / "images.parquet").head(2)
    files = [Path(path).read_bytes() for path in scores["path"]]
    sent = pd.DataFrame({"image": [files[0], files[1][:900], base64.b64encode(files[1]).decode()]})
    answers = model.predict(None, sent)
    assert list(answers["probability"].iloc[[0, 2]]) == pytest.approx(list(scores["probability"]), abs=1e-6)
    assert list(answers["call"].iloc[[0, 2]]) == list(scores["call"])
    assert answers["call"].iloc[1] == "not evaluable"
    assert answers["probability"].iloc[1] is None
    assert answers["not_evaluable_because"].iloc[1]
    with pytest.raises(InvalidInput, match="Send one named 'image'"):
        model.predict(None, pd.DataFrame({"picture": [b""]}))


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".bmp", ".webp"])
def test_bytes_without_a_name_are_read_in_every_format(ending: str) -> None:
    picture = cv2.imdecode(np.frombuffer(example()["image"].iloc[0], np.uint8), cv2.IMREAD_COLOR)
    data = cv2.imencode(ending, picture)[1].tobytes()
    assert named(data).suffix == ending
    assert decode_image(data, named(data)).pixels.shape == (96, 128, 3)


def test_promoting_where_there_is_no_store_makes_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"There is no MLflow store at .*lost\.db, so no version of 'cells'"):
        promote("cells", "1", tracking_uri=f"sqlite:///{tmp_path / 'lost.db'}")
    assert list(tmp_path.iterdir()) == []
