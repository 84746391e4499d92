"""The split: the manifest with a role and a fold for each row, in which no patient is ever on two sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msht.cohort.disjointness import (
    DUPLICATE_COLUMN,
    FILE_COLUMN,
    count_crossings,
    count_duplicates,
    crossings_in_words,
    proof_in_words,
)
from msht.cohort.drawing import (
    Balance,
    Pair,
    balance_of,
    check_parts,
    check_settings,
    check_size,
    draw_parts,
    duplicate_sets,
    merge_groups,
    share_of_test,
)
from msht.cohort.manifest import (
    CLASSES,
    GROUP_COLUMNS,
    Manifest,
    build_manifest,
    classes_of,
    counts_of,
    declared_images,
    declared_root,
    digest_of,
    images_folder,
    require_two_classes,
    write_described,
)
from msht.cohort.roles import choose_test, chosen_test, copies_of, refuse_crossing_pairs
from msht.cohort.tables import read_table
from msht.errors import InvalidInput
from msht.files import read_json

ROLES = ("development", "test")
SPLIT_COLUMNS = ("role", "fold", FILE_COLUMN, DUPLICATE_COLUMN)
"""What a split adds to its manifest; the last two only where they are known."""
UNITS = {"patient_id": "patients", "case_id": "cases", "slide_id": "slides", None: "images"}
"""What a group is, in the plural, by the column that a split is grouped by."""
FEW_TEST_GROUPS = 10
"""Groups with images of a class in the test role below which an estimate hardly means anything."""
DESCRIBED = ("digest", "folds", "grouped_by", "seed", "test_rule", "manifest_digest")
"""What a split's JSON file must say for the table to be read."""


@dataclass(frozen=True)
class Split:
    """A manifest in which every row has a role, and every development row a fold.

    Attributes:
        frame: the manifest's columns, `role` (development or test) and `fold` (1..k; missing for test rows);
            `file_sha256` and `duplicate_set` (number of the set of copies that an image belongs to) where known.
        root: the folder of the images.
        folds: k.
        grouped_by: the column whose values never cross, or None where images were split one by one.
        seed: what the draw started from.
        test_rule: how the test role came about, in words.
        manifest_digest: digest of the manifest it was made from.
        digest: digest of the table with roles and folds.
        card: the manifest's data card.
        audit_digest: digest of the audit whose near-duplicates were kept together; None: there was none.
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
    audit_digest: str | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in order, as a manifest's."""
        return classes_of(self.frame["label"])

    @property
    def balance(self) -> Balance:
        """How far the folds are from each other."""
        development = self.development
        return balance_of(development["label"], development["fold"])

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
        if self.grouped_by != "patient_id":
            unit = UNITS[self.grouped_by]
            return f"Split by {unit[:-1]}: no patient is known, so {unit} of one patient may lie on both sides."
        return None

    @property
    def warnings(self) -> tuple[str, ...]:
        """All that is to be said of this split: how it is grouped, its balance, and a test role that says little."""
        found = [self.warning] if self.warning else []
        found += self.balance.warnings
        groups = groups_of(self.test, self.grouped_by)
        few = {name: groups[self.test["label"] == name].nunique() for name in self.classes}
        few = {name: number for name, number in few.items() if number < FEW_TEST_GROUPS}
        if few:
            counted = ", ".join(f"{name}: {number}" for name, number in few.items())
            found.append(
                f"The test role has few {UNITS[self.grouped_by]} with images of a class ({counted}): intervals will be "
                "wide."
            )
        return tuple(found)


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
    hold_out_site: str | None = None,
    seed: int = 517,
    by_image: bool = False,
    same: Sequence[Pair] = (),
    audit_digest: str | None = None,
    file_digests: Mapping[str, str] | None = None,
) -> Split:
    """Draw the test role and the folds, stratified by label, with whole groups on one side.

    Args:
        manifest: the cohort.
        folds: number of development folds, at least 2.
        test_fraction: share of the images wanted in the test role, in (0, 0.5]; see `share_of_test` for what is drawn.
        test_where: (column, value): these rows are the test role, and nothing is drawn.
        hold_out_site: the rows of this site are the test role.
        seed: of both draws; the order of the rows does not matter.
        by_image: accept a cohort without any group column.
        same: pairs of images that are copies or near-duplicates; their groups are merged.
        audit_digest: of the audit that found these pairs.
        file_digests: SHA-256 of each image's file; files that are the same are merged too.

    Raises:
        InvalidInput: if there is no group column, a group or a pair would lie on two sides, or the cohort is too
            small.

    Source: scikit-learn's StratifiedGroupKFold.
    """
    check_settings(folds, seed, test_fraction)
    chosen = chosen_test(manifest.frame, test_where, hold_out_site)
    column = manifest.group_column
    if column is None and not by_image:
        raise InvalidInput(
            "The manifest has no patient_id, case_id or slide_id, so images of one patient could lie on both sides.",
            "Add one of these columns; or give --split-by-image, and every report will say so.",
        )
    whole = manifest.frame.sort_values("image").reset_index(drop=True)
    frame = whole.drop(columns=[c for c in SPLIT_COLUMNS if c in whole])
    require_two_classes(list(frame["label"]), where="The manifest")
    copies = [] if file_digests is None else copies_of(frame["image"], file_digests)
    pairs = sorted({(min(pair), max(pair)) for pair in (*same, *copies)})
    groups = groups_of(frame, column)
    merged = merge_groups(groups, frame["image"], pairs)
    alone = column is None and not pairs  # every image by itself: a plain stratified draw is better balanced
    if chosen is None:
        share = share_of_test(test_fraction, frame["label"], merged)
        check_size(frame["label"], merged, folds=folds, test=share, unit=UNITS[column])
        is_test = np.zeros(len(frame), dtype=bool)
        parts = draw_parts(frame["label"], None if alone else merged, share.denominator, seed + 1)
        is_test[np.concatenate(parts[: share.numerator])] = True
        rule = f"drawn at random by {column or 'image'}, {share.numerator} in {share.denominator}"
    else:
        where, option = chosen
        is_test = choose_test(whole, groups, where, option)
        refuse_crossing_pairs(frame, is_test, pairs, set(copies), option)
        rule = f"rows with {where[0]} = {where[1]}" if hold_out_site is None else f"site {where[1]} held out"
        if where[0] in {"image", *GROUP_COLUMNS}:  # the rule is printed and tracked: no identifier in it
            rule = f"rows chosen by {where[0]}"
    development = frame.index[~is_test]
    labels, kept = frame.loc[development, "label"], merged.loc[development]
    check_size(labels, kept, folds=folds, test=None, unit=UNITS[column])
    frame["role"] = pd.array(np.where(is_test, "test", "development"), dtype="string")
    frame["fold"] = pd.array([pd.NA] * len(frame), dtype="Int64")
    for number, held_out in enumerate(draw_parts(labels, None if alone else kept, folds, seed), start=1):
        frame.loc[development[held_out], "fold"] = number
    if file_digests is not None:
        frame[FILE_COLUMN] = pd.array([file_digests[image] for image in frame["image"]], dtype="string")
    if pairs or audit_digest is not None:
        frame[DUPLICATE_COLUMN] = duplicate_sets(frame["image"], pairs)
    split = Split(
        frame=frame,
        root=manifest.root,
        folds=folds,
        grouped_by=column,
        seed=seed,
        test_rule=rule,
        manifest_digest=manifest.digest,
        digest=digest_of(frame),
        card=manifest.card,
        audit_digest=audit_digest,
    )
    check_split(split)
    return split


def check_split(split: Split) -> None:
    """Check that nothing crosses, and that all classes are wherever they are needed.

    Raises:
        InvalidInput: naming the fold or role, and what to change.
    """
    crossing = crossings_in_words(disjointness(split))
    if crossing:
        raise InvalidInput(f"The split is not disjoint: {crossing}.", "Make it again with `msht cohort split`.")
    groups = groups_of(split.frame, split.grouped_by)
    check_parts(split.frame, groups, folds=split.folds, classes=split.classes, unit=UNITS[split.grouped_by])


def require_binary(split: Split) -> None:
    """Refuse a split of several classes, which no recipe trains on.

    Raises:
        InvalidInput: saying how to make two classes of them.
    """
    if split.classes != CLASSES:
        raise InvalidInput(
            f"The split has the classes {', '.join(split.classes)}, but a recipe trains on {' and '.join(CLASSES)}.",
            "Import the cohort again with --positive NAME, once for each class that is positive, and split it again.",
        )


def refuse_changed(frame: pd.DataFrame, digests: Mapping[str, str]) -> None:
    """Refuse images that are not the files that were split: whether they lie on two sides was never looked at.

    Args:
        frame: rows of a split's table; one of the first versions, without `file_sha256`, is taken as it is.
        digests: SHA-256 of each image's file as it is now.

    Raises:
        InvalidInput: naming the first image.
    """
    if FILE_COLUMN not in frame:
        return
    now = frame["image"].map(digests)
    changed = frame.loc[(now != frame[FILE_COLUMN]) & frame[FILE_COLUMN].notna(), "image"].tolist()
    if changed:
        raise InvalidInput(
            f"'{changed[0]}' is another file than when the cohort was split ({len(changed)} such images).",
            "Bring the old files back; or audit and split again, and train anew.",
        )


def disjointness(split: Split) -> dict[str, int | str]:
    """Count what lies on two sides; all zero in a good split, or "not searched" where nobody looked."""
    groups = groups_of(split.frame, split.grouped_by)
    return count_crossings(split.frame, groups, audited=split.audit_digest is not None)


def disjointness_in_words(split: Split) -> str:
    """What was compared between folds and roles, and what was found, for a report."""
    sets = count_duplicates(split.frame, groups_of(split.frame, split.grouped_by))["sets"]
    return proof_in_words(disjointness(split), split.audit_digest, sets)


def describe_split(split: Split) -> dict[str, Any]:
    """Plain values about a split: its rule, counts by role and fold, and the proof that nothing crosses."""
    frame = split.frame
    return {
        "kind": "split",
        "classes": list(split.classes),
        "folds": split.folds,
        "grouped_by": split.grouped_by,
        "seed": split.seed,
        "test_rule": split.test_rule,
        "manifest_digest": split.manifest_digest,
        "audit_digest": split.audit_digest,
        "digest": split.digest,
        "card": split.card,
        "counts": {role: counts_of(frame[frame["role"] == role], split.classes) for role in ROLES},
        "counts_by_fold": {
            str(n): counts_of(frame[frame["fold"] == n], split.classes) for n in range(1, split.folds + 1)
        },
        "balance": {**asdict(split.balance), "warnings": list(split.balance.warnings)},
        "disjointness": disjointness(split),
        "duplicates": count_duplicates(frame, groups_of(frame, split.grouped_by)),
        "warning": split.warning,
    }


def write_split(split: Split, path: Path) -> None:
    """Write the table and, beside it, the JSON file that describes and proves it."""
    write_described(split.frame, path, {**declared_root(split.root, path), **describe_split(split)})


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
    root = images_folder(path, images) if check_images else images or declared_images(path)
    manifest = build_manifest(
        frame.drop(columns=[c for c in SPLIT_COLUMNS if c in frame]), root, source=path.name, check_images=check_images
    )
    wrong = frame.index[~frame["fold"].str.fullmatch(r"\d{1,9}(\.0)?", na=True)]
    if len(wrong):
        raise InvalidInput(
            f"{path.name}, row {wrong[0] + 2}: fold '{frame.loc[wrong[0], 'fold']}' is not a whole number.",
            "Make the split again with `msht cohort split`.",
        )
    whole = manifest.frame.assign(role=frame["role"], fold=pd.to_numeric(frame["fold"]).astype("Int64"))
    for column in (FILE_COLUMN, DUPLICATE_COLUMN):
        if column in frame:  # splits made before these columns existed are read all the same
            whole[column] = frame[column]
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
        audit_digest=description.get("audit_digest"),
    )
    check_split(split)
    return split
