"""What the markers of a JPEG say of its scans, and the decoder for the plain ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

Pixels = npt.NDArray[np.uint8]


class Scan(NamedTuple):
    """A pass over the pixels of a JPEG."""

    start: int
    """Where its pixels begin."""
    components: int
    """How many of the colour components it holds."""


_START_OF_SCAN = 0xDA

MOST_MARKERS = 10_000
"""Before the first scan, fill bytes among them; a photograph has some twenty."""


def markers(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Go through a JPEG from marker to marker, up to its first scan (ITU-T T.81, B.1.1).

    Yields:
        A marker, its place, and where what belongs to it ends; a fill byte is a step of its own.
    """
    place = 2
    while place + 5 <= len(data) and data[place] == 0xFF:
        marker, end = data[place + 1], place + 2
        if marker == 0xFF:  # a fill byte
            end = place + 1
        elif marker != 0x01 and not 0xD0 <= marker <= 0xD7:  # those stand alone
            end += int.from_bytes(data[place + 2 : place + 4], "big")
        yield marker, place, end
        if marker == _START_OF_SCAN:
            return
        place = end


def first_scan(data: bytes) -> Scan | None:
    """Find the first scan of a JPEG; None where there is none within `MOST_MARKERS`."""
    if not data.startswith(b"\xff\xd8"):
        return None
    for marker, place, end in islice(markers(data), MOST_MARKERS):
        if marker == _START_OF_SCAN:
            return Scan(end, data[place + 4])
    return None


def in_one_scan(image: Image.Image, data: bytes) -> bool:
    """Whether a JPEG is decoded from its first scan alone: it is not progressive, and that holds every component."""
    scan = first_scan(data)
    return scan is not None and "progressive" not in image.info and scan.components == len(image.getbands())


def plain_jpeg(data: bytes, size: tuple[int, int], memory: Pixels | None = None) -> Pixels | None:
    """Decode what nearly every field is, an upright RGB JPEG in one pass, without Pillow's copies.

    The same libjpeg-turbo gives the same pixels in half the time. None for one at which the decoder as much as warns.
    """
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB", strict=True, buffer=memory)
    except ValueError:
        return None
    return pixels if pixels.shape == (size[1], size[0], 3) else None


_COLOURS = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
_WARNINGS = ("Corrupt JPEG data", "Premature end", "Inconsistent progression", "Invalid progressive")
_BEYOND = re.compile(r"(\d+) extraneous bytes before marker 0xd9")


def damage_of(data: bytes, mode: str) -> str | None:
    """Find what is wrong with the pixels of a JPEG that Pillow decodes without a word.

    libjpeg goes on after damage, with grey or shifted blocks, and only warns; Pillow does not pass its warnings on. A
    JPEG carries no checksum: damage that still reads as a code for every block cannot be found by anyone.

    Args:
        data: of the file.
        mode: Pillow's, of its pixels.

    Returns:
        The decoder's words for the first damage; None where there is none, where the only oddity is padding before the
        end of the picture, and where this decoder cannot read the kind of file at all.
    """
    if mode not in _COLOURS:
        return None
    try:
        simplejpeg.decode_jpeg(data, _COLOURS[mode], strict=True)
    except ValueError as error:
        words = str(error)
        return words if words.startswith(_WARNINGS) and not _is_padding(words, data) else None
    return None


def _is_padding(words: str, data: bytes) -> bool:
    """Whether a warning is about bytes after the last block that are all alike, as some cameras fill their files."""
    found, scan = _BEYOND.search(words), first_scan(data)
    if found is None or scan is None:
        return False
    end = data.find(b"\xff\xd9", scan.start)
    return len(set(data[end - int(found[1]) : end])) == 1
