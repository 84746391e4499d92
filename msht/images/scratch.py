"""Memory that is used again for every image, where a picture is only a step on the way to another.

Fresh memory of megabytes is handed back to the system when it is freed and asked for again page by page: for a view of
a field that cost more than half of the time that making it took.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import threading

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

LARGE_PAGE = 2**21
KEPT_BYTES = 2**26
"""Larger pictures get memory of their own; a field of 1390 x 1038 px has 4 MB."""


class _Memory(threading.local):
    """A thread's own blocks, by the step that uses them."""

    def __init__(self) -> None:
        self.blocks: dict[str, Pixels] = {}


_MEMORY = _Memory()


def scratch(step: str, *shape: int) -> Pixels:
    """Give memory for a step's result, uint8 of the shape; it holds anything, and holds until the step's next call.

    Args:
        step: a name that no other use shares; every thread has its own memory under it.
        shape: of the picture.
    """
    wanted = math.prod(shape)
    if wanted > KEPT_BYTES:
        return np.empty(shape, dtype=np.uint8)
    block = _MEMORY.blocks.get(step)
    if block is None or block.size < wanted:
        block = _MEMORY.blocks[step] = _large_pages(wanted)
    return block[:wanted].reshape(shape)


def _large_pages(size: int) -> Pixels:
    """Give memory in pages of 2 MiB where the system has such: a rotated read leaves one of 4 KiB with every row."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.empty(size, dtype=np.uint8)
    # Private, since what mmap gives by default would be one memory for all workers that are forked from here.
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    memory = mmap.mmap(-1, -(-size // LARGE_PAGE) * LARGE_PAGE + LARGE_PAGE, flags=flags)
    with contextlib.suppress(OSError):  # a kernel without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    block = np.frombuffer(memory, dtype=np.uint8)
    start = -block.ctypes.data % LARGE_PAGE
    return block[start : start + size]
