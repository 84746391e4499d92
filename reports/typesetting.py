"""From a template and its data to a PDF: Typst, PDF/A-2a and PDF/UA-1, equal bytes for equal input.

Data reach the template as a JSON file and are only ever used as strings and numbers; nothing of them is read
as markup. Text that no font can set is an error that names the field and the character.
"""

from __future__ import annotations

import json
import re
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import typst
from pydantic import BaseModel

from msht.errors import InvalidInput
from msht.files import atomic_path
from reports.fonts import document_fonts, settable_characters, text_settings
from reports.words import Language

TEMPLATES = Path(__file__).parent
STANDARDS: list[typst.PDFStandard] = ["a-2a", "ua-1"]
_UNSETTABLE = {"Cc": "a control character", "Cs": "half a character", "Co": "a private-use character"}
_DOES_NOT_FIT = re.compile(r"does not fit: page (?P<page>\d+)")
"""What a template says when a page is too long for its content."""

_NOT_DISPLAYED = re.compile(r'the text `"(?P<text>.*)"` could not be displayed', re.DOTALL)
_ESCAPE = re.compile(r"\\u\{([0-9a-f]+)\}")
_BIDI_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class DoesNotFit(Exception):
    """The document does not fit the pages it may have; the caller tries a tighter setting.

    Args:
        page: the page that is too full, from 1.
    """

    def __init__(self, page: int) -> None:
        super().__init__(f"page {page} is too full")
        self.page = page


def typeset(
    template: str,
    data: Mapping[str, Any],
    *,
    files: Mapping[str, bytes],
    created: datetime,
    source: BaseModel,
    language: Language = "en",
    chinese_names: bool = False,
) -> bytes:
    """Set a document.

    Args:
        template: file name of the template beside this module, "case.typ".
        data: what the template prints; must be JSON.
        files: further files for the template (pictures), by the name under which `data` speaks of them.
        created: time stamp of the document, with its zone.
        source: the report behind `data`, searched for the field of a character that cannot be set.
        language: of the document; decides its fonts.
        chinese_names: whether an English document holds names in Chinese.

    Returns:
        The PDF.

    Raises:
        InvalidInput: if a text of `source` cannot be set.
        MissingResource: if there is no font for the language.
        DoesNotFit: if the template says so.
    """
    check_settable(source)
    offset = created.utcoffset()
    assert offset is not None, "Moment always has a zone"
    parts = {
        "main.typ": (TEMPLATES / template).read_bytes(),
        "theme.typ": (TEMPLATES / "theme.typ").read_bytes(),
        "settings.json": json.dumps(text_settings(language, chinese_names=chinese_names)).encode(),
        "data.json": json.dumps(data, ensure_ascii=False, allow_nan=False).encode(),
        **files,
    }
    try:
        # A folder of its own is the root: the template can read what was handed over and nothing else.
        with tempfile.TemporaryDirectory(prefix="msht-report-") as folder:
            for name, content in parts.items():
                (Path(folder) / name).write_bytes(content)
            pdf = typst.compile(
                f"{folder}/main.typ",
                root=folder,
                font_paths=document_fonts("zh" if chinese_names else language),
                pdf_standards=STANDARDS,
                timestamp=created.astimezone(timezone(offset)),
            )
    except typst.TypstError as error:
        full = _DOES_NOT_FIT.search(str(error))
        if full is not None:
            raise DoesNotFit(int(full["page"])) from error
        matched = _NOT_DISPLAYED.search(str(error))
        if matched is None:
            raise
        text = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), matched["text"])
        raise _cannot_set(text, source, language) from error
    assert isinstance(pdf, bytes)
    return pdf


def write_pdf(pdf: bytes, out: Path) -> Path:
    """Write a PDF, whole or not at all, and give its path back."""
    with atomic_path(out) as temporary:
        temporary.write_bytes(pdf)
    return out


def check_settable(source: BaseModel) -> None:
    """Refuse characters that have no shape or that reorder the text around them.

    Raises:
        InvalidInput: naming field and character.
    """
    for where, text in strings_of(source):
        for character in text:
            category = unicodedata.category(character)
            if character in "\n\r\t":
                continue
            if character in _BIDI_OVERRIDES:
                raise _refuse(where, character, "a character that reorders the text around it")
            if category in _UNSETTABLE:
                raise _refuse(where, character, _UNSETTABLE[category])


def strings_of(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Walk a model and give each text with its place, "fields[3].name"."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from strings_of(getattr(value, name), f"{where}.{name}" if where else name)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from strings_of(item, f"{where}[{index}]")


def _cannot_set(text: str, source: BaseModel, language: Language) -> InvalidInput:
    # Typst names a run of text; the fonts tell which of its characters is the one they lack.
    known = settable_characters(language)
    suspects = [character for character in text if ord(character) not in known] or list(text)
    for where, candidate in strings_of(source):
        for character in suspects:
            if character in candidate:
                chinese = language == "en" and unicodedata.name(character, "").startswith("CJK")
                return _refuse(where, character, "not in the fonts of the report", chinese=chinese)
    raise RuntimeError(f"the template itself holds text that cannot be set: {text!r}")


def _refuse(where: str, character: str, why: str, *, chinese: bool = False) -> InvalidInput:
    name = unicodedata.name(character, "unnamed")
    shown = f"'{character}' " if character.isprintable() else ""
    # The id of a case comes with the scores: it cannot be mended on the way to the page.
    there = "in the folder or table that was scored, and score again" if where == "case_id" else "there"
    again = "" if where == "case_id" else " and write the report again"
    return InvalidInput(
        f"{where}: the character {shown}(U+{ord(character):04X}, {name}) cannot be set: it is {why}.",
        f"Write the report with --language zh, or replace it {there}." if chinese else f"Replace it {there}{again}.",
    )
