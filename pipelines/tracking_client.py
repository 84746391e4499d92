"""MLflow's client as the pipelines use it: writing never fails because the store is away."""

from __future__ import annotations

import json
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msht.files import quoted
from pipelines.tracking_spool import (
    FOLDER,
    LOCAL,
    REFUSED,
    NotYet,
    Sent,
    Spool,
    answers,
    is_of_the_store,
    kept,
    pending,
    perform,
    reason_of,
    send_kept,
)

FIRST_WAIT, LONGEST_WAIT = 30.0, 600.0
"""Seconds until a store that was away is asked again; doubled each time."""


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
            sent = send_kept(self.client, self.folder) if answers(self.client) else Sent()
            sent.waiting = len(kept(self.folder))
            self.away = sent.waiting > 0
            if sent.waiting:
                self.say(
                    f"MLflow does not answer: what it was to log is kept in {self.folder / FOLDER}. "
                    f"Send it with `msht track sync {quoted(self.folder)}`."
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
                            f"MLflow does not answer ({reason_of(error)}). The run goes on; what is to be logged is "
                            f"kept in {self.folder / FOLDER} and sent later."
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
        if answers(self.client):
            sent = send_kept(self.client, self.folder, only=self._spool.file)
            if not self._spool.file.is_file():
                self.away, self._wait = False, FIRST_WAIT
                self.say(f"MLflow answers again: what it missed was sent ({sent.operations} operations).")
                return
        self._wait = min(2 * self._wait, LONGEST_WAIT)
        self._ask_at = time.monotonic() + self._wait


def _now() -> int:
    return int(time.time() * 1000)
