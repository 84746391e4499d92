"""What page 1 says of a borderline call, of disagreeing fields, of faint maps, of how fields were scored; slides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError
from pypdf import PdfReader

from msht.errors import MissingResource
from pipelines.report_case import SURE_OF_SET
from reports import wording
from reports.case import (
    CaseReport,
    CaseScore,
    Conformal,
    FieldRow,
    OperatingPoint,
    ScoringFacts,
    write_case_report,
)
from reports.case_call_view import alerts, call_view, counts_view, refer_view, scale_view, strip_view
from reports.case_index import CaseIndex, IndexRow, index_view
from reports.case_maps_view import deciding_view
from reports.case_parts import DecidingField, HeatMap, SlidePicture
from reports.case_table_view import table_view
from reports.fonts import chinese_font, has_chinese_font
from reports.words import Language, words_of

MakeCase = Callable[..., CaseReport]
MakeRows = Callable[[int], tuple[FieldRow, ...]]
WORDS = words_of("en")


def set_pages(report: CaseReport, folder: Path) -> list[str]:
    reader = PdfReader(write_case_report(report, folder / "case.pdf"))
    return [" ".join(page.extract_text().replace("\u200b", "").replace("\u00a0", " ").split()) for page in reader.pages]


def test_a_call_that_could_have_been_the_other_is_not_passed_over_where_the_rule_refers_nothing(
    make_case: MakeCase,
) -> None:
    score = CaseScore(probability=0.62, logit=0.5, low=0.3, high=0.8, drawn_again="fields and networks")
    report = make_case(score=score, refer=False, refer_because=("The conformal set holds this call alone.",))
    said = refer_view(report, WORDS, 200)
    assert said["answer"] == "Not by the rule, yet read it with particular care."
    assert said["because"].startswith("The interval reaches across the threshold.")
    into_zone = report.model_copy(update={"score": score.model_copy(update={"low": 0.5})})
    assert refer_view(into_zone, WORDS, 200)["because"].startswith("The interval reaches into the indeterminate zone.")
    clear = report.model_copy(update={"score": score.model_copy(update={"low": 0.6})})
    assert refer_view(clear, WORDS, 200)["answer"] == "The model asks for no reading beyond the usual one."
    referred = report.model_copy(update={"refer": True})
    assert refer_view(referred, WORDS, 200)["answer"] == "Refer to a cytopathologist."


def test_a_call_on_one_field_asks_for_care_in_the_report_and_in_the_index(
    make_case: MakeCase, make_rows: MakeRows
) -> None:
    score = CaseScore(probability=0.9, logit=2.0, low=0.85, high=0.95, drawn_again="networks")
    report = make_case(score=score, refer=False, fields=make_rows(1), deciding=())
    assert refer_view(report, WORDS, 200)["because"].startswith("The call rests on a single field.")
    row = IndexRow(case_id="a", call="positive", refer=False, with_care=report.with_care, positive_fields=1,
                   evaluable_fields=1, images=1, file="case-a.pdf")  # fmt: skip
    index = CaseIndex(created=report.created, scores="s", bundle="b", rows=(row,))
    assert index_view(index, WORDS)["groups"][0]["rows"][0]["cells"][4] == "With care"
    assert not make_case(score=score, refer=False).with_care


def test_every_evaluable_field_is_in_the_strip(make_case: MakeCase, make_rows: MakeRows) -> None:
    rows = make_rows(9)
    refused = rows[0].model_copy(update={"evaluable": False, "rejected_because": "too dark"})
    report = make_case(fields=(refused, *rows[1:]), deciding=(), field_threshold=0.41)
    strip = strip_view(report, WORDS)
    assert strip is not None
    assert strip["said"].startswith(f"{sum(row.call == 'positive' for row in rows[1:])} of 8 evaluable fields")
    heights = [below + above for _, _, below, above in strip["bars"]]
    assert max(heights) == 1
    # Shares are of the fullest step, which holds one field here.
    assert sum(heights) == 8
    assert all(0 <= start < 1 for start, *_ in strip["bars"])


def test_one_field_is_no_share_of_many(make_case: MakeCase, make_rows: MakeRows) -> None:
    strip = strip_view(make_case(fields=make_rows(1), deciding=(), field_threshold=0.41), WORDS)
    assert strip is not None
    assert strip["said"] == "The one evaluable field is positive (from a field probability of 0.41)."


def test_flags_are_shown_whole_and_the_others_counted(make_case: MakeCase, make_rows: MakeRows) -> None:
    flags = ("out of focus", "too bright", "overexposed pixels", "low contrast")
    row = make_rows(1)[0].model_copy(
        update={"evaluable": False, "quality": flags, "rejected_because": "x", "call": None}
    )
    cells = table_view(make_case(fields=(row,), deciding=()), 40, WORDS)["rows"][0]["cells"]
    assert "out of focus, too bright +2" in cells


def test_the_strip_shows_a_field_on_the_side_that_it_was_called(make_case: MakeCase, make_rows: MakeRows) -> None:
    called = [(0.052, "negative"), (0.058, "negative"), (0.0599, "positive"), (0.9, "positive")]
    rows = tuple(
        row.model_copy(update={"probability": probability, "call": call})
        for row, (probability, call) in zip(make_rows(4), called, strict=True)
    )
    strip = strip_view(make_case(fields=rows, deciding=(), field_threshold=0.0597), WORDS)
    assert strip is not None
    # Three lie in one step with the threshold: two below it, one above.
    assert strip["bars"] == [
        [0.05, 0.025, pytest.approx(2 / 3), pytest.approx(1 / 3)],
        [0.9, 0.025, 0, pytest.approx(1 / 3)],
    ]
    assert "2 of 4 evaluable fields are positive (dark;" in strip["said"]


def test_a_certain_field_is_in_the_last_step_of_the_strip(make_case: MakeCase, make_rows: MakeRows) -> None:
    rows = tuple(row.model_copy(update={"probability": p}) for row, p in zip(make_rows(2), (1.0, 0.0), strict=True))
    strip = strip_view(make_case(fields=rows, deciding=(), field_threshold=0.41), WORDS)
    assert strip is not None
    assert [start for start, *_ in strip["bars"]] == [0.0, pytest.approx(0.975)]


@pytest.mark.parametrize(
    ("peak", "said"),
    [
        (None, ""),
        (0.0, "map up to 0: almost blank"),
        (0.02, "map up to 0.02: almost blank"),
        (0.5, "map up to 0.5"),
        (1.0, "map up to 1"),
        (2.34, "map up to 2.3: beyond the scale"),
    ],
)
def test_a_map_says_how_much_of_the_scale_it_uses(make_case: MakeCase, peak: float | None, said: str) -> None:
    field = make_case().deciding[0].model_copy(update={"peak": peak})
    shown = deciding_view(field, 0, 1.0, WORDS)
    assert shown["peak"] == said
    assert said in shown["overlay_alt"]


def test_a_negative_case_says_what_its_colours_mean_and_failed_checks_are_named_on_page_1(
    make_case: MakeCase, tmp_path: Path
) -> None:
    sentence = "Such maps were checked."
    heat = HeatMap(method="LayerCAM", layer="backbone stage 3", high=0.1, faithfulness=sentence, view_size=96,
                   failed_checks=("deletion",))  # fmt: skip
    report = make_case(call="negative", score=CaseScore(probability=0.1, logit=-2.0), refer=False, heat_map=heat)
    first, second = set_pages(report, tmp_path)
    assert "the colours show the strongest of what little speaks for positive" in first
    assert "not passed: deletion (page 2)" in first
    assert "(at 96 × 96 px, 34 % of its area)" in first  # a square of 700 px of 1390 x 1038
    assert sentence in second


def test_networks_orientations_and_threshold_of_the_scoring_are_on_page_1(make_case: MakeCase, tmp_path: Path) -> None:
    point = make_case().operating_point.model_copy(update={"overridden": True})
    scoring = ScoringFacts(folds=(2,), test_time="dihedral", backend="onnx")
    first, second = set_pages(make_case(scoring=scoring, operating_point=point), tmp_path)
    assert "networks answered (fold 2)" in first
    assert "a mean over 8 orientations" in first
    assert "The threshold was set by the user to 0.41" in first
    assert "How well the model does at the bundle's own threshold" in first.replace("’", "'")
    assert "1 of 1 networks (fold 2), orientations: 8, onnx" in second
    first, _ = set_pages(make_case(), tmp_path)
    assert "networks answered" not in first
    assert "orientations of the field" not in first


def test_page_1_names_the_reasons_of_refused_fields_and_a_call_on_one_field(
    make_case: MakeCase, make_rows: MakeRows, tmp_path: Path
) -> None:
    rows = make_rows(4)
    dark = tuple(
        row.model_copy(
            update={"evaluable": False, "call": None, "quality": ("too dark",), "rejected_because": "too dark"}
        )
        for row in rows[1:]
    )
    first, _ = set_pages(make_case(fields=(rows[0], *dark), deciding=()), tmp_path)
    assert "Fields used: 1 of 4. Not used: 3 (too dark: 3; see page 2). The call rests on a single field." in first


def slide_case(make_case: MakeCase, make_rows: MakeRows, folder: Path, tiles: int, shown: int = 20) -> CaseReport:
    rows = make_rows(tiles)
    report = make_case(fields=rows)
    crop, overlay = report.deciding[0].crop, report.deciding[0].overlay
    weighty = tuple(
        DecidingField(name=row.name, crop=crop, overlay=overlay, probability=row.probability or 0.0, crop_width=384,
                      microns_per_pixel=0.5, peak=0.01)
        for row in rows[:shown]
    )  # fmt: skip
    picture = SlidePicture(name="slide one.svs", picture=overlay, tiles=tiles, evaluable=tiles, positive=7)
    return make_case(fields=rows, deciding=weighty[:4], tiles=weighty, slides=(picture,), listed_in="images.csv")


def test_a_slide_shows_its_weightiest_tiles_and_its_map_and_never_thousands_of_rows(
    make_case: MakeCase, make_rows: MakeRows, tmp_path: Path
) -> None:
    report = slide_case(make_case, make_rows, tmp_path, 3000)
    path = write_case_report(report, tmp_path / "case.pdf")
    reader = PdfReader(path)
    texts = [" ".join(page.extract_text().split()) for page in reader.pages]
    assert len(texts) == 4
    assert "The 20 tiles that weighed most; all 3,000 are listed in images.csv." in texts[1]
    assert "median" in texts[1]
    assert "Assessment by the cytopathologist" in texts[1]
    assert "The 20 tiles that weighed most" in texts[2]
    assert all(tile.name in texts[2] for tile in report.tiles)
    assert "Where on the slide: slide one.svs" in texts[3]
    assert "Tiles scored: 3,000; evaluable: 3,000; positive: 7." in texts[3]
    assert path.stat().st_size < 2_000_000
    assert write_case_report(report, tmp_path / "again.pdf").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("language", [language for language in ("en", "zh") if language == "en" or has_chinese_font()])
def test_the_map_of_a_tall_slide_stays_on_the_page_of_its_words(
    make_case: MakeCase, make_rows: MakeRows, tmp_path: Path, language: Language
) -> None:
    tall = tmp_path / "tall.png"
    Image.new("RGB", (1000, 1600), "white").save(tall)
    report = slide_case(make_case, make_rows, tmp_path, 30)
    slide = report.slides[0].model_copy(update={"picture": tall})
    path = write_case_report(report.model_copy(update={"slides": (slide,)}), tmp_path / "case.pdf", language=language)
    pages = PdfReader(path).pages
    assert len(pages) == 4
    assert "slide one.svs" in pages[3].extract_text()
    assert len(pages[3].images) == 1


UNLIKE = {
    "en": {
        (6, True): "6 of 21 evaluable tiles look unlike the development cohort.",
        (1, True): "1 of 21 evaluable tiles looks unlike the development cohort.",
        (6, False): "6 of 21 evaluable fields look unlike the development cohort.",
        (1, False): "1 of 21 evaluable fields looks unlike the development cohort.",
    },
    "zh": {
        (6, True): "21 个可评价图块中有 6 个与开发队列不相似。",
        (1, True): "21 个可评价图块中有 1 个与开发队列不相似。",
        (6, False): "21 个可评价视野中有 6 个与开发队列不相似。",
        (1, False): "21 个可评价视野中有 1 个与开发队列不相似。",
    },
}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(("number", "of_slides"), [(6, True), (1, True), (6, False), (1, False)])
@pytest.mark.parametrize("call", ["positive", "not evaluable"])
def test_page_1_counts_a_minority_unlike_the_cohort(
    make_case: MakeCase, make_rows: MakeRows, language: Language, number: int, of_slides: bool, call: str
) -> None:
    rows = tuple(
        row.model_copy(update={"out_of_distribution": place < number}) for place, row in enumerate(make_rows(21))
    )
    report = make_case(fields=rows, of_slides=of_slides, call=call, not_evaluable_because="x", refer=False)
    assert refer_view(report, words_of(language), 260)["unlike"] == UNLIKE[language][number, of_slides]


def test_the_count_of_a_minority_is_printed_on_page_1_of_a_slide_and_the_pages_fit(
    make_case: MakeCase, make_rows: MakeRows, tmp_path: Path
) -> None:
    report = slide_case(make_case, make_rows, tmp_path, 21)
    rows = tuple(row.model_copy(update={"out_of_distribution": place < 6}) for place, row in enumerate(report.fields))
    report = report.model_copy(update={"fields": rows, "of_slides": True, "refer_because": (SURE_OF_SET,)})
    first, *others = set_pages(report, tmp_path)
    assert "6 of 21 evaluable tiles look unlike the development cohort." in first
    assert "look like" not in first
    assert len(others) == 3


def test_a_case_unlike_the_cohort_as_a_whole_has_its_count_once(make_case: MakeCase, make_rows: MakeRows) -> None:
    rows = tuple(row.model_copy(update={"out_of_distribution": True}) for row in make_rows(3))
    report = make_case(fields=rows, deciding=(), out_of_distribution=True)
    assert refer_view(report, WORDS, 260)["unlike"] == ""
    assert call_view(report, WORDS)["unlike"].startswith("3 of 3 evaluable fields look unlike")
    assert refer_view(make_case(), WORDS, 260)["unlike"] == ""


@pytest.mark.parametrize(
    ("threshold", "members", "english", "chinese"),
    [
        (0.99, ("positive",), "the threshold says negative, the conformal set positive",
         "按阈值为阴性，而共形预测集为阳性"),
        (0.5, ("negative",), "the threshold says positive, the conformal set negative",
         "按阈值为阳性，而共形预测集为阴性"),
        (0.5, ("positive",), "the probability lies too near the threshold", "该概率过于接近阈值"),
        (0.5, (), "the probability is typical of neither call", "该概率不符合任一判定的常见情形"),
        (0.5, ("negative", "positive"), "the probability does not tell positive from negative",
         "该概率不足以区分阳性与阴性"),
    ],
)  # fmt: skip
def test_an_indeterminate_case_is_headed_by_its_reason(
    make_case: MakeCase, threshold: float, members: tuple[str, ...], english: str, chinese: str
) -> None:
    report = make_case(
        call="indeterminate",
        score=CaseScore(probability=0.88, logit=2.0),
        operating_point=OperatingPoint(threshold=threshold, rule="r", data="d"),
        conformal=Conformal(classes=members, error=0.1),  # type: ignore[arg-type]
    )
    assert call_view(report, WORDS)["headline"] == f"Indeterminate: {english}"
    assert call_view(report, words_of("zh"))["headline"] == f"不确定：{chinese}"


def test_the_caveat_of_a_negative_call_stands_clear_of_its_heading(make_case: MakeCase, tmp_path: Path) -> None:
    places: dict[str, float] = {}

    def note(text: str, matrix: list[float], *_: object) -> None:
        for start in ("Negative: below", "A negative call"):
            if text.startswith(start):
                places[start] = matrix[5]

    report = make_case(call="negative", score=CaseScore(probability=0.1, logit=-2.0), refer=False)
    path = write_case_report(report, tmp_path / "case.pdf")
    PdfReader(path).pages[0].extract_text(visitor_text=note)
    # From base line to base line, in points; both lines have letters that hang below it.
    assert 13 < places["Negative: below"] - places["A negative call"] < 20


def test_a_single_image_is_counted_in_the_singular(make_case: MakeCase) -> None:
    rows = (FieldRow(name="a.jpg", sha256="", evaluable=False, rejected_because="truncated file"),)
    report = make_case(call="not evaluable", not_evaluable_because="x", fields=rows, deciding=())
    assert counts_view(report, WORDS, 260).startswith("Of 1 image, 0 can be evaluated: 1 could not be read")
    two = report.model_copy(update={"fields": rows * 2})
    assert counts_view(two, WORDS, 260).startswith("Of 2 images, 0 can be evaluated")


def test_quantiles_are_those_of_numpy_over_the_evaluable_fields(make_case: MakeCase, make_rows: MakeRows) -> None:
    rows = make_rows(101)
    table = table_view(make_case(fields=rows), 40, WORDS)
    head, probability, _ = table["spread"]
    assert head[1:] == ["lowest", "5\u00a0%", "25\u00a0%", "median", "75\u00a0%", "95\u00a0%", "highest"]
    assert probability[1:] == ["0.050", "0.096", "0.280", "0.510", "0.740", "0.924", "0.970"]
    assert len(table["all"]) == 101


def test_a_tile_that_is_no_field_of_the_case_is_refused(make_case: MakeCase, make_rows: MakeRows) -> None:
    report = make_case()
    stranger = report.deciding[0].model_copy(update={"name": "elsewhere"})
    with pytest.raises(ValidationError, match="pictures of fields that are not in fields"):
        make_case(tiles=(stranger,))


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_page_full_of_notes_and_crops_still_fits(make_case: MakeCase, tmp_path: Path, language: Language) -> None:
    if language == "zh":
        try:
            chinese_font()
        except MissingResource as error:
            pytest.skip(str(error))
    base = make_case()
    known = {"shown": (2, 3), "whole": base.deciding[0].crop, "microns_per_pixel": 0.2, "peak": 0.1, "speaks": "for"}
    rows = base.fields[:4]
    deciding = tuple(base.deciding[0].model_copy(update=known | {"name": row.name}) for row in rows)
    report = make_case(
        call="indeterminate",
        deciding=deciding,
        score=CaseScore(probability=0.5, logit=0.1, low=0.1, high=0.9, drawn_again="fields and networks"),
        operating_point=base.operating_point.model_copy(update={"overridden": True}),
        scoring=ScoringFacts(folds=(1,), test_time="flips"),
        split_by_image=True,
        synthetic=True,
        warnings=("On out-of-fold cases the score does not rise with the reference, and so on for long. " * 2,) * 3,
        refer_because=("The score lies too near the threshold for the error allowed among unreferred cases.",) * 3,
    )
    assert len(PdfReader(write_case_report(report, tmp_path / "case.pdf", language=language)).pages) == 2


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_index_says_how_its_answers_were_made(make_case: MakeCase, language: Language) -> None:
    words = words_of(language)
    row = IndexRow(case_id="a", call="positive", probability=0.78, refer=False, positive_fields=1, evaluable_fields=3,
                   images=3, file=None, failed_because="The photograph is gone.")  # fmt: skip
    plain = CaseIndex(created=make_case().created, scores="s", bundle="b", rows=(row,), networks=5)
    assert len(index_view(plain, words)["alerts"]) == 1  # the report that is missing
    # Whether care is asked for stands in the report, which there is not.
    assert index_view(plain, words)["groups"][0]["rows"][0]["cells"][4] == {"en": "Not known", "zh": "未知"}[language]
    scoring = ScoringFacts(folds=(1, 3), test_time="flips")
    changed = plain.model_copy(update={"threshold_set": 0.8155, "scoring": scoring, "synthetic": True})
    said = " ".join(index_view(changed, words)["alerts"])
    assert words.say("alert_synthetic") in said
    for number in ("0.8155", "2", "5", "4"):
        assert number in said


def test_a_threshold_that_was_set_is_printed_as_it_was_set(make_case: MakeCase, tmp_path: Path) -> None:
    point = OperatingPoint(threshold=0.8155, rule="set by the user for this scoring", data="none", overridden=True)
    first, second = set_pages(make_case(operating_point=point), tmp_path)
    assert "The threshold was set by the user to 0.8155;" in first
    assert "Threshold 0.8155: set by the user for this scoring, not chosen on any data;" in second
    assert "; none." not in second


def test_the_id_of_a_report_can_be_searched_for(make_case: MakeCase, tmp_path: Path) -> None:
    name = "a8ce3f-20261127-222220-e6ff22"
    path = write_case_report(make_case(report_id=name), tmp_path / "case.pdf")
    assert all(name in page.extract_text() for page in PdfReader(path).pages)


def test_figures_that_round_alike_are_printed_apart(make_case: MakeCase) -> None:
    assert (wording.score(0.77712, 0.7772), wording.score(0.7772, 0.77712)) == ("0.7771", "0.7772")
    assert wording.score(0.5, 0.5) == "0.50"
    assert "1.000" not in wording.score(0.99996, 0.99999)
    point = make_case().operating_point.model_copy(update={"threshold": 0.4})
    conformal = Conformal(classes=("negative",), error=0.1, positive_from=0.2794, negative_up_to=0.59)
    report = make_case(call="negative", score=CaseScore(probability=0.2756, logit=-1.0), operating_point=point,
                       conformal=conformal, deciding=())  # fmt: skip
    scale = scale_view(report, WORDS)
    assert scale is not None
    assert scale["score_label"] == "0.276"
    assert "0.279 to 0.59" in scale["note"]


def test_two_long_ids_are_told_apart_on_every_page_and_in_the_index(make_case: MakeCase, tmp_path: Path) -> None:
    ids = [f"patient 1234567 pancreas head pass {letter} endoscopy unit two november" for letter in "AB"]
    for case in ids:
        first, second = set_pages(make_case(case_id=case), tmp_path)
        assert case in first
        assert case in second.partition("Assessment by the cytopathologist")[2]
    rows = tuple(
        IndexRow(case_id=case, call="negative", refer=False, positive_fields=0, evaluable_fields=1, images=1, file="x")
        for case in (*ids, "short")
    )
    index = CaseIndex(created=make_case().created, scores="s", bundle="b", rows=rows)
    names = [row["cells"][1] for group in index_view(index, WORDS)["groups"] for row in group["rows"]]
    assert len({name.replace("\u200b", "") for name in names}) == 3


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ()),
        ({"scoring": ScoringFacts(folds=(1,))}, ("answered_otherwise",)),
        ({"scoring": ScoringFacts(test_time="flips")}, ("answered_otherwise",)),
    ],
)
def test_care_is_asked_for_where_the_answer_came_about_otherwise(
    make_case: MakeCase, changes: dict[str, Any], why: tuple[str, ...]
) -> None:
    score = CaseScore(probability=0.9, logit=2.0, low=0.8, high=0.95, drawn_again="fields and networks")
    assert make_case(score=score, refer=False, **changes).care == why


def test_care_is_asked_for_by_refused_unlike_and_copied_fields(make_case: MakeCase, make_rows: MakeRows) -> None:
    score = CaseScore(probability=0.9, logit=2.0, low=0.8, high=0.95, drawn_again="fields and networks")

    def care(rows: tuple[FieldRow, ...]) -> tuple[str, ...]:
        return make_case(score=score, refer=False, fields=rows, deciding=()).care

    rows = make_rows(5)
    dark = {"evaluable": False, "call": None, "quality": ("too dark",), "rejected_because": "too dark"}
    assert care((*rows[:2], *(row.model_copy(update=dark) for row in rows[2:]))) == ("mostly_refused",)
    assert care((rows[0].model_copy(update={"out_of_distribution": True}), *rows[1:])) == ("some_unlike",)
    copies = tuple(row.model_copy(update={"sha256": rows[0].sha256}) for row in rows)
    assert care(copies) == ("single_field",)
    report = make_case(score=score, refer=False, fields=copies, deciding=())
    assert any("equal bytes): 4" in said for said in alerts(report, WORDS, 200))


def test_what_was_taken_away_of_a_case_without_a_call_is_named(make_case: MakeCase, tmp_path: Path) -> None:
    row = make_case().fields[0]
    report = make_case(call="not evaluable", score=None, conformal=None, not_evaluable_because="No field passed.",
                       deciding=(), heat_map=None, rejected_gone=(row.name,))  # fmt: skip
    first = set_pages(report, tmp_path)[0]
    assert f"Without a picture, since the photograph is no longer where it was scored: {row.name}" in first
    assert "These figures are about cases with a call; this case has none." in first
