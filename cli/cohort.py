"""`msht cohort`: from images to a manifest and a split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from cli.audit import audit
from cli.options import Images

app = Typer(help="Import, draw, audit and split a cohort.", no_args_is_help=True)


@app.command("import")
def import_(
    source: Annotated[
        Path,
        Argument(
            help="Folder of class folders, a quoted pattern ('fields/**/*.jpg'), or a CSV, TSV, Excel or Parquet."
        ),
    ],
    out: Annotated[Path, Option(help="Manifest to write (.csv or .parquet).")],
    images: Images = None,
    table: Annotated[
        Path | None, Option(help="What is known about the images of a folder or pattern, by path or file name.")
    ] = None,
    sheet: Annotated[str | None, Option(help="Sheet of an Excel table; else the first that holds something.")] = None,
    encoding: Annotated[str | None, Option(help="Of a CSV table that is not UTF-8: cp1252, latin-1.")] = None,
    image_column: Annotated[str | None, Option(help="Column of the image paths.")] = None,
    label_column: Annotated[str | None, Option(help="Column of the labels.")] = None,
    patient_column: Annotated[str | None, Option(help="Column of the patients.")] = None,
    case_column: Annotated[str | None, Option(help="Column of the cases.")] = None,
    slide_column: Annotated[str | None, Option(help="Column of the slides.")] = None,
    site_column: Annotated[str | None, Option(help="Column of the sites.")] = None,
    stain_column: Annotated[str | None, Option(help="Column of the stains.")] = None,
    magnification_column: Annotated[str | None, Option(help="Column of the magnifications.")] = None,
    keep: Annotated[
        list[str] | None, Option(help="Other column to keep; may be repeated. Without it all are kept.")
    ] = None,
    label_from: Annotated[
        str | None,
        Option(help="Regular expression; its group in the file name is the label. With a / in it: in the path."),
    ] = None,
    patient_from: Annotated[str | None, Option(help="The same for the patient, e.g. '^(Patient_[0-9]+)__'.")] = None,
    case_from: Annotated[str | None, Option(help="The same for the case.")] = None,
    slide_from: Annotated[str | None, Option(help="The same for the slide.")] = None,
    site_from: Annotated[str | None, Option(help="The same for the site.")] = None,
    label: Annotated[
        list[str] | None, Option(help="NAME=positive or NAME=negative, or NAME=OTHER to join two; may be repeated.")
    ] = None,
    positive: Annotated[
        list[str] | None, Option(help="A label that is positive; may be repeated; all others are negative.")
    ] = None,
    card: Annotated[str | None, Option(help="Data card: a shipped name or a Markdown file.")] = None,
) -> None:
    """Make a manifest: a row per image with its label and what is known of patient, case and slide."""
    from cli.show import say
    from msht.cohort.manifest import CLASSES, counts_in_words
    from pipelines.cohort import import_cohort

    result = import_cohort(
        source,
        out=out,
        images=images,
        table=table,
        sheet=sheet,
        encoding=encoding,
        columns={
            "image": image_column,
            "label": label_column,
            "patient_id": patient_column,
            "case_id": case_column,
            "slide_id": slide_column,
            "site": site_column,
            "stain": stain_column,
            "magnification": magnification_column,
        },
        keep=keep,
        patterns={
            "label": label_from,
            "patient_id": patient_from,
            "case_id": case_from,
            "slide_id": slide_from,
            "site": site_from,
        },
        labels=label or (),
        positive=positive or (),
        card=card,
    )
    for note in result.notes:
        say(note)
    for reason, number in result.skipped.items():
        say(f"Left out {number}: {reason} ('{result.examples[reason]}'{' and others' if number > 1 else ''}).")
    classes = result.manifest.classes
    say(f"{out}: {counts_in_words(result.counts)} ({len(classes)} classes).")
    if classes != CLASSES:
        say("Training needs two classes: import again with --positive NAME for each class that is positive.")
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
    from msht.cohort.manifest import counts_in_words
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
    say(f"{out / 'manifest.csv'}: " + counts_in_words(counts) + ".")


app.command()(audit)


@app.command()
def split(
    manifest: Annotated[Path, Argument(help="Manifest of the cohort.")],
    out: Annotated[Path, Option(help="Split to write (.csv or .parquet).")],
    audit: Annotated[
        Path | None, Option(help="Folder of `msht cohort audit`: its near-duplicates stay on one side.")
    ] = None,
    folds: Annotated[int, Option(help="Folds of the development role.")] = 5,
    test_fraction: Annotated[
        float | None, Option(help="Share of the images in the test role, where it is drawn (0.2).")
    ] = None,
    test_where: Annotated[str | None, Option(help="column=value: these rows are the test role.")] = None,
    hold_out_site: Annotated[str | None, Option(help="The rows of this site are the test role.")] = None,
    seed: Annotated[int, Option(help="Of the draw.")] = 517,
    split_by_image: Annotated[
        bool, Option("--split-by-image", help="Accept a cohort without patients; printed in every report.")
    ] = False,
    card: Annotated[str | None, Option(help="Data card, in place of the manifest's.")] = None,
    images: Images = None,
) -> None:
    """Give every image a role and a fold; a patient's images, and copies of one picture, stay together."""
    from cli.show import progress, say, table
    from msht.cohort.splits import disjointness_in_words
    from msht.files import quoted
    from pipelines.cohort import split_cohort

    with progress() as bars:
        made, described = split_cohort(
            manifest,
            out=out,
            images=images,
            audit=audit,
            folds=folds,
            test_fraction=test_fraction,
            test_where=test_where,
            hold_out_site=hold_out_site,
            seed=seed,
            by_image=split_by_image,
            card=card,
            progress=bars,
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
    say(disjointness_in_words(made))
    joined = described["duplicates"]["sets_in_several_groups"]
    if joined and made.grouped_by is not None:
        say(f"Sets of copies that join several groups: {joined}. See the audit before you trust the ids.")
    say(made.balance.words)
    for warning in made.warnings:
        say(f"Warning: {warning}")
    if audit is None:
        words = f"msht cohort audit {quoted(manifest)} --out DIR"
        say(f"Search for near-duplicates with `{words}`, and split with --audit DIR.")


@app.command()
def card(
    manifest: Annotated[Path, Argument(help="Manifest of the cohort.")],
    out: Annotated[Path, Option(help="Card to write (.md).")],
    audit: Annotated[Path | None, Option(help="Folder of `msht cohort audit` for this manifest.")] = None,
    split: Annotated[Path | None, Option(help="Split of this manifest: images are counted by role.")] = None,
    name: Annotated[str | None, Option(help="Short name, lower case with hyphens; else the file's.")] = None,
    title: Annotated[str | None, Option(help="For people; else the name.")] = None,
    images: Images = None,
    update: Annotated[
        bool,
        Option("--update", help="Count anew, keep answers and comments of the card that is there, say what changed."),
    ] = False,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace a card although it was edited.")] = False,
) -> None:
    """Write a data card: everything that can be counted, and a question where a person must answer."""
    from cli.show import say
    from pipelines.cards import write_card

    made = write_card(
        manifest,
        out=out,
        audit=audit,
        split=split,
        name=name,
        title=title,
        images=images,
        update=update,
        overwrite=overwrite,
    )
    say(f"{out}: {made.images_in_all} images counted; {made.unanswered} answers are unknown and asked for in the card.")
    for sentence in made.kept:
        say(f"Kept: {sentence}.")
    for sentence in made.replaced:
        say(f"Replaced: {sentence}.")
    if audit is None:
        say("No audit was given: the card says so. Give its folder with --audit.")
    say(f"When it is filled in, name it to `msht cohort split --card {out}`, and every report prints it.")
