"""The wrong calls on the test set, the surest first, with the maps that led there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from msht.calibration.deferral import confidence_of
from msht.cohort.manifest import CLASSES
from msht.cohort.splits import Split
from msht.decision import Decision
from msht.ensemble import Ensemble
from msht.explanation.overlay import overlay
from msht.files import inside, write_json
from msht.images.reading import read_image
from pipelines.case_maps import PICTURE_EDGE, write_picture
from pipelines.evaluation_parts import PartFiles, called_positive
from pipelines.explain_crops import shown_crop
from pipelines.explain_maps import METHOD, METHODS_IN_WORDS, case_scale, mean_maps
from pipelines.performance import read_predictions
from pipelines.progress import Progress, Silent, stage
from pipelines.run_folder import RunFolder

SHOWN = 12
MISSED = 8
"""Places kept for false negatives, which come first; what they leave goes to false positives."""


def make_gallery(
    run: RunFolder,
    split: Split,
    ensemble: Ensemble,
    decision: Decision,
    *,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write crops and overlays of the wrong calls, and the part `gallery`; one that is there is given back."""
    files, fitted = PartFiles(run), run.fitted_digest()
    kept = files.read(files.gallery, fitted)
    if kept is not None and all((files.gallery.parent / row["overlay"]).is_file() for row in kept["rows"]):
        return kept
    test = read_predictions(run.test_file)
    wrong, counts = wrong_calls(test[test["evaluable"]], decision)
    part: dict[str, Any] = {"fitted_digest": fitted, **counts, "rows": []}
    if len(wrong):
        with stage(progress or Silent(), "Drawing wrong calls", len(wrong)) as steps:
            part |= _drawn(wrong, split, ensemble, files.gallery.parent)
            steps.advance(len(wrong))
    write_json(files.gallery, part)
    return part


def wrong_calls(fields: pd.DataFrame, decision: Decision) -> tuple[pd.DataFrame, dict[str, int]]:
    """The wrong calls to show, false negatives first and the surest first within each, and how many there are.

    Args:
        fields: evaluable test fields: `label`, `probability`.
        decision: whose field threshold made the calls.
    """
    positive = (fields["label"] == CLASSES[1]).to_numpy()
    called = called_positive(fields["probability"].to_numpy(), decision)
    sureness = confidence_of(fields["probability"].to_numpy(), decision.field_point.threshold)
    ranked = fields.assign(kind=np.where(positive, "false negative", "false positive"), sureness=sureness)
    ranked = ranked[positive != called].sort_values(["sureness", "image"], ascending=[False, True], kind="stable")
    missed = ranked[ranked["kind"] == "false negative"]
    alarms = ranked[ranked["kind"] == "false positive"]
    first = missed[: max(MISSED, SHOWN - len(alarms))]
    shown = pd.concat([first, alarms[: SHOWN - len(first)]])
    return shown, {"false_negatives": len(missed), "false_positives": len(alarms)}


def _drawn(wrong: pd.DataFrame, split: Split, ensemble: Ensemble, folder: Path) -> dict[str, Any]:
    shown, crops = [], []
    for image, kind in zip(wrong["image"], wrong["kind"], strict=True):
        pixels = read_image(inside(split.root, image)).pixels
        shown.append(shown_crop(ensemble, pixels, positive=kind == "false positive"))
        crops.append(shown[-1].picture(pixels, PICTURE_EDGE))
    maps, layer = mean_maps(ensemble, np.stack([crop.view for crop in shown]))
    scale = case_scale(maps)
    rows = []
    drawn = zip(wrong.to_dict("records"), shown, crops, maps, strict=True)
    for number, (row, part, crop, evidence) in enumerate(drawn, start=1):
        large = cv2.resize(evidence, (PICTURE_EDGE, PICTURE_EDGE), interpolation=cv2.INTER_LINEAR)
        write_picture(folder / f"{number:02d}-crop.jpg", crop)
        write_picture(folder / f"{number:02d}-map.jpg", overlay(crop, large, scale=scale))
        rows.append(
            {
                "image": str(row["image"]),
                "kind": row["kind"],
                "truth": str(row["label"]),
                "probability": float(row["probability"]),
                "spread": float(row["spread"]),
                "novel": bool(row["novelty"] > 1),
                "shown": part.row(),
                "crop": f"{number:02d}-crop.jpg",
                "overlay": f"{number:02d}-map.jpg",
            }
        )
    return {"rows": rows, "scale": scale, "method": METHODS_IN_WORDS[METHOD], "layer": layer}
