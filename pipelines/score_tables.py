"""The tables of a scoring, written row by row from its database: `images`, `cases` and `rejected`, twice each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from msht.calibration.conformal import conformal_sets
from msht.cohort.manifest import CLASSES
from msht.cohort.tables import harmless
from msht.decision import Decision, decide_case
from msht.files import atomic_path, sha256_of, write_json
from msht.images.quality import Quality
from pipelines.fields import TILE_COLUMNS
from pipelines.score_answers import Answers, CaseFields, Counts
from pipelines.score_fields import Row
from pipelines.score_folder import RECORD

CHUNK = 8192
"""Rows that are in memory at a time."""

TEXT, WHOLE, NUMBER, FLAG = "str", "int64", "float64", "bool"
IDENTITY = {"image": TEXT, "case": TEXT, "path": TEXT}
OPTIONS = {"folds": TEXT, "test_time_augmentation": TEXT}
"""What the user may have changed about how the networks answer; in every row."""

PLACE = {"slide": TEXT, **dict.fromkeys(TILE_COLUMNS, "Int64")}
"""Of a tile; only where a slide was scored."""

CASE_COLUMNS = {
    "case": TEXT,
    "call": TEXT,
    "probability": NUMBER,
    "logit": NUMBER,
    "threshold": NUMBER,
    "threshold_overridden": FLAG,
    "conformal_set": TEXT,
    "refer": FLAG,
    "reasons": TEXT,
    "fields": WHOLE,
    "evaluable_fields": WHOLE,
    "positive_fields": WHOLE,
    "out_of_distribution_fields": WHOLE,
    "rejected_images": WHOLE,
    **OPTIONS,
}
REJECTED_COLUMNS = {**IDENTITY, "reason": TEXT}


def image_columns(folds: list[int], *, slides: bool = False) -> dict[str, str]:
    """Columns of `images` with their types, in order, for these folds."""
    return {
        **IDENTITY,
        "sha256": TEXT,
        "width": WHOLE,
        "height": WHOLE,
        "format": TEXT,
        "orientation": WHOLE,
        "conversions": TEXT,
        **{f"quality_{field.name}": NUMBER for field in fields(Quality)},
        "evaluable": FLAG,
        "not_evaluable_because": TEXT,
        **{f"logit_fold_{fold}": NUMBER for fold in folds},
        "raw_logit": NUMBER,
        "logit": NUMBER,
        "probability": NUMBER,
        "spread": NUMBER,
        "novelty": NUMBER,
        "out_of_distribution": FLAG,
        "call": TEXT,
        "field_threshold": NUMBER,
        "conformal_set": TEXT,
        "case_conformal_set": TEXT,
        "case_threshold": NUMBER,
        "case_threshold_overridden": FLAG,
        **OPTIONS,
        **(PLACE if slides else {}),
    }


@dataclass(frozen=True)
class Written:
    """What the tables say in short."""

    counts: Counts
    calls: dict[str, int]
    """Cases by their call."""
    digests: dict[str, str]
    """SHA-256 of each table, by file name."""

    @property
    def cases(self) -> int:
        """How many there are."""
        return sum(self.calls.values())


def write_tables(answers: Answers, out: Path, decision: Decision, record: Mapping[str, Any]) -> Written:
    """Write all six tables, together: what was there is replaced when every one of them is whole.

    In between `run.json` says that the scoring is unfinished.

    Args:
        answers: of the scoring.
        out: its folder.
        decision: what makes calls of scores, with the user's threshold if there is one.
        record: what `run.json` says of an unfinished scoring.

    Raises:
        MissingResource: if they cannot be written.
    """
    counts = answers.counts()
    place = PLACE if counts.slides else {}
    options = {
        "folds": "all" if record["all_folds"] else " ".join(map(str, record["folds"])),
        "test_time_augmentation": record["test_time_augmentation"],
    }
    calls: Counter[str] = Counter()
    paths: list[Path] = []
    with ExitStack() as stack:

        def table(name: str, columns: Mapping[str, str]) -> _Twins:
            parquet, csv = out / f"{name}.parquet", out / f"{name}.csv"
            paths.extend((parquet, csv))
            temporary = stack.enter_context(atomic_path(parquet)), stack.enter_context(atomic_path(csv))
            return _Twins(*temporary, columns)

        with table("cases", CASE_COLUMNS) as cases:
            for fields_of_case in answers.cases():
                row = {**case_row(fields_of_case, decision), **options}
                answers.remember_set(row["case"], row["conformal_set"])
                calls[row["call"]] += 1
                cases.add(row)
        with table("images", image_columns(record["folds"], slides=bool(counts.slides))) as images:
            for row in answers.rows("scored"):
                images.add({**row, **_decided(row, decision), **options})
        with table("rejected", {**REJECTED_COLUMNS, **place}) as rejected:
            for row in answers.rows("rejected"):
                rejected.add(row)
        write_json(out / RECORD, dict(record))
    return Written(counts, dict(sorted(calls.items())), {path.name: sha256_of(path) for path in paths})


def case_row(of: CaseFields, decision: Decision) -> Row:
    """The call of a case, what it rests on, and whether and why it is referred."""
    evaluable = len(of.logits)
    answer = decide_case(decision, of.logits, share_novel=of.novel / evaluable if evaluable else 0.0)
    return {
        "case": of.case,
        "call": answer.call,
        "probability": answer.probability,
        "logit": answer.logit,
        "threshold": decision.case_point.threshold,
        "threshold_overridden": decision.case_point.overridden,
        "conformal_set": " ".join(answer.conformal),
        "refer": bool(answer.reasons),
        "reasons": " ".join(answer.reasons),
        "fields": of.fields,
        "evaluable_fields": evaluable,
        "positive_fields": of.positive,
        "out_of_distribution_fields": of.novel,
        "rejected_images": of.rejected,
    }


def _decided(row: Row, decision: Decision) -> Row:
    """What the decision says of a field, besides its call."""
    members = ""
    if decision.conformal_level == "field" and row["evaluable"]:
        inside = conformal_sets(pd.Series([row["probability"]]).to_numpy(), decision.quantiles)[0]
        members = " ".join(name for name, held in zip(CLASSES, inside, strict=True) if held)
    return {
        "field_threshold": decision.field_point.threshold,
        "conformal_set": members,
        "case_threshold": decision.case_point.threshold,
        "case_threshold_overridden": decision.case_point.overridden,
    }


class _Twins:
    """A table as Parquet and as CSV, written chunk by chunk; use it as a context."""

    def __init__(self, parquet: Path, csv: Path, columns: Mapping[str, str]) -> None:
        self._columns = dict(columns)
        self._parquet_path, self._csv_path = parquet, csv
        self._rows: list[Row] = []

    def __enter__(self) -> _Twins:
        self._csv: TextIO = self._csv_path.open("w", encoding="utf-8", newline="")
        self._schema = pa.Schema.from_pandas(self._frame(), preserve_index=False)
        self._parquet = pq.ParquetWriter(self._parquet_path, self._schema)
        harmless(self._frame()).to_csv(self._csv, index=False)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
            self._parquet.close()
        finally:
            self._csv.close()

    def add(self, row: Row) -> None:
        """Add a row; what has no column is left out."""
        self._rows.append(row)
        if len(self._rows) == CHUNK:
            self._flush()

    def _frame(self) -> pd.DataFrame:
        return pd.DataFrame(self._rows, columns=list(self._columns)).astype(self._columns)

    def _flush(self) -> None:
        if self._rows:
            frame = self._frame()
            self._parquet.write_table(pa.Table.from_pandas(frame, schema=self._schema, preserve_index=False))
            harmless(frame).to_csv(self._csv, index=False, header=False)
            self._rows = []
