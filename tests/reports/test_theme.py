"""The palette can be read by everyone: contrast after WCAG 2.2, computed, for every text on every ground."""

import re
from itertools import product
from pathlib import Path

import pytest
from PIL import ImageColor

from reports import figures


def luminance(colour: str) -> float:
    """Relative luminance of an sRGB colour. Source: WCAG 2.2, "relative luminance"."""
    channels = [value / 255 for value in ImageColor.getrgb(colour)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def palette(root: Path) -> dict[str, str]:
    theme = (root / "reports" / "theme.typ").read_text()
    return dict(re.findall(r'#let (\w+) = rgb\("(#\w{6})"\)', theme))


def test_black_on_white_has_the_contrast_that_wcag_states() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_every_text_colour_can_be_read_on_every_ground(root: Path) -> None:
    colours = palette(root)
    texts = [colours[name] for name in ("ink", "quiet", "accent")]
    grounds = [colours[name] for name in ("paper", "wash")]
    pairs = [*product(texts, grounds), (colours["paper"], colours["accent"]), (colours["ink"], figures.TINT)]
    for text, ground in pairs:
        assert contrast(text, ground) >= 4.5, (text, ground)


def test_figures_and_pages_share_one_palette(root: Path) -> None:
    colours = palette(root)
    assert (colours["accent"], colours["ink"], colours["quiet"]) == (
        figures.ACCENT,
        figures.INK,
        figures.QUIET,
    )
    assert figures.TINT in (root / "reports" / "case.typ").read_text()
