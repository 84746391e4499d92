"""Scoring with a bundle: a row per image, a row per case, and every refused image with its reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msht import __version__
from msht.bundle import Bundle, read_bundle
from msht.errors import InvalidInput
from msht.files import write_json
from msht.images.reading import is_image_path
from msht.images.slide_files import SLIDE_SUFFIXES
from pipelines.ensemble import choose_device
from pipelines.inputs import ScoreInput
from pipelines.progress import Interrupted, Progress, Silent, stage
from pipelines.score_answers import Answers
from pipelines.score_fields import FieldScorer, Row, ScoreSettings, decision_of
from pipelines.score_folder import KIND, RECORD, SLIDES
from pipelines.score_listing import list_inputs
from pipelines.score_result import ScoreResult
from pipelines.score_sources import LeftOut, Repeats, links_left_out, refuse_own_folder
from pipelines.score_store import Store
from pipelines.score_tables import Written, write_tables
from pipelines.words import now

if TYPE_CHECKING:
    from pipelines.score_ray import RayScorer

Executor = Literal["local", "ray"]
Batches = Callable[[Iterator[ScoreInput]], Iterator[list[Row]]]
"""Gives the rows of items, in batches of `batch_size` items that follow each other."""

SAME = {
    "bundle": "bundle",
    "threshold": "threshold",
    "folds": "choice of folds",
    "test_time_augmentation": "test-time augmentation",
    "backend": "backend",
    "device": "device",
    "batch_size": "batch size",
    "slides": "slide settings",
    "software": "software",
}
"""What must be as it was when a stopped scoring goes on, by key of `run.json`, in words: figures depend on it, some
in the last digits only."""


def score_images(
    bundle_path: Path,
    sources: Sequence[Path],
    out: Path,
    *,
    settings: ScoreSettings | None = None,
    case_from: str | None = None,
    images: Path | None = None,
    listed: Iterable[str] | None = None,
    threshold: float | None = None,
    device: str = "auto",
    executor: Executor = "local",
    ray_address: str | None = None,
    progress: Progress | None = None,
) -> ScoreResult:
    """Score every image of the sources; a stopped scoring goes on where it was.

    Args:
        bundle_path: a bundle.
        sources: image files, folders, globs, tables with a column `image`, slides, or `STANDARD_INPUT`.
        out: folder of the tables.
        settings: of the user; None: `threshold` and `device`, and the defaults of the rest.
        case_from: see `find_inputs`.
        images: folder that the paths of a table start from.
        listed: the paths that `STANDARD_INPUT` stands for.
        threshold: another case threshold than the bundle's; said in every output.
        device: `auto`, `cpu` or `cuda`.
        executor: `local`, or `ray` for a cluster.
        ray_address: of the cluster; None: the one that Ray finds, else one on this machine.
        progress: who listens.

    Raises:
        InvalidInput: if the bundle is broken, nothing is to be scored, or `out` holds other scores; nothing is
            written then.
        MissingResource: if `out` cannot be written; what was scored is kept.
        Interrupted: on Ctrl-C; what was scored is kept.
    """
    started = time.monotonic()
    progress = progress or Silent()
    settings = settings or ScoreSettings(threshold=threshold, device=device)
    settings.check()
    refuse_own_folder(sources, out)
    bundle = read_bundle(bundle_path)
    links = links_left_out(sources, _may_be_scored, leave_out=out)
    record = record_of(bundle, settings, case_from=case_from, executor=executor, links=links)
    try:
        with Store(out, record, SAME) as store, ExitStack() as stack:
            try:
                list_inputs(store, sources, bundle, settings, case_from, images, listed, progress)
                record["repeats"] = store.repeats._asdict()
                waiting = store.count_waiting()
                scorer = stack.enter_context(_executor(bundle, settings, executor, ray_address)) if waiting else None
            except (InvalidInput, KeyboardInterrupt):
                store.discard()
                raise
            scored_now = 0 if scorer is None else _score(store, scorer.batches, waiting, progress)
            stack.close()
            done = finish(store.answers, out, record, bundle, settings, lambda: time.monotonic() - started, progress)
            stale = _set_reports_aside(store, out)
    except KeyboardInterrupt as error:
        raise Interrupted(f"Stopped; what was scored is kept. The same command goes on in {out}.") from error
    written, notes, finished = done
    notes = (*notes, *stale)
    return ScoreResult.of(out, written, notes, finished, seconds=finished["summary"]["seconds"], scored_now=scored_now)


def _set_reports_aside(store: Store, out: Path) -> list[str]:
    """Move the PDFs that a watch left and that are of other answers by now, and say so."""
    from pipelines.watch_refresh import set_stale_aside

    return [f"A report of earlier answers is now {path}." for path in set_stale_aside(out, store.answers.prints())]


def record_of(
    bundle: Bundle, settings: ScoreSettings, *, case_from: str | None, executor: str, links: LeftOut
) -> dict[str, Any]:
    """What `run.json` says of a scoring that is not finished."""
    decision = decision_of(bundle, settings)
    backend = settings.chosen_backend(bundle)
    return {
        "kind": KIND,
        "bundle": {
            "path": str(bundle.path.resolve()),
            "digest": bundle.digest,
            "model_digest": bundle.model_digest,
            "name": bundle.description.name,
        },
        "threshold": decision.case_point.threshold,
        "threshold_overridden": decision.case_point.overridden,
        "folds": [fold.number for fold in bundle.chosen_folds(settings.folds)],
        "all_folds": len(bundle.chosen_folds(settings.folds)) == len(bundle.description.folds),
        "test_time_augmentation": settings.test_time,
        "backend": backend.name,
        "backend_reason": backend.reason,
        "device": choose_device(settings.device).type,
        "batch_size": settings.batch_size,
        "workers": settings.decoders,
        "executor": executor,
        "slides": settings.slides.model_dump(),
        "case_from": case_from,
        "links_left_out": links._asdict(),
        "software": f"msht {__version__}",
        "started": now(),
    }


@contextmanager
def _executor(
    bundle: Bundle, settings: ScoreSettings, executor: Executor, ray_address: str | None
) -> Iterator[FieldScorer | RayScorer]:
    """What scores, here or over a cluster."""
    if executor == "local":
        yield FieldScorer(bundle, settings)
        return
    from pipelines.score_ray import RayScorer

    with RayScorer(bundle, settings, ray_address) as scorer:
        yield scorer


def _score(store: Store, batches: Batches, waiting: int, progress: Progress) -> int:
    """Score what is waiting, keep each batch, and count the images that could be read.

    What was rejected before is tried in batches of its own, so that the others are cut as they would have been.
    """
    scored = 0
    with stage(progress, "Scoring", waiting) as steps:
        for source in (store.refused(), store.waiting()):
            for rows in batches(source):
                store.keep(rows)
                scored += sum(row["status"] == "scored" for row in rows)
                steps.advance(len(rows))
    return scored


def _may_be_scored(path: Path) -> bool:
    return is_image_path(path) or path.suffix.lower() in SLIDE_SUFFIXES


def finish(
    answers: Answers,
    out: Path,
    record: Mapping[str, Any],
    bundle: Bundle,
    settings: ScoreSettings,
    seconds: float | Callable[[], float],
    progress: Progress,
) -> tuple[Written, tuple[str, ...], dict[str, Any]]:
    """Write the tables, `run.json` and the maps of the slides.

    Args:
        answers: of the scoring so far.
        out: its folder.
        record: see `record_of`.
        bundle: that answered.
        settings: of the user.
        seconds: that were spent on scoring; or what says so when the tables are in place.
        progress: who listens.

    Returns:
        What the tables say in short, sentences about what could not be done besides, and what `run.json` says now.
    """
    with stage(progress, "Writing tables", None):
        written = write_tables(answers, out, decision_of(bundle, settings), record)
    spent = seconds() if callable(seconds) else seconds
    counts = written.counts
    summary = {
        "images": counts.scored + counts.rejected,
        "scored": counts.scored,
        "not_evaluable": counts.not_evaluable,
        "rejected": counts.rejected,
        "slides": counts.slides,
        "cases": written.cases,
        "seconds": round(spent, 2),
    }
    finished = {**record, "finished": now(), "summary": summary, "tables": written.digests}
    write_json(out / RECORD, finished)
    links = LeftOut(**record["links_left_out"])
    repeats = Repeats(**record.get("repeats", {"number": 0, "example": ""}))  # a watch lists no file twice
    notes = [left.in_words() for left in (links, repeats) if left.number]
    if (out / SLIDES).is_dir():
        from pipelines.score_slides import clear_slide_maps

        clear_slide_maps(out, answers.slides())
    if counts.slides and counts.scored:
        from pipelines.score_slides import write_slide_maps

        with stage(progress, "Drawing slides", None):
            notes += write_slide_maps(out, out / "images.parquet")
    return written, tuple(notes), finished
