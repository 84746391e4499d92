"""What every test may ask for."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported: threads of several workers on the same cores wait for each other far longer than
    # they compute.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images and golden numbers beside the checkout, where there is one."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("the real images beside the checkout (../shared) are not on this machine")
    return folder


@pytest.fixture(scope="session")
def write_slide() -> Callable[..., Path]:
    """Write pixels as a slide: a tiled TIFF, each level half of the one before, with its resolution in um a px."""

    def write(path: Path, pixels: Any, *, microns: float | None = 0.5, levels: int = 3, **tags: Any) -> Path:
        import cv2
        import tifffile

        unit = {"resolution": (1e4 / microns, 1e4 / microns), "resolutionunit": "CENTIMETER"} if microns else {}
        with tifffile.TiffWriter(path) as file:
            for level in range(levels):
                form = {"tile": (256, 256), "compression": "zlib", "photometric": "rgb", "subfiletype": int(level > 0)}
                file.write(pixels, **form, **({} if level else {**unit, **tags}))
                half = (pixels.shape[1] // 2, pixels.shape[0] // 2)
                pixels = cv2.resize(pixels, half, interpolation=cv2.INTER_AREA)
        return path

    return write
