"""Planted copies of phantom fields are found by kind of damage; different fields are never joined."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msht.cohort.duplicates import (
    ORIENTATIONS,
    connected_groups,
    find_candidates,
    fingerprint,
    oriented,
    oriented_coefficients,
)
from msht.cohort.phantom import patient_appearance, render_field
from msht.cohort.same_picture import Comparison, compare, reduced

FIELDS = 21
Damage = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@pytest.fixture(scope="module")
def fields() -> list[np.ndarray]:
    """Different phantom fields, three of each patient, so that many share stain and camera."""
    drawn = []
    for number in range(FIELDS):
        look = patient_appearance(1, number // 3, site=number % 2)
        drawn.append(render_field(look, positive=number % 2 == 0, width=256, height=192, seed=100 + number).image)
    return drawn


@pytest.fixture(scope="module")
def known(fields: list[np.ndarray]) -> np.ndarray:
    return np.stack([fingerprint(field) for field in fields])


def recompressed(image: np.ndarray, random: np.random.Generator, low: int = 40) -> np.ndarray:
    quality = int(random.integers(low, 96))
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    again = cv2.imdecode(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return cv2.cvtColor(again, cv2.COLOR_BGR2RGB)


def resized(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    factor = float(random.uniform(0.5, 2.0))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=method)


def cropped(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    share = random.uniform(0.02, 0.10)
    height, width = image.shape[:2]
    down, across = round(share * height), round(share * width)
    top, left = int(random.integers(0, down + 1)), int(random.integers(0, across + 1))
    return np.ascontiguousarray(image[top : top + height - down, left : left + width - across])


def turned(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return oriented(image, int(random.integers(1, ORIENTATIONS)))


def everything(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return recompressed(resized(turned(cropped(image, random), random), random), random)


KINDS: dict[str, Damage] = {
    "re-compressed": recompressed,
    "resized": resized,
    "cropped": cropped,
    "flipped or turned": turned,
    "all of it": everything,
}


def joined(images: list[np.ndarray], prints: np.ndarray) -> set[tuple[int, int]]:
    return {
        (pair.first, pair.second)
        for pair in find_candidates(prints)
        if compare(reduced(images[pair.first]), reduced(images[pair.second]), pair.orientation).same
    }


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(damage, id=kind, marks=() if kind == "all of it" else pytest.mark.slow)
        for kind, damage in KINDS.items()
    ],
)
def test_planted_copies_are_found_and_nothing_else(fields: list[np.ndarray], known: np.ndarray, damage: Damage) -> None:
    random = np.random.default_rng(517)
    copies = [damage(field, random) for field in fields]
    found = joined([*fields, *copies], np.concatenate([known, [fingerprint(copy) for copy in copies]]))
    planted = {(number, number + FIELDS) for number in range(FIELDS)}
    assert len(found & planted) >= 0.95 * FIELDS
    assert found <= planted


def test_different_fields_are_never_joined_even_when_every_pair_is_compared(fields: list[np.ndarray]) -> None:
    # The search brings up few of them; the comparison of pixels must hold by itself.
    small = [reduced(field) for field in fields[:16]]
    pairs = [(a, b, o) for a in range(16) for b in range(a) for o in range(ORIENTATIONS)]
    assert not any(compare(small[a], small[b], o).same for a, b, o in pairs[::9])


def test_an_image_with_itself_in_any_orientation_correlates_perfectly(fields: list[np.ndarray]) -> None:
    grey = reduced(fields[0])
    for orientation in range(ORIENTATIONS):
        inverse = next(o for o in range(ORIENTATIONS) if np.array_equal(oriented(oriented(grey, orientation), o), grey))
        result = compare(grey, oriented(grey, orientation), inverse)
        assert result.correlation == pytest.approx(1.0, abs=0.01)
        assert result.overlap > 0.9


def test_coefficients_turn_as_their_picture_does(fields: list[np.ndarray]) -> None:
    square = np.ascontiguousarray(fields[0][:192, :192])
    by_rule = oriented_coefficients(fingerprint(square)[0])
    for orientation in range(ORIENTATIONS):
        by_picture = fingerprint(oriented(square, orientation))[0]
        assert float((by_rule[orientation] * by_picture).sum()) > 0.98


def test_flat_images_agree_with_nothing() -> None:
    flat = [np.full((100, 120, 3), level, np.uint8) for level in (0, 240, 255)]
    noise = [np.random.default_rng(n).integers(238, 243, (100, 120, 3)).astype(np.uint8) for n in (1, 2)]
    images = flat + noise
    assert joined(images, np.stack([fingerprint(image) for image in images])) == set()
    assert not compare(reduced(flat[0]), reduced(flat[0])).same


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (16, 16)])
def test_tiny_images_are_no_error(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*size, 3)).astype(np.uint8)
    assert fingerprint(image).shape == (6, 8, 8)
    compare(reduced(image), reduced(image))


def test_neighbouring_crops_of_one_slide_are_two_pictures(fields: list[np.ndarray]) -> None:
    wide = fields[0]
    left, right = wide[:, :150], wide[:, 90:240]
    assert not compare(reduced(left), reduced(right)).same


def test_the_same_pair_is_found_whichever_comes_first(fields: list[np.ndarray], known: np.ndarray) -> None:
    copy = fingerprint(cropped(fields[3], np.random.default_rng(2)))
    for prints in (np.stack([known[3], copy]), np.stack([copy, known[3]])):
        [pair] = find_candidates(prints)
        assert (pair.first, pair.second) == (0, 1)


def test_fewer_than_two_pictures_have_no_pairs(known: np.ndarray) -> None:
    assert find_candidates(known[:1]) == []
    assert find_candidates(known[:0]) == []


def test_a_comparison_needs_detail_and_overlap() -> None:
    assert Comparison(0.9, 0.9).same
    assert not Comparison(0.9, 0.3).same
    assert not Comparison(0.4, 0.9).same


edges = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30)


@settings(max_examples=50)
@given(edges)
def test_groups_are_the_connected_components(pairs: list[tuple[int, int]]) -> None:
    graph = networkx.Graph(pairs)
    expected = sorted(tuple(sorted(c)) for c in networkx.connected_components(graph) if len(c) > 1)
    assert connected_groups(20, pairs) == expected
