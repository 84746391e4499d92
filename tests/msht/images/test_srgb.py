"""Pixels of rarer kinds: twelve bits, white as zero, signed, grey with a profile and transparency."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msht.errors import UnreadableImage
from msht.images.reading import read_image

RAMP = np.tile(np.linspace(0, 1, 64), (8, 1))


def grey_tiff(path: Path, values: np.ndarray, *, bits: int, photometric: int = 1, signed: bool = False) -> Path:
    """A grey TIFF of one strip; twelve bits are packed two in three bytes."""
    if bits == 12:
        first, second = values[:, ::2].astype(np.uint32), values[:, 1::2].astype(np.uint32)
        packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1).astype(np.uint8)
        strip = packed.tobytes()
    else:
        strip = values.astype("<i2" if signed else f"<u{bits // 8}").tobytes()
    height, width = values.shape
    tags = [(256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 0),
            (277, 3, 1), (278, 3, height), (279, 4, len(strip)), (339, 3, 2 if signed else 1)]  # fmt: skip
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", start if tag == 273 else value)
        for tag, kind, value in tags
    )
    path.write_bytes(struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + strip)
    return path


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_black_is_black_and_white_is_white_whatever_the_bits(tmp_path: Path, bits: int) -> None:
    values = np.rint(RAMP * (2**bits - 1))
    read = read_image(grey_tiff(tmp_path / "ramp.tif", values, bits=bits))
    np.testing.assert_allclose(read.pixels[..., 0], RAMP * 255, atol=0.51)
    assert (f"{bits} bits scaled to 8" in read.record.conversions) == (bits > 8)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_picture_that_counts_from_white_is_turned(tmp_path: Path, bits: int) -> None:
    values = np.rint((1 - RAMP) * (2**bits - 1))
    read = read_image(grey_tiff(tmp_path / "ramp.tif", values, bits=bits, photometric=0))
    np.testing.assert_allclose(read.pixels[..., 0], RAMP * 255, atol=0.51)


def test_signed_samples_are_refused(tmp_path: Path) -> None:
    path = grey_tiff(tmp_path / "signed.tif", RAMP * 60_000 - 30_000, bits=16, signed=True)
    with pytest.raises(UnreadableImage, match="stores signed numbers, whose black and white are not defined"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_picture_that_is_transparent_everywhere_is_refused(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    pixels[..., 3] = 0
    path = tmp_path / f"clear{suffix}"
    Image.fromarray(pixels).save(path)
    with pytest.raises(UnreadableImage, match="transparent everywhere"):
        read_image(path)
    pixels[0, 0, 3] = 255
    Image.fromarray(pixels).save(path)
    assert read_image(path).pixels[0, 0].tolist() == pixels[0, 0, :3].tolist()


def linear_grey() -> bytes:
    """A profile of grey without any curve: that of a linear RGB one, with its space and its curve as grey has them."""
    curve = b"curv" + bytes(4) + struct.pack(">I", 0)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(78)
    parts = [(b"desc", text + bytes(-len(text) % 4)), (b"wtpt", white), (b"kTRC", curve)]
    start = 128 + 4 + 12 * len(parts)
    table, body = struct.pack(">I", len(parts)), b""
    for name, part in parts:
        table += name + struct.pack(">II", start + len(body), len(part))
        body += part
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return header + bytes(128 - len(header)) + table + body


def test_a_grey_profile_holds_beside_transparency_and_in_a_palette(tmp_path: Path) -> None:
    profile = linear_grey()
    grey = Image.fromarray(np.full((6, 6), 100, np.uint8))
    grey.save(tmp_path / "l.png", icc_profile=profile)
    expected = read_image(tmp_path / "l.png")
    assert "colour profile converted to sRGB" in expected.record.conversions
    assert expected.pixels[0, 0, 0] > 150  # a linear 100 is far brighter
    Image.merge("LA", (grey, Image.new("L", grey.size, 255))).save(tmp_path / "la.png", icc_profile=profile)
    grey.save(tmp_path / "key.png", icc_profile=profile, transparency=7)
    grey.convert("P").save(tmp_path / "p.png", icc_profile=profile)
    for name in ("la.png", "key.png", "p.png"):
        np.testing.assert_array_equal(read_image(tmp_path / name).pixels, expected.pixels, err_msg=name)


def test_a_grey_profile_in_a_picture_with_colours_is_set_aside(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "rgb.png", icc_profile=linear_grey())
    read = read_image(tmp_path / "rgb.png")
    np.testing.assert_array_equal(read.pixels, pixels)
    assert "colour profile unreadable, set aside" in read.record.conversions
