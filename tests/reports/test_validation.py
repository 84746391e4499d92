import datetime as dt
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from pypdf import PdfReader

from msht.errors import InvalidInput
from reports.checklist import SECTIONS
from reports.checklist_items import GUIDELINES
from reports.figures_evidence import robustness_figure
from reports.parts import Counts, Estimate, Fact, Weight
from reports.validation import (
    CalibrationResult,
    ChecklistItem,
    Choice,
    Comparison,
    DecisionCurve,
    DeferralCurve,
    Disjointness,
    ExplanationCheck,
    Failure,
    FlowRow,
    LocalValues,
    MapCurves,
    NotAvailable,
    PrevalenceCurve,
    Probes,
    ResultRow,
    RobustnessRow,
    RocCurve,
    ScoreDistribution,
    SubgroupRow,
    ValidationReport,
    write_validation_report,
)

MakeValidation = Callable[..., ValidationReport]
MEASURES = (
    "sensitivity specificity ppv npv accuracy balanced_accuracy f1 mcc auroc auprc".split()  # noqa: SIM905
)


def around(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.02, high=value + 0.01)


def result(name: str, level: str, fold: int | None = None) -> ResultRow:
    figures = {measure: around(0.90 + index / 200) for index, measure in enumerate(MEASURES)}
    return ResultRow(
        name=name,
        role="test" if name == "Test" else "out-of-fold",
        level=level,
        fold=fold,
        counts=Counts(tp=17, fp=3, fn=2, tn=38),
        patients=6,
        **figures,
    )


@pytest.fixture
def make_validation() -> MakeValidation:
    def make(**changes: Any) -> ValidationReport:
        values: dict[str, Any] = {
            "report_id": "V-1",
            "created": dt.datetime(2026, 11, 21, 14, 5, tzinfo=dt.UTC),
            "model_name": "msht-small, version 1",
            "software": "msht 0.1.0",
            "purpose": "Second reading of photographed fields.",
            "users": "Cytopathologists.",
            "out_of_scope": ("Diagnosis without a cytopathologist.",),
            "cohort_name": "Phantom cohort",
            "data_source": (Fact(name="Origin", value="drawn"),),
            "reference_standard": "Known by construction.",
            "flow": (
                FlowRow(role="development", images=180, negative=115, positive=65, cases=18, patients=18),
                FlowRow(role="test", images=60, negative=41, positive=19, cases=6, patients=6),
            ),
            "disjointness": Disjointness(
                group="patient",
                groups=24,
                shared_by_roles=0,
                shared_by_folds=0,
                duplicates="No near-duplicates among 240 fields.",
                split_digest="ab" * 32,
            ),
            "choices": (Choice(what="Operating point", data="out-of-fold cases", rule="sensitivity of 95 %"),),
            "preprocessing": (Fact(name="Crop", value="700 px"),),
            "architecture": (Fact(name="Network", value="MSHT-small"),),
            "training": (Fact(name="Seed", value="517"),),
            "threshold": (Fact(name="Threshold", value="0.41"),),
            "results": (
                result("Test", "field"),
                result("Test", "case"),
                result("Out of fold", "field"),
                result("Fold 1", "field", fold=1),
            ),
            "interval_method": "95 % percentile bootstrap over patients",
            "limits": ("Synthetic images say nothing about patients.",),
            "data_card": "# Phantoms\nDrawn fields\nof cells.\n\n- two stains,\n  three sites\n",
            "weights": (Weight(name="fold 1", sha256="cd" * 32),),
            "environment": (Fact(name="Python", value="3.11"),),
        }
        return ValidationReport(**(values | changes))

    return make


@pytest.fixture
def every_section(pictures: tuple[Path, Path]) -> dict[str, Any]:
    crop, overlay = pictures
    grid = tuple(np.linspace(0, 1, 11))
    return {
        "calibration": (
            CalibrationResult(
                name="Test",
                level="field",
                brier=around(0.08),
                ece=around(0.03),
                slope=around(0.9),
                intercept=around(-0.1),
                predicted=(0.1, 0.5, 0.9),
                observed=(0.05, 0.6, 0.95),
                bin_counts=(20, 10, 30),
                binning="3 bins of equal width",
            ),
        ),
        "roc": (
            RocCurve(
                name="Test",
                level="field",
                false_positive_rate=(0, 0.1, 1),
                sensitivity=(0, 0.9, 1),
                auroc=around(0.94),
                operating_point=(0.1, 0.9),
            ),
        ),
        "prevalence": (
            PrevalenceCurve(
                name="Test",
                level="case",
                prevalence=grid,
                ppv=grid,
                npv=grid[::-1],
                cohort_prevalence=0.3,
            ),
        ),
        "distributions": (
            ScoreDistribution(name="Test", level="field", negative=(0.1, 0.2), positive=(0.8, 0.9), threshold=0.41),
        ),
        "subgroups": (
            SubgroupRow(
                column="site",
                value="A",
                n=12,
                sensitivity=around(0.9),
                specificity=around(0.9),
                auroc=around(0.9),
                small=True,
            ),
        ),
        "decision_curve": DecisionCurve(threshold=(0.1, 0.5), model=(0.3, 0.2), treat_all=(0.25, -0.2)),
        "robustness": tuple(
            RobustnessRow(
                perturbation=kind,
                strength=strength,
                auroc=around(0.9),
                sensitivity=around(0.9),
                specificity=around(0.9),
                flipped=flipped,
                refused=0.1,
                number=number,
            )
            for kind, strength, flipped, number in (
                ("as photographed", "none", 0.0, 0.0),
                ("JPEG", "quality 50", 0.02, 50.0),
                ("Rotation", "90°", 0.035, 90.0),
            )
        ),
        "robustness_note": "12 images of 6 patients.",
        "local": (LocalValues(level="case", prevalence=0.05, ppv=around(0.4), npv=around(0.98)),),
        "map_curves": MapCurves(
            shares=(0, 0.5, 1),
            deletion=(0.9, 0.3, 0.1),
            insertion=(0.1, 0.8, 0.9),
            deletion_chance=(0.9, 0.6, 0.1),
            insertion_chance=(0.1, 0.4, 0.9),
        ),
        "probes": Probes(
            shares=(0, 0.5),
            random=(0.9, 0.7),
            salient=(0.9, 0.2),
            non_salient=(0.9, 0.8),
            grids=(1, 4),
            shuffled=(0.9, 0.6),
        ),
        "deferral": DeferralCurve(deferred=(0, 0.5), error=(0.06, 0.01)),
        "explanation_checks": (ExplanationCheck(check="Pointing game", method="Grad-CAM", result="0.71", passed=True),),
        "failures": (Failure(name="field-9.jpg", truth="positive", probability=0.2, crop=crop, overlay=overlay),),
        "comparisons": (
            Comparison(against="ResNet-18", measure="AUROC", difference=around(0.01), p_value=0.2, test="DeLong"),
        ),
    }


def text_of(report: ValidationReport, folder: Path) -> list[str]:
    reader = PdfReader(write_validation_report(report, folder / "validation.pdf"))
    return [" ".join(page.extract_text().replace("\u00a0", " ").split()) for page in reader.pages]


def test_every_figure_is_printed_with_its_interval_and_n(make_validation: MakeValidation, tmp_path: Path) -> None:
    text = " ".join(text_of(make_validation(), tmp_path))
    assert "95 % percentile bootstrap over patients" in text
    assert "Sensitivity 90.0 % (88.0 to 91.0)" in text
    assert "AUROC 0.940 (0.920 to 0.950)" in text
    assert "Called positive 17 3" in text
    assert "60 fields, 6 patients" in text
    assert "Operating point out-of-fold cases sensitivity of 95 %" in text


def test_a_section_that_cannot_be_filled_is_named_with_its_reason(
    make_validation: MakeValidation, tmp_path: Path
) -> None:
    report = make_validation(subgroups=NotAvailable(reason="The cohort names no site."))
    pages = text_of(report, tmp_path)
    text = " ".join(pages)
    assert "Subgroups and fairness not available: The cohort names no site." in text
    assert "ROC curve, distribution of scores not available: Not handed over by this run." in text
    assert re.search(r"23b Differences between clusters not available: The cohort names no site\.", text)
    assert "Subgroups" not in pages[0]


def test_every_section_is_printed_when_given_and_found_by_its_page(
    make_validation: MakeValidation, every_section: dict[str, Any], tmp_path: Path
) -> None:
    pages = text_of(make_validation(**every_section), tmp_path)
    own = " ".join(pages).partition("What a validation report must say")[2].partition("CLAIM 2024 No.")[0]
    assert "Subgroups and fairness" in own
    assert "not available" not in own
    rows = re.findall(r"(Robustness to image quality|Analysis of errors) ([A-Z][a-z ]+) (\d+)", " ".join(pages))
    assert len(rows) == 2
    for _, heading, page in rows:
        assert heading in pages[int(page) - 1]


def test_every_item_of_the_guidelines_is_answered_by_a_page_or_a_reason(
    make_validation: MakeValidation, every_section: dict[str, Any], tmp_path: Path
) -> None:
    """Numbers as published: CLAIM 2024 has 44 items, STARD-AI 40 (48 rows), TRIPOD+AI 27 (52 rows)."""
    numbers = {name: [number for number, _, _ in items] for name, items in GUIDELINES.items()}
    assert numbers["CLAIM 2024"] == [str(number) for number in range(1, 45)]
    assert len(numbers["STARD-AI"]) == 48
    assert len({re.sub("[a-d]", "", number) for number in numbers["STARD-AI"]}) == 40
    assert len(numbers["TRIPOD+AI"]) == 52
    assert len({re.sub("[a-g]", "", number) for number in numbers["TRIPOD+AI"]}) == 27
    pages = text_of(make_validation(**every_section), tmp_path)
    text = " ".join(pages)
    rows = re.findall(r"(?:38 Diagnostic accuracy with intervals|31 Accuracy with intervals) Results (\d+)", text)
    assert len(rows) == 2
    assert all("2 × 2 counts" in pages[int(page) - 1] for page in rows)
    for items in GUIDELINES.values():
        for _, _, answer in items:
            assert answer.startswith("!") or answer in SECTIONS


def test_robustness_says_changed_and_refused_and_the_local_predictive_values(
    make_validation: MakeValidation, every_section: dict[str, Any], tmp_path: Path
) -> None:
    text = " ".join(text_of(make_validation(**every_section), tmp_path))
    assert "12 images of 6 patients." in text
    assert re.search(r"Rotation 90° 0\.900 .* 3\.5 % 10\.0 %", text)
    assert re.search(r"by case 5\.0 % 40\.0 % .* 98\.0 %", text)


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_figures_stand_alone_in_every_form_with_equal_bytes(every_section: dict[str, Any], form: Any) -> None:
    one, two = (robustness_figure(every_section["robustness"], form=form) for _ in range(2))
    assert one == two
    assert one.startswith({"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[form])
    if form == "svg":
        assert b"<text" not in one  # outlines: the file needs no font where it is opened


def test_further_checklist_items_point_to_sections(make_validation: MakeValidation, tmp_path: Path) -> None:
    items = (
        ChecklistItem(standard="Further list", item="Ground truth", section="Data"),
        ChecklistItem(standard="Further list", item="Registration number", reason="Not registered."),
    )
    text = " ".join(text_of(make_validation(checklist=items), tmp_path))
    assert re.search(r"Further list No\. Asked Answered in Page Ground truth Data \d", text)
    assert "Registration number not available: Not registered." in text


def test_a_split_by_image_is_printed_on_page_1(make_validation: MakeValidation, tmp_path: Path) -> None:
    assert "patients may be on both sides" in text_of(make_validation(split_by_image=True), tmp_path)[0]


def test_the_data_card_keeps_headings_lists_and_paragraphs(make_validation: MakeValidation, tmp_path: Path) -> None:
    card = "# Phantoms\nDrawn fields\nof cells.\n\n- two stains,\n  three sites\n\n"
    table = "| part | images |\n|---|---|\n| test | 80 |\n"
    text = " ".join(text_of(make_validation(data_card=card + table), tmp_path))
    assert "Phantoms Drawn fields of cells." in text
    assert "two stains, three sites" in text
    assert "part test, images 80" in text
    assert "|" not in text


def test_undefined_figures_are_said_to_be_undefined(make_validation: MakeValidation, tmp_path: Path) -> None:
    row = result("Test", "case").model_copy(update={"ppv": Estimate()})
    assert "PPV not defined" in " ".join(text_of(make_validation(results=(row,)), tmp_path))


def test_typed_text_is_never_markup(make_validation: MakeValidation, tmp_path: Path) -> None:
    hostile = '#panic("x") *b* $x$ <label> @ref'
    card = f"{hostile}\n\n- {hostile}\n"
    text = " ".join(text_of(make_validation(purpose=hostile, data_card=card), tmp_path))
    assert text.count(hostile) == 3


def test_equal_input_gives_equal_bytes(
    make_validation: MakeValidation, every_section: dict[str, Any], tmp_path: Path
) -> None:
    report = make_validation(**every_section)
    one = write_validation_report(report, tmp_path / "one.pdf").read_bytes()
    assert write_validation_report(report, tmp_path / "two.pdf").read_bytes() == one


def test_pdf_with_every_figure_declares_archival_and_accessible(
    make_validation: MakeValidation, every_section: dict[str, Any], tmp_path: Path
) -> None:
    report = make_validation(**every_section)
    reader = PdfReader(write_validation_report(report, tmp_path / "validation.pdf"))
    assert reader.xmp_metadata is not None
    packet = reader.xmp_metadata.stream.get_data().decode()
    assert re.search(r"pdfaid:conformance(>|=\")A", packet)
    assert re.search(r"pdfuaid:part(>|=\")1", packet)


def test_a_character_that_cannot_be_set_is_named(make_validation: MakeValidation, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"limits\[0\]: the character '胰'"):
        write_validation_report(make_validation(limits=("胰",)), tmp_path / "validation.pdf")


def test_arrays_of_different_lengths_are_refused(
    make_validation: MakeValidation, every_section: dict[str, Any]
) -> None:
    curve = every_section["roc"][0].model_dump() | {"sensitivity": (0.0, 1.0)}
    with pytest.raises(ValidationError, match="arrays of different lengths"):
        make_validation(roc=(curve,))
