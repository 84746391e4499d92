"""Damage and copies planted in a phantom cohort are each found under their name; a clean one has nothing to mend."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from msht.cohort.phantom import make_phantom
from msht.errors import InvalidInput
from pipelines import audit_parts
from pipelines.audit import audit_cohort, read_audit
from pipelines.audit_measure import jpeg_quality, measure_image
from pipelines.progress import Interrupted


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom cohort; tests must not change it (see `cohort`)."""
    folder = tmp_path_factory.mktemp("audit") / "cohort"
    make_phantom(folder, patients=10, fields_per_patient=4, width=192, height=144, seed=3, workers=1)
    return folder


@pytest.fixture
def cohort(clean: Path, tmp_path: Path) -> Path:
    """A phantom cohort of one's own to damage."""
    shutil.copytree(clean, tmp_path / "cohort")
    return tmp_path / "cohort"


def audited(cohort: Path, **options: Any) -> dict[str, Any]:
    out = options.pop("out", cohort.parent / "audit")
    return audit_cohort(cohort / "manifest.csv", out=out, report=options.pop("report", False), workers=1, **options)


def rows_of(cohort: Path) -> pd.DataFrame:
    return pd.read_csv(cohort / "manifest.csv", dtype=str)


def found_in(cohort: Path) -> pd.DataFrame:
    return pd.read_csv(cohort.parent / "audit" / "findings.csv", dtype=str, keep_default_na=False)


def bomb() -> bytes:
    """A PNG of 60,000 x 60,000 px in a few bytes."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return head + struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


def animation() -> bytes:
    stream = io.BytesIO()
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]
    frames[0].save(stream, format="GIF", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def as_file(image: Image.Image, file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=file_format, **options)
    return stream.getvalue()


def turned_by_exif(image: Image.Image) -> bytes:
    notes = Image.Exif()
    notes[0x0112] = 6
    return as_file(image, "JPEG", exif=notes)


DAMAGE: dict[str, tuple[str, Callable[[bytes, Image.Image], bytes]]] = {
    "zero bytes": ("jpg", lambda data, image: b""),
    "truncated": ("jpg", lambda data, image: as_file(image, "JPEG")[:1500]),
    "wrong ending": ("png", lambda data, image: as_file(image, "JPEG")),
    "decompression bomb": ("png", lambda data, image: bomb()),
    "animated or paged": ("gif", lambda data, image: animation()),
    "not an image": ("jpg", lambda data, image: b"a letter, not a picture"),
    "CMYK": ("jpg", lambda data, image: as_file(image.convert("CMYK"), "JPEG")),
    "16 bits": (
        "png",
        lambda data, image: as_file(Image.fromarray(np.asarray(image.convert("L")) * np.uint16(257)), "PNG"),
    ),
    "alpha": ("png", lambda data, image: as_file(image.convert("RGBA"), "PNG")),
    "palette": ("png", lambda data, image: as_file(image.quantize(200), "PNG")),
    "grey": ("png", lambda data, image: as_file(image.convert("L"), "PNG")),
    "EXIF-rotated": ("jpg", lambda data, image: turned_by_exif(image)),
    "low JPEG quality": ("jpg", lambda data, image: as_file(image, "JPEG", quality=20)),
    "blank": ("png", lambda data, image: as_file(Image.new("RGB", (160, 120), "white"), "PNG")),
}


def test_every_damage_is_found_under_its_name(cohort: Path) -> None:
    frame = rows_of(cohort)
    planted = {}
    for row, (kind, (suffix, spoil)) in enumerate(DAMAGE.items()):
        old = cohort / frame.loc[row, "image"]
        new = old.with_suffix(f".{suffix}")
        data = old.read_bytes()
        with Image.open(old) as image:
            spoiled = spoil(data, image.convert("RGB"))
        old.unlink()
        new.write_bytes(spoiled)
        frame.loc[row, "image"] = planted[kind] = new.relative_to(cohort).as_posix()
    frame.loc[len(DAMAGE), "image"] = planted["missing file"] = "images/=gone.jpg"
    frame.to_csv(cohort / "manifest.csv", index=False)
    (cohort / "manifest.json").unlink(missing_ok=True)
    result = audited(cohort, report=True)
    found = found_in(cohort)
    for kind, image in planted.items():
        names = [name.removeprefix("'") for name in found.loc[found["kind"] == kind, "image"]]
        assert image in names, f"{kind}: {image} is not among {names}"
    assert result["readable"] == len(frame) - 7
    assert (cohort.parent / "audit" / "audit.pdf").read_bytes().startswith(b"%PDF")
    assert not result["pairs"]


def test_copies_are_found_with_what_is_wrong_about_them(cohort: Path) -> None:
    frame = rows_of(cohort)
    patients = frame.groupby("patient_id")["image"].apply(list)
    mixed = frame.groupby("patient_id").filter(lambda rows: rows["label"].nunique() == 2)
    one_patient = mixed[mixed["patient_id"] == mixed["patient_id"].iloc[0]].set_index("label")["image"]
    positive, negative = (one_patient[[name]].iloc[0] for name in ("positive", "negative"))
    others = [images for patient, images in patients.items() if patient != mixed["patient_id"].iloc[0]]
    labels = frame.set_index("image")["label"]
    # The label of a phantom's first two patients may differ; the pair is made of one label.
    same = next((a[0], b[0]) for a in others for b in others if a != b and labels[a[0]] == labels[b[0]])
    within = next(i for i in others if same[0] not in i and same[1] not in i and labels[i[0]] == labels[i[1]])
    shutil.copy(cohort / positive, cohort / negative)
    shutil.copy(cohort / same[0], cohort / same[1])
    with Image.open(cohort / within[0]) as image:
        image.convert("RGB").crop((6, 4, 190, 142)).transpose(Image.Transpose.ROTATE_90).save(cohort / within[1])
    result = audited(cohort)
    kinds = result["by_kind"]
    assert kinds["copy under two labels"] == 1
    assert kinds["copy across patients"] == 1
    assert kinds["near-duplicate"] == 1
    assert "copy" not in kinds
    pairs = {frozenset(pair) for pair in read_audit(cohort.parent / "audit").pairs}
    assert pairs == {frozenset(p) for p in ((positive, negative), same, tuple(within[:2]))}
    found = found_in(cohort)
    across = found[found["kind"] == "copy across patients"].iloc[0]
    assert across["patient_id"] != across["other_patient_id"]


def test_a_clean_cohort_has_nothing_to_mend_and_its_record_is_what_was_returned(clean: Path, tmp_path: Path) -> None:
    result = audit_cohort(clean / "manifest.csv", out=tmp_path / "audit", workers=1)
    assert result["by_severity"]["must be mended"] == 0
    assert result["pairs"] == []
    assert json.loads((tmp_path / "audit" / "audit.json").read_text(encoding="utf-8")) == result
    table = pd.read_parquet(tmp_path / "audit" / "images.parquet")
    assert len(table) == result["images"] == result["readable"]
    assert "fingerprint" not in table


def test_an_audit_that_was_stopped_goes_on_and_ends_alike(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = audit_cohort(clean / "manifest.csv", out=tmp_path / "whole", workers=1, report=False)
    measured: list[str] = []

    def counting(name: str, path: Path) -> dict[str, Any]:
        if len(measured) == 20:
            raise KeyboardInterrupt
        measured.append(name)
        return measure_image(name, path)

    monkeypatch.setattr(audit_parts, "measure_image", counting)
    monkeypatch.setattr(audit_parts, "_CHUNK", 1)
    with pytest.raises(Interrupted, match="goes on"):
        audit_cohort(clean / "manifest.csv", out=tmp_path / "stopped", workers=1, report=False)
    assert not (tmp_path / "stopped" / "audit.json").exists()
    again: list[str] = []

    def rest(name: str, path: Path) -> dict[str, Any]:
        again.append(name)
        return measure_image(name, path)

    monkeypatch.setattr(audit_parts, "measure_image", rest)
    result = audit_cohort(clean / "manifest.csv", out=tmp_path / "stopped", workers=1, report=False)
    assert not set(measured) & set(again)
    assert result == whole


def test_an_image_that_changed_is_measured_again(cohort: Path) -> None:
    audited(cohort)
    image = rows_of(cohort).loc[0, "image"]
    Image.new("RGB", (160, 120), "white").save(cohort / image)
    assert audited(cohort)["by_kind"]["blank"] == 1


@pytest.mark.slow
def test_workers_change_nothing(clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = audit_cohort(clean / "manifest.csv", out=tmp_path / "one", workers=1, report=False)
    monkeypatch.setattr(audit_parts, "FEW", 0)
    assert audit_cohort(clean / "manifest.csv", out=tmp_path / "two", workers=2, report=False) == alone


def killer(chunk: list[int]) -> list[int]:
    """Stands for a decoder that crashes on 3."""
    import os

    if 3 in chunk:
        os._exit(9)
    return chunk


@pytest.mark.slow
def test_a_process_that_is_killed_loses_its_chunk_and_no_other() -> None:
    answers = list(audit_parts.in_processes(killer, [[n] for n in range(12)], workers=1))
    assert sorted(chunk[0] for chunk, _ in answers) == list(range(12))
    assert next(rows for chunk, rows in answers if chunk == [3]) is None


@pytest.mark.parametrize("quality", [1, 20, 49, 50, 75, 90, 95, 100])
def test_jpeg_quality_is_the_one_it_was_saved_with(quality: int) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8))
    with Image.open(io.BytesIO(as_file(image, "JPEG", quality=quality))) as saved:
        assert jpeg_quality(saved.quantization) == quality  # type: ignore[attr-defined]


def test_spreadsheet_formulas_in_names_are_neutralised(cohort: Path) -> None:
    frame = rows_of(cohort)
    frame.loc[0, "image"] = "=1+1.jpg"
    frame.to_csv(cohort / "manifest.csv", index=False)
    audited(cohort)
    for name in ("findings.csv", "images.csv"):
        text = (cohort.parent / "audit" / name).read_text(encoding="utf-8")
        assert ",=1+1" not in text
        assert "'=1+1.jpg" in text


def test_an_audit_does_not_go_into_a_folder_of_something_else(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(InvalidInput, match="holds no audit"):
        audit_cohort(clean / "manifest.csv", out=tmp_path / "mine")
    with pytest.raises(InvalidInput, match="--workers is 0"):
        audit_cohort(clean / "manifest.csv", out=tmp_path / "audit", workers=0)
    assert not (tmp_path / "audit").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "no finished audit"),
        ("[]", "not the record"),
        ('{"kind": "audit", "schema": 1}', "another version"),
        ('{"kind": "audit", "schema": 2, "manifest_digest": "0"}', "damaged"),
        ("{", "not readable JSON"),
    ],
)
def test_a_folder_without_a_sound_audit_is_refused(tmp_path: Path, text: str | None, expected: str) -> None:
    if text is not None:
        (tmp_path / "audit.json").write_text(text)
    with pytest.raises(InvalidInput, match=expected):
        read_audit(tmp_path)


def test_the_truncated_smears_are_named_so(shared: Path) -> None:
    files = sorted((shared / "data" / "damaged").glob("*.jpg"))
    assert len(files) == 3
    assert [measure_image(file.name, file)["trouble"] for file in files] == ["truncated"] * 3
