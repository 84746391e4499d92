"""Random views of a field for training; the only file that knows albumentations.

The geometry (rotation, crop, scale, shift, resize, flips) is one affine warp, so that every pixel of the view
is interpolated once, straight from the field. Colour follows with albumentations' own transforms.

Randomness belongs to the image, not to the worker: the generator of a view is seeded by (seed, epoch, index).
Two epochs differ, two runs agree, and the number of workers cannot matter. Albumentations' own
`set_random_seed` gives every transform of a Compose the same seed, which ties their parameters to each other
(2.0.8), so one shared generator is handed over instead.
"""

from __future__ import annotations

import math
import os
import random
from typing import Any, Literal

# Albumentations asks the package index for a newer version when it is imported; a clinical machine must not.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from msht.images.preprocessing import Pixels, Preprocessing, crop_box, view_of

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


class Augmentation(BaseModel):
    """How much views may vary; a name gives the numbers, and any number given beside it wins.

    `Augmentation(name="standard", hue=0.0)` is the standard set without hue. The object always holds the
    numbers as resolved, so a saved recipe says all of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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
        return {**PRESETS.get(values.get("name", "none"), {}), **values}

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Augmentation:
        for field in ("rotation", "scale"):
            low, high = getattr(self, field)
            if low > high:
                raise ValueError(f"{field} must ascend, but is ({low}, {high})")
        if self.scale[0] <= 0:
            raise ValueError(f"scale must be positive, but starts at {self.scale[0]}")
        return self


class Augmenter:
    """Makes the random view of a field for a given epoch and index.

    Args:
        settings: how much views may vary.
        preprocessing: the square and size that the network sees; its crop counts pixels of the fields given.
        seed: the run's seed.

    An instance serves one thread; every worker process has its own copy.
    """

    def __init__(self, settings: Augmentation, preprocessing: Preprocessing, seed: int) -> None:
        self.settings = settings
        self.preprocessing = preprocessing
        self.seed = seed
        self._compose = None if settings == Augmentation() else _compose(settings, preprocessing)

    def __call__(self, pixels: Pixels, *, epoch: int, index: int) -> Pixels:
        """Make the view of `pixels`, RGB uint8 (H, W, 3), that belongs to this epoch and this row.

        Returns:
            RGB uint8, shape (S, S, 3).
        """
        if self._compose is None:
            return view_of(pixels, self.preprocessing)
        generator = np.random.default_rng((self.seed, epoch, index))
        self._compose.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        return np.ascontiguousarray(self._compose(image=pixels)["image"])


class OneWarp(A.ImageOnlyTransform):
    """Rotation, scale, shift, crop, resize and flips as a single affine warp with reflected borders.

    A bilinear read covers two pixels each way; a view that shrinks the field threefold or more is therefore
    taken from a copy that was averaged over whole blocks first, which keeps it free of aliasing.
    """

    def __init__(self, settings: Augmentation, preprocessing: Preprocessing) -> None:
        super().__init__(p=1.0)
        self.settings = settings
        self.preprocessing = preprocessing

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the warp for a field of the shape in `params`."""
        height, width = params["shape"][:2]
        draw, settings = self.py_random, self.settings
        angle = math.radians(draw.uniform(*settings.rotation))
        magnification = math.exp(draw.uniform(math.log(settings.scale[0]), math.log(settings.scale[1])))
        shifts = (
            draw.uniform(-settings.shift, settings.shift),
            draw.uniform(-settings.shift, settings.shift),
        )
        flips = (draw.random() < settings.flip_horizontal, draw.random() < settings.flip_vertical)
        matrix = warp_matrix(width, height, self.preprocessing, angle, magnification, shifts, flips)
        return {"matrix": matrix, "shrink": max(1, math.floor(math.hypot(matrix[0, 0], matrix[1, 0]) + 1e-9))}

    def apply(self, img: Pixels, matrix: npt.NDArray[np.float64], shrink: int, **params: Any) -> Pixels:
        """Take the view from the field."""
        return warp(img, matrix, self.preprocessing.size, shrink if shrink > 2 else 1)


def warp_matrix(
    width: int,
    height: int,
    preprocessing: Preprocessing,
    angle: float,
    magnification: float = 1.0,
    shifts: Range = (0.0, 0.0),
    flips: tuple[bool, bool] = (False, False),
) -> npt.NDArray[np.float64]:
    """Map the view's pixel indices to the field's, shape (2, 3).

    Args:
        width: of the field, in px.
        height: of the field, in px.
        preprocessing: the square and the size.
        angle: counter-clockwise rotation of the content, in radians.
        magnification: above 1 cells look larger.
        shifts: of the window, as shares of the square's edge (across, down).
        flips: of the view (horizontal, vertical).
    """
    box = crop_box(width, height, preprocessing)
    edge, size = box.right - box.left, preprocessing.size
    step = edge / size / magnification
    mirror = np.array([-1.0 if flips[0] else 1.0, -1.0 if flips[1] else 1.0])
    cosine, sine = math.cos(angle), math.sin(angle)
    linear = step * np.array([[cosine, -sine], [sine, cosine]]) * mirror
    # Indices count pixel centres: the centre of n pixels lies at (n - 1) / 2.
    centre = np.array(
        [(box.left + box.right - 1) / 2 + shifts[0] * edge, (box.top + box.bottom - 1) / 2 + shifts[1] * edge]
    )
    offset = centre - linear @ np.full(2, (size - 1) / 2)
    return np.column_stack([linear, offset])


def warp(pixels: Pixels, matrix: npt.NDArray[np.float64], size: int, shrink: int = 1) -> Pixels:
    """Read a view, RGB uint8 (S, S, 3), through the map of `warp_matrix`.

    Args:
        pixels: RGB uint8, shape (H, W, 3).
        matrix: from view indices to field indices, shape (2, 3).
        size: S.
        shrink: whole factor by which the field is averaged first.
    """
    if shrink > 1:
        height, width = pixels.shape[0] // shrink, pixels.shape[1] // shrink
        whole = pixels[: height * shrink, : width * shrink]
        pixels = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
        matrix = matrix / shrink
        matrix[:, 2] += 0.5 / shrink - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    view = cv2.warpAffine(pixels, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(view, dtype=np.uint8)


def _compose(settings: Augmentation, preprocessing: Preprocessing) -> A.Compose:
    transforms: list[Any] = [OneWarp(settings, preprocessing)]
    jitter = (settings.brightness, settings.contrast, settings.saturation, settings.hue)
    if any(jitter):
        ranges = [(1 - amount, 1 + amount) for amount in jitter[:3]]
        transforms.append(A.ColorJitter(*ranges, hue=(-settings.hue, settings.hue), p=1.0))
    if settings.channel_shift:
        limit = (-255 * settings.channel_shift, 255 * settings.channel_shift)
        transforms.append(A.RGBShift(limit, limit, limit, p=1.0))
    if settings.gamma:
        transforms.append(A.RandomGamma((100 * (1 - settings.gamma), 100 * (1 + settings.gamma)), p=1.0))
    if settings.blur:
        transforms.append(A.GaussianBlur(blur_limit=0, sigma_limit=(0.4, 1.2), p=settings.blur))
    if settings.compression:
        transforms.append(A.ImageCompression(quality_range=(40, 95), p=settings.compression))
    if settings.grey:
        transforms.append(A.ToGray(p=settings.grey))
    return A.Compose(transforms)
