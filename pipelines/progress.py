"""How a use case tells how far it is, without knowing who listens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Interrupted(Exception):
    """Ctrl-C in long work that can go on: says where it stopped and how to resume."""


class Progress(Protocol):
    """Something that shows stages, one within another."""

    def start(self, title: str, total: int | None) -> int:
        """Begin a stage of `total` steps (None: unknown) and give it a number."""

    def update(self, stage: int, done: int, note: str = "") -> None:
        """Say that `done` steps of a stage are through, with a few words about the last."""

    def finish(self, stage: int) -> None:
        """End a stage."""

    def say(self, words: str) -> None:
        """Print a line that stays."""


class Silent:
    """Listens to nothing."""

    def start(self, title: str, total: int | None) -> int:
        """Begin nothing."""
        return 0

    def update(self, stage: int, done: int, note: str = "") -> None:
        """Show nothing."""

    def finish(self, stage: int) -> None:
        """End nothing."""

    def say(self, words: str) -> None:
        """Print nothing."""


@contextmanager
def stage(progress: Progress, title: str, total: int | None) -> Iterator[Steps]:
    """A stage that ends when the block does."""
    steps = Steps(progress, progress.start(title, total))
    try:
        yield steps
    finally:
        progress.finish(steps.number)


class Steps:
    """Counts the steps of one stage."""

    def __init__(self, progress: Progress, number: int) -> None:
        self.progress = progress
        self.number = number
        self.done = 0
        self.note = ""

    def advance(self, by: int = 1) -> None:
        """Count steps."""
        self.done += by
        self.progress.update(self.number, self.done, self.note)

    def at(self, done: int, _total: int | None = None) -> None:
        """Set the count; fits callbacks that report (done, total)."""
        self.done = done
        self.progress.update(self.number, done, self.note)

    def describe(self, note: str) -> None:
        """Change the words beside the bar."""
        self.note = note
        self.progress.update(self.number, self.done, note)
