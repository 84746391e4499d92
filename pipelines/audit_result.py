"""What an audit left on disk, read back by the commands that build on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from msht.errors import InvalidInput
from msht.files import quoted, read_json, sha256_of

AUDIT_FILE = "audit.json"
FINDINGS_FILE = "findings.csv"
REPORT_FILE = "audit.pdf"
MEASUREMENTS = "images"
"""The table of measurements, as Parquet and as CSV."""

KIND = "audit"
SCHEMA = 3
"""Raised whenever `audit.json` means something else than before."""


@dataclass(frozen=True)
class AuditResult:
    """The part of an audit that a split and a data card rest on."""

    folder: Path
    """Where the audit lies."""
    manifest_digest: str
    """Digest of the manifest that was audited."""
    digest: str
    """SHA-256 of `audit.json`."""
    pairs: tuple[tuple[str, str], ...]
    """Images that are one picture, exactly or nearly, by the manifest's paths."""


def read_audit(folder: Path) -> AuditResult:
    """Read what `msht cohort audit` wrote.

    Args:
        folder: the `--out` of the audit.

    Raises:
        InvalidInput: if there is no finished audit, or it was written by another version.
    """
    file = folder / AUDIT_FILE
    if not file.is_file():
        raise InvalidInput(
            f"{folder} holds no finished audit ({AUDIT_FILE} is not there).",
            f"Make one with `msht cohort audit MANIFEST --out {quoted(folder)}`.",
        )
    found = read_json(file, what="audit")
    again = "Run `msht cohort audit` again."
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise InvalidInput(f"{file} is not the record of an audit.", again)
    if found.get("schema") != SCHEMA:
        raise InvalidInput(f"{file} was written by another version of the audit.", again)
    try:
        pairs = tuple((str(pair["first"]), str(pair["second"])) for pair in found["pairs"])
        manifest_digest = str(found["manifest_digest"])
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"{file} is damaged: {error} is missing or of another kind.", again) from error
    return AuditResult(folder=folder, manifest_digest=manifest_digest, digest=sha256_of(file), pairs=pairs)
