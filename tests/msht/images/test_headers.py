"""Headers that are built to be parsed for minutes are left to a process that can be stopped."""

from __future__ import annotations

import io
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msht.errors import UnreadableImage
from msht.images import reading
from msht.images.headers import opens_quickly
from msht.images.reading import decode_image

PICTURE = np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def saved(kind: str, **how: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, kind, **how)
    return buffer.getvalue()


def jpeg_with(marker: bytes, times: int) -> bytes:
    whole = saved("JPEG")
    return whole[:2] + marker * times + whole[2:]


def png_with_chunks(times: int) -> bytes:
    whole = saved("PNG")
    empty = struct.pack(">I4sI", 0, b"prVt", 0x3B2C4A5F)
    return whole[:33] + empty * times + whole[33:]


def tiff_of_pages(pages: int) -> bytes:
    """Directories of eight tags, one after another, as many as are wanted."""
    tags = [(256, 4, 1, 4), (257, 4, 1, 4), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
            (278, 4, 1, 4), (279, 4, 1, 16)]  # fmt: skip
    size = 2 + 12 * len(tags) + 4
    body = b"".join(
        struct.pack("<H", len(tags))
        + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        + struct.pack("<I", 24 + size * (page + 1) if page + 1 < pages else 0)
        for page in range(pages)
    )
    return struct.pack("<2sHI", b"II", 42, 24) + bytes(16) + body


def tiff_of_values(values: int) -> bytes:
    """One directory, one tag of which holds many numbers."""
    return struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<HHHII", 1, 273, 4, values, 8) + bytes(4)


def big_tiff_of_tags(tags: int) -> bytes:
    return struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) + struct.pack("<Q", tags) + bytes(20 * min(tags, 10))


def run_length_bmp(size: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 8, 1, size, 0, 0, 256, 0)
    return struct.pack("<2sIHHI", b"BM", 0, 0, 0, 1078) + header + bytes(1024) + b"\0\2\0\0" * (size // 4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF"])
def test_what_is_saved_as_usual_is_decoded_here(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("sent away")

    monkeypatch.setattr("msht.images.apart.decode_apart", never)
    data = saved(kind)
    assert opens_quickly(data)
    assert decode_image(data, Path(f"field.{kind.lower()}")).pixels.shape == PICTURE.shape
    assert opens_quickly(data[:11])


BUILT = {
    "fill.jpg": jpeg_with(b"\xff", 20_000),
    "markers.jpg": jpeg_with(b"\xff\xe5\x00\x02", 20_000),
    "chunks.png": png_with_chunks(30_000),
    "delta.bmp": run_length_bmp(2**21),
    "blocks.gif": saved("GIF") + bytes(2**21),
    "values.tif": tiff_of_values(2**28),
    "tags.tif": big_tiff_of_tags(2**40),
}


@pytest.mark.parametrize("name", BUILT)
def test_what_could_be_parsed_for_long_is_sent_away(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr("msht.images.apart.decode_apart", lambda _data, path, **_: sent.append(path.name))
    started = time.process_time()
    decode_image(BUILT[name], Path(name))
    assert sent == [name]
    assert time.process_time() - started < 5  # reading half a gigabyte of nothing would take longer


def test_the_pages_of_a_file_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    load = ImageFileDirectory_v2.load
    monkeypatch.setattr(ImageFileDirectory_v2, "load", lambda self, file: (parsed.append(1), load(self, file))[1])
    with pytest.raises(UnreadableImage, match="more than one frame or page"):
        decode_image(tiff_of_pages(5_000), Path("pages.tif"))
    assert len(parsed) < 10


def test_a_header_without_end_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnreadableImage, match=r"was not decoded within 0\.2 s"):
        decode_image(BUILT["markers.jpg"], Path("markers.jpg"), time_limit=0.2)
    monkeypatch.setattr(reading, "opens_quickly", lambda _data: True)
    assert decode_image(BUILT["markers.jpg"], Path("markers.jpg")).pixels.shape == PICTURE.shape
