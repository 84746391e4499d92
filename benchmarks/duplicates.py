"""The search for near-duplicates among 100,000 fingerprints: time, recall on planted pairs, memory.

    python -m benchmarks.duplicates

Fingerprints are drawn, not taken from images: Gaussian coefficients that all share one spectrum, which leaves less
to tell pictures apart than real ones have. A planted copy is turned at random and its coefficients are mixed with
noise, to the cosines that were measured on re-compressed and on cropped smears (docs/audit.md). Hashing is timed on
drawn fields at several sizes of cohort, to show that it is linear.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path

import numpy as np

from msht.cohort.duplicates import (
    FREQUENCIES,
    ORIENTATIONS,
    VIEWS,
    find_candidates,
    fingerprint,
    oriented_coefficients,
)

RESULT = Path(__file__).parent / "results" / "duplicates.md"
CORRELATIONS = {"re-compressed, resized, turned": 0.97, "cropped by up to 5 %": 0.93, "cropped by 10 %": 0.88}
"""Cosine of a copy's fingerprint with the best view of the original, by damage."""

Array = np.ndarray


def drawn(random: np.random.Generator, count: int) -> Array:
    """Whole-picture coefficients of `count` pictures, norm 1, float32."""
    values = random.standard_normal((count, FREQUENCIES, FREQUENCIES), dtype=np.float32)
    return values / np.linalg.norm(values, axis=(1, 2), keepdims=True)


def mixed(random: np.random.Generator, values: Array, cosine: float) -> Array:
    """The same coefficients with noise, at this cosine to what they were."""
    noise = drawn(random, len(values))
    noise -= (noise * values).sum(axis=(1, 2), keepdims=True) * values
    noise /= np.linalg.norm(noise, axis=(1, 2), keepdims=True)
    return (cosine * values + np.sqrt(1 - cosine**2) * noise).astype(np.float32)


def cohort(count: int, planted: int, seed: int = 517) -> tuple[Array, dict[str, list[tuple[int, int]]]]:
    """Fingerprints of `count` pictures, the last of which are copies of the first, and the pairs by damage."""
    random = np.random.default_rng(seed)
    whole = drawn(random, count)
    pairs: dict[str, list[tuple[int, int]]] = {}
    views = [whole] + [mixed(random, whole, 0.8) for _ in VIEWS[1:]]
    start = count - planted * len(CORRELATIONS)
    for number, (name, cosine) in enumerate(CORRELATIONS.items()):
        originals = np.arange(number * planted, (number + 1) * planted)
        copies = start + originals
        # A copy looks like one of the views of its original; like the whole, where nothing was cropped.
        seen = np.zeros(planted, dtype=int) if number == 0 else random.integers(1, len(VIEWS), planted)
        looks = np.stack([views[view][original] for view, original in zip(seen, originals, strict=True)])
        turned = oriented_coefficients(looks)[np.arange(planted), random.integers(0, ORIENTATIONS, planted)]
        whole_of_copy = mixed(random, turned, cosine)
        for view in views:
            view[copies] = mixed(random, whole_of_copy, 0.8)
        views[0][copies] = whole_of_copy
        pairs[name] = [(int(a), int(b)) for a, b in zip(originals, copies, strict=True)]
    return np.stack(views, axis=1), pairs


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--planted", type=int, default=1_000, help="pairs of each kind")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    import faiss

    faiss.omp_set_num_threads(given.threads)
    lines = ["# Near-duplicates: the search", "", f"`python -m benchmarks.duplicates --threads {given.threads}`", ""]
    load = os.getloadavg()[0]
    lines += [
        f"{os.cpu_count()} cores; load average {load:.0f} at the start: with more than the threads, wall time",
        "",
    ]
    lines[-2] += " is that of a shared machine, and CPU time is what counts."
    lines += ["| images | wall s | CPU s | pairs found | " + " | ".join(f"recall, {n}" for n in CORRELATIONS) + " |"]
    lines += ["|---|---|---|---|" + "---|" * len(CORRELATIONS)]
    for count in (given.images // 10, given.images // 2, given.images):
        prints, pairs = cohort(count, min(given.planted, count // 10))
        wall, cpu = time.perf_counter(), time.process_time()
        found = {(pair.first, pair.second) for pair in find_candidates(prints)}
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        recalls = [sum(pair in found for pair in some) / len(some) for some in pairs.values()]
        row = [f"{count:,}", f"{wall:.1f}", f"{cpu:.1f}", f"{len(found):,}", *(f"{r:.3f}" for r in recalls)]
        lines.append("| " + " | ".join(row) + " |")
        print(lines[-1], flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    size = given.images * len(VIEWS) * FREQUENCIES**2 * 4 / 2**30
    lines += ["", f"Peak memory of the process {peak:.2f} GiB, of which the fingerprints take {size:.2f} GiB.", ""]
    lines += ["| images hashed | CPU ms each |", "|---|---|"]
    random = np.random.default_rng(1)
    pictures = [random.integers(0, 255, (363, 360, 3)).astype(np.uint8) for _ in range(50)]
    for count in (100, 200, 400):
        cpu = time.process_time()
        for number in range(count):
            fingerprint(pictures[number % len(pictures)])
        lines.append(f"| {count} | {(time.process_time() - cpu) / count * 1e3:.1f} |")
        print(lines[-1], flush=True)
    given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
