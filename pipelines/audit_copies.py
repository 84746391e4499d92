"""Copies in a cohort: equal files by their digest, and one picture in two files by its look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from msht.cohort.duplicates import EXHAUSTIVE, FREQUENCIES, VIEWS, Candidate, connected_groups, find_candidates
from msht.cohort.same_picture import SAME_FROM, Comparison, compare, reduced
from msht.errors import UnreadableImage
from msht.images.reading import read_image
from pipelines.audit_parts import FEW, Parts, in_processes
from pipelines.progress import Steps

COMPARISON = 2
"""Raised whenever the same two files would be compared differently than before."""

COMPARED = ("first", "second", "version", "correlation", "overlap")
"""Columns of every part of comparisons."""

RECALL: dict[int, dict[str, float]] = {
    50_000: {"re-compressed, resized, turned": 1.0, "cropped by up to 5 %": 0.959, "cropped by 10 %": 0.851},
    100_000: {"re-compressed, resized, turned": 1.0, "cropped by up to 5 %": 0.928, "cropped by 10 %": 0.773},
}
"""Share of planted copies that the approximate search found, by number of pictures and damage."""

RECALL_SOURCE = "benchmarks/results/duplicates.md"
"""Where that was measured, on drawn fingerprints."""

_CHUNK = 32
_KEPT = 64
_SHAPE = (len(VIEWS), FREQUENCIES, FREQUENCIES)

Job = tuple[str, str, Path, Path, int]
Compared = tuple[list[dict[str, Any]], list[Path]]
"""Rows of the comparisons that were made, and for each that was not the files that could not be read."""


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


@dataclass(frozen=True)
class Search:
    """What the search for look-alikes brought up, and how thorough it was."""

    candidates: list[Candidate]
    """Pairs of rows whose fingerprints agree."""
    pictures: int
    """Fingerprints that were searched among."""

    @property
    def approximate(self) -> bool:
        """Whether pictures were compared only within cells of an index."""
        return self.pictures > EXHAUSTIVE

    def in_words(self) -> str:
        """How it was searched, and what an approximate search misses."""
        if not self.approximate:
            return (
                f"The search for near-duplicates was exhaustive: each of {self.pictures:,} pictures with every other."
            )
        found = "; ".join(
            f"among {pictures:,}: " + ", ".join(f"{share:.0%} ({damage})" for damage, share in shares.items())
            for pictures, shares in RECALL.items()
        )
        more = f" More than {max(RECALL):,} were not measured." if self.pictures > max(RECALL) else ""
        return (
            f"The search for near-duplicates was approximate, as it is above {EXHAUSTIVE:,} pictures (here "
            f"{self.pictures:,}): it misses some. Of copies planted among drawn fingerprints it found {found} "
            f"({RECALL_SOURCE}).{more} Equal files are all found."
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        recall = [{"pictures": pictures, "found": shares} for pictures, shares in RECALL.items()]
        return {
            "method": "approximate" if self.approximate else "exhaustive",
            "pictures": self.pictures,
            "exhaustive_up_to": EXHAUSTIVE,
            "recall": recall if self.approximate else None,
            "recall_source": RECALL_SOURCE if self.approximate else None,
            "words": self.in_words(),
        }


@dataclass(frozen=True)
class NearPairs:
    """What the comparison of look-alikes showed."""

    pairs: list[Pair]
    """Those that are one picture."""
    unread: dict[str, int]
    """Images that could not be read for it, and how many comparisons of each were not made."""


def exact_pairs(table: pd.DataFrame) -> list[Pair]:
    """Equal files: the first of each set with every other."""
    pairs = []
    for _, same in table[table["sha256"].notna()].groupby("sha256", sort=False):
        first, *others = (str(image) for image in same["image"])
        pairs += [Pair(first, other, "exact", 1.0, 1.0) for other in others]
    return pairs


def search(table: pd.DataFrame) -> Search:
    """Search for rows whose fingerprints agree; of equal files only the first is searched for."""
    fingerprints = np.zeros((len(table), *_SHAPE), dtype=np.float32)
    once = table["fingerprint"].notna() & ~table["sha256"].duplicated()
    stored = table["fingerprint"].tolist()
    for row in np.flatnonzero(once).tolist():
        fingerprints[row] = np.frombuffer(stored[row], dtype=np.float16).reshape(_SHAPE)
    return Search(find_candidates(fingerprints), int(fingerprints.any(axis=(1, 2, 3)).sum()))


def near_pairs(
    table: pd.DataFrame,
    candidates: Sequence[Candidate],
    root: Path,
    parts: Parts,
    *,
    workers: int,
    steps: Steps,
) -> NearPairs:
    """Compare the pixels of the candidates; what was compared before is not compared again.

    A comparison for which a file could not be read is not kept, so that the next audit makes it.
    """
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
    unread: Counter[Path] = Counter()
    for chunk, answer in answers:
        # Every one of these images was decoded before; a process that is killed now ran out of memory.
        rows, failed = answer if answer is not None else _compare_chunk(chunk)
        parts.write(rows)
        unread.update(failed)
        steps.advance(len(chunk))
    known = _known(parts)
    pairs = []
    for candidate in candidates:
        result = known.get((digests[candidate.first], digests[candidate.second]))
        if result is not None and result.same:
            first, second = names[candidate.first], names[candidate.second]
            pairs.append(Pair(first, second, "near", result.correlation, result.overlap))
    return NearPairs(pairs, {name: unread[root / name] for name in names if root / name in unread} if unread else {})


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


def _compare_chunk(jobs: Sequence[Job]) -> Compared:
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

    rows: list[dict[str, Any]] = []
    unread: list[Path] = []
    for first, second, one, two, orientation in jobs:
        a, b = picture(one), picture(two)
        if a is None or b is None:
            unread += [path for path, seen in ((one, a), (two, b)) if seen is None]
            continue
        result = compare(a, b, orientation)
        rows.append(
            {
                "first": first,
                "second": second,
                "version": f"{COMPARISON}-{SAME_FROM}",
                "correlation": result.correlation,
                "overlap": result.overlap,
            }
        )
    return rows, unread
