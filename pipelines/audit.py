"""The audit: what is wrong with a cohort, found before it can reach a model.

One pass over the images in worker processes, then a search for copies, then rules on what was measured. The
folder holds patients' ids, as the manifest does; nothing of it goes anywhere else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msht.errors import InvalidInput
from pipelines.audit_result import (
    AUDIT_FILE,
    FINDINGS_FILE,
    KIND,
    MEASUREMENTS,
    REPORT_FILE,
    SCHEMA,
    AuditResult,
    read_audit,
)
from pipelines.progress import Interrupted, Progress, Silent, stage

__all__ = ["AuditResult", "audit_cohort", "read_audit"]

EXAMPLES = 20
"""Images that `audit.json` names for each kind of finding; `findings.csv` names all."""

MOST_WORKERS = 16


def audit_cohort(
    manifest_file: Path,
    *,
    out: Path,
    images: Path | None = None,
    workers: int | None = None,
    report: bool = True,
    progress: Progress | None = None,
    created: datetime | None = None,
) -> dict[str, Any]:
    """Look at every image of a cohort; a stopped audit goes on where it was.

    Writes `findings.csv`, `images.parquet` and `images.csv` (the measurements), `audit.pdf`, and last `audit.json`:
    where it is, the audit is finished. What an earlier audit left there is removed before.

    Args:
        manifest_file: of the cohort; its images may be missing, which is a finding.
        out: folder of the result.
        images: folder of the images, if they moved.
        workers: processes; None: as many as there are cores, at most 16.
        report: whether to write the PDF.
        progress: who listens.
        created: time of the report; None: now.

    Returns:
        What `audit.json` holds.

    Raises:
        InvalidInput: if the manifest cannot be used, `workers` is below 1, or `out` holds something else.
        Interrupted: on Ctrl-C; what was measured is kept.
    """
    from msht.cohort.manifest import beside, build_manifest, images_folder
    from msht.cohort.tables import read_table
    from msht.files import write_json
    from pipelines.audit_copies import COMPARED, exact_pairs, near_pairs, search
    from pipelines.audit_findings import all_findings, findings_table
    from pipelines.audit_parts import MEASURED, Parts, measure_all, open_folder
    from pipelines.audit_shortcut import shortcut_baselines
    from pipelines.cohort_checks import say_where

    progress = progress or Silent()
    if workers is not None and workers < 1:
        raise InvalidInput(f"--workers is {workers}.", "Give 1 or more.")
    manifest = build_manifest(
        read_table(manifest_file),
        images_folder(manifest_file, images),
        source=manifest_file.name,
        card=beside(manifest_file).get("card"),
        check_images=False,
    )
    open_folder(out, AUDIT_FILE)
    frame = manifest.frame
    _refuse_another_cohort(out, manifest, progress)
    say_where(manifest.root, manifest_file, progress)
    processes = workers or min(MOST_WORKERS, os.cpu_count() or 1)
    try:
        with stage(progress, "Looking at images", len(frame)) as steps:
            tasks = [(str(name), manifest.root / str(name)) for name in frame["image"]]
            parts = Parts(out / "parts", "measured", MEASURED)
            measured = measure_all(tasks, parts, workers=processes, steps=steps)
        table = _joined(frame, measured)
        with stage(progress, "Searching for copies", 1) as steps:
            searched = search(table)
            steps.advance()
        if searched.approximate:
            progress.say(searched.in_words())
        with stage(progress, "Comparing pictures", len(searched.candidates)) as steps:
            parts = Parts(out / "parts", "compared", COMPARED)
            near = near_pairs(table, searched.candidates, manifest.root, parts, workers=processes, steps=steps)
        if near.unread:
            # Their names may hold a patient's; findings.csv has them.
            progress.say(
                f"Images that could not be read when they were to be compared: {len(near.unread):,}. "
                "The same command compares them again."
            )
        pairs = [*exact_pairs(table), *near.pairs]
        readable = table[table["trouble"].isna()].reset_index(drop=True)
        group = manifest.group_column
        with stage(progress, "Looking for shortcuts", 1) as steps:
            baselines = shortcut_baselines(readable, manifest.classes, readable[group] if group else None)
            steps.advance()
        findings = all_findings(table, pairs, baselines, manifest.classes, group, near.unread)
        result = _result(manifest, table, pairs, baselines, findings) | {"search": searched.as_dict()}
        _remove_old(out)
        _write_tables(out, table, findings_table(findings, table))
        if report:
            from pipelines.audit_report import report_audit

            with stage(progress, "Writing the PDF", 1) as steps:
                when = created or datetime.now(UTC).astimezone()
                report_audit(out / REPORT_FILE, result, table, findings, manifest, created=when)
                steps.advance()
        write_json(out / AUDIT_FILE, result)
    except KeyboardInterrupt as error:
        raise Interrupted(f"Stopped; what was looked at is kept. The same command goes on in {out}.") from error
    return result


def _refuse_another_cohort(out: Path, manifest: Any, progress: Progress) -> None:
    """Refuse a folder with the finished audit of other images; say that one of an earlier state is replaced.

    Raises:
        InvalidInput: if none of the images that were audited there is in this manifest.
    """
    from msht.cohort.tables import read_table

    file, measured = out / AUDIT_FILE, out / f"{MEASUREMENTS}.parquet"
    try:
        earlier = read_audit(out)
        there = set(read_table(measured)["image"])
    except (InvalidInput, KeyError):
        return  # none that is finished, or one of another version: nothing that could be lost
    if earlier.manifest_digest == manifest.digest:
        return
    shared = len(there & set(manifest.frame["image"]))
    if not shared:
        raise InvalidInput(
            f"{file} is the audit of another cohort: none of its {len(there):,} images is in this manifest.",
            "Choose another folder, or remove that one.",
        )
    progress.say(
        f"The audit in {out} was of another state of the manifest ({earlier.manifest_digest[:12]}; {shared:,} of its "
        f"{len(there):,} images are in this one); it is replaced."
    )


def _joined(frame: Any, measured: Any) -> Any:
    """The manifest with its measurements; a measurement that no image has is a column all the same."""
    import pandas as pd

    from pipelines.audit_measure import BACKGROUND, COLOURS, QUALITY

    clash = [column for column in measured.columns if column in frame and column != "image"]
    own = frame.rename(columns={column: f"manifest_{column}" for column in clash})
    table = pd.concat([own.reset_index(drop=True), measured.drop(columns="image")], axis=1)
    wanted = (
        "trouble", "trouble_words", "sha256", "bytes", "width", "height", "format", "mode", "orientation",
        "conversions", "jpeg_quality", "exif_tags", "has_profile", "dots_per_inch", "blank", "fingerprint",
        *QUALITY, *COLOURS, *BACKGROUND,
    )  # fmt: skip
    for column in wanted:
        if column not in table:
            table[column] = None
    table["bytes_per_pixel"] = pd.to_numeric(table["bytes"]) / (
        pd.to_numeric(table["width"]) * pd.to_numeric(table["height"])
    )
    return table


def _result(
    manifest: Any, table: Any, pairs: Sequence[Any], baselines: Sequence[Any], findings: Sequence[Any]
) -> dict[str, Any]:
    from msht import __version__
    from msht.cohort.manifest import counts_of
    from pipelines.audit_copies import groups_of_copies
    from pipelines.audit_findings import SEVERITIES
    from pipelines.audit_summary import balance, distributions, stains_by

    kinds = list(dict.fromkeys(finding.kind for finding in findings))
    of_kind = {kind: [finding for finding in findings if finding.kind == kind] for kind in kinds}
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "software": f"msht {__version__}",
        "manifest_digest": manifest.digest,
        "images": len(table),
        "readable": int(table["trouble"].isna().sum()),
        "counts": counts_of(manifest.frame, manifest.classes),
        "by_severity": {name: sum(f.severity == name for f in findings) for name in SEVERITIES},
        "by_kind": {kind: len(some) for kind, some in of_kind.items()},
        "findings": [
            {
                "kind": kind,
                "severity": some[0].severity,
                "count": len(some),
                "mend": some[0].mend,
                "examples": [{"image": f.image, "other": f.other, "words": f.words} for f in some[:EXAMPLES]],
            }
            for kind, some in of_kind.items()
        ],
        "pairs": [pair.as_dict() for pair in pairs],
        "groups_of_copies": len(groups_of_copies([str(i) for i in table["image"]], pairs)),
        "balance": balance(table, manifest.classes, manifest.group_column),
        "distributions": distributions(table),
        "stains": {by: stains_by(table, by) for by in ("label", "site") if by in table},
        "shortcuts": [baseline.as_dict() for baseline in baselines],
    }


def _remove_old(out: Path) -> None:
    """Take away an earlier result, first what says that it is whole: a kill must not leave old beside new."""
    for name in (AUDIT_FILE, REPORT_FILE, FINDINGS_FILE, f"{MEASUREMENTS}.csv", f"{MEASUREMENTS}.parquet"):
        (out / name).unlink(missing_ok=True)


def _write_tables(out: Path, table: Any, findings: Any) -> None:
    from msht.cohort.tables import harmless, write_table

    kept = table.drop(columns=["fingerprint", "stamp"], errors="ignore")
    write_table(kept, out / f"{MEASUREMENTS}.parquet")
    write_table(harmless(kept), out / f"{MEASUREMENTS}.csv")
    write_table(harmless(findings), out / FINDINGS_FILE)
