"""What a scoring gave, for a machine and for a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.score_tables import Written


@dataclass(frozen=True)
class ScoreResult:
    """What a scoring gave.

    Attributes:
        out: the folder of the tables.
        images: that could be read, evaluable or not.
        not_evaluable: of these.
        rejected: inputs that could not be read.
        slides: whole slides, whose tiles are among the images.
        calls: cases by their call.
        images_this_call: images that this call read and scored; the others were scored by earlier calls.
        seconds: that this call took, from its start until the tables were in place; of a watch, those spent on scoring.
        images_per_second: `images_this_call` over `seconds`.
        record: what `run.json` says.
        notes: sentences about what could not be done besides.
        unwritten_reports: of a watch, cases whose PDF could not be written.
    """

    out: Path
    images: int
    not_evaluable: int
    rejected: int
    slides: int
    calls: dict[str, int]
    images_this_call: int
    seconds: float
    images_per_second: float
    record: dict[str, Any]
    notes: tuple[str, ...] = ()
    unwritten_reports: int = 0

    @classmethod
    def of(
        cls,
        out: Path,
        written: Written,
        notes: tuple[str, ...],
        record: dict[str, Any],
        *,
        seconds: float,
        scored_now: int,
    ) -> ScoreResult:
        """What was written, with the time of the call that scored `scored_now` of the images."""
        return cls(
            out=out,
            images=written.counts.scored,
            not_evaluable=written.counts.not_evaluable,
            rejected=written.counts.rejected,
            slides=written.counts.slides,
            calls=written.calls,
            images_this_call=scored_now,
            seconds=seconds,
            images_per_second=scored_now / seconds if seconds > 0 else 0.0,
            record=record,
            notes=notes,
        )

    @cached_property
    def cases(self) -> pd.DataFrame:
        """The table of the cases."""
        return pd.read_parquet(self.out / "cases.parquet")

    @property
    def number_of_cases(self) -> int:
        """How many cases there are."""
        return sum(self.calls.values())

    def summary(self) -> dict[str, Any]:
        """The figures for a machine: one JSON object."""
        record = self.record
        return {
            "images": self.images,
            "images_this_call": self.images_this_call,
            "not_evaluable": self.not_evaluable,
            "rejected": self.rejected,
            "slides": self.slides,
            "cases": self.calls,
            "seconds": round(self.seconds, 2),
            "images_per_second": round(self.images_per_second, 1),
            "threshold": record["threshold"],
            "threshold_overridden": record["threshold_overridden"],
            "folds": record["folds"],
            "all_folds": record["all_folds"],
            "test_time_augmentation": record["test_time_augmentation"],
            "backend": record["backend"],
            "device": record["device"],
            "bundle": {key: record["bundle"][key] for key in ("name", "digest", "model_digest")},
            "tables": record["tables"],
            "out": str(self.out),
            "notes": list(self.notes),
        }

    def in_words(self) -> str:
        """The figures for a person."""
        slides = f" of {_counted(self.slides, 'slide')}" if self.slides else ""
        unfit = f"{self.not_evaluable} not evaluable"
        aside = (
            f"({self.images_this_call} in this call), {unfit}" if self.images_this_call != self.images else f"({unfit})"
        )
        rate = f", {self.images_per_second:.1f} images per second" if self.images_this_call else ""
        calls = ", ".join(f"{number} {call}" for call, number in self.calls.items()) or "none"
        lines = [
            f"{self.out}: {_counted(self.images, 'image')}{slides} scored {aside}, {self.rejected} rejected, "
            f"{_counted(self.number_of_cases, 'case')} ({calls}); {self.seconds:.1f} s{rate}.",
            *options_in_words(self.record),
        ]
        if self.rejected:
            lines.append(f"{self.out / 'rejected.csv'} says what is wrong with each rejected image.")
        return "\n".join(lines)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def options_in_words(record: Mapping[str, Any]) -> list[str]:
    """A sentence for each thing that the user changed about how answers come about; none where all is the bundle's.

    Args:
        record: `run.json` of a scoring; those of former versions lack some keys.
    """
    said = []
    if record.get("threshold_overridden"):
        said.append(f"The case threshold {record['threshold']:g} was set by the user; the bundle's does not apply.")
    if not record.get("all_folds", True):
        numbers = ", ".join(map(str, record["folds"]))
        said.append(
            f"Only the network{'s' * (len(record['folds']) != 1)} of fold {numbers} answered; the bundle's figures are "
            "of all its networks together."
        )
    if record.get("test_time_augmentation", "none") != "none":
        said.append(
            f"Test-time augmentation ({record['test_time_augmentation']}): each answer is the mean over orientations "
            "of the field; the bundle was calibrated without it."
        )
    return said
