"""Making the parts of an evaluation that are wanted and not there yet."""

from __future__ import annotations

from typing import Any

from msht.cohort.splits import Split
from msht.decision import Decision
from msht.ensemble import Ensemble
from msht.files import quoted
from pipelines.evaluation_parts import Part, PartFiles
from pipelines.explain_maps import METHOD
from pipelines.progress import Interrupted, Progress
from pipelines.run_folder import RunFolder


def missing_parts(
    run: RunFolder, evaluation: dict[str, Any], parts: tuple[Part, ...], perturbed_images: int
) -> tuple[Part, ...]:
    """Which of the parts are not there, or are about other networks, another opening or another number of images."""
    files, fitted = PartFiles(run), evaluation["fitted_digest"]
    missing: list[Part] = []
    for part in parts:
        if part == "explanation":
            kept = files.read(files.explanation, fitted)
            there = kept is not None and kept["method"] == METHOD
        elif part == "robustness":
            kept = files.read(files.robustness, fitted)
            wanted = min(perturbed_images, evaluation["images"] - evaluation["not_evaluable_images"])
            there = kept is not None and kept["opened"] == evaluation["opened"][-1] and kept["images"] == wanted
        elif part == "gallery":
            there = files.read(files.gallery, fitted) is not None
        else:
            there = not missing and files.figures.is_dir() and any(files.figures.iterdir())
        if not there:
            missing.append(part)
    return tuple(missing)


def complete_parts(
    run: RunFolder,
    split: Split,
    ensemble: Ensemble,
    decision: Decision,
    evaluation: dict[str, Any],
    parts: tuple[Part, ...],
    seed: int,
    perturbed_images: int,
    progress: Progress,
) -> None:
    """Make these parts, one after another; each is kept when it is finished.

    Raises:
        Interrupted: on Ctrl-C, saying how to go on.
    """
    from pipelines.evaluation_figures import draw_figures
    from pipelines.explanation_checks import check_explanations
    from pipelines.gallery import make_gallery
    from pipelines.robustness import measure_robustness

    try:
        if "explanation" in parts:
            check_explanations(run, split, ensemble, decision, seed=seed, progress=progress)
        if "robustness" in parts:
            opened = evaluation["opened"][-1]
            measure_robustness(
                run, split, ensemble, decision, opened=opened, seed=seed, count=perturbed_images, progress=progress
            )
        if "gallery" in parts:
            make_gallery(run, split, ensemble, decision, progress=progress)
        if "figures" in parts:
            draw_figures(run)
    except KeyboardInterrupt as stop:
        raise Interrupted(
            f"Stopped; the test figures are in {run.evaluation_file}. Go on with `msht evaluate {quoted(run.path)}`."
        ) from stop
