"""The test set, opened once: its figures, and a record of when it was opened and how often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msht.cohort.splits import Split, cases_of, groups_of, refuse_changed
from msht.decision import Decision, decide_case, reference_by_case
from msht.ensemble import Ensemble
from msht.errors import InvalidInput
from msht.files import inside, read_json, sha256_of, write_json
from msht.images.halving import Halves
from msht.images.preprocessing import view_of
from msht.images.quality import measure_quality
from msht.images.reading import read_image
from pipelines import tracking
from pipelines.ensemble import FittedRun, choose_device, load_fitted
from pipelines.evaluation_parts import PARTS, PERTURBED_IMAGES, Part
from pipelines.performance import UNITS, performance_rows, write_predictions
from pipelines.progress import Progress, Silent, stage
from pipelines.run_folder import RunFolder
from pipelines.tracking_figures import log_pictures
from pipelines.tracking_summary import describe_run
from pipelines.words import now

BATCH = 32


def evaluate_run(
    path: Path,
    *,
    again: bool = False,
    images: Path | None = None,
    device: str = "auto",
    tracking_uri: str | None = None,
    parts: tuple[Part, ...] = PARTS,
    perturbed_images: int = PERTURBED_IMAGES,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score the test role with all folds' networks and write `evaluation.json`, `test.csv`, `test_cases.csv`.

    A second call gives the figures that are there, and makes the parts that are missing. Opening the test set anew is
    allowed, and counted; parts belong to the last opening.

    Args:
        path: a finished run.
        again: open the test set anew.
        images: folder of the images, if they moved.
        device: `auto`, `cpu` or `cuda`.
        tracking_uri: of MLflow; None: `mlflow.db` in this folder.
        parts: what is made besides the figures, in the folders `validation` and `figures` of the run.
        perturbed_images: how many test images the part `robustness` draws.
        progress: who listens.

    Returns:
        What `evaluation.json` holds: `opened` (times), `performance`, and counts.

    Raises:
        InvalidInput: if the run is unfinished, or has no test images.
    """
    progress = progress or Silent()
    run = RunFolder(path)
    state = run.require_finished()
    if run.evaluation_file.is_file() and not again:
        before: dict[str, Any] = read_json(run.evaluation_file, what="evaluation of a run")
        if before["fitted_digest"] != run.fitted_digest():
            raise InvalidInput(
                f"The figures in {run.evaluation_file} belong to other networks or another decision.",
                "Open the test set anew with --again; that is recorded.",
            )
        _complete(run, before, parts, images, device, perturbed_images, progress)
        return before
    split, recipe = run.split(images), run.recipe()
    test = split.test
    if test.empty:
        raise InvalidInput(f"The split of {path} has no test role.", "Make a split with a test role.")
    fitted = load_fitted(run)
    ensemble = Ensemble(fitted.folds, recipe.preprocessing, choose_device(device))
    _refuse_copies(split)
    client = tracking.open_client(tracking_uri or state["tracking_uri"], spool=path, say=progress.say)
    tracking.require_run(client, state["mlflow_run"])
    # Recorded before anything is seen: an opening that is interrupted is an opening all the same.
    opened = [*state.get("test_opened", []), now()]
    run.write_state({**state, "test_opened": opened})
    with stage(progress, "Opening the test set", len(test)) as steps:
        frame = _score(test, split.root, ensemble, fitted.decision, steps.advance)
    frame = frame.assign(case=cases_of(frame), group=groups_of(frame, split.grouped_by))
    cases = case_answers(frame, fitted.decision)
    answered = cases[cases["logit"].notna()]
    performance = performance_rows(
        frame, answered, fitted.decision, role="test", unit=UNITS[split.grouped_by], seed=recipe.seed
    )
    evaluation = {
        "fitted_digest": run.fitted_digest(),
        "opened": opened,
        "images": len(frame),
        "not_evaluable_images": int((~frame["evaluable"]).sum()),
        "novel_images": int((frame["novelty"] > 1).sum()),
        "cases": len(cases),
        "not_evaluable_cases": len(cases) - len(answered),
        "referred_cases": int((cases["call"] == "indeterminate").sum()),
        "performance": performance,
    }
    write_predictions(frame, run.test_file)
    write_predictions(cases, run.test_cases_file)
    write_json(run.evaluation_file, evaluation)
    _log(client, state["mlflow_run"], run, performance, frame, cases, split)
    _complete(run, evaluation, parts, images, device, perturbed_images, progress, loaded=(split, fitted, ensemble))
    return evaluation


def _complete(
    run: RunFolder,
    evaluation: dict[str, Any],
    parts: tuple[Part, ...],
    images: Path | None,
    device: str,
    perturbed_images: int,
    progress: Progress,
    *,
    loaded: tuple[Split, FittedRun, Ensemble] | None = None,
) -> None:
    """Make the parts that are wanted and not there, with the networks loaded once."""
    from pipelines.evaluation_work import complete_parts, missing_parts

    wanted = missing_parts(run, evaluation, parts, perturbed_images)
    if not wanted:
        return
    recipe = run.recipe()
    if loaded is None:
        fitted = load_fitted(run)
        loaded = (run.split(images), fitted, Ensemble(fitted.folds, recipe.preprocessing, choose_device(device)))
    split, fitted, ensemble = loaded
    complete_parts(run, split, ensemble, fitted.decision, evaluation, wanted, recipe.seed, perturbed_images, progress)


def _refuse_copies(split: Split) -> None:
    """Refuse a test file that is also a development file, or none that was split, before anything is scored."""
    digests = {image: sha256_of(inside(split.root, image)) for image in split.frame["image"]}
    development = {digests[image]: image for image in split.development["image"]}
    copies = [image for image in split.test["image"] if digests[image] in development]
    if copies:
        raise InvalidInput(
            f"Test image '{copies[0]}' is the same file as development image '{development[digests[copies[0]]]}' "
            f"({len(copies)} such files).",
            "Find them all with `msht cohort audit`, remove the copies, split and train again.",
        )
    refuse_changed(split.frame, digests)


def _score(test: pd.DataFrame, root: Path, ensemble: Ensemble, decision: Decision, advance: Any) -> pd.DataFrame:
    columns: dict[str, list[Any]] = {name: [] for name in ("logit", "probability", "spread", "novelty", "evaluable")}
    alone: dict[str, list[float]] = {f"probability_fold_{fold.number}": [] for fold in ensemble.folds}
    for start in range(0, len(test), BATCH):
        part = test.iloc[start : start + BATCH]
        views, evaluable = [], []
        for image in part["image"]:
            halves = Halves(read_image(root / image).pixels)
            views.append(view_of(halves, ensemble.preprocessing))
            evaluable.append(not decision.quality.judge(measure_quality(halves)))
        scores = ensemble.score(np.stack(views))
        columns["logit"] += scores.logit.tolist()
        columns["probability"] += scores.probability.tolist()
        columns["spread"] += scores.spread.tolist()
        columns["novelty"] += scores.novelty.tolist()
        columns["evaluable"] += evaluable
        for values, row in zip(alone.values(), scores.fold_probabilities, strict=True):
            values += row.tolist()
        advance(len(part))
    return test.assign(**columns, **alone)


def case_answers(frame: pd.DataFrame, decision: Decision) -> pd.DataFrame:
    """A row per case: reference, mean log-odds, probability, call, and how many fields it rests on.

    Args:
        frame: `case`, `group`, `label`, `logit`, `novelty`, `evaluable` of each image.
        decision: of the run or bundle.
    """
    reference = reference_by_case(frame)
    rows = []
    for case, fields in frame.groupby("case"):
        good = fields[fields["evaluable"]]
        novel = float((good["novelty"] > 1).mean()) if len(good) else 0.0
        answer = decide_case(decision, good["logit"].to_numpy(dtype=float), share_novel=novel)
        rows.append(
            {
                "case": case,
                "group": fields["group"].iloc[0],
                "label": int(reference[case]),
                "fields": len(good),
                "not_evaluable_fields": len(fields) - len(good),
                "logit": answer.logit,
                "probability": answer.probability,
                "call": answer.call,
            }
        )
    table = pd.DataFrame(rows)
    table["logit"] = table["logit"].astype(float)
    table["probability"] = table["probability"].astype(float)
    return table


def _log(
    client: Any,
    mlflow_run: str,
    run: RunFolder,
    performance: list[dict[str, Any]],
    frame: pd.DataFrame,
    cases: pd.DataFrame,
    split: Split,
) -> None:
    for row in performance:
        prefix = f"test_{row['level']}_"
        tracking.log_metrics(client, mlflow_run, {f"{prefix}{k}": v["value"] for k, v in row["estimates"].items()})
    client.log_artifact(mlflow_run, str(run.evaluation_file))
    tracking.log_table(client, mlflow_run, frame, "test.csv", split)
    tracking.log_table(client, mlflow_run, cases, "test_cases.csv", split)
    log_pictures(client, mlflow_run, run, "test")
    describe_run(client, mlflow_run, run)
    client.synchronise()
