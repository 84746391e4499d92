"""Whether all that stands before a file's pixels is read in a moment: headers are parsed in Python, step by step.

A header can be built of millions of empty parts, each of which costs a microsecond or, where a list of those seen is
searched, ever more. So the parts are counted first, up to a number that no photograph comes near.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice

from msht.images.jpeg import MOST_MARKERS, markers

MOST_PARTS = 20_000
"""Chunks of a PNG, or values of a TIFF's tag that are no plain bytes."""

MOST_TAGS = 4096
"""Entries of a TIFF's first directory."""

MOST_BYTES = 2**20
"""Of a file whose decoder is written in Python, byte by byte."""

_RUN_LENGTH = (1, 2)
"""Compressions of a BMP that are undone in Python."""

_PLAIN_TYPES = frozenset({1, 2, 6, 7})
"""Types of a TIFF's tag that are taken as bytes: BYTE, ASCII, SBYTE, UNDEFINED."""


def opens_quickly(data: bytes) -> bool:
    """Whether parsing the header of an image file is bounded to a fraction of a second, whatever it holds."""
    if data.startswith(b"\xff\xd8"):
        return sum(1 for _ in islice(markers(data), MOST_MARKERS)) < MOST_MARKERS
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return sum(1 for _ in islice(_chunks(data), MOST_PARTS)) < MOST_PARTS
    if data.startswith(b"GIF8"):
        return len(data) <= MOST_BYTES
    if data.startswith(b"BM"):
        return len(data) <= MOST_BYTES or int.from_bytes(data[30:34], "little") not in _RUN_LENGTH
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _is_plain_directory(data)
    return True


def _chunks(data: bytes) -> Iterator[int]:
    """Places of the chunks of a PNG (ISO/IEC 15948, 5.3)."""
    place = 8
    while place + 8 <= len(data):
        yield place
        place += 12 + int.from_bytes(data[place : place + 4], "big")


def _is_plain_directory(data: bytes) -> bool:
    """Whether a TIFF's first directory holds few tags with few values each (TIFF 6.0, section 2; BigTIFF)."""
    order, big = ("<" if data[:2] == b"II" else ">"), data[2:4] in (b"+\0", b"\0+")
    entry = struct.Struct(order + ("HHQ8x" if big else "HHI4x"))
    try:
        (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
        if count > MOST_TAGS:
            return False
        first = start + (8 if big else 2)
        tags = [entry.unpack_from(data, first + number * entry.size) for number in range(count)]
    except struct.error:  # cut short: quickly refused
        return True
    return all(kind in _PLAIN_TYPES or values <= MOST_PARTS for _, kind, values in tags)
