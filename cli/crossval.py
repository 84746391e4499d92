"""`msht crossval`: train and cross-validate."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from typer import Option

from cli.options import Images, TrackingUri


def crossval(
    split: Annotated[Path | None, Option(help="Split written by `msht cohort split`.")] = None,
    recipe: Annotated[str | None, Option(help="Shipped recipe (small-cpu, paper, modern) or a YAML file.")] = None,
    out: Annotated[Path | None, Option(help="Folder of the run; it must not exist or be empty.")] = None,
    resume: Annotated[Path | None, Option(help="Run that stopped; it goes on where it was.")] = None,
    set_: Annotated[
        list[str] | None, Option("--set", help="section.key=value over the recipe; may be repeated.")
    ] = None,
    pretrained: Annotated[
        Path | None, Option(help="Start from the weights of this safetensors file (or published checkpoint).")
    ] = None,
    no_pretrained: Annotated[
        bool, Option("--no-pretrained", help="Start from random weights, whatever the recipe says.")
    ] = False,
    images: Images = None,
    tracking_uri: TrackingUri = None,
    experiment: Annotated[str, Option(help="MLflow experiment.")] = "msht",
    accelerator: Annotated[str, Option(help="auto, cpu or gpu.")] = "auto",
    executor: Annotated[
        str, Option(help="Folds one after another (local), a process per GPU (gpus), or Ray tasks (ray).")
    ] = "local",
    devices: Annotated[str | None, Option(help="For gpus: numbers such as 0,1; default: all.")] = None,
    ray_address: Annotated[str | None, Option(help="For ray: of a cluster; default: this machine.")] = None,
    cache: Annotated[
        Path | None, Option(help="Folder that keeps prepared images for the next run [MSHT_CACHE].")
    ] = None,
    cpus_per_fold: Annotated[int | None, Option(help="For ray; default: threads and workers.")] = None,
) -> None:
    """Train a network per fold, predict what each held out, calibrate, and choose the operating points."""
    from json import dumps

    from cli.show import progress, say
    from msht.errors import InvalidInput
    from msht.training.processes import find_processes
    from pipelines.crossval import cross_validate
    from pipelines.executors import Executor
    from pipelines.together import follow
    from pipelines.words import find_row, in_words

    if find_processes().rank > 0:
        follow(accelerator)
        return

    if pretrained is not None and no_pretrained:
        raise InvalidInput("--pretrained and --no-pretrained contradict each other.", "Give one of them.")
    if cache is not None:  # every process of the run reads it there
        os.environ["MSHT_CACHE"] = str(cache.expanduser().resolve())
    overrides = list(set_ or ())
    if pretrained is not None:
        overrides.append(f"network.pretrained={dumps(str(pretrained))}")
    elif no_pretrained:
        overrides.append("network.pretrained=false")
    folder = resume or out
    if folder is None:
        raise InvalidInput("Neither --out nor --resume is given.", "Give --out RUN for a new run.")
    if resume is not None and out is not None and resume != out:
        raise InvalidInput("--resume and --out name two folders.", "Give --resume alone.")
    with progress() as bars:
        result = cross_validate(
            split,
            recipe,
            folder,
            overrides=overrides,
            images=images,
            tracking_uri=tracking_uri,
            experiment=experiment,
            resume=resume is not None,
            accelerator=accelerator,
            executor=Executor(
                kind=executor,  # type: ignore[arg-type]
                devices=tuple(part.strip() for part in devices.split(",")) if devices is not None else (),
                ray_address=ray_address,
                cpus_per_fold=cpus_per_fold,
            ),
            progress=bars,
        )
    for level in ("field", "case"):
        row = find_row(result.performance, level)
        say(
            f"Out of fold by {level}: AUROC {in_words(row, 'auroc')}, "
            f"balanced accuracy {in_words(row, 'balanced_accuracy')}"
        )
    opened = "opened" if (folder / "evaluation.json").is_file() else "unopened"
    say(f"{folder}: {result.seconds / 60:.1f} min of training. The test set is {opened}.")
