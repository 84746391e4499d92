"""The rows of a scoring so far, kept in parts, so that a stopped scoring loses little and doubles nothing."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pandas as pd

from msht.errors import InvalidInput
from msht.files import atomic_path, cannot_write, read_json, write_json
from pipelines.words import now

KIND = "scores"
"""What `run.json` of a scoring calls itself."""


class Parts:
    """The rows scored so far, in files of `PART` rows that are whole or not there."""

    def __init__(self, out: Path, settings: dict[str, Any]) -> None:
        self.folder = out / "parts"
        marker = out / "run.json"
        if out.exists() and not out.is_dir():
            raise InvalidInput(f"{out} is a file.", "Give a folder for the tables.")
        if out.is_dir() and any(out.iterdir()):
            before = read_json(marker, what="record of a scoring") if marker.is_file() else {}
            if before.get("kind") != KIND:
                raise InvalidInput(f"{out} is not empty and holds no scores.", "Choose another folder.")
            same = ("bundle", "threshold", "software")
            changed = [k for k in same if _without_path(before.get(k)) != _without_path(settings[k])]
            if changed:
                raise InvalidInput(
                    f"{out} holds scores made with another {' and '.join(changed)}.", "Choose another folder."
                )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        if not marker.is_file():
            write_json(marker, {**settings, "started": now()})

    def files(self) -> list[Path]:
        """The parts that are there, in the order in which they were written."""
        return sorted(self.folder.glob("part-*.json"))

    def _load(self) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
        scored: dict[str, dict[str, Any]] = {}
        refused: dict[str, dict[str, Any]] = {}
        for file in self.files():
            part = read_json(file, what="part of a scoring")
            for kind, other, rows in ((scored, refused, part["scored"]), (refused, scored, part["rejected"])):
                for row in rows:
                    other.pop(row["image"], None)  # the file changed since: the later answer holds
                    kind[row["image"]] = row
        return scored, refused

    def done(self) -> dict[str, str]:
        """The stamp that each image had when it was scored or refused."""
        scored, refused = self._load()
        return {name: row["stamp"] for name, row in {**scored, **refused}.items()}

    def write(self, scored: list[dict[str, Any]], rejected: list[dict[str, Any]]) -> None:
        """Keep the rows of a part, whole or not at all."""
        number = len(self.files()) + 1
        # A name of its own, so that two scorings into one folder never replace each other's rows.
        with atomic_path(self.folder / f"part-{number:06d}-{uuid.uuid4().hex[:8]}.json") as temporary:
            temporary.write_text(json.dumps({"scored": scored, "rejected": rejected}), encoding="utf-8")

    def read(self, names: set[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Tables of what was scored and refused, of these images only, in the order of their names."""
        scored, refused = self._load()
        frames = []
        for rows in (scored, refused):
            chosen = [row for name, row in sorted(rows.items()) if name in names]
            frames.append(pd.DataFrame(chosen).drop(columns="stamp", errors="ignore"))
        return frames[0], frames[1]


def _without_path(value: Any) -> Any:
    return {k: v for k, v in value.items() if k != "path"} if isinstance(value, dict) else value
