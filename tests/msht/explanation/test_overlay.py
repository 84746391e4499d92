"""Overlays: true colours in RGB order, a shared scale, cells that stay visible."""

from __future__ import annotations

import colorsys

import matplotlib
import numpy as np
import pytest

from msht.explanation.overlay import colour_bar, colours, overlay, shared_scale


def view(size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(60, 255, (size, size, 3), dtype=np.uint8)


def test_the_colours_are_matplotlibs_viridis() -> None:
    values = np.linspace(0, 1, 256)
    expected = matplotlib.colormaps["viridis"](values)[:, :3] * 255
    assert np.abs(colours(values).astype(float) - expected).max() <= 2


def test_high_evidence_is_yellow_and_low_is_violet_in_rgb_order() -> None:
    low, high = colours(np.array([0.0, 1.0]))
    assert high[0] > 200
    assert high[1] > 200
    assert high[2] < 80
    assert low[2] > low[0] > low[1]
    assert colorsys.rgb_to_hls(*(high / 255))[1] > colorsys.rgb_to_hls(*(low / 255))[1]


def test_without_evidence_the_view_is_unchanged() -> None:
    np.testing.assert_array_equal(overlay(view(), np.zeros((32, 32)), scale=1.0), view())


def test_the_colour_grows_with_the_evidence_and_never_hides_the_cells() -> None:
    evidence = np.tile(np.linspace(0, 1, 32), (32, 1))
    drawn = overlay(view(), evidence, scale=1.0)
    distance = np.abs(drawn.astype(float) - view()).mean(axis=(0, 2))
    assert distance[0] == 0
    assert distance[-1] > distance[8] > distance[2]
    right = slice(24, None)
    contrast = np.corrcoef(drawn[:, right].mean(axis=2).ravel(), view()[:, right].mean(axis=2).ravel())[0, 1]
    assert contrast > 0.7


def test_one_scale_keeps_fields_comparable() -> None:
    strong, weak = np.full((32, 32), 4.0), np.full((32, 32), 0.4)
    scale = shared_scale([strong, weak])
    assert scale == 4.0
    assert (overlay(view(), strong, scale=scale) != overlay(view(), weak, scale=scale)).any()
    np.testing.assert_array_equal(overlay(view(), 2 * strong, scale=scale), overlay(view(), strong, scale=scale))
    assert shared_scale([np.zeros((2, 2))]) == shared_scale([]) == 1.0


def test_the_bar_shows_the_colours_in_order() -> None:
    upright = colour_bar(64, 5)
    assert upright.shape == (64, 5, 3)
    np.testing.assert_array_equal(upright[:, 0], colours(np.linspace(0, 1, 64))[::-1])
    np.testing.assert_array_equal(colour_bar(64, 5, vertical=False)[0], colours(np.linspace(0, 1, 64)))


def test_a_scale_or_a_shape_without_meaning_is_refused() -> None:
    with pytest.raises(ValueError, match="larger than 0"):
        overlay(view(), np.zeros((32, 32)), scale=0.0)
    with pytest.raises(ValueError, match="view's shape"):
        overlay(view(), np.zeros((16, 16)), scale=1.0)
