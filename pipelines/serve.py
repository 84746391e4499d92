"""Serving a bundle over HTTP: the address, the model, and a clean end."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msht.errors import InvalidInput, MissingResource
from pipelines.serving_requests import Limits

if TYPE_CHECKING:
    from msht.runtimes.protocol import BackendName

LOCAL = "127.0.0.1"
PORT = 5000
OPEN = (
    "Anyone who reaches this address may ask: there is no password and no encryption here. Put a reverse proxy with "
    "TLS and authentication in front of it; see docs/serving.md."
)


def serve_bundle(
    bundle_path: Path,
    *,
    host: str = LOCAL,
    port: int = PORT,
    limits: Limits | None = None,
    workers: int | None = None,
    backend: str = "auto",
    device: str = "auto",
    say: Callable[[str], None] = print,
) -> None:
    """Answer requests about images with a bundle, until Ctrl-C or SIGTERM; what is under way is then finished.

    Args:
        bundle_path: a bundle; every digest is checked first.
        host: address to listen at.
        port: to listen at; 0 takes a free one.
        limits: of requests.
        workers: requests that are answered side by side; None: half the cores, from 2 to 8.
        backend: `torch`, an export that the bundle holds, or `auto`.
        device: `auto`, `cpu` or `cuda`.
        say: prints a line.

    Raises:
        InvalidInput: if the bundle is broken, the address cannot be had, or an option makes no sense.
    """
    began = time.monotonic()
    limits = limits or Limits()
    chosen = _checked_backend(backend)
    with _listener(host, port) as listener:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import torch
        import uvicorn

        from msht.bundle import read_bundle
        from msht.runtimes.choice import choose_backend
        from pipelines.ensemble import choose_device
        from pipelines.score_fields import available_cores
        from pipelines.serving import BundleModel, example
        from pipelines.serving_application import NOTICE, application

        _log_to_standard_error()
        cores = available_cores()
        workers = workers or max(2, min(8, cores // 2))
        bundle = read_bundle(bundle_path)
        name = choose_backend(bundle, choose_device(device)).name if backend == "auto" else chosen
        # OpenVINO answers one batch after another, each on all cores; the others answer batches side by side.
        threads = max(1, min(torch.get_num_threads(), cores if name == "openvino" else cores // workers))
        model = BundleModel(device, name, threads)
        model.load(bundle)
        model.predict(None, example())  # the first answer is the slow one, and shows that there is one
        server = uvicorn.Server(
            uvicorn.Config(
                application(model, limits=limits, workers=workers),
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="on",
                timeout_keep_alive=5,
                timeout_graceful_shutdown=int(limits.body_seconds + limits.answer_seconds),
            )
        )
        listener.listen(1024)
        address = _address(listener)
        say(f"Serving {bundle.description.name} ({bundle.short_digest}) at {address}/invocations; {NOTICE}")
        say(
            f"Ready after {time.monotonic() - began:.1f} s: {len(model.ensemble.folds)} networks on "
            f"{model.ensemble.device} by {model.ensemble.runtime.backend}, {workers} requests side by side, "
            f"{threads} {'thread' if threads == 1 else 'threads'} a batch. Ctrl-C ends it."
        )
        if not is_local(listener.getsockname()[0]):
            say(OPEN)
        with _stopping_by_signal():
            server.run(sockets=[listener])
    say("Stopped; every request under way was answered.")


def is_local(address: str) -> bool:
    """Whether only this machine reaches an address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


@contextmanager
def _listener(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound to an address, before the seconds that a model takes to load."""
    if not 0 <= port <= 65535:
        raise InvalidInput(f"--port is {port}.", "Give a number from 1 to 65535.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise InvalidInput(f"--host '{host}' is no address of this machine.", f"Use {LOCAL}.") from error
    with socket.socket(family, kind, protocol) as listener:
        if os.name == "posix":  # elsewhere it would let two programs share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise _cannot_bind(host, port, error) from error
        yield listener


def _cannot_bind(host: str, port: int, error: OSError) -> InvalidInput:
    if error.errno == errno.EADDRINUSE:
        return MissingResource(
            f"Port {port} of {host} is in use.", "Choose another with --port, or end the program that has it."
        )
    if error.errno == errno.EACCES:
        return MissingResource(f"Port {port} of {host} is not allowed to this user.", "Choose one above 1023.")
    if error.errno == errno.EADDRNOTAVAIL:
        return InvalidInput(f"--host '{host}' is no address of this machine.", f"Use {LOCAL}.")
    return MissingResource(f"Port {port} of {host} cannot be had: {error.strerror or error}.", "Choose another.")


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _checked_backend(name: str) -> BackendName | Any:
    from msht.runtimes.protocol import BACKENDS

    if name != "auto" and name not in BACKENDS:
        raise InvalidInput(f"--backend '{name}' is not known.", f"Use auto, {', '.join(BACKENDS)}.")
    return name


@contextmanager
def _stopping_by_signal() -> Iterator[None]:
    """Let the server end by itself on Ctrl-C and SIGTERM: it raises the signal again when it has finished."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log_to_standard_error() -> None:
    """A line for each request, with its size and time; never what was in it, nor who asked."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    for name, level in (("msht.serve", logging.INFO), ("uvicorn.error", logging.ERROR)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False
