"""The figures of an evaluation as files of their own, for papers and slides."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from msht.files import atomic_path
from pipelines.evaluation_parts import PartFiles
from pipelines.run_folder import RunFolder

FORMS: tuple[Literal["svg", "png", "pdf"], ...] = ("svg", "png", "pdf")


def draw_figures(run: RunFolder) -> list[Path]:
    """Draw every figure of the validation report into the run's folder `figures`: SVG, PNG at 300 dpi, and PDF."""
    from pipelines.report_validation import build_validation_report
    from reports.standalone import standalone_figures

    report = build_validation_report(run, run.require_finished(), datetime.now(UTC).astimezone())
    folder, written = PartFiles(run).figures, []
    for form in FORMS:
        for name, data in standalone_figures(report, form).items():
            with atomic_path(folder / f"{name}.{form}") as temporary:
                temporary.write_bytes(data)
            written.append(folder / f"{name}.{form}")
    return written
