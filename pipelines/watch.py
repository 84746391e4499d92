"""Watching a folder: photographs are scored as a microscope's camera drops them.

The folder is looked through again and again, since no network share tells of its changes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msht.bundle import read_bundle
from msht.errors import InvalidInput
from msht.images.reading import is_image_path
from msht.images.slide_files import is_slide_path
from pipelines.inputs import ScoreInput, name_inputs
from pipelines.progress import Interrupted, Progress, Silent, Steps, stage
from pipelines.score import SAME, record_of
from pipelines.score_fields import GONE, FieldScorer, Row, ScoreSettings, rejected_row, stamp_of
from pipelines.score_result import ScoreResult
from pipelines.score_sources import Found, found_in, links_left_out, printable, refuse_own_folder
from pipelines.watch_refresh import Refresher, set_stale_aside
from pipelines.watch_store import Twin, WatchStore

if TYPE_CHECKING:
    from reports.words import Language

POLL = 0.3
"""Seconds between two looks at the folder. A file must look the same twice before it is read."""
TOLD = (
    "image",
    "case",
    "path",
    "sha256",
    "call",
    "probability",
    "spread",
    "evaluable",
    "not_evaluable_because",
    "out_of_distribution",
    "reason",
)
"""Columns that are told to a machine, where the row has them."""
LOOKED_AT_AGAIN = 1000
"""Answered files whose time and size are asked for at each look; with more of them, they take turns."""
LONGEST_PAUSE = 2.0
"""Longest time between two trials of a file that is still broken."""
MOVING = 60.0
"""Seconds between the answer of a copy and the end of its original within which the two are one that was moved."""
SAME_FOR_WATCH = {**SAME, "case_from": "--case-from"}
"""As `SAME`; the rows that are there keep their cases."""


@dataclass(frozen=True)
class Answer:
    """What is said about a photograph."""

    scored: Row
    """Its row."""
    seconds: float
    """From when its last change was seen until it was answered."""

    def row(self) -> dict[str, Any]:
        """For a machine: one JSON object."""
        known = {key: self.scored[key] for key in TOLD if key in self.scored}
        return {**known, "status": self.scored["status"], "seconds": round(self.seconds, 2)}

    def in_words(self) -> str:
        """For a person: one line."""
        row = self.scored
        if row["status"] == "rejected":
            return f"{row['image']}: rejected. {row['reason']}"
        if not row["evaluable"]:
            return f"{row['image']}: not evaluable. {row['not_evaluable_because']}"
        odd = ", unlike the development images" if row["out_of_distribution"] else ""
        return f"{row['image']}: {row['call']}, probability {row['probability']:.3f}{odd}"


@dataclass
class _File:
    """A file of the folder as it was seen last."""

    stamp: str
    changed: float
    """When this stamp was seen first, by `time.monotonic`."""
    next_trial: float = 0.0
    pause: float = POLL


def watch_folder(
    bundle_path: Path,
    folder: Path,
    out: Path,
    *,
    settings: ScoreSettings | None = None,
    case_from: str | None = None,
    patience: float = 10.0,
    report: bool = False,
    language: Language = "en",
    tell: Callable[[Answer], None] = lambda _: None,
    stop: threading.Event | None = None,
    progress: Progress | None = None,
) -> ScoreResult:
    """Score the photographs of a folder, those that are there and those that come, until Ctrl-C.

    Args:
        bundle_path: a bundle.
        folder: that is watched, with all folders below it; slides in it are left alone.
        out: folder of the tables; those of an earlier watch or scoring are added to.
        settings: of the user.
        case_from: see `find_inputs`.
        patience: seconds that a file may stay broken after its last change before it is rejected.
        report: keep a PDF of each case in `out/reports`.
        language: of the PDFs.
        tell: is called with each answer.
        stop: ends the watch as Ctrl-C does.
        progress: who listens.

    Raises:
        InvalidInput: if the bundle is broken, the folder is not there or is `out`, or `out` holds other scores.
        MissingResource: if `out` cannot be written; what was scored is kept.
    """
    progress, stop, settings = progress or Silent(), stop or threading.Event(), settings or ScoreSettings()
    if not folder.is_dir():
        raise InvalidInput(f"The folder {folder} does not exist.", "Give the folder that the camera writes to.")
    if not 0 <= patience <= 86_400:
        raise InvalidInput(f"--patience is {patience:g}.", "Give seconds from 0 to 86400.")
    settings.check()
    refuse_own_folder([folder], out)
    if report:
        from reports.fonts import text_settings

        text_settings(language)
    bundle = read_bundle(bundle_path)
    list(name_inputs([], lambda _: None, case_from))  # an expression that is none is refused at once
    links = links_left_out([folder], is_image_path, leave_out=out)
    record = record_of(bundle, settings, case_from=case_from, executor="local", links=links)
    with WatchStore(out, record, SAME_FOR_WATCH) as store:
        if (other := store.from_elsewhere(folder.resolve())) is not None:
            raise InvalidInput(
                f"{out} holds scores of another folder than {folder}, of {other} for one.", "Choose another --out."
            )
        try:
            scorer = FieldScorer(bundle, settings)
        except InvalidInput:
            store.discard()
            raise
        refresher = Refresher(bundle, out, record, settings, language=language if report else None, progress=progress)
        refresher.begin(store.answers.prints())

        def set_aside() -> None:
            for stale in [] if report else set_stale_aside(out, store.answers.prints()):
                progress.say(f"A report of earlier answers is now {stale}.")

        set_aside()
        if links.number:
            progress.say(links.in_words())
        with stage(progress, "Watching", None) as steps:
            watch = _Watch(folder, store, scorer, refresher, case_from, patience, tell, progress, steps)
            try:
                while not stop.is_set():
                    if not watch.look():
                        stop.wait(POLL)
            except KeyboardInterrupt:
                progress.say("Stopped; what is due is still written. Ctrl-C again leaves it.")
        try:
            refresher.refresh(store, watch.seconds, watch.scored)
            refresher.end()
            set_aside()
        except KeyboardInterrupt as error:
            raise Interrupted(f"Stopped; what was scored is kept. The same command goes on in {out}.") from error
    assert refresher.result is not None, "the last refresh wrote the tables, or raised"
    return refresher.result


@dataclass
class _Watch:
    """A folder that is being watched."""

    folder: Path
    store: WatchStore
    scorer: FieldScorer
    refresher: Refresher
    case_from: str | None
    patience: float
    tell: Callable[[Answer], None]
    progress: Progress
    steps: Steps
    seconds: float = 0.0
    """Spent on scoring."""
    scored: int = 0
    """Images that could be read."""

    def __post_init__(self) -> None:
        self._answered = dict(self.store.stamps())
        self._there = set(self._answered)
        """Names at the last look; at first all that were ever answered, so that what moved since is found."""
        self._gone = self.store.gone()
        """Names of answered photographs that were not there at an earlier look."""
        self._fresh: dict[str, float] = {}
        """When what was answered lately was answered, by name."""
        self._files: dict[str, _File] = {}
        self._stale = True
        self._lost = False
        self._looks = 0

    def look(self) -> bool:
        """Look through the folder once and answer what is ready; True if more may be ready at once."""
        ready = self._ready()
        size = self.scorer.settings.batch_size
        # The newest first, where many wait: somebody sits at the microscope.
        chosen = sorted(ready, key=lambda item: self._files[item.name].changed)[-size:]
        if chosen:
            self._answer(chosen)
        if self._stale and self.refresher.is_free():
            self._stale = False
            self.refresher.refresh(self.store, self.seconds, self.scored)
        return len(ready) > len(chosen)

    def _ready(self) -> list[ScoreInput]:
        """Photographs that look as they did at the last look."""
        ready, now, there, seen = [], time.monotonic(), set(), set()
        self._looks += 1
        turns = 1 + len(self._answered) // LOOKED_AT_AGAIN
        for number, found in enumerate(self._found()):
            name = printable(found.name)
            seen.add(name)
            # A file of which something is to come is looked at each time, or it would never be seen twice alike.
            if name in self._answered and name not in self._files and (number + self._looks) % turns:
                continue
            stamp = stamp_of(found.path)
            if stamp == GONE:
                continue
            if self._answered.get(name) == stamp:
                self._is_back(name)
                continue
            there.add(name)
            file = self._files.get(name)
            if file is None or file.stamp != stamp:
                self._files[name] = _File(stamp, now)
            elif now >= file.next_trial and (item := self._item(found, stamp)) is not None:
                ready.append(item)
        for name in self._files.keys() - there:
            del self._files[name]
        if not self._lost:
            for name in self._there - seen:
                self._notice_gone(name)
            self._there = seen
        return ready

    def _notice_gone(self, name: str) -> None:
        """Leave one row of a photograph that was copied elsewhere and then removed here; else remember that it went."""
        if name not in self._answered:
            return
        if name not in self._gone:
            self._gone.add(name)
            self.store.note_gone(name, gone=True)
        self._fresh = {one: at for one, at in self._fresh.items() if time.monotonic() - at < MOVING}
        twins = self.store.twins(name)
        if any(twin.name in self._fresh and twin.path.is_file() for twin in twins if twin.name != name):
            self._forget([twin for twin in twins if twin.name == name])

    def _is_back(self, name: str) -> None:
        if name in self._gone:
            self._gone.discard(name)
            self.store.note_gone(name, gone=False)

    def _notice_moved(self, name: str) -> None:
        """Leave one row of a photograph that is answered here and is no longer where it was answered before.

        Two frames that show nothing may have equal bytes: those that are not evaluable must be of one time too.
        """
        twins = self.store.twins(name)
        here = next((twin for twin in twins if twin.name == name), None)
        if here is not None:
            moved = [
                twin
                for twin in twins
                if twin.name != name and not twin.path.is_file() and (twin.evaluable or twin.stamp == here.stamp)
            ]
            # One that was refused for its name has been renamed, as it was asked for.
            moved += [twin for twin in self.store.refused_like(here.stamp) if twin.name not in (*self._there, name)]
            self._forget(moved)

    def _forget(self, moved: Sequence[Twin]) -> None:
        if not moved:
            return
        self.store.forget([twin.name for twin in moved])
        self._stale = True
        for twin in moved:
            self._answered.pop(twin.name, None)
            self._gone.discard(twin.name)
            self.refresher.touched(twin.case)
            self.progress.say(f"{twin.name} is now elsewhere in the folder; its row there counts alone.")

    def _found(self) -> list[Found]:
        try:
            found = list(found_in(self.folder, is_image_path, leave_out=self.store.out))
        except InvalidInput as error:
            if not self._lost:
                self.progress.say(f"{error.problem} It is tried again.")
            self._lost = True
            return []
        self._lost = False
        return found

    def _item(self, found: Found, stamp: str) -> ScoreInput | None:
        """The photograph as an input; None where it is a slide, said once, or refused, which is its answer."""
        item = next(name_inputs([found], lambda _: None, self.case_from))
        if is_slide_path(item.path):
            self.progress.say(f"{printable(found.path.name)} is a slide and is left out. Score it with `msht score`.")
            self._answered[item.name] = stamp
            return None
        if item.refused is None:
            return item
        self._keep([(item, rejected_row(item, stamp, str(item.refused)))])
        return None

    def _answer(self, items: Sequence[ScoreInput]) -> None:
        begun = time.monotonic()
        rows = self.scorer.score(items)
        now = time.monotonic()
        self.seconds += now - begun
        answered = [(item, row) for item, row in zip(items, rows, strict=True) if self._is_final(row, now)]
        if answered:
            self._keep(answered)

    def _keep(self, answered: Sequence[tuple[ScoreInput, Row]]) -> None:
        """Keep rows that are final, and tell them."""
        for item, row in answered:
            self._keep_former(item.name, row)
        self.store.keep_new(answered)
        self._stale = True
        for item, row in answered:
            file = self._files.pop(item.name)
            self._answered[item.name] = row["stamp"]
            self._is_back(item.name)
            self._fresh[item.name] = time.monotonic()
            self.scored += row["status"] == "scored"
            self.steps.advance()
            self.refresher.touched(item.case)
            self._notice_moved(item.name)
            self.tell(Answer(row, time.monotonic() - file.changed))

    def _keep_former(self, name: str, row: Row) -> None:
        """Keep the row of a photograph that was moved away before another came under its name: cameras count anew."""
        former = self.store.digest_of(name)
        if former is None or former == row.get("sha256"):
            return
        twins = self.store.twins(name)
        if name in self._gone and any(twin.name in self._fresh for twin in twins if twin.name != name):
            self._forget([twin for twin in twins if twin.name == name])  # it was moved, and answered where it is
        elif name in self._gone:
            apart = self.store.keep_apart(name)
            self.progress.say(f"Another photograph came as {name}; the row of the former is kept as {apart}.")
        else:
            self.progress.say(f"{name} was changed; its new row takes the place of the former.")

    def _is_final(self, row: Row, now: float) -> bool:
        """Whether a row is an answer; not so for a file that changed meanwhile, or may still be on its way."""
        file = self._files[row["image"]]
        if row["stamp"] != file.stamp or stamp_of(Path(row["path"])) != file.stamp:
            return False
        if row["status"] == "rejected" and now - file.changed < self.patience:
            file.pause = min(2 * file.pause, LONGEST_PAUSE)
            file.next_trial = now + file.pause
            return False
        return True
