"""`msht cohort`: from images to a manifest and a split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from cli.options import Images

app = Typer(help="Import, draw, audit and split a cohort.", no_args_is_help=True)


@app.command("import")
def import_(
    source: Annotated[Path, Argument(help="Folder of class folders, or a CSV, TSV or Parquet table.")],
    out: Annotated[Path, Option(help="Manifest to write (.csv or .parquet).")],
    images: Images = None,
    image_column: Annotated[str | None, Option(help="Column of the image paths.")] = None,
    label_column: Annotated[str | None, Option(help="Column of the labels.")] = None,
    patient_column: Annotated[str | None, Option(help="Column of the patients.")] = None,
    case_column: Annotated[str | None, Option(help="Column of the cases.")] = None,
    slide_column: Annotated[str | None, Option(help="Column of the slides.")] = None,
    patient_from: Annotated[
        str | None, Option(help="Regular expression; its group in the name is the patient.")
    ] = None,
    case_from: Annotated[str | None, Option(help="Regular expression; its group in the name is the case.")] = None,
    slide_from: Annotated[str | None, Option(help="Regular expression; its group in the name is the slide.")] = None,
    label: Annotated[list[str] | None, Option(help="NAME=positive or NAME=negative; may be repeated.")] = None,
    positive: Annotated[str | None, Option(help="The positive label; all others are negative.")] = None,
    card: Annotated[str | None, Option(help="Data card: a shipped name or a Markdown file.")] = None,
) -> None:
    """Make a manifest: a row per image with its label and what is known of patient, case and slide."""
    from cli.show import say
    from pipelines.cohort import import_cohort

    result = import_cohort(
        source,
        out=out,
        images=images,
        columns={
            "image": image_column,
            "label": label_column,
            "patient_id": patient_column,
            "case_id": case_column,
            "slide_id": slide_column,
        },
        patterns={"patient_id": patient_from, "case_id": case_from, "slide_id": slide_from},
        labels=label or (),
        positive=positive,
        card=card,
    )
    say(f"{out}: " + ", ".join(f"{n} {what}" for what, n in result.counts.items()) + ".")
    for ending, number in result.skipped.items():
        say(f"Skipped {number} files that are no images ({ending}).")
    if result.manifest.group_column is None:
        say("No patient, case or slide is known: a split will need --split-by-image, and reports will say so.")


@app.command()
def phantom(
    out: Annotated[Path, Argument(help="Folder to write; it must not exist, or hold the same phantom.")],
    patients: Annotated[int, Option(help="Patients, half of them with malignant fields.")] = 24,
    fields: Annotated[int, Option(help="Fields per patient.")] = 10,
    sites: Annotated[int, Option(help="Sites that differ in stain and camera.")] = 3,
    width: Annotated[int, Option(help="Width of a field in px.")] = 512,
    height: Annotated[int, Option(help="Height of a field in px.")] = 384,
    seed: Annotated[int, Option(help="The same seed gives the same bytes.")] = 517,
) -> None:
    """Draw a synthetic ROSE cohort with known truth, to try everything without patients' images."""
    from cli.show import progress, say
    from pipelines.phantom import draw_phantom

    with progress() as bars:
        counts = draw_phantom(
            out,
            patients=patients,
            fields_per_patient=fields,
            sites=sites,
            width=width,
            height=height,
            seed=seed,
            progress=bars,
        )
    say(f"{out / 'manifest.csv'}: " + ", ".join(f"{n} {what}" for what, n in counts.items()) + ".")


@app.command()
def audit(
    manifest: Annotated[Path, Argument(help="Manifest of the cohort.")],
    out: Annotated[Path, Option(help="Folder for audit.json and findings.csv.")],
    images: Images = None,
    strict: Annotated[bool, Option("--strict", help="Exit with 1 when anything must be mended.")] = False,
) -> None:
    """Decode every image whole, and look for copies, copies under two labels, and copies across patients."""
    from typer import Exit

    from cli.show import progress, say
    from pipelines.audit import audit_cohort

    with progress() as bars:
        result = audit_cohort(manifest, out=out, images=images, progress=bars)
    say(f"{out / 'audit.json'}: {result['images']} images, {len(result['findings'])} findings.")
    for kind, number in result["by_kind"].items():
        say(f"  {kind}: {number}")
    if strict and result["findings"]:
        raise Exit(1)


@app.command()
def split(
    manifest: Annotated[Path, Argument(help="Manifest of the cohort.")],
    out: Annotated[Path, Option(help="Split to write (.csv or .parquet).")],
    folds: Annotated[int, Option(help="Folds of the development role.")] = 5,
    test_fraction: Annotated[float, Option(help="Share of the images in the test role, where it is drawn.")] = 0.2,
    test_where: Annotated[str | None, Option(help="column=value: these rows are the test role.")] = None,
    seed: Annotated[int, Option(help="Of the draw.")] = 517,
    split_by_image: Annotated[
        bool, Option("--split-by-image", help="Accept a cohort without patients; printed in every report.")
    ] = False,
    images: Images = None,
) -> None:
    """Give every image a role and a fold; a patient's images stay together."""
    from cli.show import say, table
    from pipelines.cohort import split_cohort

    made, described = split_cohort(
        manifest,
        out=out,
        images=images,
        folds=folds,
        test_fraction=test_fraction,
        test_where=test_where,
        seed=seed,
        by_image=split_by_image,
    )
    parts = {f"fold {n}": c for n, c in described["counts_by_fold"].items()}
    parts["test"] = described["counts"]["test"]
    headings = list(parts["test"])
    table(
        ["", *headings],
        [[name, *(str(c.get(h, "")) for h in headings)] for name, c in parts.items()],
        numbers=len(headings),
    )
    crossing = described["disjointness"]
    say(
        f"{out}: grouped by {made.grouped_by or 'image'}; {crossing['groups_in_two_roles']} groups in two roles, "
        f"{crossing['groups_in_two_folds']} in two folds."
    )
    if made.warning:
        say(f"Warning: {made.warning}")
