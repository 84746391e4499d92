"""Memory that is used again: each step's and each thread's own, and no result lies in it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from PIL import Image

from msht.cohort.dataset import FieldStore
from msht.images.augmentation import Augmentation, Augmenter
from msht.images.preprocessing import Preprocessing
from msht.images.reading import read_image
from msht.images.scratch import KEPT_BYTES, scratch


def test_a_step_gets_its_memory_again_and_another_step_other_memory() -> None:
    first = scratch("one", 30, 40, 3)
    assert first.shape == (30, 40, 3)
    assert first.dtype == np.uint8
    assert np.shares_memory(first, scratch("one", 10, 3))
    assert not np.shares_memory(scratch("one", 30, 40, 3), scratch("two", 30, 40, 3))


def test_what_is_too_large_to_keep_is_given_once() -> None:
    first = scratch("large", KEPT_BYTES + 1)
    assert not np.shares_memory(first, scratch("large", KEPT_BYTES + 1))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_worker_that_is_forked_shares_none_with_the_process_that_it_comes_from() -> None:
    ours = scratch("forked", 1000)
    ours[:] = 1
    child = os.fork()
    if child == 0:
        scratch("forked", 1000)[:] = 2
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (ours == 1).all()


def test_threads_share_none() -> None:
    together = Barrier(2)

    def fill(value: int) -> bool:
        block = scratch("threads", 1000)
        block[:] = value
        together.wait(timeout=30)
        return bool((block == value).all())

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(fill, [1, 2]))


@pytest.mark.parametrize("room", [0, 2**30])
def test_a_view_stays_as_it_was_when_the_next_one_is_made(tmp_path: Path, room: int) -> None:
    generator = np.random.default_rng(1)
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(generator.integers(0, 256, (300, 400, 3), dtype=np.uint8)).save(tmp_path / name)
    preprocessing, settings = Preprocessing(crop=200, size=110), Augmentation(name="paper")
    store = FieldStore(tmp_path, preprocessing, room, augmentation=settings)
    augmenter = Augmenter(settings, preprocessing, seed=3)
    first = store.view("a.jpg", augmenter, epoch=0, index=0)
    before = first.copy()
    second = store.view("b.jpg", augmenter, epoch=0, index=1)
    np.testing.assert_array_equal(first, before)
    assert not np.shares_memory(first, second)


def test_an_image_read_in_passing_has_the_same_pixels_and_record(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    for name in ("a.jpg", "b.jpg", "c.png"):
        Image.fromarray(generator.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(tmp_path / name)
    for name in ("a.jpg", "b.jpg", "c.png"):
        whole, passing = read_image(tmp_path / name), read_image(tmp_path / name, passing=True)
        np.testing.assert_array_equal(passing.pixels, whole.pixels)
        assert passing.record == whole.record
    first = read_image(tmp_path / "a.jpg", passing=True).pixels
    assert np.shares_memory(first, read_image(tmp_path / "b.jpg", passing=True).pixels)
    assert not np.shares_memory(first, read_image(tmp_path / "b.jpg").pixels)
