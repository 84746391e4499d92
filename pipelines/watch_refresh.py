"""What is kept fresh while a folder is watched: the tables and the PDFs of cases, made beside the scoring."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msht.bundle import Bundle
from msht.errors import InvalidInput, MissingResource
from msht.files import write_text
from pipelines.ensemble import choose_device
from pipelines.inputs import file_name_for
from pipelines.progress import Progress, Silent
from pipelines.score import finish
from pipelines.score_answers import Answers
from pipelines.score_fields import ScoreSettings
from pipelines.score_folder import SNAPSHOTS
from pipelines.score_result import ScoreResult
from pipelines.score_store import Store

if TYPE_CHECKING:
    from reports.words import Language

REPORTS = "reports"
"""Folder of a scoring that holds the PDFs of its cases."""
QUIET = 1.0
"""Seconds without a photograph of a case before its PDF is made: the next one often follows at once."""
JOURNAL = ".watch.jsonl"
"""File beside the PDFs: of which rows, and in which language, each was made."""
AGAIN = 30.0
"""Seconds after which a PDF that could not be written is tried again."""
SHARE = 0.5
"""Largest share of the time that is spent on tables: writing those of many images takes a while."""


@dataclass
class _Due:
    """A PDF that is to be written."""

    at: float
    """Not before, by `time.monotonic`."""
    tables: int
    """From tables that are at least as new: number of the snapshot."""


class Refresher:
    """Writes tables and PDFs in a thread of its own, so that no photograph waits for them.

    A PDF is made from tables that hold the answer for which it is due, never from older ones.

    Args:
        bundle: that answers.
        out: folder of the scoring.
        record: what `run.json` says of it.
        settings: of the user.
        language: of the PDFs; None: there are none.
        progress: who listens.
    """

    def __init__(
        self,
        bundle: Bundle,
        out: Path,
        record: Mapping[str, Any],
        settings: ScoreSettings,
        *,
        language: Language | None,
        progress: Progress,
    ) -> None:
        self._bundle, self._out, self._record, self._settings = bundle, out, record, settings
        self._language, self._progress = language, progress
        self._folder = out / SNAPSHOTS
        self._wake = threading.Condition()
        self._snapshot: tuple[int, Path] | None = None
        self._number = self._written = 0
        self._due: dict[str, _Due] = {}
        self._prints: dict[str, str] = {}
        self._seconds = 0.0
        self._scored = 0
        self._rest_until = 0.0
        self._unwritten: dict[str, str] = {}
        """Cases whose PDF could not be written when it was due, and why."""
        self._tabulating = self._ending = False
        self._error: Exception | None = None
        self.result: ScoreResult | None = None
        self._thread = threading.Thread(target=self._run, name="refresh", daemon=True)
        self._thread.start()

    def begin(self, prints: Mapping[str, str]) -> None:
        """Note as due every PDF that an earlier watch left unwritten, or that is not of the present rows.

        Args:
            prints: of the cases; see `Answers.prints`.
        """
        if self._language is None:
            return
        kept = read_lines(self._out / REPORTS / JOURNAL)
        for case in {*prints, *kept}:
            line = kept.get(case, {})
            there = self._target(case).is_file()
            current = line.get("print") == prints.get(case) and line.get("language") == self._language
            # A case that is gone is due as long as its PDF lies there.
            if (case in prints and not (there and current)) or (case not in prints and there):
                self.touched(case)

    def touched(self, case: str) -> None:
        """Note that a case has a new answer: its PDF is due when the case is quiet and the answer in the tables."""
        if self._language is not None:
            with self._wake:
                self._due[case] = _Due(time.monotonic() + QUIET, self._number + 1)

    def is_free(self) -> bool:
        """Whether the tables may be written again by now.

        Raises:
            InvalidInput: that writing them raised.
        """
        with self._wake:
            if self._error is not None:
                raise self._error
            return self._snapshot is None and not self._tabulating and time.monotonic() >= self._rest_until

    def refresh(self, store: Store, seconds: float, scored: int) -> None:
        """Have the tables written as the store is now.

        Args:
            store: of the scoring.
            seconds: that were spent on scoring since the watch began.
            scored: images of that time.
        """
        number = self._number + 1
        self._folder.mkdir(exist_ok=True)
        snapshot = self._folder / f"{number}.sqlite"
        store.snapshot(snapshot)
        with self._wake:
            if self._snapshot is not None:
                self._snapshot[1].unlink(missing_ok=True)
            self._number = number
            self._snapshot, self._seconds, self._scored = (number, snapshot), seconds, scored
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
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._error is not None:
            raise self._error
        if self.result is not None and self._unwritten:
            notes = (*self.result.notes, *self._unwritten.values())
            self.result = replace(self.result, notes=notes, unwritten_reports=len(self._unwritten))

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
            in_tables = ((c, due) for c, due in self._due.items() if due.tables <= self._written)
            case = next((c for c, due in in_tables if self._ending or due.at <= now), None)
            if self._snapshot is None and case is None:
                if self._ending:
                    return False
                self._wake.wait(0.1 if self._due else None)
                return True
            taken, self._snapshot = self._snapshot, None
            if taken is None and case is not None:
                del self._due[case]
            self._tabulating = taken is not None
        begun = time.monotonic()
        if taken is not None:
            try:
                self._write_tables(*taken)
                self._rest_until = time.monotonic() + (time.monotonic() - begun) * (1 / SHARE - 1)
            finally:
                with self._wake:
                    self._tabulating = False
        elif case is not None:
            self._write_report(case)
        return True

    def _write_tables(self, number: int, snapshot: Path) -> None:
        with closing(sqlite3.connect(snapshot, isolation_level=None)) as connection:
            answers = Answers(connection)
            done = finish(answers, self._out, self._record, self._bundle, self._settings, self._seconds, Silent())
            if self._language is not None:
                self._prints = answers.prints()
        snapshot.unlink()
        with self._wake:
            self._written = number
        self.result = ScoreResult.of(self._out, *done, seconds=self._seconds, scored_now=self._scored)

    @cached_property
    def _networks(self) -> Any:
        """For maps; not those that score, since maps hook into them while they run."""
        return self._bundle.ensemble(choose_device(self._settings.device), folds=self._settings.folds)

    def _target(self, case: str) -> Path:
        return self._out / REPORTS / f"case-{file_name_for(case)}.pdf"

    def _write_report(self, case: str) -> None:
        """Write the PDF of a case; where that fails, no earlier one stays beside newer tables."""
        from pipelines.report_case import prepare_case_report
        from pipelines.report_case_all import set_aside
        from pipelines.report_case_scoring import read_scoring
        from reports.case import write_case_report

        assert self._language is not None, "without a language no PDF is due"
        target, known = self._target(case), self._unwritten.pop(case, None)
        try:
            if case not in self._prints:
                if moved := set_aside(target):
                    self._progress.say(f"The case {case} has no photograph any more; its report is now {moved}.")
                return
            scoring = read_scoring(self._bundle.path, self._out)
            report = prepare_case_report(scoring, case, networks=self._networks, language=self._language)
            write_case_report(report, target, language=self._language)
            line = {"case": case, "print": self._prints[case], "language": self._language}
            add_line(self._out / REPORTS / JOURNAL, line)
        except (InvalidInput, MissingResource, OSError) as error:
            words = f"{target.name} was not written: {error}"
            try:
                if moved := set_aside(target):
                    words += f" The earlier report is now {moved}."
            except MissingResource as worse:
                words += f" The earlier report lies there still: {worse}"
            said = known is not None and known.startswith(words)
            self._unwritten[case] = known if said and known is not None else words
            if not said:
                self._progress.say(words)
            with self._wake:
                if not self._ending:
                    self._due.setdefault(case, _Due(time.monotonic() + AGAIN, self._written))


def set_stale_aside(out: Path, prints: Mapping[str, str]) -> list[Path]:
    """Move the PDFs of a former watch whose cases have other rows by now; nobody shall take them for the present ones.

    Args:
        out: folder of the scoring.
        prints: of the cases; see `Answers.prints`.

    Returns:
        Where they are now.
    """
    kept = read_lines(out / REPORTS / JOURNAL)
    if not kept:
        return []
    from pipelines.report_case_all import set_aside

    stale = [case for case, line in kept.items() if line.get("print") != prints.get(case)]
    moved = [set_aside(out / REPORTS / f"case-{file_name_for(case)}.pdf") for case in sorted(stale)]
    # What comes under these names from now on is not of the watch.
    lines = [json.dumps(line, ensure_ascii=False) for case, line in kept.items() if case not in stale]
    write_text(out / REPORTS / JOURNAL, "".join(f"{line}\n" for line in lines))
    return [path for path in moved if path is not None]


def read_lines(path: Path) -> dict[str, dict[str, str]]:
    """The last line of each case in a journal; what a kill left of a line is passed over."""
    lines: dict[str, dict[str, str]] = {}
    if path.is_file():
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            if isinstance(line, dict) and isinstance(line.get("case"), str):
                lines[line["case"]] = line
    return lines


def add_line(path: Path, line: Mapping[str, str]) -> None:
    """Add a line to a journal; on a line of its own also where a kill left half of the one before."""
    text = json.dumps(line, ensure_ascii=False)
    with path.open("ab+") as journal:
        end = journal.seek(0, 2)
        journal.seek(max(0, end - 1))
        whole = end == 0 or journal.read(1) == b"\n"
        journal.write(f"{'' if whole else chr(10)}{text}\n".encode())
