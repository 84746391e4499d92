"""The size of a slide's pixel: what was written, if it can be true, else a refusal that names the option."""

from __future__ import annotations

from pathlib import Path

import pytest

from msht.errors import UnreadableImage
from msht.images.slide_scale import slide_scale

PATH = Path("a.svs")


@pytest.mark.parametrize(
    ("properties", "microns"),
    [
        ({"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.25"}, 0.25),
        ({"openslide.mpp-x": "0.2525", "openslide.mpp-y": "0.2500"}, 0.25125),
        ({"openslide.mpp-x": "0.25"}, 0.25),
        ({"tiff.XResolution": "40000", "tiff.YResolution": "40000", "tiff.ResolutionUnit": "centimeter"}, 0.25),
        ({"tiff.XResolution": "50800", "tiff.YResolution": "50800", "tiff.ResolutionUnit": "inch"}, 0.5),
        # What the scanner says goes before the tags, which many programs fill with a screen's 72 dots an inch.
        (
            {
                "openslide.mpp-x": "0.5",
                "openslide.mpp-y": "0.5",
                "tiff.XResolution": "72",
                "tiff.YResolution": "72",
                "tiff.ResolutionUnit": "inch",
            },
            0.5,
        ),
    ],
)
def test_what_is_written_is_read(properties: dict[str, str], microns: float) -> None:
    assert slide_scale(properties, PATH).microns_per_pixel == pytest.approx(microns, rel=1e-4)


@pytest.mark.parametrize(
    ("properties", "word"),
    [
        ({}, "does not say"),
        ({"openslide.objective-power": "20"}, "20x, which is no size"),
        ({"openslide.mpp-x": "nan", "openslide.mpp-y": "word"}, "does not say"),
        ({"openslide.mpp-x": "0", "openslide.mpp-y": "0"}, "0 x 0 um"),
        ({"openslide.mpp-x": "-0.25", "openslide.mpp-y": "-0.25"}, "-0.25"),
        ({"openslide.mpp-x": "250", "openslide.mpp-y": "250"}, "250 x 250 um"),
        ({"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.5"}, "0.25 um wide and 0.5 um high"),
        ({"tiff.XResolution": "72", "tiff.YResolution": "72", "tiff.ResolutionUnit": "inch"}, "352.8"),
        ({"tiff.XResolution": "1", "tiff.YResolution": "1", "tiff.ResolutionUnit": "none"}, "does not say"),
        ({"tiff.XResolution": "0", "tiff.YResolution": "0", "tiff.ResolutionUnit": "inch"}, "does not say"),
    ],
)
def test_what_cannot_be_true_is_refused_by_naming_the_option(properties: dict[str, str], word: str) -> None:
    with pytest.raises(UnreadableImage, match=word) as caught:
        slide_scale(properties, PATH)
    assert "--slide-microns-per-pixel" in caught.value.mend
    assert slide_scale(properties, PATH, 0.33).microns_per_pixel == 0.33
