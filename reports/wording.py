"""Numbers, times and long texts as they are printed."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime

from reports.parts import Estimate

NO_BREAK = "\u00a0"
MISSING = "–"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_STATED_NUMBER = re.compile(r"\bn = (?=\d)")
_LONG_RUN = re.compile(r"\S{25,}")


def moment(time: datetime) -> str:
    """Date, time and zone: "21 Nov 2026, 14:05 (UTC+01:00)"."""
    zone = time.strftime("%z")
    return f"{time.day} {_MONTHS[time.month - 1]} {time.year}, {time:%H:%M} (UTC{zone[:3]}:{zone[3:5]})"


def decimal(value: float | None, digits: int = 2, *, signed: bool = False) -> str:
    """A number with a true minus; a dash where there is none."""
    if value is None:
        return MISSING
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "\u2212")


def score(value: float | None, beside: float | None = None) -> str:
    """A score in [0, 1] to two places; to three where two would hide that it differs from `beside`.

    Never rounded to 0 or 1: nothing that a network says is certain.
    """
    if value is None:
        return MISSING
    if beside is not None and value != beside and f"{value:.2f}" == f"{beside:.2f}":
        return f"{value:.3f}"
    if 0.995 <= value < 1:
        return ">0.99"
    if 0 < value < 0.005:
        return "<0.01"
    return f"{value:.2f}"


def percent(value: float | None, digits: int = 0) -> str:
    """A proportion in per cent; a dash where it is undefined."""
    return MISSING if value is None else f"{100 * value:.{digits}f}{NO_BREAK}%"


def percent_interval(estimate: Estimate) -> str:
    """A proportion in per cent with its interval: "93.4 % (88.1 to 96.5)"."""
    if estimate.value is None:
        return "not defined"
    if estimate.low is None or estimate.high is None:
        return percent(estimate.value, 1)
    return f"{percent(estimate.value, 1)} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def decimal_interval(estimate: Estimate, digits: int = 3) -> str:
    """A figure with its interval: "0.962 (0.931 to 0.984)"."""
    if estimate.value is None:
        return "not defined"
    value = decimal(estimate.value, digits)
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} ({decimal(estimate.low, digits)} to {decimal(estimate.high, digits)})"


def digest(sha256: str, length: int = 8) -> str:
    """The first digits of a digest; a dash where there is none."""
    return sha256[:length] or MISSING


def count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: "1 field", "12 fields"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}".replace(" ", NO_BREAK, 1)


def one_line(text: str, limit: int) -> str:
    """Any text as one breakable run of at most `limit` characters; what is left out is said.

    White space is folded, and a run of more than 24 characters without a space may break inside.
    """
    folded = _STATED_NUMBER.sub(f"n{NO_BREAK}={NO_BREAK}", " ".join(text.split()))
    if len(folded) > limit:
        folded = f"{folded[:limit].rstrip()} … [shortened; {len(folded):,} characters]"
    return _LONG_RUN.sub(lambda run: _breakable(run[0]), folded)


def short_name(name: str, limit: int = 30) -> str:
    """A name of at most `limit` characters: its beginning and its end; a long run may break inside."""
    folded = " ".join(name.split())
    if len(folded) > limit:
        tail = limit // 2
        folded = f"{folded[: limit - tail - 1]}…{folded[-tail:]}"
    return _LONG_RUN.sub(lambda run: _breakable(run[0]), folded)


def _breakable(run: str) -> str:
    pieces: list[str] = []
    since = 0
    for character in run:
        # Never between a letter and its marks, nor inside a joined emoji.
        joins = unicodedata.category(character) in ("Mn", "Me", "Mc", "Cf")
        if since >= 16 and not joins:
            pieces.append("\u200b")
            since = 0
        pieces.append(character)
        since += 1
    return "".join(pieces)
