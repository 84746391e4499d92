"""What a scoring's database says when its tables are written: read row by row, in the order of the tables."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np

from pipelines.score_fields import Row


@dataclass(frozen=True)
class Counts:
    """Of the inputs, by what became of them."""

    scored: int
    """Read and answered, evaluable or not."""
    not_evaluable: int
    """Of these."""
    rejected: int
    """Damaged, or no image at all."""
    slides: int
    """Whole slides whose tiles are among the inputs; those that were refused are not."""


@dataclass(frozen=True)
class CaseFields:
    """What a case's answer rests on.

    Attributes:
        case: its id.
        logits: calibrated log-odds of its evaluable fields, shape (N,), in the order of their names.
        fields: that could be read, evaluable or not.
        positive: evaluable fields with a positive call.
        novel: evaluable fields out of distribution.
        rejected: inputs that could not be read.
    """

    case: str
    logits: np.ndarray
    fields: int
    positive: int
    novel: int
    rejected: int


_READ_SLIDES = "FROM slides AS s WHERE NOT EXISTS (SELECT 1 FROM inputs AS i WHERE i.name = s.name)"


class Answers:
    """Reads the database of a scoring.

    Args:
        connection: of the database, with nothing else going on in it.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute("CREATE TEMP TABLE IF NOT EXISTS sets (case_name TEXT PRIMARY KEY, members TEXT NOT NULL)")
        connection.execute("DELETE FROM sets")

    def counts(self) -> Counts:
        """Count the inputs that have an answer."""
        scored, unfit, rejected = self._connection.execute(
            "SELECT coalesce(sum(a.status = 'scored'), 0), coalesce(sum(a.status = 'scored' AND NOT a.evaluable), 0), "
            "coalesce(sum(a.status = 'rejected'), 0) FROM inputs AS i JOIN answers AS a ON a.name = i.name"
        ).fetchone()
        # A slide that was refused is a rejected row under its own name; of others only tiles have rows.
        slides = self._connection.execute(f"SELECT count(*) {_READ_SLIDES}").fetchone()[0]
        return Counts(int(scored), int(unfit), int(rejected), int(slides))

    def slides(self) -> list[str]:
        """Names of the slides whose tiles are among the inputs."""
        return [row[0] for row in self._connection.execute(f"SELECT s.name {_READ_SLIDES}")]

    def cases(self) -> Iterator[CaseFields]:
        """Every case, in the order of their names; no more than one is in memory."""
        rows = self._connection.execute(
            "SELECT i.case_name, a.status, a.evaluable, a.logit, a.call, a.novel "
            "FROM inputs AS i JOIN answers AS a ON a.name = i.name ORDER BY i.case_name, i.name"
        )
        for case, members in groupby(rows, key=itemgetter(0)):
            logits, fields, positive, novel, rejected = [], 0, 0, 0, 0
            for _, status, evaluable, logit, call, odd in members:
                if status == "rejected":
                    rejected += 1
                    continue
                fields += 1
                if evaluable:
                    logits.append(logit)
                    positive += call == "positive"
                    novel += odd
            yield CaseFields(str(case), np.array(logits, dtype=float), fields, positive, novel, rejected)

    def prints(self) -> dict[str, str]:
        """For each case a digest of all that its answer rests on: another one where a row came, went or changed."""
        found: dict[str, Any] = {}
        for case, *row in self._connection.execute(
            "SELECT i.case_name, i.name, a.stamp, a.status, a.sha256, a.logit FROM inputs AS i "
            "JOIN answers AS a ON a.name = i.name ORDER BY i.case_name, i.name"
        ):
            found.setdefault(str(case), hashlib.sha256()).update(repr(row).encode("utf-8", "surrogateescape"))
        return {case: digest.hexdigest() for case, digest in found.items()}

    def remember_set(self, case: str, members: str) -> None:
        """Note the conformal set of a case for the rows of its fields."""
        self._connection.execute("INSERT INTO sets VALUES (?, ?)", (case, members))

    def rows(self, status: str) -> Iterator[Row]:
        """The rows that were `scored` or `rejected`, in the order of their names, with `case_conformal_set`."""
        for name, case, path, members, data in self._connection.execute(
            "SELECT i.name, i.case_name, i.path, s.members, a.data FROM inputs AS i "
            "JOIN answers AS a ON a.name = i.name LEFT JOIN sets AS s ON s.case_name = i.case_name "
            "WHERE a.status = ? ORDER BY i.name",
            (status,),
        ):
            yield {"image": name, "case": case, "path": path, "case_conformal_set": members or "", **json.loads(data)}
