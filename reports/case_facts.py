"""What a case report knows of its fields and of its answer: rows, scores, threshold, conformal set, scoring."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reports.parts import Moment, Part, Probability

Call = Literal["positive", "negative", "indeterminate", "not evaluable"]


class FieldRow(Part):
    """One photographed field: a row of the table on page 2."""

    name: str
    """File name, as the person knows it."""

    sha256: str
    """Digest of the file, in hexadecimal; printed shortened. Empty if the file could not be read."""

    width: int | None = None
    """Pixels across, after orientation; None if unreadable."""

    height: int | None = None
    """Pixels down, after orientation; None if unreadable."""

    orientation: str = "none"
    """What EXIF asked for and was applied: "none", "rotated 90", "mirrored"."""

    quality: tuple[str, ...] = ()
    """Quality flags: "out of focus", "overexposed"; empty where nothing was found."""

    evaluable: bool
    """Whether the field went into the case."""

    rejected_because: str | None = None
    """Why not, in a few words; needed where `evaluable` is false."""

    logit: float | None = None
    """Raw score: mean over the folds of z[1] - z[0], before calibration."""

    probability: Probability | None = None
    """Calibrated score of the field: mean over the folds of the calibrated probabilities."""

    spread: float | None = Field(default=None, ge=0.0)
    """Standard deviation over the folds of the calibrated probability."""

    out_of_distribution: bool = False
    """Whether the field looks unlike the development cohort."""

    call: Literal["positive", "negative"] | None = None
    """Side of the field-level threshold; None where not evaluable."""


class CaseScore(Part):
    """The score of the case on the scale of the operating point."""

    probability: Probability
    """Calibrated case score."""

    logit: float
    """Raw case score, before the case calibrator: what the case rule gives."""

    low: Probability | None = None
    """Lower end of the interval drawn on the scale; None draws none."""

    high: Probability | None = None
    """Upper end of the interval drawn on the scale."""

    drawn_again: Literal["fields and networks", "fields", "networks"] | None = None
    """What the bootstrap behind the interval drew again; None where there is no interval."""

    confidence: Probability = 0.95
    """Share of the bootstrap's answers inside the interval."""


class OperatingPoint(Part):
    """The threshold, and where it comes from."""

    threshold: Probability
    """The case is positive at or above it."""

    rule: str
    """How it was chosen: "highest threshold with case sensitivity of at least 95 %"."""

    data: str
    """On which data: "out-of-fold cases of the development cohort (n = 120)"."""

    guarantee: str | None = None
    """What is guaranteed, in words; None where nothing is."""

    unsure: tuple[Probability, Probability] | None = None
    """Scores so near the threshold that the bundle refers them; None where it has no such rule."""

    overridden: bool = False
    """Whether the user replaced the bundle's threshold for this scoring; printed plainly."""


class Conformal(Part):
    """The conformal set of the case: which calls the data cannot rule out."""

    classes: tuple[Literal["negative", "positive"], ...]
    """Members of the set; both or none means that the case is referred."""

    error: Probability
    """Error level of the sets (0.1: nine in ten sets hold the truth)."""

    positive_from: Probability | None = None
    """"positive" is in the set at or above this score; None leaves the band off the scale."""

    negative_up_to: Probability | None = None
    """"negative" is in the set at or below this score."""


class ScoringFacts(Part):
    """How the fields were scored, where it is known."""

    finished: Moment | None = None
    """When the scoring was finished."""

    folds: tuple[int, ...] = ()
    """Numbers of the networks that answered, where they were but some of the bundle's; empty: all."""

    test_time: Literal["flips", "dihedral"] | None = None
    """Orientations over which each network's answers were averaged; None: the field as it is."""

    backend: str | None = None
    """What ran the networks: "torch", "onnx"."""
