"""The pictures of a case report: fields that weighed most, heat maps and rejected fields."""

from __future__ import annotations

from pathlib import Path

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

    faithfulness: str | None = None
    """What was measured of how faithful such maps are to the network, in a sentence; None where nothing was."""
