"""`msht`: the commands, and how their errors are said.

Nothing heavy is imported here or at the top of any command: `msht --help` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

from typer import Exit, Option, Typer, echo

from cli import (
    bundle,
    cohort,
    compare,
    crossval,
    demo,
    doctor,
    evaluate,
    explain,
    export,
    models,
    promote,
    report,
    score,
    serve,
    track,
)

HELP = "Train, validate, explain and serve MSHT for cytology images. Decision support, never a diagnosis."

app = Typer(name="msht", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(cohort.app, name="cohort")
app.command()(crossval.crossval)
app.command()(compare.compare)
app.command()(evaluate.evaluate)
app.add_typer(bundle.app, name="bundle")
app.command()(export.export)
app.command()(score.score)
app.command()(explain.explain)
app.add_typer(report.app, name="report")
app.command()(promote.register)
app.command()(promote.promote)
app.command()(serve.serve)
app.add_typer(track.app, name="track")
app.command()(models.models)
app.command()(demo.demo)
app.command()(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        from msht import __version__

        echo(f"msht {__version__}")
        raise Exit


@app.callback(help=HELP)
def main(
    version: Annotated[
        bool, Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Nothing of its own: the commands below do the work."""


def run() -> None:
    """Run the command line; what a user can mend is one sentence and exit code 2."""
    try:
        app()
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        fail(f"{error.filename or 'A file'} cannot be used: {error.strerror or error}.")
    except Exception as error:
        if _is(error, "msht.errors", "InvalidInput"):
            fail(str(error))
        if _is(error, "pipelines.progress", "Interrupted"):
            fail(str(error), code=130)
        raise


def _is(error: Exception, module: str, name: str) -> bool:
    """Whether an error is of a class whose module need not have been imported."""
    return module in sys.modules and isinstance(error, getattr(sys.modules[module], name))


def fail(words: str, code: int = 2) -> NoReturn:
    """Print one sentence on standard error and leave."""
    echo(f"error: {words}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    run()
