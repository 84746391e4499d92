"""What people type reaches the page as text, in both languages, or is refused by field and character."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from msht.errors import InvalidInput
from reports.case import CaseReport, FieldRow, write_case_report
from reports.fonts import has_chinese_font
from reports.parts import Fact
from reports.words import Language

MakeCase = Callable[..., CaseReport]
MakeRows = Callable[[int], tuple[FieldRow, ...]]

MARKUP = (
    '#panic("x") #import "/etc/passwd" *b* _i_ `r` $x$ <label> @ref = h // c /* d */ <script>1</script> &amp; %s {x} \\'
)


LANGUAGES = [
    "en",
    pytest.param("zh", marks=pytest.mark.skipif(not has_chinese_font(), reason="no Chinese font on this machine")),
]

plain = st.one_of(
    st.text(
        alphabet=st.characters(min_codepoint=32, max_codepoint=0x17F, exclude_categories=["Cc", "Cf"]), max_size=40
    ),
    st.text(alphabet="#*_`$<>@=/\\[]{}()\"'&%~-+^:;|", max_size=60),
    st.sampled_from([MARKUP, "שלום עולם", "محمد بن", "e\u0301" * 30, "a\r\nb\tc", " "]),
    st.integers(1, 400).map(lambda count: "long " * count),
    st.integers(1, 10_000).map(lambda count: "x" * count),
)
hostile = st.one_of(
    st.text(min_size=1, max_size=20),
    st.sampled_from(
        ["标本一，第2针", "😀", "👩\u200d🔬", "\u202e", "\x00", "\x1b[31m", "\ue000", "\ufffd", "\u200b" * 9]
    ),
)
typed = st.one_of(*[st.lists(plain, max_size=4).map("".join)] * 9, st.tuples(plain, hostile).map("".join))


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=typed, name=typed, value=typed, reason=typed)
def test_any_text_is_set_or_refused_by_field_and_character(
    make_case: MakeCase,
    make_rows: MakeRows,
    tmp_path: Path,
    language: Language,
    case: str,
    name: str,
    value: str,
    reason: str,
) -> None:
    rows = make_rows(2)
    refused = rows[1].model_copy(update={"evaluable": False, "rejected_because": reason or "too dark"})
    report = make_case(
        case_id=case,
        fields=(rows[0].model_copy(update={"name": name}), refused),
        entered=(Fact(name=name, value=value),) * 3,
        refer_because=(reason or "near",),
        deciding=(),
    )
    out = tmp_path / "case.pdf"
    out.unlink(missing_ok=True)
    refusal = None
    try:
        write_case_report(report, out, language=language)
    except InvalidInput as error:
        refusal = re.search(r"U\+([0-9A-F]{4,6})", error.problem)
        assert refusal is not None, error.problem  # noqa: PT017
    if refusal is not None:
        assert chr(int(refusal[1], 16)) in case + name + value + reason
        assert not out.exists()
        return
    reader = PdfReader(out)
    assert len(reader.pages) == 2
    assert not any("/JavaScript" in str(page.get("/AA", "")) or "/Annots" in page for page in reader.pages)
    assert reader.trailer["/Root"].get("/OpenAction") is None


@pytest.mark.parametrize("language", LANGUAGES)
def test_markup_is_printed_letter_by_letter(make_case: MakeCase, tmp_path: Path, language: Language) -> None:
    report = make_case(entered=(Fact(name="Note", value=MARKUP), Fact(name="Empty", value="")))
    text = "".join(page.extract_text() for page in PdfReader(
        write_case_report(report, tmp_path / "case.pdf", language=language)
    ).pages)  # fmt: skip
    assert re.sub(r"\s", "", MARKUP) in re.sub(r"[\s\u200b]", "", text)


def test_the_id_of_a_case_is_mended_where_it_comes_from(make_case: MakeCase, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        write_case_report(make_case(case_id="P\x07"), tmp_path / "case.pdf")
    assert "in the folder or table that was scored, and score again" in caught.value.mend


def test_a_case_without_a_name_has_a_dash(make_case: MakeCase, tmp_path: Path) -> None:
    text = PdfReader(write_case_report(make_case(case_id=" "), tmp_path / "case.pdf")).pages[0].extract_text()
    assert "Case –" in " ".join(text.split())
