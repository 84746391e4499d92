"""The cache on disk: decoded once, whole after any kill, within its bound, the same pixels as without it."""

from __future__ import annotations

import os
import pickle
import random
import time
from collections.abc import Callable
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from msht.cohort.cache import HEADER_BYTES, STALE_SECONDS, FieldCache
from msht.cohort.dataset import FieldStore
from msht.cohort.field import SourceField, StoredField
from msht.cohort.manifest import Manifest
from msht.errors import InvalidInput
from msht.images.augmentation import Augmentation
from msht.images.preprocessing import Preprocessing
from msht.images.quality import Quality

SETTINGS = Preprocessing(crop=40, size=16)
PLENTY = 2**30


@pytest.fixture(scope="module")
def fields(cohort: Callable[..., Manifest]) -> Manifest:
    return cohort(patients=4, fields=3, edge=64)


def store_of(
    fields: Manifest, folder: Path, limit: int = PLENTY, preprocessing: Preprocessing = SETTINGS
) -> FieldStore:
    augmentation = Augmentation(name="standard")
    return FieldStore(fields.root, preprocessing, 0, augmentation=augmentation, cache=FieldCache(folder, limit))


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("??/*.field"))


def test_a_second_run_decodes_nothing_and_gets_the_same(fields: Manifest, tmp_path: Path) -> None:
    images = list(fields.frame["image"])
    first, second = store_of(fields, tmp_path / "cache"), store_of(fields, tmp_path / "cache")
    plain = FieldStore(fields.root, SETTINGS, PLENTY, augmentation=Augmentation(name="standard"))
    for store in (first, plain, second):
        store.load(images)
    assert (first.decoded, second.decoded) == (len(images), 0)
    for image in images:
        for store in (first, second):
            assert np.array_equal(store[image].view, plain[image].view)
            assert np.array_equal(store.source(image).pixels, plain.source(image).pixels)
            assert store.source(image).squares == plain.source(image).squares
            assert (store[image].quality, store[image].sha256) == (plain[image].quality, plain[image].sha256)
    assert len(entries(tmp_path / "cache")) == len(images)
    assert first.cache is not None
    assert first.cache.size() == sum(entry.stat().st_size for entry in entries(tmp_path / "cache"))


def test_what_is_mapped_can_be_written_without_changing_the_file(fields: Manifest, tmp_path: Path) -> None:
    image = fields.frame["image"].iloc[0]
    store = store_of(fields, tmp_path)
    store.load([image])
    before = entries(tmp_path)[0].read_bytes()
    store[image].view[:] = 0
    assert entries(tmp_path)[0].read_bytes() == before


def test_a_store_in_use_goes_to_another_process_without_its_pixels(fields: Manifest, tmp_path: Path) -> None:
    store = store_of(fields, tmp_path)
    store.load(list(fields.frame["image"]))
    data = pickle.dumps(store)
    assert len(data) < 20_000
    again = pickle.loads(data)
    image = fields.frame["image"].iloc[0]
    assert np.array_equal(again.source(image).pixels, store.source(image).pixels)
    assert again.decoded == store.decoded


def test_a_changed_image_or_setting_is_another_entry(fields: Manifest, tmp_path: Path) -> None:
    image = fields.frame["image"].iloc[0]
    root = tmp_path / "images"
    root.mkdir()
    data = (fields.root / image).read_bytes()
    (root / image).write_bytes(data)
    facts = (root / image).stat()
    cache = FieldCache(tmp_path / "cache", PLENTY)
    kept = FieldStore(root, SETTINGS, 0, cache=cache)[image]
    other = FieldStore(root, SETTINGS.model_copy(update={"crop": 30}), 0, cache=cache)[image]
    assert not np.array_equal(kept.view, other.view)
    (root / image).write_bytes((fields.root / fields.frame["image"].iloc[-1]).read_bytes())
    os.utime(root / image, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # the time lies; the bytes do not
    assert FieldStore(root, SETTINGS, 0, cache=cache)[image].sha256 != kept.sha256
    assert len(entries(tmp_path / "cache")) == 3


def test_normalisation_does_not_shape_an_entry(fields: Manifest, tmp_path: Path) -> None:
    image = fields.frame["image"].iloc[0]
    store_of(fields, tmp_path)[image]
    scaled = SETTINGS.model_copy(update={"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)})
    again = store_of(fields, tmp_path, preprocessing=scaled)
    assert again[image].view.shape == (16, 16, 3)
    assert again.decoded == 0


@pytest.mark.parametrize("damage", ["cut", "flipped", "header", "empty"])
def test_a_damaged_entry_is_made_anew(fields: Manifest, tmp_path: Path, damage: str) -> None:
    image = fields.frame["image"].iloc[0]
    right = np.array(store_of(fields, tmp_path)[image].view)
    entry = entries(tmp_path)[0]
    data = bytearray(entry.read_bytes())
    if damage == "flipped":
        data[HEADER_BYTES + 100] ^= 1
    elif damage == "header":
        data[30] ^= 255
    entry.write_bytes({"cut": data[:-7], "empty": b""}.get(damage, data))
    again = store_of(fields, tmp_path)
    again.load([image])
    assert again.decoded == 1
    assert np.array_equal(again[image].view, right)
    assert store_of(fields, tmp_path)[image].sha256 == again[image].sha256


def test_the_bound_holds_and_the_rest_is_read_again(fields: Manifest, tmp_path: Path) -> None:
    images = list(fields.frame["image"])
    store = store_of(fields, tmp_path)
    store.load(images[:1])
    assert store.cache is not None
    one = store.cache.size()
    small = store_of(fields, tmp_path, limit=4 * one)
    small.load(images)
    assert small.cache is not None
    assert small.cache.size() <= 4 * one
    assert small.cache.refused == len(images) - 4
    plain = FieldStore(fields.root, SETTINGS, PLENTY, augmentation=Augmentation(name="standard"))
    for image in images:
        assert np.array_equal(small.source(image).pixels, plain.source(image).pixels)


def test_what_others_left_makes_room_longest_unused_first(fields: Manifest, tmp_path: Path) -> None:
    images = list(fields.frame["image"])
    old = store_of(fields, tmp_path, preprocessing=SETTINGS.model_copy(update={"crop": 39}))
    old.load(images[:4])
    for age, entry in enumerate(entries(tmp_path)):
        os.utime(entry, (1000 + age, 1000 + age))
    oldest = entries(tmp_path)[:2]
    assert old.cache is not None
    new = store_of(fields, tmp_path, limit=old.cache.size() + 1000)
    new.load(images[:2])
    assert new.cache is not None
    assert new.cache.refused == 0
    assert not any(entry.exists() for entry in oldest)
    assert len(entries(tmp_path)) == 4
    assert np.array_equal(old.source(images[0]).pixels, old.source(images[0]).pixels)  # evicted or not: read again


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(InvalidInput, match="is no cache"):
        FieldCache(tmp_path, PLENTY)
    with pytest.raises(InvalidInput, match="is a file"):
        FieldCache(tmp_path / "thesis.doc", PLENTY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


def write_and_remove(folder: Path, ready: Connection) -> None:
    cache = FieldCache(folder, PLENTY)
    ready.send(True)
    quality = Quality(0.0, 0.5, 0.5, 0.0, 0.0, 0.5)
    for number in count():
        pixels = np.full((300, 300, 3), number % 251, np.uint8)
        field = StoredField(pixels[:64, :64].copy(), SourceField(pixels, ((0.0, 0.0, 300.0, 300.0),)), quality, "x")
        key = f"{number % 40:064x}"[::-1]
        if cache.get(key) is None:
            cache.put(key, field)
        else:
            (folder / key[:2] / f"{key}.field").unlink(missing_ok=True)


@pytest.mark.skipif(os.name != "posix", reason="there is no kill -9 elsewhere")
def test_a_writer_killed_at_any_moment_leaves_a_valid_cache(tmp_path: Path) -> None:
    chance = random.Random(1)
    folder = tmp_path / "cache"
    fork = get_context("fork")
    for _ in range(8):
        writers = []
        for _ in range(2):
            here, there = fork.Pipe()
            writer = fork.Process(target=write_and_remove, args=(folder, there), daemon=True)
            writer.start()
            assert here.recv()
            writers.append(writer)
        time.sleep(chance.uniform(0.02, 0.15))
        for writer in writers:
            writer.kill()
            writer.join()
        found = entries(folder)
        assert found
        cache = FieldCache(folder, PLENTY)  # the lock died with its holder
        assert cache.size() == sum(path.stat().st_size for path in found)
        for path in found:
            field = cache.get(path.stem)
            assert field is not None, "an entry under its name is whole"
            assert field.source is not None
            assert np.ptp(field.source.pixels) == 0
    for rest in folder.glob(".*.part"):
        os.utime(rest, (time.time() - 2 * STALE_SECONDS,) * 2)
    FieldCache(folder, PLENTY)
    assert not list(folder.glob(".*.part"))
