"""Where the folds of a run are trained: here one after another, a process per GPU, or as Ray tasks.

All do the same work with the same number of threads, so their results agree bit for bit on CPUs of one kind. A fold
that fails for a reason no person can mend is tried once more; what still fails is reported, and the others go on.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from msht.errors import InvalidInput, MissingResource
from msht.files import read_json, write_text
from pipelines.fold_worker import ERROR_FILE, MENDABLE, RESOURCE, TRACEBACK_FILE
from pipelines.folds import PROGRESS_FILE, FoldTask, run_fold
from pipelines.progress import Progress
from pipelines.run_folder import RunFolder

if TYPE_CHECKING:
    from msht.cohort.dataset import FieldStore

ATTEMPTS = 2
LOOK_SECONDS = 0.2
LOG_FILE = "worker.log"
Kind = Literal["local", "gpus", "ray"]


class Engine(Protocol):
    """What trains folds side by side."""

    def has_room(self) -> bool:
        """Whether another fold can begin."""

    def start(self, task: FoldTask) -> None:
        """Begin a fold."""

    def finished(self) -> Iterator[tuple[int, int]]:
        """Folds that have ended, each with its exit code."""

    def close(self) -> None:
        """End what is still going on."""


@dataclass(frozen=True)
class Executor:
    """Which engine, and what it may use."""

    kind: Kind = "local"
    devices: tuple[str, ...] = ()
    """For `gpus`: CUDA devices; none: all there are."""
    ray_address: str | None = None
    """For `ray`: of a cluster; none: this machine."""
    cpus_per_fold: int | None = None
    """For `ray`: none: PyTorch's threads and the recipe's workers."""

    def check(self, accelerator: str) -> None:
        """Refuse what this machine cannot do, before anything is begun.

        Raises:
            InvalidInput: saying what to use instead.
        """
        if self.kind not in ("local", "gpus", "ray"):
            raise InvalidInput(f"--executor {self.kind} is unknown.", "Use local, gpus or ray.")
        if self.devices and self.kind != "gpus":
            raise InvalidInput(f"--devices goes with --executor gpus, not {self.kind}.", "Leave it out.")
        if self.ray_address and self.kind != "ray":
            raise InvalidInput(f"--ray-address goes with --executor ray, not {self.kind}.", "Leave it out.")
        if self.cpus_per_fold is not None and self.cpus_per_fold < 1:
            raise InvalidInput(f"--cpus-per-fold is {self.cpus_per_fold}.", "Give at least 1.")
        if self.kind == "gpus":
            self._check_devices(accelerator)
        if self.kind == "ray":
            try:
                import ray  # noqa: F401
            except ImportError as error:
                raise MissingResource("Ray is not installed.", "Install it with `pip install 'msht[ray]'`.") from error

    def slots(self) -> tuple[str, ...]:
        """The devices that `gpus` gives a process each."""
        import torch

        return self.devices or tuple(str(n) for n in range(torch.cuda.device_count()))

    def _check_devices(self, accelerator: str) -> None:
        import torch

        for device in self.devices:
            if not device.isdigit():
                raise InvalidInput(f"--devices: '{device}' is no device number.", "Give numbers, such as 0,1.")
        if len(set(self.devices)) < len(self.devices):
            raise InvalidInput(f"--devices {','.join(self.devices)} names a device twice.", "Name each once.")
        if accelerator == "cpu":
            if not self.devices:
                raise InvalidInput(
                    "--executor gpus on CPUs needs to know how many processes.", "Give --devices 0,1 for two."
                )
            return
        there = torch.cuda.device_count()
        if there == 0:
            raise InvalidInput("--executor gpus: this machine has no CUDA device.", "Use --executor local.")
        for device in self.devices:
            if int(device) >= there:
                raise InvalidInput(f"--devices: there is no device {device}; this machine has {there}.", "Choose less.")


Failures = dict[int, str]
"""Folds that could not be trained, with the reason."""


def run_folds(
    tasks: Sequence[FoldTask],
    executor: Executor,
    *,
    store: FieldStore,
    progress: Progress,
    on_start: Callable[[int], None],
    on_done: Callable[[int], None],
    workers: int,
) -> Failures:
    """Train folds.

    Args:
        tasks: one for each.
        executor: the engine.
        store: decoded fields, for folds trained in this process.
        progress: who listens.
        on_start: called with the number of each fold that begins.
        on_done: called with the number of each fold that is finished.
        workers: processes of the recipe that read images.

    Raises:
        MissingResource: if memory or disk run out here: the folds to come would fare no better.
    """
    if executor.kind == "local":
        return _in_turn(tasks, store, progress, on_start, on_done)
    from pipelines.executors_ray import RayTasks

    engine: Engine
    if executor.kind == "gpus":
        engine = _Processes(executor.slots())
    else:
        engine = RayTasks(executor.ray_address, executor.cpus_per_fold, tasks, workers)
    try:
        return _side_by_side(tasks, engine, progress, on_start, on_done)
    finally:
        engine.close()


def _in_turn(
    tasks: Sequence[FoldTask],
    store: FieldStore,
    progress: Progress,
    on_start: Callable[[int], None],
    on_done: Callable[[int], None],
) -> Failures:
    from msht.training.processes import find_processes

    failures: Failures = {}
    attempts = 1 if find_processes().count > 1 else ATTEMPTS
    for task in tasks:
        on_start(task.number)
        for attempt in range(1, attempts + 1):
            try:
                run_fold(task, store=store, progress=progress)
                on_done(task.number)
                break
            except MissingResource:
                raise
            except InvalidInput as error:
                failures[task.number] = str(error)
                break
            except Exception as error:
                if find_processes().count > 1:
                    raise
                file = RunFolder(Path(task.run)).partial(task.number) / TRACEBACK_FILE
                write_text(file, traceback.format_exc())
                if attempt < attempts:
                    progress.say(f"Fold {task.number} failed ({type(error).__name__}); it is tried once more.")
                else:
                    failures[task.number] = f"{type(error).__name__}: {error}; see {file}."
    return failures


def _side_by_side(
    tasks: Sequence[FoldTask],
    engine: Engine,
    progress: Progress,
    on_start: Callable[[int], None],
    on_done: Callable[[int], None],
) -> Failures:
    failures: Failures = {}
    waiting = [(task, 1) for task in tasks]
    going: dict[int, tuple[FoldTask, int]] = {}
    with _Stages(progress) as stages:
        while waiting or going:
            while waiting and engine.has_room():
                task, attempt = waiting.pop(0)
                _clear(task)
                on_start(task.number)
                engine.start(task)
                going[task.number] = (task, attempt)
            time.sleep(LOOK_SECONDS)
            for number, (task, _) in going.items():
                stages.show(task, number)
            for number, code in engine.finished():
                task, attempt = going.pop(number)
                if code == 0:
                    on_done(number)
                elif code not in (MENDABLE, RESOURCE) and attempt < ATTEMPTS:
                    progress.say(f"Fold {number} failed ({_reason(task, code)}); it is tried once more.")
                    waiting.append((task, attempt + 1))
                else:
                    failures[number] = f"{_reason(task, code).rstrip('.')}."
                if number not in {t.number for t, _ in waiting}:
                    stages.end(number)
    return failures


def _clear(task: FoldTask) -> None:
    folder = RunFolder(Path(task.run)).partial(task.number)
    (folder / ERROR_FILE).unlink(missing_ok=True)


def _reason(task: FoldTask, code: int) -> str:
    folder = RunFolder(Path(task.run)).partial(task.number)
    if (folder / ERROR_FILE).is_file():
        said = read_json(folder / ERROR_FILE, what="error of a fold")
        return f"{said['problem']} {said['mend']}".strip()
    return f"its process ended with code {code}; see {folder / LOG_FILE}"


class _Stages:
    """A bar for each fold that is under way, from what its process writes."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.numbers: dict[int, int] = {}

    def __enter__(self) -> _Stages:
        return self

    def __exit__(self, *_: object) -> None:
        for number in list(self.numbers):
            self.end(number)

    def show(self, task: FoldTask, number: int) -> None:
        """Look how far a fold is."""
        run = RunFolder(Path(task.run))
        with contextlib.suppress(OSError, InvalidInput):
            said = read_json(run.partial(number) / PROGRESS_FILE, what="progress of a fold")
            if number not in self.numbers:
                self.numbers[number] = self.progress.start(f"Fold {number}", said.get("total"))
            self.progress.update(self.numbers[number], said["done"], said["note"])

    def end(self, number: int) -> None:
        """Take a bar away."""
        if number in self.numbers:
            self.progress.finish(self.numbers.pop(number))


class _Processes:
    """A process for each device."""

    def __init__(self, slots: Sequence[str]) -> None:
        self.free = list(slots)
        self.going: dict[int, tuple[subprocess.Popen[str], str]] = {}

    def has_room(self) -> bool:
        """Whether a device is free."""
        return bool(self.free)

    def start(self, task: FoldTask) -> None:
        """Give a fold a device."""
        device = self.free.pop(0)
        log = RunFolder(Path(task.run)).partial(task.number) / LOG_FILE
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.fold_worker"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                text=True,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": device},
                start_new_session=True,  # ctrl-C is for the process that leads
            )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(task.as_dict()) + "\n")
            process.stdin.flush()
        self.going[task.number] = (process, device)

    def finished(self) -> Iterator[tuple[int, int]]:
        """Folds whose process has ended, with its exit code."""
        for number, (process, device) in list(self.going.items()):
            code = process.poll()
            if code is not None:
                del self.going[number]
                self.free.append(device)
                if process.stdin is not None:
                    process.stdin.close()
                yield number, code

    def close(self) -> None:
        """End what is still going on."""
        for process, _ in self.going.values():
            process.kill()
            process.wait()
