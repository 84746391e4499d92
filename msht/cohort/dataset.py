"""From rows of a table to arrays for a network: each field decoded once, kept small, augmented by epoch."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from msht.cohort.cache import FieldCache
from msht.cohort.field import (
    OVERSAMPLING,
    SourceField,
    StoredField,
    prepare_field,
    reach_of,
    source_of,
    still_view,
    view_once,
)
from msht.errors import InvalidInput
from msht.files import inside
from msht.images.augmentation import Augmentation, Augmenter
from msht.images.colour import Colour, corrected
from msht.images.preprocessing import Pixels, Preprocessing, cut_views, planes_of
from msht.images.quality import Quality
from msht.images.reading import decode_image, plain_pixels, read_bytes

__all__ = [
    "OVERSAMPLING",
    "EpochSampler",
    "EvaluationFields",
    "FieldOfStore",
    "FieldStore",
    "SourceField",
    "StoredField",
    "TrainingFields",
]

AHEAD = 32
"""Fields that are prepared while an earlier one is waited for; more would lie in memory beyond any bound."""


class FieldStore:
    """Prepared fields by path: in memory within a bound, or on disk within a cache.

    Args:
        root: folder that the paths start from.
        preprocessing: of the recipe.
        limit_bytes: memory for evaluation views, which come first, and for what augmentation draws from; what is
            beyond it is read again whenever it is asked for. Fields in a cache are mapped from disk and need none.
            Quality and digest of every field are kept beside it.
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
        self._facts: dict[str, tuple[Quality, str]] = {}
        self._views: dict[str, Pixels] = {}
        self._sources: dict[str, SourceField] = {}
        self._keys: dict[str, str] = {}
        self._paths: dict[str, Path] = {}
        self._used = 0

    def load(self, images: Sequence[str], on_progress: Callable[[int, int], None] | None = None) -> None:
        """Prepare images that are not there yet, on several threads: decoding leaves Python's lock.

        Raises:
            UnreadableImage: for the first image that cannot be decoded whole.
        """
        wanted = [image for image in images if image not in self._facts]
        pool = ThreadPoolExecutor(max_workers=min(8, torch.get_num_threads()))
        try:
            waiting: deque[tuple[str, Future[tuple[str | None, StoredField]]]] = deque()
            begun = iter(wanted)
            for done in range(1, len(wanted) + 1):
                while len(waiting) < AHEAD and (image := next(begun, None)) is not None:
                    waiting.append((image, pool.submit(self._prepare, image)))
                image, found = waiting.popleft()
                self._settle(image, *found.result())
                del found  # its field would stay until the next one came
                if on_progress is not None:
                    on_progress(done, len(wanted))
        finally:
            pool.shutdown(cancel_futures=True)  # one bad image or ctrl-C must not wait for all the others

    def __getitem__(self, image: str) -> FieldOfStore:
        if image not in self._facts:
            self._settle(image, *self._prepare(image))
        return FieldOfStore(self, image, *self._facts[image])

    def evaluation_view(self, image: str) -> Pixels:
        """What the network sees in evaluation, uint8 (S, S, 3) or (K, S, S, 3), read again where it was not kept.

        Raises:
            InvalidInput: if the file changed since it was prepared.
        """
        view, _ = self._at_hand(image)
        return cut_views(self._read_again(image, same=True), self.preprocessing) if view is None else view

    def source(self, image: str) -> SourceField:
        """What augmentation draws from, read again where it was not kept."""
        _, kept = self._at_hand(image)
        return source_of(self._read_again(image), self.preprocessing, self._reach) if kept is None else kept

    def source_at_hand(self, image: str) -> SourceField | None:
        """What augmentation draws from, where it was kept."""
        return self._at_hand(image)[1]

    def view(self, image: str, augmenter: Augmenter, *, epoch: int, index: int) -> Pixels:
        """Make the view of an epoch and a row, uint8 (S, S, 3), whether its source was kept or not.

        Without augmentation it is that of evaluation, or one of its crops.
        """
        view, kept = self._at_hand(image)
        if augmenter.still and view is not None:
            return still_view(view, augmenter, epoch=epoch, index=index).copy()
        if not augmenter.still and kept is not None:
            return augmenter(kept.pixels, epoch=epoch, index=index, squares=kept.squares)
        pixels = self._read_again(image)
        return view_once(pixels, self.preprocessing, self._reach, augmenter, epoch=epoch, index=index)

    def _at_hand(self, image: str) -> tuple[Pixels | None, SourceField | None]:
        """What of a field is at hand: its view, and what augmentation draws from."""
        if image in self._keys and self.cache is not None:
            # Mapped for the moment only: a process may hold far fewer files open than a cohort has fields.
            field = self.cache.get(self._keys[image], check=False)
            if field is not None:
                return field.view, field.source
            del self._keys[image]  # another run needed the room
        elif image in self._facts:
            return self._views.get(image), self._sources.get(image)
        key, field = self._prepare(image)
        self._settle(image, key, field)
        return field.view, field.source

    def _read_again(self, image: str, *, same: bool = False) -> Pixels:
        """Read what training draws from, its colour seen to.

        Args:
            image: its path.
            same: whether to make sure that the file is the one that was prepared.
        """
        path = self._paths.get(image) or self._path(image)
        data = read_bytes(path)
        if same and hashlib.sha256(data).hexdigest() != self._facts[image][1]:
            raise InvalidInput(f"{path} changed since this run read it first.", "Leave images alone during a run.")
        pixels = plain_pixels(data, path)
        return corrected(decode_image(data, path).pixels if pixels is None else pixels, self.preprocessing.colour)

    def _path(self, image: str) -> Path:
        """Find where an image lies, once: following every link of a path takes as long as drawing a view's colours."""
        self._paths[image] = path = inside(self.root, image)
        return path

    def _settle(self, image: str, key: str | None, field: StoredField) -> None:
        """Note a field that was prepared, and keep it in memory where it has no entry in the cache."""
        self._facts[image] = field.quality, field.sha256
        if key is not None:
            self._keys[image] = key
        else:
            self._keep(image, field)

    def _keep(self, image: str, field: StoredField) -> None:
        """Keep of a field what there is room for: its view before the source of any other, then its own source.

        Every epoch asks for the views of all held-out fields, and a view takes a third of the room of a source.
        """
        while self._used + field.view.nbytes > self.limit_bytes and self._sources:
            _, dropped = self._sources.popitem()
            self._used -= dropped.pixels.nbytes
        if self._used + field.view.nbytes > self.limit_bytes:
            return
        self._views[image] = field.view
        self._used += field.view.nbytes
        if field.source is not None and self._used + field.source.pixels.nbytes <= self.limit_bytes:
            self._sources[image] = field.source
            self._used += field.source.pixels.nbytes

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


class FieldOfStore:
    """A field of a store: quality and digest at once, its pixels when they are asked for.

    Args:
        store: that has it.
        image: its path.
        quality: measured on the field as it came.
        sha256: digest of the file.
    """

    def __init__(self, store: FieldStore, image: str, quality: Quality, sha256: str) -> None:
        self._store = store
        self._image = image
        self.quality = quality
        self.sha256 = sha256

    @property
    def view(self) -> Pixels:
        """What the network sees in evaluation; see `FieldStore.evaluation_view`."""
        return self._store.evaluation_view(self._image)

    @property
    def source(self) -> SourceField | None:
        """What augmentation draws from; None where it was not kept."""
        return self._store.source_at_hand(self._image)


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
        return planes_of(self.store.evaluation_view(self.images[index])), self.labels[index]


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
