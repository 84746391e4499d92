"""The scoring server in this process: what it answers, and what it refuses."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import httpx2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from starlette.testclient import TestClient

from msht.bundle import read_bundle
from pipelines.serving import BundleModel, example
from pipelines.serving_application import application
from pipelines.serving_requests import Limits

PICTURE: bytes = example()["image"].iloc[0]
BASE64 = base64.b64encode(PICTURE).decode()
FIELDS = (
    ("probability", float),
    ("call", str),
    ("threshold", float),
    ("evaluable", bool),
    ("not_evaluable_because", str),
    ("out_of_distribution", bool),
    ("novelty", float),
    ("spread", float),
    ("logit", float),
    ("sha256", str),
    ("bundle", str),
)


@pytest.fixture(scope="module")
def environment() -> Iterator[None]:
    """MLflow marks the environment of a process that serves; other tests must not find it so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "false")
        patch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "60")
        yield


@pytest.fixture(scope="module")
def model(world: Any) -> BundleModel:
    loaded = BundleModel("cpu", "torch", 1)
    loaded.load(read_bundle(world.bundle))
    loaded.predict(None, example())
    return loaded


@pytest.fixture(scope="module")
def client(model: BundleModel, environment: None) -> Iterator[TestClient]:
    limits = Limits(max_bytes=2**20, max_images=16)
    with TestClient(application(model, limits=limits, workers=2), raise_server_exceptions=False) as answering:
        yield answering


def refused(answer: Any, status: int, words: str) -> None:
    """An error as it must be said: its status, two sentences, and nothing of the machine."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error", "mend"}
    assert words in answer.json()["error"]
    assert answer.json()["mend"]
    for trace in ("Traceback", 'File "', ".py", "/tmp", "site-packages", "stack_trace", "mlflow"):
        assert trace not in answer.text


def post_json(client: TestClient, body: Any) -> Any:
    return client.post("/invocations", content=body, headers={"Content-Type": "application/json"})


def sent(*images: str) -> bytes:
    return json.dumps({"dataframe_split": {"columns": ["image"], "data": [[image] for image in images]}}).encode()


def rows_of(world: Any, count: int) -> list[dict[str, Any]]:
    return pd.read_parquet(world.scores / "images.parquet").head(count).to_dict("records")


def same(answer: dict[str, Any], row: dict[str, Any]) -> None:
    for name in ("probability", "spread", "logit"):
        assert answer[name] == pytest.approx(row[name], abs=1e-6), name
    assert answer["novelty"] == pytest.approx(row["novelty"], abs=1e-4)  # distances magnify rounding by the batch
    for name in ("call", "evaluable", "not_evaluable_because", "out_of_distribution", "sha256"):
        assert answer[name] == row[name], name


def test_image_bytes_are_answered_as_the_command_line_scores_them(world: Any, client: TestClient) -> None:
    for row in rows_of(world, 3):
        data = Path(row["path"]).read_bytes()
        for kind in ("image/jpeg", "application/octet-stream", "image/jpeg; charset=utf-8"):
            answer = client.post("/invocations", content=data, headers={"Content-Type": kind})
            assert answer.status_code == 200
            (prediction,) = answer.json()["predictions"]
            same(prediction, row)
            assert {name: type(prediction[name]) for name, _ in FIELDS} == dict(FIELDS)


@pytest.mark.parametrize(
    "form",
    [
        lambda a, b: {"dataframe_split": {"columns": ["image"], "data": [[a], [b]]}},
        lambda a, b: {"dataframe_split": {"index": [7, 3], "columns": ["image"], "data": [[a], [b]]}},
        lambda a, b: {"dataframe_records": [{"image": a}, {"image": b}]},
        lambda a, b: {"inputs": {"image": [a, b]}},
        lambda a, b: {"inputs": [{"image": a}, {"image": b}]},
        lambda a, b: {"inputs": [a, b]},
        lambda a, b: {"instances": [{"image": a}, {"image": b}], "params": {}},
        lambda a, b: {"instances": [a, b]},
    ],
)
def test_every_form_of_mlflow_gives_the_same_answers(world: Any, client: TestClient, form: Any) -> None:
    rows = rows_of(world, 2)
    first, second = (base64.b64encode(Path(row["path"]).read_bytes()).decode() for row in rows)
    answer = post_json(client, json.dumps(form(first, second)))
    assert answer.status_code == 200, answer.text
    for prediction, row in zip(answer.json()["predictions"], rows, strict=True):
        same(prediction, row)


def test_mlflow_itself_answers_the_letters_of_base64_in_every_form(model: BundleModel, environment: None) -> None:
    from mlflow.models import Model
    from mlflow.pyfunc import PyFuncModel, scoring_server

    from pipelines.serving import signature
    from pipelines.serving_guard import BundleImplementation

    meta = Model(signature=signature(), flavors={"python_function": {"loader_module": "pipelines.serving"}})
    with TestClient(scoring_server.init(PyFuncModel(meta, BundleImplementation(model)))) as plain:
        for body in ({"inputs": {"image": [BASE64]}}, {"instances": [{"image": BASE64}]}, {"inputs": [BASE64]}):
            (prediction,) = plain.post("/invocations", json=body).json()["predictions"]
            assert prediction["probability"] is not None


def test_an_image_that_cannot_be_read_costs_only_its_own_row(client: TestClient) -> None:
    broken = base64.b64encode(PICTURE[: len(PICTURE) // 2]).decode()
    text = base64.b64encode(b"no image").decode()
    good, bad, none = post_json(client, sent(BASE64, broken, text)).json()["predictions"]
    assert good["probability"] is not None
    for row, words in ((bad, "damaged"), (none, "not an image")):
        assert (row["probability"], row["call"], row["evaluable"]) == (None, "not evaluable", False)
        assert words in row["not_evaluable_because"]


def png_of(width: int, height: int) -> bytes:
    """A picture of one colour, a few hundred kilobytes for hundreds of millions of pixels."""
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


def test_a_body_that_is_no_image_is_refused_with_its_reason(client: TestClient) -> None:
    def post(data: bytes, kind: str) -> Any:
        return client.post("/invocations", content=data, headers={"Content-Type": kind})

    jpeg = cv2.imencode(".jpg", np.full((64, 64, 3), 200, np.uint8))[1].tobytes()
    refused(post(b"", "image/jpeg"), 400, "empty")
    refused(post(b"Dear server, this is a picture.", "image/png"), 415, "not an image")
    refused(post(PICTURE, "image/jpeg"), 415, "the body is image/png")
    refused(post(jpeg[:300], "image/jpeg"), 422, "The image is damaged")
    refused(post(PICTURE[:60], "application/octet-stream"), 422, "The image is damaged")
    refused(post(png_of(20_000, 12_000), "image/png"), 422, "too large to decode safely")


@pytest.mark.parametrize("kind", ["", "text/csv", "multipart/form-data; boundary=x", "image/svg+xml", "\x00\u00e9"])
def test_a_content_type_that_is_not_read_is_refused(client: TestClient, kind: str) -> None:
    headers = {b"Content-Type": kind.encode("latin-1")} if kind else {}
    refused(client.post("/invocations", content=PICTURE, headers=headers), 415, "Content-Type")


def test_a_compressed_body_and_another_character_set_are_refused(client: TestClient) -> None:
    headers = {"Content-Type": "image/png", "Content-Encoding": "gzip"}
    refused(client.post("/invocations", content=PICTURE, headers=headers), 415, "gzip")
    headers = {"Content-Type": "application/json; charset=utf-16"}
    refused(client.post("/invocations", content=sent(BASE64), headers=headers), 415, "utf-16")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"{", "not JSON"),
        (b'{"inputs": [NaN]}', "NaN"),
        (b'{"inputs": [' + b"9" * 5000 + b"]}", "not JSON"),
        (b"\xff\xfe{}", "UTF-8"),
        (b"[" * 150 + b"]" * 150, "a list"),
        (b"[" * 100, "not JSON"),
        (b"null", "null"),
        (b"{}", "one key"),
        (b'{"inputs": ["AAAA"], "instances": ["AAAA"]}', "one key"),
        (b'{"messages": ["AAAA"]}', "one key"),
        (b'{"inputs": ["AAAA"], "params": {"a": 1}}', "one key"),
        (b'{"inputs": []}', "no image"),
        (b'{"inputs": {"picture": ["AAAA"]}}', "'picture'"),
        (b'{"inputs": [1.5]}', "not text"),
        (b'{"inputs": [null]}', "null"),
        (b'{"inputs": ["no base64!"]}', "not base64"),
        (b'{"inputs": ["\\ud800"]}', "not base64"),
        (b'{"inputs": ["data:image/png;base64,AAAA"]}', "not base64"),
        (b'{"inputs": [""]}', "empty"),
        (b'{"inputs": "/etc/passwd"}', "not base64"),
        (b'{"instances": [{"image": "AAAA"}, 3]}', "Row 2"),
        (b'{"dataframe_records": {"image": "AAAA"}}', "not a list"),
        (b'{"dataframe_split": {"data": [["AAAA"]]}}', "'columns'"),
        (b'{"dataframe_split": {"columns": ["image", "case"], "data": [["AAAA", "x"]]}}', "'case'"),
        (b'{"dataframe_split": {"columns": ["image"], "data": [["AAAA"], []]}}', "Row 2"),
    ],
)
def test_json_that_is_no_request_is_refused_with_its_reason(client: TestClient, body: bytes, words: str) -> None:
    refused(post_json(client, body), 400, words)


def test_more_images_or_values_than_a_request_may_hold_are_refused(client: TestClient) -> None:
    refused(post_json(client, sent(*["AAAA"] * 17)), 413, "17 images; the limit is 16")
    refused(post_json(client, sent(*["AAAA"] * 10_000)), 413, "more values than 16 images")
    refused(post_json(client, b"[" * 900_000), 413, "more values")


def test_the_size_limit_holds_for_a_declared_and_for_a_streamed_body(client: TestClient) -> None:
    headers = {"Content-Type": "image/png"}
    refused(client.post("/invocations", content=b"\x89PNG" + bytes(2**20), headers=headers), 413, "1 MB")
    passed = 0

    def stream() -> Iterator[bytes]:
        nonlocal passed
        for _ in range(200):
            passed += 1
            yield bytes(2**14)

    refused(client.post("/invocations", content=stream(), headers=headers), 413, "more than 1 MB")
    assert passed == 200  # the rest was read and dropped, so that the client saw the answer


def test_other_addresses_and_methods_are_said_in_json(client: TestClient) -> None:
    refused(client.get("/"), 404, "nothing")
    refused(client.get("/docs"), 404, "nothing")
    refused(client.post("/invocations/", content=b"x"), 404, "nothing")
    answer = client.get("/invocations")
    refused(answer, 405, "method")
    assert answer.headers["allow"] == "POST"
    refused(client.post("/version"), 405, "method")


def test_it_says_that_it_is_well_and_what_it_serves(world: Any, client: TestClient) -> None:
    digest = (world.bundle / "bundle.sha256").read_text().strip()
    for address in ("/ping", "/health"):
        assert client.get(address).json() == {"status": "ok", "bundle": digest, "under_way": 0}
        assert client.head(address).status_code == 200
    version = client.get("/version").json()
    assert "not a diagnosis" in version["notice"]
    assert version["bundle"]["digest"] == digest
    assert [fold["number"] for fold in version["bundle"]["folds"]] == [1, 2]
    assert version["limits_of_the_model"]
    assert version["limits_of_a_request"]["max_bytes"] == 2**20
    assert str(world.folder) not in json.dumps(version)


def test_many_clients_at_once_get_each_their_own_answer(world: Any, client: TestClient) -> None:
    rows = rows_of(world, 32)

    def ask(row: dict[str, Any]) -> dict[str, Any]:
        data = Path(row["path"]).read_bytes()
        if int(row["sha256"], 16) % 2:
            answer = client.post("/invocations", content=data, headers={"Content-Type": "image/jpeg"})
        else:
            answer = post_json(client, sent(base64.b64encode(data).decode()))
        return answer.json()["predictions"][0]

    with ThreadPoolExecutor(32) as pool:
        for answer, row in zip(pool.map(ask, rows), rows, strict=True):
            same(answer, row)


def waiting_model(model: BundleModel, until: threading.Event, begun: threading.Event) -> Any:
    """The model, but it answers only when it may."""

    def answer(*arguments: Any, **named: Any) -> Any:
        begun.set()
        assert until.wait(20)
        return model.answer(*arguments, **named)

    return SimpleNamespace(
        answer=answer, predict=model.predict, bundle=model.bundle, ensemble=model.ensemble, device="cpu"
    )


def test_one_request_too_many_is_told_to_come_back_and_the_others_are_answered(
    model: BundleModel, environment: None
) -> None:
    may, begun = threading.Event(), threading.Event()
    app = application(waiting_model(model, may, begun), limits=Limits(waiting=1), workers=1)
    headers = {"Content-Type": "image/png"}
    with TestClient(app) as client, ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.post, "/invocations", content=PICTURE, headers=headers)
        assert begun.wait(20)
        second = pool.submit(client.post, "/invocations", content=PICTURE, headers=headers)
        deadline = time.monotonic() + 20
        while (answer := client.post("/invocations", content=b"", headers=headers)).status_code != 503:
            assert time.monotonic() < deadline
        refused(answer, 503, "under way")
        assert int(answer.headers["retry-after"]) > 0
        assert client.get("/health").status_code == 200
        may.set()
        assert [first.result().status_code, second.result().status_code] == [200, 200]


def test_a_request_that_takes_too_long_is_stopped(
    model: BundleModel, environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pipelines.serving as serving

    decoded = []

    def slowly(data: bytes, path: Path) -> Any:
        decoded.append(path)
        time.sleep(0.3)
        raise serving.UnreadableImage("slow", "wait")

    monkeypatch.setattr(serving, "decode_image", slowly)
    with TestClient(application(model, limits=Limits(answer_seconds=0.5), workers=1)) as client:
        refused(post_json(client, sent(*[BASE64] * 20)), 504, "within 0.5 s")
        time.sleep(0.5)
        assert len(decoded) < 5  # nothing goes on behind the answer


def test_a_body_that_trickles_in_is_not_waited_for(model: BundleModel, environment: None) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        for byte in PICTURE[:400]:
            await asyncio.sleep(0.02)
            yield bytes([byte])

    async def ask() -> Any:
        transport = httpx2.ASGITransport(application(model, limits=Limits(body_seconds=0.2), workers=1))
        async with httpx2.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.post("/invocations", content=trickle(), headers={"Content-Type": "image/png"})

    refused(asyncio.run(ask()), 408, "within 0.2 s")


def test_bodies_under_way_have_a_memory_of_their_own(model: BundleModel, environment: None) -> None:
    app = application(model, limits=Limits(max_bytes=1024), workers=1)
    guard = next(route.endpoint.__self__ for route in app.routes if route.path == "/invocations")  # type: ignore[attr-defined]
    guard.held = 8 * 1024 - 10
    with TestClient(app) as client:
        headers = {"Content-Type": "image/png"}
        refused(client.post("/invocations", content=b"\x89PNG" + bytes(100), headers=headers), 503, "memory")
        assert guard.held == 8 * 1024 - 10
        guard.held = 0
        refused(client.post("/invocations", content=b"\x89PNG" + bytes(100), headers=headers), 422, "not an image")
        assert guard.held == 0


def test_a_failure_of_the_server_is_one_sentence_and_its_log_holds_nothing_that_was_sent(
    model: BundleModel, environment: None, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*arguments: Any, **named: Any) -> Any:
        raise RuntimeError(f"/home/someone: {arguments!r:.50}")

    broken = SimpleNamespace(answer=fails, predict=fails, bundle=model.bundle, ensemble=model.ensemble, device="cpu")
    caplog.set_level(logging.INFO)
    with TestClient(application(broken, workers=1)) as client:  # type: ignore[arg-type]
        for answer in (
            client.post("/invocations", content=PICTURE, headers={"Content-Type": "image/png"}),
            post_json(client, sent(BASE64)),
        ):
            refused(answer, 500, "failed")
    assert "POST /invocations 500, 1 image" in caplog.text
    assert "someone" not in caplog.text
    assert BASE64[:40] not in caplog.text
