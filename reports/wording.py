"""Numbers, times and long texts as they are printed."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime

from reports.parts import Estimate
from reports.words import Words, words_of

NO_BREAK = "\u00a0"
MISSING = "–"
_STATED_NUMBER = re.compile(r"\bn = (?=\d)")
_LONG_RUN = re.compile(r"\S{25,}")


def moment(time: datetime, words: Words | None = None) -> str:
    """Date, time and zone, in English unless other words are given: "21 Nov 2026, 14:05 (UTC+01:00)"."""
    words = words or words_of("en")
    zone = time.strftime("%z")
    return words.say(
        "date",
        day=str(time.day),
        month=words[f"month_{time.month}"],
        year=str(time.year),
        clock=f"{time:%H:%M}",
        zone=f"{zone[:3]}:{zone[3:5]}",
    )


def decimal(value: float | None, digits: int = 2, *, signed: bool = False) -> str:
    """A number with a true minus; a dash where there is none."""
    if value is None:
        return MISSING
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "\u2212")


def exact(value: float) -> str:
    """A number as a person set it, to six significant digits."""
    return f"{value:.6g}"


def score(value: float | None, *beside: float | None) -> str:
    """A score in [0, 1] to two places; to as many as show, up to six, that it differs from those `beside` it.

    Never rounded to 0 or 1: nothing that a network says is certain.
    """
    if value is None:
        return MISSING
    others = [other for other in beside if other is not None and other != value]
    if any(f"{value:.2f}" == f"{other:.2f}" for other in others):
        for digits in range(3, 7):
            texts = {f"{other:.{digits}f}" for other in others}
            whole = {f"{number:.{digits}f}" for number in (0, 1) if number not in (value, *others)}
            if f"{value:.{digits}f}" not in texts | whole and not texts & whole:
                return f"{value:.{digits}f}"
        return f"{value:.6f}"
    if 0.995 <= value < 1:
        return ">0.99"
    if 0 < value < 0.005:
        return "<0.01"
    return f"{value:.2f}"


def percent(value: float | None, digits: int = 0, words: Words | None = None) -> str:
    """A proportion in per cent; a dash where it is undefined."""
    words = words or words_of("en")
    return MISSING if value is None else words.say("percent", value=f"{100 * value:.{digits}f}")


def percent_interval(estimate: Estimate, words: Words | None = None) -> str:
    """A proportion in per cent with its interval: "93.4 % (88.1 to 96.5)"."""
    words = words or words_of("en")
    value, interval = percent_and_interval(estimate, words)
    return words.say("with_interval", value=value, interval=interval) if interval else value


def percent_and_interval(estimate: Estimate, words: Words) -> tuple[str, str]:
    """A proportion in per cent, and its interval; the latter empty where there is none."""
    if estimate.value is None:
        return words["undefined"], ""
    value = percent(estimate.value, 1, words)
    if estimate.low is None or estimate.high is None:
        return value, ""
    return value, words.say("interval", low=f"{100 * estimate.low:.1f}", high=f"{100 * estimate.high:.1f}")


def whole(number: int, words: Words) -> str:
    """A whole number as the language groups its digits."""
    return f"{number:,}".replace(",", words["thousands"])


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


def one_line(text: str, limit: int, words: Words | None = None) -> str:
    """Any text as one breakable run of at most `limit` characters; what is left out is said.

    White space is folded, and a run of more than 24 characters without a space may break inside.
    """
    folded = _STATED_NUMBER.sub(f"n{NO_BREAK}={NO_BREAK}", " ".join(text.split()))
    if len(folded) > limit:
        words = words or words_of("en")
        folded = f"{folded[:limit].rstrip()} … {words.say('shortened', length=whole(len(folded), words))}"
    return _LONG_RUN.sub(lambda run: _breakable(run[0]), folded)


def identifier(name: str, limit: int = 40) -> str:
    """A name that is searched for and pasted: whole, without places to break; too long a one is shortened."""
    return name if len(name) <= limit else short_name(name, limit)


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
