"""A finished scoring, read once for all the reports that are written from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msht.bundle import Bundle, read_bundle
from pipelines.explain import cases_of_scores, require_same_bundle
from reports.case_facts import ScoringFacts


@dataclass(frozen=True)
class Scoring:
    """A finished scoring with the bundle that made it: all that reports are written from."""

    bundle: Bundle
    folder: Path
    images: pd.DataFrame
    cases: pd.DataFrame
    rejected: pd.DataFrame
    record: dict[str, Any]

    @cached_property
    def facts(self) -> ScoringFacts:
        """How the fields were scored, as far as the record says it; older records say less."""
        said = self.record
        numbers = {fold.number for fold in self.bundle.description.folds}
        folds = tuple(int(number) for number in said.get("folds") or ())
        finished = datetime.fromisoformat(said["finished"]) if said.get("finished") else None
        test_time = said.get("test_time_augmentation")
        return ScoringFacts(
            finished=finished if finished is None or finished.tzinfo else finished.astimezone(),
            folds=() if set(folds) == numbers else folds,
            test_time=test_time if test_time in ("flips", "dihedral") else None,
            backend=said.get("backend"),
        )

    @property
    def tile_microns_per_pixel(self) -> float | None:
        """Size of a pixel of the tiles of slides, which are read at the scale of the fields."""
        slides = self.record.get("slides") or {}
        known = self.bundle.description.preprocessing.microns_per_pixel or slides.get("field_microns_per_pixel")
        return None if known is None else float(known)

    @cached_property
    def _image_rows(self) -> dict[str, np.ndarray]:
        return _rows_by_case(self.images)

    @cached_property
    def _rejected_rows(self) -> dict[str, np.ndarray]:
        return _rows_by_case(self.rejected)

    def fields_of(self, case: str) -> pd.DataFrame:
        """The rows of a case in the table of images."""
        return self.images.iloc[self._image_rows.get(case, [])]

    def refused_of(self, case: str) -> pd.DataFrame:
        """The rows of a case in the table of rejected images."""
        return self.rejected.iloc[self._rejected_rows.get(case, [])]


def read_scoring(bundle_path: Path, scores: Path) -> Scoring:
    """Read what reports are written from.

    Raises:
        InvalidInput: if the scores are unfinished or of another bundle.
    """
    bundle = read_bundle(bundle_path)
    images, cases, rejected, record = cases_of_scores(scores)
    require_same_bundle(bundle, bundle_path, record, scores)
    return Scoring(bundle, scores, images, cases, rejected, record)


def _rows_by_case(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Positions of each case's rows."""
    found = table.groupby("case").indices if len(table) else {}
    return {str(case): np.asarray(rows) for case, rows in found.items()}
