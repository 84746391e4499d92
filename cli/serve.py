"""`msht serve`: answer requests about images over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from cli.options import Device


def serve(
    bundle: Annotated[Path, Argument(help="Folder written by `msht bundle`.")],
    host: Annotated[
        str, Option(help="Address to listen at. Another than this machine's own opens it to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, Option(help="Port to listen at; 0 takes a free one.")] = 5000,
    max_bytes: Annotated[str, Option(help="Largest body of a request, such as 50M.")] = "50M",
    max_images: Annotated[int, Option(min=1, max=10_000, help="Most images in a request.")] = 64,
    waiting: Annotated[int, Option(min=0, max=10_000, help="Requests that may wait; more are answered with 503.")] = 64,
    seconds: Annotated[float, Option(min=1, max=3600, help="Time in which a request is answered.")] = 120.0,
    workers: Annotated[
        int | None, Option(min=1, max=256, help="Requests side by side. Default: half the cores, 2 to 8.")
    ] = None,
    backend: Annotated[str, Option(help="auto, torch, or an export that the bundle holds: onnx, openvino.")] = "auto",
    device: Device = "auto",
) -> None:
    """Serve a bundle over HTTP: image bytes or base64 in; probability, call and flags out."""
    from cli.show import say
    from pipelines.serve import serve_bundle
    from pipelines.serving_requests import Limits, size_of

    serve_bundle(
        bundle,
        host=host,
        port=port,
        limits=Limits(max_bytes=size_of(max_bytes), max_images=max_images, waiting=waiting, answer_seconds=seconds),
        workers=workers,
        backend=backend,
        device=device,
        say=say,
    )
