"""The validation report: what a reviewer reads before a model may be used, on several pages."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import model_validator

from reports.parts import Counts, Estimate, Fact, Level, Moment, Part, Probability, Weight
from reports.pictures import picture_for_page
from reports.typesetting import typeset, write_pdf


class NotAvailable(Part):
    """A section that this run cannot fill, and why; it goes to the checklist."""

    reason: str
    """Why, as a sentence: "The cohort names no site."."""


_NOT_COMPUTED = NotAvailable(reason="Not computed in this run.")


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


class DecisionCurve(Part):
    """Net benefit over threshold probability."""

    threshold: tuple[Probability, ...]
    """(points,) threshold probabilities."""

    model: tuple[float, ...]
    """(points,) net benefit of the model."""

    treat_all: tuple[float, ...]
    """(points,) net benefit of calling every case positive."""


class RobustnessRow(Part):
    """One perturbation at one strength."""

    perturbation: str
    """"JPEG quality", "Gaussian blur", "stain shift", "rotation"."""

    strength: str
    """With its unit: "sigma 2 px"."""

    auroc: Estimate
    """Area under the ROC curve under the perturbation."""

    sensitivity: Estimate
    """At the unchanged threshold."""

    specificity: Estimate
    """At the unchanged threshold."""

    flipped: Probability | None = None
    """Share of calls that changed."""


class DeferralCurve(Part):
    """Error among the cases kept, over the share referred."""

    deferred: tuple[Probability, ...]
    """(points,) share of cases referred, least certain first."""

    error: tuple[Probability, ...]
    """(points,) error among the rest."""

    statement: str = ""
    """What the curve says at the chosen error, as a sentence."""


class ExplanationCheck(Part):
    """One check of the heat maps."""

    check: str
    """"Weight randomisation", "Deletion", "Pointing game"."""

    method: str
    """"Grad-CAM, decoder 4"."""

    result: str
    """The figure with its interval, and what it would be by chance."""

    passed: bool | None = None
    """Whether the check is passed; None where there is no bar."""


class Failure(Part):
    """One wrong call, for the gallery."""

    name: str
    """File name or case."""

    truth: str
    """Reference label."""

    probability: Probability
    """Calibrated score."""

    crop: Path
    """What the model saw."""

    overlay: Path | None = None
    """With its heat map."""

    note: str = ""
    """What a person sees in it."""


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


class ValidationReport(Part):
    """All that a validation report says."""

    report_id: str
    """Identity of the report, printed on each page."""

    created: Moment
    """Time of the report, with its zone; stamped into the PDF."""

    model_name: str
    """Name and version of the bundle."""

    software: str
    """Program and version: "msht 0.1.0"."""

    summary: tuple[str, ...] = ()
    """The findings in a few sentences, for the first page."""

    purpose: str
    """Intended use, in a paragraph."""

    users: str
    """Who is to use it, and with which training."""

    out_of_scope: tuple[str, ...]
    """Uses it is not for, each a sentence."""

    positive_means: str = "atypical or malignant-looking cells"
    """What "positive" stands for in this cohort."""

    cohort_name: str
    """Name of the cohort."""

    data_source: tuple[Fact, ...]
    """Origin, dates, devices, stain, inclusion and exclusion, licence; a line each."""

    reference_standard: str
    """Where the labels come from, and how sure they are."""

    flow: tuple[FlowRow, ...]
    """Counts by role and fold."""

    disjointness: Disjointness
    """Proof that groups do not cross."""

    choices: tuple[Choice, ...]
    """Which data chose epoch, threshold, calibrator, case rule."""

    preprocessing: tuple[Fact, ...]
    """From file to tensor."""

    architecture: tuple[Fact, ...]
    """The network: stages, heads, parameters."""

    training: tuple[Fact, ...]
    """Recipe as resolved, seeds, hardware, time."""

    threshold: tuple[Fact, ...]
    """Operating point: value, rule, data, guarantee; case rule."""

    results: tuple[ResultRow, ...]
    """Figures by set and level: test first, then out of fold together, then each fold."""

    interval_method: str
    """How the intervals were made: "95 % percentile bootstrap over patients, 2,000 resamples"."""

    calibration: tuple[CalibrationResult, ...] = ()
    """Calibration, with the arrays of the reliability diagrams."""

    roc: tuple[RocCurve, ...] = ()
    """ROC curves; those of one level are drawn together."""

    prevalence: tuple[PrevalenceCurve, ...] = ()
    """PPV and NPV over prevalence."""

    distributions: tuple[ScoreDistribution, ...] = ()
    """Score distributions."""

    subgroups: tuple[SubgroupRow, ...] | NotAvailable = _NOT_COMPUTED
    """Subgroups by column."""

    decision_curve: DecisionCurve | NotAvailable = _NOT_COMPUTED
    """Net benefit."""

    robustness: tuple[RobustnessRow, ...] | NotAvailable = _NOT_COMPUTED
    """Perturbed images."""

    deferral: DeferralCurve | NotAvailable = _NOT_COMPUTED
    """Error over share referred."""

    explanation_checks: tuple[ExplanationCheck, ...] | NotAvailable = _NOT_COMPUTED
    """Whether the heat maps are true."""

    failures: tuple[Failure, ...] | NotAvailable = _NOT_COMPUTED
    """Gallery of wrong calls."""

    comparisons: tuple[Comparison, ...] | NotAvailable = _NOT_COMPUTED
    """Paired comparisons with other models."""

    limits: tuple[str, ...]
    """Limits, each a sentence."""

    data_card: str = ""
    """Text of the data card: plain paragraphs, with "# Heading" lines and "- " lists; no more is read."""

    weights: tuple[Weight, ...] = ()
    """Digests of the networks."""

    digests: tuple[Fact, ...] = ()
    """Further digests: bundle, manifest, split, predictions."""

    environment: tuple[Fact, ...] = ()
    """Versions, device, threads."""

    checklist: tuple[ChecklistItem, ...] = ()
    """Items of reporting checklists beyond those that the report fills by itself."""

    split_by_image: bool = False
    """True if the cohort was split by image, so that patients may be on both sides."""

    synthetic: bool = False
    """True for synthetic phantom data."""

    warnings: tuple[str, ...] = ()
    """Further warnings, each a sentence."""

    @model_validator(mode="after")
    def _consistent(self) -> ValidationReport:
        if not self.results:
            raise ValueError("results needs at least one row")
        for result in self.calibration:
            lengths = {len(result.predicted), len(result.observed), len(result.bin_counts)}
            if len(lengths) != 1:
                raise ValueError(
                    f"calibration '{result.name}': arrays of different lengths {sorted(lengths)}"
                )
        for curve in self.roc:
            if len(curve.false_positive_rate) != len(curve.sensitivity):
                raise ValueError(f"roc '{curve.name}': arrays of different lengths")
        return self


def write_validation_report(report: ValidationReport, out: Path) -> Path:
    """Set the report as a PDF (PDF/A-2a, PDF/UA-1).

    Args:
        report: what the pages say.
        out: the PDF to write; an existing one is replaced, whole or not at all.

    Returns:
        `out`.

    Raises:
        InvalidInput: if a text holds a character that the fonts cannot set, naming field and character, or
            an image is missing or cannot be read.
    """
    # Figures need matplotlib, which takes longer to import than everything else here.
    from reports.checklist import SECTIONS
    from reports.validation_view import view

    data, files = view(report)
    if not isinstance(report.failures, NotAvailable):
        for index, failure in enumerate(report.failures):
            shown = {f"failure-{index}.jpg": failure.crop, f"failure-map-{index}.jpg": failure.overlay}
            for name, path in shown.items():
                if path is not None:
                    what = f"a picture of the failure {failure.name}"
                    files[name] = picture_for_page(path, what=what, width_mm=42.0)
    data["sections"] = SECTIONS
    pdf = typeset("validation.typ", data, files=files, created=report.created, source=report)
    return write_pdf(pdf, out)
