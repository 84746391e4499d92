"""The shipped recipes, found by name."""

from __future__ import annotations

import difflib
from pathlib import Path

from msht.errors import InvalidInput

FOLDER = Path(__file__).resolve().parent


def recipe_names() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def recipe_path(recipe: str | Path) -> Path:
    """The file of a recipe given as a shipped name or as a path.

    Raises:
        InvalidInput: with the nearest shipped name.
    """
    path = Path(recipe)
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        return path
    name = str(recipe).removesuffix(".yaml")
    if name in recipe_names():
        return FOLDER / f"{name}.yaml"
    close = difflib.get_close_matches(name, recipe_names(), n=1)
    mend = f"Did you mean '{close[0]}'?" if close else f"Shipped are {', '.join(recipe_names())}."
    raise InvalidInput(f"There is no recipe '{recipe}', neither as a file nor by name.", mend)
