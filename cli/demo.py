"""`msht demo`: the whole way on a synthetic cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from cli.options import TrackingUri


def demo(
    out: Annotated[Path, Option(help="Folder to write; it must not exist or be empty.")] = Path("demo"),
    patients: Annotated[int, Option(help="Patients of the phantom cohort.")] = 24,
    seed: Annotated[int, Option(help="Of phantom, split and training.")] = 517,
    tracking_uri: TrackingUri = None,
) -> None:
    """Draw a phantom cohort, train, calibrate, bundle, score, and write both kinds of PDF."""
    from cli.show import progress, say, table
    from pipelines.demo import run_demo

    with progress() as bars:
        result = run_demo(out, patients=patients, seed=seed, tracking_uri=tracking_uri, progress=bars)
    table(["held-out phantom patients", "by field", "by case"], result.rows, numbers=2)
    say("")
    table(["where", ""], result.places)
    say(f"\n{result.seconds / 60:.1f} min. Synthetic data: these figures say that the program works, no more.")
