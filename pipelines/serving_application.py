"""The application that `msht serve` runs: MLflow's scoring server behind a guard, and what it says of itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from msht import __version__
from pipelines.serving import BundleModel
from pipelines.serving_guard import Guard, drain, error_answer
from pipelines.serving_requests import Limits

NOTICE = "Decision support for a trained reader; not a diagnosis."
_ADDRESSES = "Use POST /invocations; GET /health, /ping and /version."


def application(model: BundleModel, *, limits: Limits | None = None, workers: int = 2) -> Starlette:
    """The ASGI application that serves a loaded bundle.

    Args:
        model: loaded.
        limits: of requests.
        workers: requests that are answered side by side.
    """
    guard = Guard(model, limits or Limits(), workers)
    described = describe(model, guard.limits, workers)

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", "bundle": model.bundle.digest, "under_way": guard.under_way})

    async def version(request: Request) -> Response:
        return JSONResponse(described)

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        await drain(request)
        words = {404: "There is nothing at this address.", 405: "This address does not take this method."}
        answer = error_answer(error.status_code, words.get(error.status_code, str(error.detail)), _ADDRESSES)
        answer.headers.update(error.headers or {})
        return answer

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        with ThreadPoolExecutor(workers + 2, thread_name_prefix="msht-serve") as pool:
            asyncio.get_running_loop().set_default_executor(pool)
            yield

    app = Starlette(
        routes=[
            Route("/ping", health),
            Route("/health", health),
            Route("/version", version),
            Route("/invocations", guard.invocations, methods=["POST"]),
        ],
        exception_handlers={HTTPException: refuse},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def describe(model: BundleModel, limits: Limits, workers: int) -> dict[str, Any]:
    """What is served, for `/version`: no path of this machine is in it."""
    from mlflow.version import VERSION

    bundle = model.bundle
    point = bundle.description.decision.field_point
    return {
        "service": "msht serve",
        "notice": NOTICE,
        "msht": __version__,
        "mlflow": VERSION,
        "bundle": {
            "name": bundle.description.name,
            "digest": bundle.digest,
            "model_digest": bundle.model_digest,
            "created": bundle.description.created,
            "architecture": bundle.description.architecture,
            "classes": list(bundle.description.classes),
            "folds": [
                {"number": fold.number, "weights_sha256": fold.weights_sha256} for fold in bundle.description.folds
            ],
        },
        "backend": model.ensemble.runtime.backend,
        "device": str(model.ensemble.device),
        "operating_point": {"threshold": point.threshold, "rule": point.rule, "guarantee": point.guarantee},
        "limits_of_the_model": list(bundle.description.limits),
        "limits_of_a_request": {
            "max_bytes": limits.max_bytes,
            "max_images": limits.max_images,
            "max_pixels": limits.max_pixels,
            "decoding_seconds": limits.decoding_seconds,
            "body_seconds": limits.body_seconds,
            "answer_seconds": limits.answer_seconds,
            "side_by_side": workers,
            "waiting": limits.waiting,
        },
    }
