"""`msht register` and `msht promote`: bundles in MLflow's model registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from cli.options import TrackingUri


def register(
    bundle: Annotated[Path, Argument(help="Folder written by `msht bundle`.")],
    name: Annotated[str, Option(help="Name in the registry.")],
    run: Annotated[Path | None, Option(help="Run that it was made from; default: the one that MLflow knows.")] = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Log a bundle as an MLflow model that `mlflow models serve` can serve, and register it."""
    from cli.show import say
    from pipelines.registry import register_bundle

    made = register_bundle(bundle, name, run=run, tracking_uri=tracking_uri)
    say(f"{made.name}, version {made.version}: bundle {made.digest}.")
    say(f"Make it the champion with `msht promote {made.name} {made.version}`.")


def promote(
    name: Annotated[str, Argument(help="Name in the registry.")],
    which: Annotated[str, Argument(metavar="VERSION|RUN", help="Version, folder of a run, or MLflow's id of one.")],
    tracking_uri: TrackingUri = None,
) -> None:
    """Move the alias `champion` to a version, after the copy in the registry was fetched and verified."""
    from cli.show import say
    from pipelines.registry import promote as move

    done = move(name, which, tracking_uri=tracking_uri)
    before = f", before: version {done.before}" if done.before and done.before != done.version else ""
    say(f"{name}@champion is version {done.version} (bundle {done.digest}){before}.")
