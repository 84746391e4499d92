"""Whether all that stands before a file's pixels is read in a moment: headers are parsed in Python, step by step.

A header can be built of millions of empty parts, each of which costs a microsecond or, where a list of those seen is
searched, ever more. So the parts are counted first, up to a number that no photograph comes near.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from msht.images.jpeg import MOST_MARKERS, markers

MOST_PARTS = 20_000
"""Chunks of a PNG, or values of a TIFF's tag that are no plain bytes."""

MOST_TAGS = 4096
"""Entries of a TIFF's first directory."""

MOST_BYTES = 2**20
"""Of a file whose decoder is written in Python, byte by byte."""

_RUN_LENGTH = (1, 2)
"""Compressions of a BMP that are undone in Python."""

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a TIFF and a BigTIFF, in both byte orders."""

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
    if data[:4] in _TIFF:
        return _is_plain_directory(data)
    return True


def _chunks(data: bytes) -> Iterator[int]:
    """Places of the chunks of a PNG (ISO/IEC 15948, 5.3)."""
    place = 8
    while place + 8 <= len(data):
        yield place
        place += 12 + int.from_bytes(data[place : place + 4], "big")


class Directory(NamedTuple):
    """A TIFF's first directory."""

    tags: list[tuple[int, int, int]]
    """Tag, type and number of values of each entry."""
    following: int
    """Where the next directory lies; 0 where there is none."""


class TooManyTags(Exception):
    """A directory longer than any of a photograph or slide."""


def first_directory(read: Callable[[int, int], bytes]) -> Directory | None:
    """Read a TIFF's first directory (TIFF 6.0, section 2; BigTIFF); None where it is cut short, or no TIFF.

    Args:
        read: gives so many bytes of the file from a place on, or fewer where it ends.

    Raises:
        TooManyTags: with more than `MOST_TAGS` entries.
    """
    head = read(0, 16)
    if head[:4] not in _TIFF:
        return None
    order, big = ("<" if head[:2] == b"II" else ">"), head[2:4] in (b"+\0", b"\0+")
    place, number = ("Q", "Q") if big else ("I", "H")
    entry = struct.Struct(order + ("HHQ8x" if big else "HHI4x"))
    try:
        (start,) = struct.unpack_from(order + place, head, 8 if big else 4)
        (count,) = struct.unpack_from(order + number, read(start, struct.calcsize(order + number)))
        if count > MOST_TAGS:
            raise TooManyTags
        first = start + struct.calcsize(order + number)
        entries = read(first, count * entry.size)
        tags = [entry.unpack_from(entries, at * entry.size) for at in range(count)]
        (following,) = struct.unpack_from(order + place, read(first + count * entry.size, struct.calcsize(place)))
    except struct.error:
        return None
    return Directory(tags, following)


def _is_plain_directory(data: bytes) -> bool:
    """Whether a TIFF's first directory holds few tags with few values each; one that is cut short is soon refused."""
    try:
        directory = first_directory(lambda start, length: data[start : start + length])
    except TooManyTags:
        return False
    return directory is None or all(k in _PLAIN_TYPES or values <= MOST_PARTS for _, k, values in directory.tags)
