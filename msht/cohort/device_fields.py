"""Training fields whose views are made on the device that trains: workers send pixels and draws, or draws alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.utils.data import Dataset, default_collate

from msht.cohort.dataset import FieldStore
from msht.images.augmentation import Augmenter
from msht.images.batch_augmentation import batch_views, packed_draw, padded, require_batchable
from msht.images.preprocessing import normalised, planes_of

SHARE_OF_MEMORY = 0.5
"""Of the device's free memory, that fields may take; the rest is the network's."""

Item = tuple[dict[str, torch.Tensor], int]


class DeviceFields(Dataset):
    """Fields with their labels, asked for by (epoch, index) as `TrainingFields`; `views` makes the pictures.

    Args:
        store: the prepared fields.
        images: paths, N of them.
        labels: class indices, N of them.
        augmenter: draws.
        device: that trains.
        resident: whether all fields are kept where the batches go; None: if they fit, and the device is a GPU.
            Without augmentation the evaluation views themselves are sent, and none are kept there.

    Raises:
        InvalidInput: if the augmentation cannot be done on a device.
    """

    def __init__(
        self,
        store: FieldStore,
        images: Sequence[str],
        labels: Sequence[int],
        augmenter: Augmenter,
        device: torch.device,
        resident: bool | None = None,
    ) -> None:
        require_batchable(augmenter.settings)
        self.store = store
        self.images = list(images)
        self.labels = list(labels)
        self.augmenter = augmenter
        self.resident = not augmenter.still and (_fits(store, self.images, device) if resident is None else resident)
        self._fields: list[torch.Tensor] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, index = key
        if self.augmenter.still:
            view = self.store.view(self.images[index], self.augmenter, epoch=epoch, index=index)
            return {"view": planes_of(view)}, self.labels[index]
        source = self.store.source(self.images[index])
        item = packed_draw(self.augmenter.draw(source.squares, epoch=epoch, index=index))
        if self.resident:
            item["row"] = torch.tensor(index)
        else:
            item["pixels"] = torch.from_numpy(source.pixels)
        return item, self.labels[index]

    def collate(self, items: Sequence[Item]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Make a batch of items; fields of several sizes are padded to the largest."""
        drawn = default_collate([{k: v for k, v in item.items() if k != "pixels"} for item, _ in items])
        if not self.resident and not self.augmenter.still:
            drawn.update(padded([item["pixels"] for item, _ in items]))
        return drawn, torch.tensor([label for _, label in items])

    def views(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Make what the network sees of a batch, on the device where it is: float32, shape (B, 3, S, S)."""
        if "view" in batch:
            return normalised(batch["view"], self.store.preprocessing)
        if self.resident:
            fields = self._kept(batch["matrix"].device)
            batch = {**batch, **padded([fields[row] for row in batch["row"].tolist()])}
            batch["sizes"] = batch["sizes"].to(batch["matrix"].device)
        views = batch_views(batch, self.store.preprocessing.size)
        return normalised(views, self.store.preprocessing)

    def _kept(self, device: torch.device) -> list[torch.Tensor]:
        if self._fields is None:
            # In the training process alone: workers, which get a copy of this data set, never ask for it.
            self._fields = [torch.from_numpy(self.store.source(i).pixels).to(device) for i in self.images]
        return self._fields


def _fits(store: FieldStore, images: Sequence[str], device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    needed = sum(store.source(image).pixels.nbytes for image in images)
    free, _ = torch.cuda.mem_get_info(device)
    return needed <= SHARE_OF_MEMORY * free
