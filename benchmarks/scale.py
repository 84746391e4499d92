"""What a million images cost: processor time a field, by one process and by workers of Ray.

Run with `python -m benchmarks.scale`: prints a table in Markdown, which docs/scale.md repeats. JPEG fields of
1390 x 1038 px (phantoms), from the file to the row of `images.parquet`, five networks of random weights, which cost
what trained ones do. Processor seconds are counted over all processes, so that what else the machine does counts
little; what Ray needs to start is given apart, since it is paid once.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.input import write_fields
from benchmarks.network import cpu_name
from benchmarks.scoring import CONTENDERS, make_bundle
from msht.bundle import Bundle
from pipelines.inputs import ScoreInput
from pipelines.score_fields import FieldScorer, Row, ScoreSettings
from pipelines.score_ray import RayScorer

FIELDS = {"msht_small": 512, "msht_resnet50": 24}
BATCH = {"msht_small": 16, "msht_resnet50": 4}
FILES = 8
HOUR = 3600.0
MILLION = 1e6


@dataclass(frozen=True)
class Measured:
    """Of one executor."""

    start: float
    """Seconds until the first rows were there."""
    wall: float
    """Seconds a field after that."""
    work: float
    """Processor seconds a field after that, over all processes."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=list(FIELDS), choices=list(FIELDS))
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    print(f"{cpu_name()}, PyTorch, {options.rounds} rounds, the one with least processor time.\n")
    print(
        "| | executor | first rows after | fields/s | processor s a field | fields/s and core | core-hours a million |"
    )
    print("|---|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="msht-") as scratch:
        root = Path(scratch)
        files = [root / "images" / name for name in write_fields(root / "images", FILES)]
        for name in options.networks:
            bundle = make_bundle(name, root / name, CONTENDERS[name], files)
            # A file comes several times under other names, which spares drawing hundreds; it is decoded anew each time.
            items = [
                ScoreInput(f"{number}-{files[number % FILES].name}", files[number % FILES], "case")
                for number in range(FIELDS[name])
            ]
            settings = ScoreSettings(backend="torch", device="cpu", batch_size=BATCH[name])
            for executor in ("local", "ray"):
                rounds = [measure(executor, bundle, settings, items) for _ in range(options.rounds)]
                best = min(rounds, key=lambda each: each.work)
                print(
                    f"| {name} at {CONTENDERS[name].size} px | {executor} | {best.start:.0f} s | {1 / best.wall:.3g} | "
                    f"{best.work:.3g} | {1 / best.work:.3g} | {best.work * MILLION / HOUR:.3g} |",
                    flush=True,
                )


def measure(executor: str, bundle: Bundle, settings: ScoreSettings, items: list[ScoreInput]) -> Measured:
    """Score all items, and watch."""
    began = time.perf_counter()
    if executor == "local":
        return watched(FieldScorer(bundle, settings).batches(items), began, len(items))
    with RayScorer(bundle, settings) as scorer:
        return watched(scorer.batches(items), began, len(items))


def watched(batches: Iterable[list[Row]], began: float, count: int) -> Measured:
    """Time and processor time from the first rows on."""
    first, used, before, after = 0.0, 0.0, 0, 0
    for rows in batches:
        if not before:
            before, first, used = len(rows), time.perf_counter(), processor_time()
        after += len(rows)
    if after != count:
        raise RuntimeError(f"{count} fields were given, {after} rows came")
    fields = after - before
    return Measured(first - began, (time.perf_counter() - first) / fields, (processor_time() - used) / fields)


def processor_time() -> float:
    """Processor seconds of this process and all that it started."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


if __name__ == "__main__":
    main()
