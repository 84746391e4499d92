"""The audit: every image decoded whole, and copies found before they can reach a model."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from msht.cohort.manifest import Manifest, counts_of, read_manifest, write_table
from msht.errors import InvalidInput, UnreadableImage
from msht.files import inside, write_json
from msht.images.quality import QualityGate, measure_quality
from msht.images.reading import read_image
from pipelines.audit_result import KIND, SCHEMA, AuditResult, read_audit
from pipelines.progress import Progress, Silent, stage

__all__ = ["AuditResult", "audit_cohort", "read_audit"]


def audit_cohort(
    manifest_file: Path, *, out: Path, images: Path | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Decode every image and write `audit.json` and `findings.csv`.

    A finding is an image that cannot be decoded whole or shows nothing, a file that is there twice, one under two
    labels, or one in two patients.

    Args:
        manifest_file: of the cohort.
        out: folder of the result.
        images: folder of the images, if they moved.
        progress: who listens.

    Returns:
        What `audit.json` holds.

    Raises:
        InvalidInput: if the manifest cannot be used.
    """
    manifest = read_manifest(manifest_file, images=images)
    if out.is_file():
        raise InvalidInput(f"{out} is a file.", "Give a folder.")
    frame = manifest.frame
    with (
        stage(progress or Silent(), "Auditing images", len(frame)) as steps,
        ThreadPoolExecutor(max_workers=4) as pool,
    ):
        facts = []
        for fact in pool.map(lambda image: _look(manifest, image), frame["image"]):
            facts.append(fact)
            steps.advance()
    table = pd.concat([frame.reset_index(drop=True), pd.DataFrame(facts)], axis=1)
    findings = pd.DataFrame(
        [*_unreadable(table), *_blank(table), *_copies(table)], columns=["kind", "image", "other", "words"]
    )
    result = {
        "kind": KIND,
        "schema": SCHEMA,
        "manifest_digest": manifest.digest,
        "images": len(frame),
        "counts": counts_of(frame),
        "sizes": _common(table, "size"),
        "formats": _common(table, "format"),
        "by_kind": {str(k): int(v) for k, v in findings["kind"].value_counts().items()},
        "pairs": [
            {"first": row.image, "second": row.other, "kind": "exact"}
            for row in findings.itertuples()
            if str(row.kind).startswith("copy")
        ],
        "findings": findings.to_dict("records"),
    }
    write_table(findings, out / "findings.csv")
    write_json(out / "audit.json", result)
    return result


def _look(manifest: Manifest, image: str) -> dict[str, Any]:
    try:
        decoded = read_image(inside(manifest.root, image))
    except UnreadableImage as error:
        return {"sha256": None, "size": None, "format": None, "trouble": error.problem, "blank": False}
    record = decoded.record
    return {
        "sha256": record.sha256,
        "size": f"{record.width} x {record.height}",
        "format": record.format,
        "trouble": None,
        "blank": bool(QualityGate().judge(measure_quality(decoded.pixels))),
    }


def _common(table: pd.DataFrame, column: str) -> dict[str, int]:
    return {str(k): int(v) for k, v in table[column].value_counts().head(20).items()}


def _unreadable(table: pd.DataFrame) -> Iterable[tuple[str, str, str, str]]:
    for row in table[table["trouble"].notna()].itertuples():
        yield ("unreadable", str(row.image), "", str(row.trouble))


def _blank(table: pd.DataFrame) -> Iterable[tuple[str, str, str, str]]:
    for row in table[table["blank"]].itertuples():
        yield ("blank", str(row.image), "", "The image shows no structure.")


def _copies(table: pd.DataFrame) -> Iterable[tuple[str, str, str, str]]:
    for _, same in table[table["sha256"].notna()].groupby("sha256"):
        first, *others = same.to_dict("records")
        for other in others:
            kind, words = "copy", "The same file is there twice."
            if other["label"] != first["label"]:
                kind, words = "copy under two labels", f"One file is {first['label']} and {other['label']}."
            elif other.get("patient_id") != first.get("patient_id"):
                kind, words = "copy in two patients", "One file belongs to two patients."
            yield (kind, str(first["image"]), str(other["image"]), words)
