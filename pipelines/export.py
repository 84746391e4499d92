"""Other forms of a bundle's networks: made, held against PyTorch on real images, and only then kept."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from msht.bundle import Bundle, read_bundle
from msht.ensemble import Ensemble, FieldScores, FoldModel
from msht.errors import InvalidInput
from msht.runtimes.description import ExportDescription, Precision, Verification
from msht.runtimes.graph import trace
from msht.runtimes.onnx import export_onnx, quantise_onnx
from msht.runtimes.openvino import export_openvino, quantise_openvino
from msht.runtimes.quiet import import_nncf, import_openvino, missing
from msht.runtimes.store import add_export, open_runtime
from msht.runtimes.verification import TOLERANCE, Differences, compare_scores
from pipelines.export_images import Pictures, from_run, from_source
from pipelines.progress import Interrupted, Progress, Silent, stage
from pipelines.words import now

Target = Literal["onnx", "openvino"]
BATCH = 16
MADE_WITH: dict[Target, tuple[str, ...]] = {
    "onnx": ("torch", "onnx", "onnxscript", "onnxruntime"),
    "openvino": ("torch", "openvino"),
}
TURNS = 3
"""How often each side is timed, in turns; the best counts, since every disturbance only adds time."""


def export_bundle(
    path: Path,
    to: Target,
    *,
    precision: Precision = "float32",
    run: Path | None = None,
    images: Path | None = None,
    most: int = 400,
    progress: Progress | None = None,
) -> Bundle:
    """Export every network of a bundle, hold the export against PyTorch, and put it into the bundle.

    Args:
        path: the bundle.
        to: the backend.
        precision: `float32`; `bfloat16` (OpenVINO only) or `int8`, which need `run`.
        run: the run that the bundle was made from: its development images are used, each network's by those that
            it did not train on.
        images: without `run`, real images: a folder or a table; with it, where its images lie now.
        most: images that are compared; half of them those whose out-of-fold answer is nearest to the threshold.
        progress: who listens.

    Returns:
        The bundle with the export.

    Raises:
        InvalidInput: if the export answers differently; the bundle is as it was then.
        MissingResource: if a package is missing.
    """
    bundle = read_bundle(path)
    _check(to, precision, run, images, most)
    pictures = _pictures(bundle, run, images, most)
    return export_with(bundle, to, precision, pictures, progress=progress)


def export_with(
    bundle: Bundle, to: Target, precision: Precision, pictures: Pictures, *, progress: Progress | None = None
) -> Bundle:
    """Export a bundle, verified and calibrated with these pictures; see `export_bundle`."""
    progress = progress or Silent()
    verified, calibrated = pictures.verify, pictures.calibrate if precision == "int8" else {}
    try:
        with tempfile.TemporaryDirectory(prefix="msht-export-") as scratch:
            folder = Path(scratch)
            loaded = bundle.ensemble()
            plain = Ensemble(loaded.folds, loaded.preprocessing)  # as they were trained, nothing folded
            with stage(progress, "Reading", len(verified)) as steps:
                views = pictures.views(verified, plain.preprocessing, steps.advance)
            with stage(progress, "Asking PyTorch", len(verified)) as steps:
                before = _scores(plain, views, steps.advance)
            with stage(progress, f"Exporting to {to}", len(plain.folds)) as steps:
                for fold in plain.folds:
                    squares = pictures.squares(calibrated.get(fold.number, []), plain.preprocessing)
                    _export(fold, plain, to, precision, squares, folder)
                    steps.advance()
            export = _described(to, precision, pictures, Differences(0.0, 0.0, 0, 0), (1.0, 1.0))
            files = [folder / Path(export.files_of(fold.number)[0]).name for fold in plain.folds]
            runtime = open_runtime(export, files, plain.preprocessing.size, None)
            candidate = Ensemble(plain.folds, plain.preprocessing, runtime=runtime)
            with stage(progress, f"Asking {to}", len(verified)) as steps:
                after = _scores(candidate, views, steps.advance)
            found = compare_scores(
                before,
                after,
                bundle.description.decision,
                numbers=[fold.number for fold in plain.folds],
                held_out=pictures.held_out,
                cases=pictures.cases,
            )
            _refuse_unless_same(found, to, precision, len(verified))
            export = _described(to, precision, pictures, found, _rates(loaded, candidate, views[:BATCH]))
            return add_export(bundle, export, folder)
    except KeyboardInterrupt as error:
        raise Interrupted(f"Stopped; {bundle.path} is as it was.") from error


def _check(to: Target, precision: Precision, run: Path | None, images: Path | None, most: int) -> None:
    """Refuse what cannot be done before anything is read."""
    if precision == "bfloat16" and to != "openvino":
        raise InvalidInput("ONNX Runtime has no bfloat16 on processors.", "Use --to openvino, or leave --bf16 out.")
    if run is None and images is None:
        raise InvalidInput(
            "An export is verified on real images before it is kept, and a bundle holds none.",
            "Give the run that the bundle was made from with --run RUN, or images with --images FOLDER.",
        )
    if run is None and precision != "float32":
        raise InvalidInput(
            f"An export in {precision} is held against PyTorch on images that each network did not train on.",
            "Give the run that the bundle was made from with --run RUN.",
        )
    if most < 1:
        raise InvalidInput(f"--most is {most}.", "Give a number of images, at least 1.")
    if to == "openvino":
        import_openvino()
    else:
        for name in MADE_WITH["onnx"][1:]:
            try:
                __import__(name)
            except ImportError as error:
                raise missing(name, "onnx") from error
    if precision == "int8":
        import_nncf()


def _pictures(bundle: Bundle, run: Path | None, images: Path | None, most: int) -> Pictures:
    if run is not None:
        return from_run(bundle, run, images, most)
    assert images is not None
    return from_source(images, most)


def _export(
    fold: FoldModel, plain: Ensemble, to: Target, precision: Precision, squares: list[np.ndarray], folder: Path
) -> None:
    """Write one network's files."""
    program = trace(fold.network, plain.preprocessing)
    transformer = type(fold.network).__module__.startswith(("msht.network.", "timm.models.vision_transformer"))
    if to == "onnx":
        export_onnx(program, folder / f"fold-{fold.number}.onnx")
    else:
        export_openvino(program, folder / f"fold-{fold.number}.xml", size=plain.preprocessing.size)
    if precision == "int8":
        quantise = quantise_onnx if to == "onnx" else quantise_openvino
        suffix = ".onnx" if to == "onnx" else ".xml"
        quantise(folder / f"fold-{fold.number}{suffix}", squares, transformer=transformer)


def _scores(ensemble: Ensemble, views: np.ndarray, advance: Callable[[int], None]) -> FieldScores:
    parts = []
    for start in range(0, len(views), BATCH):
        parts.append(ensemble.score(views[start : start + BATCH]))
        advance(len(parts[-1].probability))
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in FieldScores.__annotations__
    }
    return FieldScores(**joined)


def _refuse_unless_same(found: Differences, to: Target, precision: Precision, count: int) -> None:
    """Refuse an export that answers differently.

    Raises:
        InvalidInput: with the figures.
    """
    if found.accepted(precision):
        return
    raise InvalidInput(
        f"The {precision} export to {to} answers differently and is not kept: over {count} images the largest change "
        f"of a probability is {found.largest_change_fold:.2g} of a single network and {found.largest_change:.2g} of "
        f"their mean ({TOLERANCE[precision]:g} allowed), and {found.flipped_fields} calls of fields and "
        f"{found.flipped_cases} of cases change (none allowed).",
        "Use a higher precision." if precision != "float32" else "Score with --backend torch.",
    )


def _described(
    to: Target, precision: Precision, pictures: Pictures, found: Differences, rates: tuple[float, float]
) -> ExportDescription:
    packages = (*MADE_WITH[to], *(("nncf",) if precision == "int8" else ()))
    return ExportDescription(
        backend=to,
        precision=precision,
        created=now(),
        versions={name: version(name) for name in packages},
        calibration=pictures.calibration_in_words if precision == "int8" else "",
        verification=Verification(
            images=len(pictures.verify),
            cases=len(set(pictures.cases)),
            data=pictures.in_words,
            tolerance=TOLERANCE[precision],
            images_per_second_torch=rates[0],
            images_per_second=rates[1],
            processor=processor(),
            **asdict(found),
        ),
    )


def _rates(torch_way: Ensemble, exported: Ensemble, views: np.ndarray) -> tuple[float, float]:
    """Fields per second of PyTorch and of the export, in turns."""
    best = [0.0, 0.0]
    for _ in range(TURNS):
        for place, ensemble in enumerate((torch_way, exported)):
            started = time.perf_counter()
            ensemble.score(views)
            best[place] = max(best[place], len(views) / (time.perf_counter() - started))
    return round(best[0], 3), round(best[1], 3)


def processor() -> str:
    """Name of this machine's processor, without the machine's."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    import platform

    return platform.processor() or platform.machine()
