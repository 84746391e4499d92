"""A table on disk and the JSON file of the same name beside it, which says what it is and where its images lie."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from msht.cohort.tables import load_table, read_table, write_table
from msht.errors import InvalidInput
from msht.files import read_json, write_json

WAY = "images_from_here"
"""What the JSON file beside a table calls the way from it to the folder of images, where that lies elsewhere."""
KINDS = ("manifest", "split")
"""What the JSON file beside a table may call it."""


def digest_of(frame: pd.DataFrame) -> str:
    """SHA-256 of a table's content, unchanged by the order of its rows and columns.

    Rows are rendered as CSV with columns sorted by name and rows sorted by image.
    """
    ordered = frame.sort_values("image")[sorted(frame.columns)]
    return hashlib.sha256(ordered.to_csv(index=False).encode("utf-8")).hexdigest()


def refuse_to_overwrite(path: Path, *sources: Path, kind: str | None = None) -> None:
    """Refuse to write a table over one that it is made from or that is not ours, or a JSON file that is not ours.

    Args:
        path: what is to be written.
        sources: what it is made from.
        kind: "manifest" or "split", what is to be written; then one of the other kind is not written over either.

    Raises:
        InvalidInput: naming the file.
    """
    for source in sources:
        if path.resolve() == source.resolve():
            raise InvalidInput(f"{path} is the file to be read.", "Give --out another name.")
    described = path.with_suffix(".json")
    if described.exists() and not _described(path):
        raise InvalidInput(f"{described} exists and is not ours to replace.", "Give --out another name.")
    for ending in (".csv", ".parquet"):
        other = path.with_suffix(ending)
        if ending != path.suffix.lower() and other.is_file():
            raise InvalidInput(
                f"{path} would share {described.name} with {other.name}, which lies there already.",
                "Give --out another name.",
            )
    found = kind_of(path)
    if kind is not None and found not in {None, kind}:
        there = [file for file in (path, described) if file.exists()]
        raise InvalidInput(
            f"{path} would be a {kind}, but {there[0]} {'is' if there[0] == path else 'describes'} a {found}, which "
            "would be lost.",
            f"Give --out another name, or remove {' and '.join(map(str, there))} first.",
        )
    if path.is_file() and not described.exists():
        raise InvalidInput(
            f"{path} exists, and no {described.name} beside it says that msht wrote it.",
            "Give --out another name, or remove it first.",
        )
    if kind == "manifest" and path.is_file() and _was_edited(path):
        raise InvalidInput(
            f"{path} was changed after msht wrote it, and these changes would be lost.",
            "Give --out another name, or remove it first.",
        )


def _was_edited(path: Path) -> bool:
    """Whether a manifest is no longer the one whose digest stands in the JSON file beside it."""
    digest = _described(path).get("digest")
    if not isinstance(digest, str):
        return False
    try:
        return digest_of(load_table(path).frame.astype("string")) != digest
    except InvalidInput:
        return True  # no table any more: somebody's work all the same


def kind_of(path: Path) -> str | None:
    """What lies at the place of a table: "manifest" or "split", by the JSON file beside it, else by its columns."""
    kind = _described(path).get("kind")
    if kind is not None or not path.is_file():
        return kind
    try:
        return kind_by_columns(read_table(path))
    except InvalidInput:
        return None


def kind_by_columns(frame: pd.DataFrame) -> str | None:
    """What a table is by its columns: "split", "manifest", or None."""
    columns = set(frame.columns)
    if {"image", "role", "fold"} <= columns:
        return "split"
    return "manifest" if {"image", "label"} <= columns else None


def write_described(frame: pd.DataFrame, path: Path, described: Mapping[str, object]) -> None:
    """Write a table, and beside it the JSON file that describes it, so that a kill leaves no table without one."""
    steps = [lambda: write_table(frame, path), lambda: write_json(path.with_suffix(".json"), described)]
    # Without a description, the table would be taken for somebody else's and never be replaced.
    for step in steps if path.exists() else reversed(steps):
        step()


def beside(table: Path) -> dict[str, Any]:
    """What the JSON file of the same name beside a table says; empty where there is none, or one of another kind.

    Raises:
        InvalidInput: if it is not readable, or says `images` or `card` otherwise than as text.
    """
    found = _described(table)
    for key, expected in (
        ("images", "the folder of the images"),
        (WAY, "the way to the folder of the images"),
        ("card", "the name of a data card, or null"),
    ):
        value = found.get(key)
        if key in found and not isinstance(value, str) and (key, value) != ("card", None):
            shown = json.dumps(value)
            raise InvalidInput(
                f"{table.with_suffix('.json')}: '{key}' should be {expected}, as text, but is "
                f"{shown if len(shown) <= 60 else shown[:60] + '...'}.",
                f"Mend it, or take '{key}' out.",
            )
    return found


def _described(table: Path) -> dict[str, Any]:
    path = table.with_suffix(".json")
    found = read_json(path, what="description of the table") if path.is_file() else {}
    return found if isinstance(found, dict) and found.get("kind") in KINDS else {}


def images_folder(table: Path, images: Path | None) -> Path:
    """The folder of images of a table: given, else declared beside the table, else the table's own."""
    if images is None:
        images = declared_images(table)
    if not images.is_dir():
        raise InvalidInput(f"The folder of images {images} does not exist.", "Give its place with --images.")
    return images


def declared_images(table: Path) -> Path:
    """The folder of images that the JSON file beside a table names; the table's own where there is none.

    The way from the table to it goes before its full path: a project that was copied as a whole is read from the copy.
    """
    described = beside(table)
    way = described.get(WAY)
    if way is not None and (table.parent / way).is_dir():
        return table.parent / way
    return table.parent / described.get("images", ".")


def declared_root(root: Path, table: Path) -> dict[str, str]:
    """How a table's JSON file names the folder of images: relative where it lies below the table.

    Elsewhere in full, for a table that is moved alone, and by the way to it, for both that are moved as one.
    """
    here = table.parent.resolve()
    if root.is_relative_to(here):
        return {"images": root.relative_to(here).as_posix()}
    try:
        return {"images": str(root), WAY: Path(os.path.relpath(root, here)).as_posix()}
    except ValueError:  # on another drive
        return {"images": str(root)}
