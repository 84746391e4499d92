"""The folder that a training writes: the one place that knows its paths and its state."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from msht.cohort.splits import Split, read_split
from msht.errors import InvalidInput
from msht.files import read_json, sha256_of, sha256_of_text, write_json
from msht.training.recipe import Recipe, read_recipe
from pipelines.words import now

PACKAGES = (
    "msht",
    "torch",
    "torchvision",
    "timm",
    "lightning",
    "albumentations",
    "opencv-python",
    "scikit-learn",
    "numpy",
    "grad-cam",
    "mlflow",
)


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run."""

    path: Path

    @property
    def state_file(self) -> Path:
        """What happened so far."""
        return self.path / "run.json"

    @property
    def recipe_file(self) -> Path:
        """The recipe as resolved."""
        return self.path / "recipe.yaml"

    @property
    def split_file(self) -> Path:
        """A copy of the split."""
        return self.path / "split.csv"

    @property
    def out_of_fold_file(self) -> Path:
        """Predictions of every development image by the network that did not see it."""
        return self.path / "out_of_fold.csv"

    @property
    def out_of_fold_cases_file(self) -> Path:
        """The same by case."""
        return self.path / "out_of_fold_cases.csv"

    @property
    def decision_file(self) -> Path:
        """Temperatures and what turns scores into calls."""
        return self.path / "decision.json"

    @property
    def figures_file(self) -> Path:
        """Figures of the development data."""
        return self.path / "figures.json"

    @property
    def evaluation_file(self) -> Path:
        """Figures of the test data; there once it was opened."""
        return self.path / "evaluation.json"

    @property
    def test_file(self) -> Path:
        """Predictions of every test image."""
        return self.path / "test.csv"

    @property
    def test_cases_file(self) -> Path:
        """The same by case."""
        return self.path / "test_cases.csv"

    def fold(self, number: int) -> Path:
        """Folder of a fold; it is there when the fold is finished."""
        return self.path / "folds" / str(number)

    def partial(self, number: int) -> Path:
        """Folder of a fold that is being trained: its checkpoints and how far it is."""
        return self.path / "folds" / f".{number}.training"

    @property
    def lock_file(self) -> Path:
        """Held by the process that trains; the system lets go of it when that process ends, however it ends."""
        return self.path / ".lock"

    def state(self) -> dict[str, Any]:
        """The state as last written."""
        if not self.state_file.is_file():
            raise InvalidInput(f"{self.path} is not a run: it has no run.json.", "Give a folder of `msht crossval`.")
        state: dict[str, Any] = read_json(self.state_file, what="state of a run")
        return state

    def write_state(self, state: dict[str, Any]) -> None:
        """Write the state with the time."""
        write_json(self.state_file, {**state, "updated": now()})

    def finished_folds(self, folds: int) -> list[int]:
        """Numbers of the folds that are done."""
        return [n for n in range(1, folds + 1) if (self.fold(n) / "fold.json").is_file()]

    def recipe(self) -> Recipe:
        """The recipe as resolved, if it is still the one that the run was started with.

        Raises:
            InvalidInput: if it was edited since.
        """
        recipe = read_recipe(self.recipe_file)
        if sha256_of(self.recipe_file) != self.state().get("recipe_digest"):
            raise InvalidInput(
                f"{self.recipe_file} was changed since the run was started.", "Put it back, or start a new run."
            )
        return recipe

    def split(self, images: Path | None = None, *, check_images: bool = True) -> Split:
        """The split, if it is still the one that the run was started with.

        Args:
            images: folder of the images, if they moved.
            check_images: whether each image must be there.

        Raises:
            InvalidInput: if it was replaced since.
        """
        split = read_split(self.split_file, images=images, check_images=check_images)
        if split.digest != self.state().get("split_digest"):
            raise InvalidInput(
                f"{self.split_file} is not the split that the run was started with.", "Put it back, or start anew."
            )
        return split

    def fitted_digest(self) -> str:
        """Digest of everything that answers: the decision and the weights of every fold."""
        parts = [sha256_of(self.decision_file)]
        parts += [sha256_of(weights) for weights in sorted((self.path / "folds").glob("*/model.safetensors"))]
        return sha256_of_text("".join(parts))

    def require_finished(self) -> dict[str, Any]:
        """The state of a run whose folds are all there.

        Raises:
            InvalidInput: saying where an unfinished one stopped.
        """
        state = self.state()
        if state["status"] != "finished":
            raise InvalidInput(
                f"The run {self.path} is {state['status']} ({state.get('where', 'no fold yet')}).",
                f"Go on with `msht crossval --resume {self.path}`.",
            )
        return state


def environment() -> dict[str, str]:
    """Versions and machine, without its name."""
    import torch

    from msht import __version__

    facts = {"msht": __version__, "python": platform.python_version(), "system": platform.system()}
    for package in PACKAGES[1:]:
        facts[package] = version(package)
    facts["processors"] = str(os.cpu_count())
    facts["threads"] = str(torch.get_num_threads())
    facts["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    commit = _git_commit()
    if commit:
        facts["git commit"] = commit
    return facts


def _git_commit() -> str | None:
    """The commit of msht's own checkout, where it runs from one."""
    head = Path(sys.modules["msht"].__file__ or "").resolve().parents[1] / ".git"
    try:
        text = (head / "HEAD").read_text(encoding="utf-8").strip()
        if text.startswith("ref: "):
            reference = head / text.removeprefix("ref: ")
            return reference.read_text(encoding="utf-8").strip()[:12] if reference.is_file() else None
        return text[:12]
    except OSError:
        return None
