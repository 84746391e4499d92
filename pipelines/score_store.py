"""The rows of a scoring so far, in one SQLite file: what a killed scoring goes on from, and tables are written from.

A part of the rows is one transaction: it is there whole or not at all, whatever happens to the program. The list of
the inputs is kept here too, so that memory does not grow with their number.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from msht.errors import InvalidInput, MissingResource
from msht.files import cannot_write, sha256_of, write_json
from pipelines.inputs import ScoreInput
from pipelines.score_answers import Answers
from pipelines.score_fields import Row, rejected_row, stamp_of
from pipelines.score_folder import DATABASE, LOCK, RECORD, check_folder, check_settings, clear_halves, locked
from pipelines.score_sources import Repeats, Stray

if TYPE_CHECKING:
    from msht.images.slides import Tile

PAGE = 1024
"""Inputs that are read from the list at a time."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS slides (name TEXT PRIMARY KEY, path TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS inputs (
    name TEXT PRIMARY KEY, path TEXT NOT NULL, case_name TEXT NOT NULL, stamp TEXT NOT NULL, tile TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refusals (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gone (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS inputs_by_case ON inputs (case_name, name);
CREATE INDEX IF NOT EXISTS inputs_by_path ON inputs (path);
CREATE TABLE IF NOT EXISTS answers (
    name TEXT PRIMARY KEY, stamp TEXT NOT NULL, status TEXT NOT NULL, sha256 TEXT, evaluable INTEGER, logit REAL,
    call TEXT, novel INTEGER, data TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_by_digest ON answers (sha256);
"""
_NOT_IN_DATA = frozenset(("image", "case", "path", "stamp", "status"))
"""What the list of the inputs says, or a column of its own."""

_WAITING = """
SELECT i.name, i.path, i.case_name, i.stamp, i.tile, a.stamp, a.sha256
FROM inputs AS i LEFT JOIN answers AS a ON a.name = i.name
WHERE i.name > ? AND (a.name IS NULL OR (a.stamp <> i.stamp AND a.status = 'scored'))
ORDER BY i.name LIMIT ?
"""
_REFUSED = """
SELECT i.name, i.path, i.case_name, i.stamp, i.tile, NULL, NULL
FROM inputs AS i JOIN answers AS a ON a.name = i.name
WHERE i.name > ? AND a.status = 'rejected' AND NOT EXISTS (SELECT 1 FROM slides AS s WHERE s.name = i.name)
AND NOT EXISTS (SELECT 1 FROM refusals AS r WHERE r.name = i.name)
ORDER BY i.name LIMIT ?
"""


class Store:
    """What `DIR/scores.sqlite` holds. Use it as a context; it is open, and locked for others, as long as that.

    Args:
        out: folder of the scoring.
        record: what `run.json` says; see `same`.
        same: keys of `record` that must be as they were when the rows so far were made, with their names in words.

    Raises:
        InvalidInput: if the folder is another thing's, another program is scoring into it, or its rows were made by
            another bundle, with other settings or by a former version.
        MissingResource: if it cannot be written.
    """

    def __init__(self, out: Path, record: dict[str, Any], same: dict[str, str]) -> None:
        self.out, self.path = out, out / DATABASE
        self._stray: Stray | None = None
        self._any_fits = False
        self.repeats = Repeats(0, "")
        self._slides_refused: set[str] = set()
        self.was_there = out.exists()
        check_folder(out)
        self._lock = locked(out, self.was_there)
        try:
            check_folder(out)  # again, since another program may have begun in between
            clear_halves(out)
            former = self._open()
            self.fresh = former is None
            if former is not None:
                check_settings(out, former, record, same)
            self.record = record
            with self._writing():
                self._connection.execute(
                    "INSERT OR REPLACE INTO facts VALUES ('record', ?)", (json.dumps(record, sort_keys=True),)
                )
            if self.fresh:
                write_json(out / RECORD, record)
        except BaseException:
            self.close()
            raise

    def _open(self) -> dict[str, Any] | None:
        """Open the file and give the record of the rows that it holds."""
        try:
            self._connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            # A journal of its own is deleted when a transaction is through: that works on network shares too.
            self._connection.execute("PRAGMA journal_mode = DELETE")
            self._connection.executescript(_SCHEMA)
            found = self._connection.execute("SELECT value FROM facts WHERE name = 'record'").fetchone()
        except sqlite3.OperationalError as error:
            raise self._cannot_write(error) from error
        except sqlite3.DatabaseError as error:
            raise InvalidInput(f"{self.path} is damaged ({error}).", "Score into a new folder.") from error
        return None if found is None else json.loads(found[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let others into the folder."""
        if hasattr(self, "_connection"):
            self._connection.close()
        self._lock.release()

    def discard(self) -> None:
        """Close a store in which nothing was scored yet, and leave the folder as it was."""
        self.close()
        if not self.fresh:
            return
        for name in (DATABASE, RECORD, LOCK):
            (self.out / name).unlink(missing_ok=True)
        if not self.was_there:
            with suppress(OSError):
                self.out.rmdir()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction: all of it, or nothing."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._roll_back()
            raise self._cannot_write(error) from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # a full disk has rolled back already
            self._connection.execute("ROLLBACK")

    def _cannot_write(self, error: sqlite3.Error) -> MissingResource:
        return cannot_write(self.path, OSError(str(error)))

    # The list of the inputs

    @contextmanager
    def listing(self) -> Iterator[None]:
        """List the inputs anew, whole or not at all: `add` and `refuse` are called within.

        Raises:
            Stray: if there is no other kind of input; the list is then as it was.
        """
        self._stray, self._any_fits, self._slides_refused = None, False, set()
        self.repeats = Repeats(0, "")
        with self._writing():
            for table in ("inputs", "slides", "refusals"):
                self._connection.execute(f"DELETE FROM {table}")
            yield
            if self._stray is not None and not self._any_fits:
                raise self._stray

    def taken(self, name: str) -> Path | None:
        """The file of the input that has a name; None where the name is free."""
        found = self._connection.execute(
            "SELECT path FROM inputs WHERE name = ?1 UNION ALL SELECT path FROM slides WHERE name = ?1", (name,)
        ).fetchone()
        return None if found is None else Path(found[0])

    def repeated(self, path: Path, name: str) -> bool:
        """Whether a file was listed already, within `listing`; it is counted then."""
        found = self._connection.execute(
            "SELECT 1 FROM inputs WHERE path = ?1 UNION ALL SELECT 1 FROM slides WHERE path = ?1 LIMIT 1", (str(path),)
        ).fetchone()
        if found is not None:
            self.repeats = Repeats(self.repeats.number + 1, self.repeats.example or name)
        return found is not None

    def add(self, item: ScoreInput) -> None:
        """List an input, within `listing`; one that is refused with its row."""
        if item.tile is not None and item.name.rpartition("#")[0] in self._slides_refused:
            return
        tile = None if item.tile is None else json.dumps(_tile_values(item.tile))
        stamp = stamp_of(item.path)
        self._connection.execute(
            "INSERT OR REPLACE INTO inputs VALUES (?, ?, ?, ?, ?)",
            (item.name, str(item.path), item.case, stamp, tile),
        )
        if item.refused is None:
            self._any_fits = True
            self._connection.execute("DELETE FROM refusals WHERE name = ?", (item.name,))
            return
        if isinstance(item.refused, Stray):
            self._stray = self._stray or item.refused
        self._connection.execute("INSERT OR REPLACE INTO refusals VALUES (?)", (item.name,))
        self._keep(rejected_row(item, stamp, str(item.refused)))

    def add_slide(self, item: ScoreInput) -> None:
        """Take the name of a slide, whose tiles are the inputs."""
        self._connection.execute("INSERT OR REPLACE INTO slides VALUES (?, ?)", (item.name, str(item.path)))
        if item.refused is not None:
            self._slides_refused.add(item.name)
            self.add(item)
        else:
            self._any_fits = True

    def refuse(self, item: ScoreInput, reason: str) -> None:
        """List an input that is rejected before it is scored, within `listing`."""
        self.add(item)
        if item.refused is None:
            self._keep(rejected_row(item, stamp_of(item.path), reason))

    def waiting(self) -> Iterator[ScoreInput]:
        """Inputs without an answer, and those that changed since, in the order of their names.

        One whose file has another time but the bytes that were scored is only noted.
        """
        for item, stamp, digest in self._paged(_WAITING):
            if digest is not None and item.tile is None and _same_bytes(item.path, digest):
                with self._writing():
                    self._connection.execute("UPDATE answers SET stamp = ? WHERE name = ?", (stamp, item.name))
                continue
            yield item

    def refused(self) -> Iterator[ScoreInput]:
        """Inputs that were rejected by an earlier call: each call tries them again."""
        for item, _, _ in self._paged(_REFUSED):
            yield item

    def count_waiting(self) -> int:
        """How many inputs there are to score or to try again, as far as sizes and times tell."""
        return int(
            self._connection.execute(
                "SELECT count(*) FROM inputs AS i LEFT JOIN answers AS a ON a.name = i.name "
                "WHERE (a.name IS NULL OR a.stamp <> i.stamp OR a.status = 'rejected') "
                "AND NOT EXISTS (SELECT 1 FROM slides AS s WHERE s.name = i.name) "
                "AND NOT EXISTS (SELECT 1 FROM refusals AS r WHERE r.name = i.name)"
            ).fetchone()[0]
        )

    def _paged(self, query: str) -> Iterator[tuple[ScoreInput, str, str | None]]:
        # Page by page: what is written meanwhile does not disturb a cursor that is no more.
        last = ""
        while page := self._connection.execute(query, (last, PAGE)).fetchall():
            for row in page:
                yield _item(row), row[3], row[6]
            last = page[-1][0]

    # The rows

    def keep(self, rows: Sequence[Row]) -> None:
        """Keep the rows of a part, whole or not at all; a later row of an input replaces the one before."""
        with self._writing():
            for row in rows:
                self._keep(row)

    def keep_new(self, answered: Sequence[tuple[ScoreInput, Row]]) -> None:
        """Add inputs to the list together with their rows."""
        with self._writing():
            for item, row in answered:
                self.add(item)
                self._keep(row)

    def stamps(self) -> Iterator[tuple[str, str]]:
        """Name and stamp of every input that has a row, but for what was refused: the next call may allow it."""
        yield from self._connection.execute(
            "SELECT i.name, a.stamp FROM inputs AS i JOIN answers AS a ON a.name = i.name "
            "WHERE NOT EXISTS (SELECT 1 FROM refusals AS r WHERE r.name = i.name)"
        )

    def _keep(self, row: Row) -> None:
        rest = {key: value for key, value in row.items() if key not in _NOT_IN_DATA}
        self._connection.execute(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row["image"],
                row["stamp"],
                row["status"],
                row.get("sha256"),
                row.get("evaluable"),
                row.get("logit"),
                row.get("call"),
                row.get("out_of_distribution"),
                json.dumps(rest),
            ),
        )

    def snapshot(self, path: Path) -> None:
        """Copy the file as it is now, for a reader that must not make scoring wait."""
        with closing(sqlite3.connect(path)) as copy:
            self._connection.backup(copy)

    @property
    def answers(self) -> Answers:
        """What tables are written from."""
        return Answers(self._connection)


def _same_bytes(path: Path, digest: str) -> bool:
    try:
        return sha256_of(path) == digest
    except OSError:
        return False


def _item(row: Sequence[Any]) -> ScoreInput:
    return ScoreInput(row[0], Path(row[1]), row[2], None if row[4] is None else _tile(json.loads(row[4])))


def _tile_values(tile: Tile) -> list[int]:
    return [tile.left, tile.top, tile.edge, tile.size]


def _tile(values: Sequence[int]) -> Tile:
    from msht.images.slides import Tile

    return Tile(*values)
