"""Several processes on one fold, under torchrun or SLURM: the first leads a run, the others follow."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.folds import FoldTask

PATIENCE = timedelta(days=7)
"""How long a process waits for the others: the first reads images and calibrates while they have nothing to do."""


def join(accelerator: str) -> None:
    """Meet the other processes.

    Args:
        accelerator: of Lightning's Trainer.
    """
    import os

    import torch

    if torch.distributed.is_initialized():
        return
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

        environment = SLURMEnvironment()
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = (
            environment.main_address,
            str(environment.main_port),
        )
        os.environ["RANK"], os.environ["WORLD_SIZE"] = (
            str(environment.global_rank()),
            str(environment.world_size()),
        )
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)


def call_followers(task: FoldTask | None) -> None:
    """Let the other processes take part in a fold; None where there are no others."""
    if task is not None:
        _say(task.as_dict())


def dismiss_followers() -> None:
    """Tell the other processes that there is nothing more to do."""
    _say(None)


def follow(accelerator: str) -> None:
    """Take part in every fold that the first process calls for, until it has no more; nothing is written here."""
    from msht.cohort.splits import groups_of
    from msht.training.trainer import train_fold
    from pipelines.folds import FoldTask, load_fields
    from pipelines.progress import Silent
    from pipelines.run_folder import RunFolder

    join(accelerator)
    store = None
    while (words := _hear()) is not None:
        task = FoldTask(**words)
        run = RunFolder(Path(task.run))
        recipe, split = run.recipe(), run.split(Path(task.images) if task.images else None)
        development = split.development
        if store is None:
            store = load_fields(split.root, recipe, list(development["image"]), Silent())
        training = development[development["fold"] != task.number].reset_index(drop=True)
        train_fold(
            recipe=recipe,
            store=store,
            training=training,
            held_out=development[development["fold"] == task.number].reset_index(drop=True),
            fold=task.number,
            groups=groups_of(training, split.grouped_by).tolist(),
            checkpoints=run.partial(task.number),
            accelerator=task.accelerator,
        )


def _say(words: dict[str, Any] | None) -> None:
    import torch

    torch.distributed.broadcast_object_list([words], src=0, device=torch.device("cpu"))


def _hear() -> dict[str, Any] | None:
    import torch

    heard: list[Any] = [None]
    torch.distributed.broadcast_object_list(heard, src=0, device=torch.device("cpu"))
    words: dict[str, Any] | None = heard[0]
    return words
