"""Folds as Ray tasks, on this machine or on a cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from msht.errors import InvalidInput, MissingResource
from pipelines.folds import FoldTask


class RayTasks:
    """A Ray task for each fold, with the resources it needs."""

    def __init__(self, address: str | None, cpus_per_fold: int | None, tasks: Sequence[FoldTask], workers: int) -> None:
        import ray

        self.ray = ray
        self.mine = connect(address)
        there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        cpus = cpus_per_fold or min(tasks[0].threads + workers, int(there.get("CPU", 1)))
        gpus = 1 if tasks[0].accelerator in {"gpu", "cuda", "auto"} and there.get("GPU", 0) >= 1 else 0
        if cpus > there.get("CPU", 0) or (tasks[0].accelerator in {"gpu", "cuda"} and not gpus):
            self.close()
            raise InvalidInput(
                f"A fold needs {cpus} CPUs and {1 if tasks[0].accelerator in {'gpu', 'cuda'} else gpus} GPUs, but "
                f"Ray has {there.get('CPU', 0):g} and {there.get('GPU', 0):g}.",
                "Use --cpus-per-fold, --accelerator cpu, or another cluster.",
            )
        self.train = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0, max_calls=1)(_ray_work)
        self.going: dict[object, int] = {}

    def has_room(self) -> bool:
        """Ray queues by itself."""
        return True

    def start(self, task: FoldTask) -> None:
        """Submit a fold."""
        self.going[self.train.remote(task.as_dict())] = task.number

    def finished(self) -> Iterator[tuple[int, int]]:
        """Folds whose task has ended, with what an exit code would be."""
        if not self.going:
            return
        done, _ = self.ray.wait(list(self.going), num_returns=len(self.going), timeout=0)
        for reference in done:
            number = self.going.pop(reference)
            try:
                yield number, self.ray.get(reference)
            except self.ray.exceptions.RayError:
                yield number, 1

    def close(self) -> None:
        """Cancel what is still going on, and leave Ray as it was found."""
        for reference in getattr(self, "going", {}):
            self.ray.cancel(reference, force=True)
        if self.mine:
            self.ray.shutdown()


def connect(address: str | None) -> bool:
    """Reach Ray, or start it on this machine; whether it was not running in this process before.

    Raises:
        MissingResource: if it cannot be reached.
    """
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray's own processes are light; what it would put behind every other process here is the work itself.
    os.environ.setdefault("RAY_worker_niceness", "0")
    if ray.is_initialized():
        return False
    _check_reachable(address)
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init(**settings, **({"address": address} if address else {"include_dashboard": False}))
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise MissingResource(
            f"Ray cannot be reached at {address or 'this machine'}: {str(error).strip().splitlines()[0]}.",
            "Check --ray-address, or leave it out to use this machine.",
        ) from error
    return True


def _check_reachable(address: str | None) -> None:
    """Ask whether anything listens at `HOST:PORT`: Ray itself would try for many minutes."""
    import socket

    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not address or (not port.isdecimal() and address in ("auto", "local")):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "it is no HOST:PORT"
        raise MissingResource(
            f"Ray cannot be reached at {address}: {reason}.",
            "Check --ray-address, or leave it out to use this machine.",
        ) from error


def _ray_work(task: dict[str, object]) -> int:
    """Train a fold in a Ray worker."""
    from pipelines.fold_worker import work

    return work(task)
