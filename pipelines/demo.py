"""The whole way on a synthetic cohort, through the very functions that a user's own cohort takes."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from msht.errors import InvalidInput
from msht.files import cannot_write
from pipelines.audit import audit_cohort
from pipelines.bundle import make_bundle, verify_bundle
from pipelines.cohort import split_cohort
from pipelines.crossval import cross_validate
from pipelines.evaluate import evaluate_run
from pipelines.explain import explain_cases
from pipelines.inputs import file_name_for
from pipelines.phantom import draw_phantom
from pipelines.progress import Progress, Silent, stage
from pipelines.report_case import report_case
from pipelines.report_validation import report_validation
from pipelines.score import score_images
from pipelines.words import find_row, in_words

RECIPE = "demo"
FOLDS = 3
MEASURES = ("auroc", "sensitivity", "specificity")


@dataclass(frozen=True)
class DemoResult:
    """What the demo shows at its end."""

    rows: list[list[str]]
    places: list[list[str]]
    seconds: float


def run_demo(
    out: Path,
    *,
    patients: int = 24,
    seed: int = 517,
    tracking_uri: str | None = None,
    progress: Progress | None = None,
) -> DemoResult:
    """Phantom cohort, audit, split, cross-validation, evaluation, bundle, scoring, case and validation PDFs.

    Args:
        out: folder that does not exist or is empty.
        patients: of the phantom; at least 12.
        seed: of phantom, split and training.
        tracking_uri: of MLflow; None: `mlflow.db` in `out`.
        progress: who listens.

    Raises:
        InvalidInput: if the folder is not empty, or there are too few patients for three folds and a test role.
    """
    progress = progress or Silent()
    started = time.monotonic()
    if patients < 12:
        raise InvalidInput(f"--patients is {patients}.", "The demo needs at least 12 for three folds and a test.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidInput(f"{out} exists and is not empty.", "Choose another folder with --out, or remove it.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(out, error) from error
    tracking_uri = tracking_uri or f"sqlite:///{(out / 'mlflow.db').resolve()}"
    cohort, run, bundle, scores, reports = (out / n for n in ("cohort", "run", "bundle", "scores", "reports"))
    draw_phantom(cohort, patients=patients, seed=seed, progress=progress)
    audit = audit_cohort(cohort / "manifest.csv", out=out / "audit", progress=progress)
    found = audit["by_severity"]["must be mended"] + audit["by_severity"]["look at it"]
    if found:
        progress.say(f"The audit has {found} findings to look at: see {out / 'audit' / 'audit.pdf'}.")
    split, _ = split_cohort(
        cohort / "manifest.csv",
        out=out / "split.csv",
        audit=out / "audit",
        folds=FOLDS,
        test_fraction=1 / 3,
        seed=seed,
    )
    cross_validate(
        out / "split.csv",
        RECIPE,
        run,
        overrides=[f"seed={seed}"],
        tracking_uri=tracking_uri,
        progress=progress,
    )
    evaluation = evaluate_run(run, tracking_uri=tracking_uri, progress=progress)
    make_bundle(run, bundle, name="phantom demo", tracking_uri=tracking_uri, progress=progress)
    verify_bundle(bundle)
    incoming = out / "incoming"
    _photographs(split.root, list(split.test["image"]), list(split.test["case_id"]), incoming)
    scored = score_images(bundle, [incoming], scores, progress=progress)
    explain_cases(bundle, scores, progress=progress)
    names = [str(case) for case in scored.cases["case"]]
    with stage(progress, "Writing PDFs", len(names) + 1) as steps:
        for case in names:
            report_case(bundle, scores, case, reports / f"case-{file_name_for(case)}.pdf")
            steps.advance()
        report_validation(run, reports / "validation.pdf")
        steps.advance()
    rows = []
    by_level = [find_row(evaluation["performance"], level) for level in ("field", "case")]
    rows.append(["number", *(str(row["n_rows"]) for row in by_level)])
    for measure in MEASURES:
        title = {"auroc": "AUROC (95 % interval)"}.get(measure, f"{measure} (95 % interval)")
        rows.append([title, *(in_words(row, measure) for row in by_level)])
    places = [
        ["cohort", str(cohort)],
        ["run", str(run)],
        ["bundle", str(bundle)],
        ["scores", str(scores)],
        ["case reports", f"{reports}/case-*.pdf ({len(names)})"],
        ["validation report", str(reports / "validation.pdf")],
        ["MLflow", f"mlflow ui --backend-store-uri {tracking_uri}"],
    ]
    return DemoResult(rows=rows, places=places, seconds=time.monotonic() - started)


def _photographs(root: Path, images: list[str], cases: list[str], incoming: Path) -> None:
    """The test patients' fields as a laboratory would hand them over, with a damaged file and a blank one."""
    from PIL import Image

    for image, case in zip(images, cases, strict=True):
        place = incoming / case
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / image, place / Path(image).name)
    whole = sorted((incoming / cases[0]).iterdir())[0]
    data = whole.read_bytes()
    (incoming / cases[0] / "interrupted-copy.jpg").write_bytes(data[: len(data) // 2])
    blank = incoming / "empty-slide"
    blank.mkdir()
    Image.new("RGB", (512, 384), (243, 240, 246)).save(blank / "field-1.jpg")
