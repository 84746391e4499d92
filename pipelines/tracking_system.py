"""How busy the machine is while a fold trains: processor, memory, disk, network and GPU, as MLflow measures them."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

from pipelines.tracking_client import Tracker

SECONDS = 10.0
"""Between two samples, as MLflow has it; MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL sets another."""


@contextlib.contextmanager
def watched(client: Tracker, run: str) -> Iterator[None]:
    """Log what the machine does until the block ends, with a last sample then.

    MLflow's own monitor stops for good when the store fails once, and asks it at every sample; so its instruments
    are read here and their figures go the way of all others. MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=false turns it
    off.
    """
    if os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true").lower() == "false":
        yield
        return
    instruments = _instruments()
    seconds = float(os.environ.get("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL") or SECONDS)
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(client, run, instruments, seconds, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _watch(client: Tracker, run: str, instruments: list[Any], seconds: float, ended: threading.Event) -> None:
    step = 0
    while True:
        last = ended.wait(seconds)
        client.log_batch(run, metrics=_read(instruments, step))
        step += 1
        if last:
            return


def _read(instruments: list[Any], step: int) -> list[Any]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    values: dict[str, float] = {}
    for instrument in instruments:
        instrument.collect_metrics()
        values.update(instrument.aggregate_metrics())
        instrument.clear_metrics()
    return [Metric(f"system/{name}", float(value), now, step) for name, value in values.items()]


def _instruments() -> list[Any]:
    """MLflow's instruments; those of a GPU only where its driver answers."""
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    kinds: tuple[Any, ...] = (CPUMonitor, DiskMonitor, NetworkMonitor)  # they carry no types
    instruments = [kind() for kind in kinds]
    gpu: Any = GPUMonitor
    with contextlib.suppress(Exception):  # nvidia-ml-py is missing, or there is no driver; each in its own way
        instruments.append(gpu())
    return instruments
