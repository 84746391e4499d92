"""The real images that an export is held against, and those that int8 is fitted on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from msht.bundle import Bundle
from msht.cohort.splits import cases_of, groups_of
from msht.errors import InvalidInput, UnreadableImage
from msht.files import inside, read_json
from msht.images.preprocessing import Preprocessing, view_of
from msht.images.reading import read_image
from pipelines.evaluation_parts import drawn_by_group
from pipelines.inputs import find_inputs
from pipelines.run_folder import RunFolder

CALIBRATION_IMAGES = 200
"""Training images of each network that the steps of int8 are fitted on."""
SEED = 517


@dataclass(frozen=True)
class Pictures:
    """Images for an export.

    Attributes:
        verify: files that both sides answer about, length B.
        held_out: the fold whose network did not train on each, shape (B,); 0 where that is not known.
        cases: of each, shape (B,).
        calibrate: by fold, training images of its network.
        in_words: which images `verify` holds.
    """

    verify: list[Path]
    held_out: np.ndarray
    cases: np.ndarray
    calibrate: dict[int, list[Path]]
    in_words: str

    @property
    def calibration_in_words(self) -> str:
        """Which images int8 was fitted on."""
        counts = [len(files) for files in self.calibrate.values()]
        return f"{min(counts)} to {max(counts)} training images of each network, none of which verifies it"

    @staticmethod
    def views(files: Sequence[Path], preprocessing: Preprocessing, advance: Callable[[int], None]) -> np.ndarray:
        """What the networks see of these files, uint8."""
        views = []
        for file in files:
            views.append(view_of(read_image(file).pixels, preprocessing))
            advance(1)
        return np.stack(views)

    @staticmethod
    def squares(files: Sequence[Path], preprocessing: Preprocessing) -> list[np.ndarray]:
        """One square of each file, uint8 of shape (1, S, S, 3)."""
        size = preprocessing.size
        views = [view_of(read_image(file).pixels, preprocessing) for file in files]
        return [
            view.reshape(-1, size, size, 3)[number % (view.size // (3 * size * size))][None]
            for number, view in enumerate(views)
        ]


def from_run(bundle: Bundle, path: Path, images: Path | None, most: int) -> Pictures:
    """Development images of the run that a bundle was made from.

    Raises:
        InvalidInput: if the bundle holds the networks of another run.
    """
    run = RunFolder(path)
    run.require_finished()
    for fold in bundle.description.folds:
        described = read_json(run.fold(fold.number) / "fold.json", what="description of a fold")
        if described["weights_sha256"] != fold.weights_sha256:
            raise InvalidInput(
                f"{bundle.path} holds another network for fold {fold.number} than the run {path}.",
                "Give the run that the bundle was made from.",
            )
    split = run.split(images)
    frame = split.development
    frame = frame.assign(case=cases_of(frame), group=groups_of(frame, split.grouped_by))
    chosen = _chosen(frame, run, bundle.description.decision.field_point.threshold, most)
    numbers = [fold.number for fold in bundle.description.folds]

    def files(rows: pd.DataFrame) -> list[Path]:
        return [inside(split.root, image) for image in rows["image"]]

    calibrate = {
        number: files(drawn_by_group(frame[frame["fold"] != number], CALIBRATION_IMAGES, SEED + number))
        for number in numbers
    }
    if len(chosen) == len(frame):
        words = f"all {len(frame)} development images; each network by those that it did not train on"
    else:
        words = (
            f"{len(chosen)} of {len(frame)} development images, half of them those whose out-of-fold answer is nearest "
            "to the threshold; each network by those that it did not train on"
        )
    return Pictures(
        verify=files(chosen),
        held_out=chosen["fold"].to_numpy(dtype=int),
        cases=chosen["case"].astype(str).to_numpy(),
        calibrate=calibrate,
        in_words=words,
    )


def _chosen(frame: pd.DataFrame, run: RunFolder, threshold: float, most: int) -> pd.DataFrame:
    """The images that are nearest to the threshold, and as many drawn one patient after another."""
    if len(frame) <= most:
        return frame
    answers = pd.read_csv(run.out_of_fold_file).set_index("image")["probability"]
    nearness = (frame["image"].map(answers) - threshold).abs()
    near = frame.loc[nearness.sort_values(kind="stable").index[: most // 2]]
    others = drawn_by_group(frame.drop(near.index), most - len(near), SEED)
    return frame.loc[frame.index.isin([*near.index, *others.index])]


def from_source(source: Path, most: int) -> Pictures:
    """Images of a folder or a table, of which nobody knows who trained on them.

    Raises:
        InvalidInput: if none can be read.
    """
    found = find_inputs([source])
    places = np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).astype(int))
    good = []
    for item in (found[place] for place in places):
        try:
            read_image(item.path)
        except UnreadableImage:
            continue
        good.append(item)
    if not good:
        raise InvalidInput(f"No image of {source} can be read.", "Give photographs of fields.")
    return Pictures(
        verify=[item.path for item in good],
        held_out=np.zeros(len(good), dtype=int),
        cases=np.array([item.case for item in good]),
        calibrate={},
        in_words=f"{len(good)} images given at the export; which networks trained on them is not known",
    )
