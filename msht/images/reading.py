"""Reading an image file safely: upright, in sRGB, eight bits, three channels, or not at all.

Every departure from "decode and use" is written into a record, so that a report can say what was done to the
file. A file that cannot be decoded whole is refused: half a field is not evidence.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from msht.errors import UnreadableImage

Pixels = npt.NDArray[np.uint8]

FORMAT_SUFFIXES: dict[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
}
"""Formats that are read, by Pillow's name, with the endings their files may carry."""

IMAGE_SUFFIXES: frozenset[str] = frozenset(suffix for group in FORMAT_SUFFIXES.values() for suffix in group)
"""Endings, in lower case, of files that are taken for images."""

_ORIENTATION_TAG = 0x0112
_BITS_PER_SAMPLE_TAG = 258
_PNG_BIT_DEPTH_BYTE = 24
# Importing a plugin registers its format; only these are tried, so that no exotic decoder ever runs. A JPEG
# with a second picture inside, as cameras write it, is opened by the first and then called "MPO".
_PLUGINS: tuple[type[Image.Image], ...] = (
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    TiffImagePlugin.TiffImageFile,
    BmpImagePlugin.BmpImageFile,
    WebPImagePlugin.WebPImageFile,
    GifImagePlugin.GifImageFile,
)
_FORMATS = tuple(str(plugin.format) for plugin in _PLUGINS)

_UPRIGHT: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image of each EXIF orientation upright (Exif 2.32, tag 274)."""

# The limits of this file replace Pillow's warning; its harder error for twice that size stays in force.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class ReadingRecord:
    """What was found in a file and what was done to it before use."""

    width: int
    """Pixels across, after orientation."""
    height: int
    """Pixels down, after orientation."""
    format: str
    """The format found in the bytes: JPEG, PNG, TIFF, BMP, WEBP or GIF."""
    mode: str
    """Pillow's mode of the stored pixels: RGB, L, P, RGBA, CMYK, I;16, ..."""
    orientation: int
    """EXIF orientation that was applied; 1 where the file was upright or said nothing."""
    conversions: tuple[str, ...]
    """Words for what was done, in order; empty for a plain eight-bit RGB file."""
    sha256: str
    """Digest of the file's bytes, in hexadecimal."""
    bytes: int
    """Size of the file."""


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """Pixels ready for use, and how they came to be."""

    pixels: Pixels
    """RGB, uint8, shape (H, W, 3), writable."""
    record: ReadingRecord
    """What was found and done."""


def is_image_path(path: Path) -> bool:
    """Whether a file's name says that it is an image; hidden files (`.`, macOS's `._`) are not taken."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def read_image(path: Path, *, max_pixels: int = 200_000_000) -> DecodedImage:
    """Read an image whole: upright, sRGB, uint8.

    Sixteen-bit samples are scaled by their full range (value / 257), alpha is laid over white, an embedded
    colour profile is converted to sRGB unless it already means that. The file is read once; the digest is of
    the same bytes that were decoded.

    Args:
        path: an image file.
        max_pixels: refuse larger images before decoding; Pillow's own limit of 178,956,970 holds besides.

    Raises:
        UnreadableImage: if the file is missing, empty, truncated, of another format than its ending says, too
            large, animated or paged, of a kind of pixel that has no sure meaning, or no image at all.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnreadableImage(f"{path} cannot be opened: {reason}.", "Check the path and its rights.") from error
    return decode_image(data, path, max_pixels=max_pixels)


def decode_image(data: bytes, path: Path, *, max_pixels: int = 200_000_000) -> DecodedImage:
    """Decode the bytes of an image file as `read_image` does; `path` names it and gives its ending.

    Raises:
        UnreadableImage: as `read_image`.
    """
    if not data:
        raise UnreadableImage(f"{path} is empty (0 bytes).", "Copy the file again from where it was made.")
    with _open(data, path, max_pixels) as image:
        file_format = "JPEG" if image.format == "MPO" else str(image.format)
        mode = image.mode
        orientation, already_upright = _load(image, path)
        converted, conversions = _to_srgb(image, _bits(image, data), path)
        if orientation != 1:
            converted = converted if already_upright else converted.transpose(_UPRIGHT[orientation])
            conversions.append(f"turned upright (EXIF orientation {orientation})")
        pixels = np.array(converted)
    height, width = pixels.shape[:2]
    record = ReadingRecord(
        width=width,
        height=height,
        format=file_format,
        mode=mode,
        orientation=orientation,
        conversions=tuple(conversions),
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
    )
    return DecodedImage(pixels, record)


def _open(data: bytes, path: Path, max_pixels: int) -> Image.Image:
    """Parse the header, and refuse what must not be decoded."""
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise UnreadableImage(
            f"{path} is not an image of a known format (JPEG, PNG, TIFF, BMP, WebP, GIF).",
            "Remove it from the list, or export it again as PNG or JPEG.",
        ) from error
    except Image.DecompressionBombError as error:
        raise _too_large(path, str(error)) from error
    except Exception as error:  # plugins raise many kinds on a broken header
        raise _damaged(path, error) from error
    allowed = FORMAT_SUFFIXES["JPEG" if image.format == "MPO" else str(image.format)]
    if path.suffix.lower() not in allowed:
        raise UnreadableImage(
            f"{path} holds {image.format} data, but its name ends in '{path.suffix}'.",
            f"Check where the file comes from, then rename it to end in '{allowed[0]}'.",
        )
    try:
        width, height = image.size
        # A camera's MPO carries a preview beside the photograph; there the first frame is the image.
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    except Exception as error:  # a TIFF whose directory is broken tells so only when asked
        raise _damaged(path, error) from error
    if width * height > max_pixels:
        raise _too_large(path, f"{width} x {height} px, {width * height:,} in all; the limit is {max_pixels:,}")
    if frames != 1:
        raise UnreadableImage(
            f"{path} holds {frames} frames or pages; which of them is the field cannot be known.",
            "Export the one that is meant as a single image.",
        )
    return image


def _load(image: Image.Image, path: Path) -> tuple[int, bool]:
    """Decode the pixels whole; return the EXIF orientation of the file, and whether Pillow has applied it."""
    # Pillow turns a TIFF while loading it and drops the tag, so it must be read before.
    before = _orientation(image) if image.format == "TIFF" else 1
    try:
        image.load()
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        raise _damaged(path, error) from error
    after = _orientation(image)
    return (after, False) if after != 1 else (before, True)


def _orientation(image: Image.Image) -> int:
    """Read the EXIF orientation; 1 where there is none, or where the metadata are broken."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # metadata are not evidence: upright is all that can be assumed
        return 1
    return value if value in _UPRIGHT else 1


def _bits(image: Image.Image, data: bytes) -> int:
    """Bits a sample in the file; Pillow hides this for colour images, which it reduces to eight itself."""
    if image.format == "PNG":
        return data[_PNG_BIT_DEPTH_BYTE]
    if image.format == "TIFF":
        return int(max(image.tag_v2.get(_BITS_PER_SAMPLE_TAG, (1,))))  # type: ignore[attr-defined]
    return 8


def _to_srgb(image: Image.Image, bits: int, path: Path) -> tuple[Image.Image, list[str]]:
    """Convert any stored mode to eight-bit RGB in sRGB, and say what was done."""
    done: list[str] = []
    profile: bytes | None = image.info.get("icc_profile")
    if image.mode in ("I", "F", "LAB", "HSV") and not (image.mode == "I" and bits == 16):
        raise UnreadableImage(
            f"{path} stores pixels of kind '{image.mode}', whose black and white are not defined.",
            "Export it as eight- or sixteen-bit grey or RGB.",
        )
    if image.mode.startswith("I"):
        scaled = np.rint(np.asarray(image).astype(np.float32) / 257.0).clip(0, 255).astype(np.uint8)
        image = Image.fromarray(scaled)
        done.append("16 bits scaled to 8")
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
    if image.mode not in ("RGB", "L", "CMYK"):
        return image, ""
    try:
        transform = _transform_to_srgb(profile, image.mode)
        if transform is None:
            return image, ""
        return transform.apply(image), "colour profile converted to sRGB"
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image, "colour profile unreadable, set aside"


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


def _too_large(path: Path, detail: str) -> UnreadableImage:
    return UnreadableImage(
        f"{path} is too large to decode safely: {detail.rstrip('.')}.",
        "Crop or shrink it; whole slides are read by tiles instead.",
    )


def _damaged(path: Path, error: Exception) -> UnreadableImage:
    detail = str(error).strip().rstrip(".") or type(error).__name__
    return UnreadableImage(
        f"{path} is damaged and cannot be decoded whole: {detail}.",
        "Copy the file again from where it was made; if it is broken there too, leave it out.",
    )
