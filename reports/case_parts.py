"""The pictures of a case report: fields that weighed most, heat maps and rejected fields."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from reports.parts import Part, Probability

VIRIDIS = (
    "#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725",
)  # fmt: skip
"""Nine even stops of matplotlib's viridis: even in lightness, so it reads without colour too."""


class DecidingField(Part):
    """A field that weighed most in the call, shown with its heat map."""

    name: str
    """File name, equal to the `name` of its row in `fields`."""

    crop: Path
    """The crop that the model saw, JPEG or PNG on disk (any size; shrunk to what the page needs)."""

    overlay: Path
    """The same crop with the heat map over it, same shape; made with the case's shared scale."""

    probability: Probability
    """Calibrated score of the field."""

    crop_width: int = Field(gt=0)
    """Pixels of the original photograph that the crop spans, for the scale bar."""

    microns_per_pixel: float | None = Field(default=None, gt=0)
    """Size of a pixel of the original photograph; None prints "scale unknown"."""

    peak: float | None = Field(default=None, ge=0.0)
    """Largest value of the map, on the case's scale; None where it is not known."""

    speaks: Literal["for", "against"] | None = None
    """Which call it speaks for, where fields of both kinds are shown; None where all speak for one."""

    shown: tuple[int, int] | None = None
    """Which crop this is, from 1, and of how many that the score is the mean of; None where there is but one."""

    whole: Path | None = None
    """The whole field, small, with the outline of the crop; needed where there are several."""

    @model_validator(mode="after")
    def _consistent(self) -> DecidingField:
        if (self.shown is None) != (self.whole is None):
            raise ValueError("shown and whole are given together or not at all")
        if self.shown is not None and not 1 <= self.shown[0] <= self.shown[1]:
            raise ValueError(f"shown must be a crop of those there are, but is {self.shown}")
        return self


class NotShown(Part):
    """A field that weighed most and has no picture, since its photograph is no longer where it was scored."""

    name: str
    """File name, equal to the `name` of its row in `fields`."""

    probability: Probability
    """Calibrated score of the field."""


class SlidePicture(Part):
    """Where on a whole slide which probability was found."""

    name: str
    """The slide, as the person knows it."""

    picture: Path
    """The map over a small picture of the slide, PNG or JPEG on disk."""

    tiles: int = Field(ge=0)
    """Tiles of the slide that were scored."""

    evaluable: int = Field(ge=0)
    """Those of them that could be evaluated."""

    positive: int = Field(ge=0)
    """Those of them on the positive side of the field-level threshold."""


class RejectedPicture(Part):
    """A rejected field, shown on page 1 of a case that cannot be evaluated."""

    name: str
    """File name, equal to the `name` of its row in `fields`."""

    picture: Path
    """The photograph, JPEG or PNG on disk; shrunk to what the page needs."""


class HeatMap(Part):
    """The one scale that all heat maps of the case share, and where they come from."""

    method: str
    """Method with its name in the literature: "Grad-CAM"."""

    layer: str
    """Layer whose activations are shown: "decoder 4, after MHSA"."""

    low: float = 0.0
    """Value of the first colour."""

    high: float
    """Value of the last colour, shared within the case."""

    unit: str = "positive evidence, arbitrary units"
    """What the values are."""

    colours: tuple[str, ...] = VIRIDIS
    """Hex stops of the colour map, low to high, evenly spaced; the same map as in the overlays."""

    view_size: int | None = Field(default=None, gt=0)
    """Edge in px at which the network saw each crop; None leaves it out."""

    faithfulness: str | None = None
    """What was measured of how faithful such maps are to the network, in a sentence; None where nothing was."""

    failed_checks: tuple[str, ...] = ()
    """Names of the measurements behind `faithfulness` that such maps did not pass."""
