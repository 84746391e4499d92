"""Which images go through the network together: batches cut into parts and shared among processes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from msht.cohort.dataset import EpochSampler


class SharedBatches(Sampler[list[tuple[int, int]]]):
    """The parts of each batch that fall to one process.

    Every process draws the same order; a batch of it is cut into `parts`, and each part is dealt to the processes.
    So a step sees the same images whatever the number of parts and processes. Every process gets the same number
    of parts; the last, shorter batch of an epoch is left out where it has no two images, or none for some process.

    Args:
        sampler: gives the order of an epoch.
        batch_size: images of a step, over all parts and processes.
        parts: that a batch is processed in, one after another.
        rank: of this process.
        processes: in all.
    """

    def __init__(
        self, sampler: EpochSampler, batch_size: int, *, parts: int = 1, rank: int = 0, processes: int = 1
    ) -> None:
        self.sampler = sampler  # under this name Lightning finds what to tell the epoch
        self.batch_size = min(batch_size, len(sampler))
        self.parts = max(1, min(parts, self.batch_size // processes))
        self.rank = rank
        self.processes = processes
        self.skip = 0
        """Parts that the next pass leaves out, where a fold goes on within an epoch."""
        whole, rest = divmod(len(sampler), self.batch_size)
        self.sizes = [self.batch_size] * whole
        if rest >= max(2, processes):
            self.sizes.append(rest)

    @property
    def steps(self) -> int:
        """Steps of the optimiser in an epoch."""
        return len(self.sizes)

    def parts_of(self, size: int) -> int:
        """In how many parts a batch of `size` images goes through; two images a part and process where it can."""
        return max(1, min(self.parts, size // self.processes))

    def share(self, part: int, images: int) -> float:
        """Weight of a part's mean loss, so that gradients add up to those of the whole batch's mean.

        Lightning divides the loss by `parts`, and the processes' gradients are averaged.

        Args:
            part: number of the part within the epoch, from 0.
            images: in it, for this process.
        """
        size = self.sizes[min(part // self.parts, len(self.sizes) - 1)]
        return images * self.processes * self.parts / size

    def __len__(self) -> int:
        return sum(self.parts_of(size) for size in self.sizes)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = list(self.sampler)
        skip, self.skip = self.skip, 0
        dealt, start = [], 0
        for size in self.sizes:
            batch = order[start : start + size]
            start += size
            pieces = np.array_split(np.arange(size), self.parts_of(size))
            dealt += [[batch[i] for i in piece[self.rank :: self.processes]] for piece in pieces]
        return iter(dealt[skip:])


class SharedRows(Sampler[int]):
    """Every row once over all processes, none twice: process r takes rows r, r + n, r + 2 n and so on."""

    def __init__(self, length: int, *, rank: int = 0, processes: int = 1) -> None:
        self.rows = range(rank, length, processes)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows)
