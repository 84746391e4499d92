"""`msht export`: a bundle's networks in another form, verified before it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from cli.options import Images


def export(
    bundle: Annotated[Path, Argument(help="Folder written by `msht bundle`; the export becomes part of it.")],
    to: Annotated[str, Option(help="onnx or openvino.")],
    run: Annotated[
        Path | None, Option(help="Run that the bundle was made from: verify on its out-of-fold images.")
    ] = None,
    images: Images = None,
    int8: Annotated[bool, Option("--int8", help="Whole numbers of 8 bits, fitted on training images of RUN.")] = False,
    bf16: Annotated[bool, Option("--bf16", help="bfloat16 arithmetic (OpenVINO).")] = False,
    most: Annotated[int, Option(help="Images to compare; half of them the nearest to the threshold.")] = 400,
    json: Annotated[bool, Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Export the networks, hold them against PyTorch on real images, and keep them if no call changes.

    Without --run, --images names real images themselves: a folder or a table.
    """
    from cli.show import progress, say
    from msht.errors import InvalidInput
    from msht.runtimes.choice import speedup
    from pipelines.export import export_bundle

    if to not in ("onnx", "openvino"):
        raise InvalidInput(f"--to is '{to}'.", "Choose onnx or openvino.")
    if int8 and bf16:
        raise InvalidInput("--int8 and --bf16 exclude each other.", "Give one of them, or neither.")
    with progress() as bars:
        made = export_bundle(
            bundle,
            "onnx" if to == "onnx" else "openvino",
            precision="int8" if int8 else "bfloat16" if bf16 else "float32",
            run=run,
            images=images,
            most=most,
            progress=bars,
        )
    export = next(each for each in made.description.exports if each.backend == to)
    if json:
        from json import dumps

        say(dumps({"bundle": made.digest, "model": made.model_digest, **export.model_dump(mode="json")}))
        return
    figures = export.verification
    say(
        f"{export.in_words()} {figures.images_per_second:.3g} fields per second against "
        f"{figures.images_per_second_torch:.3g} in PyTorch ({speedup(export):.1f} times), without reading."
    )
    say(f"{bundle}: now {made.short_digest}; `msht score --backend auto` uses the fastest export.")
