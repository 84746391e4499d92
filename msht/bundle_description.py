"""What a bundle's `bundle.json` holds, and the names of its files."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from msht.calibration.stored import StoredCalibrator
from msht.decision import Decision
from msht.images.preprocessing import Preprocessing
from msht.runtimes.description import EXPORTS as EXPORTS
from msht.runtimes.description import ExportDescription

FORMAT = 1
DESCRIPTION = "bundle.json"
SEAL = "bundle.sha256"
REFERENCE = "reference.safetensors"
NETWORK_FILES = ("config.json", "model.safetensors")
CLUTTER = frozenset({"Thumbs.db", "desktop.ini"})
"""What file managers leave in any folder, besides names that begin with a dot."""


class FoldDescription(BaseModel):
    """One network of a bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    folder: str
    temperature: float = 1.0
    """Divides the network's logit, where there is no `calibrator`."""
    calibrator: StoredCalibrator | None = None
    kept_epoch: int
    weights_sha256: str


class Description(BaseModel):
    """What `bundle.json` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    name: str
    created: str
    software: str
    architecture: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    folds: tuple[FoldDescription, ...]
    decision: Decision
    cohort: dict[str, Any]
    """Of the development and test cohort: name, counts by role, split digest and rule, warning, synthetic or not."""
    performance: list[dict[str, Any]]
    """Figures at the operating points, by level and role."""
    training: dict[str, Any]
    """What reports say about the training: recipe, epochs, device, which data chose what."""
    limits: tuple[str, ...]
    explanation: dict[str, Any] = {}
    """How maps are made, and what their checks on development images found: `method`, `layer`, `data`, `scores`,
    `sentence`; empty in bundles made before maps were checked."""
    files: dict[str, str]
    """SHA-256 of every other file, by path below the bundle."""
    exports: tuple[ExportDescription, ...] = ()
    """Forms of the networks for other backends, at most one a backend; see `msht.runtimes.store`."""
