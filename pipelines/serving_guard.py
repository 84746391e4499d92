"""The guard before MLflow's scoring server.

MLflow's application answers the JSON requests. The guard lets nothing through that costs more than a
request may, takes image files as they are, and says every error as `{"error": ..., "mend": ...}`: MLflow's own errors
repeat the request and carry tracebacks.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
from mlflow.models import Model
from mlflow.pyfunc import PyFuncModel, scoring_server
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from msht.errors import UnreadableImage
from pipelines.serving import OUTPUTS, BundleModel, Deadline, OutOfTime, deadline, signature
from pipelines.serving_requests import (
    COLUMN,
    JSON,
    Limits,
    Refusal,
    check_image,
    content_type,
    images_in_json,
    size_in_words,
)

log = logging.getLogger("msht.serve")

RETRY_SECONDS = 2
DRAIN_SECONDS = 5.0
"""How long a refused body is read and dropped: a client that is still sending would not see the answer."""

_LATER = "Send it again after a few seconds."


class BundleImplementation:
    """What MLflow asks of a model's implementation, by a bundle."""

    def __init__(self, model: BundleModel) -> None:
        self.model = model

    def predict(self, data: pd.DataFrame) -> pd.DataFrame:
        """Answer about the images of a table."""
        return self.model.predict(None, data)


class Guard:
    """Answers requests about images, some side by side and some waiting.

    Args:
        model: loaded.
        limits: of requests.
        workers: requests that are answered side by side.
    """

    def __init__(self, model: BundleModel, limits: Limits, workers: int) -> None:
        self.model = model
        self.limits = limits
        self.workers = workers
        self.under_way = 0
        self.held = 0
        self.slots = asyncio.Semaphore(workers)
        # MLflow gives up by a clock of its own and leaves its thread running; ours stops the work itself.
        os.environ[MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.name] = str(int(2 * limits.answer_seconds) + 60)
        self.mlflow = scoring_server.init(
            PyFuncModel(
                model_meta=Model(
                    signature=signature(), flavors={"python_function": {"loader_module": "pipelines.serving"}}
                ),
                model_impl=BundleImplementation(model),
            )
        )

    async def invocations(self, request: Request) -> Response:
        """Answer about the images of a request."""
        began = time.monotonic()
        taken = [0, 0]  # bytes held, images
        try:
            response = await self._guarded(request, taken)
        except Refusal as refusal:
            response = _refused(refusal)
        except ClientDisconnect:
            response = error_answer(400, "The client left before its request was here.", "Send it again.")
        except Exception as error:
            log.error("POST /invocations failed with %s at %s", type(error).__name__, _place(error))
            response = error_answer(500, "The server failed at this request.", "Tell who runs it; its log says where.")
        finally:
            self.held -= taken[0]
        images = "image" if taken[1] == 1 else "images"
        log.info(
            "POST /invocations %d, %d %s, %.3f s", response.status_code, taken[1], images, time.monotonic() - began
        )
        return response

    async def _guarded(self, request: Request, taken: list[int]) -> Response:
        if self.under_way >= self.workers + self.limits.waiting:
            await drain(request)
            raise _busy(f"{self.under_way} requests are under way, which is all that may be.")
        self.under_way += 1
        try:
            try:
                kind = content_type(request.headers)
                self._check_length(request)
            except Refusal:
                await drain(request)
                raise
            body = await self._body(request, taken)
            if kind == JSON:
                images = await asyncio.to_thread(images_in_json, body, self.limits)
                del body
                taken[1] = len(images)
                return await self._in_turn(lambda: self._by_mlflow(images))
            check_image(body, kind)
            taken[1] = 1
            return await self._in_turn(lambda: asyncio.to_thread(self._by_bytes, body))
        finally:
            self.under_way -= 1

    def _check_length(self, request: Request) -> None:
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > self.limits.max_bytes:
            raise self._too_large(f"is {size_in_words(int(declared))}")

    async def _body(self, request: Request, taken: list[int]) -> bytes:
        """The body, as it streams in; nothing beyond the limits is kept, whatever was declared."""
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                async for part in request.stream():
                    size += len(part)
                    if size > self.limits.max_bytes:
                        parts.clear()
                        await drain(request)
                        raise self._too_large(f"is more than {size_in_words(self.limits.max_bytes)}")
                    if self.held + len(part) > self.limits.held_bytes:
                        parts.clear()
                        await drain(request)
                        raise _busy("The bodies under way fill the memory that they may have.")
                    self.held += len(part)
                    taken[0] += len(part)
                    parts.append(part)
        except TimeoutError as error:
            raise Refusal(
                408, f"The body did not come within {self.limits.body_seconds:g} s.", "Send it faster, or send less."
            ) from error
        return b"".join(parts)

    def _too_large(self, found: str) -> Refusal:
        limit = size_in_words(self.limits.max_bytes)
        return Refusal(413, f"The body {found}; the limit is {limit}.", "Send fewer or smaller images in a request.")

    async def _in_turn(self, work: Callable[[], Awaitable[Response]]) -> Response:
        """Wait for a worker, then work until the request's time is up."""
        until = Deadline(self.limits.answer_seconds)
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                await self.slots.acquire()
        except TimeoutError as error:
            raise _busy(f"No worker was free within {self.limits.answer_seconds:g} s.") from error
        token = deadline.set(until)
        try:
            return await work()
        except OutOfTime as error:
            raise self._out_of_time() from error
        finally:
            deadline.reset(token)
            self.slots.release()

    def _by_bytes(self, body: bytes) -> Response:
        try:
            rows = self.model.answer([body], strict=True)
        except UnreadableImage as error:
            raise Refusal(422, error.problem, error.mend) from error
        answer, table = StringIO(), pd.DataFrame(rows, columns=list(OUTPUTS), dtype=object)
        scoring_server.predictions_to_json(table, answer)  # type: ignore[no-untyped-call]
        return Response(answer.getvalue(), media_type=JSON)

    async def _by_mlflow(self, images: list[str]) -> Response:
        table = {"columns": [COLUMN], "data": [[image] for image in images]}
        body = await asyncio.to_thread(lambda: json.dumps({"dataframe_split": table}).encode())
        status, answer = await _ask(self.mlflow, body)
        if status == 200:
            return Response(answer, media_type=JSON)
        until = deadline.get()
        if until is not None and until.passed:
            raise self._out_of_time()
        raise RuntimeError(f"MLflow's application answered with {status}")

    def _out_of_time(self) -> Refusal:
        return Refusal(
            504, f"The request was not answered within {self.limits.answer_seconds:g} s.", "Send fewer images at once."
        )


async def _ask(app: Callable[..., Awaitable[None]], body: bytes) -> tuple[int, bytes]:
    """Send a JSON request to an ASGI application in this process; its status and body."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/invocations",
        "raw_path": b"/invocations",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", JSON.encode()), (b"content-length", str(len(body)).encode())],
        "client": None,
        "server": None,
    }
    waiting = [{"type": "http.request", "body": body, "more_body": False}]
    over = asyncio.Event()
    status, parts = 500, []

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                over.set()

    await app(scope, receive, send)
    return status, b"".join(parts)


async def drain(request: Request) -> None:
    """Read and drop what is left of a body, for a short while: then the client sees the answer."""
    if request.headers.get("expect", "").lower() == "100-continue":
        return
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in request.stream():
                pass
    except (TimeoutError, ClientDisconnect, RuntimeError):  # RuntimeError: the body was read before
        return


def _busy(why: str) -> Refusal:
    return Refusal(503, why, _LATER, {"Retry-After": str(RETRY_SECONDS)})


def _refused(refusal: Refusal) -> Response:
    answer = error_answer(refusal.status, refusal.error, refusal.mend)
    answer.headers.update(refusal.headers)
    return answer


def error_answer(status: int, error: str, mend: str) -> Response:
    """An error as every error is said here."""
    return JSONResponse({"error": error, "mend": mend}, status_code=status)


def _place(error: BaseException) -> str:
    """File and line at which something failed: what was sent is in neither."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "an unknown place"
