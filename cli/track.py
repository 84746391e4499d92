"""`msht track`: what MLflow was not told yet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Typer

from cli.options import TrackingUri

app = Typer(help="Send what MLflow missed while its server was away.", no_args_is_help=True)


@app.callback()
def track() -> None:
    """Nothing of its own."""


@app.command()
def sync(
    run: Annotated[Path, Argument(help="Run of `msht crossval`.")],
    tracking_uri: TrackingUri = None,
) -> None:
    """Send what is kept in a run's folder, in the order in which it happened."""
    from cli.show import say
    from pipelines.tracking import synchronise_run

    sent = synchronise_run(run, tracking_uri=tracking_uri)
    if sent.waiting:
        say(f"MLflow does not answer; {sent.waiting} files of {run} still wait.")
        raise Exit(1)
    refused = f", {sent.refused} refused (see {run / 'mlflow-spool' / 'refused.jsonl'})" if sent.refused else ""
    say(f"{run}: {sent.operations} operations sent{refused}." if sent.operations else f"{run}: nothing was waiting.")
