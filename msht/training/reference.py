"""The settings of a recipe as a page for readers, from the very classes that check them."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from msht.training.recipe import Recipe


def recipe_reference() -> str:
    """Markdown: a table for the recipe and for each of its sections."""
    parts: list[str] = []
    _describe(Recipe, "", parts)
    return "\n".join(parts)


def _describe(model: type[BaseModel], prefix: str, parts: list[str]) -> None:
    words = _words(model)
    sections: list[tuple[str, type[BaseModel]]] = []
    title = f"`{prefix.rstrip('.')}`" if prefix else "The recipe"
    parts += [f"### {title}", ""]
    if prefix:
        parts += [_one_line(inspect.getdoc(model) or "").split(". ")[0].rstrip(".") + ".", ""]
    parts += ["| setting | values | default | what it does |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel):
            sections.append((name, field.annotation))
            continue
        row = (f"`{prefix}{name}`", _values(field), _default(field), words.get(name, ""))
        parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    parts.append("")
    for name, section in sections:
        _describe(section, f"{prefix}{name}.", parts)


def _words(model: type[BaseModel]) -> dict[str, str]:
    """The sentence under each setting in the source."""
    body: list[Any] = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    statements = body[0].body
    found = {}
    for before, after in itertools.pairwise(statements):
        named = isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name)
        if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[before.target.id] = _one_line(str(after.value.value))
    return found


def _values(field: FieldInfo) -> str:
    kinds = [_kind(kind) for kind in (_members(field.annotation))]
    words = " or ".join(dict.fromkeys(kinds))
    bounds = []
    for limit in field.metadata:
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
            bound = getattr(limit, name, None)
            if bound is not None:
                bounds.append(f"{sign} {bound}")
    return f"{words}, {', '.join(bounds)}" if bounds else words


def _members(kind: Any) -> list[Any]:
    origin = get_origin(kind)
    if origin is Literal or origin is None or origin in (tuple, dict):
        return [kind]
    return [member for part in get_args(kind) for member in _members(part)]


def _kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) is tuple:
        members = get_args(kind)
        return "list of words" if str in members else f"{len(members)} numbers"
    if get_origin(kind) is dict:
        return "settings by name"
    names = {int: "whole number", float: "number", str: "text", bool: "true, false", type(None): "null"}
    return names.get(kind, "values by name")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return f"`{value}`" if isinstance(value, str) and value else str(value) if value != "" else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    import sys

    sys.stdout.write(recipe_reference() + "\n")
