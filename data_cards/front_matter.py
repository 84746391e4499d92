"""The YAML above a card's Markdown: read as plain text, with the line in every complaint, and its comments found.

A card holds words and counts. YAML 1.1 would read `no` as false, `024` as 20, `1:30` as 90 and `2024-02-30` as a
day that does not exist; here every value is the text that stands there, and the schema says which text is a count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import yaml

from msht.errors import InvalidInput

DEEPEST: Final = 20
"""Levels of nesting that are read; a card needs three."""
FIRST_LINE: Final = 2
"""Line of the file on which the front matter begins, below `---`."""
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})
_OWN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))
_QUOTE = (
    "Mend that line. A value that holds signs of YAML (: # [ ] { } & * ! | > % @ \\ or quotes) goes in single quotes."
)


class _Slip(Exception):
    """What this reader refuses, beside what is no YAML at all."""

    def __init__(self, node: yaml.Node, problem: str, mend: str) -> None:
        super().__init__(problem)
        self.line = _line_of(node)
        self.problem = problem
        self.mend = mend


class _CardLoader(yaml.BaseLoader):
    """YAML in which every value is text, a key stands once, and nesting has an end."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if parent is not None and self.depth > DEEPEST:
            raise _Slip(
                parent,
                f"the front matter is nested more than {DEEPEST} levels deep",
                "Mend the brackets, or put the value in single quotes.",
            )
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag not in _OWN_TAGS:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise _Slip(node, f"the tag '{tag}' is not YAML that a card takes", "Take it out, or quote the value.")
        return super().construct_object(node, deep=deep)

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise _Slip(node, "a value holds half of a character (\\ud800 to \\udfff)", "Write the character itself.")
        return None if node.style is None and value in _NOTHING else value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Slip(key, "a list or table stands where a key should", "Put the text in single quotes.")
            name = key.value.strip()
            if name in lines:
                raise _Slip(key, f"the key '{name}' stands twice, first in line {lines[name]}", "Keep one of the two.")
            lines[name] = _line_of(key)
        return super().construct_mapping(node, deep=deep)


def cut_card(text: str, *, where: str) -> tuple[str, str]:
    """The front matter and the Markdown of a card.

    Raises:
        InvalidInput: if there is no front matter.
    """
    lines = text.replace("\r\n", "\n").removeprefix("\ufeff").split("\n")
    end = next((i for i, line in enumerate(lines[1:], start=1) if line.rstrip() == "---"), None)
    if lines[0].rstrip() != "---" or end is None:
        raise InvalidInput(
            f"{where} has no YAML front matter.", "Begin the card with a line '---', the keys, a line '---'."
        )
    return "\n".join(lines[1:end]), "\n".join(lines[end + 1 :]).strip()


def read_keys(front: str, *, where: str) -> dict[str, Any]:
    """Keys of the front matter; every value is text, None, a list or a table.

    Args:
        front: as `cut_card` gives it.
        where: file or other origin, for the messages.

    Raises:
        InvalidInput: if it is no table of keys in YAML; the message names the line.
    """
    try:
        loader = _CardLoader(front)
    except yaml.reader.ReaderError as error:
        line = front.count("\n", 0, error.position) + FIRST_LINE
        sign = f"U+{ord(error.character):04X}" if isinstance(error.character, str) else f"U+{error.character:04X}"
        raise InvalidInput(
            f"{where}, line {line}: the front matter is not YAML (the control character {sign}).", "Take it out."
        ) from error
    try:
        keys = loader.get_single_data()
    except _Slip as slip:
        raise InvalidInput(f"{where}, line {slip.line}: {slip.problem}.", slip.mend) from slip
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{where}, line {mark.line + FIRST_LINE}" if mark else where
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise InvalidInput(f"{place}: the front matter is not YAML ({said}).", _QUOTE) from error
    except (ValueError, OverflowError) as error:
        line = loader.line + FIRST_LINE
        problem = f"{where}, line {line}: the front matter is not YAML (a number behind \\U or % is too large)."
        raise InvalidInput(problem, _QUOTE) from error
    if not isinstance(keys, dict):
        raise InvalidInput(f"{where}: the front matter is not a table of keys.", "Write 'key: value' lines.")
    return keys


def find_comments(front: str) -> Iterator[tuple[str, str]]:
    """Comments of a front matter that `read_keys` takes, each with the key that it goes with.

    Yields:
        The key with its parents (`labels.unit`) and the comment with its `#`. A comment behind a value goes with the
        key of that value, one on a line of its own with the key below, or with the list in which it stands. After
        the last key, the key is empty.
    """
    keys = list(_key_places(yaml.compose(front, Loader=_CardLoader), ""))
    end = 0
    for token in yaml.scan(front, Loader=yaml.BaseLoader):
        between = front[end : token.start_mark.index]
        if isinstance(token, yaml.ScalarToken) and token.style in ("|", ">"):
            between += front[token.start_mark.index :].split("\n", 1)[0]  # a comment may stand behind `>-`
        for found in re.finditer(r"#[^\n\r\x85\u2028\u2029]*", between):
            at = end + found.start()
            before = [key for place, key in keys if place < at]
            after = [key for place, key in keys if place > at]
            behind_a_value = bool(front[front.rfind("\n", 0, at) + 1 : at].strip())
            below = (line.strip() for line in front[at:].split("\n")[1:])
            in_a_list = next((line for line in below if line and not line.startswith("#")), "").startswith("-")
            if before and (behind_a_value or in_a_list):
                yield before[-1], found[0].rstrip()
            else:
                yield after[0] if after else "", found[0].rstrip()
        end = max(end, token.end_mark.index)


def _key_places(node: yaml.Node | None, path: str) -> Iterator[tuple[int, str]]:
    """Where in the text each key begins, in order."""
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        here = f"{path}.{key.value}" if path else str(key.value)
        yield key.start_mark.index, here
        yield from _key_places(value, here)


def _line_of(node: yaml.Node) -> int:
    return (node.start_mark.line if node.start_mark else 0) + FIRST_LINE
