"""`msht cohort audit`: what is wrong with a cohort, before it reaches a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from cli.options import Images


def audit(
    manifest: Annotated[Path, Argument(help="Manifest of the cohort.")],
    out: Annotated[Path, Option(help="Folder of the result; a stopped audit goes on there.")],
    images: Images = None,
    workers: Annotated[int | None, Option(help="Processes. Default: as many as cores, at most 16.")] = None,
    no_pdf: Annotated[bool, Option("--no-pdf", help="Write the tables only.")] = False,
    strict: Annotated[bool, Option("--strict", help="Exit with 1 when anything must be mended.")] = False,
) -> None:
    """Look at every image: damage, copies, copies across patients and labels, quality, stain, shortcuts."""
    import signal

    from typer import Exit

    from cli.show import progress, say, table
    from msht.files import quoted
    from pipelines.audit import audit_cohort

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as jobs are stopped: the same as Ctrl-C
    with progress() as bars:
        result = audit_cohort(manifest, out=out, images=images, workers=workers, report=not no_pdf, progress=bars)
    pairs = f"{len(result['pairs']):,} pair{'s' * (len(result['pairs']) != 1)}"
    say(f"{result['images']:,} images, {result['readable']:,} decoded whole, {pairs} of copies.")
    if result["findings"]:
        rows = [[row["severity"], row["kind"], f"{row['count']:,}"] for row in result["findings"]]
        table(["Severity", "What", "Number"], rows, numbers=1)
    for row in result["shortcuts"]:
        if row["exceeds"]:
            say(
                f"{row['name'].capitalize()} alone tells {row['label']} from the rest: AUROC {row['auroc']:.2f} "
                f"({row['low']:.2f} to {row['high']:.2f}, by patient)."
            )
    must, look = (result["by_severity"][severity] for severity in ("must be mended", "look at it"))
    where = out / ("findings.csv" if no_pdf else "audit.pdf")
    if must:
        places = str(where) if no_pdf else f"{where} and {out / 'findings.csv'}"
        say(f"Mend {must:,} finding{'s' * (must != 1)} before training: see {places}.")
    elif look:
        say(f"Nothing must be mended; look at {look:,} finding{'s' * (look != 1)} in {where}.")
    else:
        say(f"Nothing was found that must be mended or looked at: {where}.")
    if result["pairs"]:
        moved = f" --images {quoted(images)}" if images is not None else ""
        words = f"msht cohort split {quoted(manifest)}{moved} --audit {quoted(out)} --out split.csv"
        say(f"Keep copies on one side: {words}")
    if strict and must:
        raise Exit(1)
