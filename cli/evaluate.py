"""`msht evaluate`: open the test set, once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from cli.options import Device, Images, TrackingUri


def evaluate(
    run: Annotated[Path, Argument(help="Finished run of `msht crossval`.")],
    again: Annotated[bool, Option("--again", help="Open the test set anew; every opening is recorded.")] = False,
    without: Annotated[
        list[str] | None,
        Option(help="Part to leave out: explanation, robustness, gallery or figures; may be repeated."),
    ] = None,
    perturbed_images: Annotated[int, Option(help="Test images for the part `robustness`.")] = 120,
    images: Images = None,
    device: Device = "auto",
    tracking_uri: TrackingUri = None,
) -> None:
    """Score the test role with all folds' networks, then check maps, perturb images, show wrong calls, draw figures.

    A second call shows the figures that are there and makes only the parts that are missing.
    """
    from cli.show import progress, say, table
    from pipelines.evaluate import evaluate_run
    from pipelines.evaluation_parts import PARTS, checked_parts
    from pipelines.words import find_row, in_words

    left_out = checked_parts(tuple(without or ()))
    with progress() as bars:
        result = evaluate_run(
            run,
            again=again,
            images=images,
            device=device,
            tracking_uri=tracking_uri,
            parts=tuple(part for part in PARTS if part not in left_out),
            perturbed_images=perturbed_images,
            progress=bars,
        )
    measures = ("auroc", "sensitivity", "specificity", "balanced_accuracy", "brier")
    rows = [find_row(result["performance"], level) for level in ("field", "case")]
    table(
        ["test, 95 % interval", *(f"by {row['level']} (n = {row['n_rows']})" for row in rows)],
        [[measure.replace("_", " "), *(in_words(row, measure) for row in rows)] for measure in measures],
        numbers=2,
    )
    say(f"Test set opened {len(result['opened'])} time(s), last {result['opened'][-1]}.")
