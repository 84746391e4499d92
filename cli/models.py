"""`msht models`: the networks that can be trained."""

from __future__ import annotations

from typing import Annotated

from typer import Option


def models(
    json: Annotated[bool, Option("--json", help="Print a JSON list instead of a table.")] = False,
) -> None:
    """List MSHT and its counterparts: name, size, parameters, multiply-accumulates."""
    from dataclasses import asdict

    from pipelines.models import list_models

    rows = list_models()
    if json:
        from json import dumps

        print(dumps([asdict(row) for row in rows], indent=2))  # noqa: T201
        return

    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("name", no_wrap=True)
    for heading in ("px", "M param.", "GMAC", "MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("source", no_wrap=True)
    for row in rows:
        table.add_row(
            row.name,
            str(row.size),
            f"{row.parameters / 1e6:.1f}",
            f"{row.gmacs:.2f}",
            f"{row.megabytes:.0f}",
            row.source.split(", ")[-1],
        )
    console = Console()
    console.print(table)
    console.print("\nAny image classifier of timm can be named too, and any of its CNNs as MSHT's backbone.")
