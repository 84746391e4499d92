import io
import itertools
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from pypdf import PdfReader

from msht.errors import InvalidInput, UnreadableImage
from reports.case import CaseReport, CaseScore, Conformal, FieldRow, write_case_report
from reports.case_parts import NotShown
from reports.parts import Fact

MakeCase = Callable[..., CaseReport]
MakeRows = Callable[[int], tuple[FieldRow, ...]]


def pages(path: Path) -> list[str]:
    """The text of each page, on one line; break opportunities inside long words are dropped."""
    return [
        " ".join(page.extract_text().replace("\u200b", "").replace("\u00a0", " ").split())
        for page in PdfReader(path).pages
    ]


def set_pages(report: CaseReport, folder: Path) -> list[str]:
    return pages(write_case_report(report, folder / "case.pdf"))


def not_evaluable(make_case: MakeCase) -> CaseReport:
    rows = (FieldRow(name="a.jpg", sha256="", evaluable=False, rejected_because="truncated file"),)
    return make_case(
        call="not evaluable",
        not_evaluable_because="No field passed the quality gate.",
        score=None,
        conformal=None,
        deciding=(),
        fields=rows,
    )


def test_page_1_answers_in_the_order_in_which_one_asks(make_case: MakeCase, tmp_path: Path) -> None:
    first, _ = set_pages(make_case(), tmp_path)
    order = [
        "Case report",
        "Decision support, not a diagnosis",
        "Can the case be evaluated?",
        "Model call",
        "Refer?",
        "Fields that weighed most",
        "How well the model does at this threshold",
    ]
    places = [first.index(heading) for heading in order]
    assert places == sorted(places)


def test_page_1_gives_the_call_with_its_score_threshold_and_the_2_by_2_table(
    make_case: MakeCase, tmp_path: Path
) -> None:
    first, _ = set_pages(make_case(), tmp_path)
    assert "Positive for atypical or malignant-looking cells at the operating point" in first
    assert "Probability 0.87, calibrated: at or above the threshold of 0.41" in first
    assert "Operating point sensitivity of at least 95 % (page 2)" in first
    assert re.search(r"Called positive 9 1 PPV 90.0 %", first)
    assert "n = 25 cases of 25 patients, prevalence 44 %" in first
    assert "21 Nov 2026, 14:05 (UTC+01:00)" in first


def test_an_interval_is_printed_with_its_kind_and_whether_it_reaches_across_the_threshold(
    make_case: MakeCase, tmp_path: Path
) -> None:
    score = CaseScore(probability=0.87, logit=1.9, low=0.35, high=0.95, drawn_again="fields and networks")
    first, _ = set_pages(make_case(score=score), tmp_path)
    assert "Interval 0.35 to 0.95 (95 %), from drawing fields and networks again (bootstrap)" in first
    assert "It reaches across the threshold" in first
    first, _ = set_pages(make_case(score=score.model_copy(update={"low": 0.5})), tmp_path)
    assert "reaches across" not in first
    first, _ = set_pages(make_case(), tmp_path)
    assert "Interval None: one field and one network" in first


def test_page_2_holds_fields_rule_model_limits_and_the_human_block(make_case: MakeCase, tmp_path: Path) -> None:
    report = make_case()
    _, second = set_pages(report, tmp_path)
    for row in report.fields:
        assert row.name in second
        assert row.sha256[:8] in second
    assert "Fields: 3 positive among 5 evaluable; 0 not used." in second
    for words in (
        "As entered",
        "2 of 3",
        "Adequacy of the specimen",
        "override, because",
        "Signature",
        "Date",
    ):
        assert words in second


def test_every_page_says_which_report_and_which_page_it_is(make_case: MakeCase, tmp_path: Path) -> None:
    for number, text in enumerate(set_pages(make_case(), tmp_path), start=1):
        assert "R-2026-0007" in text
        assert f"page {number} of 2" in text


@pytest.mark.parametrize("number", [1, 2, 12, 13, 25, 40])
def test_every_field_is_listed_on_two_pages(
    make_case: MakeCase, make_rows: MakeRows, tmp_path: Path, number: int
) -> None:
    rows = make_rows(number)
    texts = set_pages(make_case(fields=rows), tmp_path)
    assert len(texts) == 2
    assert all(row.name in texts[1] for row in rows)


@pytest.mark.slow
def test_three_hundred_fields_are_all_listed_on_pages_of_their_own(
    make_case: MakeCase, make_rows: MakeRows, tmp_path: Path
) -> None:
    rows = make_rows(300)
    texts = set_pages(make_case(fields=rows[::-1]), tmp_path)
    assert "The 20 fields with the highest probabilities; all 300 are listed from page 3 on." in texts[1]
    assert rows[0].name in texts[1]
    assert rows[-1].name not in texts[1]
    assert "Assessment by the cytopathologist" in texts[1]
    listed = " ".join(texts[2:])
    assert all(row.name in listed for row in rows)
    for number, text in enumerate(texts[2:], start=3):
        assert f"page {number} of {len(texts)}" in text
        assert "Digest" in text  # the head of the table stands on each page


def test_a_case_that_cannot_be_evaluated_has_reasons_and_no_call(make_case: MakeCase, tmp_path: Path) -> None:
    first, _ = set_pages(not_evaluable(make_case), tmp_path)
    assert "Not evaluable: the model gives no call" in first
    assert "No field passed the quality gate." in first
    assert "truncated file" in first
    assert "threshold of" not in first


def test_an_indeterminate_case_shows_both_calls_and_its_zone(make_case: MakeCase, tmp_path: Path) -> None:
    both = Conformal(classes=("negative", "positive"), error=0.1, positive_from=0.3, negative_up_to=0.6)
    report = make_case(call="indeterminate", score=CaseScore(probability=0.45, logit=0.1), conformal=both)
    first, _ = set_pages(report, tmp_path)
    assert "Indeterminate: the probability does not tell positive from negative" in first
    assert "Conformal set positive and negative (coverage about 90 %, over many cases)" in first
    assert "Hatched: indeterminate, 0.30 to 0.60." in first


def test_a_case_unlike_the_cohort_says_so_in_place_of_the_call(
    make_case: MakeCase, make_rows: MakeRows, tmp_path: Path
) -> None:
    rows = tuple(row.model_copy(update={"out_of_distribution": number < 3}) for number, row in enumerate(make_rows(5)))
    first, _ = set_pages(make_case(fields=rows, out_of_distribution=True), tmp_path)
    assert "3 of 5 evaluable fields look unlike the development cohort." in first
    assert first.index("Unlike the development cohort") < first.index("For the record: Probability 0.87")
    assert "Positive for" not in first
    assert "These figures do not hold for a case like this one" in first


def test_a_negative_call_excludes_nothing(make_case: MakeCase, tmp_path: Path) -> None:
    report = make_case(call="negative", score=CaseScore(probability=0.1, logit=-2.0), refer=False)
    first, _ = set_pages(report, tmp_path)
    assert "A negative call does not exclude malignancy." in first


def test_splits_by_image_phantoms_and_changed_thresholds_are_printed_on_page_1(
    make_case: MakeCase, tmp_path: Path
) -> None:
    point = make_case().operating_point.model_copy(update={"overridden": True})
    report = make_case(split_by_image=True, synthetic=True, operating_point=point)
    first, _ = set_pages(report, tmp_path)
    assert "Split by image: patients may be on both sides" in first
    assert "Synthetic phantom data" in first
    assert "The threshold was set by the user" in first


@pytest.mark.parametrize("call", ["positive", "negative", "indeterminate", "not evaluable"])
def test_the_report_never_says_what_it_must_not(make_case: MakeCase, tmp_path: Path, call: str) -> None:
    report = not_evaluable(make_case) if call == "not evaluable" else make_case(call=call)
    text = " ".join(set_pages(report, tmp_path)).lower()
    for phrase in ("papanicolaou", "who category", "cancer", "excluded", "treatment", "surgery", "benign"):
        assert phrase not in text
    assert text.count("risk") == text.count("it is not this patient’s risk") + text.count("not this patient's risk")
    assert not re.search(r"(?<!no )proof", text)


def test_a_scale_bar_or_the_words_that_there_is_none(make_case: MakeCase, tmp_path: Path) -> None:
    first, _ = set_pages(make_case(), tmp_path)
    assert "No scale bar: the size of a pixel was not given." in first
    known = tuple(field.model_copy(update={"microns_per_pixel": 0.25}) for field in make_case().deciding)
    first, _ = set_pages(make_case(deciding=known), tmp_path)
    assert "50 µm" in first
    assert "No scale bar" not in first


HOSTILE = (
    '#panic("x") #eval("1+1") #read("data.json") *b* _i_ `r` $x$ <label> @ref = h // c /* d */ \\ ] } "',
    "שלום עולם",
    "محمد بن عبد الله",
    "😀 ☺",
    "Zoë Ångström Łukasz Ωmega Дмитрий",
    "a\r\nb\tc",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_user_types_is_text_and_never_markup(
    make_case: MakeCase, make_rows: MakeRows, tmp_path: Path, text: str
) -> None:
    rows = make_rows(2)
    rows = (rows[0].model_copy(update={"name": text}), rows[1])
    report = make_case(case_id=text, entered=(Fact(name=text, value=text),), fields=rows, deciding=())
    texts = set_pages(report, tmp_path)
    assert len(texts) == 2
    if text.isascii():
        assert " ".join(text.split()) in texts[1]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1, max_size=300))
def test_any_text_is_set_on_two_pages_or_refused_by_name(make_case: MakeCase, tmp_path: Path, text: str) -> None:
    report = make_case(entered=(Fact(name="Note", value=text),), deciding=())
    try:
        assert len(set_pages(report, tmp_path)) == 2
    except InvalidInput as error:
        named = re.search(r"U\+([0-9A-F]{4,6})", error.problem)
        assert named is not None
        assert chr(int(named[1], 16)) in text


def test_ten_thousand_characters_are_shortened_and_said_to_be(make_case: MakeCase, tmp_path: Path) -> None:
    entered = tuple(Fact(name="Note", value="x" * 10_000) for _ in range(8))
    report = make_case(entered=entered, limits=("So long. " * 300,) * 20, warnings=("So long. " * 300,) * 9)
    texts = set_pages(report, tmp_path)
    assert len(texts) == 2
    assert "[shortened; 10,000 characters in all]" in texts[1]


def test_the_list_of_fields_goes_to_a_page_of_its_own_before_what_must_be_read_is_cut(
    make_case: MakeCase, make_rows: MakeRows, tmp_path: Path
) -> None:
    limits = tuple(f"Limit {n} is long{', as such sentences are where they say much' * 4}." for n in range(8))
    note = "Bloody aspirate, little material in the second pass. " * 9
    report = make_case(fields=make_rows(40), limits=limits, entered=(Fact(name="Note", value=note),))
    texts = set_pages(report, tmp_path)
    assert len(texts) == 3
    assert "shortened" not in texts[1]
    assert all(limit in texts[1] for limit in limits)
    assert note.strip() in texts[1]


def test_a_field_without_a_photograph_is_named_in_place_of_a_picture(make_case: MakeCase, tmp_path: Path) -> None:
    shown = make_case().deciding
    gone = tuple(NotShown(name=field.name, probability=field.probability) for field in shown)
    some = set_pages(make_case(deciding=shown[:1], not_shown=gone[1:]), tmp_path)[0]
    assert f"Without a picture, since the photograph is no longer where it was scored: {gone[1].name}" in some
    assert "Fields that weighed most" in some
    none = set_pages(make_case(deciding=(), not_shown=gone, heat_map=None), tmp_path)[0]
    assert gone[0].name in none
    assert "heat map" not in none


def test_a_case_without_a_call_asks_nobody_to_agree_with_it(make_case: MakeCase, tmp_path: Path) -> None:
    reason = {"call": "not evaluable", "score": None, "conformal": None, "not_evaluable_because": "No field passed."}
    assert "override, because" not in set_pages(make_case(**reason, deciding=(), heat_map=None), tmp_path)[1]
    assert "override, because" in set_pages(make_case(), tmp_path)[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("细胞", r"entered\[0\]\.value: the character '细' \(U\+7EC6"),
        ("a\x00b", r"entered\[0\]\.value: the character \(U\+0000"),
        ("a\u202eb", r"U\+202E, RIGHT-TO-LEFT OVERRIDE"),
        ("\ue000", r"U\+E000"),
        ("a👩\u200d🔬b", r"entered\[0\]\.value: the character '👩' \(U\+1F469, WOMAN\)"),
    ],
)
def test_a_character_that_cannot_be_set_is_named_with_its_field(
    make_case: MakeCase, tmp_path: Path, text: str, said: str
) -> None:
    report = make_case(entered=(Fact(name="Note", value=text),))
    with pytest.raises(InvalidInput, match=said):
        write_case_report(report, tmp_path / "case.pdf")
    assert not (tmp_path / "case.pdf").exists()


def test_a_missing_image_is_one_sentence_and_nothing_is_written(make_case: MakeCase, tmp_path: Path) -> None:
    report = make_case()
    report.deciding[0].crop.unlink()
    with pytest.raises(InvalidInput, match=r"crop\.png, the crop of field field-000\.jpg, does not exist"):
        write_case_report(report, tmp_path / "case.pdf")
    assert not (tmp_path / "case.pdf").exists()


def test_a_broken_image_is_one_sentence(make_case: MakeCase, tmp_path: Path) -> None:
    report = make_case()
    report.deciding[0].crop.write_bytes(b"not an image")
    with pytest.raises(UnreadableImage, match=r"crop\.png, the crop of field"):
        write_case_report(report, tmp_path / "case.pdf")


def test_equal_input_gives_equal_bytes_and_another_time_does_not(make_case: MakeCase, tmp_path: Path) -> None:
    report = make_case()
    one = write_case_report(report, tmp_path / "one.pdf").read_bytes()
    two = write_case_report(report, tmp_path / "elsewhere" / "two.pdf").read_bytes()
    later = report.model_copy(update={"created": report.created.replace(minute=6)})
    assert one == two
    assert write_case_report(later, tmp_path / "later.pdf").read_bytes() != one


def test_pdf_declares_archival_and_accessible_and_every_figure_has_words(make_case: MakeCase, tmp_path: Path) -> None:
    reader = PdfReader(write_case_report(make_case(), tmp_path / "case.pdf"))
    assert reader.xmp_metadata is not None
    packet = reader.xmp_metadata.stream.get_data().decode()
    assert re.search(r"pdfaid:part(>|=\")2", packet)
    assert re.search(r"pdfaid:conformance(>|=\")A", packet)
    assert re.search(r"pdfuaid:part(>|=\")1", packet)
    root = reader.trailer["/Root"]
    assert root["/Lang"].startswith("en")
    assert root["/MarkInfo"]["/Marked"]
    assert reader.metadata is not None
    assert reader.metadata.title == "Case report case-17"
    tags = list(tree(root["/StructTreeRoot"]))
    figures = [tag for tag in tags if tag.get("/S") == "/Figure"]
    assert len(figures) >= 6
    assert all(figure.get("/Alt") for figure in figures)
    assert sum(tag.get("/S") == "/TH" for tag in tags) >= 11
    levels = [int(str(tag["/S"])[2:]) for tag in tags if re.fullmatch(r"/H\d", str(tag.get("/S")))]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def tree(node):  # type: ignore[no-untyped-def]
    """Every element of a PDF structure tree, in reading order."""
    kids = node.get("/K", [])
    for kid in kids if isinstance(kids, list) else [kids]:
        kid = kid.get_object() if hasattr(kid, "get_object") else kid
        if isinstance(kid, dict) and "/S" in kid:
            yield kid
            yield from tree(kid)


@pytest.mark.slow
def test_large_images_are_shrunk_to_what_the_page_needs(make_case: MakeCase, tmp_path: Path) -> None:
    report = make_case()
    stream = io.BytesIO()
    Image.effect_noise((2400, 1800), 80).convert("RGB").save(stream, format="PNG")
    for path in (report.deciding[0].crop, report.deciding[0].overlay):
        path.write_bytes(stream.getvalue())
    assert write_case_report(report, tmp_path / "case.pdf").stat().st_size < 2_000_000


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"call": "not evaluable"}, "not_evaluable_because is needed"),
        ({"score": None}, "score is needed"),
        ({"heat_map": None}, "heat_map is needed"),
        ({"refer_because": ()}, "at least one sentence"),
    ],
)
def test_a_case_that_contradicts_itself_is_refused(make_case: MakeCase, changes: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        make_case(**changes)


def test_an_existing_report_survives_a_failed_one(make_case: MakeCase, tmp_path: Path) -> None:
    out = write_case_report(make_case(), tmp_path / "case.pdf")
    kept = tmp_path / "kept.pdf"
    shutil.copy(out, kept)
    with pytest.raises(InvalidInput):
        write_case_report(make_case(case_id="细"), out)
    assert out.read_bytes() == kept.read_bytes()
