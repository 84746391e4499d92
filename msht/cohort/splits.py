"""The split: the manifest with a role and a fold for each row, in which no patient is ever on two sides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from msht.cohort.manifest import (
    CLASSES,
    GROUP_COLUMNS,
    Manifest,
    beside,
    build_manifest,
    counts_of,
    declared_root,
    digest_of,
    images_folder,
    read_table,
    require_both_classes,
    write_table,
)
from msht.errors import InvalidInput
from msht.files import read_json, write_json

LARGEST_SEED = 2**31
ROLES = ("development", "test")
DESCRIBED = ("digest", "folds", "grouped_by", "seed", "test_rule", "manifest_digest")
"""What a split's JSON file must say for the table to be read."""


@dataclass(frozen=True)
class Split:
    """A manifest in which every row has a role, and every development row a fold.

    Attributes:
        frame: the manifest's columns, `role` (development or test) and `fold` (1..k; missing for test rows).
        root: the folder of the images.
        folds: k.
        grouped_by: the column whose values never cross, or None where images were split one by one.
        seed: what the draw started from.
        test_rule: how the test role came about, in words.
        manifest_digest: digest of the manifest it was made from.
        digest: digest of the table with roles and folds.
        card: the manifest's data card.
    """

    frame: pd.DataFrame
    root: Path
    folds: int
    grouped_by: str | None
    seed: int
    test_rule: str
    manifest_digest: str
    digest: str
    card: str | None = None

    @property
    def development(self) -> pd.DataFrame:
        """Rows that may shape the model."""
        return self.frame[self.frame["role"] == "development"].reset_index(drop=True)

    @property
    def test(self) -> pd.DataFrame:
        """Rows that choose nothing."""
        return self.frame[self.frame["role"] == "test"].reset_index(drop=True)

    @property
    def warning(self) -> str | None:
        """What every report must print about this split, if anything."""
        if self.grouped_by is None:
            return (
                "Split by image: no patient, case or slide is known, so images of one patient may lie on both sides "
                "and the figures may be inflated."
            )
        return None


def groups_of(frame: pd.DataFrame, grouped_by: str | None) -> pd.Series:
    """The group of each row: the value of the grouping column, or the image itself."""
    return frame[grouped_by or "image"].astype(str)


def cases_of(frame: pd.DataFrame) -> pd.Series:
    """The case of each row: `case_id`, else the patient, else the slide, else the image."""
    column = next((c for c in ("case_id", "patient_id", "slide_id") if c in frame), "image")
    return frame[column].astype(str)


def make_split(
    manifest: Manifest,
    *,
    folds: int = 5,
    test_fraction: float = 0.2,
    test_where: tuple[str, str] | None = None,
    seed: int = 517,
    by_image: bool = False,
) -> Split:
    """Draw the test role and the folds, stratified by label, with whole groups on one side.

    Args:
        manifest: the cohort.
        folds: number of development folds, at least 2.
        test_fraction: share of the images wanted in the test role, in (0, 0.5]; 1 / round(1 / fraction) is drawn.
        test_where: (column, value): these rows are the test role, and nothing is drawn.
        seed: of both draws; the order of the rows does not matter.
        by_image: accept a cohort without any group column.

    Raises:
        InvalidInput: if there is no group column, a group would lie on two sides, or the cohort is too small.

    Source: scikit-learn's StratifiedGroupKFold.
    """
    if folds < 2:
        raise InvalidInput(f"--folds is {folds}.", "Ask for at least 2 folds.")
    if not 0 <= seed <= LARGEST_SEED:
        raise InvalidInput(f"--seed is {seed}.", f"Give a whole number from 0 to {LARGEST_SEED}.")
    if not 0.005 <= test_fraction <= 0.5:
        raise InvalidInput(f"--test-fraction is {test_fraction}.", "Give a share from 0.005 to 0.5.")
    column = manifest.group_column
    if column is None and not by_image:
        raise InvalidInput(
            "The manifest has no patient_id, case_id or slide_id, so images of one patient could lie on both sides.",
            "Add one of these columns; or give --split-by-image, and every report will say so.",
        )
    frame = manifest.frame.drop(columns=[c for c in ("role", "fold") if c in manifest.frame])
    frame = frame.sort_values("image").reset_index(drop=True)
    require_both_classes(list(frame["label"]), where="The manifest")
    grouped_by = None if by_image and column is None else column
    groups = groups_of(frame, grouped_by)
    if test_where is None:
        is_test = _draw_test(frame, groups, test_fraction, seed, grouped_by)
        rule = f"drawn at random by {grouped_by or 'image'}, 1 in {round(1 / test_fraction)}"
    else:
        is_test = _chosen_test(frame, groups, test_where)
        rule = f"rows with {test_where[0]} = {test_where[1]}"
        if test_where[0] in {"image", *GROUP_COLUMNS}:  # the rule is printed and tracked: no identifier in it
            rule = f"rows chosen by {test_where[0]}"
    frame["role"] = pd.array(np.where(is_test, "test", "development"), dtype="string")
    frame["fold"] = pd.array([pd.NA] * len(frame), dtype="Int64")
    development = frame.index[~is_test]
    for number, held_out in enumerate(
        _fold_indices(frame.loc[development], groups.loc[development], folds, seed, grouped_by), start=1
    ):
        frame.loc[development[held_out], "fold"] = number
    split = Split(
        frame=frame,
        root=manifest.root,
        folds=folds,
        grouped_by=grouped_by,
        seed=seed,
        test_rule=rule,
        manifest_digest=manifest.digest,
        digest=digest_of(frame),
        card=manifest.card,
    )
    check_split(split)
    return split


def _draw_test(
    frame: pd.DataFrame, groups: pd.Series, fraction: float, seed: int, grouped_by: str | None
) -> np.ndarray:
    parts = max(2, round(1 / fraction))
    held_out = _fold_indices(frame, groups, parts, seed + 1, grouped_by)[0]
    is_test = np.zeros(len(frame), dtype=bool)
    is_test[held_out] = True
    return is_test


def _chosen_test(frame: pd.DataFrame, groups: pd.Series, where: tuple[str, str]) -> np.ndarray:
    column, value = where
    if column not in frame:
        raise InvalidInput(
            f"--test-where names the column '{column}', which the manifest lacks; it has {', '.join(frame.columns)}.",
            "Name one of these.",
        )
    is_test = (frame[column] == value).fillna(False).to_numpy(dtype=bool)
    if not is_test.any() or is_test.all():
        found = ", ".join(sorted(frame[column].dropna().unique())[:8])
        raise InvalidInput(
            f"--test-where {column}={value} fits {'every' if is_test.all() else 'no'} row; its values are {found}.",
            "Choose a value that some rows have.",
        )
    crossing = sorted(set(groups[is_test]) & set(groups[~is_test]))
    if crossing:
        raise InvalidInput(
            f"--test-where {column}={value} puts {len(crossing)} groups on both sides, '{crossing[0]}' first.",
            "Choose a column that keeps each patient together.",
        )
    return is_test


def _fold_indices(
    frame: pd.DataFrame, groups: pd.Series, folds: int, seed: int, grouped_by: str | None
) -> list[np.ndarray]:
    available = groups.nunique()
    word = {"patient_id": "patients", "case_id": "cases", "slide_id": "slides", None: "images"}[grouped_by]
    if available < folds:
        raise InvalidInput(
            f"There are {available} {word} for {folds} parts.", f"Ask for at most {available} or add {word}."
        )
    labels = (frame["label"] == CLASSES[1]).to_numpy()
    rarer = int(min(labels.sum(), (~labels).sum()))
    if rarer < folds:
        raise InvalidInput(
            f"The rarer class has {rarer} images for {folds} parts.",
            "Ask for fewer folds or add images of that class.",
        )
    splitter: StratifiedGroupKFold | StratifiedKFold
    if grouped_by is None:
        splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    else:
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return [held_out for _, held_out in splitter.split(frame, labels, groups if grouped_by else None)]


def check_split(split: Split) -> None:
    """Check that no group crosses, and that both classes are wherever they are needed.

    Raises:
        InvalidInput: naming the fold or role, and what to change.
    """
    proof = disjointness(split)
    if proof["groups_in_two_folds"] or proof["groups_in_two_roles"]:
        raise InvalidInput(
            f"{proof['groups_in_two_roles']} groups lie in both roles and {proof['groups_in_two_folds']} in two folds.",
            "Make the split again with `msht cohort split`.",
        )
    mend = "Ask for fewer folds, change --seed, or add patients of the missing class."
    parts = {f"Fold {n}": split.frame[split.frame["fold"] == n] for n in range(1, split.folds + 1)}
    for name, part in {**parts, "The test role": split.test}.items():
        missing = [label for label in CLASSES if label not in set(part["label"])]
        if missing:
            raise InvalidInput(f"{name} has no {' and no '.join(missing)} image.", mend)
        if name != "The test role" and groups_of(part, split.grouped_by).nunique() < 2:
            raise InvalidInput(f"{name} has a single {split.grouped_by or 'image'}.", mend)


def disjointness(split: Split) -> dict[str, int]:
    """Count what lies on two sides; all zero in a good split."""
    frame = split.frame.assign(group=groups_of(split.frame, split.grouped_by))
    development = frame[frame["role"] == "development"]
    return {
        "groups_in_two_roles": int((frame.groupby("group")["role"].nunique() > 1).sum()),
        "groups_in_two_folds": int((development.groupby("group")["fold"].nunique() > 1).sum()),
        "images_listed_twice": int(frame["image"].duplicated().sum()),
    }


def describe_split(split: Split) -> dict[str, Any]:
    """Plain values about a split: its rule, counts by role and fold, and the proof that nothing crosses."""
    return {
        "kind": "split",
        "classes": list(CLASSES),
        "folds": split.folds,
        "grouped_by": split.grouped_by,
        "seed": split.seed,
        "test_rule": split.test_rule,
        "manifest_digest": split.manifest_digest,
        "digest": split.digest,
        "card": split.card,
        "counts": {role: counts_of(split.frame[split.frame["role"] == role]) for role in ROLES},
        "counts_by_fold": {str(n): counts_of(split.frame[split.frame["fold"] == n]) for n in range(1, split.folds + 1)},
        "disjointness": disjointness(split),
        "warning": split.warning,
    }


def write_split(split: Split, path: Path) -> None:
    """Write the table and, beside it, the JSON file that describes and proves it."""
    write_table(split.frame, path)
    write_json(path.with_suffix(".json"), {"images": declared_root(split.root, path), **describe_split(split)})


def read_split(path: Path, *, images: Path | None = None, check_images: bool = True) -> Split:
    """Read a split that `write_split` wrote, and check it anew.

    Args:
        path: the table; its JSON file lies beside it.
        images: folder of the images, if they moved.
        check_images: whether each image must be there.

    Raises:
        InvalidInput: if it was changed by hand, or does not hold what a split must.
    """
    frame = read_table(path)
    description = read_json(path.with_suffix(".json"), what="description of the split")
    if (
        not isinstance(description, dict)
        or description.get("kind") != "split"
        or not {"role", "fold"} <= set(frame.columns)
    ):
        raise InvalidInput(
            f"{path} is not a split (it needs the columns role and fold, and its description beside it).",
            "Make one with `msht cohort split`.",
        )
    lacking = [name for name in DESCRIBED if name not in description]
    if lacking:
        raise InvalidInput(
            f"{path.with_suffix('.json')} does not say {', '.join(lacking)}.",
            "Make the split again with `msht cohort split`.",
        )
    manifest = build_manifest(
        frame.drop(columns=["role", "fold"]),
        _root_of(path, images, check_images),
        source=path.name,
        check_images=check_images,
    )
    wrong = frame.index[~frame["fold"].str.fullmatch(r"\d{1,9}(\.0)?", na=True)]
    if len(wrong):
        raise InvalidInput(
            f"{path.name}, row {wrong[0] + 2}: fold '{frame.loc[wrong[0], 'fold']}' is not a whole number.",
            "Make the split again with `msht cohort split`.",
        )
    whole = manifest.frame.assign(role=frame["role"], fold=pd.to_numeric(frame["fold"]).astype("Int64"))
    if digest_of(whole) != description["digest"]:
        raise InvalidInput(
            f"{path} no longer has the digest in {path.with_suffix('.json').name}: it was changed after it was made.",
            "Make the split again with `msht cohort split`.",
        )
    split = Split(
        frame=whole,
        root=manifest.root,
        folds=int(description["folds"]),
        grouped_by=description["grouped_by"],
        seed=int(description["seed"]),
        test_rule=description["test_rule"],
        manifest_digest=description["manifest_digest"],
        digest=description["digest"],
        card=description.get("card"),
    )
    check_split(split)
    return split


def _root_of(path: Path, images: Path | None, check_images: bool) -> Path:
    if check_images:
        return images_folder(path, images)
    return images or path.parent / beside(path).get("images", ".")
