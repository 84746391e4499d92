"""What a watch asks of the rows beyond a scoring: which photographs moved, went, or came under a used name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipelines.score_store import Store


class Twin(NamedTuple):
    """A row of the same photograph as another."""

    name: str
    case: str
    path: Path
    stamp: str
    evaluable: bool


class WatchStore(Store):
    """A store whose photographs come and go."""

    def twins(self, name: str) -> list[Twin]:
        """The rows of the same bytes as an input's, itself among them; of rejected files, those of one size and time.

        Args:
            name: of an input with an answer.
        """
        rows = self._connection.execute(
            "SELECT i.name, i.case_name, i.path, a.stamp, a.status = 'scored' AND a.evaluable FROM answers AS given "
            "JOIN answers AS a ON (a.sha256 = given.sha256 AND given.status = 'scored' AND a.status = 'scored') "
            "OR (a.stamp = given.stamp AND given.status = 'rejected' AND a.status = 'rejected') "
            "JOIN inputs AS i ON i.name = a.name WHERE given.name = ? AND i.tile IS NULL",
            (name,),
        )
        return [Twin(row[0], row[1], Path(row[2]), row[3], bool(row[4])) for row in rows]

    def forget(self, names: Sequence[str]) -> None:
        """Remove inputs and their rows."""
        with self._writing():
            for name in names:
                for table in ("inputs", "answers", "gone", "refusals"):
                    self._connection.execute(f"DELETE FROM {table} WHERE name = ?", (name,))

    def gone(self) -> set[str]:
        """Names of inputs whose photographs a watch no longer saw where they were."""
        return {row[0] for row in self._connection.execute("SELECT name FROM gone")}

    def note_gone(self, name: str, gone: bool) -> None:
        """Note that a photograph is no longer where it was, or is there again."""
        with self._writing():
            change = "INSERT OR IGNORE INTO gone VALUES (?)" if gone else "DELETE FROM gone WHERE name = ?"
            self._connection.execute(change, (name,))

    def refused_like(self, stamp: str) -> list[Twin]:
        """Inputs that were refused for their names, of a size and time: a renamed file keeps both."""
        rows = self._connection.execute(
            "SELECT i.name, i.case_name, i.path, a.stamp FROM refusals AS r JOIN inputs AS i ON i.name = r.name "
            "JOIN answers AS a ON a.name = r.name WHERE a.stamp = ?",
            (stamp,),
        )
        return [Twin(row[0], row[1], Path(row[2]), row[3], False) for row in rows]

    def digest_of(self, name: str) -> str | None:
        """SHA-256 of the photograph that an input's row is about; None where it has none, or could not be read."""
        found = self._connection.execute("SELECT sha256 FROM answers WHERE name = ?", (name,)).fetchone()
        return None if found is None else found[0]

    def keep_apart(self, name: str) -> str:
        """Give the row of a photograph that was moved away another name, since another one has come under its own.

        Returns:
            The name, `NAME~1.jpg`.
        """
        (written,) = self._connection.execute("SELECT path FROM inputs WHERE name = ?", (name,)).fetchone()
        number = 1
        while self.taken(_apart(name, number)) is not None or Path(_apart(written, number)).exists():
            number += 1
        with self._writing():
            self._connection.execute(
                "UPDATE inputs SET name = ?, path = ? WHERE name = ?",
                (_apart(name, number), _apart(written, number), name),
            )
            self._connection.execute("UPDATE answers SET name = ? WHERE name = ?", (_apart(name, number), name))
        return _apart(name, number)

    def from_elsewhere(self, folder: Path) -> Path | None:
        """A photograph that has a row and is not named as in a watch of this folder; None where all are."""
        found = self._connection.execute(
            "SELECT i.path FROM inputs AS i WHERE i.tile IS NULL AND i.path <> ? || '/' || i.name "
            "AND NOT EXISTS (SELECT 1 FROM refusals AS r WHERE r.name = i.name) LIMIT 1",
            (str(folder),),
        ).fetchone()
        return None if found is None else Path(found[0])


def _apart(name: str, number: int) -> str:
    """A name or path with a number before its ending: `a~1.jpg`."""
    ending = Path(name).suffix
    return f"{name.removesuffix(ending)}~{number}{ending}"
