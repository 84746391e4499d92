"""The side of a scoring by Ray that runs in its workers, on whatever machine they are."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msht import __version__
from msht.errors import InvalidInput

if TYPE_CHECKING:  # a worker that only looks whether it can read a path must not pay for torch
    from msht.bundle import Bundle
    from pipelines.inputs import ScoreInput
    from pipelines.score_fields import FieldScorer, Row


@dataclass(frozen=True)
class Sight:
    """What one machine of a cluster has."""

    machine: str
    version: str
    bundle: bool
    """Whether it reads the bundle under the same path, with the same digest."""
    image: bool
    """Whether it reads the first image under the same path."""


class Worker:
    """Answers parts with a bundle that it loads once; what a person can mend comes back as words."""

    def __init__(self, path: str, digest: str, settings: str, sent: Sequence[Any], threads: int) -> None:
        import torch

        from pipelines.score_fields import FieldScorer, ScoreSettings

        torch.set_num_threads(threads)  # every other core has a worker of its own
        self.scorer: FieldScorer | None = None
        self.words = ("", "")
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        try:
            bundle = self._bundle(Path(path), digest, sent[0])
            self.scorer = FieldScorer(bundle, ScoreSettings.model_validate_json(settings))
        except InvalidInput as error:
            self.words = (f"On the machine {_machine()}: {error.problem}", error.mend)

    def _bundle(self, path: Path, digest: str, sent: Any) -> Bundle:
        """The bundle as this machine reads it, else as it was sent along."""
        from msht.bundle import read_bundle

        if _has_bundle(path, digest):
            return read_bundle(path)
        if sent is None:
            raise unseen(_machine(), str(path), "the bundle")
        import ray

        self.folder = tempfile.TemporaryDirectory(prefix="msht-")
        for name, data in ray.get(sent).items():
            file = Path(self.folder.name) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        return read_bundle(Path(self.folder.name))

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The rows of each part."""
        answers = []
        for items in batch["items"]:
            rows = [] if self.scorer is None else self._rows(self.scorer, from_text(str(items)))
            answers.append(json.dumps(rows))
        count = len(answers)
        return {
            "part": [int(number) for number in batch["part"]],
            "rows": answers,
            "machine": [_machine()] * count,
            "problem": [self.words[0]] * count,
            "mend": [self.words[1]] * count,
        }

    def _rows(self, scorer: FieldScorer, items: Sequence[ScoreInput]) -> list[Row]:
        try:
            return scorer.score(items)
        except InvalidInput as error:
            self.words = (f"On the machine {_machine()}: {error.problem}", error.mend)
            return []


def sight_of(bundle: str, digest: str, image: str) -> Sight:
    """What this machine reads of what another named; run there by Ray."""
    return Sight(_machine(), __version__, _has_bundle(Path(bundle), digest), os.access(image, os.R_OK))


def _has_bundle(path: Path, digest: str) -> bool:
    from msht.bundle_description import SEAL

    try:
        return (path / SEAL).read_text(encoding="utf-8").strip() == digest
    except (OSError, UnicodeDecodeError):
        return False


def unseen(machine: str, path: str, what: str) -> InvalidInput:
    """Say that another machine does not read what this one does."""
    return InvalidInput(
        f"The machine {machine} cannot read {what} {path}, which this one reads.",
        "Put it on a file system that all machines of the cluster share, under the same path.",
    )


def _machine() -> str:
    return socket.gethostname()


def as_text(items: Sequence[ScoreInput]) -> str:
    """Inputs as JSON: what goes to a worker depends on no version of a pickle."""
    return json.dumps([[i.name, str(i.path), i.case, None if i.tile is None else asdict(i.tile)] for i in items])


def from_text(text: str) -> list[ScoreInput]:
    """Inputs of what `as_text` wrote."""
    from pipelines.inputs import ScoreInput

    return [ScoreInput(name, Path(path), case, _tile(tile)) for name, path, case, tile in json.loads(text)]


def _tile(values: dict[str, int] | None) -> Any:
    if values is None:
        return None
    from msht.images.slides import Tile

    return Tile(**values)
