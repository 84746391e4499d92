"""One PDF for every case of a scoring, in several processes, and an index of them, most urgent first."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from msht.errors import InvalidInput, MissingResource
from msht.files import cannot_write, sha256_of, sha256_of_text, write_text
from pipelines.case_maps import Gone
from pipelines.inputs import file_name_for
from pipelines.progress import Interrupted, Progress, Silent, stage
from pipelines.report_case import prepare_case_report
from pipelines.report_case_entered import together
from pipelines.report_case_parts import name_in_print
from pipelines.report_case_scoring import Scoring, read_scoring
from reports.case import CaseReport, write_case_report
from reports.case_index import CaseIndex, IndexRow, write_case_index
from reports.fonts import text_settings
from reports.typesetting import TEMPLATES
from reports.words import Language

INDEX = "index.pdf"
JOURNAL = "reports.jsonl"
"""A line for each report that was written: what makes a stopped run go on."""

OUTDATED = "outdated"
"""Folder for reports of earlier calls that hold no longer: no one shall take an old answer for the present one."""

FEWEST_FOR_PROCESSES = 8
"""With fewer reports to write, starting processes costs more than they save."""

Facts = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class CasesResult:
    """What a run of reports gave."""

    index: Path
    written: int
    kept: int
    failed: dict[str, str] = field(default_factory=dict)
    """Case to the reason why it has no report."""
    outdated: tuple[Path, ...] = ()
    """Reports of earlier calls that hold no longer, where they were moved to."""
    unknown: tuple[str, ...] = ()
    """Cases of the entered facts that were not scored."""
    gone: tuple[Gone, ...] = ()
    """Fields that reports name without a picture."""


class _LazyNetworks:
    """The ensemble of a bundle, loaded when a map must be made and not before."""

    def __init__(self, scoring: Scoring, device: str) -> None:
        self._bundle, self._folds, self._device = scoring.bundle, scoring.facts.folds, device

    @cached_property
    def _loaded(self) -> Any:
        from pipelines.ensemble import choose_device

        return self._bundle.ensemble(choose_device(self._device), folds=list(self._folds) or None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loaded, name)


def report_cases(
    bundle_path: Path,
    scores: Path,
    out: Path,
    *,
    entered: Facts = (),
    entered_by_case: Mapping[str, Facts] | None = None,
    microns_per_pixel: float | None = None,
    created: datetime | None = None,
    device: str = "cpu",
    language: Language = "en",
    workers: int | None = None,
    progress: Progress | None = None,
) -> CasesResult:
    """Write the report of every case and the index; a stopped run goes on, and what did not change is kept.

    An earlier report of a case that now fails, or is no longer in the scores, is moved to the folder `OUTDATED`.

    Args:
        bundle_path: that scored the cases.
        scores: folder of `msht score`.
        out: folder of the PDFs.
        entered: facts about every case.
        entered_by_case: facts about single cases, by case.
        microns_per_pixel: of the photographs, for the scale bar.
        created: time of the reports; None: now.
        device: for maps that must be made.
        language: of reports and index.
        workers: processes; None: one a core.
        progress: who listens.

    Raises:
        InvalidInput: if the scores are unfinished or of another bundle, or `out` is no folder.
        MissingResource: if there is no font for the language, or nothing can be written.
        Interrupted: on Ctrl-C; what was written is kept.
    """
    progress = progress or Silent()
    text_settings(language)
    scoring = read_scoring(bundle_path, scores)
    run = _Run(scoring, out, created or datetime.now(UTC).astimezone(), language)
    by_case = dict(entered_by_case or {})
    gone: list[Gone] = []
    networks = _LazyNetworks(scoring, device)
    cases = list(run.names)
    run.set_gone_aside()
    try:
        with _pool(workers, run.waiting()) as pool, stage(progress, "Writing case reports", len(cases)) as steps:
            for case in cases:
                try:
                    report = prepare_case_report(
                        scoring,
                        case,
                        entered=together(entered, by_case.get(case, ()), case),
                        microns_per_pixel=microns_per_pixel,
                        created=run.created,
                        device=device,
                        networks=networks,
                        language=language,
                        gone=gone,
                    )
                    run.write(report, pool)
                except (InvalidInput, OSError) as error:
                    run.fail(case, error)
                run.collect(pool, most=4 * pool.workers)
                steps.at(run.finished)
            run.collect(pool, most=0)
            steps.at(run.finished)
    except KeyboardInterrupt as error:
        raise Interrupted(f"Stopped; what was written is kept. The same command goes on in {out}.") from error
    except BrokenProcessPool as error:
        raise MissingResource(
            "A process that writes reports was ended from outside; memory may have run out.",
            "Give the same command again with --workers 1; it goes on.",
        ) from error
    unknown = tuple(sorted(set(by_case) - set(cases)))
    index = run.write_index(unknown)
    return CasesResult(index, run.written, run.kept, run.failed, tuple(run.outdated), unknown, tuple(gone))


@dataclass
class _Pool:
    """Where reports are set: processes, or this one where there are few."""

    workers: int
    executor: ProcessPoolExecutor | None
    futures: dict[Future[Path], tuple[CaseReport, str]] = field(default_factory=dict)


@contextmanager
def _pool(workers: int | None, waiting: int) -> Iterator[_Pool]:
    count = min(workers or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else workers or 2, waiting)
    if waiting < FEWEST_FOR_PROCESSES or count <= 1:
        yield _Pool(1, None)
        return
    # Spawned, since a fork of a process in which torch has threads may hang.
    executor = ProcessPoolExecutor(count, mp_context=get_context("spawn"))
    try:
        yield _Pool(count, executor)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


class _Run:
    """The reports of one folder: names, what was written before, what is written now."""

    def __init__(self, scoring: Scoring, out: Path, created: datetime, language: Language) -> None:
        self.scoring, self.out, self.created, self.language = scoring, out, created, language
        self.names = unique_names([str(case) for case in scoring.cases["case"]])
        self.before = _read_journal(out)
        self.reports: dict[str, CaseReport] = {}
        self.lines: dict[str, dict[str, str]] = {}
        self.failed: dict[str, str] = {}
        self.outdated: list[Path] = []
        self.written = self.kept = 0
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(out, error) from error

    @property
    def finished(self) -> int:
        """Cases that are through, one way or the other."""
        return self.written + self.kept + len(self.failed)

    def waiting(self) -> int:
        """Cases without a report as far as is known before the work."""
        return sum(not (self.out / name).is_file() for name in self.names.values())

    def write(self, report: CaseReport, pool: _Pool) -> None:
        """Set a report, here or elsewhere, unless an equal one is there."""
        case, name = report.case_id, self.names[report.case_id]
        self.reports[case] = report
        key = _key(report, self.language)
        before = self.before.get(case)
        target = self.out / name
        if before and before["key"] == key and target.is_file() and sha256_of(target) == before["sha256"]:
            self.lines[case] = before
            self.kept += 1
        elif pool.executor is None:
            self._note(report, key, write_case_report(report, target, language=self.language))
        else:
            future = pool.executor.submit(write_case_report, report, target, language=self.language)
            pool.futures[future] = (report, key)

    def collect(self, pool: _Pool, *, most: int) -> None:
        """Take in what is finished, until at most so many are under way."""
        while len(pool.futures) > most:
            done, _ = wait(pool.futures, return_when=FIRST_COMPLETED)
            for future in done:
                report, key = pool.futures.pop(future)
                try:
                    self._note(report, key, future.result())
                except (InvalidInput, OSError) as error:
                    self.fail(report.case_id, error)

    def fail(self, case: str, error: Exception) -> None:
        """Note that a case has no report; an earlier one no longer stands beside the index."""
        self.failed[case] = str(error)
        if case in self.before:
            self._set_aside(self.before[case])

    def set_gone_aside(self) -> None:
        """Move what an earlier call wrote for a case that is gone, or now has another file name."""
        for case, line in self.before.items():
            if self.names.get(case) != line["file"]:
                self._set_aside(line)

    def _set_aside(self, line: dict[str, str]) -> None:
        """Move a report that the journal lists to `OUTDATED`."""
        moved = set_aside(self.out / line["file"])
        if moved is not None:
            self.outdated.append(moved)

    def _note(self, report: CaseReport, key: str, path: Path) -> None:
        line = {"case": report.case_id, "file": path.name, "key": key, "sha256": sha256_of(path)}
        self.lines[report.case_id] = line
        self.written += 1
        with (self.out / JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(line, ensure_ascii=False) + "\n")

    def write_index(self, unknown: tuple[str, ...]) -> Path:
        """Write the index, and the journal with a line a report."""
        write_text(self.out / JOURNAL, "".join(json.dumps(v, ensure_ascii=False) + "\n" for v in self.lines.values()))
        description = self.scoring.bundle.description

        def printable(text: str) -> str:
            return name_in_print(text, self.language)

        index = CaseIndex(
            created=self.created,
            scores=printable(str(self.scoring.folder)),
            bundle=printable(f"{description.name} {self.scoring.bundle.short_digest}"),
            rows=tuple(self._row(row, printable) for row in self.scoring.cases.to_dict("records")),
            unknown=tuple(printable(case) for case in unknown),
            # All that lie there, not this call's alone: a stopped run may have moved some.
            outdated=tuple(printable(path.name) for path in sorted((self.out / OUTDATED).glob("*.pdf"))),
            outdated_folder=OUTDATED,
            threshold_set=self._threshold_set(),
            scoring=self.scoring.facts,
            networks=len(description.folds),
            synthetic=description.cohort["synthetic"],
        )
        return write_case_index(index, self.out / INDEX, language=self.language)

    def _threshold_set(self) -> float | None:
        cases = self.scoring.cases
        overridden = cases[cases["threshold_overridden"].astype(bool)]
        return None if overridden.empty else float(overridden["threshold"].iloc[0])

    def _row(self, row: dict[Any, Any], printable: Any) -> IndexRow:
        case = str(row["case"])
        report = self.reports.get(case)
        score = report.score if report else None
        evaluable, novel = int(row["evaluable_fields"]), int(row["out_of_distribution_fields"])
        good = row["call"] != "not evaluable"
        return IndexRow(
            case_id=printable(case),
            call=row["call"],
            probability=float(row["probability"]) if good else None,
            low=score.low if score else None,
            high=score.high if score else None,
            refer=bool(row["refer"]),
            with_care=bool(report and report.with_care),
            unlike=bool(evaluable and novel / evaluable > 0.5),
            positive_fields=int(row["positive_fields"]),
            evaluable_fields=evaluable,
            images=int(row["fields"]) + int(row["rejected_images"]),
            file=None if case in self.failed else self.names[case],
            failed_because=printable(self.failed[case]) if case in self.failed else None,
        )


def set_aside(path: Path) -> Path | None:
    """Move a report that holds no longer to the folder `OUTDATED` beside it, and overwrite nothing there.

    Returns:
        Where it is now; None where there was none.

    Raises:
        MissingResource: if it cannot be moved.
    """
    folder = path.parent / OUTDATED
    if not path.is_file():
        return None
    free, number = folder / path.name, 1
    try:
        folder.mkdir(exist_ok=True)
        while os.path.lexists(free):
            number += 1
            free = folder / f"{path.stem}-{number}{path.suffix}"
        path.rename(free)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return free


def unique_names(cases: Sequence[str]) -> dict[str, str]:
    """A file name for each case: plain, below the folder, and unique even where case of letters does not count."""
    plain = {case: f"case-{file_name_for(case)}" for case in cases}
    shared = Counter(name.casefold() for name in plain.values())
    return {
        case: f"{name}-{sha256_of_text(case)[:16]}.pdf" if shared[name.casefold()] > 1 else f"{name}.pdf"
        for case, name in plain.items()
    }


_OF_FIELD = {"__all__": {"crop", "overlay", "whole"}}
_OF_PICTURE = {"__all__": {"picture"}}
_NOT_IN_KEY: Any = {
    "created": True,
    "report_id": True,
    "scoring": {"finished"},
    # Where pictures lie is not on the page; what they show comes into the key by their digests.
    "deciding": _OF_FIELD,
    "tiles": _OF_FIELD,
    "slides": _OF_PICTURE,
    "rejected_pictures": _OF_PICTURE,
}


def _key(report: CaseReport, language: Language) -> str:
    """Digest of all that the page shows but times: equal for an equal report.

    Without the time of scoring, since a scoring that goes on to further cases gives all of them a new one. A report
    that is kept names the scoring that it was made from, whose answers are those of today.
    """
    # An older version's look and words are no reason to keep its report.
    look = [sha256_of(TEMPLATES / name) for name in ("case.typ", "theme.typ", f"language_{language}.yaml")]
    said = report.model_dump_json(exclude=_NOT_IN_KEY)
    shown = [picture for deciding in report.deciding for picture in (deciding.crop, deciding.overlay)]
    shown += [picture for tile in report.tiles for picture in (tile.crop, tile.overlay)]
    shown += [slide.picture for slide in report.slides]
    shown += [deciding.whole for deciding in report.deciding if deciding.whole is not None]
    shown += [rejected.picture for rejected in report.rejected_pictures]
    return sha256_of_text("\n".join([language, *look, said, *(sha256_of(picture) for picture in shown)]))


def _read_journal(out: Path) -> dict[str, dict[str, str]]:
    lines: dict[str, dict[str, str]] = {}
    if (out / JOURNAL).is_file():
        for text in (out / JOURNAL).read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:  # the last line of a run that was killed
                continue
            if isinstance(line, dict) and {"case", "file", "key", "sha256"} <= set(line) and _is_ours(line["file"]):
                lines[str(line["case"])] = line
    return lines


def _is_ours(name: Any) -> bool:
    """Whether a report may have this file name: a journal that was changed by hand must not reach another file."""
    return isinstance(name, str) and Path(name).name == name and name.startswith("case-") and name.endswith(".pdf")
