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

import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from msht.errors import UnreadableImage
from msht.images.headers import opens_quickly
from msht.images.jpeg import damage_of, first_scan, in_one_scan, plain_jpeg
from msht.images.scratch import scratch
from msht.images.srgb import Samples, changes_colour, is_invisible, to_srgb

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

MAX_PIXELS = 178_956_970
"""Larger images are refused before decoding; Pillow refuses them by itself."""

TIME_LIMIT = 30.0
"""Seconds that decoding may take; a field of 1390 x 1038 px takes a few thousandths of one."""

BOUNDED_PIXELS = 2**26
"""Pixels, times passes over them, whose decoding takes a second or two at most, whatever the file holds."""

BOUNDED_BYTES = 2**26
"""Length up to which a file's bytes are read in such a time."""

_SIMPLE_TIFF = frozenset({"raw", "tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate"})
_ORIENTATION_TAG = 0x0112
_BITS_PER_SAMPLE_TAG, _PHOTOMETRIC_TAG, _SAMPLE_FORMAT_TAG = 258, 262, 339
_SIGNED = 2
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


def read_image(
    path: Path, *, max_pixels: int = MAX_PIXELS, time_limit: float = TIME_LIMIT, passing: bool = False
) -> DecodedImage:
    """Read an image whole: upright, sRGB, uint8.

    Sixteen-bit samples are scaled by their full range (value / 257), alpha is laid over white, an embedded
    colour profile is converted to sRGB unless it already means that. The file is read once; the digest is of
    the same bytes that were decoded.

    Args:
        path: an image file.
        max_pixels: refuse larger images before decoding; more than `MAX_PIXELS` are refused in any case.
        time_limit: seconds that decoding may take; see `decode_image`.
        passing: whether the pixels may lie in memory that the thread's next reading of this kind writes over.

    Raises:
        UnreadableImage: if the file is missing, empty, truncated, of another format than its ending says, too
            large, animated or paged, of a kind of pixel that has no sure meaning, too slow to decode, or no image
            at all.
    """
    path = Path(path)
    return decode_image(read_bytes(path), path, max_pixels=max_pixels, time_limit=time_limit, passing=passing)


def read_bytes(path: Path) -> bytes:
    """Read an image file as it lies on disk.

    Raises:
        UnreadableImage: if it cannot be opened.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnreadableImage(f"{path} cannot be opened: {reason}.", "Check the path and its rights.") from error


def decode_image(
    data: bytes,
    path: Path,
    *,
    max_pixels: int = MAX_PIXELS,
    time_limit: float = TIME_LIMIT,
    passing: bool = False,
) -> DecodedImage:
    """Decode the bytes of an image file as `read_image` does; `path` names it and gives its ending.

    The time limit holds in one of two ways. What the header bounds to a second or so of work (`BOUNDED_PIXELS`,
    counting each pass that a progressive file makes over them) is decoded here. Anything else, also a file whose header
    alone could take long (`opens_quickly`), is decoded in a process of its own, which is killed when the time is up: no
    thread can be stopped inside a decoder.

    Raises:
        UnreadableImage: as `read_image`.
    """
    if not data:
        raise UnreadableImage(f"{path} is empty (0 bytes).", "Copy the file again from where it was made.")
    if len(data) <= BOUNDED_BYTES and opens_quickly(data):
        with _open(data, path, max_pixels) as image:
            if _passes(image, data) * image.size[0] * image.size[1] <= BOUNDED_PIXELS:
                return _decoded(image, data, path, passing)
    from msht.images.apart import decode_apart

    return decode_apart(data, path, max_pixels=max_pixels, time_limit=time_limit)


def decode_here(data: bytes, path: Path, *, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """Decode in this process, however long it takes.

    Raises:
        UnreadableImage: as `read_image`.
    """
    with _open(data, path, max_pixels) as image:
        return _decoded(image, data, path)


def plain_pixels(data: bytes, path: Path) -> Pixels | None:
    """Decode a plain JPEG to the pixels of `decode_image`, RGB uint8 (H, W, 3), without digest and record.

    They lie in scratch memory: the thread's next call writes over them. None for any other file, which
    `decode_image` reads or refuses.
    """
    scan = first_scan(data)
    if scan is not None and path.suffix.lower() in FORMAT_SUFFIXES["JPEG"] and len(data) <= BOUNDED_BYTES:
        size = _plain_size(data[: scan.start])
        if size is not None:
            return plain_jpeg(data, size, scratch("decoded", *size, 3))
    return None


def _decoded(image: Image.Image, data: bytes, path: Path, passing: bool = False) -> DecodedImage:
    file_format = "JPEG" if image.format == "MPO" else str(image.format)
    mode, orientation = image.mode, 1
    conversions: list[str] = []
    pixels = None
    if _is_plain(image, data):
        pixels = plain_jpeg(data, image.size, scratch("decoded", *image.size, 3) if passing else None)
    if pixels is None:
        damage = damage_of(data, mode) if file_format == "JPEG" else None
        if damage is not None:
            raise _damaged(path, damage)
        orientation, already_upright = _load(image, path)
        if is_invisible(image):
            raise UnreadableImage(
                f"{path} is transparent everywhere (its alpha is 0), so that nothing can be seen.",
                "Export it without transparency.",
            )
        converted, conversions = to_srgb(image, _samples(image, data), path)
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


def _is_plain(image: Image.Image, data: bytes) -> bool:
    """Whether an opened file is an upright RGB JPEG whose pixels need one pass and no change of colour."""
    if image.format != "JPEG" or image.mode != "RGB" or "adobe" in image.info or not in_one_scan(image, data):
        return False
    return _orientation(image) == 1 and not changes_colour(image)


@lru_cache(maxsize=4096)
def _plain_size(header: bytes) -> tuple[int, int] | None:
    """Read width and height of a plain JPEG from all that stands before its pixels; None for any other.

    Remembered, since the fields of one camera share few headers and training reads each in every epoch.
    """
    try:
        with _open(header, Path("header.jpg"), MAX_PIXELS) as image:
            width, height = image.size
            return (width, height) if width * height <= BOUNDED_PIXELS and _is_plain(image, header) else None
    except UnreadableImage:
        return None


def _passes(image: Image.Image, data: bytes) -> int:
    """How often decoding may go over all pixels; a progressive JPEG says so by its scans.

    A TIFF may hold anything inside, JPEG with scans of its own among it, unless its compression is a simple one.
    """
    if image.format in ("JPEG", "MPO"):
        return 1 if in_one_scan(image, data) else max(1, data.count(b"\xff\xda"))
    if image.format == "TIFF" and str(image.info.get("compression", "raw")) not in _SIMPLE_TIFF:
        return BOUNDED_PIXELS
    return 1


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
        raise _too_large(path, f"more than {MAX_PIXELS:,} px") from error
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
        # Whether there is another is asked, not how many: counting them goes through the whole file.
        several = has_several_frames(image)
    except Exception as error:  # a TIFF whose directory is broken tells so only when asked
        raise _damaged(path, error) from error
    if width * height > max_pixels:
        raise _too_large(path, f"{width} x {height} px, {width * height:,} in all; the limit is {max_pixels:,}")
    if several:
        raise UnreadableImage(
            f"{path} holds more than one frame or page; which of them is the field cannot be known.",
            "Export the one that is meant as a single image.",
        )
    return image


def has_several_frames(image: Image.Image) -> bool:
    """Whether a file holds more than one picture; the preview that a camera's MPO carries is not counted."""
    return image.format != "MPO" and bool(getattr(image, "is_animated", False))


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


def _samples(image: Image.Image, data: bytes) -> Samples:
    """How the file holds its samples; Pillow hides it for colour images, which it reduces to eight bits itself."""
    if image.format == "PNG":
        return Samples(bits=data[_PNG_BIT_DEPTH_BYTE])
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        return Samples(
            bits=int(max(tags.get(_BITS_PER_SAMPLE_TAG, (1,)))),
            signed=tags.get(_SAMPLE_FORMAT_TAG) in (_SIGNED, (_SIGNED,) * len(image.getbands())),
            white_is_zero=tags.get(_PHOTOMETRIC_TAG) == 0,
        )
    return Samples()


def _too_large(path: Path, detail: str) -> UnreadableImage:
    return UnreadableImage(
        f"{path} is too large to decode safely: {detail.rstrip('.')}.",
        "Crop or shrink it; whole slides are read by tiles instead.",
    )


def too_slow(path: Path, time_limit: float) -> UnreadableImage:
    """Say that an image was not decoded in time."""
    return UnreadableImage(
        f"{path} was not decoded within {time_limit:g} s.",
        "Export it again as a plain JPEG or PNG; a photograph of a field never takes so long.",
    )


def _damaged(path: Path, error: Exception | str) -> UnreadableImage:
    detail = str(error).strip().rstrip(".") or type(error).__name__
    return UnreadableImage(
        f"{path} is damaged and cannot be decoded whole: {detail}.",
        "Copy the file again from where it was made; if it is broken there too, leave it out.",
    )
