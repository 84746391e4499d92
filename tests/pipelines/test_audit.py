from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from pipelines.audit import audit_cohort


def test_a_clean_cohort_has_no_findings(world: Any, tmp_path: Path) -> None:
    result = audit_cohort(world.manifest, out=tmp_path / "audit")
    assert result["findings"] == []
    assert json.loads((tmp_path / "audit" / "audit.json").read_text()) == result


def test_planted_damage_is_found(world: Any, tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    shutil.copytree(world.cohort, cohort)
    frame = pd.read_csv(cohort / "manifest.csv")
    by_patient = frame.groupby("patient_id")["image"].apply(list)
    positive = frame.loc[frame["label"] == "positive", "image"].iloc[0]
    negative = frame.loc[frame["label"] == "negative", "image"].iloc[0]
    shutil.copy(cohort / positive, cohort / negative)
    first, second = [images for images in by_patient if positive not in images and negative not in images][:2]
    shutil.copy(cohort / first[0], cohort / first[1])
    half = cohort / second[0]
    half.write_bytes(half.read_bytes()[:2000])
    Image.new("RGB", (192, 144), "white").save(cohort / second[1])
    kinds = audit_cohort(cohort / "manifest.csv", out=tmp_path / "audit")["by_kind"]
    assert kinds["copy under two labels"] == 1
    assert kinds["unreadable"] == 1
    assert kinds["blank"] == 1
    assert sum(v for k, v in kinds.items() if k.startswith("copy")) == 2
