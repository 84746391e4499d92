"""The test images again, as a worse photograph would show them: what JPEG, blur, stain and rotation do to the calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from msht.cohort.manifest import CLASSES
from msht.cohort.splits import Split
from msht.decision import Decision
from msht.ensemble import Ensemble
from msht.errors import InvalidInput
from msht.files import inside, read_json, sha256_of_text, write_json
from msht.images.preprocessing import view_of
from msht.images.quality import measure_quality
from msht.images.reading import read_image
from msht.statistics.summary import summarise
from pipelines.evaluation_parts import PartFiles, called_positive, drawn_by_group
from pipelines.performance import read_predictions
from pipelines.progress import Progress, Silent, stage
from pipelines.robustness_images import PERTURBATIONS, Perturbation
from pipelines.run_folder import RunFolder

AT_ONCE = 8
"""Images that are perturbed in every way, scored and written before the next."""
RESAMPLES = 1000


def measure_robustness(
    run: RunFolder,
    split: Split,
    ensemble: Ensemble,
    decision: Decision,
    *,
    opened: str,
    seed: int,
    count: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Perturb a sample of the test images, and write the part `robustness`; one that is there is given back.

    Nothing is chosen by it: the thresholds stay, and the sample is drawn by seed among the evaluable test images, one
    patient after another.

    Args:
        run: whose test set was opened.
        split: of the run, with its images at hand.
        ensemble: of the run.
        decision: of the run.
        opened: the opening of the test set that this belongs to.
        seed: of the draw and of the intervals.
        count: images at most.
        progress: who listens.

    Raises:
        InvalidInput: if `count` is below 2.
    """
    if count < 2:
        raise InvalidInput(f"--perturbed-images is {count}.", "Give at least 2, or leave the part out.")
    files, fitted = PartFiles(run), run.fitted_digest()
    test = read_predictions(run.test_file)
    sample = drawn_by_group(test[test["evaluable"]], count, seed)
    key = sha256_of_text("\n".join([fitted, opened, *PERTURBATIONS, *sample["image"]]))
    kept = files.read(files.robustness, fitted)
    if kept is not None and kept["key"] == key:
        return kept
    answers = _kept_answers(files, key)
    todo = [image for image in sample["image"] if image not in answers]
    with stage(progress or Silent(), "Perturbing test images", len(sample)) as steps:
        steps.at(len(sample) - len(todo))
        for start in range(0, len(todo), AT_ONCE):
            part = todo[start : start + AT_ONCE]
            answers |= _answered(part, split, ensemble, decision)
            write_json(files.perturbed, {"key": key, "answers": answers})
            steps.advance(len(part))
    made = {
        "fitted_digest": fitted,
        "key": key,
        "opened": opened,
        "images": len(sample),
        "of": int(test["evaluable"].sum()),
        "groups": int(sample["group"].nunique()),
        "seed": seed,
        "threshold": decision.field_point.threshold,
        "rows": _rows(sample, answers, decision, seed),
    }
    write_json(files.robustness, made)
    files.perturbed.unlink(missing_ok=True)
    return made


def _kept_answers(files: PartFiles, key: str) -> dict[str, dict[str, list[float]]]:
    """Answers of a run of this that was stopped; none where it was about something else."""
    if not files.perturbed.is_file():
        return {}
    kept = read_json(files.perturbed, what="answers about perturbed images")
    return dict(kept["answers"]) if kept.get("key") == key else {}


def _answered(
    images: list[str], split: Split, ensemble: Ensemble, decision: Decision
) -> dict[str, dict[str, list[float]]]:
    """Probability and whether the quality gate lets it pass (1) or not (0), by image and perturbation."""
    views, passes = [], []
    for image in images:
        pixels = read_image(inside(split.root, image)).pixels
        for perturbation in PERTURBATIONS.values():
            changed = perturbation.apply(pixels)
            views.append(view_of(changed, ensemble.preprocessing))
            passes.append(not decision.quality.judge(measure_quality(changed)))
    probabilities = np.concatenate(
        [ensemble.score(np.stack(views[start : start + 32])).probability for start in range(0, len(views), 32)]
    )
    each = len(PERTURBATIONS)
    return {
        image: {
            name: [round(float(probabilities[row * each + place]), 6), float(passes[row * each + place])]
            for place, name in enumerate(PERTURBATIONS)
        }
        for row, image in enumerate(images)
    }


def _rows(
    sample: pd.DataFrame, answers: dict[str, dict[str, list[float]]], decision: Decision, seed: int
) -> list[dict[str, Any]]:
    """Figures of the sample as it is, then under each perturbation."""
    labels = (sample["label"] == CLASSES[1]).to_numpy(dtype=int)
    groups = sample["group"].to_numpy(dtype=str)
    plain = sample["probability"].to_numpy(dtype=float)
    calls = called_positive(plain, decision)

    def row(kind: str, name: str, number: float, values: np.ndarray, passing: np.ndarray) -> dict[str, Any]:
        summary = summarise(
            labels,
            values,
            threshold=decision.field_point.threshold,
            groups=groups,
            resamples=RESAMPLES,
            seed=seed,
        ).as_dict()
        return {
            "kind": kind,
            "strength": name,
            "number": number,
            "estimates": {m: summary["estimates"][m] for m in ("auroc", "sensitivity", "specificity")},
            "changed": float((called_positive(values, decision) != calls).mean()),
            "refused": float(1 - passing.mean()),
        }

    rows = [row("as photographed", "none", 0.0, plain, np.ones(len(sample)))]
    for name, perturbation in PERTURBATIONS.items():
        pairs = np.array([answers[image][name] for image in sample["image"]])
        rows.append(row(perturbation.kind, perturbation.strength, perturbation.number, pairs[:, 0], pairs[:, 1]))
    return rows


__all__ = ["PERTURBATIONS", "Perturbation", "measure_robustness"]
