"""What the audit measures on one image: whether it can be read whole, what it is, how it looks.

Nothing here imports more than the reading of images needs, since every worker process imports it anew.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from msht.cohort.duplicates import fingerprint
from msht.errors import UnreadableImage
from msht.images.colour import background_colour, cell_mask
from msht.images.quality import BLANK_CONTRAST, MEASURED_EDGE, measure_quality
from msht.images.reading import FORMAT_SUFFIXES, MAX_PIXELS, decode_image, has_several_frames, read_bytes

MEASURE = 3
"""Raised whenever the same file would be measured differently than before."""

COLOURS = tuple(
    f"{part}_{channel}_{statistic}"
    for part in ("all", "cells")
    for channel in ("l", "a", "b")
    for statistic in ("mean", "sd")
)
"""Mean and SD of L*, a* and b* (CIE 1976, sRGB, D65) over the whole field and over its stained pixels."""

BACKGROUND = ("background_r", "background_g", "background_b")
"""Colour of the bright background, 0 to 255; missing where none is seen."""

QUALITY = ("focus", "brightness", "contrast", "clipped_dark", "clipped_bright", "foreground")

_LUMINANCE_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
"""Recommended table for luminance: ITU-T T.81 (1992), table K.1."""


def stamp_of(path: Path) -> str:
    """Size and times of change, with the version of the measurement: what tells that a row still holds.

    The time of the file's entry too: a program that restores files sets the other back to what it was.
    """
    try:
        facts = path.stat()
    except OSError:
        return f"{MEASURE}-gone"
    return f"{MEASURE}-{facts.st_size}-{facts.st_mtime_ns}-{facts.st_ctime_ns}"


def measure_image(name: str, path: Path) -> dict[str, Any]:
    """Measure one image; what is wrong with it is in the row, never an exception.

    Args:
        name: its path in the manifest.
        path: the file.

    Returns:
        A flat row: `image`, `stamp`, `trouble` (a kind of finding, or None) with `trouble_words`, the record of
        reading, quality, colours, `jpeg_quality`, and `fingerprint` (6 x 8 x 8 float16 as bytes, or None).
    """
    row: dict[str, Any] = {"image": name, "stamp": stamp_of(path), "trouble": None, "trouble_words": None}
    if not path.is_file():
        return row | {"trouble": "missing file", "trouble_words": f"There is no file {name}."}
    data = b""
    try:
        data = read_bytes(path)
        row |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        decoded = decode_image(data, path)
    except UnreadableImage as error:
        return row | {
            "trouble": trouble_of(data, path, error),
            "trouble_words": error.problem.replace(str(path), name),
        }
    record, pixels = decoded.record, decoded.pixels
    row |= {
        "width": record.width,
        "height": record.height,
        "format": record.format,
        "mode": record.mode,
        "orientation": record.orientation,
        "conversions": "; ".join(record.conversions),
        **_header(data),
    }
    height, width = pixels.shape[:2]
    factor = MEASURED_EDGE / max(height, width)
    if factor < 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    quality = asdict(measure_quality(pixels))
    row |= {name: quality[name] for name in QUALITY}
    row |= {"blank": bool(quality["contrast"] < BLANK_CONTRAST), **_colours(pixels)}
    # A blank image is a finding of its own; its fingerprint would be that of its noise.
    row["fingerprint"] = None if row["blank"] else fingerprint(pixels).astype(np.float16).tobytes()
    return row


def trouble_of(data: bytes, path: Path, error: UnreadableImage) -> str:
    """Name what is wrong with a file that cannot be read, from its bytes."""
    if not data:
        return "zero bytes" if path.is_file() and path.stat().st_size == 0 else "cannot be opened"
    if "not decoded within" in error.problem:
        return "decoding takes too long"
    try:
        with Image.open(io.BytesIO(data)) as image:
            found = "JPEG" if image.format == "MPO" else str(image.format)
            pixels = image.size[0] * image.size[1]
            several = has_several_frames(image)
    except Image.DecompressionBombError:
        return "decompression bomb"
    except Exception:  # broken headers raise many kinds
        return "damaged" if "damaged" in error.problem else "not an image"
    if found not in FORMAT_SUFFIXES:
        return "not an image"
    if path.suffix.lower() not in FORMAT_SUFFIXES[found]:
        return "wrong ending"
    if pixels > MAX_PIXELS:
        return "decompression bomb"
    if several:
        return "animated or paged"
    return "truncated" if _ends_early(data, found, error) else "damaged"


def _ends_early(data: bytes, file_format: str, error: UnreadableImage) -> bool:
    if "truncated" in error.problem or "unexpected end" in error.problem.lower():
        return True
    endings = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b"\x3b"}
    return file_format in endings and endings[file_format] not in data[-4096:]


def jpeg_quality(tables: dict[int, Any]) -> int | None:
    """Quality (1 to 100) at which libjpeg would make the luminance table of a JPEG; None without a table.

    The nearest of the hundred tables of the Independent JPEG Group's scaling (jcparam.c, `jpeg_quality_scaling`),
    by the sum of absolute differences of the sorted entries; another maker's table gets the nearest equivalent.
    """
    if not tables:
        return None
    found = np.sort(np.asarray(tables[min(tables)], dtype=np.float64))
    if len(found) != 64:
        return None
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    made = (np.sort(np.array(_LUMINANCE_TABLE).ravel())[None, :] * scale[:, None] + 50) // 100
    return int(quality[np.abs(np.clip(made, 1, 255) - found).sum(axis=1).argmin()])


def _header(data: bytes) -> dict[str, Any]:
    """What the header tells beside the picture: JPEG quality, whether a camera or a program left a note."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            tables = getattr(image, "quantization", None)
            return {
                "jpeg_quality": jpeg_quality(tables) if isinstance(tables, dict) else None,
                "exif_tags": len(image.getexif()),
                "has_profile": bool(image.info.get("icc_profile")),
                "dots_per_inch": float(image.info.get("dpi", (0, 0))[0]),
            }
    except Exception:  # metadata are not evidence
        return {"jpeg_quality": None, "exif_tags": 0, "has_profile": False, "dots_per_inch": 0.0}


def _colours(pixels: np.ndarray) -> dict[str, float | None]:
    lab = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    cells = cell_mask(pixels)
    row: dict[str, float | None] = {}
    for part, values in (("all", lab.reshape(-1, 3)), ("cells", lab[cells])):
        known = len(values) > 0
        for index, channel in enumerate(("l", "a", "b")):
            row[f"{part}_{channel}_mean"] = float(values[:, index].mean()) if known else None
            row[f"{part}_{channel}_sd"] = float(values[:, index].std()) if known else None
    background = background_colour(pixels)
    return row | {
        name: None if background is None else float(background[index]) for index, name in enumerate(BACKGROUND)
    }
