"""Pictures for the page: read from disk, shrunk to what print needs, never larger."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from msht.errors import InvalidInput, UnreadableImage

PIXELS_PER_MILLIMETRE = 240 / 25.4
"""240 dpi: the resolution at which print on an office machine shows nothing more."""

WHOLE_MM = 14.0
"""Width of the picture of a whole field that shows where a crop lies."""


def picture_for_page(path: Path, *, what: str, width_mm: float) -> bytes:
    """Read a picture and give it back as a JPEG no larger than the page needs.

    Args:
        path: JPEG or PNG.
        what: what it is, for the message ("the crop of field a.jpg").
        width_mm: width on the page; the picture is shrunk to 240 dpi there, never enlarged.

    Returns:
        The bytes of a baseline JPEG in RGB without metadata; equal input gives equal bytes.

    Raises:
        InvalidInput: if there is no such file.
        UnreadableImage: if it is not a whole image.
    """
    target = max(16, round(width_mm * PIXELS_PER_MILLIMETRE))
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except FileNotFoundError as error:
        raise InvalidInput(f"{path}, {what}, does not exist.", "Write crops and maps again.") from error
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise UnreadableImage(f"{path}, {what}, cannot be read: {error}.", "Write it again.") from error
    if picture.width > target:
        height = max(1, round(picture.height * target / picture.width))
        picture = picture.resize((target, height), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=88, subsampling=0)
    return stream.getvalue()
