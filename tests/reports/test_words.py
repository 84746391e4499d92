"""The tables of the languages are complete, and what the program stores in English is recognised."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typst

from msht.calibration.operating_point import threshold_for_sensitivity
from msht.decision import Decision, Point, decide_case
from msht.errors import MissingResource
from msht.images.quality import Limits, Quality, QualityGate
from pipelines.bundle import LIMITS
from pipelines.explain_maps import METHOD, METHODS_IN_WORDS
from pipelines.explanation_checks import in_a_sentence
from pipelines.report_case import SURE, SURE_OF_SET
from pipelines.report_case_parts import ORIENTATIONS, _flag
from reports import fonts
from reports.case import CaseReport, CaseScore, write_case_report
from reports.case_index import CaseIndex, IndexRow, index_view, most_urgent_first
from reports.case_parts import HeatMap
from reports.case_view import view
from reports.words import LANGUAGES, SECTIONS, placeholders, words_of

MakeCase = Callable[..., CaseReport]
ENGLISH = re.compile(r"[A-Za-z]{3,}[ ,;:]+[A-Za-z]{2,}")
"""Two English words beside each other."""


@pytest.mark.parametrize("section", SECTIONS)
def test_every_language_has_the_same_strings_with_the_same_placeholders(section: str) -> None:
    english = {name: placeholders(text) for name, text in words_of("en").tables[section].items()}
    for language in LANGUAGES:
        other = {name: placeholders(text) for name, text in words_of(language).tables[section].items()}
        assert other == english


def test_what_the_template_asks_for_is_in_the_tables(root: Path) -> None:
    for template, sections in (("case.typ", ("page",)), ("case_index.typ", ("page", "index"))):
        asked = set(re.findall(r"\bwords\.(\w+)", (root / "reports" / template).read_text(encoding="utf-8")))
        assert asked
        assert asked <= {name for section in sections for name in words_of("zh").tables[section]}


def test_chinese_is_in_simplified_characters() -> None:
    text = "".join(text for table in words_of("zh").tables.values() for text in table.values())
    traditional = "現場評價診斷準確閾靈異區間視標滿圖網絡應該與對為決"
    assert set(text) & set(traditional) == set()


def decision(**changes: object) -> Decision:
    point = Point(threshold=0.5, rule="r", data="d", guarantee="g")
    values = {
        "case_slope": 1.0,
        "case_intercept": 0.0,
        "case_point": point,
        "field_point": point,
        "conformal_quantile": 0.7,
        "conformal_error": 0.1,
        "conformal_cases": 50,
        "minimum_fields": 2,
        "quality": QualityGate(),
    }
    return Decision(**(values | changes))  # type: ignore[arg-type]


def said_by_the_program() -> list[str]:
    """Sentences as the code behind scores and bundles words them today."""
    answers = [
        decide_case(decision(), np.array([])),
        decide_case(decision(), np.array([1.0])),
        decide_case(decision(), np.array([0.1, 0.1]), share_novel=0.8),
        decide_case(decision(conformal_quantile=0.1), np.array([0.1, 0.1])),
        decide_case(decision(refer_below=0.9), np.array([2.0, 2.0])),
        decide_case(decision(case_point=Point(threshold=0.9, rule="", data="", guarantee="")), np.array([1.5, 1.5])),
    ]
    reasons = [" ".join(answer.reasons) for answer in answers]
    assert all(reasons)
    labels, scores = np.repeat([0, 1], 30), np.linspace(0.01, 0.99, 60)
    guarantees = [
        threshold_for_sensitivity(labels, scores, target, level=level).guarantee
        for target in (0.9, 0.99)
        for level in ("case", "field")
    ]
    rules = [
        decision(case_rule=rule).case_rule_in_words for rule in ("mean-logit", "top-k-mean", "maximum", "noisy-or")
    ]
    limits = {name: Limits(low=1e6) for name in Quality.__dataclass_fields__}
    over = {name: Limits(high=-1e6) for name in Quality.__dataclass_fields__}
    quality = Quality(focus=0, brightness=0.5, contrast=0.5, clipped_dark=0, clipped_bright=0, foreground=0.2)
    flags = [
        _flag(reason)
        for gate in (limits, over)
        for reason in QualityGate(limits=gate).judge(quality)
        if not reason.startswith("None")
    ]
    blank = Quality(focus=0, brightness=0.5, contrast=0.0, clipped_dark=0, clipped_bright=0, foreground=0.2)
    flags += [_flag(reason) for reason in QualityGate().judge(blank)]
    checks = [{"name": name, "value": 0.1, "chance": 0.2, "passed": True} for name in ("deletion", "insertion")]
    parts = [
        {"images": 16, "checks": [*checks, {"name": "randomisation", "value": -0.01, "passed": passed}]}
        for passed in (True, False)
    ]
    unsure = {"passed": False, "gain": 0.07, "low": -0.02, "high": 0.16}
    parts.append({"images": 16, "checks": [checks[0] | unsure, checks[1], parts[0]["checks"][2]]})
    reasons += [in_a_sentence(part) for part in parts]
    return [*reasons, *guarantees, *rules, *flags, *LIMITS, *ORIENTATIONS.values(), SURE, SURE_OF_SET]


def test_what_the_program_stores_is_said_in_chinese() -> None:
    words = words_of("zh")
    left = {text: words.stored(text) for text in said_by_the_program() if ENGLISH.search(words.stored(text))}
    assert left == {}


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ("95% CI, patients resampled 2,000 times", "95% 置信区间，对患者重抽样 2,000 次"),
        ("Test role of Own cohort (rows with site = B)", "Own cohort的测试部分（site = B 的行）"),
        ("A sentence of a site's own. SENTINEL", "A sentence of a site's own. SENTINEL"),
        ("positive", "阳性"),
    ],
)
def test_stored_words_are_recognised_and_others_stay(stored: str, said: str) -> None:
    assert words_of("zh").stored(stored) == said
    assert words_of("en").stored(stored) == stored


@pytest.mark.parametrize("call", ["positive", "negative", "indeterminate", "not evaluable"])
@pytest.mark.parametrize("unlike", [False, True])
def test_a_chinese_page_holds_no_english_sentence(make_case: MakeCase, call: str, unlike: bool) -> None:
    score = CaseScore(probability=0.87, logit=1.9, low=0.6, high=0.95, drawn_again="fields and networks")
    report = make_case(
        call=call,
        positive_means="cells that look malignant",
        score=score,
        not_evaluable_because="1 evaluable field; at least 2 needed.",
        refer_because=(SURE,),
        out_of_distribution=unlike,
        heat_map=HeatMap(
            method=f"{METHODS_IN_WORDS[METHOD]}, mean over 5 networks", layer="backbone stage 3", high=1.0
        ),
        synthetic=True,
        split_by_image=True,
        limits=LIMITS,
        case_rule=decision().case_rule_in_words,
    )
    data = view(report, words_of("zh"), page_1=(50, 260, 4), page_2=(40, 260, 8))
    del data["kind"]  # chooses the design, and is not printed
    # What is data stays as it is: the cohort of this test, its rule and its model are named in English.
    for text in ("sensitivity of at least 95 %", "out-of-fold cases", "Test role of the phantom cohort"):
        data = _without(data, text)
    for text in (
        "MSHT-small, 96 px, 3 folds",
        "18 patients, 18 cases, 180 fields.",
        "95 % CI, bootstrap over patients",
    ):
        data = _without(data, text)
    assert [text for text in _strings(data) if ENGLISH.search(text)] == []


def _without(value, text):  # type: ignore[no-untyped-def]
    if isinstance(value, str):
        return value.replace(text, "")
    if isinstance(value, dict):
        return {name: _without(item, text) for name, item in value.items()}
    return [_without(item, text) for item in value] if isinstance(value, list) else value


def _strings(value):  # type: ignore[no-untyped-def]
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def test_without_a_chinese_font_the_package_to_install_is_named(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fonts, "machine_fonts", list)
    fonts.chinese_font.cache_clear()
    with pytest.raises(MissingResource, match="apt-get install fonts-noto-cjk"):
        write_case_report(make_case(), tmp_path / "case.pdf", language="zh")
    assert list(tmp_path.glob("*.pdf")) == []
    fonts.chinese_font.cache_clear()


def test_the_first_chinese_font_of_the_list_is_taken_whatever_the_machine_lists_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Font:
        style, index, weight = "normal", 0, 400

        def __init__(self, family: str) -> None:
            self.family, self.path = family, f"/fonts/{family}.ttc"

    monkeypatch.setattr(fonts, "machine_fonts", lambda: [Font("SimSun"), Font("Arial"), Font("Noto Sans CJK SC")])
    fonts.chinese_font.cache_clear()
    assert fonts.chinese_font().family == "Noto Sans CJK SC"
    fonts.chinese_font.cache_clear()


def index_row(case: str, call: str, probability: float | None, **changes: object) -> IndexRow:
    values = {"refer": False, "positive_fields": 1, "evaluable_fields": 2, "images": 3, "file": f"case-{case}.pdf"}
    return IndexRow(case_id=case, call=call, probability=probability, **(values | changes))  # type: ignore[arg-type]


ROWS = (
    index_row("negative-low", "negative", 0.1),
    index_row("none", "not evaluable", None),
    index_row("negative-high", "negative", 0.4),
    index_row("unlike", "positive", 0.999, unlike=True),
    index_row("unsure", "indeterminate", 0.5),
    index_row("positive", "positive", 0.7),
    index_row("most", "positive", 0.9),
)


def test_the_index_lists_the_most_urgent_first() -> None:
    order = [row.case_id for row in most_urgent_first(ROWS)]
    assert order == ["most", "positive", "unlike", "unsure", "none", "negative-high", "negative-low"]


def test_the_index_names_what_failed_and_what_nobody_scored(make_case: MakeCase) -> None:
    failed = index_row("bad", "positive", 0.8, file=None, failed_because="The crop is gone.")
    index = CaseIndex(created=make_case().created, scores="s", bundle="b", rows=(*ROWS, failed), unknown=("typo",))
    data = index_view(index, words_of("en"))
    assert "No report could be written for 1 of the cases" in data["alerts"][0]
    assert "typo" in data["alerts"][1]
    assert data["failed"][0][1:] == ["bad", "positive", "0.80", "The crop is gone."]
    assert "Positive: 3; indeterminate or unlike the development cohort: 2" in data["counts"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_index_names_outdated_reports_and_cuts_a_long_list(make_case: MakeCase, language: str) -> None:
    files = tuple(f"case-{number}.pdf" for number in range(30))
    index = CaseIndex(created=make_case().created, scores="s", bundle="b", rows=ROWS, outdated=files)
    (alert,) = index_view(index, words_of(language))["alerts"]  # type: ignore[arg-type]
    assert "outdated" in alert
    assert "case-19.pdf … (30)" in alert
    assert "case-20.pdf" not in alert


def test_typst_can_list_the_fonts_of_a_machine() -> None:
    assert {"family", "path", "index", "weight", "style"} <= set(dir(typst.FontInfo))


@pytest.mark.slow
@pytest.mark.skipif(not fonts.has_chinese_font(), reason="no Chinese font on this machine (fonts-noto-cjk)")
def test_a_chinese_report_is_set_with_its_language_and_refuses_what_no_font_has(
    make_case: MakeCase, tmp_path: Path
) -> None:
    from pypdf import PdfReader

    from msht.errors import InvalidInput
    from reports.parts import Fact

    report = make_case(case_id="标本一", entered=(Fact(name="送检医师", value="王芳 שלום"),))
    reader = PdfReader(write_case_report(report, tmp_path / "case.pdf", language="zh"))
    first = "".join(page.extract_text() for page in reader.pages)
    assert reader.trailer["/Root"]["/Lang"].startswith("zh")
    for text in ("仅供决策支持", "标本一", "送检医师", "2026年11月21日"):
        assert text in re.sub(r"[\s\u200b]", "", first)
    with pytest.raises(InvalidInput, match=r"entered\[0\]\.value: the character '👩'"):
        write_case_report(
            make_case(entered=(Fact(name="备注", value="👩\u200d🔬"),)), tmp_path / "x.pdf", language="zh"
        )
