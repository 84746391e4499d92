"""A phantom cohort: synthetic ROSE fields with known truth, to try the whole way without a patient's image.

The same settings give the same bytes, whatever the number of workers. Colour, density and background are
drawn without regard to the label; what tells the classes apart is the form of the nuclei and how they lie
together.
"""

from __future__ import annotations

import csv
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2

from msht import __version__
from msht.cohort.phantom_field import PhantomField, field_seed, patient_appearance, render_field
from msht.cohort.phantom_roster import PhantomSettings, PlannedField, plan_cohort
from msht.cohort.phantom_stain import Appearance
from msht.errors import InvalidInput
from msht.files import cannot_write, read_json, write_json

__all__ = [
    "Appearance",
    "PhantomField",
    "PhantomSummary",
    "make_phantom",
    "patient_appearance",
    "render_field",
]

GENERATOR = 1
"""Raised whenever the same settings would give other images than before."""

COLUMNS = (
    "image",
    "label",
    "case_id",
    "patient_id",
    "slide_id",
    "site",
    "stain",
    "magnification",
    "mask",
)
SETTINGS_FILE = "phantom.json"
MANIFEST_FILE = "manifest.csv"


@dataclass(frozen=True)
class PhantomSummary:
    """What a phantom cohort holds and where it lies."""

    folder: Path
    manifest: Path
    fields: int
    positive_fields: int
    patients: int
    malignant_patients: int
    cases: int
    sites: int
    seed: int


def make_phantom(
    out: Path,
    *,
    patients: int = 24,
    fields_per_patient: int = 10,
    cases_per_patient: int = 1,
    sites: int = 3,
    width: int = 512,
    height: int = 384,
    seed: int = 517,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> PhantomSummary:
    """Write a phantom cohort: images, masks of atypical nuclei, manifest, settings.

    Half of the patients are benign and have negative fields only; of a malignant patient's fields 60 to
    100 % are positive, the others negative, with the same stain. Labels belong to fields.

    Args:
        out: folder to make; it may exist if it is empty or holds this very phantom.
        patients: at least 2.
        fields_per_patient: photographed fields of each patient.
        cases_per_patient: examinations among which a patient's fields are divided.
        sites: laboratories, each with its own stain and camera.
        width: pixels of a field.
        height: pixels of a field; the specimen fills it at every size.
        seed: decides everything else.
        workers: processes; all available cores unless given. The result does not depend on it.
        on_progress: called with fields done and fields in all.

    Raises:
        InvalidInput: if a number is impossible or `out` holds something else.
        MissingResource: if `out` cannot be written.
    """
    settings = PhantomSettings(patients, fields_per_patient, cases_per_patient, sites, width, height, seed)
    _check(settings, workers)
    out = Path(out)
    fields = plan_cohort(settings)
    if _already_there(out, settings, fields):
        if on_progress:
            on_progress(len(fields), len(fields))
        return _summary(out, settings, fields)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.partial-"))
    except OSError as error:
        raise cannot_write(out, error) from error
    try:
        for done, _ in enumerate(_draw_all(partial, settings, fields, workers), start=1):
            if on_progress:
                on_progress(done, len(fields))
        _write_manifest(partial / MANIFEST_FILE, settings, fields)
        description = {"generator": GENERATOR, "version": __version__, "settings": asdict(settings)}
        write_json(partial / SETTINGS_FILE, description)
        partial.chmod(0o755)
        if out.exists():
            out.rmdir()
        partial.replace(out)
    except OSError as error:
        raise cannot_write(out, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return _summary(out, settings, fields)


def _check(settings: PhantomSettings, workers: int | None) -> None:
    least = {
        "patients": 2,
        "fields_per_patient": 1,
        "cases_per_patient": 1,
        "sites": 1,
        "width": 64,
        "height": 64,
        "seed": 0,
    }
    for name, minimum in least.items():
        value = getattr(settings, name)
        if value < minimum:
            raise InvalidInput(
                f"A phantom needs {name} of at least {minimum}, but got {value}.", f"Give a larger {name}."
            )
    if max(settings.width, settings.height) > 8192:
        raise InvalidInput(
            f"A phantom field of {settings.width} x {settings.height} pixels is too large.",
            "Give a width and a height of at most 8192.",
        )
    if settings.cases_per_patient > settings.fields_per_patient:
        raise InvalidInput(
            f"{settings.fields_per_patient} fields cannot fill {settings.cases_per_patient} cases.",
            "Give at least as many fields as cases per patient.",
        )
    if workers is not None and workers < 1:
        raise InvalidInput(f"A phantom needs workers of at least 1, but got {workers}.", "Give more workers.")


def _already_there(out: Path, settings: PhantomSettings, fields: list[PlannedField]) -> bool:
    """Whether `out` holds this very phantom; refuse it if it holds anything else."""
    if not out.exists():
        return False
    if not out.is_dir():
        raise InvalidInput(f"{out} is a file.", "Name a folder for the phantom.")
    if not any(out.iterdir()):
        return False
    if not (out / SETTINGS_FILE).is_file():
        raise InvalidInput(f"The folder {out} is not empty.", "Name a new or an empty folder for the phantom.")
    found = read_json(out / SETTINGS_FILE, what="settings of a phantom")
    if not isinstance(found, dict) or found.get("settings") != asdict(settings) or found.get("generator") != GENERATOR:
        raise InvalidInput(f"{out} holds a phantom made with other settings.", "Remove it or name another folder.")
    missing = [path for field in fields for path in field.paths if not (out / path).is_file()]
    if missing or not (out / MANIFEST_FILE).is_file():
        first = missing[0] if missing else MANIFEST_FILE
        raise InvalidInput(
            f"The phantom in {out} is not whole: {first} is missing.", "Remove the folder and make it again."
        )
    return True


def _draw_all(
    folder: Path, settings: PhantomSettings, fields: list[PlannedField], workers: int | None
) -> Iterator[str]:
    for parent in {(folder / path).parent for field in fields for path in field.paths}:
        parent.mkdir(parents=True, exist_ok=True)
    processes = min(workers or _cores(), len(fields))
    if processes == 1:
        for field in fields:
            yield _draw(folder, settings, field)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,))
    try:
        for future in as_completed([pool.submit(_draw, folder, settings, field) for field in fields]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _draw(folder: Path, settings: PhantomSettings, field: PlannedField) -> str:
    appearance = patient_appearance(settings.seed, field.patient, field.site)
    drawn = render_field(
        appearance,
        positive=field.positive,
        width=settings.width,
        height=settings.height,
        seed=field_seed(settings.seed, field.patient, field.number),
    )
    image, mask = field.paths
    quality = [cv2.IMWRITE_JPEG_QUALITY, appearance.jpeg_quality]
    _write(folder / image, cv2.cvtColor(drawn.image, cv2.COLOR_RGB2BGR), quality)
    _write(folder / mask, drawn.mask, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    return image


def _write(path: Path, image: Any, options: list[int]) -> None:
    # cv2.imwrite says neither why it failed nor copes with every file name.
    written, encoded = cv2.imencode(path.suffix, image, options)
    if not written:
        raise OSError(f"{path.name} cannot be encoded")
    path.write_bytes(encoded.tobytes())


def _write_manifest(path: Path, settings: PhantomSettings, fields: list[PlannedField]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for field in fields:
            image, mask = field.paths
            appearance = patient_appearance(settings.seed, field.patient, field.site)
            writer.writerow(
                {
                    "image": image,
                    "label": "positive" if field.positive else "negative",
                    "case_id": field.case_id,
                    "patient_id": field.patient_id,
                    "slide_id": field.slide_id,
                    "site": field.site_name,
                    "stain": appearance.stain,
                    "magnification": appearance.magnification,
                    "mask": mask,
                }
            )


def _summary(out: Path, settings: PhantomSettings, fields: list[PlannedField]) -> PhantomSummary:
    return PhantomSummary(
        folder=out,
        manifest=out / MANIFEST_FILE,
        fields=len(fields),
        positive_fields=sum(field.positive for field in fields),
        patients=settings.patients,
        malignant_patients=len({field.patient for field in fields if field.malignant_patient}),
        cases=len({field.case_id for field in fields}),
        sites=len({field.site_name for field in fields}),
        seed=settings.seed,
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
