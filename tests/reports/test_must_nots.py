"""What a clinical report must not say, against every string of both languages and against the pages as set."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pypdf import PdfReader

from reports.case import CaseReport, CaseScore, FieldRow, ScoringFacts, write_case_report
from reports.fonts import has_chinese_font
from reports.words import LANGUAGES, Language, placeholders, words_of

MakeCase = Callable[..., CaseReport]


@dataclass(frozen=True)
class MustNot:
    """Words that claim what no binary score can, the phrases in which they deny it, and a claim that must be caught."""

    words: str
    but: tuple[str, ...]
    claim: str


ENGLISH = {
    "a category": MustNot(
        r"papanicolaou|\bwho\b(?= (categor|class|report|system))|bethesda|suspicious for|\bbenign|carcinoma|neoplas"
        r"|categor(y|ies) [0-9ivx]|\bnon-?diagnostic",
        (),
        "Papanicolaou category V.",
    ),
    "a diagnosis": MustNot(
        r"diagnos",
        (
            "not a diagnosis",
            "gives no diagnostic category",
            "diagnostic category",
            "unsuitable: diagnosis.",
            "diagnosis.",
        ),
        "The diagnosis is acute leukaemia",
    ),
    "treatment": MustNot(
        r"treatment|therap|surg|resect|chemo|biops|medicat|we recommend|is recommended",
        (),
        "Surgery is recommended.",
    ),
    "exclusion": MustNot(
        r"exclu|rule[sd]? out|free of|no (evidence|sign)s? of|cancer|malignan",
        (
            "a negative call does not exclude malignancy",
            "neither class can be ruled out",
            "a heat map is no proof of malignant cells",
            "cells that look malignant",
            "atypical or malignant-looking cells",
        ),
        "Cancer is excluded.",
    ),
    "the patient's risk": MustNot(
        r"\brisk",
        ("it is not this patient's risk", "not this patient's risk", "conformal risk control"),
        "The patient's risk is 12 %.",
    ),
    "a proof": MustNot(
        r"proof|prove|confirm|demonstrate",
        ("a heat map is no proof of", "a look at the slide can confirm or refute it"),
        "The heat map proves malignant cells.",
    ),
    "adequacy": MustNot(
        r"adequa|sufficient",
        (
            "knows nothing of the adequacy of the specimen",
            "says nothing of specimen adequacy",
            "adequacy of the specimen",
            "inadequate",
            "adequate",
        ),
        "The specimen is sufficient.",
    ),
}
CHINESE = {
    "a category": MustNot(
        r"巴氏|帕氏|Papanicolaou|世界卫生组织|WHO(?!se)|Bethesda|可疑恶性|良性|[癌瘤]|[ⅠⅡⅢⅣⅤ]级", (), "巴氏Ⅴ级。"
    ),
    "a diagnosis": MustNot(
        r"诊断|确诊",
        ("不是诊断", "不给出诊断分类", "也不给出诊断分类", "诊断分类", "不适用：诊断。", "诊断。"),
        "诊断为急性白血病",
    ),
    "treatment": MustNot(r"治疗|手术|化疗|放疗|切除|用药|活检|建议", (), "建议手术切除。"),
    "exclusion": MustNot(
        r"排除|未见恶性|恶性",
        ("不能排除恶性", "均不能排除", "不能证明存在恶性细胞", "恶性形态的细胞"),
        "已排除恶性病变。",
    ),
    "the patient's risk": MustNot(
        r"风险|患病率|可能性", ("不代表该患者的患病风险", "不代表患者的患病风险", "共形风险控制"), "患病风险为12%。"
    ),
    "a proof": MustNot(r"证明|证实", ("热图不能证明", "即可证实或否定"), "热图证实存在异常细胞。"),
    "adequacy": MustNot(
        r"满意|合格|足够",
        ("不能反映标本是否满意", "不评价标本是否满意", "标本满意度", "不满意", "满意但受限", "满意"),
        "标本合格。",
    ),
}
LISTS: dict[Language, dict[str, MustNot]] = {"en": ENGLISH, "zh": CHINESE}
HUMAN = {"human_adequacy", "human_adequate", "human_limited", "human_inadequate", "human_category"}
"""Strings of the block that a person fills in: the only place for adequacy and category."""


def found(text: str, rule: MustNot, language: Language, *, but: tuple[str, ...] | None = None) -> str | None:
    """The first words of a text that claim what must not be, after the phrases that deny it are taken out."""
    plain = text.replace("’", "'").replace("\u200b", "")
    plain = re.sub(r"\s+", "" if language == "zh" else " ", plain)
    for phrase in rule.but if but is None else but:
        plain = re.sub(re.escape(phrase), " ", plain, flags=re.IGNORECASE)
    match = re.search(rule.words, plain, re.IGNORECASE)
    return None if match is None else plain[max(0, match.start() - 40) : match.end() + 40]


def strings(language: Language) -> Iterator[tuple[str, str]]:
    for section, table in words_of(language).tables.items():
        for name, text in table.items():
            yield f"{section}.{name}", text


CASES = [(language, topic) for language in LANGUAGES for topic in LISTS[language]]


@pytest.mark.parametrize(("language", "topic"), CASES)
def test_a_claim_is_caught(language: Language, topic: str) -> None:
    rule = LISTS[language][topic]
    assert found(rule.claim, rule, language) is not None


@pytest.mark.parametrize(("language", "topic"), CASES)
def test_no_string_says_what_a_report_must_not(language: Language, topic: str) -> None:
    rule = LISTS[language][topic]
    # The short words of the human block are allowed there and nowhere else.
    long = tuple(phrase for phrase in rule.but if len(phrase) > (12 if language == "en" else 3))
    caught = {
        name: said
        for name, text in strings(language)
        if (said := found(text, rule, language, but=rule.but if name.partition(".")[2] in HUMAN else long))
    }
    allowed = {"stored.use_diagnosis", "page.human_category", "stored.unsuitable"}
    assert {name: said for name, said in caught.items() if name not in allowed} == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_sentence_gives_a_figure_of_the_patient(language: Language) -> None:
    figures = {"probability", "interval", "value", "low", "high", "confidence"}
    for name, text in strings(language):
        if placeholders(text) & figures:
            assert "patient" not in text.lower(), name
            assert "患者" not in text, name


def reports(make_case: MakeCase) -> Iterator[CaseReport]:
    """A report of each design."""
    score = CaseScore(probability=0.6, logit=0.4, low=0.2, high=0.9, drawn_again="fields and networks")
    for call in ("positive", "negative", "indeterminate"):
        yield make_case(call=call, score=score, refer=False, scoring=ScoringFacts(folds=(1,), test_time="flips"))
    yield make_case(out_of_distribution=True, split_by_image=True, synthetic=True)
    rows = (FieldRow(name="a.jpg", sha256="", evaluable=False, rejected_because="could not be read whole"),)
    yield make_case(
        call="not evaluable",
        not_evaluable_because="0 evaluable fields; at least 1 needed.",
        refer_because=("0 evaluable fields; at least 1 needed.",),
        score=None,
        conformal=None,
        deciding=(),
        fields=rows,
    )


@pytest.mark.parametrize(
    "language",
    [
        "en",
        pytest.param("zh", marks=pytest.mark.skipif(not has_chinese_font(), reason="no Chinese font on this machine")),
    ],
)
def test_no_page_of_any_design_says_what_it_must_not(make_case: MakeCase, tmp_path: Path, language: Language) -> None:
    claim = "仅供决策支持，不是诊断" if language == "zh" else "Decision support, not a diagnosis"
    for number, report in enumerate(reports(make_case)):
        path = write_case_report(report, tmp_path / f"{number}.pdf", language=language)
        pages = [page.extract_text() for page in PdfReader(path).pages]
        for topic, rule in LISTS[language].items():
            assert found(" ".join(pages), rule, language) is None, topic
        for page in pages:
            assert re.sub(r"\s", "", claim) in re.sub(r"[\s\u200b]", "", page)
