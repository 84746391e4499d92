"""The case report: what the person at the microscope reads, on two pages; a long list of fields follows on more."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from msht.errors import InvalidInput
from reports.case_facts import Call, CaseScore, Conformal, FieldRow, OperatingPoint, ScoringFacts
from reports.case_parts import DecidingField, HeatMap, NotShown, RejectedPicture, SlidePicture
from reports.case_pictures import pictures_for_page
from reports.case_view import view
from reports.parts import Fact, ModelFacts, Moment, Part, Performance, Probability
from reports.typesetting import DoesNotFit, typeset, write_pdf
from reports.wording import short_name
from reports.words import Language, words_of

_PAGE_1 = (
    (58.0, 260, 4),
    *((float(width), 5 * width, 4) for width in (38, 36, 34, 32, 30, 28, 26, 24, 22, 20)),
    *((width, characters, 2) for width, characters in ((26.0, 260), (26.0, 160), (24.0, 110), (20.0, 80), (16.0, 60))),
    (14.0, 40, 2),
)
"""(most millimetres across a crop, most characters of a free text, most fields shown), from roomy to tight."""

_PAGE_2 = ((40, 600, 8), (40, 260, 8), (20, 600, 8), (20, 260, 8), (20, 130, 5), (20, 60, 3), (10, 50, 2))
"""(most rows of the table, most characters of a free text, most limits), from roomy to tight.

The list of fields goes to pages of its own before what stands beside it is cut.
"""

MOST_ENTERED = 12
"""Facts about a case that a page has room for."""

MOST_TILES = 20
"""Tiles of slides that are shown with their maps."""

__all__ = [
    "Call",
    "CaseReport",
    "CaseScore",
    "Conformal",
    "FieldRow",
    "OperatingPoint",
    "ScoringFacts",
    "write_case_report",
]


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

    not_shown: tuple[NotShown, ...] = Field(default=(), max_length=MOST_TILES)
    """Fields that decided and have no picture any more; the page names them."""

    rejected_pictures: tuple[RejectedPicture, ...] = Field(default=(), max_length=4)
    """Rejected fields to show, for a case that is not evaluable; may be empty."""

    rejected_gone: tuple[str, ...] = Field(default=(), max_length=4)
    """Names of rejected fields that have no picture any more."""

    heat_map: HeatMap | None = None
    """The shared scale; needed where `deciding` is not empty."""

    tiles: tuple[DecidingField, ...] = Field(default=(), max_length=MOST_TILES)
    """For a case of whole slides: the tiles that weighed most, on a page of their own, most weighty first."""

    slides: tuple[SlidePicture, ...] = Field(default=(), max_length=4)
    """For a case of whole slides: where which probability was found, each on a page of its own."""

    of_slides: bool = False
    """Whether the fields are tiles of whole slides; the page names them so."""

    listed_in: str | None = None
    """File that holds the whole list of fields where the report shows but some; None: the report lists them all."""

    performance: tuple[Performance, ...]
    """Performance at this threshold: by case first, by field where known; at most one for each level."""

    scoring: ScoringFacts = ScoringFacts()
    """How the fields were scored."""

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
        if (self.deciding or self.tiles) and self.heat_map is None:
            raise ValueError("heat_map is needed where deciding fields are shown")
        if not self.refer_because:
            raise ValueError("refer_because needs at least one sentence")
        for row in self.fields:
            if not row.evaluable and not row.rejected_because:
                raise ValueError(f"rejected_because is needed for field '{row.name}', which is not evaluable")
        shown = {field.name for field in (*self.deciding, *self.tiles)} | {field.name for field in self.not_shown}
        shown |= {picture.name for picture in self.rejected_pictures} | set(self.rejected_gone)
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

    @property
    def borderline(self) -> bool:
        """Whether the interval reaches across the threshold, so that the call could have been the other one."""
        score = self.score
        if score is None or score.low is None or score.high is None:
            return False
        return score.low < self.operating_point.threshold <= score.high

    @property
    def different_fields(self) -> int:
        """Evaluable fields without copies of others among them."""
        return len({row.sha256 for row in self.fields if row.evaluable})

    @property
    def copies(self) -> int:
        """Evaluable fields that are copies of others: files of equal bytes."""
        return self.evaluable_fields - self.different_fields

    @property
    def care(self) -> tuple[str, ...]:
        """Why the page asks for care where the bundle's rule refers nothing, by the names of its sentences."""
        if self.refer or self.score is None:
            return ()
        unsure, low, high = self.operating_point.unsure, self.score.low, self.score.high
        bounds = [*(unsure or ())]
        if self.conformal is not None:
            bounds += [b for b in (self.conformal.positive_from, self.conformal.negative_up_to) if b is not None]
        into_zone = bool(bounds and low is not None and high is not None and low < max(bounds) and min(bounds) < high)
        found = {
            "borderline_because": self.borderline,
            "zone_because": into_zone and not self.borderline,
            "single_field": self.different_fields == 1,
            "mostly_refused": 2 * self.rejected_fields > len(self.fields),
            "some_unlike": self.unlike_fields > 0,
            "answered_otherwise": bool(self.scoring.folds) or self.scoring.test_time is not None,
        }
        return tuple(name for name, holds in found.items() if holds)

    @property
    def with_care(self) -> bool:
        """Whether the page asks for care where the bundle's rule refers nothing."""
        return bool(self.care)


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
    files = pictures_for_page(report)
    words = words_of(language)
    made: dict[tuple[int, int], bytes] = {}
    # The roomiest setting that fits: halved for page 1, which has many, step by step for page 2, which seldom needs it.
    roomy, tight, second = 0, len(_PAGE_1) - 1, 0
    first = roomy
    failed = None
    while second < len(_PAGE_2):
        data = view(report, words, page_1=_PAGE_1[first], page_2=_PAGE_2[second])
        if data == failed:  # of short texts, a step may change nothing
            second += 1
            continue
        try:
            made[first, second] = typeset(
                "case.typ", data, files=files, created=report.created, source=report, language=language
            )
            tight = first
        except DoesNotFit as error:
            if error.page == 1:
                if first == tight:
                    break
                roomy = first + 1
            else:
                tight, failed = first, data
                second += 1
        if (roomy, second) in made and roomy == tight:
            return write_pdf(made[roomy, second], out)
        first = (roomy + tight) // 2
    raise InvalidInput(
        f"The report of case '{short_name(report.case_id)}' does not fit two pages.",
        "Shorten the reasons, warnings and limits handed over with it.",
    )
