"""A plausible case and a plausible validation, made of small synthetic images, for every test to vary."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reports.case import (
    CaseReport,
    CaseScore,
    Conformal,
    FieldRow,
    OperatingPoint,
)
from reports.case_parts import DecidingField, HeatMap
from reports.parts import Counts, Estimate, Fact, ModelFacts, Performance, Weight

MakeCase = Callable[..., CaseReport]


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def estimate(value: float) -> Estimate:
    return Estimate(value=value, low=max(0.0, value - 0.06), high=min(1.0, value + 0.04))


def field_rows(number: int) -> tuple[FieldRow, ...]:
    probabilities = np.linspace(0.97, 0.05, number)
    return tuple(
        FieldRow(
            name=f"field-{index:03d}.jpg",
            sha256=sha256(str(index)),
            width=1390,
            height=1038,
            evaluable=True,
            logit=float(np.log(p / (1 - p))),
            probability=float(p),
            spread=0.03,
            call="positive" if p >= 0.41 else "negative",
        )
        for index, p in enumerate(probabilities)
    )


@pytest.fixture
def make_rows() -> Callable[[int], tuple[FieldRow, ...]]:
    """Give a function that makes so many evaluable fields, highest score first."""
    return field_rows


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    """A crop and its overlay: noise, so that JPEG cannot make them small for nothing."""
    generator = np.random.default_rng(7)
    paths = (tmp_path / "crop.png", tmp_path / "overlay.jpg")
    for path in paths:
        Image.fromarray(generator.integers(0, 255, (120, 120, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture
def make_case(pictures: tuple[Path, Path]) -> MakeCase:
    """Give a function that makes a positive case; keywords replace its fields."""
    crop, overlay = pictures
    performance = Performance(
        level="case",
        cohort="Test role of the phantom cohort",
        role="test",
        counts=Counts(tp=9, fp=1, fn=2, tn=13),
        sensitivity=estimate(9 / 11),
        specificity=estimate(13 / 14),
        ppv=estimate(0.9),
        npv=estimate(13 / 15),
        patients=25,
        interval_method="95 % CI, bootstrap over patients",
    )

    def make(**changes: Any) -> CaseReport:
        fields = changes.pop("fields", field_rows(5))
        values: dict[str, Any] = {
            "report_id": "R-2026-0007",
            "case_id": "case-17",
            "created": dt.datetime(2026, 11, 21, 14, 5, tzinfo=dt.timezone(dt.timedelta(hours=1))),
            "call": "positive",
            "score": CaseScore(probability=0.87, logit=1.9),
            "operating_point": OperatingPoint(
                threshold=0.41, rule="sensitivity of at least 95 %", data="out-of-fold cases"
            ),
            "conformal": Conformal(classes=("positive",), error=0.1, positive_from=0.35, negative_up_to=0.55),
            "refer": True,
            "refer_because": ("A positive call is always referred.",),
            "case_rule": "Mean of the field logits, recalibrated on cases.",
            "fields": fields,
            "deciding": tuple(
                DecidingField(
                    name=row.name,
                    crop=crop,
                    overlay=overlay,
                    probability=row.probability or 0.0,
                    crop_width=700,
                )
                for row in fields[:2]
            ),
            "heat_map": HeatMap(method="Grad-CAM", layer="decoder 4, after MHSA", high=0.021),
            "performance": (performance,),
            "entered": (Fact(name="Pass", value="2 of 3"),),
            "model": ModelFacts(
                name="msht-small",
                version="1",
                architecture="MSHT-small, 96 px, 3 folds",
                bundle_digest=sha256("bundle"),
                weights=(Weight(name="fold 1", sha256=sha256("1")),),
                training_data="18 patients, 18 cases, 180 fields.",
                software="msht 0.1.0",
            ),
        }
        return CaseReport(**(values | changes))

    return make
