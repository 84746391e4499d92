"""Reports in MLflow: as they are printed, but with running numbers in place of whatever names a patient."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path
from typing import Any

from msht.bundle import read_bundle
from msht.errors import InvalidInput
from pipelines import tracking
from pipelines.run_folder import RunFolder
from reports.case import CaseReport, write_case_report
from reports.sections import NotAvailable
from reports.validation import ValidationReport, write_validation_report

FOLDER = "reports"


def log_validation_report(run: RunFolder, report: ValidationReport) -> None:
    """Log the validation report of a run beside its figures; a store that is away gets it later.

    The wrong calls that it shows lose their file names, which may hold a patient's.
    """
    state = run.state()
    if not state.get("mlflow_run"):
        return
    if not isinstance(report.failures, NotAvailable):
        nameless = tuple(
            failure.model_copy(update={"name": f"field {number}"})
            for number, failure in enumerate(report.failures, start=1)
        )
        report = report.model_copy(update={"failures": nameless})
    client = tracking.open_client(state.get("tracking_uri"), spool=run.path)
    with tempfile.TemporaryDirectory(prefix="msht-") as scratch:
        path = write_validation_report(report, Path(scratch) / "validation.pdf")
        client.log_artifact(state["mlflow_run"], path, FOLDER)


def log_case_report(
    bundle: Path,
    scores: Path,
    case: str,
    *,
    microns_per_pixel: float | None = None,
    device: str = "cpu",
    tracking_uri: str | None = None,
) -> str:
    """Log the report of a case under a number that leads back to no one, at the run of its bundle.

    Left out are the case's id, file names, file digests, and everything that was entered about the case. The
    pictures stay: whoever logs a case has looked whether a label was photographed.

    Args:
        bundle: that scored the case.
        scores: folder of `msht score`.
        case: id, as in `cases.csv`.
        microns_per_pixel: of the photographs, for the scale bar.
        device: for maps that must be made.
        tracking_uri: of MLflow.

    Returns:
        The name of the file in MLflow.

    Raises:
        InvalidInput: if the case is unknown, or MLflow knows no run of the bundle.
    """
    from pipelines.report_case import prepare_case_report
    from pipelines.report_case_scoring import read_scoring

    client = tracking.open_client(tracking_uri)
    run = run_of_bundle(client, read_bundle(bundle).model_digest)
    report = prepare_case_report(read_scoring(bundle, scores), case, microns_per_pixel=microns_per_pixel, device=device)
    shown = without_patient(report)
    with tempfile.TemporaryDirectory(prefix="msht-") as scratch:
        path = write_case_report(shown, Path(scratch) / f"{shown.case_id}.pdf")
        client.log_artifact(run, path, FOLDER)
    return f"{FOLDER}/{shown.case_id}.pdf"


def without_patient(report: CaseReport) -> CaseReport:
    """A case report in which nothing that was entered, and no name of a file or case, is left."""
    # Numbered by chance and not by a digest of the id, which anyone with a list of ids could look up.
    number = secrets.token_hex(4)
    digests = list(dict.fromkeys(field.sha256 for field in report.fields))
    names = {field.name: f"field-{n:03d}" for n, field in enumerate(report.fields, start=1)}
    return report.model_copy(
        update={
            "report_id": f"case-{number}",
            "case_id": f"case-{number}",
            "entered": (),
            "fields": tuple(
                # An empty digest means a file that could not be read.
                # Copies stay copies.
                f.model_copy(
                    update={
                        "name": names[f.name],
                        "sha256": f"withheld {digests.index(f.sha256)}" if f.sha256 else "",
                    }
                )
                for f in report.fields
            ),
            "deciding": tuple(f.model_copy(update={"name": names[f.name]}) for f in report.deciding),
            "tiles": tuple(f.model_copy(update={"name": names[f.name]}) for f in report.tiles),
            "not_shown": tuple(f.model_copy(update={"name": names[f.name]}) for f in report.not_shown),
            "rejected_pictures": tuple(f.model_copy(update={"name": names[f.name]}) for f in report.rejected_pictures),
            "rejected_gone": tuple(names[name] for name in report.rejected_gone),
            # A slide's picture carries its name.
            "slides": (),
        }
    )


def run_of_bundle(client: Any, digest: str) -> str:
    """MLflow's id of the run that a bundle was made from.

    Raises:
        InvalidInput: if it knows none.
    """
    experiments = [e.experiment_id for e in client.search_experiments()]
    for tag, value in ((tracking.bundle_tag(digest), "made"), (tracking.LATEST_BUNDLE, digest)):
        runs = client.search_runs(experiments, filter_string=f"tags.`{tag}` = '{value}'", max_results=1)
        if runs:
            return str(runs[0].info.run_id)
    raise InvalidInput(
        f"MLflow knows no run of the bundle {digest[:12]}.",
        "Name its run with --run RUN, or the store of its training with --tracking-uri.",
    )
