"""Pieces that the case report and the validation report share: an estimate, counts, performance, a fact."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

Level = Literal["field", "case"]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class Part(BaseModel):
    """A frozen record: what a pipeline hands over, and what a template prints."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def _whole_seconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


Moment = Annotated[AwareDatetime, AfterValidator(_whole_seconds)]
"""A time with its zone, in whole seconds, as printed and as stamped into the PDF."""


class Estimate(Part):
    """A figure with its interval."""

    value: float | None = None
    """The figure itself, on its natural scale (a sensitivity of 93 % is 0.93); None where it is undefined."""

    low: float | None = None
    """Lower bound of the interval; None where there is none."""

    high: float | None = None
    """Upper bound of the interval; None where there is none."""


class Counts(Part):
    """The four cells of a 2 x 2 table."""

    tp: int = Field(ge=0)
    """Positive by the reference standard, called positive."""

    fp: int = Field(ge=0)
    """Negative by the reference standard, called positive."""

    fn: int = Field(ge=0)
    """Positive by the reference standard, called negative."""

    tn: int = Field(ge=0)
    """Negative by the reference standard, called negative."""

    @property
    def n(self) -> int:
        """All observations."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def prevalence(self) -> float | None:
        """Share of positives by the reference standard; None without observations."""
        return (self.tp + self.fn) / self.n if self.n else None


class Performance(Part):
    """How well the model did at one threshold, on one cohort, at one level."""

    level: Level
    """Whether cases or single fields were counted."""

    cohort: str
    """The cohort in words, with its origin: "test role of the ROSE cohort, one site"."""

    role: Literal["test", "out-of-fold"]
    """Held-out test data opened once, or development data scored by networks that had not seen them."""

    threshold: Probability | None = None
    """The threshold that the counts were made at; None leaves it out."""

    counts: Counts
    """The 2 x 2 table at that threshold."""

    sensitivity: Estimate
    """Share of positives that were called positive."""

    specificity: Estimate
    """Share of negatives that were called negative."""

    ppv: Estimate
    """Share of positive calls that were right, at this cohort's prevalence."""

    npv: Estimate
    """Share of negative calls that were right, at this cohort's prevalence."""

    patients: int | None = None
    """Patients behind the counts; None where the cohort does not name them."""

    interval_method: str = "95 % CI"
    """How the intervals were made: "95 % CI, bootstrap over patients (10,000 resamples)"."""


class Fact(Part):
    """A name and what is known under it: one line of a two-column table."""

    name: str
    """What is stated."""

    value: str
    """The statement, as it is to be printed."""


class Weight(Part):
    """One network of a bundle."""

    name: str
    """Its place in the bundle: "fold 1"."""

    sha256: str
    """Digest of the weight file, in hexadecimal; printed shortened."""


class ModelFacts(Part):
    """Which model spoke."""

    name: str
    """Name of the bundle."""

    version: str
    """Version of the bundle."""

    architecture: str
    """The networks in words: "MSHT-small, 96 px, 3 folds"."""

    bundle_digest: str
    """Digest over the whole bundle, in hexadecimal; printed shortened."""

    weights: tuple[Weight, ...]
    """The networks, one a fold."""

    training_data: str
    """What it was developed on, in a sentence with counts of patients, cases and fields."""

    software: str
    """Program and version that wrote the report: "msht 0.1.0"."""
