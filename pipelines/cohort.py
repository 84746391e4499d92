"""From folders and tables to a manifest, and from a manifest to a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from msht.cohort.drawing import check_settings
from msht.cohort.manifest import (
    Manifest,
    build_manifest,
    counts_of,
    read_manifest,
    refuse_to_overwrite,
    require_two_classes,
    write_manifest,
)
from msht.cohort.roles import chosen_test
from msht.cohort.splits import Split, describe_split, make_split, write_split
from msht.cohort.tables import refuse_other_endings
from msht.errors import InvalidInput
from msht.files import quoted
from msht.images.reading import is_image_path
from pipelines.cards import other_cohort
from pipelines.cohort_checks import digest_files, hold_against_audit, say_where, warn
from pipelines.cohort_columns import join_table, locate, option_of, read_named, require_column
from pipelines.cohort_sources import (
    Skipped,
    find_images,
    is_pattern,
    labels_from_folders,
    split_pattern,
)
from pipelines.cohort_values import by_pattern, clean_text, drop_repeats, map_labels, note_alike, note_formulas
from pipelines.progress import Progress, Silent


@dataclass(frozen=True)
class Imported:
    """What an import gave.

    Attributes:
        manifest: the cohort.
        out: where it was written.
        counts: of images, classes, patients and so on.
        skipped: for each reason, how much was left out.
        examples: for each reason, the first that was.
        notes: sentences about what was done to the source on the way.
    """

    manifest: Manifest
    out: Path
    counts: dict[str, int]
    skipped: dict[str, int]
    examples: dict[str, str]
    notes: tuple[str, ...]


def import_cohort(
    source: Path,
    *,
    out: Path,
    images: Path | None = None,
    table: Path | None = None,
    sheet: str | None = None,
    encoding: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    keep: Sequence[str] | None = None,
    patterns: Mapping[str, str | None] | None = None,
    labels: Sequence[str] = (),
    positive: Sequence[str] = (),
    card: str | None = None,
) -> Imported:
    r"""Make a manifest from class folders, from a pattern of files, or from a table beside a folder of images.

    Args:
        source: a folder with a folder per class, a pattern such as `fields/**/*.jpg`, or a CSV, TSV, Excel or Parquet
            table.
        out: the manifest, .csv or .parquet.
        images: folder that the paths of a table that is the source start from; None: the table's own.
        table: what is known about the images of a folder or pattern, by path or file name.
        sheet: of an Excel table; None: the first that holds something.
        encoding: of a CSV table; None: UTF-8.
        columns: name of the table's column for each of `KNOWN_COLUMNS`; None: guessed.
        keep: other columns of the table to keep; None: all of them.
        patterns: regular expression for `label`, `patient_id`, `case_id`, `slide_id`, `site`; its first group in the
            file name (in the path below the folder, if it holds a `/`) is the value.
        labels: `NAME=positive` or `NAME=negative`, or `NAME=OTHER` to join two classes.
        positive: the labels that are positive, all others being negative; none: several classes stay as they are.
        card: name or path of a data card.

    Raises:
        InvalidInput: naming the file, row and column; nothing is written then.
    """
    refuse_to_overwrite(out, source, *([table] if table else []), kind="manifest")
    refuse_other_endings(out)
    columns = columns or {}
    expressions = {column: pattern for column, pattern in (patterns or {}).items() if pattern is not None}
    for column in expressions:
        if columns.get(column):
            raise InvalidInput(
                f"{option_of(column, 'column')} and {option_of(column, 'from')} both say the {column}.", "Give one."
            )
    skipped, notes = Skipped(), list[str]()
    from_files = source.is_dir() or is_pattern(source)
    if not from_files and not source.exists():
        raise InvalidInput(f"{source} does not exist.", "Give a folder of class folders, a pattern, or a table.")
    if from_files:
        _refuse_table_options(source, images, table, sheet, encoding, columns, keep)
        frame, root = _from_files(source, table, sheet, encoding, columns, keep, expressions, skipped, notes)
    else:
        if table is not None:
            raise InvalidInput(f"--table is for a folder or a pattern, but {source} is a file.", "Leave it out.")
        root = images or source.parent
        if not root.is_dir():
            raise InvalidInput(f"The folder of images {root} does not exist.", "Give its place with --images.")
        frame = read_named(source, columns, keep, skipped, notes, sheet=sheet, encoding=encoding)
        frame = _images_only(locate(frame, root, notes), skipped)
    name = (table or source).name
    frame = _apply_patterns(frame, expressions, name, notes)
    require_column(frame, "label", name)
    frame = drop_repeats(clean_text(frame), name, skipped)
    note_alike(frame, notes)
    frame = map_labels(frame, labels, positive, notes)
    card = _checked_card(card)
    manifest = build_manifest(frame, root, source=name, card=card, rows=[int(row) for row in frame.index])
    require_two_classes(list(manifest.frame["label"]), where=str(source))
    note_formulas(manifest.frame, notes)
    write_manifest(manifest, out, notes={"source": name, "skipped": skipped.counts})
    return Imported(manifest, out, counts_of(manifest.frame), skipped.counts, skipped.examples, tuple(notes))


def _refuse_table_options(
    source: Path,
    images: Path | None,
    table: Path | None,
    sheet: str | None,
    encoding: str | None,
    columns: Mapping[str, str | None],
    keep: Sequence[str] | None,
) -> None:
    if images is not None:
        raise InvalidInput(f"--images is for a table, but {source} is none.", "Leave it out.")
    if table is None and (any(columns.values()) or keep is not None or sheet is not None or encoding is not None):
        raise InvalidInput(
            f"The column options, --keep, --sheet and --encoding are for a table, but {source} is none.",
            "Leave them out, or name a table about these images with --table.",
        )


def _from_files(
    source: Path,
    table: Path | None,
    sheet: str | None,
    encoding: str | None,
    columns: Mapping[str, str | None],
    keep: Sequence[str] | None,
    patterns: Mapping[str, str],
    skipped: Skipped,
    notes: list[str],
) -> tuple[pd.DataFrame, Path]:
    root, pattern = (source, None) if source.is_dir() else split_pattern(source)
    found = find_images(root, pattern, skipped)
    if not found:
        if pattern is None and not any(p.is_dir() and not p.name.startswith(".") for p in root.iterdir()):
            raise InvalidInput(
                f"{source} holds no class folders.",
                "Give a folder with a folder per class (negative/, positive/), or a table with image and label.",
            )
        left = ", ".join(f"{number} {reason}" for reason, number in skipped.counts.items())
        where = f"{source} holds no images" if pattern is None else f"No image fits the pattern {source}"
        raise InvalidInput(f"{where}{f' (left out: {left})' if left else ''}.", "Check the folder and the endings.")
    frame = pd.DataFrame({"image": pd.array(found, dtype="string")})
    if table is not None:
        frame = join_table(found, root, table, columns, keep, skipped, notes, sheet=sheet, encoding=encoding)
    if "label" not in frame and "label" not in patterns:
        for link, listed in skipped.links:
            if PurePosixPath(link).parts[0] != PurePosixPath(listed).parts[0]:
                raise InvalidInput(
                    f"'{link}' is a link to '{listed}': one image in two class folders.",
                    "Ask which label is right, and remove the other.",
                )
        frame["label"] = pd.array(labels_from_folders(list(frame["image"]), root), dtype="string")
    return frame, root


def _images_only(frame: pd.DataFrame, skipped: Skipped) -> pd.DataFrame:
    """The rows of a table that name images; what has another ending is counted."""
    kept = []
    for image in frame["image"]:
        path = Path(image) if isinstance(image, str) else None
        kept.append(path is None or is_image_path(path))
        if path is not None and not kept[-1]:
            ending = path.suffix.lower() or "no ending"
            skipped.add("hidden" if path.name.startswith(".") else f"not an image ({ending})", str(image))
    if not any(kept):
        raise InvalidInput(
            f"No row names an image; the first says '{frame['image'].iloc[0]}'.",
            "Name the column of the image files with --image-column; they end in .jpg, .png, .tif or .bmp.",
        )
    return frame[kept]


def _apply_patterns(frame: pd.DataFrame, patterns: Mapping[str, str], source: str, notes: list[str]) -> pd.DataFrame:
    missing = frame.index[frame["image"].isna()]
    if len(missing):
        raise InvalidInput(
            f"{source}, row {missing[0]}: the cell 'image' is empty ({len(missing)} such rows).", "Fill it."
        )
    for column, pattern in patterns.items():
        found = by_pattern(frame["image"], pattern, option_of(column, "from"))
        if column in frame:
            frame = frame.rename(columns={column: f"{column}_in_table"})
            notes.append(f"'{column}' is taken from the file names; the table's is kept as '{column}_in_table'.")
        frame[column] = found
    return frame


def _checked_card(card: str | None) -> str | None:
    """A card that can be read; a file by its full path, so that it is found from anywhere."""
    if card is None:
        return None
    from pipelines.cards import find_card

    find_card(card)
    return str(Path(card).resolve()) if card.endswith(".md") else card


def split_cohort(
    manifest_file: Path,
    *,
    out: Path,
    images: Path | None = None,
    audit: Path | None = None,
    folds: int = 5,
    test_fraction: float | None = None,
    test_where: str | None = None,
    hold_out_site: str | None = None,
    seed: int = 517,
    by_image: bool = False,
    card: str | None = None,
    progress: Progress | None = None,
) -> tuple[Split, dict[str, Any]]:
    """Make a split from a manifest and write it.

    Every image file is read once for its SHA-256, so that copies stay together and the split can prove it.

    Args:
        manifest_file: the manifest.
        out: the split, .csv or .parquet.
        images: folder of the images, if they moved.
        audit: folder of `msht cohort audit` for this manifest; its near-duplicates stay together.
        folds: of the development role.
        test_fraction: share of the images in the test role, where it is drawn; None: 0.2.
        test_where: `column=value` of the test rows.
        hold_out_site: the rows of this site are the test role.
        seed: of the draw.
        by_image: accept a cohort without groups.
        card: name or path of a data card, in place of the manifest's.
        progress: who listens.

    Returns:
        The split, and its description.

    Raises:
        InvalidInput: as `make_split`, or if the audit is of another manifest; nothing is written then.
    """
    progress = progress or Silent()
    refuse_to_overwrite(out, manifest_file, kind="split")
    refuse_other_endings(out)
    if test_fraction is not None and (test_where is not None or hold_out_site is not None):
        raise InvalidInput("--test-fraction is for a test role that is drawn, but one was chosen.", "Leave it out.")
    manifest = read_manifest(manifest_file, images=images)
    say_where(manifest.root, manifest_file, progress)
    if card is not None:
        manifest = Manifest(manifest.frame, manifest.root, manifest.digest, _checked_card(card))
    if manifest.card is not None and (doubt := other_cohort(manifest.card, manifest.frame)):
        progress.say(f"Warning: {doubt}")
    where = None
    if test_where is not None:
        column, equals, value = test_where.partition("=")
        if not equals or not column or not value:
            raise InvalidInput(f"--test-where {test_where} is not of the form column=value.", "E.g. site=B.")
        where = (column, value)
    pairs: tuple[tuple[str, str], ...] = ()
    audit_digest = None
    if audit is not None:
        from pipelines.audit import read_audit

        audited = read_audit(audit)
        if audited.manifest_digest != manifest.digest:
            raise InvalidInput(
                f"The audit in {audit} is of another manifest ({audited.manifest_digest[:12]}) than {manifest_file} "
                f"({manifest.digest[:12]}).",
                f"Audit this one: msht cohort audit {quoted(manifest_file)} --out DIR.",
            )
        pairs, audit_digest = audited.pairs, audited.digest
    check_settings(folds, seed, 0.2 if test_fraction is None else test_fraction)
    chosen = chosen_test(manifest.frame, where, hold_out_site)  # said before every file is read
    warn(manifest.frame, chosen, progress)
    digests = digest_files(manifest, progress)
    if audit is not None:
        hold_against_audit(audit, digests, progress)
    split = make_split(
        manifest,
        folds=folds,
        test_fraction=0.2 if test_fraction is None else test_fraction,
        test_where=where,
        hold_out_site=hold_out_site,
        seed=seed,
        by_image=by_image,
        same=pairs,
        audit_digest=audit_digest,
        file_digests=digests,
    )
    write_split(split, out)
    return split, describe_split(split)
