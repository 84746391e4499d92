"""Cross-validation: a network per fold, out-of-fold predictions, and the decision fitted on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from msht.cohort.dataset import FieldStore
from msht.cohort.splits import (
    Split,
    describe_split,
    groups_of,
    read_split,
    refuse_changed,
    require_binary,
    write_split,
)
from msht.errors import InvalidInput
from msht.files import read_json, sha256_of_text
from msht.training.loaders import labels_of
from msht.training.prior import add_prior, class_shares
from msht.training.processes import find_processes
from msht.training.recipe import Recipe, flatten, read_recipe, recipe_as_yaml
from msht.training.selection import inner_split
from msht.training.trainer import fold_seed, network_of
from pipelines import together, tracking
from pipelines.calibrate import calibrate_run
from pipelines.executors import Executor, run_folds
from pipelines.folds import FoldTask, load_fields, settle_fold
from pipelines.performance import read_predictions
from pipelines.progress import Interrupted, Progress, Silent
from pipelines.recipes import recipe_path
from pipelines.run_begin import begin_run, only_trainer, sweep
from pipelines.run_folder import RunFolder, environment
from pipelines.tracking_figures import log_pictures
from pipelines.tracking_summary import describe_run
from pipelines.words import now


@dataclass(frozen=True)
class CrossvalResult:
    """What a finished cross-validation gives."""

    run: Path
    performance: list[dict[str, Any]]
    seconds: float


def cross_validate(
    split_file: Path | None,
    recipe: str | Path | None,
    out: Path,
    *,
    overrides: Sequence[str] = (),
    images: Path | None = None,
    tracking_uri: str | None = None,
    experiment: str = tracking.EXPERIMENT,
    resume: bool = False,
    accelerator: str = "auto",
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> CrossvalResult:
    """Train every fold, predict what it held out, calibrate, and choose the operating points.

    Under torchrun or SLURM this is for the first process; the others call `pipelines.together.follow`.

    Args:
        split_file: written by `msht cohort split`; not needed to resume.
        recipe: name of a shipped recipe or path of one; not needed to resume.
        out: folder of the run.
        overrides: `section.key=value`, laid over the recipe.
        images: folder of the images, if they moved.
        tracking_uri: of MLflow; None: `mlflow.db` in this folder.
        experiment: of MLflow.
        resume: go on with a run that stopped; finished folds are kept, an unfinished one goes on where it was.
        accelerator: of Lightning's Trainer.
        executor: where folds are trained; None: here, one after another.
        progress: who listens.

    Raises:
        InvalidInput: if something cannot be used as it is; nothing is written then. Also if a fold failed; the
            others are finished then.
        Interrupted: on ctrl-C; the run folder says where it stopped.
    """
    processes = find_processes()
    if processes.count == 1:
        return _cross_validate(
            split_file, recipe, out, overrides, images, tracking_uri, experiment, resume, accelerator,
            executor or Executor(), progress or Silent(),
        )  # fmt: skip
    if executor is not None and executor.kind != "local":
        raise InvalidInput(
            f"--executor {executor.kind} cannot go with torchrun or SLURM, which share one fold among processes.",
            "Use one or the other.",
        )
    together.join(accelerator)
    try:
        return _cross_validate(
            split_file, recipe, out, overrides, images, tracking_uri, experiment, resume, accelerator,
            Executor(), progress or Silent(),
        )  # fmt: skip
    finally:
        together.dismiss_followers()


def _cross_validate(
    split_file: Path | None,
    recipe: str | Path | None,
    out: Path,
    overrides: Sequence[str],
    images: Path | None,
    tracking_uri: str | None,
    experiment: str,
    resume: bool,
    accelerator: str,
    executor: Executor,
    progress: Progress,
) -> CrossvalResult:
    import torch

    run = RunFolder(out)
    if resume:
        state = run.state()
        chosen, split = run.recipe(), run.split(images)
        _same_as_before(run, chosen, split, recipe, overrides, split_file)
        if state["status"] == "finished":
            figures = read_json(run.figures_file, what="figures of a run")
            return CrossvalResult(run=out, performance=figures, seconds=state["seconds"])
        experiment = state["experiment"]
        tracking_uri = tracking_uri or state["tracking_uri"]
        if "threads" in state and torch.get_num_threads() != state["threads"]:
            torch.set_num_threads(state["threads"])
    else:
        if split_file is None or recipe is None:
            raise InvalidInput("A new cross-validation needs --split and --recipe.", "Give both, or --resume RUN.")
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InvalidInput(
                f"{out} exists and is not empty.", f"Choose another folder, or go on with --resume {out}."
            )
        chosen = read_recipe(recipe_path(recipe), overrides)
        split = read_split(split_file, images=images)
        require_binary(split)
        state = {
            "started": now(),
            "split_digest": split.digest,
            "recipe_digest": sha256_of_text(recipe_as_yaml(chosen)),
            "experiment": experiment,
            "tracking_uri": tracking_uri or tracking.default_tracking_uri(),
            "seconds": 0.0,
            "threads": torch.get_num_threads(),
            "seeds": {str(number): fold_seed(chosen, number) for number in range(1, split.folds + 1)},
        }
    _check_accelerator(accelerator)
    executor.check(accelerator)
    _check_training(chosen, split)
    store = load_fields(split.root, chosen, list(split.development["image"]), progress)
    _refuse_copies(split.development, split, store)
    refuse_changed(split.development, {image: store[image].sha256 for image in split.development["image"]})
    client = tracking.open_client(tracking_uri, spool=out, say=progress.say)
    experiment_id = tracking.experiment_id(client, experiment, tracking_uri)
    state.update(status="running", environment=environment(), recipe=chosen.name)
    if not resume:
        begin_run(out, chosen, split, state)
    with only_trainer(run):
        if resume:
            sweep(run)
            if images is not None:
                write_split(split, run.split_file)
            run.write_state(state)
        where = "before fold 1"
        try:
            with tracking.tracked_run(
                client, experiment_id, out.name, tags={"msht.kind": "crossval"}, resumed=state.get("mlflow_run")
            ) as parent:
                state["mlflow_run"] = parent
                run.write_state(state)
                tracking.log_parameters(client, parent, tracked_parameters(chosen))
                client.log_artifact(parent, str(run.recipe_file))
                tracking.log_table(client, parent, split.frame, "split.csv", split)
                described = describe_split(split)
                client.log_dict(parent, {**described, "card": split.card and Path(split.card).name}, "split.json")
                tasks = []
                for number in range(1, split.folds + 1):
                    task = FoldTask(
                        run=str(out.resolve()),
                        number=number,
                        images=None if images is None else str(images.resolve()),
                        tracking_uri=state["tracking_uri"] if tracking_uri is None else tracking_uri,
                        experiment=experiment_id,
                        parent=parent,
                        accelerator=accelerator,
                        threads=torch.get_num_threads(),
                    )
                    if (run.fold(number) / "fold.json").is_file():
                        progress.say(f"Fold {number} is finished already.")
                        settle_fold(task, progress=progress)
                    else:
                        tasks.append(task)

                def on_done(number: int) -> None:
                    state["where"] = f"{len(run.finished_folds(split.folds))} of {split.folds} folds finished"
                    run.write_state(state)

                def on_start(number: int) -> None:
                    nonlocal where
                    where = f"in fold {number} of {split.folds}"

                failures = run_folds(
                    tasks,
                    executor,
                    store=store,
                    progress=progress,
                    on_start=on_start,
                    on_done=on_done,
                    workers=chosen.training.workers,
                )
                if failures:
                    where = f"in fold {', '.join(map(str, sorted(failures)))} of {split.folds}"
                    raise _failed(failures, split.folds, out)
                where = "while calibrating"
                performance = calibrate_run(run, chosen, split, store)
                _log_figures(client, parent, run, performance, split)
        except KeyboardInterrupt as error:
            run.write_state({**state, "status": "interrupted", "where": f"stopped {where}"})
            raise Interrupted(
                f"Stopped {where}; what is finished is kept. Go on with `msht crossval --resume {out}`."
            ) from error
        except BaseException:
            run.write_state({**state, "status": "failed", "where": f"failed {where}"})
            raise
        folds = [read_json(run.fold(n) / "fold.json", what="fold") for n in range(1, split.folds + 1)]
        seconds = sum(fold["seconds"] for fold in folds)
        state.update(status="finished", where="all folds finished", finished=now(), seconds=seconds)
        run.write_state(state)
    return CrossvalResult(run=out, performance=performance, seconds=seconds)


def _failed(failures: dict[int, str], folds: int, out: Path) -> InvalidInput:
    reasons = " ".join(f"Fold {number}: {reason}" for number, reason in sorted(failures.items()))
    others = folds - len(failures)
    return InvalidInput(
        f"{len(failures)} of {folds} folds failed, {others} finished. {reasons}",
        f"What is finished is kept; if the cause can be mended, go on with `msht crossval --resume {out}`.",
    )


def _same_as_before(
    run: RunFolder,
    chosen: Recipe,
    split: Split,
    recipe: str | Path | None,
    overrides: Sequence[str],
    split_file: Path | None,
) -> None:
    if recipe is not None and read_recipe(recipe_path(recipe), overrides) != chosen:
        raise InvalidInput(
            f"The recipe differs from the one that {run.path} was started with ({run.recipe_file}).",
            "Resume without --recipe, or start a new run.",
        )
    if recipe is None and overrides:
        raise InvalidInput("--set cannot change a run that is resumed.", "Start a new run.")
    if split_file is not None and read_split(split_file).digest != split.digest:
        raise InvalidInput(
            f"The split differs from the one that {run.path} was started with.",
            "Resume without --split, or start a new run.",
        )


def tracked_parameters(recipe: Recipe) -> dict[str, Any]:
    """The recipe's settings for the tracking server; of a file of weights, its name only."""
    parameters = flatten(recipe.model_dump(mode="json"))
    if isinstance(recipe.network.pretrained, str):
        parameters["network.pretrained"] = Path(recipe.network.pretrained).name
    return parameters


def _refuse_copies(development: pd.DataFrame, split: Split, store: FieldStore) -> None:
    """Refuse a file that lies in two folds under different names: the network would be asked what it was taught."""
    frame = development.assign(sha256=[store[image].sha256 for image in development["image"]])
    crossing = frame.groupby("sha256")["fold"].nunique()
    if (crossing > 1).any():
        same = list(frame.loc[frame["sha256"] == crossing.index[crossing > 1][0], "image"])
        raise InvalidInput(
            f"'{same[0]}' and '{same[1]}' are the same file in two folds ({int((crossing > 1).sum())} such files).",
            "Find them all with `msht cohort audit`, remove the copies, and split again.",
        )


def _check_accelerator(accelerator: str) -> None:
    import torch

    if accelerator not in {"auto", "cpu", "gpu", "cuda"}:
        raise InvalidInput(f"--accelerator {accelerator} is unknown.", "Use auto, cpu or gpu.")
    if accelerator in {"gpu", "cuda"} and not torch.cuda.is_available():
        raise InvalidInput("--accelerator gpu: this machine has no CUDA device.", "Use --accelerator cpu.")


def _check_training(recipe: Recipe, split: Split) -> None:
    """Say now, before a folder is begun, what would stop a fold later."""
    network = network_of(recipe)
    development = split.development
    for number in range(1, split.folds + 1):
        training = development[development["fold"] != number]
        if recipe.training.class_prior == "balanced":
            add_prior(network, class_shares(labels_of(training)))
        if recipe.training.selection == "inner-split":
            inner_split(
                training,
                groups_of(training, split.grouped_by).tolist(),
                share=recipe.training.selection_share,
                seed=fold_seed(recipe, number),
            )


def _log_figures(client: Any, parent: str, run: RunFolder, performance: list[dict[str, Any]], split: Split) -> None:
    for row in performance:
        if row["fold"] is None:
            prefix = f"out_of_fold_{row['level']}_"
            estimates = {f"{prefix}{k}": v["value"] for k, v in row["estimates"].items()}
            tracking.log_metrics(client, parent, estimates)
    client.log_artifact(parent, str(run.decision_file))
    client.log_artifact(parent, str(run.figures_file))
    for path in (run.out_of_fold_file, run.out_of_fold_cases_file):
        tracking.log_table(client, parent, read_predictions(path), path.name, split)
    log_pictures(client, parent, run, "out-of-fold")
    describe_run(client, parent, run)
