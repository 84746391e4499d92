"""Every string of the case report, from one table per language beside this file.

Two kinds of strings are kept: those that a page says, by name, and those that the program stores in English in
scores and bundles (reasons, rules, quality flags), which are recognised and said in the language of the report.
"""

from __future__ import annotations

import functools
import re
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import yaml

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
SECTIONS = ("number", "page", "said", "index", "stored")
NUMBERS = frozenset(
    {"cases", "confidence", "count", "degrees", "error", "folds", "images", "n", "needed", "negative", "number"}
    | {"patients", "positive", "share", "size", "target", "times"}
)
"""Placeholders of stored sentences that only a number can fill; the others take any words."""

_NUMBER = r"[0-9][0-9,.]*\s?%?"
_SENTENCE_END = re.compile(r"(?<=\.)\s+")
_PARTS = string.Formatter()


class Words:
    """The strings of one language.

    Args:
        language: of the report.
        tables: the sections of its file, each a table from name to string.
        stored: the section `stored` of the English file, by which stored text is recognised.
    """

    def __init__(self, language: Language, tables: Mapping[str, Mapping[str, str]], stored: Mapping[str, str]) -> None:
        self.language = language
        self.tables = tables
        self._stored = {text: name for name, text in stored.items() if not placeholders(text)}
        self._patterns = [(name, _pattern(text)) for name, text in stored.items() if placeholders(text)]

    def __getitem__(self, name: str) -> str:
        """A string without placeholders of the sections `page` or `number`."""
        return self.tables["page"][name] if name in self.tables["page"] else self.tables["number"][name]

    def say(self, name: str, /, **values: str) -> str:
        """A sentence of the section `said` or `number`, filled in."""
        template = self.tables["said"][name] if name in self.tables["said"] else self.tables["number"][name]
        return template.format(**values)

    def stored(self, text: str) -> str:
        """Say in this language what the program stored in English; what it did not write stays as it is."""
        if self.language == "en":
            return text
        whole = self._recognised(text)
        if whole is not None:
            return whole
        listed = [self._recognised(piece) for piece in text.split(", ")]
        if all(listed):
            return self["list"].join(piece for piece in listed if piece)
        pieces = _SENTENCE_END.split(text)
        if len(pieces) == 1:
            return text
        return self["gap"].join(self._recognised(piece) or f"{piece} " for piece in pieces).rstrip()

    def join(self, *sentences: str) -> str:
        """Sentences one after another, without the empty ones."""
        return self["gap"].join(sentence for sentence in sentences if sentence)

    def _recognised(self, text: str) -> str | None:
        folded = " ".join(text.split())
        if folded in self._stored:
            return self.tables["stored"][self._stored[folded]]
        for name, pattern in self._patterns:
            match = pattern.fullmatch(folded)
            if match is not None:
                values = {key: self.stored(value) for key, value in match.groupdict().items()}
                return self.tables["stored"][name].format(**values)
        return None


@functools.cache
def words_of(language: Language) -> Words:
    """The strings of a language, read once in a process."""
    return Words(language, _read(language), _read("en")["stored"])


def placeholders(text: str) -> frozenset[str]:
    """Names in curly brackets."""
    return frozenset(name for _, name, _, _ in _PARTS.parse(text) if name is not None)


@functools.cache
def _read(language: Language) -> dict[str, dict[str, str]]:
    text = (Path(__file__).parent / f"language_{language}.yaml").read_text(encoding="utf-8")
    tables = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    assert tuple(tables) == SECTIONS, f"language_{language}.yaml has the sections {tuple(tables)}"
    return {
        section: {str(name): str(value).strip("\n") for name, value in tables[section].items()} for section in tables
    }


def _pattern(template: str) -> re.Pattern[str]:
    pieces = []
    for literal, name, _, _ in _PARTS.parse(template):
        pieces.append(re.escape(literal))
        if name is not None:
            pieces.append(f"(?P<{name}>{_NUMBER if name in NUMBERS else '.+'})")
    return re.compile("".join(pieces))
