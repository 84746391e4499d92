"""Colour: what was done to the light is undone, known stains are found, empty fields are left alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from msht.images.colour import (
    Colour,
    LabStatistics,
    StainMatrix,
    background_colour,
    cell_mask,
    corrected,
    flat_field,
    lab_statistics,
    macenko,
    reinhard,
    stain_matrix,
    white_balance,
)
from msht.images.reading import read_image

AZURE = np.array([0.65, 0.70, 0.29]) / np.linalg.norm([0.65, 0.70, 0.29])
EOSIN = np.array([0.25, 0.95, 0.18]) / np.linalg.norm([0.25, 0.95, 0.18])


def smear(seed: int = 0, size: int = 256) -> np.ndarray:
    """Violet cells on a pale, even ground."""
    generator = np.random.default_rng(seed)
    image = np.full((size, size, 3), (230, 230, 230), np.uint8)
    for _ in range(25):
        centre = tuple(int(value) for value in generator.integers(0, size, 2))
        cv2.circle(image, centre, int(generator.integers(8, 14)), (130, 80, 160), -1)
        cv2.circle(image, centre, int(generator.integers(3, 6)), (70, 40, 120), -1)
    return (image + generator.normal(0, 2, image.shape)).clip(0, 255).astype(np.uint8)


def two_stains(seed: int = 7, first: np.ndarray = AZURE, second: np.ndarray = EOSIN) -> np.ndarray:
    """A field painted by Beer and Lambert's law with two known stains."""
    generator = np.random.default_rng(seed)
    amount = generator.gamma(2.0, 0.4, (64, 64, 2))
    kind = generator.random((64, 64))
    amount[kind < 0.3, 0] *= 0.02
    amount[kind > 0.7, 1] *= 0.02
    light = 240 * np.exp(-(amount[..., :1] * first + amount[..., 1:] * second))
    return np.clip(np.rint(light - 1), 0, 255).astype(np.uint8)


def test_cells_are_found_and_the_ground_is_not() -> None:
    image = smear()
    truth = image[..., 1] < 180
    assert np.mean(cell_mask(image) == truth) > 0.99


def test_white_balance_undoes_a_tinted_lamp() -> None:
    tint = np.array([1.0, 0.9, 0.7])
    tinted = (smear() * tint).astype(np.uint8)
    first, second = white_balance(smear()), white_balance(tinted)
    assert np.abs(first.astype(int) - second).mean() < 1.5
    np.testing.assert_allclose(background_colour(second), 240, atol=1.5)


def test_flat_field_removes_a_vignette_and_leaves_even_light_alone() -> None:
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    shade = 1.0 - 0.12 * (x**2 + y**2) + 0.08 * x
    shaded = (smear() * shade[..., None]).clip(0, 255).astype(np.uint8)
    ground = ~cell_mask(smear())

    def unevenness(image: np.ndarray) -> float:
        grey = image[..., 1].astype(np.float32)
        return float(grey[ground].std() / grey[ground].mean())

    assert unevenness(flat_field(shaded)) < 0.3 * unevenness(shaded)
    assert np.abs(flat_field(smear()).astype(int) - smear()).mean() < 1.5


def test_macenko_finds_the_stains_that_were_painted() -> None:
    found = stain_matrix(two_stains())
    assert found is not None
    np.testing.assert_allclose(found.first, AZURE, atol=0.01)
    np.testing.assert_allclose(found.second, EOSIN, atol=0.01)


def test_macenko_gives_the_vectors_of_torchstain() -> None:
    """Computed once by torchstain 1.4.1 (NumpyMacenkoNormalizer.fit) on this very image."""
    found = stain_matrix(two_stains())
    assert found is not None
    np.testing.assert_allclose(found.first, [0.65193073, 0.70046741, 0.29039927], atol=1e-7)
    np.testing.assert_allclose(found.second, [0.25008116, 0.95134623, 0.17999937], atol=1e-7)


def test_macenko_repaints_with_the_targets_stains() -> None:
    other = np.array([0.85, 0.45, 0.27]) / np.linalg.norm([0.85, 0.45, 0.27])
    target = stain_matrix(two_stains(seed=1, first=other))
    assert target is not None
    repainted = stain_matrix(macenko(two_stains(), target))
    assert repainted is not None
    np.testing.assert_allclose(repainted.first, target.first, atol=0.03)
    np.testing.assert_allclose(repainted.second, target.second, atol=0.03)
    np.testing.assert_allclose(repainted.strong, target.strong, rtol=0.1)


def test_a_field_normalised_to_itself_hardly_changes() -> None:
    stains, lab = stain_matrix(two_stains()), lab_statistics(smear())
    assert stains is not None
    assert lab is not None
    assert np.abs(macenko(two_stains(), stains).astype(int) - two_stains()).mean() < 2.5
    assert np.abs(reinhard(smear(), lab).astype(int) - smear()).max() <= 1


def test_reinhard_gives_cells_the_targets_statistics_and_leaves_the_ground() -> None:
    target = LabStatistics(mean=(45.0, 30.0, -20.0), std=(10.0, 5.0, 5.0))
    image = smear()
    moved = reinhard(image, target)
    cells = cv2.erode(cell_mask(image).astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    before, after = (
        cv2.cvtColor(each.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[cells].mean(axis=0) for each in (image, moved)
    )
    assert np.abs(after - target.mean).sum() < 0.5 * np.abs(before - target.mean).sum()
    far = cv2.dilate(cell_mask(image).astype(np.uint8), np.ones((15, 15), np.uint8)) == 0
    assert np.abs(moved[far].astype(int) - image[far]).max() <= 1


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_empty_field_is_left_as_it_is(level: int) -> None:
    blank = np.full((64, 64, 3), level, np.uint8)
    stains, lab = stain_matrix(two_stains()), lab_statistics(smear())
    assert stains is not None
    assert lab is not None
    np.testing.assert_array_equal(reinhard(blank, lab), blank)
    if level == 255:
        np.testing.assert_array_equal(macenko(blank, stains), blank)
    assert flat_field(blank).shape == white_balance(blank).shape == blank.shape


def test_nothing_is_done_by_default_and_a_target_is_demanded() -> None:
    image = smear()
    np.testing.assert_array_equal(corrected(image, Colour()), image)
    with pytest.raises(ValidationError, match="macenko_target"):
        Colour(stain="macenko")
    stains = StainMatrix(first=(0.65, 0.7, 0.3), second=(0.1, 0.98, 0.1), strong=(2.0, 1.0))
    both = Colour(even_light=True, white=True, stain="macenko", macenko_target=stains)
    assert Colour.model_validate_json(both.model_dump_json()) == both
    np.testing.assert_array_equal(corrected(image, both), macenko(white_balance(flat_field(image)), stains))


def test_normalised_real_fields_are_more_alike(shared: Path) -> None:
    """Between 16 fields of different stains, the spread of the cells' mean colour must shrink."""
    fields = [read_image(path).pixels for path in sorted((shared / "data" / "rose-fields").rglob("*.png"))]
    reference = fields[0]
    stains, lab = stain_matrix(reference), lab_statistics(reference)
    assert stains is not None
    assert lab is not None

    def spread(images: list[np.ndarray]) -> float:
        means = [image[cell_mask(before)].mean(axis=0) for image, before in zip(images, fields, strict=True)]
        return float(np.std(means, axis=0).mean())

    assert spread([reinhard(image, lab) for image in fields]) < 0.7 * spread(fields)
    assert spread([macenko(image, stains) for image in fields]) < 0.9 * spread(fields)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (2, 2), (2, 300), (3, 300), (30, 2048), (300, 1)])
def test_a_field_too_thin_for_a_fit_of_its_light_stays_as_it_is_or_is_nearly_so(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(215, 225, (*shape, 3), dtype=np.uint8)
    evened = flat_field(pixels)
    assert evened.shape == pixels.shape
    assert np.abs(evened.astype(int) - pixels).max() <= 12
    if min(shape) <= 3:
        np.testing.assert_array_equal(evened, pixels)


@pytest.mark.parametrize(
    "target",
    [
        {"stain": "reinhard", "reinhard_target": {"mean": [math.nan, 0, 0], "std": [1, 1, 1]}},
        {"stain": "reinhard", "reinhard_target": {"mean": [50, 0, 0], "std": [-1, 1, 1]}},
        {"stain": "macenko", "macenko_target": {"first": [0, 0, 0], "second": [0, 0, 0], "strong": [1, 1]}},
        {"stain": "macenko", "macenko_target": {"first": [1, 2, 3], "second": [1, 2, 3], "strong": [1, 1]}},
        {
            "stain": "macenko",
            "macenko_target": {"first": [0.6, 0.7, 0.3], "second": [0.1, 0.9, 0.2], "strong": [1, 0]},
        },
        {"stain": "macenko", "macenko_target": {"first": [math.inf, 0, 0], "second": [0, 1, 0], "strong": [1, 1]}},
    ],
)
def test_a_target_that_no_cells_have_is_refused(target: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Colour.model_validate(target)
