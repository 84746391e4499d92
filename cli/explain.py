"""`msht explain`: heat maps of images, or of the cases of a scoring; and what the network attends to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from cli.options import Device


def explain(
    bundle: Annotated[Path, Argument(help="Folder written by `msht bundle`.")],
    inputs: Annotated[list[Path], Argument(help="Images, folders or tables; or one folder written by `msht score`.")],
    out: Annotated[Path | None, Option(help="Folder for overlays, arrays and contact sheet of images.")] = None,
    case: Annotated[list[str] | None, Option(help="Case of a scoring; may be repeated. Default: all.")] = None,
    method: Annotated[
        str | None,
        Option(
            help="hirescam, gradcam, gradcam++, layercam, xgradcam, eigengradcam, scorecam or ablationcam; default: "
            "that of the bundle."
        ),
    ] = None,
    layer: Annotated[
        str | None, Option(help="encoder_1..4, decoder_1..4 or norm; default: what did best when it was checked.")
    ] = None,
    attention: Annotated[
        bool, Option("--attention", help="Also MHSA and MHGA by decoder and head, rollout, distances, positions.")
    ] = False,
    fold: Annotated[int | None, Option(help="Whose network's attention; default: the first.")] = None,
    case_from: Annotated[
        str | None, Option(help="Regular expression; its first group is the case of an image.")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Map the evidence for positive over images (with --out), or over the fields that decided scored cases.

    The images of a case share one scale, which is printed.
    """
    from cli.show import progress, say
    from msht.errors import InvalidInput
    from pipelines.case_maps import gone_in_words
    from pipelines.explain import explain_cases, is_scoring

    scored = len(inputs) == 1 and is_scoring(inputs[0])
    if scored and (out is not None or attention or case_from is not None):
        raise InvalidInput(
            f"{inputs[0]} is a scoring: its maps are kept in it, by the cases that it has.",
            "Leave out --out, --attention and --case-from, or give the images themselves.",
        )
    if not scored and out is None:
        raise InvalidInput("There is no --out for the maps of these images.", "Name a folder with --out.")
    if not scored and case:
        raise InvalidInput("--case belongs to a scoring, and these are images.", "Give the folder of `msht score`.")
    with progress() as bars:
        if scored or out is None:
            made = explain_cases(
                bundle, inputs[0], cases=case, method=method, layer=layer, device=device, progress=bars
            )
            say(f"{inputs[0] / 'maps'}: maps of {len(made)} cases.")
            if gone := [one for maps in made for one in maps.gone]:
                say(gone_in_words(gone))
            return
        from pipelines.explain_images import explain_images

        done = explain_images(
            bundle,
            inputs,
            out,
            method=method,
            layer=layer,
            attention=attention,
            fold=fold,
            case_from=case_from,
            device=device,
            progress=bars,
        )
    say(f"{out}: maps of {done.images} images ({done.method}, {done.layer}); see {done.sheets[0].name}.")
