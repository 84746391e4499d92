"""`msht score`: score images with a bundle."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from cli.options import Device, Images, Language

if TYPE_CHECKING:
    from pipelines.score_fields import ScoreSettings
    from pipelines.score_result import ScoreResult

PATIENCE = 10.0
"""Seconds of `--patience` where it is not given."""
LISTED_CASES = 40
"""Most cases that are listed on the screen; `cases.csv` has them all."""


class TestTimeAugmentation(StrEnum):
    """Orientations whose answers are averaged."""

    none = "none"
    flips = "flips"
    dihedral = "dihedral"


class Backend(StrEnum):
    """What runs the networks."""

    auto = "auto"
    torch = "torch"
    onnx = "onnx"
    openvino = "openvino"


class Executor(StrEnum):
    """Where the work is done."""

    local = "local"
    ray = "ray"


def score(
    bundle: Annotated[Path, Argument(help="Folder written by `msht bundle`.")],
    inputs: Annotated[
        list[Path] | None,
        Argument(help="Images, slides, folders, quoted globs, tables with a column `image`; - for a list of paths."),
    ] = None,
    out: Annotated[Path | None, Option(help="Folder for the tables; a stopped scoring goes on there.")] = None,
    watch: Annotated[
        Path | None, Option(help="Score the photographs that come into this folder, until Ctrl-C; without inputs.")
    ] = None,
    report: Annotated[bool, Option("--report", help="With --watch: keep a PDF of each case in OUT/reports.")] = False,
    language: Annotated[Language | None, Option(help="With --report: of the PDFs, en or zh. Default: en.")] = None,
    patience: Annotated[
        float | None,
        Option(help="With --watch: seconds that a file may stay broken before it is rejected. Default: 10."),
    ] = None,
    case_from: Annotated[
        str | None,
        Option(help="Regular expression; its group in the path is the case. Default: the folder's name."),
    ] = None,
    images: Images = None,
    null: Annotated[bool, Option("--null", help="The list on standard input is separated by NUL bytes.")] = False,
    threshold: Annotated[float | None, Option(help="Case threshold instead of the bundle's; said everywhere.")] = None,
    folds: Annotated[str | None, Option(help="Networks that answer, e.g. 1,3. Default: all.")] = None,
    test_time_augmentation: Annotated[
        TestTimeAugmentation, Option(help="Mean over 4 (flips) or 8 (dihedral) orientations of each field.")
    ] = TestTimeAugmentation.none,
    device: Device = "auto",
    backend: Annotated[Backend, Option(help="What runs the networks; auto takes the fastest.")] = Backend.auto,
    batch_size: Annotated[int, Option(help="Images that the networks answer together.")] = 32,
    workers: Annotated[int | None, Option(help="Threads that decode images. Default: one a core.")] = None,
    executor: Annotated[Executor, Option(help="local, or ray for many machines.")] = Executor.local,
    ray_address: Annotated[str | None, Option(help="Of a running Ray cluster.")] = None,
    slide_microns_per_pixel: Annotated[
        float | None, Option(help="Slides: size of their pixels in um, where a file does not say it.")
    ] = None,
    field_microns_per_pixel: Annotated[
        float | None, Option(help="Slides: scale of the fields that the bundle learned from, if it does not say it.")
    ] = None,
    overlap: Annotated[float, Option(help="Slides: share of a tile's edge that its neighbour shows too.")] = 0.0,
    tile: Annotated[int | None, Option(help="Slides: edge of a tile in px of a field, if the bundle has none.")] = None,
    max_tiles: Annotated[
        int | None, Option(help="Slides: most tiles of a slide. Default: all that are stained.")
    ] = None,
    json: Annotated[bool, Option("--json", help="Print the summary as JSON; with --watch a line per image.")] = False,
) -> None:
    """Score images: a row per image, a row per case; a damaged image is a row with its reason."""
    import sys

    from cli.show import progress, say
    from msht.errors import InvalidInput
    from msht.files import quoted

    if out is None:
        raise InvalidInput("--out is missing.", "Name the folder for the tables.")
    if bool(inputs) == (watch is not None):
        raise InvalidInput(
            "There is nothing to score." if not inputs else "Inputs and --watch are both given.",
            "Give images, folders, globs, tables or -; or a folder with --watch.",
        )
    if watch is None and report:
        raise InvalidInput(
            "--report is for --watch.",
            f"Write the PDFs with `msht report case {quoted(bundle)} {quoted(out)} --all`.",
        )
    if executor is Executor.local and ray_address is not None:
        raise InvalidInput("--ray-address is given without --executor ray.", "Give both, or neither.")
    if null and Path("-") not in (inputs or ()):
        raise InvalidInput("--null is for a list of paths on standard input.", "Give - as the input, or leave it out.")
    if language is not None and not report:
        raise InvalidInput("--language is for the PDFs of --watch --report.", "Give both, or leave it out.")
    if watch is None and patience is not None:
        raise InvalidInput("--patience is for --watch.", "Give --watch with a folder, or leave it out.")
    from pipelines.score_sources import TABLES

    if images is not None and not any(path.suffix.lower() in TABLES and not path.is_dir() for path in inputs or ()):
        raise InvalidInput(
            "--images is for the paths of a table, and no input is one.",
            "Give a table with a column 'image', or leave it out.",
        )
    from pipelines.score_fields import ScoreSettings
    from pipelines.score_slides import SlideSettings

    settings = ScoreSettings(
        threshold=threshold,
        folds=_numbers(folds),
        test_time=test_time_augmentation.value,
        backend=backend.value,
        device=device,
        workers=workers,
        batch_size=batch_size,
        slides=SlideSettings(
            slide_microns_per_pixel=slide_microns_per_pixel,
            field_microns_per_pixel=field_microns_per_pixel,
            overlap=overlap,
            tile=tile,
            max_tiles=max_tiles,
        ),
    )
    if watch is not None:
        if executor is not Executor.local:
            raise InvalidInput("--watch works on this machine only.", "Leave --executor out.")
        wait = PATIENCE if patience is None else patience
        spoken: Literal["en", "zh"] = "zh" if language is Language.zh else "en"
        _watch(
            bundle, watch, out, settings, case_from=case_from, patience=wait, report=report, language=spoken, json=json
        )
        return
    import signal

    from pipelines.score import score_images
    from pipelines.score_sources import lines_of

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as jobs are stopped: the same as Ctrl-C

    with progress() as bars:
        result = score_images(
            bundle,
            inputs or (),
            out,
            settings=settings,
            case_from=case_from,
            images=images,
            listed=lines_of(sys.stdin.buffer, null=null),
            executor=executor.value,
            ray_address=ray_address,
            progress=bars,
        )
        for note in result.notes:
            bars.say(note)
    if json:
        from json import dumps

        say(dumps(result.summary(), ensure_ascii=False))
        return
    _print(result)


def _watch(
    bundle: Path,
    folder: Path,
    out: Path,
    settings: ScoreSettings,
    *,
    case_from: str | None,
    patience: float,
    report: bool,
    language: Literal["en", "zh"],
    json: bool,
) -> None:
    import signal
    from json import dumps

    from cli.show import progress, say
    from pipelines.watch import Answer, watch_folder

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as services are stopped: the same as Ctrl-C

    def tell(answer: Answer) -> None:
        say(dumps(answer.row(), ensure_ascii=False) if json else answer.in_words())

    with progress() as bars:
        result = watch_folder(
            bundle,
            folder,
            out,
            settings=settings,
            case_from=case_from,
            patience=patience,
            report=report,
            language=language,
            tell=tell,
            progress=bars,
        )
    say(dumps(result.summary(), ensure_ascii=False) if json else result.in_words())
    if result.unwritten_reports:
        from typer import Exit

        raise Exit(1)


def _print(result: ScoreResult) -> None:
    from cli.show import say, table

    if result.number_of_cases <= LISTED_CASES:
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
    say(result.in_words())


def _numbers(text: str | None) -> tuple[int, ...] | None:
    from msht.errors import InvalidInput

    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise InvalidInput(
            f"--folds is '{text}'.", "Give numbers of networks with commas between, e.g. 1,3."
        ) from error
