"""`msht explain`: heat maps of a scored case."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from cli.options import Device


def explain(
    bundle: Annotated[Path, Argument(help="Folder written by `msht bundle`.")],
    scores: Annotated[Path, Argument(help="Folder written by `msht score`.")],
    case: Annotated[list[str] | None, Option(help="Case to explain; may be repeated. Default: all.")] = None,
    method: Annotated[str, Option(help="hirescam, gradcam, gradcam++, layercam or xgradcam.")] = "hirescam",
    layer: Annotated[
        str | None, Option(help="encoder_1..4, decoder_1..4 or norm; default: what did best on phantoms.")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Make the heat maps of the fields that decided, on one scale per case; reports use them."""
    from cli.show import progress, say
    from pipelines.explain import explain_cases

    with progress() as bars:
        made = explain_cases(bundle, scores, cases=case, method=method, layer=layer, device=device, progress=bars)
    say(f"{scores / 'maps'}: maps of {len(made)} cases.")
