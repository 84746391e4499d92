"""The phantom cohort as a manifest that everything downstream reads."""

from __future__ import annotations

from pathlib import Path

from msht.cohort.manifest import counts_of, read_manifest, write_manifest
from msht.cohort.phantom import make_phantom
from pipelines.progress import Progress, Silent, stage

CARD = "phantom"


def draw_phantom(
    out: Path,
    *,
    patients: int = 24,
    fields_per_patient: int = 10,
    sites: int = 3,
    width: int = 512,
    height: int = 384,
    seed: int = 517,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Draw the cohort, and declare beside its manifest which data card it has.

    Args:
        out: folder; it must not exist, be empty, or hold this very phantom.
        patients: half of them malignant.
        fields_per_patient: of each.
        sites: that differ in stain and camera.
        width: of a field in px.
        height: of a field in px.
        seed: of everything.
        progress: who listens.

    Returns:
        Counts of images, classes, patients, cases and sites.

    Raises:
        InvalidInput: if a number is impossible or the folder holds something else.
    """
    with stage(progress or Silent(), "Drawing fields", patients * fields_per_patient) as steps:
        summary = make_phantom(
            out,
            patients=patients,
            fields_per_patient=fields_per_patient,
            sites=sites,
            width=width,
            height=height,
            seed=seed,
            on_progress=steps.at,
        )
    manifest = read_manifest(summary.manifest)
    write_manifest(
        type(manifest)(manifest.frame, manifest.root, manifest.digest, card=CARD),
        summary.manifest,
        notes={"source": "phantom", "seed": seed},
        own=True,
    )
    return counts_of(manifest.frame)
