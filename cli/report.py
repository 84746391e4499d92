"""`msht report`: PDFs for the clinician and for the reviewer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from cli.options import Device

app = Typer(help="Write the PDF of a case, or the validation report of a run.", no_args_is_help=True)


@app.command()
def case(
    bundle: Annotated[Path, Argument(help="Folder written by `msht bundle`.")],
    scores: Annotated[Path, Argument(help="Folder written by `msht score`.")],
    case: Annotated[str, Option(help="Case, as in cases.csv.")],
    out: Annotated[Path, Option(help="PDF to write.")],
    entered: Annotated[
        list[str] | None, Option(help="NAME=VALUE about the case, printed as entered; may be repeated.")
    ] = None,
    microns_per_pixel: Annotated[float | None, Option(help="Of the photographs, for the scale bar.")] = None,
    device: Device = "cpu",
) -> None:
    """Write the report of one case: two pages at most."""
    from cli.show import say
    from msht.errors import InvalidInput
    from pipelines.report_case import report_case

    facts = []
    for text in entered or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidInput(f"--entered {text} is not of the form NAME=VALUE.", "E.g. --entered Pass=2.")
        facts.append((name, value))
    if microns_per_pixel is not None and not 0.01 <= microns_per_pixel <= 10:
        raise InvalidInput(f"--microns-per-pixel is {microns_per_pixel}.", "Give a size between 0.01 and 10 µm.")
    path = report_case(bundle, scores, case, out, entered=facts, microns_per_pixel=microns_per_pixel, device=device)
    say(f"{path}")


@app.command()
def validation(
    run: Annotated[Path, Argument(help="Run whose test set was opened.")],
    out: Annotated[Path, Option(help="PDF to write.")],
    comparison: Annotated[
        Path | None, Option(help="Folder of `msht compare` with this run in it; its tests are printed.")
    ] = None,
) -> None:
    """Write the validation report of a run."""
    from cli.show import say
    from pipelines.report_validation import report_validation

    say(f"{report_validation(run, out, comparison=comparison)}")
