"""From a finished run to a bundle, and the check of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from data_cards.schema import render_card
from msht import __version__
from msht.bundle import Bundle, read_bundle, write_bundle
from msht.cohort.splits import Split, describe_split
from msht.decision import Decision, reference_in_words
from msht.errors import BrokenBundle, InvalidInput
from msht.files import read_json
from msht.images.preprocessing import view_of
from msht.training.recipe import Recipe, recipe_as_yaml
from pipelines import tracking
from pipelines.cards import card_of, is_synthetic, positive_means
from pipelines.ensemble import load_fitted
from pipelines.evaluate import evaluate_run
from pipelines.evaluation_parts import PartFiles
from pipelines.explanation_checks import for_bundle
from pipelines.progress import Progress, Silent
from pipelines.run_folder import RunFolder
from pipelines.words import now

LIMITS = (
    "Research software: not a medical device, and not validated for clinical use.",
    "It looks at single fields of one cohort; other stains, cameras, magnifications or organs are outside it.",
    "A negative call does not exclude malignancy, and a heat map shows where evidence was found, not why.",
    "Calibration and predictive values hold for a prevalence like that of the development cohort.",
)


def make_bundle(
    run_path: Path,
    out: Path,
    *,
    name: str | None = None,
    images: Path | None = None,
    device: str = "auto",
    tracking_uri: str | None = None,
    progress: Progress | None = None,
) -> Bundle:
    """Write the bundle of a finished run; the test set is opened for it unless that was done before.

    Args:
        run_path: a finished run.
        out: a folder that does not exist yet.
        name: of the bundle; None: the folder's.
        images: folder of the images, if they moved.
        device: for the test set.
        tracking_uri: of MLflow.
        progress: who listens.

    Raises:
        InvalidInput: if the run is unfinished, or there is something at `out`.
    """
    progress = progress or Silent()
    run = RunFolder(run_path)
    state = run.require_finished()
    if out.exists():
        raise InvalidInput(f"{out} exists already.", "Choose another name, or remove it first.")
    client = tracking.open_client(tracking_uri or state["tracking_uri"])
    tracking.require_run(client, state["mlflow_run"])
    evaluation = evaluate_run(
        run_path, images=images, device=device, tracking_uri=tracking_uri, parts=("explanation",), progress=progress
    )
    checked = PartFiles(run).read(PartFiles(run).explanation, evaluation["fitted_digest"])
    recipe, split, fitted = run.recipe(), run.split(check_images=False), load_fitted(run)
    figures = read_json(run.figures_file, what="figures of a run")
    bundle = write_bundle(
        out,
        folds=fitted.folds,
        kept_epochs=fitted.kept_epochs,
        fields={
            "name": name or out.name,
            "created": now(),
            "software": f"msht {__version__}",
            "architecture": architecture_in_words(recipe, split.folds),
            "classes": recipe.classes,
            "preprocessing": recipe.preprocessing,
            "decision": fitted.decision,
            "cohort": cohort_facts(split),
            "performance": [*evaluation["performance"], *figures],
            "training": training_facts(recipe, split, state, evaluation, fitted.decision),
            "limits": (*LIMITS, *card_limits(split)),
            "explanation": for_bundle(checked) if checked else {},
        },
        recipe_yaml=recipe_as_yaml(recipe),
        data_card=render_card(card_of(split)),
    )
    client.set_tag(state["mlflow_run"], tracking.LATEST_BUNDLE, bundle.digest)
    client.set_tag(state["mlflow_run"], tracking.bundle_tag(bundle.digest), "made")
    client.log_artifact(state["mlflow_run"], str(out / "bundle.json"), "bundle")
    return bundle


def verify_bundle(path: Path) -> Bundle:
    """Check every digest of a bundle, and that its networks can be built and answer.

    Raises:
        BrokenBundle: naming what is wrong.
    """
    bundle = read_bundle(path)
    ensemble = bundle.ensemble()
    preprocessing = bundle.description.preprocessing
    blank = view_of(np.zeros((8, 8, 3), dtype=np.uint8), preprocessing)
    scores = ensemble.score(np.stack([blank, blank]))
    if not np.isfinite(scores.fold_logits).all():
        raise BrokenBundle(f"A network of {path} answers with no number.", "Make the bundle again.")
    return bundle


def architecture_in_words(recipe: Recipe, folds: int) -> str:
    """The networks of a run, in words."""
    return f"{recipe.network.name} at {recipe.preprocessing.size} px, {folds} networks, one a fold"


def cohort_facts(split: Split) -> dict[str, Any]:
    """What a bundle says about its cohort: counts and rules, and no identifier."""
    described = describe_split(split)
    card = card_of(split)
    return {
        "name": card.name,
        "title": card.title,
        "synthetic": is_synthetic(card),
        "positive_means": positive_means(card),
        "development": described["counts"]["development"],
        "test": described["counts"]["test"],
        "folds": split.folds,
        "grouped_by": split.grouped_by,
        "test_rule": split.test_rule,
        "split_digest": split.digest,
        "manifest_digest": split.manifest_digest,
        "warning": split.warning,
    }


def training_facts(
    recipe: Recipe, split: Split, state: dict[str, Any], evaluation: dict[str, Any], decision: Decision
) -> dict[str, Any]:
    """What a bundle says about its training."""
    selection = {
        "last": f"no data: the weights after epoch {recipe.training.epochs} were kept",
        "validation-fold": "the held-out fold: best accuracy, ties by training accuracy (optimistic on that fold)",
        "inner-split": f"groups taken out of the training part (one in {round(1 / recipe.training.selection_share)}): "
        "best accuracy, ties by training accuracy; the held-out fold chose nothing",
    }[recipe.training.selection]
    return {
        "recipe": recipe.name,
        "epochs": recipe.training.epochs,
        "seed": recipe.seed,
        "seconds": round(float(state["seconds"]), 1),
        "environment": state["environment"],
        "epoch_chosen_by": selection,
        "temperature_fitted_on": "out-of-fold images, each fold's network by the images it did not see",
        "case_rule": decision.case_rule_in_words,
        "choices": decision.choices,
        "reference": reference_in_words(split.frame),
        "test_opened": evaluation["opened"],
    }


def card_limits(split: Split) -> tuple[str, ...]:
    """What the data card says the data are not fit for; nothing where there is no card."""
    return tuple(f"Unsuitable: {use}" for use in card_of(split).unsuitable_uses) if split.card else ()
