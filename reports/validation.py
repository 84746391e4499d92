"""The validation report: what a reviewer reads before a model may be used, on several pages."""

from __future__ import annotations

from pathlib import Path

from pydantic import model_validator

from reports.parts import Fact, Moment, Part, Weight
from reports.pictures import picture_for_page
from reports.sections import (
    CalibrationResult,
    ChecklistItem,
    Choice,
    Comparison,
    Disjointness,
    FlowRow,
    NotAvailable,
    PrevalenceCurve,
    ResultRow,
    RocCurve,
    ScoreDistribution,
    SubgroupRow,
)
from reports.sections_evidence import (
    DecisionCurve,
    DeferralCurve,
    ExplanationCheck,
    Failure,
    LocalValues,
    MapCurves,
    Probes,
    RobustnessRow,
)
from reports.typesetting import typeset, write_pdf

__all__ = [
    "CalibrationResult",
    "ChecklistItem",
    "Choice",
    "Comparison",
    "DecisionCurve",
    "DeferralCurve",
    "Disjointness",
    "ExplanationCheck",
    "Failure",
    "FlowRow",
    "LocalValues",
    "MapCurves",
    "NotAvailable",
    "PrevalenceCurve",
    "Probes",
    "ResultRow",
    "RobustnessRow",
    "RocCurve",
    "ScoreDistribution",
    "SubgroupRow",
    "ValidationReport",
    "write_validation_report",
]

_NOT_COMPUTED = NotAvailable(reason="Not computed in this run.")


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

    local: tuple[LocalValues, ...] = ()
    """PPV and NPV at a prevalence that the reader chose."""

    distributions: tuple[ScoreDistribution, ...] = ()
    """Score distributions."""

    subgroups: tuple[SubgroupRow, ...] | NotAvailable = _NOT_COMPUTED
    """Subgroups by column."""

    decision_curve: DecisionCurve | NotAvailable = _NOT_COMPUTED
    """Net benefit."""

    robustness: tuple[RobustnessRow, ...] | NotAvailable = _NOT_COMPUTED
    """Perturbed images."""

    robustness_note: str = ""
    """Which images were perturbed, how many, and under which opening of the test set."""

    deferral: DeferralCurve | NotAvailable = _NOT_COMPUTED
    """Error over share referred."""

    explanation_checks: tuple[ExplanationCheck, ...] | NotAvailable = _NOT_COMPUTED
    """Whether the heat maps are true."""

    explanation_note: str = ""
    """Which maps were checked, on which images."""

    map_curves: MapCurves | None = None
    """Deletion and insertion curves."""

    probes: Probes | None = None
    """Occlusion and shuffling of patches."""

    failures: tuple[Failure, ...] | NotAvailable = _NOT_COMPUTED
    """Gallery of wrong calls."""

    failures_note: str = ""
    """How many wrong calls there are, which are shown, and the scale of their maps."""

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
                raise ValueError(f"calibration '{result.name}': arrays of different lengths {sorted(lengths)}")
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
