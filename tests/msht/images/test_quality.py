"""Quality: each measure follows what it names, and the gate refuses what the cohort did not hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from msht.cohort.phantom import patient_appearance, render_field
from msht.errors import InvalidInput
from msht.images.quality import MEASURED_EDGE, Quality, QualityGate, measure_quality, quantiles_of_levels, stained
from msht.images.reading import read_image


def field(seed: int = 0, size: int = 256, cells: int = 40) -> np.ndarray:
    """Violet discs with darker grain on a pale ground: enough of a smear for measures of quality."""
    generator = np.random.default_rng(seed)
    image = np.full((size, size, 3), (232, 226, 236), np.uint8)
    for _ in range(cells):
        centre = tuple(int(value) for value in generator.integers(0, size, 2))
        cv2.circle(image, centre, int(generator.integers(8, 14)), (120, 70, 150), -1)
        cv2.circle(image, centre, int(generator.integers(2, 5)), (80, 40, 110), -1)
    noisy = image + generator.normal(0, 3, image.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def cohort(count: int) -> list[Quality]:
    return [measure_quality(field(seed)) for seed in range(count)]


@given(
    levels=arrays(np.float32, st.integers(1, 400), elements=st.floats(0, 255, width=32)),
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=3),
)
def test_quantiles_are_those_of_numpy(levels: np.ndarray, shares: list[float]) -> None:
    expected = np.quantile(levels.astype(np.float64), shares)
    np.testing.assert_allclose(quantiles_of_levels(levels, shares), expected, atol=1e-4)


def test_every_measure_is_what_its_name_says() -> None:
    """The fast way of each against the plain one."""
    pixels = field(size=400)
    luminance = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    smooth = cv2.GaussianBlur(luminance.astype(np.float32), (0, 0), 1.0)
    low, high = np.percentile(smooth, [0.1, 99.9])
    saturation = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)[:, :, 1]
    otsu, _ = cv2.threshold(np.ascontiguousarray(saturation), 0, 255, cv2.THRESH_OTSU)
    quality = measure_quality(pixels)
    focus = np.log10(cv2.Laplacian(smooth.astype(np.float64), cv2.CV_64F).var() / luminance.var())
    assert quality.focus == pytest.approx(focus, abs=1e-4)
    assert quality.brightness == pytest.approx(luminance.mean() / 255)
    assert quality.contrast == pytest.approx((high - low) / 255)
    assert quality.clipped_dark == np.mean(luminance <= 2)
    assert quality.clipped_bright == np.mean(luminance >= 253)
    assert quality.foreground == np.mean(saturation > max(otsu, 16))
    np.testing.assert_array_equal(stained(pixels), saturation > max(otsu, 16))


def test_focus_falls_with_blur() -> None:
    sharpness = [measure_quality(field())] + [
        measure_quality(cv2.GaussianBlur(field(), (0, 0), sigma)) for sigma in (1.0, 2.0, 4.0)
    ]
    values = [quality.focus for quality in sharpness]
    assert values == sorted(values, reverse=True)
    assert values[0] - values[-1] > 0.5


def test_focus_ignores_brightness_and_contrast() -> None:
    plain = field().astype(np.float32)
    faded = (plain * 0.5 + 60).astype(np.uint8)
    assert measure_quality(faded).focus == pytest.approx(measure_quality(field()).focus, abs=0.05)


def test_exposure_is_measured_in_shares_of_the_range() -> None:
    half = np.zeros((40, 40, 3), np.uint8)
    half[:, 20:] = 255
    quality = measure_quality(half)
    assert quality.brightness == pytest.approx(0.5)
    assert quality.clipped_dark == quality.clipped_bright == pytest.approx(0.5)
    assert quality.contrast == pytest.approx(1.0, abs=0.02)


def test_foreground_is_the_stained_share() -> None:
    image = np.full((200, 200, 3), (235, 230, 238), np.uint8)
    image[50:150, 20:100] = (120, 70, 150)  # a fifth of the area
    noisy = (image + np.random.default_rng(0).normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)
    assert measure_quality(image).foreground == pytest.approx(0.2)
    assert measure_quality(noisy).foreground == pytest.approx(0.2, abs=0.005)
    assert measure_quality(image[:, 100:]).foreground == 0.0


def test_a_larger_photograph_of_the_same_field_measures_alike() -> None:
    small = field(size=512)
    large = cv2.resize(small, (1536, 1536), interpolation=cv2.INTER_CUBIC)
    first, second = measure_quality(small), measure_quality(large)
    assert second.brightness == pytest.approx(first.brightness, abs=0.01)
    assert second.foreground == pytest.approx(first.foreground, abs=0.02)
    assert second.focus == pytest.approx(first.focus, abs=0.15)


@pytest.mark.parametrize("count", [1, 5, 60])
def test_the_gate_accepts_its_own_cohort_and_refuses_what_is_ruined(count: int) -> None:
    gate = QualityGate.learn(cohort(count))
    accepted = [not gate.judge(measure_quality(field(seed))) for seed in range(1000, 1050)]
    assert np.mean(accepted) >= (0.9 if count > 1 else 0.5)
    for name, ruined in {
        "focus": cv2.GaussianBlur(field(3), (0, 0), 6),
        "dark": (field(3) * 0.25).astype(np.uint8),
        "foreground": field(3, cells=1),
    }.items():
        reasons = gate.judge(measure_quality(ruined))
        assert any(name in reason for reason in reasons), (name, reasons)


def test_no_more_than_the_given_share_of_the_cohort_is_refused() -> None:
    generator = np.random.default_rng(0)
    qualities = [Quality(*(float(value) for value in row)) for row in generator.uniform(0.2, 0.9, (20_000, 6)).round(6)]
    gate = QualityGate.learn(qualities, quantile=0.02)
    refused = np.mean([bool(gate.judge(quality)) for quality in qualities])
    assert 0 < refused <= 0.02


@pytest.mark.parametrize("level", [0, 7, 128, 250, 255])
def test_a_blank_image_is_never_evaluable(level: int) -> None:
    noise = np.random.default_rng(0).normal(0, 2, (256, 256, 3))
    blank = np.full((256, 256, 3), level, np.uint8)
    grainy = (level + noise).clip(0, 255).astype(np.uint8)
    blanks = [measure_quality(blank), measure_quality(grainy)]
    for gate in (QualityGate(), QualityGate.learn(cohort(3)), QualityGate.learn(blanks)):
        for quality in blanks:
            assert gate.judge(quality)[0].startswith("blank")


def test_reasons_hold_the_value_and_the_usual_range() -> None:
    gate = QualityGate.learn(cohort(30))
    dark = measure_quality((field(3) * 0.25).astype(np.uint8))
    reason = next(reason for reason in gate.judge(dark) if reason.startswith("too dark"))
    assert f"brightness {dark.brightness:.3g}" in reason
    assert f"usual from {gate.limits['brightness'].low:.3g}" in reason


def test_a_gate_survives_the_bundle() -> None:
    gate = QualityGate.learn(cohort(5))
    assert QualityGate.model_validate_json(gate.model_dump_json()) == gate


def test_an_empty_cohort_is_refused() -> None:
    with pytest.raises(InvalidInput, match="No development image"):
        QualityGate.learn([])


def test_real_fields_are_evaluable_and_their_blurred_copies_are_not(shared: Path) -> None:
    smears = sorted((shared / "data" / "leukaemia-smears" / "images" / "negative").glob("*.jpg"))[::40]
    pixels = [read_image(path).pixels for path in smears]
    gate = QualityGate.learn([measure_quality(image) for image in pixels[::2]])
    assert np.mean([not gate.judge(measure_quality(image)) for image in pixels[1::2]]) > 0.85
    blurred = [measure_quality(cv2.GaussianBlur(image, (0, 0), 3)) for image in pixels[1::2]]
    assert np.mean([bool(gate.judge(quality)) for quality in blurred]) > 0.9


def test_a_part_of_a_field_is_measured_as_sharp_as_the_field() -> None:
    appearance = patient_appearance(3, 0, 0)
    for seed in range(4):
        whole = render_field(appearance, positive=True, width=1390, height=1038, seed=seed).image
        part = whole[169:869, 345:1045]
        gate = QualityGate.learn([measure_quality(whole)], field_edge=1390)
        sharpness = measure_quality(whole).focus
        assert gate.measure_tile(part).focus == pytest.approx(sharpness, abs=0.3)
        assert measure_quality(part).focus < sharpness - 0.3, "at another scale the same cells look blurred"
        assert gate.measure_tile(whole) == measure_quality(whole)


@pytest.mark.parametrize(("width", "height"), [(1390, 1038), (1920, 1440), (2592, 1944), (1100, 700)])
def test_averaging_down_by_halves_measures_what_averaging_at_once_does(width: int, height: int) -> None:
    generator = np.random.default_rng(4)
    coarse = generator.integers(40, 240, (height // 12, width // 12, 3), dtype=np.uint8)
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    factor = MEASURED_EDGE / width
    at_once = cv2.resize(field, (MEASURED_EDGE, round(height * factor)), interpolation=cv2.INTER_AREA)
    ours, expected = measure_quality(field), measure_quality(at_once)
    assert ours.focus == pytest.approx(expected.focus, abs=0.05)  # the least spread that a gate grants
    assert ours.foreground == pytest.approx(expected.foreground, rel=0.05)  # a tenth is granted
    assert ours.contrast == pytest.approx(expected.contrast, abs=0.01)
    for name in ("brightness", "clipped_dark", "clipped_bright"):
        assert getattr(ours, name) == pytest.approx(getattr(expected, name), abs=0.005)


def test_limits_that_judge_the_images_they_were_learned_from_name_the_odd_one() -> None:
    generator = np.random.default_rng(4)
    usual = measure_quality(field())
    fields = [
        replace(usual, focus=usual.focus + generator.normal(0, 0.1), brightness=0.6 + generator.normal(0, 0.02))
        for _ in range(60)
    ]
    blurred, dark = replace(usual, focus=usual.focus - 2.0), replace(usual, brightness=0.1)
    everyone = [*fields, blurred, dark]
    # As a gate for new fields it must let through all that it was learned from.
    assert not any(QualityGate.learn(everyone).judge(quality) for quality in everyone)
    gate = QualityGate.learn(everyone, spreads=5.0)
    assert [bool(gate.judge(quality)) for quality in everyone] == [False] * 60 + [True, True]


def test_half_of_a_cohort_is_not_odd_where_the_other_half_has_none_of_it() -> None:
    """White glass is overexposed in the fields that show some; the median absolute deviation says nothing of it."""
    glass = np.concatenate([np.zeros(26), np.linspace(0.02, 0.6, 23)])
    fields = [Quality(focus=-2, brightness=0.7, contrast=0.4, clipped_dark=0, clipped_bright=float(share),
                      foreground=0.3) for share in glass]  # fmt: skip
    gate = QualityGate.learn(fields, spreads=5.0)
    assert not any(gate.judge(field) for field in fields)
    blurred = Quality(focus=-3, brightness=0.7, contrast=0.4, clipped_dark=0, clipped_bright=0, foreground=0.3)
    assert "out of focus" in gate.judge(blurred)[0]
