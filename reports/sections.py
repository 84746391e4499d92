"""What the sections of the validation report hold: flow, results, curves, and all that a run may lack."""

from __future__ import annotations

from typing import Literal

from reports.parts import Counts, Estimate, Level, Part, Probability


class NotAvailable(Part):
    """A section that this run cannot fill, and why; it goes to the checklist."""

    reason: str
    """Why, as a sentence: "The cohort names no site."."""


class FlowRow(Part):
    """A row of the data flow: how many of what are where."""

    role: str
    """"development", "test", or "excluded"."""

    fold: int | None = None
    """Fold within the development role; None for the role as a whole."""

    images: int
    """Fields."""

    negative: int
    """Fields labelled negative."""

    positive: int
    """Fields labelled positive."""

    cases: int | None = None
    """Cases; None where the manifest has none."""

    patients: int | None = None
    """Patients; None where the manifest has none."""

    note: str = ""
    """For excluded rows: the reason."""


class Disjointness(Part):
    """Proof that no group is on both sides of a split."""

    group: str
    """What was kept together: "patient", "case", "slide", or "image" where the split is by image."""

    groups: int
    """Groups in the cohort."""

    shared_by_roles: int
    """Groups found in both development and test (0 proves the claim)."""

    shared_by_folds: int
    """Groups found in more than one fold."""

    duplicates: str
    """What the duplicate scan compared and found, or why there was none."""

    split_digest: str
    """SHA-256 of the split table."""


class Choice(Part):
    """Which data chose what: the question behind every optimistic figure."""

    what: str
    """"Epoch", "Operating point", "Calibrator", "Case rule"."""

    data: str
    """The data that chose it."""

    rule: str
    """How it was chosen, with the value chosen."""


class ResultRow(Part):
    """Every figure of one set of predictions at one level."""

    name: str
    """"Test", "Out of fold, together", "Fold 1"."""

    role: Literal["test", "out-of-fold"]
    """Held-out test data, or development data scored by networks that had not seen them."""

    level: Level
    """By field or by case."""

    fold: int | None = None
    """The fold, where the row is one fold alone."""

    counts: Counts
    """The 2 x 2 table at the threshold of this level."""

    patients: int | None = None
    """Patients behind the row."""

    sensitivity: Estimate
    """Share of positives called positive."""

    specificity: Estimate
    """Share of negatives called negative."""

    ppv: Estimate
    """Share of positive calls that are right."""

    npv: Estimate
    """Share of negative calls that are right."""

    accuracy: Estimate
    """Share of calls that are right."""

    balanced_accuracy: Estimate
    """Mean of sensitivity and specificity."""

    f1: Estimate
    """Harmonic mean of sensitivity and PPV."""

    mcc: Estimate
    """Matthews' correlation coefficient."""

    auroc: Estimate
    """Area under the ROC curve."""

    auprc: Estimate
    """Area under the precision-recall curve (average precision)."""


class CalibrationResult(Part):
    """Calibration of one set of predictions."""

    name: str
    """As in the result rows."""

    level: Level
    """By field or by case."""

    brier: Estimate
    """Mean squared error of the probability."""

    ece: Estimate
    """Expected calibration error."""

    slope: Estimate
    """Slope of the logistic recalibration; 1 is right, below 1 overconfident."""

    intercept: Estimate
    """Intercept of the logistic recalibration (calibration in the large); 0 is right."""

    predicted: tuple[Probability, ...]
    """(bins,) mean predicted probability in each bin."""

    observed: tuple[Probability, ...]
    """(bins,) share of positives in each bin."""

    observed_low: tuple[Probability, ...] = ()
    """(bins,) lower bounds of `observed`; empty where not computed."""

    observed_high: tuple[Probability, ...] = ()
    """(bins,) upper bounds of `observed`."""

    bin_counts: tuple[int, ...]
    """(bins,) observations in each bin."""

    binning: str
    """How the bins were made: "10 bins of equal mass"."""


class RocCurve(Part):
    """A receiver operating characteristic."""

    name: str
    """As in the result rows."""

    level: Level
    """By field or by case."""

    false_positive_rate: tuple[Probability, ...]
    """(points,) 1 - specificity, rising."""

    sensitivity: tuple[Probability, ...]
    """(points,) at the same thresholds."""

    auroc: Estimate
    """Area under it."""

    operating_point: tuple[Probability, Probability] | None = None
    """(1 - specificity, sensitivity) at the threshold in use."""


class PrevalenceCurve(Part):
    """PPV and NPV that the found sensitivity and specificity give at other prevalences."""

    name: str
    """As in the result rows."""

    level: Level
    """By field or by case."""

    prevalence: tuple[Probability, ...]
    """(points,) rising."""

    ppv: tuple[Probability, ...]
    """(points,)."""

    npv: tuple[Probability, ...]
    """(points,)."""

    cohort_prevalence: Probability
    """Marked on the axis: the prevalence of this cohort."""

    local_prevalence: Probability | None = None
    """Marked on the axis: the prevalence that the reader chose."""


class ScoreDistribution(Part):
    """Calibrated scores by reference label."""

    name: str
    """As in the result rows."""

    level: Level
    """By field or by case."""

    negative: tuple[Probability, ...]
    """Scores of the negatives."""

    positive: tuple[Probability, ...]
    """Scores of the positives."""

    threshold: Probability
    """The operating point, marked on the axis."""


class SubgroupRow(Part):
    """One subgroup."""

    column: str
    """Column of the manifest: "site"."""

    value: str
    """Its value: "A"."""

    n: int
    """Observations."""

    patients: int | None = None
    """Patients behind them."""

    sensitivity: Estimate
    """Share of positives called positive."""

    specificity: Estimate
    """Share of negatives called negative."""

    auroc: Estimate
    """Area under the ROC curve."""

    small: bool = False
    """Too small to conclude from; printed with a mark."""


class Comparison(Part):
    """A paired comparison with another model."""

    against: str
    """The other model."""

    measure: str
    """"AUROC by case"."""

    difference: Estimate
    """Ours minus the other's."""

    p_value: Probability | None = None
    """After correction for the number of comparisons."""

    test: str
    """"paired DeLong, Holm"."""


class ChecklistItem(Part):
    """A line of a reporting checklist."""

    standard: str
    """"CLAIM 2024", "STARD-AI", "TRIPOD+AI"."""

    item: str
    """Number and short name of the item."""

    section: str | None = None
    """Heading of the section that answers it; the page number is found when the document is set."""

    reason: str = ""
    """Why it is not available, where `section` is None."""
