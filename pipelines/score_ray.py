"""Scoring by Ray Data: the same rows as here, made by many processes on this machine or on a cluster.

The program that asked deals the inputs out in parts, whole batches each, so that a row rests on the same batch as when
one process scores all. A worker answers a part whole or not at all; one that is lost is started again, and its parts
are dealt out anew. Only the program that asked writes, so that a part that was scored twice is still kept once.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msht import __version__
from msht.errors import InvalidInput, MissingResource
from pipelines.score_ray_worker import Sight, Worker, as_text, sight_of, unseen

if TYPE_CHECKING:  # a worker that only looks whether it can read a path must not pay for torch
    from msht.bundle import Bundle
    from pipelines.inputs import ScoreInput
    from pipelines.score_fields import Row, ScoreSettings

PARTS_A_WORKER = 4
"""Parts that each worker gets at least, where there are images enough: what evens out slow and fast ones."""
MOST_BATCHES = 4
"""Batches of a part: what the loss of a worker costs, and what is decoded ahead."""
WINDOW = 5_000
"""Inputs a worker that are dealt out at a time: the list of them in memory stays this long."""
LONGEST_WINDOW = 500_000
RETRIES = 3
"""How often a part is tried again whose worker was lost; one that kills every worker must not go round for ever."""
PATIENCE = 300.0
"""Seconds in which every machine must say what it can read."""

_KEPT = "What was scored is kept, and the same command goes on from there."


class RayScorer:
    """Scores fields as `FieldScorer` does, in workers of Ray. Use it as a context.

    Args:
        bundle: a bundle; sent along where a machine cannot read it under its path.
        settings: of the user; `workers` counts the decoding threads of each worker.
        address: of a running cluster; None: what RAY_ADDRESS says, else Ray is started on this machine.
        cpus: processor cores of each worker.

    Raises:
        MissingResource: if Ray is not installed or cannot be reached.
        InvalidInput: if it has not the cores or GPUs that are asked for.
    """

    def __init__(self, bundle: Bundle, settings: ScoreSettings, address: str | None = None, *, cpus: int = 1) -> None:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters comes back as an exception
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise MissingResource("Ray is not installed.", "Run `pip install 'msht[ray]'`.") from error
        from pipelines.ensemble import choose_device
        from pipelines.executors_ray import connect

        self.bundle = bundle
        self.cpus = cpus
        self.address = address
        self._ray = ray
        with _without_notes():
            self._mine = connect(address)
        try:
            # Device and backend are decided here, for all workers alike: what `run.json` says holds for every row.
            device = choose_device(settings.device).type
            self.gpus = device == "cuda"
            self.workers = self._room()
            if self.workers < 1:
                raise InvalidInput(
                    f"A worker needs {cpus} cores{' and a GPU' if self.gpus else ''}, but Ray has "
                    f"{self._there().get('CPU', 0):g} cores and {self._there().get('GPU', 0):g} GPUs.",
                    "Use --device cpu, or another cluster.",
                )
        except BaseException:
            self.close()
            raise
        backend = settings.chosen_backend(bundle).name
        self.settings = settings.model_copy(
            update={"device": device, "backend": backend, "workers": settings.workers or cpus}
        )
        self._sent: Any = None
        # On this machine every worker reads what this program reads.
        self._looked = address is None and "RAY_ADDRESS" not in os.environ
        _keep_quiet(ray)

    def __enter__(self) -> RayScorer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave Ray as it was found."""
        if self._mine:
            self._ray.shutdown()
            self._mine = False

    def batches(self, items: Iterable[ScoreInput]) -> Iterator[list[Row]]:
        """The rows of each part, in whatever order the parts get ready; every item has one row.

        Raises:
            InvalidInput: if a machine cannot read what this one reads, or cannot score with the bundle.
            MissingResource: if workers are lost again and again, or the cluster is gone.
        """
        source = iter(items)
        size, most = self.settings.batch_size, min(LONGEST_WINDOW, WINDOW * self.workers)
        while window := list(islice(source, max(1, most // size) * size)):  # whole batches, as one process cuts them
            if not self._looked:
                self._look(window[0])
            yield from self._of_window(window)

    def _of_window(self, window: Sequence[ScoreInput]) -> Iterator[list[Row]]:
        """Deal a window out, and what was lost with its workers again, as long as that gets on."""
        size = self.settings.batch_size
        batches = -(-len(window) // (size * self.workers * PARTS_A_WORKER))
        length = size * max(1, min(MOST_BATCHES, batches))
        starts = range(0, len(window), length)
        waiting = {number: window[start : start + length] for number, start in enumerate(starts)}
        failures, reason = 0, "no answer came"
        while waiting:
            try:
                for number, rows in self._answers(waiting):
                    del waiting[number]
                    failures = 0
                    yield rows
            except (self._ray.exceptions.RayError, ConnectionError) as error:
                if isinstance(error, self._ray.exceptions.RayTaskError):
                    raise
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            failures += 1
            if waiting and (failures > RETRIES or not self._recovered()):
                raise MissingResource(f"Ray lost its workers: {reason[:200]}.", _KEPT)

    def _answers(self, waiting: Mapping[int, Sequence[ScoreInput]]) -> Iterator[tuple[int, list[Row]]]:
        """The rows of parts by their numbers, as they get ready."""
        data = self._ray.data
        dealt = data.from_items(
            [{"part": number, "items": as_text(part)} for number, part in waiting.items()],
            override_num_blocks=len(waiting),
        )
        with warnings.catch_warnings():
            # Ray means to name these two settings otherwise from version 2.64 on, and has not yet said how.
            warnings.simplefilter("ignore", DeprecationWarning)
            answered = dealt.map_batches(
                Worker,
                batch_size=1,
                compute=data.ActorPoolStrategy(size=min(self.workers, len(waiting))),
                num_cpus=self.cpus,
                num_gpus=1 if self.gpus else 0,
                fn_constructor_kwargs={
                    "path": str(self.bundle.path.resolve()),
                    "digest": self.bundle.digest,
                    "settings": self.settings.model_dump_json(),
                    "sent": [self._sent],
                    "threads": self.cpus,
                },
                max_restarts=-1,
                max_task_retries=RETRIES,
            )
        parts = dict(waiting)
        for answer in answered.iter_rows():
            if answer["problem"]:
                raise InvalidInput(answer["problem"], answer["mend"])
            part = parts.pop(int(answer["part"]), None)
            if part is None:  # answered before
                continue
            rows = json.loads(answer["rows"])
            check_seen(rows, part, answer["machine"])
            yield int(answer["part"]), rows

    def _recovered(self) -> bool:
        """Whether the cluster still has workers, when some were lost: a lost machine takes its cores along."""
        try:
            self.workers = self._room()
        except (self._ray.exceptions.RayError, ConnectionError):
            return False
        return self.workers > 0

    def _there(self) -> dict[str, float]:
        return dict(self._ray.cluster_resources())  # type: ignore[no-untyped-call]

    def _room(self) -> int:
        """How many workers the cluster has room for."""
        there = self._there()
        by_cores = int(there.get("CPU", 0)) // self.cpus if self.cpus > 0 else 0
        return min(by_cores, int(there.get("GPU", 0))) if self.gpus else by_cores

    def _look(self, first: ScoreInput) -> None:
        """Ask every machine what it reads, before any works."""
        ray = self._ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        look = ray.remote(num_cpus=0, max_retries=1)(sight_of)
        asked = {
            look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                str(self.bundle.path.resolve()), self.bundle.digest, str(first.path)
            ): node["NodeManagerAddress"]
            for node in ray.nodes()
            if node["Alive"] and node["Resources"].get("CPU", 0) > 0
        }
        sights = []
        for reference, machine in asked.items():
            try:
                sights.append(ray.get(reference, timeout=PATIENCE))
            except ray.exceptions.RayError as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
                raise MissingResource(
                    f"The machine {machine} of the cluster cannot run msht ({reason[:200]}).",
                    f"Install msht {__version__} there.",
                ) from error
        judge(sights, first.path)
        if not all(sight.bundle for sight in sights):
            self._sent = ray.put(files_of(self.bundle))
        self._looked = True


def judge(sights: Sequence[Sight], image: Path) -> None:
    """Check what the machines of a cluster have.

    Raises:
        InvalidInput: if one has another version, or does not read an image that this machine reads.
    """
    for sight in sights:
        if sight.version != __version__:
            raise InvalidInput(
                f"The machine {sight.machine} has msht {sight.version}, this one {__version__}.",
                "Install the same version on all.",
            )
        if not sight.image and image.is_file():
            raise unseen(sight.machine, str(image), "the image")


def check_seen(rows: Sequence[Row], items: Sequence[ScoreInput], machine: str) -> None:
    """Check that no image is called damaged only because a machine does not see it.

    Raises:
        InvalidInput: if this machine reads an image that the other does not find.
    """
    from pipelines.score_fields import GONE, stamp_of

    for row, item in zip(rows, items, strict=True):
        if row["image"] != item.name:
            raise RuntimeError(f"asked about '{item.name}', a worker answered about '{row['image']}'")
        if row["stamp"] == GONE and stamp_of(item.path) != GONE:
            raise unseen(machine, str(item.path), "the image")


def files_of(bundle: Bundle) -> dict[str, bytes]:
    """Every file of a bundle, by its path below it."""
    from msht.bundle_description import DESCRIPTION, SEAL

    names = [*bundle.description.files, DESCRIPTION, SEAL]
    return {name: (bundle.path / name).read_bytes() for name in names}


@contextmanager
def _without_notes() -> Iterator[None]:
    """Drop the lines that Ray's core writes past Python while it starts; what matters is raised as an exception."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _keep_quiet(ray: Any) -> None:
    """No bars and no log lines of Ray Data: the caller shows how far it is."""
    import logging

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
