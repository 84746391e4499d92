"""What is looked at and said before a cohort is split: where its images are, what may part it, what the audit knows."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from msht.cohort.alike import alike_in_words, ids_alike
from msht.cohort.manifest import Manifest
from msht.cohort.roles import without_value
from msht.cohort.splits import SPLIT_COLUMNS
from msht.cohort.tables import read_table
from msht.errors import InvalidInput
from msht.files import inside, read_json, sha256_of
from pipelines.progress import Progress, Silent, stage


def say_where(root: Path, manifest_file: Path, progress: Progress) -> None:
    """Say which folder the images are read from, where that is not below the manifest's own."""
    if not root.is_relative_to(manifest_file.parent.resolve()):
        progress.say(f"The images are read from {root}.")


def warn(frame: pd.DataFrame, chosen: tuple[tuple[str, str], str] | None, progress: Progress) -> None:
    """Say what may part one patient, or leave rows in the development role that no one meant to be there."""
    replaced = [column for column in SPLIT_COLUMNS if column in frame]
    if replaced:
        names = " and ".join(f"'{column}'" for column in replaced)
        progress.say(
            f"Warning: the manifest's own {names} {'is' if len(replaced) == 1 else 'are'} replaced by the split's. A "
            "test role that stands there is taken over with --test-where role=VALUE."
        )
    for column, sets in ids_alike(frame).items():
        progress.say(f"Warning: {alike_in_words(column, sets)} If they are one, mend the manifest: they may be parted.")
    if chosen is not None and (number := without_value(frame, chosen[0])):
        rows = "1 row says" if number == 1 else f"{number} rows say"
        progress.say(f"Warning: {rows} nothing in '{chosen[0][0]}' and {'is' if number == 1 else 'are'} development.")


def hold_against_audit(audit: Path, digests: Mapping[str, str], progress: Progress) -> None:
    """Refuse files that are not those that were audited, and say what the audit found to be mended.

    Raises:
        InvalidInput: if an image changed since, or could not be read then; its copies were never searched for.
    """
    from pipelines.audit_findings import MUST
    from pipelines.audit_result import AUDIT_FILE, MEASUREMENTS

    measured = audit / f"{MEASUREMENTS}.parquet"
    table = read_table(measured)
    if not {"image", "sha256"} <= set(table.columns):
        raise InvalidInput(f"{measured} does not hold what an audit measures.", "Run `msht cohort audit` again.")
    seen = dict(zip(table["image"], table["sha256"], strict=True))
    unseen = [image for image in digests if pd.isna(seen.get(image))]
    if unseen:
        raise InvalidInput(
            f"'{unseen[0]}' can be read now, but the audit in {audit} has not seen it ({len(unseen)} such images): "
            "its copies were never searched for.",
            "Run `msht cohort audit` again.",
        )
    changed = [image for image, digest in digests.items() if seen[image] != digest]
    if changed:
        raise InvalidInput(
            f"'{changed[0]}' changed since the audit in {audit} ({len(changed)} such images), which has not seen it.",
            "Run `msht cohort audit` again.",
        )
    found = read_json(audit / AUDIT_FILE, what="audit").get("by_severity", {}).get(MUST, 0)
    if found:
        progress.say(
            f"Warning: the audit found {found} {'thing' if found == 1 else 'things'} that must be mended, and they go "
            f"into the split as they are: see {audit / 'findings.csv'}."
        )


def check_audited(audit: Path, manifest: Manifest, progress: Progress | None = None) -> None:
    """Read every image of a manifest once, to refuse those that are not the files that were audited.

    Raises:
        InvalidInput: naming the first.
    """
    progress = progress or Silent()
    hold_against_audit(audit, digest_files(manifest, progress), progress)


def digest_files(manifest: Manifest, progress: Progress) -> dict[str, str]:
    """Read every image of a manifest once: its SHA-256, by its path."""
    images = list(manifest.frame["image"])
    digests = {}
    with stage(progress, "Reading files", len(images)) as steps, ThreadPoolExecutor(max_workers=4) as pool:
        for image, digest in zip(
            images, pool.map(lambda image: sha256_of(inside(manifest.root, image)), images), strict=True
        ):
            digests[image] = digest
            steps.advance()
    return digests
