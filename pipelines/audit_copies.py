"""Copies in a cohort: equal files by their digest, and one picture in two files by its look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from msht.cohort.duplicates import FREQUENCIES, VIEWS, Candidate, connected_groups, find_candidates
from msht.cohort.same_picture import SAME_FROM, Comparison, compare, reduced
from msht.errors import UnreadableImage
from msht.images.reading import read_image
from pipelines.audit_parts import FEW, Parts, in_processes
from pipelines.progress import Steps

COMPARISON = 1
"""Raised whenever the same two files would be compared differently than before."""

_CHUNK = 32
_KEPT = 64
_SHAPE = (len(VIEWS), FREQUENCIES, FREQUENCIES)

Job = tuple[str, str, Path, Path, int]


@dataclass(frozen=True)
class Pair:
    """Two images of the manifest that are one picture."""

    first: str
    second: str
    kind: Literal["exact", "near"]
    correlation: float
    """Of fine detail after registration; 1 for equal files."""
    overlap: float
    """Share that is seen in both; 1 for equal files."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "first": self.first,
            "second": self.second,
            "kind": self.kind,
            "correlation": round(self.correlation, 3),
            "overlap": round(self.overlap, 3),
        }


def exact_pairs(table: pd.DataFrame) -> list[Pair]:
    """Equal files: the first of each set with every other."""
    pairs = []
    for _, same in table[table["sha256"].notna()].groupby("sha256", sort=False):
        first, *others = (str(image) for image in same["image"])
        pairs += [Pair(first, other, "exact", 1.0, 1.0) for other in others]
    return pairs


def search(table: pd.DataFrame) -> list[Candidate]:
    """Pairs of rows whose fingerprints agree; of equal files only the first is searched for."""
    fingerprints = np.zeros((len(table), *_SHAPE), dtype=np.float32)
    once = table["fingerprint"].notna() & ~table["sha256"].duplicated()
    stored = table["fingerprint"].tolist()
    for row in np.flatnonzero(once).tolist():
        fingerprints[row] = np.frombuffer(stored[row], dtype=np.float16).reshape(_SHAPE)
    return find_candidates(fingerprints)


def near_pairs(
    table: pd.DataFrame,
    candidates: Sequence[Candidate],
    root: Path,
    parts: Parts,
    *,
    workers: int,
    steps: Steps,
) -> list[Pair]:
    """Compare the pixels of the candidates; what was compared before is not compared again."""
    digests, names = table["sha256"].to_numpy(), [str(name) for name in table["image"]]
    known = _known(parts)
    jobs: list[Job] = [
        (digests[c.first], digests[c.second], root / names[c.first], root / names[c.second], c.orientation)
        for c in candidates
        if (digests[c.first], digests[c.second]) not in known
    ]
    steps.advance(len(candidates) - len(jobs))
    chunks = [jobs[at : at + _CHUNK] for at in range(0, len(jobs), _CHUNK)]
    if workers == 1 or len(jobs) <= FEW:
        answers = ((chunk, _compare_chunk(chunk)) for chunk in chunks)
    else:
        answers = in_processes(_compare_chunk, chunks, workers)  # type: ignore[assignment]
    for chunk, rows in answers:
        # Every one of these images was decoded before; a process that is killed now ran out of memory.
        parts.write(rows if rows is not None else _compare_chunk(chunk))
        steps.advance(len(chunk))
    known = _known(parts)
    pairs = []
    for candidate in candidates:
        result = known[digests[candidate.first], digests[candidate.second]]
        if result.same:
            first, second = names[candidate.first], names[candidate.second]
            pairs.append(Pair(first, second, "near", result.correlation, result.overlap))
    return pairs


def groups_of_copies(images: Sequence[str], pairs: Sequence[Pair]) -> list[tuple[str, ...]]:
    """Sets of images that are one picture, directly or through others."""
    number = {image: index for index, image in enumerate(images)}
    groups = connected_groups(len(images), [(number[pair.first], number[pair.second]) for pair in pairs])
    return [tuple(images[index] for index in group) for group in groups]


def _known(parts: Parts) -> dict[tuple[str, str], Comparison]:
    table = parts.read()
    if table.empty:
        return {}
    table = table[table["version"] == f"{COMPARISON}-{SAME_FROM}"]
    return {
        (str(row["first"]), str(row["second"])): Comparison(float(row["correlation"]), float(row["overlap"]))
        for row in table.to_dict("records")
    }


def _compare_chunk(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    pictures: dict[Path, np.ndarray | None] = {}

    def picture(path: Path) -> np.ndarray | None:
        if path not in pictures:
            if len(pictures) >= _KEPT:
                pictures.pop(next(iter(pictures)))
            try:
                pictures[path] = reduced(read_image(path).pixels)
            except UnreadableImage:  # it could be read a moment ago: someone is changing the cohort
                pictures[path] = None
        return pictures[path]

    rows = []
    for first, second, one, two, orientation in jobs:
        a, b = picture(one), picture(two)
        result = Comparison(0.0, 0.0) if a is None or b is None else compare(a, b, orientation)
        rows.append(
            {
                "first": first,
                "second": second,
                "version": f"{COMPARISON}-{SAME_FROM}",
                "correlation": result.correlation,
                "overlap": result.overlap,
            }
        )
    return rows
