"""What is fitted on out-of-fold predictions: calibrators, quality gate, novelty limits and the decision."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from safetensors.numpy import load_file
from scipy.special import expit

from msht.bundle import save_arrays
from msht.calibration.novelty import FeatureReference
from msht.cohort.dataset import FieldStore
from msht.cohort.manifest import CLASSES
from msht.cohort.splits import Split, cases_of, groups_of
from msht.decision_fit import fit_calibrators, fit_decision
from msht.files import atomic_path, inside, write_json
from msht.images.quality import QualityGate
from msht.training.recipe import Recipe
from pipelines.performance import UNITS, performance_rows, write_predictions
from pipelines.run_folder import RunFolder


def calibrate_run(run: RunFolder, recipe: Recipe, split: Split, store: FieldStore) -> list[dict[str, Any]]:
    """Fit calibrators, gate, novelty limits and decision on out-of-fold data, and write them."""
    frame = split.development
    frame = frame.assign(case=cases_of(frame), group=groups_of(frame, split.grouped_by))
    parts = [
        pd.read_csv(run.fold(n) / "out_of_fold.csv", dtype={"image": str}, keep_default_na=False)
        for n in range(1, split.folds + 1)
    ]
    frame = frame.merge(pd.concat(parts), on="image", validate="one_to_one")
    labels = (frame["label"] == CLASSES[1]).to_numpy(dtype=int)
    folds = frame["fold"].to_numpy(dtype=int)
    logits = frame["logit"].to_numpy(dtype=float)
    calibrators, choice = fit_calibrators(
        folds, logits, labels, frame["group"].to_numpy(), kind=recipe.decision.calibrator, seed=recipe.seed
    )
    calibrated = np.empty(len(frame))
    for number, calibrator in calibrators.items():
        calibrated[folds == number] = calibrator.log_odds(logits[folds == number])
    qualities = [store[image].quality for image in frame["image"]]
    gate = QualityGate.learn(
        qualities, quantile=recipe.decision.quality_quantile, field_edge=_longer_edge(split.root, frame["image"])
    )
    frame = frame.assign(
        calibrated_logit=calibrated,
        probability=expit(calibrated),
        evaluable=[not gate.judge(quality) for quality in qualities],
    )
    decision, cases = fit_decision(frame[frame["evaluable"]].reset_index(drop=True), recipe.decision, gate)
    decision = decision.model_copy(update={"choices": (choice, *decision.choices)})
    for number in range(1, split.folds + 1):
        reference = FeatureReference.fit(
            load_file(run.fold(number) / "features.safetensors")["held_out"],
            frame.loc[frame["fold"] == number, "group"].to_numpy(dtype=str),
            share=recipe.decision.novelty_quantile,
            seed=recipe.seed,
        )
        with atomic_path(run.fold(number) / "reference.safetensors") as temporary:
            save_arrays(reference.to_arrays(), temporary)
    cases = cases.merge(frame.groupby("case")["group"].first().reset_index(), on="case")
    cases = cases.merge(frame.groupby("case")["fold"].first().reset_index(), on="case")
    write_json(
        run.decision_file,
        {
            "temperatures": {
                str(n): c.numbers["temperature"] if c.kind == "temperature" else 1.0 for n, c in calibrators.items()
            },
            "calibrators": {
                str(n): c.model_dump(mode="json") for n, c in calibrators.items() if c.kind != "temperature"
            },
            "decision": decision.model_dump(mode="json"),
        },
    )
    write_predictions(frame, run.out_of_fold_file)
    write_predictions(cases, run.out_of_fold_cases_file)
    performance = performance_rows(
        frame, cases, decision, role="out-of-fold", unit=UNITS[split.grouped_by], seed=recipe.seed
    )
    write_json(run.figures_file, performance)
    return performance


def _longer_edge(root: Path, images: Iterable[str]) -> int:
    """Median longer edge of the images in px, from their headers."""
    edges = []
    for image in images:
        with Image.open(inside(root, image)) as opened:
            edges.append(max(opened.size))
    return int(median(edges))
