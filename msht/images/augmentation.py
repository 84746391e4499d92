"""Random views of a field for training; the only file that knows albumentations.

The geometry (rotation, crop, scale, shift, resize, flips) is one affine warp (`warp`), so that every pixel of the
view is interpolated once. Colour follows: albumentations draws how much and does the rarer things; brightness,
contrast, saturation and hue, which every view goes through, are done by `jitter` in a third of its time.

What is drawn (`Draw`) and what is done are apart, so that views can be made of whole batches on a GPU from the same
draws (`batch_augmentation`).

Randomness belongs to the image, not to the worker: the generator of a view is seeded by (seed, epoch, index).
Two epochs differ, two runs agree, and the number of workers cannot matter. Albumentations' own
`set_random_seed` gives every transform of a Compose the same seed, which ties their parameters to each other
(2.0.8), so one shared generator is handed over instead.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

# Albumentations asks the package index for a newer version when it is imported; a clinical machine must not.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from msht.images.jitter import colour_jitter
from msht.images.preprocessing import Pixels, Preprocessing, crop_boxes, resized
from msht.images.warp import Matrix, Square, warp, warp_matrix

Range = tuple[float, float]

PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    # The published protocol: rotation, centre crop, resize, horizontal flip, colour jitter.
    "paper": {
        "rotation": (0.0, 180.0),
        "flip_horizontal": 0.5,
        "brightness": 0.15,
        "contrast": 0.3,
        "saturation": 0.3,
        "hue": 0.06,
    },
    # Cells have no up and no side: the whole symmetry of the plane, for small networks without pretraining.
    "standard": {
        "rotation": (-180.0, 180.0),
        "scale": (0.85, 1.15),
        "shift": 0.05,
        "flip_horizontal": 0.5,
        "brightness": 0.15,
        "contrast": 0.2,
        "saturation": 0.2,
        "hue": 0.04,
    },
    # For a stain or a microscope that the training never saw.
    "strong-colour": {
        "rotation": (-180.0, 180.0),
        "scale": (0.8, 1.25),
        "shift": 0.05,
        "flip_horizontal": 0.5,
        "brightness": 0.3,
        "contrast": 0.4,
        "saturation": 0.5,
        "hue": 0.1,
        "channel_shift": 0.08,
        "gamma": 0.25,
        "grey": 0.1,
        "blur": 0.15,
        "compression": 0.15,
    },
}
"""Named settings; what a preset does not name is off."""


MOST_SCALE = 10.0
"""Magnification, or its inverse, beyond which no cell is one any more."""


class Augmentation(BaseModel):
    """How much views may vary; a name gives the numbers, and any number given beside it wins.

    `Augmentation(name="standard", hue=0.0)` is the standard set without hue. The object always holds the
    numbers as resolved, so a saved recipe says all of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Literal["none", "paper", "standard", "strong-colour"] = "none"
    """The preset that fills every number not given."""
    rotation: Range = (0.0, 0.0)
    """Degrees, drawn evenly between the two."""
    scale: Range = (1.0, 1.0)
    """Magnification, drawn evenly in its logarithm; above 1 cells look larger."""
    shift: float = Field(default=0.0, ge=0, le=0.5)
    """Largest shift along each axis, as a share of the crop's edge."""
    flip_horizontal: float = Field(default=0.0, ge=0, le=1)
    """Probability of a mirror image."""
    flip_vertical: float = Field(default=0.0, ge=0, le=1)
    """Probability of an upside-down image."""
    brightness: float = Field(default=0.0, ge=0, le=1)
    """Brightness is multiplied by 1 - b to 1 + b, as torchvision's ColorJitter; so are the next two."""
    contrast: float = Field(default=0.0, ge=0, le=1)
    """Contrast about the mean grey."""
    saturation: float = Field(default=0.0, ge=0, le=1)
    """Saturation about the grey image."""
    hue: float = Field(default=0.0, ge=0, le=0.5)
    """Hue is turned by -h to h of the full circle."""
    channel_shift: float = Field(default=0.0, ge=0, le=0.5)
    """Red, green and blue are shifted, each for itself, by up to this share of the range."""
    gamma: float = Field(default=0.0, ge=0, lt=1)
    """Exponent from 1 - g to 1 + g."""
    grey: float = Field(default=0.0, ge=0, le=1)
    """Probability of losing all colour."""
    blur: float = Field(default=0.0, ge=0, le=1)
    """Probability of a slight defocus (Gaussian, sigma 0.4 to 1.2 px of the view)."""
    compression: float = Field(default=0.0, ge=0, le=1)
    """Probability of JPEG artefacts (quality 40 to 95)."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        name = values.get("name", "none")
        return {**(PRESETS.get(name, {}) if isinstance(name, str) else {}), **values}

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Augmentation:
        for field in ("rotation", "scale"):
            low, high = getattr(self, field)
            if low > high:
                raise ValueError(f"{field} must ascend, but is ({low}, {high})")
        if not (self.scale[0] >= 1 / MOST_SCALE and self.scale[1] <= MOST_SCALE):
            raise ValueError(f"scale must lie between {1 / MOST_SCALE:g} and {MOST_SCALE:g}, but is {self.scale}")
        return self


@dataclass(frozen=True)
class Draw:
    """What chance decided for one view."""

    matrix: Matrix
    """From the view's indices to the field's, shape (2, 3)."""
    colour: tuple[tuple[str, dict[str, Any]], ...]
    """Steps that change the colour, in order: the name of the transform and its parameters."""


class Augmenter:
    """Makes the random view of a field for a given epoch and index.

    Args:
        settings: how much views may vary.
        preprocessing: the squares and size that the network sees.
        seed: the run's seed.

    An instance serves one thread; every worker process has its own copy.
    """

    def __init__(self, settings: Augmentation, preprocessing: Preprocessing, seed: int) -> None:
        self.settings = settings
        self.preprocessing = preprocessing
        self.seed = seed
        self.still = settings == Augmentation()
        self._colour = _colour_transforms(settings)
        size = preprocessing.size
        self._probe = {"image": np.zeros((size, size, 3), dtype=np.uint8)}

    def __call__(self, pixels: Pixels, *, epoch: int, index: int, squares: Sequence[Square] | None = None) -> Pixels:
        """Make the view of `pixels`, RGB uint8 (H, W, 3), that belongs to this epoch and this row.

        Args:
            pixels: of the field, its colour seen to.
            epoch: from 0.
            index: of the row.
            squares: of the field that the network sees; None: those of the preprocessing. Of several, one is drawn
                for each epoch: a field counts once an epoch however many crops it has.

        Returns:
            RGB uint8, shape (S, S, 3).
        """
        squares = squares or crop_boxes(pixels.shape[1], pixels.shape[0], self.preprocessing)
        if self.still:
            left, top, right, bottom = (round(edge) for edge in squares[self.crop(len(squares), epoch, index)])
            return resized(pixels[top:bottom, left:right], self.preprocessing.size)
        return self.apply(pixels, self.draw(squares, epoch=epoch, index=index))

    def draw(self, squares: Sequence[Square], *, epoch: int, index: int) -> Draw:
        """Draw what the view of this epoch and this row shows, and how."""
        generator = np.random.default_rng((self.seed, epoch, index))
        chance = random.Random(int(generator.integers(2**63)))
        chance.random()  # one number was always drawn here; without it every view of an earlier run would change
        settings = self.settings
        geometry: dict[str, Any] = {
            "angle": math.radians(chance.uniform(*settings.rotation)),
            "magnification": math.exp(chance.uniform(math.log(settings.scale[0]), math.log(settings.scale[1]))),
            "shifts": (
                chance.uniform(-settings.shift, settings.shift),
                chance.uniform(-settings.shift, settings.shift),
            ),
            "flips": (chance.random() < settings.flip_horizontal, chance.random() < settings.flip_vertical),
        }
        colour = []
        for name, transform in self._colour.items():
            transform.set_random_state(generator, chance)
            if transform.should_apply():
                first = transform.get_params()
                colour.append((name, {**first, **transform.get_params_dependent_on_data(first, self._probe)}))
        square = squares[self.crop(len(squares), epoch, index)]
        return Draw(warp_matrix(square, self.preprocessing.size, **geometry), tuple(colour))

    def crop(self, count: int, epoch: int, index: int) -> int:
        """Draw one of the crops, apart from all else, so that one crop alone changes no other draw."""
        return int(np.random.default_rng((self.seed, epoch, index, 1)).integers(count)) if count > 1 else 0

    def apply(self, pixels: Pixels, draw: Draw) -> Pixels:
        """Make the view of `pixels`, RGB uint8 (H, W, 3), that was drawn."""
        view = warp(pixels, draw.matrix, self.preprocessing.size)
        for name, parameters in draw.colour:
            view = colour_jitter(view, **parameters) if name == JITTER else self._colour[name].apply(view, **parameters)
        return np.ascontiguousarray(view)


JITTER = "jitter"


def _colour_transforms(settings: Augmentation) -> dict[str, Any]:
    transforms: dict[str, Any] = {}
    jitter = (settings.brightness, settings.contrast, settings.saturation, settings.hue)
    if any(jitter):
        ranges = [(1 - amount, 1 + amount) for amount in jitter[:3]]
        transforms[JITTER] = A.ColorJitter(*ranges, hue=(-settings.hue, settings.hue), p=1.0)
    if settings.channel_shift:
        limit = (-255 * settings.channel_shift, 255 * settings.channel_shift)
        transforms["channel_shift"] = A.RGBShift(limit, limit, limit, p=1.0)
    if settings.gamma:
        limits = (100 * (1 - settings.gamma), 100 * (1 + settings.gamma))
        transforms["gamma"] = A.RandomGamma(limits, p=1.0)
    if settings.blur:
        transforms["blur"] = A.GaussianBlur(blur_limit=0, sigma_limit=(0.4, 1.2), p=settings.blur)
    if settings.compression:
        transforms["compression"] = A.ImageCompression(quality_range=(40, 95), p=settings.compression)
    if settings.grey:
        transforms["grey"] = A.ToGray(p=settings.grey)
    return transforms
