"""MLflow: where runs are remembered. No patient identifier ever goes there."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pandas as pd

from msht.cohort.splits import Split, cases_of, groups_of
from msht.errors import InvalidInput, MissingResource
from msht.files import quoted, read_json
from pipelines.tracking_client import Tracker
from pipelines.tracking_spool import BY_NAME, LOCAL, Sent, is_of_the_store, known_id, pending
from pipelines.tracking_system import watched

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# MLflow's own limits let a server that is away hold a training up for minutes at every epoch.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")

EXPERIMENT = "msht"
STORE = "mlflow.db"
ARTEFACTS = "mlartifacts"
SHAREABLE_COLUMNS = (
    "image",
    "patient_id",
    "case_id",
    "slide_id",
    "case",
    "group",
    "label",
    "role",
    "fold",
    "site",
    "stain",
    "magnification",
    "evaluable",
    "logit",
    "calibrated_logit",
    "probability",
    "spread",
    "novelty",
    "fields",
)
IDENTIFIERS = ("image", "patient_id", "case_id", "slide_id", "case", "group")
LATEST_BUNDLE = "msht.bundle_digest"
"""Tag of a run: the bundle that was last made from it; runs of the first versions have this one alone."""


def bundle_tag(digest: str) -> str:
    """Tag of a run that says that the bundle of this digest was made from it: a run can be made into several."""
    return f"msht.bundle.{digest}"


def default_tracking_uri() -> str:
    """The store of this folder: SQLite, since MLflow's file store is no longer written to."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / STORE}"


_ANSWERED: set[str] = set()
"""Stores that answered this process before."""


def open_client(
    tracking_uri: str | None, spool: Path | None = None, say: Callable[[str], None] | None = None
) -> Tracker:
    """An MLflow client; with a run's folder, one that never waits for the store.

    Args:
        tracking_uri: of the store; None: the default one.
        spool: folder of a run, where what the store cannot take now is kept until it can. A run that has begun is
            never stopped by the store; the very first contact must answer, since the address may be wrong.
        say: gets a sentence when the store goes away or comes back.

    Raises:
        MissingResource: if the store cannot be opened.
    """
    import logging

    from mlflow import MlflowClient

    for name in ("alembic", "mlflow"):  # after the import, which sets its own levels
        logging.getLogger(name).setLevel(logging.ERROR)
    uri = tracking_uri or default_tracking_uri()
    if "://" not in uri:
        raise InvalidInput(
            f"--tracking-uri {uri} is not an address.",
            "Give sqlite:///path/to/mlflow.db or http://server:5000.",
        )
    begun = spool is not None and (uri in _ANSWERED or (spool / "run.json").is_file())
    try:
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except Exception as error:
        if not isinstance(error, ImportError) and not is_of_the_store(error):
            raise
        reason = (str(error).strip().splitlines() or [""])[0][:200] or type(error).__name__
        if begun:
            tracker = Tracker(client, spool, say, away=True)
            tracker.say(f"The MLflow store {uri} does not answer; what is to be logged is kept in {spool}.")
            return tracker
        raise MissingResource(
            f"The MLflow store {uri} cannot be opened: {reason}.",
            "Check the address, or leave --tracking-uri out to use mlflow.db in this folder.",
        ) from error
    _ANSWERED.add(uri)
    tracker = Tracker(client, spool, say)
    if spool is not None and pending(spool):
        tracker.synchronise()
    return tracker


def experiment_id(client: Tracker, name: str, tracking_uri: str | None) -> str:
    """The experiment of that name, made where there is none, its artefacts beside a SQLite store."""
    if not re.fullmatch(r"[\w][\w .-]{0,99}", name):
        raise InvalidInput(f"--experiment '{name}' is no name.", "Use letters, digits, spaces, dots and dashes.")
    if client.away:
        return f"{BY_NAME}{name}"
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            raise InvalidInput(f"The MLflow experiment '{name}' was deleted.", "Restore it, or use --experiment.")
        return str(found.experiment_id)
    uri = tracking_uri or default_tracking_uri()
    location = None
    if uri.startswith("sqlite:///"):
        location = (Path(uri.removeprefix("sqlite:///")).resolve().parent / ARTEFACTS / name).as_uri()
    return str(client.create_experiment(name, artifact_location=location))


@contextmanager
def tracked_run(
    client: Tracker,
    experiment: str,
    name: str,
    *,
    parent: str | None = None,
    tags: Mapping[str, str] | None = None,
    resumed: str | None = None,
) -> Iterator[str]:
    """An MLflow run that ends as the block does: FINISHED, FAILED or KILLED.

    Args:
        client: of `open_client`.
        experiment: its id.
        name: of the run.
        parent: id of the run that this one belongs to.
        tags: of the run.
        resumed: id of a run to go on with; where the store does not know it, a new one is made.

    Yields:
        Its id.
    """
    all_tags = {"mlflow.runName": name, "mlflow.source.name": "msht", **(tags or {})}
    if parent is not None:
        all_tags["mlflow.parentRunId"] = parent
    run_id = resumed if resumed is not None and _is_known(client, resumed) else None
    if run_id is None:
        run_id = client.create_run(experiment, tags=all_tags, run_name=name)
    else:
        client.update_run(run_id, "RUNNING")
    status = "FAILED"
    try:
        # A fold is what works a machine; the parent only waits for its folds, maybe elsewhere.
        with watched(client, run_id) if parent is not None else nullcontext():
            yield run_id
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        client.set_terminated(run_id, status)
        if parent is None:
            client.synchronise()


def _is_known(client: Tracker, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    real = known_id(client.folder, run_id)
    if client.away or real.startswith(LOCAL):
        return True
    try:
        client.get_run(real)
    except MlflowException:
        return False
    return True


def log_parameters(client: Tracker, run_id: str, parameters: Mapping[str, Any]) -> None:
    """Log settings; a value over MLflow's 6000 characters is cut."""
    from mlflow.entities import Param

    rows = [Param(key, str(value)[:6000]) for key, value in parameters.items()]
    for start in range(0, len(rows), 100):
        client.log_batch(run_id, params=rows[start : start + 100])


def mlflow_run_of(run: Path) -> str:
    """MLflow's id of a run's folder.

    Raises:
        InvalidInput: if the run has none, or MLflow was not told of it yet.
    """
    found = read_json(run / "run.json", what="state of a run").get("mlflow_run")
    real = known_id(run, str(found)) if found else None
    if real is None or real.startswith(LOCAL):
        raise InvalidInput(f"MLflow does not know the run {run} yet.", f"Tell it with `msht track sync {quoted(run)}`.")
    return real


def synchronise_run(run: Path, *, tracking_uri: str | None = None) -> Sent:
    """Send what MLflow missed of a run.

    Args:
        run: its folder.
        tracking_uri: of MLflow; None: where the run was begun.

    Raises:
        InvalidInput: if the folder is no run.
        MissingResource: if the store cannot be opened.
    """
    if not (run / "run.json").is_file():
        raise InvalidInput(f"{run} is not a run: it has no run.json.", "Give a folder of `msht crossval`.")
    uri = tracking_uri or read_json(run / "run.json", what="state of a run").get("tracking_uri")
    return Tracker(open_client(uri).client, run).synchronise()


def require_run(client: Tracker, run_id: str) -> None:
    """Refuse a store that does not know a run.

    Raises:
        InvalidInput: saying how to name the right store.
    """
    if not _is_known(client, run_id):
        raise InvalidInput(
            f"The MLflow store does not know the run {run_id}.",
            "Name the store that the training used with --tracking-uri.",
        )


def log_metrics(client: Tracker, run_id: str, metrics: Mapping[str, float | None], step: int = 0) -> None:
    """Log figures that are numbers."""
    import time

    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    rows = [Metric(k, float(v), now, step) for k, v in metrics.items() if v is not None and v == v]
    for start in range(0, len(rows), 500):
        client.log_batch(run_id, metrics=rows[start : start + 500])


def log_table(client: Tracker, run_id: str, frame: pd.DataFrame, name: str, split: Split) -> None:
    """Log a table without identifiers: see `without_identifiers`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        without_identifiers(frame, split).to_csv(path, index=False)
        client.log_artifact(run_id, str(path))


def without_identifiers(frame: pd.DataFrame, split: Split) -> pd.DataFrame:
    """A table that can leave the hospital's disk: known columns only, ids and file names as running numbers.

    The number of a value is its rank among the sorted values of its column in the whole split, the same in every
    table of a run; the run's own split, which stays in the run's folder, is what leads back.

    Args:
        frame: the table.
        split: of the run.
    """
    whole = split.frame.assign(case=cases_of(split.frame), group=groups_of(split.frame, split.grouped_by))
    kept = frame[[c for c in SHAREABLE_COLUMNS if c in frame]].copy()
    for column in (c for c in IDENTIFIERS if c in kept):
        number = {value: rank for rank, value in enumerate(sorted(whole[column].astype(str).unique()), start=1)}
        kept[column] = [f"{column.removesuffix('_id')}-{number[str(value)]:06d}" for value in kept[column]]
    return kept
