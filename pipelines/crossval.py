"""Cross-validation: a network per fold, out-of-fold predictions, and the decision fitted on them."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msht.bundle import save_arrays, save_network
from msht.cohort.dataset import FieldStore
from msht.cohort.splits import Split, describe_split, read_split, require_binary, write_split
from msht.errors import InvalidInput
from msht.files import cannot_write, read_json, write_json, write_text
from msht.training.recipe import Recipe, flatten, read_recipe, recipe_as_yaml
from msht.training.trainer import FoldResult, fold_seed, network_of, train_fold
from pipelines import tracking
from pipelines.calibrate import calibrate_run
from pipelines.performance import read_predictions
from pipelines.progress import Interrupted, Progress, Silent, stage
from pipelines.recipes import recipe_path
from pipelines.run_folder import RunFolder, environment, recipe_digest
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
    progress: Progress | None = None,
) -> CrossvalResult:
    """Train every fold, predict what it held out, calibrate, and choose the operating points.

    Args:
        split_file: written by `msht cohort split`; not needed to resume.
        recipe: name of a shipped recipe or path of one; not needed to resume.
        out: folder of the run.
        overrides: `section.key=value`, laid over the recipe.
        images: folder of the images, if they moved.
        tracking_uri: of MLflow; None: `mlflow.db` in this folder.
        experiment: of MLflow.
        resume: go on with a run that stopped; finished folds are kept.
        accelerator: of Lightning's Trainer.
        progress: who listens.

    Raises:
        InvalidInput: if something cannot be used as it is; nothing is written then.
        Interrupted: on ctrl-C; the run folder says where it stopped.
    """
    progress = progress or Silent()
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
            "status": "running",
            "started": now(),
            "split_digest": split.digest,
            "recipe_digest": recipe_digest(chosen),
            "experiment": experiment,
            "tracking_uri": tracking_uri or tracking.default_tracking_uri(),
            "seconds": 0.0,
        }
    _check_accelerator(accelerator)
    network_of(chosen)  # a network that cannot be made is said now, not when a folder has been begun
    development = split.development
    store = FieldStore(split.root, chosen.preprocessing, int(chosen.training.cache_gib * 2**30))
    with stage(progress, "Reading images", len(development)) as steps:
        store.load(list(development["image"]), steps.at)
    _refuse_copies(development, split, store)
    client = tracking.open_client(tracking_uri, spool=out, say=progress.say)
    experiment_id = tracking.experiment_id(client, experiment, tracking_uri)
    out.mkdir(parents=True, exist_ok=True)
    write_text(run.recipe_file, recipe_as_yaml(chosen))
    if not resume or images is not None:
        write_split(split, run.split_file)
    state.update(status="running", environment=environment(), recipe=chosen.name)
    run.write_state(state)
    where = "before fold 1"
    try:
        with tracking.tracked_run(
            client, experiment_id, out.name, tags={"msht.kind": "crossval"}, resumed=state.get("mlflow_run")
        ) as parent:
            state["mlflow_run"] = parent
            tracking.log_parameters(client, parent, tracked_parameters(chosen))
            client.log_artifact(parent, str(run.recipe_file))
            tracking.log_table(client, parent, split.frame, "split.csv", split)
            described = describe_split(split)
            client.log_dict(parent, {**described, "card": split.card and Path(split.card).name}, "split.json")
            for number in range(1, split.folds + 1):
                where = f"in fold {number} of {split.folds}"
                if (run.fold(number) / "fold.json").is_file():
                    progress.say(f"Fold {number} is finished already.")
                    continue
                with tracking.tracked_run(
                    client,
                    experiment_id,
                    f"{out.name} fold {number}",
                    parent=parent,
                    tags={"msht.fold": str(number)},
                ) as child:
                    _one_fold(run, chosen, split, store, number, client, child, accelerator, progress)
                state["where"] = f"fold {number} of {split.folds} finished"
                run.write_state(state)
            where = "while calibrating"
            performance = calibrate_run(run, chosen, split, store)
            _log_figures(client, parent, run, performance, split)
    except KeyboardInterrupt as error:
        run.write_state({**state, "status": "interrupted", "where": f"stopped {where}"})
        raise Interrupted(
            f"Stopped {where}; finished folds are kept. Go on with `msht crossval --resume {out}`."
        ) from error
    except BaseException:
        run.write_state({**state, "status": "failed", "where": f"failed {where}"})
        raise
    seconds = sum(read_json(run.fold(n) / "fold.json", what="fold")["seconds"] for n in range(1, split.folds + 1))
    state.update(status="finished", where="all folds finished", finished=now(), seconds=seconds)
    run.write_state(state)
    return CrossvalResult(run=out, performance=performance, seconds=seconds)


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


def _one_fold(
    run: RunFolder,
    recipe: Recipe,
    split: Split,
    store: FieldStore,
    number: int,
    client: Any,
    mlflow_run: str,
    accelerator: str,
    progress: Progress,
) -> None:
    development = split.development
    training = development[development["fold"] != number].reset_index(drop=True)
    held_out = development[development["fold"] == number].reset_index(drop=True)
    epochs = recipe.training.epochs
    size = min(recipe.training.batch_size, len(training))
    batches = math.ceil(len(training) / size) - (len(training) % size == 1)
    with stage(progress, f"Fold {number} of {split.folds}", epochs * batches) as steps:

        def on_epoch(row: dict[str, float]) -> None:
            steps.describe(
                f"epoch {row['epoch']:.0f}/{epochs}  loss {row['train_loss']:.3f}  "
                f"held-out AUROC {row['validation_auroc']:.3f}"
            )
            tracking.log_metrics(client, mlflow_run, {k: v for k, v in row.items() if k != "epoch"}, int(row["epoch"]))

        result = train_fold(
            recipe=recipe,
            store=store,
            training=training,
            held_out=held_out,
            fold=number,
            on_batch=steps.advance,
            on_epoch=on_epoch,
            accelerator=accelerator,
        )
    _write_fold(run, recipe, number, training, held_out, result)
    tracking.log_metrics(client, mlflow_run, {"seconds": result.seconds, "kept_epoch": float(result.kept_epoch)})


def _write_fold(
    run: RunFolder,
    recipe: Recipe,
    number: int,
    training: pd.DataFrame,
    held_out: pd.DataFrame,
    result: FoldResult,
) -> None:
    final = run.fold(number)
    final.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{number}."))
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
                "selection": recipe.training.selection,
                "training_images": len(training),
                "held_out_images": len(held_out),
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
