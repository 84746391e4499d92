"""OpenVINO and NNCF without the telemetry that comes with them: nothing may leave a hospital."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from msht.errors import MissingResource

TELEMETRY = "openvino_telemetry"


def import_openvino() -> Any:
    """The package `openvino`, after its telemetry was shut off.

    Raises:
        MissingResource: if it is not installed.
    """
    return _quietly("openvino", "openvino")


def import_nncf() -> Any:
    """The package `nncf`, likewise; it is needed to make int8 exports and never to score with them."""
    module = _quietly("nncf", "openvino")
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return module


def _quietly(name: str, extra: str) -> Any:
    shut_telemetry()
    try:
        return import_module(name)
    except ImportError as error:
        raise missing(name, extra) from error


def missing(name: str, extra: str) -> MissingResource:
    """Say that a package is not installed, and how to install it."""
    return MissingResource(f"The package {name} is not installed.", f"Install it with `pip install 'msht[{extra}]'`.")


def shut_telemetry() -> None:
    """Make it impossible for OpenVINO and NNCF to send anything.

    Both look for the package `openvino_telemetry` and go without it where it cannot be imported. Where something else
    in this process imported it before, its one way out is closed.
    """
    loaded = sys.modules.get(TELEMETRY)
    if loaded is None:
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # Python's way of saying: not importable
        return
    sender: Any = import_module(f"{TELEMETRY}.utils.sender").TelemetrySender
    sender.send = lambda *_, **__: None


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """Keep the exporters' notes and warnings from a user who can do nothing about them."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "nncf")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # NNCF draws bars of its own
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
