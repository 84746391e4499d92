"""What the views of the validation report share: text, numbers and the figures by file name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import wording

if TYPE_CHECKING:
    from reports.parts import Level

BY: dict[Level, str] = {"field": "by field", "case": "by case"}
"""A level as captions say it."""

LONG = 4000
"""Most characters of one text: pages are free here, but no text may fill a book."""


class Drawn:
    """The figures, by file name."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def add(self, svg: bytes, caption: str, alt: str) -> dict[str, str]:
        """Keep a figure, and give what the template needs to show it."""
        name = f"figure-{len(self.files)}.svg"
        self.files[name] = svg
        return {"file": name, "caption": caption, "alt": f"{caption} {alt}"}


def text_of(text: str) -> str:
    """A text on one line, cut where it would fill a book."""
    return wording.one_line(text, LONG)


def number_of(value: int | None) -> str:
    """A count, or the mark of what is missing."""
    return wording.MISSING if value is None else f"{value:,}"
