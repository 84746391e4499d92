"""How long a case PDF takes once scores and maps exist, one by one and for a whole scoring at once.

Run after `make demo` with `python -m benchmarks.reports` (or `make bench`): writes every case of the folder `demo` five
times, through the function that the command line calls, and then all cases with `--all` into an empty folder and again
into the full one, and prints seconds a report. `--bundle` and `--scores` take another scoring.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import pandas as pd

from pipelines.report_case import report_case
from pipelines.report_case_all import report_cases

ROUNDS = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="Folder written by `msht demo`.")
    parser.add_argument("--bundle", type=Path, help="Another bundle than the demo's.")
    parser.add_argument("--scores", type=Path, help="Another scoring than the demo's.")
    parser.add_argument("--workers", type=int, help="Processes of --all; default: one a core.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    bundle, scores = given.bundle or given.demo / "bundle", given.scores or given.demo / "scores"
    if not (scores / "cases.parquet").is_file():
        raise SystemExit(f"{scores} holds no scores; make the demo first with `make demo`.")
    cases = [str(case) for case in pd.read_parquet(scores / "cases.parquet")["case"]]
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(given.rounds):
            for case in cases:
                started = time.perf_counter()
                report_case(bundle, scores, case, Path(folder) / "case.pdf")
                seconds.append(time.perf_counter() - started)
        print(
            f"case PDF, {len(cases)} cases, {given.rounds} rounds: first {seconds[0]:.3f} s, then median "
            f"{statistics.median(seconds[1:]):.3f} s, longest {max(seconds[1:]):.3f} s"
        )
        for what in ("all written", "all kept"):
            started = time.perf_counter()
            report_cases(bundle, scores, Path(folder) / "all", workers=given.workers)
            total = time.perf_counter() - started
            print(f"--all, {what}, with index: {total:.2f} s, {total / len(cases):.3f} s a case")


if __name__ == "__main__":
    main()
