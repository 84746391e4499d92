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
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
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
FIRST_WAIT, LONGEST_WAIT = 30.0, 600.0
"""Seconds until a store that was away is asked again; doubled each time."""
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


class Tracker:
    """MLflow's client, of which writing never fails because the store is away.

    Args:
        client: MLflow's own.
        folder: of the run, for what cannot be sent; None: errors are raised.
        say: gets a sentence when the store goes away or comes back.
        away: begin as if the store were away.
    """

    def __init__(
        self, client: Any, folder: Path | None, say: Callable[[str], None] | None = None, *, away: bool = False
    ) -> None:
        self.client = client
        self.folder = folder
        self.say = say or (lambda _: None)
        self.away = away
        self._spool = Spool(folder) if folder is not None else None
        self._lock = threading.RLock()
        self._wait = FIRST_WAIT
        self._ask_at = time.monotonic() + FIRST_WAIT

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)  # reading is MLflow's own business

    def create_run(
        self, experiment: str, *, tags: Mapping[str, str], run_name: str, start_time: int | None = None
    ) -> str:
        """Begin a run; gives its id, or one of ours where the store is away."""
        local = f"{LOCAL}{uuid.uuid4().hex}"
        operation = {
            "do": "create_run",
            "run": local,
            "experiment": experiment,
            "tags": dict(tags),
            "run_name": run_name,
            "time": start_time or _now(),
        }
        self._do(operation)
        return str(operation.get("made", local))

    def update_run(self, run: str, status: str) -> None:
        """Set the status of a run."""
        self._do({"do": "update_run", "run": run, "status": status})

    def set_terminated(self, run: str, status: str) -> None:
        """End a run."""
        self._do({"do": "set_terminated", "run": run, "status": status, "time": _now()})

    def set_tag(self, run: str, key: str, value: str) -> None:
        """Set a tag."""
        self._do({"do": "set_tag", "run": run, "key": key, "value": value})

    def log_batch(self, run: str, metrics: Sequence[Any] = (), params: Sequence[Any] = ()) -> None:
        """Log metrics and parameters."""
        self._do(
            {
                "do": "log_batch",
                "run": run,
                "metrics": [[m.key, m.value, m.timestamp, m.step] for m in metrics],
                "params": [[p.key, p.value] for p in params],
            }
        )

    def log_artifact(self, run: str, local_path: str | Path, artifact_path: str | None = None) -> None:
        """Log a file."""
        self._do({"do": "log_artifact", "run": run, "file": str(local_path), "path": artifact_path})

    def log_text(self, run: str, text: str, artifact_file: str) -> None:
        """Log text as a file."""
        path = Path(artifact_file)
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / path.name
            file.write_text(text, encoding="utf-8")
            parent = path.parent.as_posix()
            self.log_artifact(run, file, None if parent == "." else parent)

    def log_dict(self, run: str, dictionary: Any, artifact_file: str) -> None:
        """Log plain data as a JSON file."""
        self.log_text(run, json.dumps(dictionary, indent=2, ensure_ascii=False), artifact_file)

    def synchronise(self) -> Sent:
        """Send what was kept, of all processes of the run, if the store answers.

        Also called when the outermost run ends; says what happened where there was anything to send.
        """
        with self._lock:
            if self.folder is None or not pending(self.folder):
                self.away = False
                return Sent()
            sent = send_kept(self.client, self.folder) if _answers(self.client) else Sent()
            sent.waiting = len(_kept(self.folder))
            self.away = sent.waiting > 0
            if sent.waiting:
                self.say(
                    f"MLflow does not answer: what it was to log is kept in {self.folder / FOLDER}. "
                    f"Send it with `msht track sync {self.folder}`."
                )
            else:
                self.say(f"MLflow answers again: what it missed was sent ({sent.operations} operations).")
            if sent.refused:
                self.say(f"MLflow refused {sent.refused} operations; see {self.folder / FOLDER / REFUSED}.")
            return sent

    def _do(self, operation: dict[str, Any]) -> None:
        with self._lock:
            if self._spool is None or self.folder is None:
                perform(self.client, operation, Path())
                return
            if self.away and time.monotonic() >= self._ask_at:
                self._ask_again()
            if not self.away:
                try:
                    perform(self.client, operation, self.folder)
                    return
                except Exception as error:
                    if not isinstance(error, NotYet):
                        if not is_of_the_store(error):
                            raise
                        self.say(
                            f"MLflow does not answer ({_reason(error)}). The run goes on; what is to be logged is kept "
                            f"in {self.folder / FOLDER} and sent later."
                        )
                        self.away = True
                        self._ask_at = time.monotonic() + self._wait
            if operation["do"] == "log_artifact":
                operation = {**operation, "kept": self._spool.keep_file(Path(operation["file"]))}
                del operation["file"]
            self._spool.keep(operation)

    def _ask_again(self) -> None:
        assert self._spool is not None
        assert self.folder is not None
        if _answers(self.client):
            sent = send_kept(self.client, self.folder, only=self._spool.file)
            if not self._spool.file.is_file():
                self.away, self._wait = False, FIRST_WAIT
                self.say(f"MLflow answers again: what it missed was sent ({sent.operations} operations).")
                return
        self._wait = min(2 * self._wait, LONGEST_WAIT)
        self._ask_at = time.monotonic() + self._wait


def pending(folder: Path) -> bool:
    """Whether a run has something that MLflow was not told yet."""
    return bool(_kept(folder))


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
    waiting = [only] if only is not None else _kept(folder)
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
                refused.write(json.dumps({"reason": _reason(error), **operation}) + "\n")
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


def _answers(client: Any) -> bool:
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


def _kept(folder: Path) -> list[Path]:
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


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _now() -> int:
    return int(time.time() * 1000)
