"""From rows of a table to arrays for a network: each field decoded once, kept small, augmented by epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from msht.files import inside
from msht.images.augmentation import Augmenter
from msht.images.preprocessing import Preprocessing, to_tensor, view_of
from msht.images.quality import Quality, measure_quality
from msht.images.reading import read_image

OVERSAMPLING = 1.5
"""Edge of the stored crop in multiples of the network's: room for rotation and scaling without visible loss."""


@dataclass(frozen=True)
class StoredField:
    """What is kept of one field.

    Attributes:
        view: what the network sees in evaluation, uint8 of shape (S, S, 3).
        source: the field reduced for augmentation, uint8 of shape (H, W, 3); None where memory was spent.
        quality: measured on the field as it came.
        sha256: digest of the file.
    """

    view: np.ndarray
    source: np.ndarray | None
    quality: Quality
    sha256: str


class FieldStore:
    """Decoded fields by path, within a bound on memory.

    Args:
        root: folder that the paths start from.
        preprocessing: geometry of the recipe.
        limit_bytes: memory for the reduced fields; those beyond it are decoded again whenever they are asked for.
    """

    def __init__(self, root: Path, preprocessing: Preprocessing, limit_bytes: int) -> None:
        self.root = root
        self.preprocessing = preprocessing
        self.limit_bytes = limit_bytes
        self._fields: dict[str, StoredField] = {}
        self._used = 0
        self._scale = 1.0
        if preprocessing.crop is not None:
            self._scale = min(1.0, OVERSAMPLING * preprocessing.size / preprocessing.crop)
            self.source_preprocessing = preprocessing.model_copy(
                update={"crop": max(1, round(preprocessing.crop * self._scale))}
            )
        else:
            self.source_preprocessing = preprocessing

    def load(self, images: Sequence[str], on_progress: Callable[[int, int], None] | None = None) -> None:
        """Decode images that are not there yet, on several threads: decoding leaves Python's lock.

        Raises:
            UnreadableImage: for the first image that cannot be decoded whole.
        """
        wanted = [image for image in images if image not in self._fields]
        pool = ThreadPoolExecutor(max_workers=min(8, torch.get_num_threads()))
        try:
            for done, (image, field) in enumerate(zip(wanted, pool.map(self._decode, wanted), strict=True), start=1):
                if self._used + field.view.nbytes + (field.source.nbytes if field.source is not None else 0) > (
                    self.limit_bytes
                ):
                    field = StoredField(field.view, None, field.quality, field.sha256)
                self._used += field.view.nbytes + (field.source.nbytes if field.source is not None else 0)
                self._fields[image] = field
                if on_progress is not None:
                    on_progress(done, len(wanted))
        finally:
            pool.shutdown(cancel_futures=True)  # one bad image or ctrl-C must not wait for all the others

    def __getitem__(self, image: str) -> StoredField:
        if image not in self._fields:
            self.load([image])
        return self._fields[image]

    def source(self, image: str) -> np.ndarray:
        """The reduced field, decoded again where it was not kept; uint8 of shape (H, W, 3)."""
        kept = self[image].source
        if kept is not None:
            return kept
        decoded = self._decode(image).source
        assert decoded is not None
        return decoded

    def _decode(self, image: str) -> StoredField:
        decoded = read_image(inside(self.root, image))
        pixels = decoded.pixels
        return StoredField(
            view=view_of(pixels, self.preprocessing),
            source=self._reduce(pixels),
            quality=measure_quality(pixels),
            sha256=decoded.record.sha256,
        )

    def _reduce(self, pixels: np.ndarray) -> np.ndarray:
        height, width = pixels.shape[:2]
        scale = self._scale
        if self.preprocessing.crop is None:
            scale = min(1.0, OVERSAMPLING * self.preprocessing.size / min(height, width))
        if scale >= 1.0:
            return pixels
        size = (max(1, math.ceil(width * scale)), max(1, math.ceil(height * scale)))
        return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


class TrainingFields(Dataset):
    """Augmented fields with their labels; asked for by (epoch, index), so that workers cannot matter.

    Args:
        store: the decoded fields.
        images: paths, N of them.
        labels: class indices, N of them.
        augmenter: draws the same picture for the same (epoch, index).
    """

    def __init__(self, store: FieldStore, images: Sequence[str], labels: Sequence[int], augmenter: Augmenter) -> None:
        self.store = store
        self.images = list(images)
        self.labels = list(labels)
        self.augmenter = augmenter

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int]:
        epoch, index = key
        view = self.augmenter(self.store.source(self.images[index]), epoch=epoch, index=index)
        return to_tensor(view, self.store.preprocessing)[0], self.labels[index]


class EvaluationFields(Dataset):
    """Fields as the network sees them in evaluation, with their labels."""

    def __init__(self, store: FieldStore, images: Sequence[str], labels: Sequence[int]) -> None:
        self.store = store
        self.images = list(images)
        self.labels = list(labels)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return to_tensor(self.store[self.images[index]].view, self.store.preprocessing)[0], self.labels[index]


class EpochSampler(Sampler):
    """Every index once an epoch, in an order drawn from (seed, epoch), together with the epoch.

    Lightning calls `set_epoch`; the pair reaches the data set, so that augmentation knows the epoch in any worker.
    """

    def __init__(self, length: int, seed: int) -> None:
        self.length = length
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next pass is."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.Generator(np.random.PCG64([self.seed, self.epoch])).permutation(self.length)
        return iter([(self.epoch, int(index)) for index in order])
