"""What a bundle says about its exports: what they are, and how they were held against PyTorch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["float32", "bfloat16", "int8"]
EXPORTS = "exports"
"""Folder of the exports in a bundle, one below it for each backend."""
ENDINGS = {"onnx": (".onnx",), "openvino": (".xml", ".bin")}
"""Of the files of one network; the first is the one that a runtime is told to read."""


class Verification(BaseModel):
    """How far an export's answers are from those of the networks in PyTorch, on real images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int = Field(ge=1)
    """Development images that were answered both ways."""
    cases: int
    """Their cases."""
    data: str
    """Which images, in words."""
    largest_change: float
    """Of a field's calibrated probability, mean over the networks."""
    largest_change_fold: float
    """Of one network's calibrated probability, on images that it did not train on."""
    flipped_fields: int
    """Fields whose call changed, at the field threshold: of the mean of all networks, and of each on images that it
    did not train on."""
    flipped_cases: int
    """Cases whose call changed, likewise."""
    tolerance: float
    """Change of a probability that was allowed."""
    images_per_second: float
    """All networks, without reading, on the machine that exported."""
    images_per_second_torch: float
    """The same in PyTorch, in turns with it."""
    processor: str
    """Of that machine."""


class ExportDescription(BaseModel):
    """One export of a bundle: every fold's network for one backend."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: Literal["onnx", "openvino"]
    precision: Precision
    created: str
    versions: dict[str, str]
    """Of the packages that made it."""
    calibration: str = ""
    """Which images the steps of int8 were fitted on, in words; empty for others."""
    verification: Verification

    def files_of(self, fold: int) -> tuple[str, ...]:
        """Paths below the bundle of one fold's files; the first is the one that a runtime is told to read."""
        return tuple(f"{EXPORTS}/{self.backend}/fold-{fold}{ending}" for ending in ENDINGS[self.backend])

    def in_words(self) -> str:
        """The export with its figures, in a sentence."""
        found = self.verification
        flipped = found.flipped_fields + found.flipped_cases
        return (
            f"The {self.precision} {self.backend} export, held against PyTorch on {found.images} images: a probability "
            f"changes by {found.largest_change:.1g} at most ({found.largest_change_fold:.1g} of a single network), "
            f"{flipped} calls change."
        )
