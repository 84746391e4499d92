"""What a bundle says about its exports: what they are, and how they were held against PyTorch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["float32", "bfloat16", "int8"]


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
