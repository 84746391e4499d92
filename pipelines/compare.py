"""Several models on the same folds: train them, open the test set once at the end, and say who wins."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from msht import __version__
from msht.errors import InvalidInput
from msht.files import write_text
from pipelines import tracking
from pipelines.compare_figures import (
    fold_figures,
    held_out_case_figures,
    network_test_figures,
    paired_tests,
    test_figures,
)
from pipelines.compare_plan import new_plan, resumed_plan
from pipelines.compare_runs import Contender, different_settings, read_contender, require_comparable
from pipelines.compare_tables import as_markdown, verdict, write_comparison
from pipelines.performance import UNITS
from pipelines.progress import Interrupted, Progress, Silent
from pipelines.run_folder import RunFolder
from pipelines.words import now


@dataclass(frozen=True)
class CompareResult:
    """What a comparison gives."""

    out: Path
    comparison: dict[str, Any]
    failed: dict[str, str] = field(default_factory=dict)
    """Why, by model."""


def compare_models(
    split_file: Path | None,
    models: Sequence[str],
    recipe: str | Path | None,
    out: Path,
    *,
    reference: str | None = None,
    overrides: Sequence[str] = (),
    models_file: Path | None = None,
    images: Path | None = None,
    tracking_uri: str | None = None,
    experiment: str = tracking.EXPERIMENT,
    open_test: bool = True,
    resume: bool = False,
    accelerator: str = "auto",
    device: str = "auto",
    progress: Progress | None = None,
    **training: Any,
) -> CompareResult:
    """Cross-validate every model on the same folds, each in a folder of its own below `out`, and compare.

    Args:
        split_file: written by `msht cohort split`; not needed to resume.
        models: networks that `msht models` lists, the reference first unless it is named.
        recipe: shared by all; not needed to resume.
        out: folder of the comparison.
        reference: the model that the others are tested against.
        overrides: `section.key=value`, laid over the recipe for every model.
        models_file: YAML of models with settings of their own: `name: {network: ..., set: [section.key=value]}`.
        images: folder of the images, if they moved.
        tracking_uri: of MLflow.
        experiment: of MLflow.
        open_test: open the test set of every model once all are trained.
        resume: go on with a comparison that stopped; finished models are kept, failed ones are tried again.
        accelerator: of Lightning's Trainer.
        device: for the test set.
        progress: who listens.
        training: further arguments of `cross_validate`.

    Raises:
        InvalidInput: if something cannot be used as it is; nothing is trained then.
        Interrupted: on ctrl-C.
    """
    from pipelines.crossval import cross_validate
    from pipelines.evaluate import evaluate_run

    progress = progress or Silent()
    if resume:
        plan = resumed_plan(out, split_file, models, recipe, overrides, models_file, reference)
    else:
        plan = new_plan(out, split_file, models, recipe, overrides, models_file, reference)
    tracking.open_client(tracking_uri)  # a store that cannot be opened is said now, not once for every model
    failed: dict[str, str] = {}
    runs: dict[str, Path] = {}
    for name, settings in plan["models"].items():
        folder = out / name
        begun = RunFolder(folder).state_file.is_file()
        if folder.exists() and not begun:
            shutil.rmtree(folder)  # stopped before its first fold
        progress.say(f"Model {len(runs) + len(failed) + 1} of {len(plan['models'])}: {name}")

        def train(folder: Path = folder, settings: list[str] = settings, begun: bool = begun) -> None:
            cross_validate(
                None if begun else out / "split.csv",
                None if begun else out / "recipe.yaml",
                folder,
                overrides=() if begun else settings,
                images=images,
                tracking_uri=tracking_uri,
                experiment=experiment,
                resume=begun,
                accelerator=accelerator,
                progress=progress,
                **training,
            )

        if _survives(name, train, out, failed, progress):
            runs[name] = folder
    if open_test:
        for name, folder in list(runs.items()):

            def evaluate(folder: Path = folder) -> None:
                evaluate_run(
                    folder, images=images, device=device, tracking_uri=tracking_uri, parts=(), progress=progress
                )

            if not _survives(name, evaluate, out, failed, progress):
                del runs[name]
    if len(runs) < 2:
        said = " ".join(f"{name}: {why}" for name, why in failed.items())
        raise InvalidInput(
            f"Only {len(runs)} of {len(plan['models'])} models could be trained. {said}",
            f"Mend that, then go on with `msht compare --resume --out {out}`.",
        )
    result = compare_runs(list(runs.values()), out, reference=plan["reference"], failed=failed)
    _track(result, tracking_uri, experiment)
    return result


def compare_runs(
    runs: Sequence[Path],
    out: Path,
    *,
    reference: str | None = None,
    open_test: bool = False,
    images: Path | None = None,
    device: str = "auto",
    tracking_uri: str | None = None,
    failed: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> CompareResult:
    """Compare finished runs and write the tables.

    Args:
        runs: folders of one split; those of older versions of this program count too.
        out: folder of the tables.
        reference: name of the run's folder that the others are tested against; None: the first.
        open_test: open the test set of every run that has not opened it.
        images: folder of the images, if they moved.
        device: for the test set.
        tracking_uri: of MLflow, for opening the test set.
        failed: models that could not be trained, with the reason.
        progress: who listens.

    Raises:
        InvalidInput: if a run is unfinished, the splits differ, or the reference is not among the runs.
    """
    contenders = [read_contender(Path(path)) for path in runs]
    require_comparable(contenders)
    if open_test and any(not contender.opened for contender in contenders):
        from pipelines.evaluate import evaluate_run

        for contender in contenders:
            evaluate_run(
                contender.path, images=images, device=device, tracking_uri=tracking_uri, parts=(), progress=progress
            )
        contenders = [read_contender(contender.path) for contender in contenders]
    names = [contender.name for contender in contenders]
    wanted = reference or names[0]
    lost = dict(failed or {})
    chosen = next((contender for contender in contenders if contender.name == wanted), None)
    if chosen is None and wanted not in lost:
        raise InvalidInput(f"--reference '{wanted}' is none of {', '.join(names)}.", "Name one of them.")
    comparison: dict[str, Any] = {
        "kind": "comparison",
        "created": now(),
        "software": f"msht {__version__}",
        "split_digest": contenders[0].split_digest,
        "unit": UNITS[contenders[0].grouped_by],
        "fold_count": contenders[0].folds,
        "reference": wanted,
        "models": [_facts(contender) for contender in contenders],
        "folds": fold_figures(contenders),
        "held_out_cases": held_out_case_figures(contenders),
        "networks_on_test": network_test_figures(contenders),
        "test": {level: test_figures(contenders, level) for level in ("field", "case")},
        "tests": [asdict(row) for row in paired_tests(contenders, chosen)] if chosen else [],
        "failed": lost,
    }
    comparison["notes"] = _notes(contenders, comparison)
    comparison["verdict"] = verdict(comparison)
    write_comparison(comparison, out)
    return CompareResult(out=out, comparison=comparison, failed=lost)


def _facts(contender: Contender) -> dict[str, Any]:
    return {
        "name": contender.name,
        "network": contender.network,
        "size": contender.size,
        "recipe": contender.settings.get("name"),
        "software": contender.software,
        "epoch_chosen_by": contender.settings.get("training.selection"),
        "parameters": contender.parameters,
        "gmacs": contender.gmacs,
        "seconds": round(contender.seconds, 1),
        "device": contender.device,
        "megabytes": round(contender.megabytes, 2),
        "field_threshold": contender.field_threshold,
        "case_threshold": contender.case_threshold,
        "opened": list(contender.opened),
        "fitted_digest": RunFolder(contender.path).fitted_digest(),
    }


def _notes(contenders: Sequence[Contender], comparison: dict[str, Any]) -> list[str]:
    """What a reader must know before believing the tables."""
    notes = [c.warning for c in contenders[:1] if c.warning]
    chosen = {str(c.settings.get("training.selection")) for c in contenders}
    if "validation-fold" in chosen:
        notes.append(
            "The kept epoch was chosen on the held-out fold (as published): the figures of folds are optimistic."
        )
    else:
        notes.append(
            f"The kept epoch was chosen by: {', '.join(sorted(chosen))}; the held-out folds chose nothing of it."
        )
    if comparison["test"]["field"] is None:
        opened = [c.name for c in contenders if c.opened]
        notes.append(
            f"The test set is open for {', '.join(opened)} only, so no test figures are shown."
            if opened
            else "The test set is closed: these figures are of development data."
        )
    for contender in contenders:
        if len(contender.opened) > 1:
            notes.append(f"The test set was opened {len(contender.opened)} times for {contender.name}.")
    for key, values in different_settings(contenders).items():
        pairs = ", ".join(f"{c.name} {value}" for c, value in zip(contenders, values, strict=True))
        notes.append(f"The recipes differ in {key}: {pairs}.")
    versions = sorted({c.software for c in contenders})
    if len(versions) > 1:
        notes.append(f"The models were trained by several versions of msht: {', '.join(versions)}.")
    if any(c.parameters is None for c in contenders):
        notes.append("A network that this version cannot build has no parameters and GMACs here.")
    left_out = {c.name: len(c.fields) - comparison["folds"]["images"] for c in contenders}
    if any(left_out.values()):
        notes.append(
            f"Images that not every model can evaluate are left out for all: {max(left_out.values())} of "
            f"{max(len(c.fields) for c in contenders)} development images."
        )
    notes.append(
        "The first measure of a test is the AUROC; Holm's correction is over the models within a measure, not over "
        "the measures."
    )
    notes.append("Training times are as measured; they compare only where the machine was the same and as busy.")
    return [note for note in notes if note]


def _survives(name: str, work: Callable[[], None], out: Path, failed: dict[str, str], progress: Progress) -> bool:
    """Do a model's work; a failure is written down, and the others go on."""
    note = out / f"{name}.error.txt"
    try:
        work()
    except Interrupted as error:
        raise Interrupted(f"Stopped at {name}. Go on with `msht compare --resume --out {out}`.") from error
    except KeyboardInterrupt as error:
        raise Interrupted(f"Stopped at {name}. Go on with `msht compare --resume --out {out}`.") from error
    except Exception as error:
        said = str(error) if isinstance(error, InvalidInput) else f"{type(error).__name__}: {error}"
        failed[name] = said.strip().splitlines()[0][:500]
        write_text(note, traceback.format_exc())
        progress.say(f"{name} failed: {failed[name]} The others go on.")
        return False
    note.unlink(missing_ok=True)
    return True


def _track(result: CompareResult, tracking_uri: str | None, experiment: str) -> None:
    """A run of its own in MLflow with the tables; they hold no identifier."""
    client = tracking.open_client(tracking_uri, spool=result.out)
    number = tracking.experiment_id(client, experiment, tracking_uri)
    tags = {"msht.kind": "comparison", "mlflow.note.content": as_markdown(result.comparison)}
    with tracking.tracked_run(client, number, f"comparison {result.out.resolve().name}", tags=tags) as run:
        for path in (p for p in sorted(result.out.glob("comparison*")) if p.is_file()):
            client.log_artifact(run, str(path))
