"""`msht crossval`: train and cross-validate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from cli.options import Images, TrackingUri


def crossval(
    split: Annotated[Path | None, Option(help="Split written by `msht cohort split`.")] = None,
    recipe: Annotated[str | None, Option(help="Shipped recipe (small-cpu, paper) or a YAML file.")] = None,
    out: Annotated[Path | None, Option(help="Folder of the run; it must not exist or be empty.")] = None,
    resume: Annotated[Path | None, Option(help="Run that stopped; finished folds are kept.")] = None,
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
) -> None:
    """Train a network per fold, predict what each held out, calibrate, and choose the operating points."""
    from json import dumps

    from cli.show import progress, say
    from msht.errors import InvalidInput
    from pipelines.crossval import cross_validate
    from pipelines.words import find_row, in_words

    if pretrained is not None and no_pretrained:
        raise InvalidInput("--pretrained and --no-pretrained contradict each other.", "Give one of them.")
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
