"""`msht score`: score images with a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from cli.options import Device, Images


def score(
    bundle: Annotated[Path, Argument(help="Folder written by `msht bundle`.")],
    inputs: Annotated[list[Path], Argument(help="Images, folders, or tables with a column `image`.")],
    out: Annotated[Path, Option(help="Folder for the tables; a stopped scoring goes on there.")],
    case_from: Annotated[
        str | None,
        Option(help="Regular expression; its group in the path is the case. Default: the folder's name."),
    ] = None,
    images: Images = None,
    threshold: Annotated[float | None, Option(help="Case threshold instead of the bundle's; said everywhere.")] = None,
    device: Device = "auto",
    json: Annotated[bool, Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Score images: a row per image, a row per case; a damaged image is a row with its reason."""
    from cli.show import progress, say, table
    from pipelines.score import score_images

    with progress() as bars:
        result = score_images(
            bundle,
            inputs,
            out,
            case_from=case_from,
            images=images,
            threshold=threshold,
            device=device,
            progress=bars,
        )
    calls = result.cases["call"].value_counts().to_dict() if len(result.cases) else {}
    if json:
        from json import dumps

        summary = {
            "images": result.images,
            "not_evaluable": result.not_evaluable,
            "rejected": result.rejected,
            "cases": calls,
            "seconds": round(result.seconds, 2),
            "images_per_second": round(result.images_per_second, 1),
        }
        say(dumps(summary))
        return
    if len(result.cases) <= 40:
        table(
            ["case", "call", "probability", "fields", "positive", "rejected"],
            [
                [
                    str(row.case),
                    str(row.call),
                    f"{row.probability:.3f}" if row.call != "not evaluable" else "",
                    str(row.evaluable_fields),
                    str(row.positive_fields),
                    str(row.rejected_images),
                ]
                for row in result.cases.itertuples()
            ],
            numbers=4,
        )
    say(
        f"{out}: {result.images} images scored ({result.not_evaluable} not evaluable), {result.rejected} rejected, "
        f"{len(result.cases)} cases ({', '.join(f'{n} {c}' for c, n in calls.items())}); "
        f"{result.images_per_second:.1f} images per second."
    )
