"""`msht doctor`: what is there and what is missing."""

from __future__ import annotations

from typer import Exit

from cli.options import TrackingUri


def doctor(tracking_uri: TrackingUri = None) -> None:
    """Check versions, devices, threads, the MLflow store, fonts, recipes and disk."""
    from cli.show import say, table
    from pipelines.doctor import examine

    findings = examine(tracking_uri)
    table(["", "check", "found"], [["ok" if f.good else "MISSING", f.name, f.found] for f in findings])
    bad = [finding for finding in findings if not finding.good]
    for finding in bad:
        say(f"{finding.name}: {finding.mend}")
    if bad:
        raise Exit(1)
