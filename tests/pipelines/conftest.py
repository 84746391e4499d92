"""A whole small project, made once: phantom, split, run, evaluation, bundle, scores."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.progress import Silent

TINY = (
    "training.epochs=2",
    "schedule.warmup_epochs=0",
    "preprocessing.size=64",
    "training.batch_size=16",
)


@dataclass(frozen=True)
class World:
    """Where everything lies."""

    folder: Path
    cohort: Path
    manifest: Path
    split: Path
    run: Path
    bundle: Path
    scores: Path
    tracking_uri: str
    overrides: tuple[str, ...] = TINY


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The project; tests must not change it (see `copied`)."""
    from pipelines.bundle import make_bundle
    from pipelines.cohort import split_cohort
    from pipelines.crossval import cross_validate
    from pipelines.phantom import draw_phantom
    from pipelines.score import score_images

    folder = tmp_path_factory.mktemp("world")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    cohort = folder / "cohort"
    draw_phantom(cohort, patients=14, fields_per_patient=4, width=192, height=144, seed=3)
    split_cohort(cohort / "manifest.csv", out=folder / "split.csv", folds=2, test_fraction=0.33, seed=5)
    cross_validate(folder / "split.csv", "demo", folder / "run", overrides=TINY, tracking_uri=uri)
    make_bundle(folder / "run", folder / "bundle", tracking_uri=uri)
    score_images(folder / "bundle", [cohort / "images"], folder / "scores")
    return World(
        folder=folder,
        cohort=cohort,
        manifest=cohort / "manifest.csv",
        split=folder / "split.csv",
        run=folder / "run",
        bundle=folder / "bundle",
        scores=folder / "scores",
        tracking_uri=uri,
    )


@pytest.fixture
def copied(world: World, tmp_path: Path) -> World:
    """The project with a run, bundle and scores of one's own to change."""
    for name in ("run", "bundle", "scores"):
        shutil.copytree(world.folder / name, tmp_path / name)
    return World(
        folder=tmp_path,
        cohort=world.cohort,
        manifest=world.manifest,
        split=world.split,
        run=tmp_path / "run",
        bundle=tmp_path / "bundle",
        scores=tmp_path / "scores",
        tracking_uri=world.tracking_uri,
    )


class Said(Silent):
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def say(self, words: str) -> None:
        """Keep it."""
        self.words.append(words)


@pytest.fixture
def said() -> Said:
    """A listener, with all that it was told in `words`."""
    return Said()
