"""PDF/A-2a and PDF/UA-1 as far as they can be read back from the file: tags, words for pictures, fonts, metadata."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from reports.case import CaseReport, FieldRow, write_case_report
from reports.case_index import CaseIndex, IndexRow, write_case_index
from reports.case_parts import RejectedPicture, SlidePicture
from reports.fonts import has_chinese_font
from reports.words import Language

MakeCase = Callable[..., CaseReport]


LANGUAGES = [
    "en",
    pytest.param("zh", marks=pytest.mark.skipif(not has_chinese_font(), reason="no Chinese font on this machine")),
]


def documents(make_case: MakeCase, folder: Path, language: Language) -> Iterator[Path]:
    """A case with tiles and a slide, one that cannot be evaluated, and an index."""
    report = make_case()
    picture = report.deciding[0].overlay
    slide = SlidePicture(name="a.svs", picture=picture, tiles=9, evaluable=8, positive=2)
    whole = make_case(tiles=report.deciding, slides=(slide,), listed_in="images.csv")
    yield write_case_report(whole, folder / "case.pdf", language=language)
    row = FieldRow(name="a.jpg", sha256="0" * 64, evaluable=False, rejected_because="too dark", quality=("too dark",))
    refused = make_case(
        call="not evaluable",
        not_evaluable_because="0 evaluable fields; at least 1 needed.",
        score=None,
        conformal=None,
        deciding=(),
        fields=(row,),
        rejected_pictures=(RejectedPicture(name="a.jpg", picture=picture),),
    )
    yield write_case_report(refused, folder / "refused.pdf", language=language)
    line = IndexRow(case_id="a", call="positive", probability=0.9, refer=True, positive_fields=1, evaluable_fields=1,
                    images=1, file="case-a.pdf")  # fmt: skip
    index = CaseIndex(created=report.created, scores="s", bundle="b", rows=(line,))
    yield write_case_index(index, folder / "index.pdf", language=language)


def tree(node: Any) -> Iterator[Any]:
    """Every element of a structure tree, in reading order."""
    kids = node.get("/K", [])
    for kid in kids if isinstance(kids, list) else [kids]:
        kid = kid.get_object() if hasattr(kid, "get_object") else kid
        if isinstance(kid, dict) and "/S" in kid:
            yield kid
            yield from tree(kid)


def fonts(reader: PdfReader) -> dict[str, Any]:
    """Every font of every page by its name; of a composite font, the font inside."""
    found = {}
    for page in reader.pages:
        for font in page["/Resources"].get("/Font", {}).values():
            font = font.get_object()
            for inner in font.get("/DescendantFonts", [font]):
                found[str(font["/BaseFont"])] = (font, inner.get_object())
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_document_can_be_read_aloud_and_kept(make_case: MakeCase, tmp_path: Path, language: Language) -> None:
    for path in documents(make_case, tmp_path, language):
        reader = PdfReader(path)
        root = reader.trailer["/Root"]
        assert not reader.is_encrypted
        assert root["/Lang"].startswith(language)
        assert root["/MarkInfo"]["/Marked"]
        assert root["/ViewerPreferences"]["/DisplayDocTitle"]
        assert reader.metadata is not None
        assert reader.metadata.title
        assert root["/OutputIntents"][0].get_object()["/S"] == "/GTS_PDFA1"
        assert reader.xmp_metadata is not None
        packet = reader.xmp_metadata.stream.get_data().decode()
        for claim in (r'pdfaid:part(>|=")2', r'pdfaid:conformance(>|=")A', r'pdfuaid:part(>|=")1'):
            assert re.search(claim, packet)

        used = fonts(reader)
        assert used
        for name, (outer, inner) in used.items():
            described = inner["/FontDescriptor"]
            assert any(f"/FontFile{kind}" in described for kind in ("", "2", "3")), name
            assert re.match(r"/[A-Z]{6}\+", name), f"{name} is embedded whole"
            assert "/ToUnicode" in outer, name

        tags = list(tree(root["/StructTreeRoot"]))
        kinds = [str(tag["/S"]) for tag in tags]
        figures = [tag for tag in tags if tag["/S"] == "/Figure"]
        pictures = sum(len(page.images) for page in reader.pages)
        assert len(figures) >= pictures
        assert all(len(str(tag.get("/Alt", ""))) > 10 for tag in figures)
        assert kinds.count("/Table") >= 1
        assert all(scope == "/Column" for tag in tags if tag["/S"] == "/TH" for scope in scopes(tag))
        levels = [int(kind[2:]) for kind in kinds if re.fullmatch(r"/H\d", kind)]
        assert levels
        assert levels[0] == 1
        assert all("/StructParents" in page for page in reader.pages)
        assert all(page.get("/Tabs") == "/S" for page in reader.pages if page.get("/Annots"))


def scopes(tag: Any) -> list[str]:
    attributes = tag.get("/A", [])
    listed = attributes if isinstance(attributes, list) else [attributes]
    return [str(one.get_object()["/Scope"]) for one in listed if "/Scope" in one.get_object()]


def test_text_has_no_colour_but_those_whose_contrast_is_computed(root: Path) -> None:
    for name in ("case.typ", "case_index.typ", "theme.typ"):
        source = (root / "reports" / name).read_text(encoding="utf-8")
        colours = set(re.findall(r"\btext\([^()]*?fill: (\w+)", source))
        assert colours <= {"ink", "quiet", "accent", "paper"}, name
