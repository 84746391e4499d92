"""The manifest: a table with a row per image, from which everything downstream starts.

A manifest is a CSV or Parquet file. Its column `image` holds paths below the folder of images: the manifest's
own folder, unless a JSON file of the same name beside it declares another one. No path may leave that folder.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from msht.errors import InvalidInput
from msht.files import atomic_path, inside, read_json, write_json

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
    def group_column(self) -> str | None:
        """The column that says which images belong to one patient: patient, else case, else slide."""
        return next((name for name in GROUP_COLUMNS if name in self.frame), None)


def digest_of(frame: pd.DataFrame) -> str:
    """SHA-256 of a table's content, unchanged by the order of its rows and columns.

    Rows are rendered as CSV with columns sorted by name and rows sorted by image.
    """
    ordered = frame.sort_values("image")[sorted(frame.columns)]
    return hashlib.sha256(ordered.to_csv(index=False).encode("utf-8")).hexdigest()


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV, TSV or Parquet table as text; empty cells are missing values.

    Raises:
        InvalidInput: if the file is not there, is of another kind, or has no rows.
    """
    if not path.is_file():
        raise InvalidInput(f"{path} does not exist, or is a folder.", "Give a CSV, TSV or Parquet table.")
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            frame = pd.read_parquet(path).astype("string")
        elif suffix in {".csv", ".tsv", ".txt"}:
            frame = _read_text_table(path, separator="\t" if suffix == ".tsv" else ",")
        else:
            raise InvalidInput(
                f"{path} is not a table this program reads (ending '{suffix}').",
                "Give a file that ends in .csv, .tsv or .parquet.",
            )
    except (
        pd.errors.ParserError,
        pd.errors.ParserWarning,
        pd.errors.EmptyDataError,
        pa.ArrowException,
        UnicodeDecodeError,
        OSError,
    ) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InvalidInput(
            f"{path} cannot be read as a table: {reason}.", "Save it as UTF-8 CSV with a header row."
        ) from error
    if frame.empty:
        raise InvalidInput(f"{path} holds no rows.", "A manifest needs a row per image.")
    return frame


def _read_text_table(path: Path, separator: str) -> pd.DataFrame:
    with warnings.catch_warnings():
        # Rows longer than the header: pandas would make their first column an index and shift all others.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        header = pd.read_csv(path, sep=separator, encoding="utf-8-sig", header=None, nrows=1, dtype="string")
        twice = header.iloc[0][header.iloc[0].duplicated()]
        if len(twice):
            raise InvalidInput(f"{path} has two columns '{twice.iloc[0]}'.", "Rename or remove one.")
        return pd.read_csv(
            path,
            dtype="string",
            sep=separator,
            encoding="utf-8-sig",
            keep_default_na=False,
            na_values=[""],
            index_col=False,
        )


def build_manifest(
    frame: pd.DataFrame, root: Path, *, source: str, card: str | None = None, check_images: bool = True
) -> Manifest:
    """Check a table and make it a manifest.

    Args:
        frame: at least the columns `image` and `label`; row 2 is its first row, as in a spreadsheet.
        root: folder of the images.
        source: name of the table in messages.
        card: of the data.
        check_images: whether each image must be there; a report reads none of them.

    Raises:
        InvalidInput: for a missing column or cell, an unknown label, a path that leaves the folder, an image that
            is listed twice or is not there, or a case that belongs to two patients.
    """
    for column in ("image", "label"):
        if column not in frame:
            raise InvalidInput(
                f"{source} has no column '{column}'; it has {', '.join(map(str, frame.columns))}.",
                f"Name the column with --{column}-column, or rename it.",
            )
    reserved = [column for column in frame.columns if column in RESERVED_COLUMNS]
    if reserved:
        raise InvalidInput(f"{source} has a column '{reserved[0]}', a name that predictions use.", "Rename the column.")
    frame = frame.reset_index(drop=True)
    ids = [column for column in GROUP_COLUMNS if column in frame and frame[column].notna().any()]
    frame = frame.drop(columns=[column for column in GROUP_COLUMNS if column in frame and column not in ids])
    for column in ("image", "label", *ids):
        missing = frame.index[frame[column].isna()]
        if len(missing):
            raise InvalidInput(
                f"{source}, row {missing[0] + 2}: the cell '{column}' is empty ({len(missing)} such rows).",
                "Fill it, or leave the column out altogether.",
            )
    unknown = frame.index[~frame["label"].isin(CLASSES)]
    if len(unknown):
        value = frame.loc[unknown[0], "label"]
        raise InvalidInput(
            f"{source}, row {unknown[0] + 2}: label '{value}' is not one of {', '.join(CLASSES)}.",
            f"Map it with --label {value}=positive (or negative), or mend the table.",
        )
    for column in ("image", *ids):
        odd = frame.index[frame[column].str.contains(r"[\x00-\x1f\x7f]", regex=True)]
        if len(odd):
            raise InvalidInput(
                f"{source}, row {odd[0] + 2}: the cell '{column}' holds a line break or another control character.",
                "Take it out; for an image, rename the file.",
            )
    seen: set[Path] = set()
    for row, image in zip(frame.index, frame["image"], strict=True):
        file = inside(root, image)  # one name for one file, whatever dots or links lead to it
        if file in seen:
            raise InvalidInput(
                f"{source}, row {row + 2}: image '{image}' is listed twice.",
                "Keep one row per image.",
            )
        seen.add(file)
        if check_images and not file.is_file():
            raise InvalidInput(
                f"{source}, row {row + 2}: there is no image {root / image}.",
                "Mend the path, or say with --images which folder the paths start from.",
            )
    _check_ids(frame, source)
    _check_case_labels(frame, source)
    columns = [c for c in KNOWN_COLUMNS if c in frame]
    frame = frame[columns + [c for c in frame.columns if c not in columns]].astype("string")
    return Manifest(frame=frame, root=root.resolve(), digest=digest_of(frame), card=card)


def _check_ids(frame: pd.DataFrame, source: str) -> None:
    for inner, outer in (("case_id", "patient_id"), ("slide_id", "case_id"), ("slide_id", "patient_id")):
        if inner in frame and outer in frame:
            owners = frame.groupby(inner)[outer].nunique()
            shared = owners.index[owners > 1]
            if len(shared):
                raise InvalidInput(
                    f"{source}: {inner} '{shared[0]}' belongs to {owners[shared[0]]} different values of {outer}.",
                    f"Make each {inner} unique, for instance by prefixing it with the {outer}.",
                )


def _check_case_labels(frame: pd.DataFrame, source: str) -> None:
    """A cohort may say what each case is by itself; then it must say so in words that are known, and the same way."""
    if "case_label" not in frame or "case_id" not in frame:
        return
    unknown = frame.index[~frame["case_label"].isin(CLASSES)]
    if len(unknown):
        raise InvalidInput(
            f"{source}, row {unknown[0] + 2}: case_label '{frame.loc[unknown[0], 'case_label']}' is not one of "
            f"{', '.join(CLASSES)}.",
            "Mend it, or rename the column if it means something else.",
        )
    several = frame.groupby("case_id")["case_label"].nunique()
    if (several > 1).any():
        raise InvalidInput(
            f"{source}: case '{several.index[several > 1][0]}' has two values of case_label.", "Give each case one."
        )


def refuse_to_overwrite(path: Path, *sources: Path) -> None:
    """Refuse to write a table over one it is made from, or over a JSON file that is none of ours beside it.

    Raises:
        InvalidInput: naming the file.
    """
    for source in sources:
        if path.resolve() == source.resolve():
            raise InvalidInput(f"{path} is the file to be read.", "Give --out another name.")
    described = path.with_suffix(".json")
    if described.exists() and not beside(path):
        raise InvalidInput(f"{described} exists and is not ours to replace.", "Give --out another name.")


def write_manifest(manifest: Manifest, path: Path, *, notes: Mapping[str, object] | None = None) -> None:
    """Write the table, and beside it a JSON file of the same name that says where the images lie.

    Args:
        manifest: what to write.
        path: a name that ends in .csv or .parquet.
        notes: plain values about the import, kept in the JSON file.
    """
    write_table(manifest.frame, path)
    write_json(
        path.with_suffix(".json"),
        {
            "kind": "manifest",
            "images": declared_root(manifest.root, path),
            "classes": list(CLASSES),
            "digest": manifest.digest,
            "card": manifest.card,
            **(notes or {}),
        },
    )


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a CSV or Parquet table, whole or not at all."""
    if path.suffix.lower() not in {".csv", ".parquet"}:
        raise InvalidInput(f"{path} should be a table but ends in '{path.suffix}'.", "Use .csv or .parquet.")
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".parquet":
            frame.to_parquet(temporary, index=False)
        else:
            frame.to_csv(temporary, index=False)


def read_manifest(path: Path, *, images: Path | None = None) -> Manifest:
    """Read a manifest and check that its images are there.

    Args:
        path: the table.
        images: folder that the paths start from; else the one its JSON file declares, else the table's own.

    Raises:
        InvalidInput: as `build_manifest`.
    """
    frame = read_table(path)
    card = beside(path).get("card")
    return build_manifest(frame, images_folder(path, images), source=path.name, card=card)


def beside(table: Path) -> dict[str, Any]:
    """What the JSON file of the same name beside a table says; empty where there is none, or one of another kind."""
    path = table.with_suffix(".json")
    found = read_json(path, what="description of the table") if path.is_file() else {}
    return found if isinstance(found, dict) and found.get("kind") in {"manifest", "split"} else {}


def images_folder(table: Path, images: Path | None) -> Path:
    """The folder of images of a table: given, else declared beside the table, else the table's own."""
    if images is None:
        images = table.parent / beside(table).get("images", ".")
    if not images.is_dir():
        raise InvalidInput(f"The folder of images {images} does not exist.", "Give its place with --images.")
    return images


def declared_root(root: Path, table: Path) -> str:
    """How a table's JSON file names the folder of images: relative where it lies below the table, else in full.

    So a cohort whose manifest lies above its images can be moved as one.
    """
    here = table.parent.resolve()
    return root.relative_to(here).as_posix() if root.is_relative_to(here) else str(root)


def counts_of(frame: pd.DataFrame) -> dict[str, int]:
    """Images, images of each class, and as many of patients, cases, slides and sites as are known."""
    counts = {"images": len(frame), **{name: int((frame["label"] == name).sum()) for name in CLASSES}}
    for column, word in (
        ("patient_id", "patients"),
        ("case_id", "cases"),
        ("slide_id", "slides"),
        ("site", "sites"),
    ):
        if column in frame:
            counts[word] = int(frame[column].nunique())
    return counts


def require_both_classes(labels: Sequence[str], *, where: str) -> None:
    """Refuse a set of labels that holds one class only.

    Raises:
        InvalidInput: naming the class that is missing.
    """
    missing = [name for name in CLASSES if name not in set(labels)]
    if missing:
        raise InvalidInput(
            f"{where} has no {' and no '.join(missing)} image.",
            "Training and validation need both classes; add images or map the labels with --label NAME=positive.",
        )
