"""`msht evaluate`: open the test set, once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from cli.options import Device, Images, TrackingUri


def evaluate(
    run: Annotated[Path, Argument(help="Finished run of `msht crossval`.")],
    again: Annotated[bool, Option("--again", help="Open the test set anew; every opening is recorded.")] = False,
    images: Images = None,
    device: Device = "auto",
    tracking_uri: TrackingUri = None,
) -> None:
    """Score the test role with all folds' networks; a second call shows the figures that are there."""
    from cli.show import progress, say, table
    from pipelines.evaluate import evaluate_run
    from pipelines.words import find_row, in_words

    with progress() as bars:
        result = evaluate_run(run, again=again, images=images, device=device, tracking_uri=tracking_uri, progress=bars)
    measures = ("auroc", "sensitivity", "specificity", "balanced_accuracy", "brier")
    rows = [find_row(result["performance"], level) for level in ("field", "case")]
    table(
        ["test, 95 % interval", *(f"by {row['level']} (n = {row['n_rows']})" for row in rows)],
        [[measure.replace("_", " "), *(in_words(row, measure) for row in rows)] for measure in measures],
        numbers=2,
    )
    say(f"Test set opened {len(result['opened'])} time(s), last {result['opened'][-1]}.")
