"""One fold of a run, in this process: train it, write it, track it."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msht.files import cannot_write, read_json, write_json
from pipelines.progress import Progress, Silent, stage
from pipelines.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from msht.cohort.dataset import FieldStore
    from msht.training.recipe import Recipe
    from msht.training.trainer import FoldResult
    from pipelines.tracking_client import Tracker

PROGRESS_FILE = "progress.json"
CLOCK_SECONDS = 0.5


@dataclass(frozen=True)
class FoldTask:
    """What a process needs to know to train one fold; plain values, so that any engine can carry it."""

    run: str
    """Folder of the run."""
    number: int
    """Of the fold, from 1."""
    images: str | None
    """Folder of the images, if they moved."""
    tracking_uri: str
    experiment: str
    """MLflow's id of the experiment."""
    parent: str
    """MLflow's id of the run that the fold belongs to."""
    accelerator: str
    threads: int
    """Of PyTorch; sums over another number of threads round otherwise."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def run_fold(task: FoldTask, *, store: FieldStore | None = None, progress: Progress | None = None) -> None:
    """Train a fold, or go on with it where it stopped, and write what it gives.

    Args:
        task: which.
        store: decoded fields; None: decode them here.
        progress: who listens.

    Raises:
        InvalidInput: if something cannot be used as it is, or the loss is no number.
        MissingResource: if memory or disk run out.
    """
    import torch

    from msht.cohort.splits import groups_of
    from msht.training.processes import find_processes
    from msht.training.trainer import steps_of_fold, train_fold
    from pipelines import tracking
    from pipelines.together import call_followers

    progress = progress or Silent()
    run, number = RunFolder(Path(task.run)), task.number
    if torch.get_num_threads() != task.threads:
        torch.set_num_threads(task.threads)
    recipe, split = run.recipe(), run.split(Path(task.images) if task.images else None)
    development = split.development
    if store is None:
        store = load_fields(split.root, recipe, list(development["image"]), progress)
    training = development[development["fold"] != number].reset_index(drop=True)
    held_out = development[development["fold"] == number].reset_index(drop=True)
    folder = run.partial(number)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".*"):  # what a killed process was writing
            left.unlink()
    except OSError as error:
        raise cannot_write(folder, error) from error
    before = _earlier(folder)
    started = time.monotonic()
    client = tracking.open_client(task.tracking_uri, spool=run.path, say=progress.say)
    with (
        tracking.tracked_run(
            client,
            task.experiment,
            f"{run.path.name} fold {number}",
            parent=task.parent,
            tags={"msht.fold": str(number)},
            resumed=before.get("mlflow_run"),
        ) as child,
        stage(progress, f"Fold {number} of {split.folds}", steps_of_fold(recipe, len(training))) as steps,
    ):
        clock = _Clock(folder, child, steps_of_fold(recipe, len(training)), float(before.get("seconds", 0.0)), started)
        watched = "inner AUROC" if recipe.training.selection == "inner-split" else "held-out AUROC"

        def on_batch(by: int) -> None:
            steps.advance(by)
            clock.tick(steps.done, steps.note)

        def on_epoch(row: dict[str, float]) -> None:
            steps.describe(
                f"epoch {row['epoch']:.0f}/{recipe.training.epochs}  loss {row['train_loss']:.3f}  "
                f"{watched} {row['validation_auroc']:.3f}"
            )
            metrics: dict[str, float | None] = {k: v for k, v in row.items() if k != "epoch"}
            tracking.log_metrics(client, child, metrics, int(row["epoch"]))

        clock.tick(0, "")
        call_followers(task if find_processes().count > 1 else None)
        result = train_fold(
            recipe=recipe,
            store=store,
            training=training,
            held_out=held_out,
            fold=number,
            groups=groups_of(training, split.grouped_by).tolist(),
            checkpoints=folder,
            seconds_before=clock.before,
            on_batch=on_batch,
            on_epoch=on_epoch,
            on_note=progress.say,
            accelerator=task.accelerator,
        )
        _write_fold(run, recipe, number, training, held_out, result)
        _log_end(client, child, run, number)
    shutil.rmtree(folder, ignore_errors=True)


def settle_fold(task: FoldTask, *, progress: Progress | None = None) -> None:
    """End what a process left open that was killed between writing a finished fold and clearing up after it.

    Its MLflow run gets the figures that were not logged any more and is FINISHED; its checkpoints go.

    Args:
        task: a fold whose `fold.json` is there.
        progress: who listens.
    """
    from pipelines import tracking

    run, number = RunFolder(Path(task.run)), task.number
    folder = run.partial(number)
    if not folder.is_dir():
        return
    child = _earlier(folder).get("mlflow_run")
    if child is not None:
        client = tracking.open_client(task.tracking_uri, spool=run.path, say=(progress or Silent()).say)
        name, tags = f"{run.path.name} fold {number}", {"msht.fold": str(number)}
        with tracking.tracked_run(
            client, task.experiment, name, parent=task.parent, tags=tags, resumed=child
        ) as same:  # fmt: skip
            _log_end(client, same, run, number)
    shutil.rmtree(folder, ignore_errors=True)


def _log_end(client: Tracker, child: str, run: RunFolder, number: int) -> None:
    from pipelines import tracking

    fold = read_json(run.fold(number) / "fold.json", what="fold")
    figures = {"seconds": fold["seconds"], "kept_epoch": float(fold["kept_epoch"]), "found_lr": fold["learning_rate"]}
    tracking.log_metrics(client, child, figures)


def load_fields(root: Path, recipe: Recipe, images: list[str], progress: Progress) -> FieldStore:
    """Prepare fields, within the recipe's bound on memory, or in the cache that `MSHT_CACHE` names.

    Raises:
        UnreadableImage: for the first that cannot be decoded whole.
    """
    from msht.cohort.cache import cache_from_environment
    from msht.cohort.dataset import FieldStore

    limit = int(recipe.training.cache_gib * 2**30)
    cache = cache_from_environment()
    store = FieldStore(root, recipe.preprocessing, limit, augmentation=recipe.augmentation, cache=cache)
    with stage(progress, "Reading images", len(images)) as steps:
        store.load(images, steps.at)
    if cache is not None and cache.refused:
        progress.say(f"The cache {cache.folder} {cache.why}: {cache.refused} of {len(images)} fields are not in it.")
    return store


def _earlier(folder: Path) -> dict[str, Any]:
    """What an earlier attempt at a fold left: its MLflow run and the seconds it took."""
    file = folder / PROGRESS_FILE
    if not file.is_file():
        return {}
    found: dict[str, Any] = read_json(file, what="progress of a fold")
    return found


class _Clock:
    """Writes how far a fold is and how long it took, so that a killed attempt is counted, and others can look."""

    def __init__(self, folder: Path, mlflow_run: str, total: int, before: float, started: float) -> None:
        self.file = folder / PROGRESS_FILE
        self.mlflow_run = mlflow_run
        self.total = total
        self.before = before
        self.started = started
        self.written = 0.0

    def tick(self, done: int, note: str) -> None:
        """Write now and then."""
        now = time.monotonic()
        if now - self.written < CLOCK_SECONDS:
            return
        self.written = now
        said = {"done": done, "total": self.total, "note": note, "mlflow_run": self.mlflow_run}
        write_json(self.file, {**said, "seconds": self.before + now - self.started})


def _write_fold(
    run: RunFolder,
    recipe: Recipe,
    number: int,
    training: pd.DataFrame,
    held_out: pd.DataFrame,
    result: FoldResult,
) -> None:
    import numpy as np

    from msht.bundle import save_arrays, save_network
    from msht.training.selection import WATCHED
    from msht.training.trainer import fold_seed

    final = run.fold(number)
    final.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{number}.written-"))
    try:
        digest = save_network(result.network, scratch)
        save_arrays({"held_out": np.ascontiguousarray(result.features)}, scratch / "features.safetensors")
        result.history.to_csv(scratch / "history.csv", index=False)
        held_out[["image"]].assign(logit=result.logits.astype(np.float64)).to_csv(
            scratch / "out_of_fold.csv", index=False
        )
        write_json(
            scratch / "fold.json",
            {
                "fold": number,
                "seed": fold_seed(recipe, number),
                "kept_epoch": result.kept_epoch,
                "epochs_trained": len(result.history),
                "selection": recipe.training.selection,
                "watched": WATCHED[recipe.training.selection],
                "selection_images": result.selection_images,
                "training_images": len(training),
                "held_out_images": len(held_out),
                "learning_rate": result.lr,
                "accumulate": result.accumulate,
                "seconds": round(result.seconds, 1),
                "device": result.device,
                "weights_sha256": digest,
            },
        )
        if final.exists():
            shutil.rmtree(final)
        scratch.rename(final)
    except OSError as error:
        raise cannot_write(final, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
