"""Rows of fields: decoded in threads, scored in batches, judged. Every executor of a scoring makes them here."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict

from msht.bundle import Bundle, read_bundle
from msht.decision import Decision, override_threshold
from msht.ensemble import FieldScores, TestTime
from msht.errors import InvalidInput, MissingResource
from msht.images.halving import Halves
from msht.images.preprocessing import view_of
from msht.images.quality import Quality, measure_quality
from msht.images.reading import ReadingRecord
from msht.runtimes.choice import Choice, choose_backend
from msht.runtimes.protocol import BackendName
from pipelines.ensemble import choose_device
from pipelines.fields import read_field
from pipelines.inputs import ScoreInput
from pipelines.score_slides import SlideSettings

Row = dict[str, Any]
"""JSON-able. `status` is `scored` or `rejected`; a rejected row has `image`, `case`, `path`, `stamp` and `reason`, a
scored one the columns of `images.parquet`; both have those of the tile where they are one."""

BATCH = 32
MOST_WORKERS = 16
"""Decoding threads, whatever the number of cores: more than the networks can keep up with gain nothing."""
GONE = "gone"
"""Stamp of a file that is not there."""


class ScoreSettings(BaseModel):
    """What a user may choose about the answers and how they are computed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float | None = None
    """Case threshold instead of the bundle's."""
    folds: tuple[int, ...] | None = None
    """Numbers of the networks that answer; None: all."""
    test_time: TestTime = "none"
    """Orientations of each field whose answers are averaged."""
    backend: BackendName | Literal["auto"] = "auto"
    """What runs the networks."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    workers: int | None = None
    """Decoding threads; None: one a core."""
    batch_size: int = BATCH
    """Fields that the networks answer together."""
    slides: SlideSettings = SlideSettings()
    """How slides are cut into tiles."""

    @property
    def decoders(self) -> int:
        """Decoding threads."""
        return self.workers or min(MOST_WORKERS, available_cores())

    def check(self) -> None:
        """Refuse what no scoring can be, whatever the bundle.

        Raises:
            InvalidInput: naming the option.
        """
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise InvalidInput(f"--threshold is {self.threshold}.", "Give a probability between 0 and 1.")
        if self.workers is not None and not 1 <= self.workers <= 256:
            raise InvalidInput(f"--workers is {self.workers}.", "Give a number of threads from 1 to 256.")
        if not 1 <= self.batch_size <= 4096:
            raise InvalidInput(f"--batch-size is {self.batch_size}.", "Give a number of images from 1 to 4096.")
        choose_device(self.device)
        self.slides.check()

    def chosen_backend(self, bundle: Bundle) -> Choice:
        """What runs the networks, and why."""
        if self.backend != "auto":
            return Choice(self.backend, "chosen by the user")
        return choose_backend(bundle, choose_device(self.device))


@dataclass(frozen=True)
class _Decoded:
    item: ScoreInput
    stamp: str
    view: np.ndarray
    record: ReadingRecord
    quality: Quality


class FieldScorer:
    """Scores fields with a bundle.

    Args:
        bundle: a bundle, or its path.
        settings: of the user.

    Raises:
        InvalidInput: if the bundle is broken, or has not what the settings ask for.
    """

    def __init__(self, bundle: Path | Bundle, settings: ScoreSettings | None = None) -> None:
        self.settings = settings or ScoreSettings()
        self.bundle = read_bundle(bundle) if isinstance(bundle, Path) else bundle
        self.decision: Decision = decision_of(self.bundle, self.settings)
        self.folds = [fold.number for fold in self.bundle.chosen_folds(self.settings.folds)]
        self.ensemble = self.bundle.ensemble(
            choose_device(self.settings.device),
            backend=self.settings.chosen_backend(self.bundle).name,
            folds=self.settings.folds,
        )

    def score(self, items: Sequence[ScoreInput]) -> list[Row]:
        """A row for each item, in their order; cut into batches from the first on."""
        return [row for batch in self.batches(items) for row in batch]

    def batches(self, items: Iterable[ScoreInput]) -> Iterator[list[Row]]:
        """The rows of each batch of `batch_size` items; a row rests on its batch alone.

        While the networks work on a batch, the one after it is decoded.
        """
        source = iter(items)
        with one_thread_each(), ThreadPoolExecutor(max_workers=self.settings.decoders) as pool:
            ahead: deque[list[Future[_Decoded | Row]]] = deque()
            try:
                while True:
                    while len(ahead) < 2 and (batch := list(islice(source, self.settings.batch_size))):
                        ahead.append([pool.submit(self._decode, item) for item in batch])
                    if not ahead:
                        return
                    yield self._rows([future.result() for future in ahead.popleft()])
            finally:
                for waiting in ahead:
                    for future in waiting:
                        future.cancel()

    def _decode(self, item: ScoreInput) -> _Decoded | Row:
        stamp = stamp_of(item.path)  # before it is read, so that a change after that is noticed the next time
        if stamp != GONE and not item.path.is_file():  # a pipe or a device would be read for ever
            return rejected_row(item, stamp, f"{item.path} is not a regular file.")
        try:
            image = read_field(item, passing=True)  # its view and its quality are taken before the next is read
            halves = Halves(image.pixels)
            quality = measure_quality(halves) if item.tile is None else self.decision.quality.measure_tile(halves)
            view = view_of(halves, self.bundle.description.preprocessing)
            return _Decoded(item, stamp, view, image.record, quality)
        except MissingResource:
            raise
        except InvalidInput as error:
            return rejected_row(item, stamp, error.problem)
        except OSError as error:
            return rejected_row(item, stamp, f"It cannot be opened: {error.strerror or error}.")

    def _rows(self, batch: Sequence[_Decoded | Row]) -> list[Row]:
        good = [field for field in batch if isinstance(field, _Decoded)]
        if not good:
            return [row for row in batch if isinstance(row, dict)]
        scores = self._scores(np.stack([field.view for field in good]))
        rows = iter([self._row(field, scores, number) for number, field in enumerate(good)])
        return [row if isinstance(row, dict) else next(rows) for row in batch]

    def _scores(self, views: np.ndarray) -> FieldScores:
        from torch import OutOfMemoryError

        try:
            return self.ensemble.score(views, test_time=self.settings.test_time)
        except OutOfMemoryError as error:
            raise MissingResource(
                f"The memory of {self.ensemble.device} does not hold a batch of {len(views)} fields.",
                "Give a smaller --batch-size, or --device cpu.",
            ) from error

    def _row(self, field: _Decoded, scores: FieldScores, index: int) -> Row:
        reasons = self.decision.quality.judge(field.quality)
        evaluable = not reasons
        probability = float(scores.probability[index])
        side = "positive" if probability >= self.decision.field_point.threshold else "negative"
        row: Row = {
            "status": "scored",
            **_identity(field.item, field.stamp),
            "sha256": field.record.sha256,
            "width": field.record.width,
            "height": field.record.height,
            "format": field.record.format,
            "orientation": field.record.orientation,
            "conversions": "; ".join(field.record.conversions),
            **{f"quality_{name}": float(value) for name, value in asdict(field.quality).items()},
            "evaluable": evaluable,
            "not_evaluable_because": "; ".join(reasons),
        }
        for number, fold in enumerate(self.folds):
            row[f"logit_fold_{fold}"] = float(scores.fold_logits[number, index])
        row.update(
            raw_logit=float(scores.fold_logits[:, index].mean()),
            logit=float(scores.logit[index]),
            probability=probability,
            spread=float(scores.spread[index]),
            novelty=float(scores.novelty[index]),
            out_of_distribution=bool(scores.novelty[index] > 1),
            call=side if evaluable else "not evaluable",
        )
        return row


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let OpenCV work in the thread that asks it.

    Each core has a decoding thread of its own; helpers that wait for work take from it.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def rejected_row(item: ScoreInput, stamp: str, reason: str) -> Row:
    """The row of an item that cannot be read; `stamp` as `stamp_of` gave it before it was tried."""
    return {"status": "rejected", **_identity(item, stamp), "reason": reason}


def decision_of(bundle: Bundle, settings: ScoreSettings) -> Decision:
    """The bundle's decision, with the user's threshold where one is given."""
    decision = bundle.description.decision
    return decision if settings.threshold is None else override_threshold(decision, settings.threshold)


def stamp_of(path: Path) -> str:
    """Size and time of change: what tells that a file is not the one that was scored."""
    try:
        facts = path.stat()
    except OSError:
        return GONE
    return f"{facts.st_size}-{facts.st_mtime_ns}"


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _identity(item: ScoreInput, stamp: str) -> Row:
    tile = item.tile
    place = (
        {}
        if tile is None
        else {
            "slide": item.name.rpartition("#")[0],
            "tile_left": tile.left,
            "tile_top": tile.top,
            "tile_edge": tile.edge,
            "tile_size": tile.size,
        }
    )
    return {"image": item.name, "case": item.case, "path": str(item.path), "stamp": stamp, **place}
