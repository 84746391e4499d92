"""From rows of a table to arrays for a network: each field decoded once, kept small, augmented by epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from msht.cohort.cache import FieldCache
from msht.cohort.field import OVERSAMPLING, SourceField, StoredField, prepare_field, reach_of, source_of, view_once
from msht.files import inside
from msht.images.augmentation import Augmentation, Augmenter
from msht.images.colour import Colour, corrected
from msht.images.preprocessing import Pixels, Preprocessing, planes_of
from msht.images.reading import decode_image, plain_pixels, read_bytes

__all__ = [
    "OVERSAMPLING",
    "EpochSampler",
    "EvaluationFields",
    "FieldStore",
    "SourceField",
    "StoredField",
    "TrainingFields",
]


class FieldStore:
    """Prepared fields by path: in memory within a bound, or on disk within a cache.

    Args:
        root: folder that the paths start from.
        preprocessing: of the recipe.
        limit_bytes: memory for what augmentation draws from; fields beyond it are read again whenever they are asked
            for. Fields in a cache are mapped from disk and need none.
        augmentation: of the recipe; what its views cannot reach is cut away. None: the whole field is kept.
        cache: on disk; None: every process decodes for itself.
    """

    def __init__(
        self,
        root: Path,
        preprocessing: Preprocessing,
        limit_bytes: int,
        *,
        augmentation: Augmentation | None = None,
        cache: FieldCache | None = None,
    ) -> None:
        self.root = root
        self.preprocessing = preprocessing
        self.source_preprocessing = preprocessing.model_copy(update={"colour": Colour()})
        self.limit_bytes = limit_bytes
        self.cache = cache
        self.decoded = 0
        """Images that this process decoded whole, to prepare them."""
        self._reach = math.inf if augmentation is None else reach_of(augmentation)
        self._settings = {**preprocessing.model_dump(mode="json", exclude={"mean", "std"}), "reach": str(self._reach)}
        self._fields: dict[str, StoredField] = {}
        self._keys: dict[str, str] = {}
        self._paths: dict[str, Path] = {}
        self._used = 0

    def load(self, images: Sequence[str], on_progress: Callable[[int, int], None] | None = None) -> None:
        """Prepare images that are not there yet, on several threads: decoding leaves Python's lock.

        Raises:
            UnreadableImage: for the first image that cannot be decoded whole.
            MissingResource: if the cache cannot be written.
        """
        wanted = [image for image in images if image not in self._fields and image not in self._keys]
        pool = ThreadPoolExecutor(max_workers=min(8, torch.get_num_threads()))
        try:
            for done, (image, found) in enumerate(zip(wanted, pool.map(self._prepare, wanted), strict=True), start=1):
                key, field = found
                if key is not None:
                    self._keys[image] = key
                else:
                    self._keep(image, field)
                if on_progress is not None:
                    on_progress(done, len(wanted))
        finally:
            pool.shutdown(cancel_futures=True)  # one bad image or ctrl-C must not wait for all the others

    def __getitem__(self, image: str) -> StoredField:
        if image in self._fields:
            return self._fields[image]
        if image in self._keys and self.cache is not None:
            # Mapped for the moment only: a process may hold far fewer files open than a cohort has fields.
            field = self.cache.get(self._keys[image], check=False)
            if field is not None:
                return field
            del self._keys[image]  # another run needed the room
        key, field = self._prepare(image)
        if key is not None:
            self._keys[image] = key
            return field
        return self._keep(image, field)

    def source(self, image: str) -> SourceField:
        """What augmentation draws from, read again where it was not kept."""
        kept = self[image].source
        if kept is not None:
            return kept
        return source_of(self._read_again(image), self.preprocessing, self._reach)

    def view(self, image: str, augmenter: Augmenter, *, epoch: int, index: int) -> Pixels:
        """Make the augmented view of an epoch and a row, uint8 (S, S, 3), whether its source was kept or not."""
        kept = self[image].source
        if kept is not None:
            return augmenter(kept.pixels, epoch=epoch, index=index, squares=kept.squares)
        pixels = self._read_again(image)
        return view_once(pixels, self.preprocessing, self._reach, augmenter, epoch=epoch, index=index)

    def _read_again(self, image: str) -> Pixels:
        """Read what training draws from, its colour seen to."""
        path = self._paths.get(image) or self._path(image)
        data = read_bytes(path)
        pixels = plain_pixels(data, path)
        return corrected(decode_image(data, path).pixels if pixels is None else pixels, self.preprocessing.colour)

    def _path(self, image: str) -> Path:
        """Find where an image lies, once: following every link of a path takes as long as drawing a view's colours."""
        self._paths[image] = path = inside(self.root, image)
        return path

    def _keep(self, image: str, field: StoredField) -> StoredField:
        """Keep a field in memory, without its source where there is no room for it."""
        cost = field.view.nbytes + (field.source.pixels.nbytes if field.source is not None else 0)
        if self._used + cost > self.limit_bytes:
            field = replace(field, source=None)
            cost = field.view.nbytes
        self._used += cost
        self._fields[image] = field
        return field

    def _prepare(self, image: str) -> tuple[str | None, StoredField]:
        """Prepare a field, and name its entry in the cache where it has one."""
        path = self._path(image)
        if self.cache is None:
            return None, self._decode(path, read_bytes(path))
        data = read_bytes(path)
        key = self.cache.key(data, path, self._settings)
        field = self.cache.get(key)
        if field is not None:
            return key, field
        field = self._decode(path, data)
        return (key if self.cache.put(key, field) else None), field

    def _decode(self, path: Path, data: bytes) -> StoredField:
        self.decoded += 1
        return prepare_field(decode_image(data, path), self.preprocessing, self._reach)


class TrainingFields(Dataset):
    """Augmented fields with their labels; asked for by (epoch, index), so that workers cannot matter.

    A field is uint8 of shape (3, S, S); `normalised` scales a batch of them where it is trained on.

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
        view = self.store.view(self.images[index], self.augmenter, epoch=epoch, index=index)
        return planes_of(view), self.labels[index]


class EvaluationFields(Dataset):
    """Fields as the network sees them in evaluation, with their labels.

    A field is uint8 of shape (3, S, S), or (K, 3, S, S) for K > 1 crops; `normalised` makes input of a batch.
    """

    def __init__(self, store: FieldStore, images: Sequence[str], labels: Sequence[int]) -> None:
        self.store = store
        self.images = list(images)
        self.labels = list(labels)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return planes_of(self.store[self.images[index]].view), self.labels[index]


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
