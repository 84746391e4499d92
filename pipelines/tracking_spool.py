"""An MLflow client that nothing waits for: what the store cannot take now is kept beside the run and sent later.

Below `RUN/mlflow-spool` lie, for each process, `operations-<time>-<process>.jsonl` (what was to be logged, in order,
with the times at which it happened) and a folder of the same name with copies of the files that go with it;
`ids.json` has MLflow's id of each run that began while the store was away, and `refused.jsonl` what the store
answered but would not take, with its reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msht.files import cannot_write, read_json, write_json

FOLDER = "mlflow-spool"
IDS = "ids.json"
REFUSED = "refused.jsonl"
LOCAL = "local-"
"""How the id of a run begins that the store has not heard of yet."""
BY_NAME = "name:"
"""How an experiment is called that could not be looked up."""
PROBE_SECONDS = "3"


class NotYet(Exception):
    """A run whose parent the store has not heard of yet."""


@dataclass
class Sent:
    """What a synchronisation did."""

    operations: int = 0
    """Sent."""
    refused: int = 0
    """Answered, but not taken."""
    waiting: int = 0
    """Still to be sent."""


class Spool:
    """The operations of one process, kept in order.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER
        self.name = f"operations-{time.time_ns()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"

    @property
    def file(self) -> Path:
        """Where they are kept."""
        return self.folder / f"{self.name}.jsonl"

    def keep(self, operation: Mapping[str, Any]) -> None:
        """Add one at the end."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(operation) + "\n")
        except OSError as error:
            raise cannot_write(self.file, error) from error

    def keep_file(self, path: Path) -> str:
        """Copy a file that may change or go; gives its name below the folder."""
        name = f"{self.name}/{uuid.uuid4().hex[:12]}/{path.name}"
        copy = self.folder / name
        try:
            copy.parent.mkdir(parents=True)
            shutil.copyfile(path, copy)
        except OSError as error:
            raise cannot_write(copy, error) from error
        return name


def pending(folder: Path) -> bool:
    """Whether a run has something that MLflow was not told yet."""
    return bool(kept(folder))


def known_id(folder: Path | None, run: str) -> str:
    """MLflow's id of a run, where it has one by now."""
    if folder is None or not run.startswith(LOCAL):
        return run
    file = folder / FOLDER / IDS
    return str(read_json(file, what="MLflow ids of a run").get(run, run)) if file.is_file() else run


def send_kept(client: Any, folder: Path, only: Path | None = None) -> Sent:
    """Perform what was kept, oldest first, until all is done or the store goes away.

    Args:
        client: MLflow's own.
        folder: of the run.
        only: the operations of one process.
    """
    sent = Sent()
    waiting = [only] if only is not None else kept(folder)
    while waiting:
        postponed = []
        for file in waiting:
            if not file.is_file():
                continue
            outcome = _send_file(client, folder, file, sent)
            if outcome == "away":
                return sent
            if outcome == "not yet":
                postponed.append(file)
        if len(postponed) == len(waiting):
            return sent
        waiting = postponed
    return sent


def _send_file(client: Any, folder: Path, file: Path, sent: Sent) -> str:
    mark = file.with_suffix(".done")
    done = int(mark.read_text()) if mark.is_file() else 0
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines()):
        if number < done:
            continue
        try:
            operation = json.loads(line)
        except json.JSONDecodeError:
            break  # the last line of a process that was killed while it wrote
        try:
            perform(client, operation, folder)
            if operation["do"] == "create_run":
                _remember(folder, operation["run"], operation["made"])
            if operation["do"] == "set_terminated":
                client.set_tag(known_id(folder, operation["run"]), "msht.synchronised", "afterwards")
            sent.operations += 1
        except NotYet:
            return "not yet"
        except Exception as error:
            if not is_of_the_store(error):
                raise
            if not _is_refusal(error):
                return "away"
            sent.refused += 1
            with (folder / FOLDER / REFUSED).open("a", encoding="utf-8") as refused:
                refused.write(json.dumps({"reason": reason_of(error), **operation}) + "\n")
        mark.write_text(str(number + 1))
    file.unlink()
    mark.unlink(missing_ok=True)
    shutil.rmtree(file.with_suffix(""), ignore_errors=True)
    return "done"


def perform(client: Any, operation: dict[str, Any], folder: Path) -> None:
    """Do one operation with MLflow's client.

    Raises:
        NotYet: if it is about a run that the store has not heard of yet.
    """
    from mlflow.entities import Metric, Param

    do = operation["do"]
    run = _real(folder, operation["run"]) if do != "create_run" else ""
    if do == "create_run":
        tags = dict(operation["tags"])
        if "mlflow.parentRunId" in tags:
            tags["mlflow.parentRunId"] = _real(folder, tags["mlflow.parentRunId"])
        made = client.create_run(
            _experiment(client, operation["experiment"]),
            start_time=operation["time"],
            tags=tags,
            run_name=operation["run_name"],
        )
        operation["made"] = made.info.run_id
    elif do == "update_run":
        client.update_run(run, status=operation["status"])
    elif do == "set_terminated":
        client.set_terminated(run, operation["status"], end_time=operation["time"])
    elif do == "set_tag":
        client.set_tag(run, operation["key"], operation["value"])
    elif do == "log_batch":
        client.log_batch(
            run,
            metrics=[Metric(*row) for row in operation["metrics"]],
            params=[Param(*row) for row in operation["params"]],
        )
    elif do == "log_artifact":
        path = folder / FOLDER / operation["kept"] if "kept" in operation else Path(operation["file"])
        client.log_artifact(run, str(path), operation["path"])
    else:
        raise ValueError(f"unknown operation {do}")


def is_of_the_store(error: Exception) -> bool:
    """Whether an error comes from MLflow or from what carries it."""
    from mlflow.exceptions import MlflowException

    # SQLAlchemy, HTTP and driver errors share no base class.
    carriers = {"sqlalchemy", "requests", "urllib3", "alembic"}
    return isinstance(error, MlflowException | OSError) or type(error).__module__.split(".")[0] in carriers


@contextlib.contextmanager
def http_patience(seconds: str, retries: str) -> Iterator[None]:
    """Other limits for MLflow's HTTP requests while the block lasts."""
    names = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": seconds,
        "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": seconds,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": retries,
    }
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def answers(client: Any) -> bool:
    """Whether the store can be reached now; asked briefly."""
    with http_patience(PROBE_SECONDS, "0"):
        try:
            client.search_experiments(max_results=1)
        except Exception as error:
            if not is_of_the_store(error):
                raise
            return False
    return True


def _is_refusal(error: Exception) -> bool:
    """Whether the store understood and said no: asking again would not help."""
    status = getattr(error, "get_http_status_code", None)
    return status is not None and 400 <= status() < 500 and status() not in (408, 429)


def kept(folder: Path) -> list[Path]:
    """The operations of each process that still wait, oldest first."""
    return sorted((folder / FOLDER).glob("operations-*.jsonl"))


def _real(folder: Path, run: str) -> str:
    known = known_id(folder, run)
    if known.startswith(LOCAL):
        raise NotYet(run)
    return known


def _remember(folder: Path, local: str, real: str) -> None:
    file = folder / FOLDER / IDS
    ids = read_json(file, what="MLflow ids of a run") if file.is_file() else {}
    write_json(file, {**ids, local: real})


def _experiment(client: Any, experiment: str) -> str:
    if not experiment.startswith(BY_NAME):
        return experiment
    found = client.get_experiment_by_name(experiment.removeprefix(BY_NAME))
    if found is None:
        return str(client.create_experiment(experiment.removeprefix(BY_NAME)))
    return str(found.experiment_id)


def reason_of(error: Exception) -> str:
    """The first line of an error, not too long."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
