"""How long a case PDF takes once scores and maps exist.

Run after `make demo` with `python -m benchmarks.reports` (or `make bench`): writes every case of the folder `demo` five
times, through the function that the command line calls, and prints seconds a report.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import pandas as pd

from pipelines.report_case import report_case

ROUNDS = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="Folder written by `msht demo`.")
    demo = parser.parse_args().demo
    if not (demo / "scores" / "cases.parquet").is_file():
        raise SystemExit(f"{demo} holds no demo; make it first with `make demo`.")
    cases = [str(case) for case in pd.read_parquet(demo / "scores" / "cases.parquet")["case"]]
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            for case in cases:
                started = time.perf_counter()
                report_case(demo / "bundle", demo / "scores", case, Path(folder) / "case.pdf")
                seconds.append(time.perf_counter() - started)
    print(
        f"case PDF, {len(cases)} cases, {ROUNDS} rounds: first {seconds[0]:.3f} s, then median "
        f"{statistics.median(seconds[1:]):.3f} s, longest {max(seconds[1:]):.3f} s"
    )


if __name__ == "__main__":
    main()
