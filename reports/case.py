"""The case report: what the person at the microscope reads, on two pages; a long list of fields follows on more."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from msht.errors import InvalidInput
from reports.case_parts import DecidingField, HeatMap, RejectedPicture
from reports.case_view import view
from reports.parts import Fact, ModelFacts, Moment, Part, Performance, Probability
from reports.pictures import WHOLE_MM, picture_for_page
from reports.typesetting import DoesNotFit, typeset, write_pdf
from reports.wording import short_name
from reports.words import Language, words_of

Call = Literal["positive", "negative", "indeterminate", "not evaluable"]

_PAGE_1 = ((58.0, 260), (38.0, 200), (35.0, 170), (32.0, 130), (28.0, 90), (20.0, 50))
"""(most millimetres across a crop, most characters of a free text), from roomy to tight."""

_PAGE_2 = ((40, 260, 8), (40, 130, 6), (40, 90, 4), (20, 260, 8), (20, 130, 5), (20, 60, 3), (10, 50, 2))
"""(most rows of the table, most characters of a free text, most limits), from roomy to tight."""

MOST_ENTERED = 12
"""Facts about a case that a page has room for."""


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


class CaseReport(Part):
    """All that a case report says; every sentence about the case is made from these."""

    report_id: str
    """Identity of the report, printed on each page."""

    case_id: str
    """The case, as entered."""

    created: Moment
    """Time of the report, with its zone; stamped into the PDF, so that equal input gives equal bytes."""

    call: Call
    """The model's answer. "not evaluable" needs a reason; the others need a score."""

    not_evaluable_because: str | None = None
    """Why the case cannot be evaluated, as a sentence beside the counts of its fields."""

    positive_means: str = "atypical or malignant-looking cells"
    """What "positive" stands for in this cohort: "Model call: positive for …"."""

    score: CaseScore | None = None
    """Score of the case; None where not evaluable."""

    operating_point: OperatingPoint
    """The threshold of the case."""

    conformal: Conformal | None = None
    """Conformal set of the case; None where the bundle has none."""

    refer: bool
    """Whether the case should go to a cytopathologist's eye before anything rests on the call."""

    refer_because: tuple[str, ...]
    """Why, or why not: at least one sentence."""

    out_of_distribution: bool = False
    """Whether the case as a whole looks unlike the development cohort."""

    field_threshold: Probability | None = None
    """A field is called positive at or above it; None leaves it out."""

    case_rule: str
    """How field scores become the case score, in words."""

    fields: tuple[FieldRow, ...]
    """Every field of the case, rejected ones too, in the order in which they were given."""

    deciding: tuple[DecidingField, ...] = Field(default=(), max_length=4)
    """The fields that decided, most weighty first; empty where there is nothing to show."""

    rejected_pictures: tuple[RejectedPicture, ...] = Field(default=(), max_length=4)
    """Rejected fields to show, for a case that is not evaluable; may be empty."""

    heat_map: HeatMap | None = None
    """The shared scale; needed where `deciding` is not empty."""

    performance: tuple[Performance, ...]
    """Performance at this threshold: by case first, by field where known; at most one for each level."""

    entered: tuple[Fact, ...] = Field(default=(), max_length=MOST_ENTERED)
    """What a person typed about the case: pass, stain, magnification, note; marked as entered."""

    model: ModelFacts
    """Which model spoke."""

    split_by_image: bool = False
    """True if the development cohort was split by image, so that patients may be on both sides."""

    synthetic: bool = False
    """True if the model was developed on synthetic phantom data."""

    warnings: tuple[str, ...] = ()
    """Further warnings about model or cohort, each a sentence."""

    limits: tuple[str, ...] = ()
    """Limits and unsuitable uses, each a sentence."""

    @model_validator(mode="after")
    def _consistent(self) -> CaseReport:
        if self.call == "not evaluable" and not self.not_evaluable_because:
            raise ValueError("not_evaluable_because is needed where the call is 'not evaluable'")
        if self.call != "not evaluable" and self.score is None:
            raise ValueError(f"score is needed where the call is '{self.call}'")
        if self.deciding and self.heat_map is None:
            raise ValueError("heat_map is needed where deciding fields are shown")
        if not self.refer_because:
            raise ValueError("refer_because needs at least one sentence")
        for row in self.fields:
            if not row.evaluable and not row.rejected_because:
                raise ValueError(f"rejected_because is needed for field '{row.name}', which is not evaluable")
        shown = {field.name for field in self.deciding} | {field.name for field in self.rejected_pictures}
        unknown = shown - {row.name for row in self.fields}
        if unknown:
            raise ValueError(f"pictures of fields that are not in fields: {sorted(unknown)}")
        return self

    @property
    def evaluable_fields(self) -> int:
        """Fields that went into the case."""
        return sum(row.evaluable for row in self.fields)

    @property
    def positive_fields(self) -> int:
        """Evaluable fields on the positive side of the field-level threshold."""
        return sum(row.evaluable and row.call == "positive" for row in self.fields)

    @property
    def rejected_fields(self) -> int:
        """Fields that did not go into the case."""
        return len(self.fields) - self.evaluable_fields

    @property
    def unreadable_fields(self) -> int:
        """Files that could not be read."""
        return sum(not row.sha256 for row in self.fields)

    @property
    def unlike_fields(self) -> int:
        """Evaluable fields that look unlike the development cohort."""
        return sum(row.evaluable and row.out_of_distribution for row in self.fields)


def write_case_report(report: CaseReport, out: Path, *, language: Language = "en") -> Path:
    """Set the report as a PDF (PDF/A-2a, PDF/UA-1): two pages, and more only for the list of many fields.

    Args:
        report: what the pages say.
        out: the PDF to write; an existing one is replaced, whole or not at all.
        language: of all words that are not data.

    Returns:
        `out`.

    Raises:
        InvalidInput: if a text holds a character that the fonts cannot set, naming field and character, or
            an image is missing or cannot be read.
        MissingResource: if there is no font for the language.
    """
    files = {}
    # One field alone is shown larger; see the widths in case.typ.
    width_mm = 58.0 if len(report.deciding) == 1 else 41.5
    for index, field in enumerate(report.deciding):
        for kind, path in (("crop", field.crop), ("overlay", field.overlay)):
            what = f"the {kind} of field {field.name}"
            files[f"{kind}-{index}.jpg"] = picture_for_page(path, what=what, width_mm=width_mm)
        if field.whole is not None:
            what = f"the whole field {field.name}"
            files[f"whole-{index}.jpg"] = picture_for_page(field.whole, what=what, width_mm=WHOLE_MM)
    for index, shown in enumerate(report.rejected_pictures):
        what = f"the rejected field {shown.name}"
        files[f"rejected-{index}.jpg"] = picture_for_page(shown.picture, what=what, width_mm=41.5)
    tight = {1: 0, 2: 0}
    words = words_of(language)
    while tight[1] < len(_PAGE_1) and tight[2] < len(_PAGE_2):
        data = view(report, words, page_1=_PAGE_1[tight[1]], page_2=_PAGE_2[tight[2]])
        try:
            pdf = typeset("case.typ", data, files=files, created=report.created, source=report, language=language)
        except DoesNotFit as error:
            tight[error.page] += 1
            continue
        return write_pdf(pdf, out)
    raise InvalidInput(
        f"The report of case '{short_name(report.case_id)}' does not fit two pages.",
        "Shorten the reasons, warnings and limits handed over with it.",
    )
