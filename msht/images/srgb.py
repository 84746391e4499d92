"""Any stored kind of pixel as eight-bit RGB in sRGB."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from msht.errors import UnreadableImage

_PROFILED = ("RGB", "L", "CMYK")
"""Modes whose colour profile is applied."""


@dataclass(frozen=True)
class Samples:
    """How a file holds the numbers of its pixels."""

    bits: int = 8
    """Of a sample."""
    signed: bool = False
    """Whether they are signed."""
    white_is_zero: bool = False
    """Whether a grey picture counts from white to black."""


def to_srgb(image: Image.Image, samples: Samples, path: Path) -> tuple[Image.Image, list[str]]:
    """Convert any stored mode to eight-bit RGB in sRGB, and say what was done.

    Raises:
        UnreadableImage: if black and white of the pixels are not defined.
    """
    done: list[str] = []
    bits = samples.bits
    profile: bytes | None = image.info.get("icc_profile")
    undefined = image.mode in ("I", "F", "LAB", "HSV") and not (image.mode == "I" and bits == 16)
    if undefined or samples.signed:
        kind = "signed numbers" if samples.signed else f"pixels of kind '{image.mode}'"
        raise UnreadableImage(
            f"{path} stores {kind}, whose black and white are not defined.",
            "Export it as eight- or sixteen-bit grey or RGB.",
        )
    if image.mode.startswith("I"):
        # Pillow hands over the numbers as they lie in the file: 12 bits as 0 to 4095, and white as 0 where that is so.
        share = np.asarray(image).astype(np.float64) / (2**bits - 1)
        share = 1 - share if samples.white_is_zero else share
        image = Image.fromarray(np.rint(share * 255).clip(0, 255).astype(np.uint8))
        done.append(f"{bits} bits scaled to 8")
    elif bits > 8:
        done.append(f"{bits} bits scaled to 8")
    if image.mode == "P" or "transparency" in image.info:
        done.append("palette expanded" if image.mode == "P" else "transparent colour applied")
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image).convert("RGB")
        done.append("transparency laid over white")
    if image.mode == "1":
        image = image.convert("L")
    if image.mode == "YCbCr":
        image = image.convert("RGB")
        done.append("YCbCr converted to RGB")
    if profile:
        image, words = _apply_profile(image, profile)
        if words:
            done.append(words)
    if image.mode != "RGB":
        done.append({"L": "grey repeated in three channels"}.get(image.mode, f"{image.mode} converted to RGB"))
        image = image.convert("RGB")
    return image, done


def _apply_profile(image: Image.Image, profile: bytes) -> tuple[Image.Image, str]:
    """Apply an embedded profile; a profile that cannot be read or does not fit the pixels is set aside."""
    if image.mode not in _PROFILED:
        return image, ""
    try:
        if image.mode == "RGB" and _is_of_grey(profile) and (grey := _as_grey(image)) is not None:
            image = grey
        transform = _transform_to_srgb(profile, image.mode)
        if transform is None:
            return image, ""
        return transform.apply(image), "colour profile converted to sRGB"
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image, "colour profile unreadable, set aside"


def is_invisible(image: Image.Image) -> bool:
    """Whether every pixel is wholly transparent."""
    return image.mode in ("RGBA", "LA", "PA") and image.getchannel("A").getextrema()[1] == 0


@lru_cache(maxsize=16)
def _is_of_grey(profile: bytes) -> bool:
    """Whether a profile is one of grey pictures."""
    return str(ImageCms.getOpenProfile(io.BytesIO(profile)).profile.xcolor_space).strip() == "GRAY"


def _as_grey(image: Image.Image) -> Image.Image | None:
    """A grey picture that transparency or a palette made RGB, as it was; None for one that has colour."""
    pixels = np.asarray(image)
    same = (pixels[..., :1] == pixels).all()
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0])) if same else None


@lru_cache(maxsize=16)
def _transform_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the way from a profile to sRGB; None where it changes no sample by more than two levels of 255.

    Cameras write the same few profiles into every file, most of them sRGB under some name: the test is made
    on a grid of colours once for each profile, not on each image.
    """
    source = ImageCms.getOpenProfile(io.BytesIO(profile))
    target: Any = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(source, target, mode, "RGB")
    if mode == "CMYK":
        return transform
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(9, 81, 3)
    probe = Image.fromarray(grid) if mode == "RGB" else Image.fromarray(levels[None, :])
    change = np.asarray(transform.apply(probe)).astype(int) - np.asarray(probe.convert("RGB")).astype(int)
    return None if np.abs(change).max() <= 2 else transform


def changes_colour(image: Image.Image) -> bool:
    """Whether an embedded profile asks for anything: to be converted, or to be set aside with a word."""
    profile: bytes | None = image.info.get("icc_profile")
    if not profile or image.mode not in _PROFILED:
        return False
    try:
        return _transform_to_srgb(profile, image.mode) is not None
    except (ImageCms.PyCMSError, OSError, ValueError):
        return True
