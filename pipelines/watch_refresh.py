"""What is kept fresh while a folder is watched: the tables and the PDFs of cases, made beside the scoring."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from msht.bundle import Bundle
from msht.errors import InvalidInput
from pipelines.ensemble import choose_device
from pipelines.inputs import file_name_for
from pipelines.progress import Progress, Silent
from pipelines.score import finish
from pipelines.score_answers import Answers
from pipelines.score_fields import ScoreSettings
from pipelines.score_result import ScoreResult
from pipelines.score_store import Store

REPORTS = "reports"
"""Folder of a scoring that holds the PDFs of its cases."""
QUIET = 1.0
"""Seconds without a photograph of a case before its PDF is made: the next one often follows at once."""
SHARE = 0.5
"""Largest share of the time that is spent on tables: writing those of many images takes a while."""


class Refresher:
    """Writes tables and PDFs in a thread of its own, so that no photograph waits for them.

    Args:
        bundle: that answers.
        out: folder of the scoring.
        record: what `run.json` says of it.
        settings: of the user.
        reports: whether cases get a PDF.
        progress: who listens.
    """

    def __init__(
        self,
        bundle: Bundle,
        out: Path,
        record: Mapping[str, Any],
        settings: ScoreSettings,
        *,
        reports: bool,
        progress: Progress,
    ) -> None:
        self._bundle, self._out, self._record, self._settings = bundle, out, record, settings
        self._reports, self._progress = reports, progress
        self._folder = tempfile.TemporaryDirectory(prefix="msht-watch-")
        self._wake = threading.Condition()
        self._snapshot: Path | None = None
        self._number = 0
        self._due: dict[str, float] = {}
        self._seconds = 0.0
        self._scored = 0
        self._rest_until = 0.0
        self._unwritten: dict[str, str] = {}
        """Cases whose PDF could not be written when it was due, and why."""
        self._busy = self._ending = False
        self._error: Exception | None = None
        self.result: ScoreResult | None = None
        self._thread = threading.Thread(target=self._run, name="refresh", daemon=True)
        self._thread.start()

    def touched(self, case: str) -> None:
        """Note that a case has a new answer, whose PDF is due when the case is quiet."""
        if self._reports:
            with self._wake:
                self._due[case] = time.monotonic() + QUIET

    def is_free(self) -> bool:
        """Whether the tables may be written again by now.

        Raises:
            InvalidInput: that writing them raised.
        """
        with self._wake:
            if self._error is not None:
                raise self._error
            return self._snapshot is None and not self._busy and time.monotonic() >= self._rest_until

    def refresh(self, store: Store, seconds: float, scored: int) -> None:
        """Have the tables written as the store is now.

        Args:
            store: of the scoring.
            seconds: that were spent on scoring since the watch began.
            scored: images of that time.
        """
        self._number += 1
        snapshot = Path(self._folder.name) / f"{self._number}.sqlite"
        store.snapshot(snapshot)
        with self._wake:
            self._snapshot, self._seconds, self._scored = snapshot, seconds, scored
            self._wake.notify()

    def end(self) -> None:
        """Wait until all that is due is written.

        Raises:
            InvalidInput: that writing raised.
        """
        with self._wake:
            self._ending = True
            self._wake.notify()
        self._thread.join()
        self._folder.cleanup()
        if self._error is not None:
            raise self._error
        if self.result is not None and self._unwritten:
            self.result = replace(self.result, notes=(*self.result.notes, *self._unwritten.values()))

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except Exception as error:  # handed over to the thread that watches, which raises it
            with self._wake:
                self._error = error

    def _step(self) -> bool:
        """Do one thing: tables first, then one PDF; False when there is nothing more to do."""
        with self._wake:
            now = time.monotonic()
            case = next((case for case, due in self._due.items() if self._ending or due <= now), None)
            if self._snapshot is None and case is None:
                if self._ending:
                    return False
                self._wake.wait(0.1 if self._due else None)
                return True
            snapshot, self._snapshot = self._snapshot, None
            if snapshot is None and case is not None:
                del self._due[case]
            self._busy = True
        begun = time.monotonic()
        try:
            if snapshot is not None:
                self._write_tables(snapshot)
                self._rest_until = time.monotonic() + (time.monotonic() - begun) * (1 / SHARE - 1)
            elif case is not None:
                self._write_report(case)
        finally:
            with self._wake:
                self._busy = False
        return True

    def _write_tables(self, snapshot: Path) -> None:
        with closing(sqlite3.connect(snapshot, isolation_level=None)) as connection:
            done = finish(
                Answers(connection), self._out, self._record, self._bundle, self._settings, self._seconds, Silent()
            )
        snapshot.unlink()
        self.result = ScoreResult.of(self._out, *done, seconds=self._seconds, scored_now=self._scored)

    @cached_property
    def _networks(self) -> Any:
        """For maps; not those that score, since maps hook into them while they run."""
        return self._bundle.ensemble(choose_device(self._settings.device), folds=self._settings.folds)

    def _write_report(self, case: str) -> None:
        """Write the PDF of a case; where that fails, no earlier one stays beside newer tables."""
        from pipelines.report_case import prepare_case_report
        from pipelines.report_case_all import set_aside
        from pipelines.report_case_scoring import read_scoring
        from reports.case import write_case_report

        target = self._out / REPORTS / f"case-{file_name_for(case)}.pdf"
        self._unwritten.pop(case, None)
        try:
            scoring = read_scoring(self._bundle.path, self._out)
            if case not in set(scoring.cases["case"].astype(str)):
                if moved := set_aside(target):
                    self._progress.say(f"The case {case} has no photograph any more; its report is now {moved}.")
                return
            report = prepare_case_report(scoring, case, networks=self._networks)
            write_case_report(report, target)
        except (InvalidInput, OSError) as error:
            self._unwritten[case] = f"{target.name} was not written: {error}"
            if moved := set_aside(target):
                self._unwritten[case] += f" The earlier report is now {moved}."
            self._progress.say(self._unwritten[case])
