"""What a request to the scoring server may be, and how one that may not be is refused."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msht.errors import InvalidInput
from msht.images.reading import MAX_PIXELS, TIME_LIMIT

JSON = "application/json"
BYTES = "application/octet-stream"
IMAGE_TYPES = {
    "image/jpeg": ".jpg",
    "image/jpg": ".jpg",
    "image/png": ".png",
    "image/tiff": ".tif",
    "image/bmp": ".bmp",
    "image/webp": ".webp",
    "image/gif": ".gif",
}
"""Content types of an image file, with the ending that its name would have."""

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
"""The forms of a JSON request that MLflow knows."""

COLUMN = "image"
SIGNATURES = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG", ".png"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"BM", ".bmp"),
    (b"RIFF", ".webp"),
    (b"GIF8", ".gif"),
)
"""First bytes of the formats that are read."""

_ACCEPTED = "Send an image file as image/jpeg, image/png, image/tiff or application/octet-stream, or application/json."
_WANTED = 'Send {"dataframe_split": {"columns": ["image"], "data": [["BASE64"]]}}, a row for each image.'
_BASE64 = "Encode the whole file as base64 on one line, without 'data:' before it."
_STRUCTURE_A_ROW = 8
"""Brackets and commas that a row needs at most, indentation apart; base64 has neither."""


class Refusal(Exception):
    """A request that is not answered, with the HTTP status and what to do about it."""

    def __init__(self, status: int, error: str, mend: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.mend = mend
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class Limits:
    """What one request may cost, and how many may be under way."""

    max_bytes: int = 50 * 2**20
    """Of a body."""
    max_images: int = 64
    """Rows of a JSON request."""
    waiting: int = 64
    """Requests that may wait for a worker; more are refused."""
    body_seconds: float = 30.0
    """In which a body must have come."""
    answer_seconds: float = 120.0
    """In which a request is answered once its body is here."""
    max_pixels: int = MAX_PIXELS
    """Of an image; the reader's own limit."""
    decoding_seconds: float = TIME_LIMIT
    """For one image; the reader's own limit."""

    @property
    def held_bytes(self) -> int:
        """Of all bodies under way together."""
        return 8 * self.max_bytes


def size_of(text: str) -> int:
    """Bytes of a size in words: `50M`, `800k`, `1G` (powers of 1024) or plain digits.

    Raises:
        InvalidInput: if it is none, or not between 1 kB and 2 GB.
    """
    match = re.fullmatch(r"\s*(\d{1,12})\s*([kmg]?)(?:i?b)?\s*", text.lower())
    size = int(match.group(1)) * {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}[match.group(2)] if match else 0
    if not 2**10 <= size <= 2**31:
        raise InvalidInput(f"--max-bytes is '{text}'.", "Give a size from 1k to 2G, such as 50M.")
    return size


def size_in_words(size: int) -> str:
    """A size as a person would write it: `50 MB`."""
    for unit, name in ((2**30, "GB"), (2**20, "MB"), (2**10, "kB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} bytes"


def content_type(headers: Mapping[str, str]) -> str:
    """The content type of a request that can be read.

    Args:
        headers: of the request, found whatever the case of their names.

    Raises:
        Refusal: 415 for another type, a character set other than UTF-8, or a compressed body.
    """
    declared = headers.get("content-type", "")
    kind, _, parameters = declared.partition(";")
    kind = kind.strip().lower()
    if kind != JSON and kind != BYTES and kind not in IMAGE_TYPES:
        what = f"The Content-Type {_quoted(kind)} is not read here" if kind else "The request has no Content-Type"
        raise Refusal(415, f"{what}.", _ACCEPTED)
    charset = re.search(r"charset\s*=\s*\"?([\w.:-]+)", parameters.lower())
    if charset and charset.group(1) not in ("utf-8", "utf8"):
        raise Refusal(415, f"The character set {_quoted(charset.group(1))} is not read here.", "Send UTF-8.")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise Refusal(415, f"The Content-Encoding {_quoted(encoding)} is not read here.", "Send it uncompressed.")
    return kind


def ending_of(data: bytes) -> str | None:
    """The ending that an image file of these bytes would have; None if they begin like no image that is read."""
    return next((ending for start, ending in SIGNATURES if data.startswith(start)), None)


def check_image(data: bytes, kind: str) -> None:
    """Check that a body begins as the image that its content type says.

    Raises:
        Refusal: 400 for an empty body, 415 for bytes of no known format, or of another than was said.
    """
    if not data:
        raise Refusal(400, "The body is empty (0 bytes).", "Send the bytes of an image file as the body.")
    found = ending_of(data)
    if found is None:
        raise Refusal(
            415,
            "The body is not an image of a known format (JPEG, PNG, TIFF, BMP, WebP, GIF).",
            "Send the bytes of the file as they are, for example with curl --data-binary @field.jpg.",
        )
    if kind in IMAGE_TYPES and IMAGE_TYPES[kind] != found:
        right = next(name for name, ending in IMAGE_TYPES.items() if ending == found)
        raise Refusal(415, f"The Content-Type is {kind}, but the body is {right}.", f"Send it as {right}.")


def images_in_json(body: bytes, limits: Limits) -> list[str]:
    """The images of a JSON request, as base64, whichever of MLflow's forms it has.

    Nothing is parsed that could grow far beyond its own size: brackets and commas are counted first, and an
    honest request has few, since base64 holds none.

    Raises:
        Refusal: 400 for what is no JSON, no known form, or holds anything but base64 in a column `image`; 413 for
            more images than one request may hold.
    """
    if not body.strip():
        raise Refusal(400, "The body is empty.", _WANTED)
    if sum(body.count(mark) for mark in b"[{,") > _STRUCTURE_A_ROW * limits.max_images + 64:
        raise Refusal(
            413,
            f"The request holds more values than {limits.max_images} images need.",
            f"Send at most {limits.max_images} images in a request.",
        )
    try:
        request = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise Refusal(400, f"The body is not UTF-8 (byte {error.start}).", "Send JSON in UTF-8.") from error
    except RecursionError as error:
        raise Refusal(400, "The JSON is nested too deeply.", _WANTED) from error
    except ValueError as error:
        where = f", line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise Refusal(400, f"The body is not JSON ({reason[:100]}{where}).", _WANTED) from error
    values = _values(request)
    if not values:
        raise Refusal(400, "The request holds no image.", _WANTED)
    if len(values) > limits.max_images:
        raise Refusal(
            413,
            f"The request holds {len(values)} images; the limit is {limits.max_images}.",
            "Send fewer in a request.",
        )
    for number, value in enumerate(values, 1):
        _check_base64(value, number)
    return values


def _values(request: Any) -> list[Any]:
    """What lies in the column `image`, row by row."""
    if not isinstance(request, dict):
        raise Refusal(400, f"The JSON is {_kind(request)}, not an object.", _WANTED)
    forms = [key for key in request if key in FORMS]
    others = [key for key in request if key not in FORMS and not (key == "params" and not request[key])]
    if len(forms) != 1 or others:
        there = ", ".join(_quoted(key) for key in list(request)[:5]) or "none"
        raise Refusal(400, f"The request must have one key of {', '.join(FORMS)}; it has {there}.", _WANTED)
    form, data = forms[0], request[forms[0]]
    if form == "dataframe_split":
        return _split(data)
    if form == "dataframe_records" and not isinstance(data, list):
        raise Refusal(400, f"'dataframe_records' is {_kind(data)}, not a list of rows.", _WANTED)
    if isinstance(data, dict):
        _check_columns(list(data))
        data = data[COLUMN]
    rows = data if isinstance(data, list) else [data]
    if form == "dataframe_records" or any(isinstance(row, dict) for row in rows):
        return [_of_record(row, number) for number, row in enumerate(rows, 1)]
    return [row[0] if isinstance(row, list) and len(row) == 1 else row for row in rows]


def _split(data: Any) -> list[Any]:
    if not isinstance(data, dict) or not {"columns", "data"} <= set(data) <= {"columns", "data", "index"}:
        raise Refusal(400, "'dataframe_split' must have 'columns' and 'data'.", _WANTED)
    columns, rows = data["columns"], data["data"]
    if not isinstance(columns, list) or not isinstance(rows, list):
        raise Refusal(400, "'columns' and 'data' must be lists.", _WANTED)
    _check_columns(columns)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != 1:
            raise Refusal(400, f"Row {number} of 'data' is not a list of one value.", _WANTED)
    return [row[0] for row in rows]


def _of_record(row: Any, number: int) -> Any:
    if not isinstance(row, dict):
        raise Refusal(400, f"Row {number} is {_kind(row)}, not an object.", _WANTED)
    _check_columns(list(row))
    return row[COLUMN]


def _check_columns(columns: list[Any]) -> None:
    if columns != [COLUMN]:
        there = ", ".join(_quoted(column) for column in columns[:5]) or "none"
        raise Refusal(400, f"The columns are {there}; the only one that is read is 'image'.", _WANTED)


def _check_base64(value: Any, number: int) -> None:
    if not isinstance(value, str):
        raise Refusal(400, f"Row {number}: 'image' is {_kind(value)}, not text.", _BASE64)
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(400, f"Row {number}: 'image' is not base64.", _BASE64) from error
    if not value:
        raise Refusal(400, f"Row {number}: 'image' is empty.", _BASE64)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no value of JSON")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _quoted(text: Any) -> str:
    """A few characters of what was sent, made harmless."""
    shown = str(text)
    plain = "".join(character if character.isprintable() else "?" for character in shown[:40])
    return f"'{plain}{'…' if len(shown) > 40 else ''}'"
