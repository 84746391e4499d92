"""Small images and cohorts for the tests of the library's own rooms."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from msht.cohort.manifest import Manifest, build_manifest

Cohort = Callable[..., Manifest]


def field(positive: bool, seed: int, edge: int = 48) -> np.ndarray:
    """A noisy field, RGB uint8 (edge, edge, 3); the positive class has a dark disc in its middle."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(150, 230, (edge, edge, 3), dtype=np.uint8)
    if positive:
        cv2.circle(pixels, (edge // 2, edge // 2), edge // 4, (60, 20, 90), -1)
    return pixels


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Make a cohort of small PNG fields: `patients` of two fields each, every other patient positive."""

    def make(patients: int = 6, fields: int = 2, edge: int = 48) -> Manifest:
        root = tmp_path_factory.mktemp("cohort")
        rows = []
        for patient in range(patients):
            for number in range(fields):
                name = f"p{patient:02d}_{number}.png"
                pixels = field(patient % 2 == 1, seed=100 * patient + number, edge=edge)
                assert cv2.imwrite(str(root / name), pixels[:, :, ::-1])
                label = "positive" if patient % 2 else "negative"
                rows.append({"image": name, "label": label, "patient_id": f"P{patient}"})
        return build_manifest(pd.DataFrame(rows, dtype="string"), root, source="manifest.csv")

    return make


@pytest.fixture
def empty_images(tmp_path: Path) -> Callable[[pd.DataFrame], Path]:
    """Make an empty file for every image of a table: a manifest asks whether they are there, not what they hold."""

    def make(frame: pd.DataFrame) -> Path:
        for image in frame["image"].dropna():
            path = tmp_path / str(image)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return make
