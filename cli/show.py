"""What the commands print: progress bars, lines, tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import Task


LINE_EVERY = 15.0
"""Seconds between lines where progress goes to a file."""


class RichProgress:
    """Progress bars on standard error, so that standard output stays clean for results."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self.last_line = 0.0

    def start(self, title: str, total: int | None) -> int:
        """Show a bar."""
        return self.bars.add_task(title, total=total, note="")

    def update(self, stage: int, done: int, note: str = "") -> None:
        """Move a bar; where there is no terminal to draw it on, print a line now and then."""
        import time

        from rich.progress import TaskID

        self.bars.update(TaskID(stage), completed=done, note=note)
        if not self.bars.console.is_terminal and time.monotonic() - self.last_line > LINE_EVERY:
            self.last_line = time.monotonic()
            task = next(task for task in self.bars.tasks if task.id == stage)
            self.say(f"{task.description}  {_so_far(done, task.total)}{_rate(task)}  {note}".rstrip())

    def finish(self, stage: int) -> None:
        """Stop the clock of a bar."""
        from rich.progress import TaskID

        self.bars.stop_task(TaskID(stage))

    def say(self, words: str) -> None:
        """Print a line above the bars."""
        self.bars.console.print(words, highlight=False, markup=False, soft_wrap=True)


def _so_far(done: int, total: float | None) -> str:
    return f"{done}" if total is None else f"{done} of {total:.0f}"


def _rate(task: Task) -> str:
    """How fast a stage is and how long it will take, where it goes by many small steps."""
    if not task.speed or task.speed < 1:
        return ""
    left = "" if task.time_remaining is None else f", {timedelta(seconds=round(task.time_remaining))} left"
    return f"  ({task.speed:.1f} per second{left})"


@contextmanager
def progress() -> Iterator[RichProgress]:
    """Bars that live as long as the block."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    class Rate(ProgressColumn):
        """Steps per second, where they are many."""

        def render(self, task: Task) -> str:
            return f"{task.speed:.1f}/s" if task.speed and task.speed >= 1 else ""

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        Rate(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
        refresh_per_second=4,
    ) as bars:
        yield RichProgress(bars)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int = 0) -> None:
    """Print a table on standard output.

    Args:
        headings: of the columns.
        rows: their cells.
        numbers: how many columns at the right are aligned right.
    """
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for position, heading in enumerate(headings):
        right = position >= len(headings) - numbers
        shown.add_column(heading, justify="right" if right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*row)
    Console(width=None if _is_terminal() else 140, highlight=False, markup=False).print(shown)


def say(words: str) -> None:
    """Print a line on standard output."""
    from typer import echo

    echo(words)


def _is_terminal() -> bool:
    import sys

    return sys.stdout.isatty()
