"""`msht report`: PDFs for the clinician and for the reviewer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option, Typer

from cli.options import Device, Language, TrackingUri

app = Typer(help="Write the PDF of a case, or the validation report of a run.", no_args_is_help=True)


def _plain(text: str) -> str:
    """Text of others as a terminal may have it: what would move or reorder it is shown by its code point."""
    return "".join(character if character.isprintable() else f"<{ord(character):04X}>" for character in text)


@app.command()
def case(
    bundle: Annotated[Path, Argument(help="Folder written by `msht bundle`.")],
    scores: Annotated[Path, Argument(help="Folder written by `msht score`.")],
    out: Annotated[Path, Option(help="PDF to write; with --all the folder of the PDFs.")],
    case: Annotated[str | None, Option(help="Case, as in cases.csv.")] = None,
    every: Annotated[
        bool, Option("--all", help="Every case, and an index, most urgent first; a stopped run goes on.")
    ] = False,
    language: Annotated[Language, Option(help="Of the pages: en or zh.")] = Language.en,
    entered: Annotated[
        list[str] | None, Option(help="NAME=VALUE about the case, printed as entered; may be repeated.")
    ] = None,
    entered_table: Annotated[
        Path | None, Option(help="Table with a column `case`; every other column is printed as entered.")
    ] = None,
    microns_per_pixel: Annotated[float | None, Option(help="Of the photographs, for the scale bar.")] = None,
    log: Annotated[
        bool, Option("--log", help="Also log a copy to MLflow, without ids, file names and what was entered.")
    ] = False,
    tracking_uri: TrackingUri = None,
    workers: Annotated[int | None, Option(help="Processes for --all. Default: one a core.")] = None,
    device: Device = "cpu",
) -> None:
    """Write the report of one case, or with --all of every case: two pages, and more only to list many fields."""
    from cli.show import progress, say
    from msht.errors import InvalidInput
    from pipelines.report_case_entered import facts_of, read_entered, together

    if every == (case is not None):
        raise InvalidInput("Neither a case nor all are named." if not every else "--case and --all are both given.",
                           "Give --case NAME, or --all.")  # fmt: skip
    if every and out.exists() and not out.is_dir():
        raise InvalidInput(f"--out {out} is a file.", "With --all it is the folder of the PDFs: name a folder.")
    if not every and out.is_dir():
        raise InvalidInput(f"--out {out} is a folder.", "Name the PDF to write, e.g. --out case.pdf.")
    if not every and out.suffix.lower() != ".pdf":
        raise InvalidInput(f"--out {out} does not end in .pdf.", "Name the PDF to write, e.g. --out case.pdf.")
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", device) is None:
        raise InvalidInput(f"--device {device} is not a device.", "Use auto, cpu, or cuda.")
    facts = []
    for text in entered or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise InvalidInput(f"--entered {text} is not of the form NAME=VALUE.", "E.g. --entered Pass=2.")
        facts.append((name, value))
    if microns_per_pixel is not None and not 0.01 <= microns_per_pixel <= 10:
        raise InvalidInput(f"--microns-per-pixel is {microns_per_pixel}.", "Give a size between 0.01 and 10 µm.")
    if workers is not None and workers < 1:
        raise InvalidInput(f"--workers is {workers}.", "Give 1 or more.")
    by_case = read_entered(entered_table) if entered_table else {}
    if case is not None:
        from pipelines.report_case import report_case

        of_case = facts_of(case, by_case, entered_table) if entered_table else ()
        with progress() as bars:
            path = report_case(
                bundle,
                scores,
                case,
                out,
                entered=together(facts, of_case, case),
                microns_per_pixel=microns_per_pixel,
                device=device,
                language=language.value,
                progress=bars,
            )
        say(f"{path}")
        if log:
            from pipelines.tracking_reports import log_case_report

            logged = log_case_report(
                bundle, scores, case, microns_per_pixel=microns_per_pixel, device=device, tracking_uri=tracking_uri
            )
            say(f"MLflow: {logged}")
        return
    if log:
        raise InvalidInput("--log is for one case at a time.", "Give --case NAME.")
    from pipelines.case_maps import gone_in_words
    from pipelines.report_case_all import report_cases

    with progress() as bars:
        result = report_cases(
            bundle,
            scores,
            out,
            entered=facts,
            entered_by_case=by_case,
            microns_per_pixel=microns_per_pixel,
            device=device,
            language=language.value,
            workers=workers,
            progress=bars,
        )
    for failed, reason in result.failed.items():
        say(_plain(f"{failed}: no report. {reason}"))
    for path in result.outdated:
        say(_plain(f"The earlier report {path.name} holds no longer: moved to {path}."))
    if result.gone:
        say(_plain(gone_in_words(result.gone)))
    if result.unknown and entered_table:
        say(_plain(f"{entered_table.name} names cases that were not scored: {', '.join(result.unknown)}."))
    say(f"{result.index}: {result.written} reports written, {result.kept} kept, {len(result.failed)} failed.")
    if result.failed:
        raise Exit(1)


@app.command()
def validation(
    run: Annotated[Path, Argument(help="Run whose test set was opened.")],
    out: Annotated[Path, Option(help="PDF to write.")],
    comparison: Annotated[
        Path | None, Option(help="Folder of `msht compare` with this run in it; its tests are printed.")
    ] = None,
    prevalence: Annotated[float | None, Option(help="Of the place of use: adds PPV and NPV there, e.g. 0.3.")] = None,
    error: Annotated[float, Option(help="Allowed among cases not referred, for the deferral curve.")] = 0.05,
    subgroup: Annotated[list[str] | None, Option(help="Column to part the test fields by; may be repeated.")] = None,
) -> None:
    """Write the validation report of a run."""
    from cli.show import say
    from pipelines.report_validation import report_validation

    path = report_validation(
        run, out, comparison=comparison, prevalence=prevalence, error=error, subgroups=tuple(subgroup or ())
    )
    say(f"{path}")
