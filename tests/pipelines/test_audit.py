"""Damage and copies planted in a phantom cohort are each found under their name; a clean one has nothing to mend."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image

from msht.cohort.phantom import make_phantom
from msht.errors import InvalidInput, UnreadableImage
from msht.images.reading import read_image
from pipelines import audit, audit_copies, audit_parts, audit_report
from pipelines.audit import audit_cohort, read_audit
from pipelines.audit_measure import jpeg_quality, measure_image
from pipelines.progress import Interrupted, Silent


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


class Listener(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, words: str) -> None:
        self.said.append(words)


def with_a_near_duplicate(cohort: Path) -> tuple[str, str]:
    """Make one image of a patient a crop of another with its label."""
    frame = rows_of(cohort)
    first, second = next(
        tuple(rows["image"][:2]) for _, rows in frame.groupby(["patient_id", "label"]) if len(rows) > 1
    )
    with Image.open(cohort / first) as image:
        image.convert("RGB").crop((6, 4, 190, 142)).save(cohort / second)
    return first, second


def test_a_comparison_for_which_an_image_could_not_be_read_is_said_and_made_by_the_next_audit(
    cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = with_a_near_duplicate(cohort)

    def failing(path: Path) -> Any:
        if path == cohort / pair[1]:
            raise UnreadableImage(f"{path} cannot be read.", "Look at the disk.")
        return read_image(path)

    listener = Listener()
    with monkeypatch.context() as during:
        during.setattr(audit_copies, "read_image", failing)
        result = audited(cohort, progress=listener, report=True)
    assert result["pairs"] == []
    assert result["by_kind"]["not compared"] == 1
    assert any("could not be read when they were to be compared" in words for words in audit_report.summary(result))
    found = found_in(cohort)
    assert list(found.loc[found["kind"] == "not compared", "image"]) == [pair[1]]
    [words] = [said for said in listener.said if "could not be read" in said]
    assert pair[1] not in words, "a name may hold a patient's"
    again = audited(cohort)
    assert [(row["first"], row["second"]) for row in again["pairs"]] == [tuple(sorted(pair))]
    assert "not compared" not in again["by_kind"]


def test_a_new_result_holds_nothing_of_an_earlier_one(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = cohort.parent / "audit"
    audited(cohort, report=True)
    assert (out / "audit.pdf").is_file()
    audited(cohort)
    assert (out / "audit.json").is_file()
    assert not (out / "audit.pdf").exists()

    there: list[set[str]] = []

    def killed(*_: Any, **__: Any) -> None:
        there.append({path.name for path in out.iterdir()})
        raise KeyboardInterrupt

    audited(cohort, report=True)
    with monkeypatch.context() as during:
        during.setattr(audit_report, "report_audit", killed)
        with pytest.raises(Interrupted):
            audited(cohort, report=True)
    assert there == [{"parts", "findings.csv", "images.csv", "images.parquet"}]
    assert not (out / "audit.json").exists(), "where it is, the audit is finished"

    audited(cohort, report=True)
    with monkeypatch.context() as during:
        during.setattr(audit, "_write_tables", killed)
        with pytest.raises(Interrupted):
            audited(cohort, report=True)
    assert there[-1] == {"parts"}


FOREIGN = {
    "other columns": {"a": [1, 2]},
    "some of the columns": {"image": ["x"], "first": ["x"], "second": ["y"]},
    "keys that are empty": {
        name: [None] for name in ("image", "stamp", "trouble", "trouble_words", *audit_copies.COMPARED)
    },
    "no rows": {name: [] for name in ("image", "stamp", "trouble", "trouble_words", *audit_copies.COMPARED)},
}


@pytest.mark.parametrize("columns", FOREIGN.values(), ids=FOREIGN)
def test_a_part_of_something_else_is_left_out_and_left_alone(cohort: Path, columns: dict[str, list[Any]]) -> None:
    with_a_near_duplicate(cohort)
    result = audited(cohort)
    parts = cohort.parent / "audit" / "parts"
    for prefix in ("measured", "compared"):
        [own] = parts.glob(f"{prefix}-*.parquet")
        pd.DataFrame(columns).to_parquet(own)
        pd.DataFrame(columns).to_parquet(parts / f"{prefix}-999999-mine.parquet")
    assert audited(cohort) == result
    for prefix in ("measured", "compared"):
        left = pd.read_parquet(parts / f"{prefix}-999999-mine.parquet")
        assert list(left.columns) == list(columns)


def test_of_two_rows_of_an_image_the_one_of_its_present_state_counts(cohort: Path) -> None:
    result = audited(cohort)
    parts = cohort.parent / "audit" / "parts"
    [own] = parts.glob("measured-*.parquet")
    older = pd.read_parquet(own).assign(stamp="1-0-0", width=7)
    older.to_parquet(parts / "measured-999999-older.parquet")
    assert audited(cohort) == result


def test_an_approximate_search_is_said_wherever_the_search_is_described(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()
    result = audit_cohort(clean / "manifest.csv", out=tmp_path / "a", workers=1, report=False, progress=listener)
    assert result["search"]["method"] == "exhaustive"
    assert result["search"]["recall"] is None
    assert not any("approximate" in said for said in listener.said)
    assert not any("approximate" in words for words in audit_report.summary(result))

    monkeypatch.setattr(audit_copies, "EXHAUSTIVE", result["search"]["pictures"] - 1)
    result = audit_cohort(clean / "manifest.csv", out=tmp_path / "a", workers=1, progress=listener)
    assert result["search"]["method"] == "approximate"
    assert json.loads((tmp_path / "a" / "audit.json").read_text(encoding="utf-8")) == result
    [words] = listener.said
    for text in (words, *(w for w in audit_report.summary(result) if "approximate" in w)):
        for needed in ("misses some", "93% (cropped by up to 5 %)", "77% (cropped by 10 %)", "results/"):
            assert needed in text
    assert any("approximate" in fact.value for fact in audit_report._method(result))


def test_more_pictures_than_were_measured_are_said_to_be_more() -> None:
    assert "More than 100,000 were not measured" in audit_copies.Search([], 100_001).in_words()
    assert "not measured" not in audit_copies.Search([], 100_000).in_words()
    assert audit_copies.Search([], 20_001).approximate
    assert not audit_copies.Search([], 20_000).approximate


def test_the_recall_that_is_told_is_the_one_that_was_measured(root: Path) -> None:
    head, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (root / audit_copies.RECALL_SOURCE).read_text(encoding="utf-8").splitlines()
        if re.match(r"\| (images \||[\d,]+ \|.*\|.*\|.*\|)", line)
    ][:4]
    measured = {
        int(row[0].replace(",", "")): {
            name.removeprefix("recall, "): float(value)
            for name, value in zip(head, row, strict=True)
            if name.startswith("recall, ")
        }
        for row in rows
    }
    assert {count: shares for count, shares in measured.items() if count > 20_000} == audit_copies.RECALL


@pytest.fixture(scope="module")
def many(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort that takes some seconds: the clean one under many names."""
    folder = tmp_path_factory.mktemp("many")
    frame = rows_of(clean)[["image", "label"]]
    rows = []
    for copy in range(100):
        (folder / f"{copy}").mkdir()
        for number, (image, label) in enumerate(frame.itertuples(index=False)):
            name = f"{copy}/{number}{Path(image).suffix}"
            os.link(clean / image, folder / name)
            rows.append((name, label))
    pd.DataFrame(rows, columns=["image", "label"]).to_csv(folder / "manifest.csv", index=False)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGTERM, signal.SIGKILL], ids=lambda blow: blow.name)
def test_an_audit_that_is_ended_leaves_no_process_behind(
    many: Path, root: Path, tmp_path: Path, blow: signal.Signals
) -> None:
    out = tmp_path / "audit"
    command = [sys.executable, "-m", "cli.main", "cohort", "audit", str(many / "manifest.csv"), "--out", str(out)]
    with (tmp_path / "said").open("w+b") as said:
        process = subprocess.Popen([*command, "--workers", "2"], cwd=root, stdout=said, stderr=said)
        workers: list[psutil.Process] = []
        try:
            until = time.monotonic() + 120
            while not list(out.glob("parts/measured-*.parquet")):
                assert process.poll() is None, (tmp_path / "said").read_text()
                assert time.monotonic() < until
                time.sleep(0.02)
            workers = psutil.Process(process.pid).children(recursive=True)
            assert len(workers) >= 2
            process.send_signal(blow)
            code = process.wait(60)
            until = time.monotonic() + 20
            while (left := [w for w in workers if alive(w)]) and time.monotonic() < until:
                time.sleep(0.05)
            assert not left
        finally:
            for one in [p for p in (*workers, process) if not isinstance(p, psutil.Process) or alive(p)]:
                one.kill()
            process.wait()
    words = (tmp_path / "said").read_text()
    assert not (out / "audit.json").exists()
    assert "Traceback" not in words
    if blow == signal.SIGTERM:
        assert code == 130
        assert "what was looked at is kept" in words


def alive(process: psutil.Process) -> bool:
    """Whether it runs; where nobody collects orphans, one that has ended stays a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_an_image_that_changed_is_measured_again(cohort: Path) -> None:
    audited(cohort)
    image = rows_of(cohort).loc[0, "image"]
    Image.new("RGB", (160, 120), "white").save(cohort / image)
    assert audited(cohort)["by_kind"]["blank"] == 1


@pytest.mark.slow
def test_workers_change_nothing(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_a_near_duplicate(cohort)
    alone = audit_cohort(cohort / "manifest.csv", out=tmp_path / "one", workers=1, report=False)
    assert len(alone["pairs"]) == 1
    for module in (audit_parts, audit_copies):
        monkeypatch.setattr(module, "FEW", 0)
    assert audit_cohort(cohort / "manifest.csv", out=tmp_path / "two", workers=2, report=False) == alone


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
        ('{"kind": "audit", "schema": 3, "manifest_digest": "0"}', "damaged"),
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


def test_the_finished_audit_of_another_cohort_is_not_replaced(cohort: Path, tmp_path: Path) -> None:
    audited(cohort)
    before = (tmp_path / "audit" / "audit.json").read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    for number in range(2):
        Image.new("RGB", (60, 40), (number * 90, 90, 90)).save(other / f"new-{number}.png")
    (other / "manifest.csv").write_text("image,label\nnew-0.png,negative\nnew-1.png,positive\n")
    with pytest.raises(InvalidInput, match="is the audit of another cohort: none of its 40 images"):
        audited(other, out=tmp_path / "audit")
    assert (tmp_path / "audit" / "audit.json").read_bytes() == before


def test_the_audit_of_a_mended_manifest_replaces_the_former_and_says_so(cohort: Path, said: Any) -> None:
    first = audited(cohort)
    rows_of(cohort).iloc[1:].to_csv(cohort / "manifest.csv", index=False)
    second = audited(cohort, progress=said)
    assert (first["images"], second["images"]) == (40, 39)
    assert "39 of its 40 images are in this one" in said.words[0]


def test_ids_written_in_two_ways_are_found(cohort: Path) -> None:
    frame = rows_of(cohort)
    frame.loc[0, "patient_id"] = frame.loc[0, "patient_id"].lower()
    frame = frame.drop(columns=["case_id", "slide_id"], errors="ignore")
    frame.to_csv(cohort / "manifest.csv", index=False)
    audited(cohort)
    found = found_in(cohort)
    alike = found[found["kind"] == "ids that look alike"]
    assert len(alike) == 1
    assert "(patient_id) count as different" in alike["words"].iloc[0]


def test_an_interval_below_chance_is_explained() -> None:
    from pipelines.audit_shortcut import Baseline

    low = Baseline("colour", "positive", 40, 10, 0.2, 0.1, 0.4, "x").as_dict()["means"]
    assert "other way round in others" in low
    assert "other way round" not in Baseline("colour", "positive", 40, 10, 0.3, 0.1, 0.6, "x").as_dict()["means"]


def test_all_pairs_that_must_be_mended_are_shown(cohort: Path) -> None:
    frame = rows_of(cohort)
    other = {"negative": "positive", "positive": "negative"}
    copies = frame.iloc[:16].copy()
    for place, row in copies.iterrows():
        name = f"copy-{place}.png"
        shutil.copy(cohort / row["image"], cohort / name)
        copies.loc[place, ["image", "label"]] = [name, other[row["label"]]]
    pd.concat([frame, copies]).drop(columns=["mask"], errors="ignore").to_csv(cohort / "manifest.csv", index=False)
    result = audited(cohort, report=True)
    assert result["by_severity"]["must be mended"] >= 16
    from pypdf import PdfReader

    text = " ".join(page.extract_text() for page in PdfReader(cohort.parent / "audit" / "audit.pdf").pages)
    assert all(f"copy-{place}.png" in text for place in range(16))


@pytest.mark.parametrize("inside", ["parts/notes.txt", "audit.json", "images.csv"])
def test_an_audit_deletes_nothing_of_a_folder_that_is_not_its_own(clean: Path, tmp_path: Path, inside: str) -> None:
    mine = tmp_path / "mine"
    for name in (inside, "findings.csv", "audit.pdf"):
        (mine / name).parent.mkdir(parents=True, exist_ok=True)
        (mine / name).write_text('{"vulnerabilities": {}}')
    with pytest.raises(InvalidInput, match=r"holds no audit|something else than parts"):
        audit_cohort(clean / "manifest.csv", out=mine)
    assert all((mine / name).read_text() == '{"vulnerabilities": {}}' for name in (inside, "findings.csv", "audit.pdf"))


def test_a_file_that_was_restored_with_its_old_time_is_looked_at_again(cohort: Path) -> None:
    image = cohort / rows_of(cohort)["image"].iloc[0]
    facts = image.stat()
    audited(cohort)
    data = bytearray(image.read_bytes())
    data[-3] ^= 1
    image.write_bytes(bytes(data))
    os.utime(image, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    audited(cohort)
    measured = pd.read_parquet(cohort.parent / "audit" / "images.parquet").set_index("image")
    from msht.files import sha256_of

    assert measured.loc[rows_of(cohort)["image"].iloc[0], "sha256"] == sha256_of(image)


def test_names_in_chinese_are_set_where_the_machine_has_a_font_for_them(cohort: Path) -> None:
    from pypdf import PdfReader

    from reports.fonts import has_chinese_font

    frame = rows_of(cohort)
    shutil.copy(cohort / frame["image"].iloc[0], cohort / "患者1.jpg")
    copy = {**frame.iloc[0].to_dict(), "image": "患者1.jpg"}
    pd.concat([frame, pd.DataFrame([copy])]).to_csv(cohort / "manifest.csv", index=False)
    audited(cohort, report=True)
    text = "".join(page.extract_text() for page in PdfReader(cohort.parent / "audit" / "audit.pdf").pages)
    shown = "患者" in text.replace(" ", "")
    assert shown == has_chinese_font()
    assert ("<U+60A3>" in text) != shown
