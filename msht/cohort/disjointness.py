"""The proof that nothing lies on two sides of a split: counted from its table, never asserted."""

from __future__ import annotations

from typing import Final

import pandas as pd

NOT_SEARCHED: Final = "not searched"
FILE_COLUMN = "file_sha256"
"""SHA-256 of each image file when the split was made."""
DUPLICATE_COLUMN = "duplicate_set"
"""Number of the set of copies and near-duplicates that an image belongs to."""
SENTENCES = {
    "groups_in_two_roles": "groups lie in both roles",
    "groups_in_two_folds": "groups lie in two folds",
    "images_listed_twice": "images are listed twice",
    "files_in_two_roles": "files lie in both roles under different names",
    "files_in_two_folds": "files lie in two folds under different names",
    "near_duplicates_in_two_roles": "sets of near-duplicates lie in both roles",
    "near_duplicates_in_two_folds": "sets of near-duplicates lie in two folds",
}
"""What each count means, after the number."""


def count_crossings(frame: pd.DataFrame, groups: pd.Series, *, audited: bool) -> dict[str, int | str]:
    """Count what lies on two sides.

    Args:
        frame: a split's table: `image`, `role`, `fold`, and `file_sha256` and `duplicate_set` where they are known.
        groups: of each row.
        audited: whether near-duplicates were searched for.

    Returns:
        A number, or "not searched", for each of `SENTENCES`.
    """
    files = frame.get(FILE_COLUMN)
    near = frame.get(DUPLICATE_COLUMN) if audited else None
    return {
        "groups_in_two_roles": _crossing(groups, frame["role"]),
        "groups_in_two_folds": _crossing(groups, frame["fold"]),
        "images_listed_twice": int(frame["image"].duplicated().sum()),
        "files_in_two_roles": NOT_SEARCHED if files is None else _crossing(files, frame["role"]),
        "files_in_two_folds": NOT_SEARCHED if files is None else _crossing(files, frame["fold"]),
        "near_duplicates_in_two_roles": NOT_SEARCHED if near is None else _crossing(near, frame["role"]),
        "near_duplicates_in_two_folds": NOT_SEARCHED if near is None else _crossing(near, frame["fold"]),
    }


def _crossing(kept_together: pd.Series, sides: pd.Series) -> int:
    """How many values of one column lie on two values of another; missing values of either do not count."""
    return int((sides.groupby(kept_together).nunique() > 1).sum())


def count_duplicates(frame: pd.DataFrame, groups: pd.Series) -> dict[str, int]:
    """How many copies and near-duplicates were kept together, and how many sets of them joined several groups.

    Args:
        frame: a split's table.
        groups: of each row.
    """
    if DUPLICATE_COLUMN not in frame:
        return {"images": 0, "sets": 0, "sets_in_several_groups": 0}
    sets = frame[DUPLICATE_COLUMN].dropna()
    several = groups[sets.index].groupby(sets).nunique() > 1
    return {"images": len(sets), "sets": int(sets.nunique()), "sets_in_several_groups": int(several.sum())}


def crossings_in_words(counts: dict[str, int | str]) -> str:
    """Each count that is not zero; empty where all are."""
    return ", ".join(f"{n} {SENTENCES[name]}" for name, n in counts.items() if isinstance(n, int) and n)


def proof_in_words(counts: dict[str, int | str], audit_digest: str | None, sets: int) -> str:
    """What was compared between folds and roles, and what was found, for a report.

    Args:
        counts: of `count_crossings`.
        audit_digest: of the audit that searched for near-duplicates.
        sets: of copies and near-duplicates that were kept together.
    """
    if crossing := crossings_in_words(counts):
        return f"Not disjoint: {crossing}."
    when = (
        ", compared when the networks were trained and tested" if counts["files_in_two_roles"] == NOT_SEARCHED else ""
    )
    files = f"No file lies in two folds or in both roles (SHA-256{when})"
    if audit_digest is None:
        return f"{files}; near-duplicates were not searched for."
    kept = f"{sets} set{'' if sets == 1 else 's'} of them kept together" if sets else "none were found"
    return f"{files}, and no near-duplicate that the audit {audit_digest[:12]} found does ({kept})."
