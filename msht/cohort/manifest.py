"""The manifest: a table with a row per image, from which everything downstream starts.

A manifest is a CSV or Parquet file. Its column `image` holds paths below the folder of images: the manifest's
own folder, unless a JSON file of the same name beside it declares another one. No path may leave that folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from msht.cohort.described import beside as beside
from msht.cohort.described import declared_images as declared_images
from msht.cohort.described import declared_root as declared_root
from msht.cohort.described import digest_of as digest_of
from msht.cohort.described import images_folder as images_folder
from msht.cohort.described import kind_by_columns as kind_by_columns
from msht.cohort.described import kind_of as kind_of
from msht.cohort.described import refuse_to_overwrite as refuse_to_overwrite
from msht.cohort.described import write_described as write_described
from msht.cohort.tables import load_table, name_in_table
from msht.cohort.tables import read_table as read_table
from msht.cohort.tables import write_table as write_table
from msht.errors import InvalidInput
from msht.files import inside

CLASSES = ("negative", "positive")
GROUP_COLUMNS = ("patient_id", "case_id", "slide_id")
RESERVED_COLUMNS = (
    "case",
    "group",
    "logit",
    "calibrated_logit",
    "probability",
    "spread",
    "novelty",
    "evaluable",
    "fields",
    "call",
)
"""Names of columns that predictions add to a cohort's own."""
COUNTED = {
    "images": "image",
    "patients": "patient_id",
    "cases": "case_id",
    "slides": "slide_id",
    "sites": "site",
}
"""What counts are called, by the column that they count."""
KNOWN_COLUMNS = ("image", "label", *GROUP_COLUMNS, "site", "stain", "magnification")


@dataclass(frozen=True)
class Manifest:
    """A cohort as a table, with where its images lie.

    Attributes:
        frame: a row per image; `image` and `label` are complete, all ids are text.
        root: the folder that the paths in `image` are relative to.
        digest: SHA-256 over the rows, whatever their order.
        card: name of a shipped data card, or path of a user's own; None where there is none.
    """

    frame: pd.DataFrame
    root: Path
    digest: str
    card: str | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes in order: negative and positive, or else as many as there are, by name."""
        return classes_of(self.frame["label"])

    @property
    def group_column(self) -> str | None:
        """The column that says which images belong to one patient: patient, else case, else slide."""
        return next((name for name in GROUP_COLUMNS if name in self.frame), None)


def classes_of(labels: Iterable[str]) -> tuple[str, ...]:
    """The classes of a set of labels: negative and positive where no other occurs, else all that occur, by name."""
    present = set(labels)
    return CLASSES if present <= set(CLASSES) else tuple(sorted(present))


def build_manifest(
    frame: pd.DataFrame,
    root: Path,
    *,
    source: str,
    card: str | None = None,
    check_images: bool = True,
    rows: Sequence[int] | None = None,
) -> Manifest:
    """Check a table and make it a manifest.

    Args:
        frame: at least the columns `image` and `label`. Labels are negative and positive, or names of classes of
            which none is one of these two. Messages call its columns what `name_in_table` calls them.
        root: folder of the images.
        source: name of the table in messages.
        card: of the data.
        check_images: whether each image must be there; a report reads none of them.
        rows: the number of each row in a spreadsheet, for messages; None: the first is row 2.

    Raises:
        InvalidInput: for a missing column or cell, an unknown label, a path that leaves the folder, an image that
            is listed twice or is not there, or a case that belongs to two patients.
    """
    for column in ("image", "label"):
        if column not in frame:
            raise InvalidInput(
                f"{source} has no column '{column}'; it has {', '.join(map(str, frame.columns))}.",
                f"Import the table first: msht cohort import TABLE --{column}-column NAME --out manifest.csv.",
            )
    reserved = [column for column in frame.columns if column in RESERVED_COLUMNS]
    if reserved:
        raise InvalidInput(f"{source} has a column '{reserved[0]}', a name that predictions use.", "Rename the column.")
    # The index is the row in a spreadsheet until the end, so that every message names it.
    frame = frame.set_axis(pd.Index(range(2, len(frame) + 2) if rows is None else rows))
    ids = [column for column in GROUP_COLUMNS if column in frame and frame[column].notna().any()]
    frame = frame.drop(columns=[column for column in GROUP_COLUMNS if column in frame and column not in ids])
    for column in ("image", "label", *ids):
        missing = frame.index[frame[column].isna()]
        if len(missing):
            raise InvalidInput(
                f"{source}, row {missing[0]}: the cell '{name_in_table(frame, column)}' is empty ({len(missing)} such "
                "rows).",
                "Fill it (NA and the like count as empty), or leave the column out altogether.",
            )
    _check_labels(frame, source)
    for column in ("image", "label", *ids):
        odd = frame.index[frame[column].str.contains(r"[\x00-\x1f\x7f]", regex=True)]
        if len(odd):
            raise InvalidInput(
                f"{source}, row {odd[0]}: the cell '{name_in_table(frame, column)}' holds a line break or another "
                "control character.",
                "Take it out; for an image, rename the file.",
            )
    seen: dict[Path, int] = {}
    for row, image in zip(frame.index, frame["image"], strict=True):
        try:
            file = inside(root, image)  # one name for one file, whatever dots or links lead to it
        except InvalidInput as error:
            raise InvalidInput(
                f"{source}, row {row}, column '{name_in_table(frame, 'image')}': "
                f"{error.problem[:1].lower()}{error.problem[1:]}",
                error.mend,
            ) from error
        if file in seen:
            raise InvalidInput(
                f"{source}, row {row}: image '{image}' is listed twice (also in row {seen[file]}).",
                "Keep one row per image.",
            )
        seen[file] = row
        if check_images and not file.is_file():
            raise InvalidInput(
                f"{source}, row {row}: there is no image {root / image}, named in the column "
                f"'{name_in_table(frame, 'image')}'.",
                "Mend the path, or say with --images which folder the paths start from.",
            )
    _check_ids(frame, source)
    _check_case_labels(frame, source)
    columns = [c for c in KNOWN_COLUMNS if c in frame]
    frame = frame[columns + [c for c in frame.columns if c not in columns]].astype("string").reset_index(drop=True)
    frame.attrs = {}  # for messages only; Parquet would keep it
    return Manifest(frame=frame, root=root.resolve(), digest=digest_of(frame), card=card)


def _check_labels(frame: pd.DataFrame, source: str) -> None:
    """Two classes by their own names, or several by others; a mixture is more likely an error of spelling."""
    unknown = frame.index[~frame["label"].isin(CLASSES)]
    if 0 < len(unknown) < len(frame):
        value = frame.loc[unknown[0], "label"]
        raise InvalidInput(
            f"{source}, row {unknown[0]}: label '{value}' is not one of {', '.join(CLASSES)}.",
            f"Map it at the import with --label {value}=positive (or negative), or mend the table.",
        )
    names: dict[str, str] = {}
    for name in sorted(set(frame["label"])):
        other = names.setdefault(name.casefold(), name)
        if other != name:
            raise InvalidInput(
                f"{source} has the labels '{other}' and '{name}', which differ only in capitals.",
                f"Write them the same way, for instance at the import with --label {name}={other}.",
            )


def _check_ids(frame: pd.DataFrame, source: str) -> None:
    for inner, outer in (("case_id", "patient_id"), ("slide_id", "case_id"), ("slide_id", "patient_id")):
        if inner in frame and outer in frame:
            owners = frame.groupby(inner)[outer].nunique()
            shared = owners.index[owners > 1]
            if len(shared):
                part, whole = name_in_table(frame, inner), name_in_table(frame, outer)
                raise InvalidInput(
                    f"{source}: {part} '{shared[0]}' belongs to {owners[shared[0]]} different values of {whole}.",
                    f"Make each {part} unique, for instance by prefixing it with the {whole}.",
                )


def _check_case_labels(frame: pd.DataFrame, source: str) -> None:
    """A cohort may say what each case is by itself; then it must say so in words that are known, and the same way."""
    if "case_label" not in frame or "case_id" not in frame:
        return
    classes = classes_of(frame["label"])
    unknown = frame.index[~frame["case_label"].isin(classes)]
    if len(unknown):
        raise InvalidInput(
            f"{source}, row {unknown[0]}: case_label '{frame.loc[unknown[0], 'case_label']}' is not one of "
            f"{', '.join(classes)}.",
            "Mend it, or rename the column if it means something else.",
        )
    several = frame.groupby("case_id")["case_label"].nunique()
    if (several > 1).any():
        raise InvalidInput(
            f"{source}: case '{several.index[several > 1][0]}' has two values of case_label.", "Give each case one."
        )


def write_manifest(
    manifest: Manifest, path: Path, *, notes: Mapping[str, object] | None = None, own: bool = False
) -> None:
    """Write the table, and beside it a JSON file of the same name that says where the images lie.

    Args:
        manifest: what to write.
        path: a name that ends in .csv or .parquet.
        notes: plain values about the import, kept in the JSON file.
        own: whether the table there, if any, is the caller's to replace.

    Raises:
        InvalidInput: as `refuse_to_overwrite`, or if a name in the JSON file is not UTF-8.
    """
    if not own:
        refuse_to_overwrite(path, kind="manifest")
    described = {
        "kind": "manifest",
        **declared_root(manifest.root, path),
        "classes": list(manifest.classes),
        "digest": manifest.digest,
        "card": manifest.card,
        **(notes or {}),
    }
    for key, value in described.items():
        name = os.fsencode(value) if isinstance(value, str) else b""
        if name != name.decode("utf-8", "ignore").encode("utf-8"):
            raise InvalidInput(
                f"{path.with_suffix('.json')} cannot hold $'{name.decode('utf-8', 'backslashreplace')}' ({key}), which "
                "is not UTF-8.",
                "Rename the file or folder.",
            )
    write_described(manifest.frame, path, described)


def read_manifest(path: Path, *, images: Path | None = None) -> Manifest:
    """Read a manifest and check that its images are there.

    Args:
        path: the table.
        images: folder that the paths start from; else the one its JSON file declares, else the table's own.

    Raises:
        InvalidInput: as `build_manifest`, or if it is a split.
    """
    frame = load_table(path).frame
    described = beside(path)
    if (described.get("kind") or kind_by_columns(frame)) == "split":
        raise InvalidInput(
            f"{path} is a split, with a role and a fold for each image, but a manifest is needed.",
            "Give the manifest that it was made from"
            + ("." if described else "; or rename the columns role and fold, if they mean something else."),
        )
    return build_manifest(
        frame,
        images_folder(path, images),
        source=path.name,
        card=described.get("card"),
        rows=[int(row) for row in frame.index],
    )


def counts_of(frame: pd.DataFrame, classes: Sequence[str] | None = None) -> dict[str, int]:
    """Images, images of each class, and as many of patients, cases, slides and sites as are known.

    Args:
        frame: a row per image.
        classes: to count, also where the frame has none of one; None: those of the frame.
    """
    counts = {"images": len(frame)}
    for name in classes_of(frame["label"]) if classes is None else classes:
        counts[f"class {name}" if name in COUNTED else name] = int((frame["label"] == name).sum())
    for word, column in COUNTED.items():
        if column in frame and column != "image":
            counts[word] = int(frame[column].nunique())
    return counts


def counts_in_words(counts: Mapping[str, int]) -> str:
    """What `counts_of` counted: "120 images, 60 negative, 60 positive, 1 patient"."""
    singular = {word: word.removesuffix("s") for word in COUNTED}
    return ", ".join(f"{n:,} {singular.get(what, what) if n == 1 else what}" for what, n in counts.items())


def require_two_classes(labels: Iterable[str], *, where: str) -> None:
    """Refuse a set of labels that holds one class only.

    Raises:
        InvalidInput: naming the class that is missing.
    """
    present = set(labels)
    if present <= set(CLASSES):
        missing = [name for name in CLASSES if name not in present]
        if missing:
            raise InvalidInput(
                f"{where} has no {' and no '.join(missing)} image.",
                "Training and validation need both classes; add images or map the labels with --label NAME=positive.",
            )
    elif len(present) < 2:
        raise InvalidInput(
            f"{where} has images of one class only, '{next(iter(present))}'.", "Add images of another class."
        )
