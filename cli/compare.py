"""`msht compare`: several models on the same folds, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from cli.options import Device, Images, TrackingUri


def compare(
    out: Annotated[Path, Option(help="Folder of the comparison: a run a model, and the tables.")],
    more_runs: Annotated[list[Path] | None, Argument(metavar="[RUN]...", help="Further runs after --runs.")] = None,
    split: Annotated[Path | None, Option(help="Split written by `msht cohort split`.")] = None,
    models: Annotated[str | None, Option(help="Networks to train, split by commas; `msht models` lists them.")] = None,
    models_file: Annotated[
        Path | None, Option(help="YAML of models with settings of their own: NAME: {network: ..., set: [...]}.")
    ] = None,
    recipe: Annotated[str | None, Option(help="Shipped recipe or a YAML file, the same for all models.")] = None,
    reference: Annotated[
        str | None, Option(help="Model that the others are tested against; default: the first.")
    ] = None,
    runs: Annotated[
        list[Path] | None, Option(help="Compare finished runs instead: --runs A B C, all of one split.")
    ] = None,
    set_: Annotated[
        list[str] | None, Option("--set", help="section.key=value over the recipe of every model; may be repeated.")
    ] = None,
    resume: Annotated[bool, Option("--resume", help="Go on with a comparison that stopped in --out.")] = False,
    open_test: Annotated[
        bool | None,
        Option(
            "--test/--no-test",
            help="Open the test set of every model once all are trained. Default: yes for new models, no for --runs.",
        ),
    ] = None,
    images: Images = None,
    tracking_uri: TrackingUri = None,
    experiment: Annotated[str, Option(help="MLflow experiment.")] = "msht",
    accelerator: Annotated[str, Option(help="auto, cpu or gpu.")] = "auto",
    device: Device = "auto",
    executor: Annotated[
        str, Option(help="Folds one after another (local), a process per GPU (gpus), or Ray tasks (ray).")
    ] = "local",
    ray_address: Annotated[str | None, Option(help="For ray: of a cluster; default: this machine.")] = None,
) -> None:
    """Train models on the same folds, or take finished runs, and write one table that says who wins."""
    from cli.show import progress, say
    from msht.errors import InvalidInput
    from pipelines.compare import compare_models, compare_runs
    from pipelines.executors import Executor

    finished = [*(runs or ()), *(more_runs or ())]
    training = {"--split": split, "--models": models, "--models-file": models_file, "--recipe": recipe, "--set": set_}
    if runs:
        given = [name for name, value in {**training, "--resume": resume}.items() if value]
        if given:
            raise InvalidInput(f"--runs compares finished runs, and {given[0]} trains.", "Give one of the two.")
    elif more_runs:
        raise InvalidInput(f"{more_runs[0]} stands alone.", "Name finished runs after --runs.")
    with progress() as bars:
        if runs:
            result = compare_runs(
                finished,
                out,
                reference=reference,
                open_test=bool(open_test),
                images=images,
                device=device,
                tracking_uri=tracking_uri,
                progress=bars,
            )
        else:
            result = compare_models(
                split,
                [name.strip() for name in (models or "").split(",") if name.strip()],
                recipe,
                out,
                reference=reference,
                overrides=set_ or (),
                models_file=models_file,
                images=images,
                tracking_uri=tracking_uri,
                experiment=experiment,
                open_test=open_test is not False,
                resume=resume,
                accelerator=accelerator,
                device=device,
                progress=bars,
                executor=Executor(kind=executor, ray_address=ray_address),  # type: ignore[arg-type]
            )
    for sentence in result.comparison["verdict"]:
        say(sentence.replace("**", ""))
    say(f"{result.out / 'comparison.md'}")
    if result.failed:
        for name, why in result.failed.items():
            say(f"{name} failed: {why}")
        raise Exit(1)
