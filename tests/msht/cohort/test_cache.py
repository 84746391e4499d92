"""The cache on disk: decoded once, whole after any kill, within its bound, the same pixels as without it."""

from __future__ import annotations

import errno
import os
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import filelock
import numpy as np
import pytest

from msht.cohort import cache as cache_module
from msht.cohort.cache import HEADER_BYTES, MARKER, FieldCache, cache_from_environment
from msht.cohort.dataset import FieldStore
from msht.cohort.field import SourceField, StoredField
from msht.cohort.manifest import Manifest
from msht.errors import InvalidInput, MissingResource
from msht.images.augmentation import Augmentation, Augmenter
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
    assert not list(folder.glob(".*.part")), "what a killed writer left is gone with the next run"


FIELD = StoredField(
    np.full((8, 8, 3), 7, np.uint8),
    SourceField(np.full((30, 30, 3), 9, np.uint8), ((0.0, 0.0, 30.0, 30.0),)),
    Quality(1.25, 0.5, 0.25, 0.0, 0.0, 0.5),
    "0123456789abcdef" * 4,
)
KEY = "ab" + "0" * 62


def filled(folder: Path) -> tuple[FieldCache, Path]:
    cache = FieldCache(folder, PLENTY)
    assert cache.put(KEY, FIELD)
    return cache, folder / "ab" / f"{KEY}.field"


@pytest.mark.parametrize("check", [True, False])
def test_no_flipped_bit_of_a_header_is_taken(tmp_path: Path, check: bool) -> None:
    cache, entry = filled(tmp_path)
    whole = entry.read_bytes()
    written = len(whole[:HEADER_BYTES].rstrip(b"\n"))
    for place in [*range(written), written, HEADER_BYTES - 1]:
        for bit in range(8):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            entry.write_bytes(data)
            assert cache.get(KEY, check=check) is None, (place, bit)
    entry.write_bytes(whole.replace(b'"brightness": 0.5', b'"brightness": 9.5'))
    assert cache.get(KEY, check=check) is None
    entry.write_bytes(whole)
    found = cache.get(KEY, check=check)
    assert found is not None
    assert (found.quality, found.sha256) == (FIELD.quality, FIELD.sha256)
    assert found.source.squares == FIELD.source.squares


@pytest.mark.parametrize("data", [b"msht field\n" + b"[" * 5000, b"[" * 5000, b"x", b"\n" * HEADER_BYTES])
def test_what_is_no_entry_is_removed(tmp_path: Path, data: bytes) -> None:
    cache, entry = filled(tmp_path)
    entry.write_bytes(data)
    assert cache.get(KEY) is None
    assert not entry.exists()


@pytest.mark.parametrize("left", [[".lock"], [".lock", ".total", ".0f.part"]])
def test_a_kill_before_the_marker_leaves_a_folder_that_becomes_a_cache(tmp_path: Path, left: list[str]) -> None:
    for name in left:
        (tmp_path / name).touch()
    _, entry = filled(tmp_path)
    assert entry.is_file()
    assert (tmp_path / MARKER).is_file()


def test_a_cache_that_another_process_makes_at_this_moment_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Path.iterdir

    def looked_at_while_made(folder: Path) -> list[Path]:
        if not (tmp_path / MARKER).exists():
            (tmp_path / MARKER).write_text("{}")
            (tmp_path / "ab").mkdir()
        return list(look(folder))

    monkeypatch.setattr(Path, "iterdir", looked_at_while_made)
    assert FieldCache(tmp_path, PLENTY).size() == 0


def open_together(folder: Path, ready: Connection) -> None:
    ready.recv()
    try:
        FieldCache(folder, PLENTY)
        ready.send("")
    except Exception as error:
        ready.send(repr(error))


@pytest.mark.skipif(os.name != "posix", reason="starts by fork")
def test_processes_that_open_a_new_folder_together_all_get_it(tmp_path: Path) -> None:
    fork = get_context("fork")
    for number in range(20):
        pipes = [fork.Pipe() for _ in range(3)]
        openers = [fork.Process(target=open_together, args=(tmp_path / f"{number}", there)) for _, there in pipes]
        for opener in openers:
            opener.start()
        for here, _ in pipes:
            here.send(True)
        assert [here.recv() for here, _ in pipes] == [""] * 3
        for opener in openers:
            opener.join()


def failing(code: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.skipif(os.name != "posix", reason="limits open files")
def test_too_many_open_files_remove_no_entry(tmp_path: Path) -> None:
    import resource

    cache, entry = filled(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    handle = os.open(os.devnull, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (handle + 1, limits[1]))  # no number is free below it either
    try:
        assert cache.get(KEY) is None
        assert not cache.put(KEY, FIELD)
    finally:
        os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert entry.exists()
    assert cache.get(KEY) is not None
    assert "Too many open files" in cache.why
    assert cache.put(KEY, FIELD)  # that passed
    assert cache.refused == 0


def test_another_users_entry_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, entry = filled(tmp_path)
    monkeypatch.setattr(os, "utime", failing(errno.EPERM))
    assert cache.get(KEY) is not None
    assert entry.exists()


def test_a_damaged_entry_that_cannot_be_removed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, entry = filled(tmp_path)
    entry.write_bytes(b"damaged")
    monkeypatch.setattr(Path, "unlink", failing(errno.EACCES))
    assert cache.get(KEY) is None


def test_a_folder_in_an_entrys_place_is_none_and_is_left_alone(tmp_path: Path) -> None:
    cache, entry = filled(tmp_path)
    entry.unlink()
    (entry / "inside").mkdir(parents=True)
    assert cache.get(KEY) is None
    assert not cache.put(KEY, FIELD)
    assert cache.refused == 1
    assert cache.put("cd" + KEY[2:], FIELD), "the others are written as before"
    assert (entry / "inside").is_dir()
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_ends_no_run(fields: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    images = list(fields.frame["image"])
    store = store_of(fields, tmp_path)
    store.load(images[:2])
    tries: list[int] = []

    def full(handle: int) -> None:
        tries.append(handle)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(cache_module, "_remove_abandoned", failing(errno.EIO))
    store.load(images)
    assert store.cache is not None
    assert store.cache.refused == len(images) - 2
    assert store.cache.why == f"cannot be written ({os.strerror(code)})"
    assert len(tries) <= 8, "each thread tries once at most"
    assert len(entries(tmp_path)) == 2
    assert not list(tmp_path.glob(".*.part"))
    plain = FieldStore(fields.root, SETTINGS, PLENTY, augmentation=Augmentation(name="standard"))
    augmenter = Augmenter(Augmentation(name="standard"), SETTINGS, seed=1)
    for index, image in enumerate(images):
        assert np.array_equal(store[image].view, plain[image].view)
        views = [s.view(image, augmenter, epoch=1, index=index) for s in (store, plain)]
        assert np.array_equal(*views)


def test_a_cache_that_is_full_says_so(fields: Manifest, tmp_path: Path) -> None:
    store = store_of(fields, tmp_path, limit=1)
    store.load(list(fields.frame["image"]))
    assert store.cache is not None
    assert store.cache.refused == len(fields.frame)
    assert store.cache.why == "is full"
    assert store.cache.size() == 0


def test_fields_that_the_cache_refuses_stay_within_the_bound_on_memory(fields: Manifest, tmp_path: Path) -> None:
    store = store_of(fields, tmp_path, limit=1)
    store.load(list(fields.frame["image"]))
    assert len(pickle.dumps(store)) < 20_000
    assert all(store[image].source is None for image in fields.frame["image"])


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_warm_cache_that_can_only_be_read_is_read(
    fields: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    images = list(fields.frame["image"])
    store_of(fields, tmp_path).load(images[1:])
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(filelock, "FileLock", failing(code))
    monkeypatch.setattr(os, "utime", failing(code))
    monkeypatch.setattr(Path, "unlink", failing(code))
    read = store_of(fields, tmp_path)
    read.load(images[1:])
    assert read.cache is not None
    assert (read.decoded, read.cache.refused) == (0, 0)
    read.load(images)
    assert (read.decoded, read.cache.refused) == (1, 1)
    assert read.cache.why == f"cannot be written ({os.strerror(code)})"
    assert sorted(tmp_path.rglob("*")) == before


def test_where_no_cache_can_be_made_one_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "cache", tmp_path / ("n" * 300)):
        with pytest.raises(MissingResource, match="cannot be written"):
            FieldCache(folder, PLENTY)
    monkeypatch.setattr(filelock, "FileLock", failing(errno.EACCES))
    with pytest.raises(MissingResource, match="Permission denied"):
        FieldCache(tmp_path / "new", PLENTY)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="gives up the rights of root")
def test_a_parent_without_rights_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    code = (
        "import os, pathlib, sys; from msht.cohort.cache import FieldCache; from msht.errors import MissingResource\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: FieldCache(pathlib.Path(sys.argv[1]), 1)\n"
        "except MissingResource as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "cache")]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout.startswith(f"{tmp_path}/cache cannot be written: Permission denied.")


def test_a_lock_that_is_not_let_go_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, _ = filled(tmp_path)
    monkeypatch.setattr(cache_module, "LOCK_SECONDS", 0.2)
    with filelock.FileLock(tmp_path / ".lock"):
        with pytest.raises(MissingResource) as told:
            FieldCache(tmp_path, PLENTY)
        assert not cache.put("cd" + KEY[2:], FIELD)
    assert told.value.problem == f"The cache {tmp_path} has been locked by another process for 0.2 seconds."
    assert "space" not in told.value.mend
    assert "locked by another process" in cache.why
    assert cache.refused == 1


def test_the_environments_folder_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MSHT_CACHE", "~/cache")
    cache = cache_from_environment()
    assert cache is not None
    assert cache.folder == tmp_path / "home" / "cache"
    assert not (tmp_path / "~").exists()
    monkeypatch.setenv("MSHT_CACHE", "~no-such-user/cache")
    with pytest.raises(InvalidInput, match="no-such-user"):
        cache_from_environment()


def test_what_is_being_written_is_not_swept(tmp_path: Path) -> None:
    cache, _ = filled(tmp_path)
    part, file = cache._begin()
    with file:
        (tmp_path / ".dead.part").write_bytes(b"left by a writer that was killed")
        FieldCache(tmp_path, PLENTY)
        assert part.exists()
        assert not (tmp_path / ".dead.part").exists()
    FieldCache(tmp_path, PLENTY)
    assert not part.exists()


def test_an_entry_written_twice_counts_once(tmp_path: Path) -> None:
    cache, entry = filled(tmp_path)
    assert cache.put(KEY, FIELD)
    assert int((tmp_path / ".total").read_text()) == cache.size() == entry.stat().st_size


@pytest.mark.skipif(os.name != "posix", reason="rights of files")
def test_an_entry_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    _, entry = filled(tmp_path)
    (tmp_path / "any").touch()
    assert entry.stat().st_mode == (tmp_path / "any").stat().st_mode
