"""From folders and tables to a manifest, and from a manifest to a split."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from msht.cohort.manifest import (
    CLASSES,
    Manifest,
    build_manifest,
    counts_of,
    read_manifest,
    read_table,
    refuse_to_overwrite,
    require_both_classes,
    write_manifest,
)
from msht.cohort.splits import Split, describe_split, make_split, write_split
from msht.errors import InvalidInput
from msht.files import inside
from msht.images.reading import is_image_path

GUESSES = {
    "image": ("image", "file", "filename", "file_name", "path", "image_path"),
    "label": ("label", "class", "diagnosis_label"),
    "patient_id": ("patient_id", "patient"),
    "case_id": ("case_id", "case"),
    "slide_id": ("slide_id", "slide"),
}


@dataclass(frozen=True)
class Imported:
    """What an import gave."""

    manifest: Manifest
    out: Path
    counts: dict[str, int]
    skipped: dict[str, int]


def import_cohort(
    source: Path,
    *,
    out: Path,
    images: Path | None = None,
    columns: Mapping[str, str | None] | None = None,
    patterns: Mapping[str, str | None] | None = None,
    labels: Sequence[str] = (),
    positive: str | None = None,
    card: str | None = None,
) -> Imported:
    """Make a manifest from class folders, or from a table beside a folder of images.

    Args:
        source: a folder with a folder per class, or a CSV, TSV or Parquet table.
        out: the manifest, .csv or .parquet.
        images: folder that the table's paths start from; None: the table's own.
        columns: name of the table's column for `image`, `label`, `patient_id`, `case_id`, `slide_id`; None: guessed.
        patterns: regular expression for `patient_id`, `case_id`, `slide_id`; its first group in the file name is
            the id.
        labels: `NAME=positive` or `NAME=negative`, for labels that are named otherwise.
        positive: the label that is positive, all others being negative.
        card: name or path of a data card.

    Raises:
        InvalidInput: naming the file, row and column; nothing is written then.
    """
    refuse_to_overwrite(out, source)
    if not source.exists():
        raise InvalidInput(f"{source} does not exist.", "Give a folder of class folders, or a table.")
    skipped: dict[str, int] = {}
    if source.is_dir() and (images is not None or any((columns or {}).values())):
        raise InvalidInput(
            f"--images and the column options are for a table, but {source} is a folder.", "Leave them out."
        )
    if source.is_dir():
        frame, root = _from_folders(source, skipped), source
    else:
        frame, root = _from_table(source, columns or {}), images or source.parent
        if not root.is_dir():
            raise InvalidInput(f"The folder of images {root} does not exist.", "Give its place with --images.")
    for column in ("image", "label"):
        if column not in frame:
            hint = " It looks separated by semicolons; save it with commas." if ";" in str(frame.columns[0]) else ""
            raise InvalidInput(
                f"{source.name} has no column '{column}'; it has {', '.join(map(str, frame.columns))}.{hint}",
                f"Name the column with --{column}-column.",
            )
    for column, pattern in (patterns or {}).items():
        if pattern is not None:
            frame[column] = _by_pattern(frame["image"], pattern, column)
    for column in ("label", "patient_id", "case_id", "slide_id"):
        if column in frame:  # "P1 " and "P1" are one patient, and must not become two
            frame[column] = frame[column].str.strip()
    frame["label"] = _mapped(frame["label"], labels, positive)
    _check_card(card)
    manifest = build_manifest(frame, root, source=source.name, card=card)
    require_both_classes(list(manifest.frame["label"]), where=str(source))
    write_manifest(manifest, out, notes={"source": source.name, "skipped": skipped})
    return Imported(manifest, out, counts_of(manifest.frame), skipped)


def _from_folders(folder: Path, skipped: dict[str, int]) -> pd.DataFrame:
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        raise InvalidInput(
            f"{folder} holds no class folders.",
            "Give a folder with a folder per class (negative/, positive/), or a table with image and label.",
        )
    rows = []
    for place in classes:
        for path in sorted(p for p in place.rglob("*") if p.is_file()):
            if path.name.startswith("."):
                continue
            if not is_image_path(path):
                skipped[path.suffix.lower() or "no ending"] = skipped.get(path.suffix.lower() or "no ending", 0) + 1
                continue
            relative = path.relative_to(folder).as_posix()
            if not relative.isprintable():
                raise InvalidInput(
                    f"The file {relative.encode('utf-8', 'backslashreplace').decode()!r} has a name that no table can "
                    "hold.",
                    "Rename it.",
                )
            inside(folder, relative)
            rows.append({"image": relative, "label": place.name})
    if not rows:
        raise InvalidInput(f"{folder} holds no images in its class folders.", "Check the folder.")
    return pd.DataFrame(rows, dtype="string")


def _from_table(table: Path, columns: Mapping[str, str | None]) -> pd.DataFrame:
    frame = read_table(table)
    names: dict[str, str] = {}
    for target, guesses in GUESSES.items():
        wanted = columns.get(target)
        if wanted is not None and wanted not in frame:
            option = target.removesuffix("_id")
            raise InvalidInput(
                f"{table.name} has no column '{wanted}' (--{option}-column); it has {', '.join(frame.columns)}.",
                "Name one of these.",
            )
        found = wanted or next((g for g in guesses if g in frame), None)
        if found is not None:
            names[found] = target
    clashing = [t for f, t in names.items() if f != t and t in frame]
    return frame.drop(columns=clashing).rename(columns=names)


def _by_pattern(images: pd.Series, pattern: str, column: str) -> pd.Series:
    option = f"--{column.removesuffix('_id')}-from"
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InvalidInput(f"{option} '{pattern}' is not a regular expression ({error}).", "Mend it.") from error
    if compiled.groups < 1:
        raise InvalidInput(f"{option} '{pattern}' has no group.", r"Put the id in brackets, e.g. '^(P\d+)_'.")
    names = images.map(lambda image: Path(image).name)
    found = names.map(lambda name: m.group(1) if (m := compiled.search(name)) else None)
    missing = names[found.isna()]
    if len(missing):
        raise InvalidInput(
            f"{option} '{pattern}' finds nothing in '{missing.iloc[0]}' ({len(missing)} such files).",
            "Mend it.",
        )
    return found.astype("string")


def _mapped(labels: pd.Series, rules: Sequence[str], positive: str | None) -> pd.Series:
    mapping = {name: name for name in CLASSES}
    present = set(labels.dropna())
    if positive is not None:
        if positive not in present:
            raise InvalidInput(
                f"--positive {positive}: no image has that label; there are {', '.join(sorted(present)[:10])}.",
                "Name one of these.",
            )
        mapping.update(dict.fromkeys(present, CLASSES[0]))
        mapping[positive] = CLASSES[1]
    for rule in rules:
        name, equals, target = rule.rpartition("=")
        if not equals or target not in CLASSES:
            raise InvalidInput(
                f"--label {rule} does not map a label to one of {', '.join(CLASSES)}.",
                "Write --label NAME=positive or --label NAME=negative.",
            )
        if name not in present:
            raise InvalidInput(
                f"--label {rule}: no image has the label '{name}'; there are {', '.join(sorted(present)[:10])}.",
                "Mend the name.",
            )
        mapping[name] = target
    return labels.map(lambda label: mapping.get(label, label), na_action="ignore").astype("string")


def _check_card(card: str | None) -> None:
    if card is not None:
        from pipelines.cards import find_card

        find_card(card)


def split_cohort(
    manifest_file: Path,
    *,
    out: Path,
    images: Path | None = None,
    folds: int = 5,
    test_fraction: float = 0.2,
    test_where: str | None = None,
    seed: int = 517,
    by_image: bool = False,
) -> tuple[Split, dict[str, Any]]:
    """Make a split from a manifest and write it.

    Args:
        manifest_file: the manifest.
        out: the split, .csv or .parquet.
        images: folder of the images, if they moved.
        folds: of the development role.
        test_fraction: share of the images in the test role, where it is drawn.
        test_where: `column=value` of the test rows.
        seed: of the draw.
        by_image: accept a cohort without groups.

    Returns:
        The split, and its description.

    Raises:
        InvalidInput: as `make_split`; nothing is written then.
    """
    refuse_to_overwrite(out, manifest_file)
    manifest = read_manifest(manifest_file, images=images)
    where = None
    if test_where is not None:
        column, equals, value = test_where.partition("=")
        if not equals or not column or not value:
            raise InvalidInput(f"--test-where {test_where} is not of the form column=value.", "E.g. site=B.")
        where = (column, value)
    split = make_split(
        manifest, folds=folds, test_fraction=test_fraction, test_where=where, seed=seed, by_image=by_image
    )
    write_split(split, out)
    return split, describe_split(split)
