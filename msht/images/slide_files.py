"""Opening whole-slide images: which files are slides, and a few open ones kept at hand."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from msht.errors import MissingResource, UnreadableImage
from msht.images.headers import TooManyTags, first_directory

if TYPE_CHECKING:
    from types import ModuleType

    from openslide import OpenSlide, OpenSlideCache

SLIDE_SUFFIXES: frozenset[str] = frozenset((".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide"))
"""Endings, in lower case, of files that only OpenSlide reads."""

TIFF_SUFFIXES: frozenset[str] = frozenset((".tif", ".tiff"))
"""Endings of files that may be a photograph or a slide: what is inside decides."""

OPEN_SLIDES = 4
"""Slides kept open at a time."""

CACHE_BYTES = 64 * 2**20
"""What OpenSlide may keep of decoded tiles, over all open slides."""

_TILE_WIDTH = 322
"""Tag of a TIFF that is stored in tiles (TIFF 6.0, section 15)."""

_LISTS = frozenset((".vms", ".vmu"))
_MOST_LIST_BYTES = 2**16

GENERIC = "generic-tiff"
"""OpenSlide's word for a tiled TIFF of no known scanner."""

_MEND_SLIDE = "Copy the slide again from where it was scanned; if it is broken there too, leave it out."


def is_slide_path(path: Path) -> bool:
    """Whether a file is read by tiles as a slide, rather than whole as a photograph.

    True for the endings that OpenSlide alone reads. A `.tif` or `.tiff` is opened: it is a slide if a scanner's
    format is found in it, if it is tiled and has several levels, or if it begins so and is cut off. Without the extra
    `wsi` it is a photograph.
    Hidden files are not taken.
    """
    suffix = path.suffix.lower()
    if path.name.startswith("."):
        return False
    if suffix in SLIDE_SUFFIXES:
        return True
    if suffix not in TIFF_SUFFIXES or not path.is_file():
        return False
    try:
        openslide = load_openslide()
    except MissingResource:
        return False
    try:
        vendor = openslide.OpenSlide.detect_format(path)
        if vendor == GENERIC:
            with openslide.OpenSlide(path) as slide:
                return bool(slide.level_count > 1)
    except openslide.OpenSlideError:
        return True  # a scanner's format, but broken: said so when it is read as a slide
    return vendor is not None or _begins_as_pyramid(path)


def _begins_as_pyramid(path: Path) -> bool:
    """Whether a TIFF that OpenSlide does not know is tiled with more to follow: a slide that was cut off."""
    try:
        with path.open("rb") as file:

            def read(start: int, length: int) -> bytes:
                file.seek(start)
                return file.read(length)

            directory = first_directory(read)
    except (OSError, OverflowError, ValueError, TooManyTags):  # no place in a file, for one
        return False
    return (
        directory is not None and directory.following != 0 and any(tag == _TILE_WIDTH for tag, _, _ in directory.tags)
    )


def is_part_of_slide(path: Path) -> bool:
    """Whether a picture is a piece of a slide that lies beside it, and no photograph.

    Hamamatsu's `.vms` and `.vmu` are lists of the pictures that make up the slide, by name.
    """
    try:
        return path.name.casefold() in _parts(path.parent, path.parent.stat().st_mtime_ns)
    except OSError:
        return False


@lru_cache(maxsize=16)
def _parts(folder: Path, changed: int) -> frozenset[str]:
    """File names in the lists of a folder, without regard to case; read again when the folder `changed`."""
    names: set[str] = set()
    for entry in folder.iterdir():
        if entry.suffix.lower() in _LISTS and entry.is_file():
            with entry.open("rb") as file:
                text = file.read(_MOST_LIST_BYTES).decode("latin-1")
            names.update(line.partition("=")[2].strip().casefold() for line in text.splitlines())
    return frozenset(names - {""})


def load_openslide() -> ModuleType:
    """Import OpenSlide.

    Raises:
        MissingResource: if it is not installed.
    """
    try:
        import openslide
    except (ImportError, OSError) as error:
        raise MissingResource(
            f"Reading slides needs OpenSlide, which is not installed ({error}).",
            "Install it: pip install 'msht[wsi]'.",
        ) from error
    return openslide


class _OpenSlides:
    """The slides opened last, shared by all threads; OpenSlide reads one handle from many threads at once.

    A handle that falls out is closed when the last thread that reads from it lets it go. Handles belong to the
    process that opened them: a forked child opens its own, since both would move one position in the file.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slides: OrderedDict[tuple[int, str, int, int], OpenSlide] = OrderedDict()

    def get(self, path: Path) -> OpenSlide:
        openslide = load_openslide()
        try:
            facts = path.stat()
            with path.open("rb"):
                pass
        except OSError as error:
            reason = error.strerror or str(error)
            raise UnreadableImage(f"{path} cannot be opened: {reason}.", "Check the path and its rights.") from error
        key = (os.getpid(), str(path.absolute()), facts.st_size, facts.st_mtime_ns)
        with self._lock:
            slide = self._slides.get(key)
            if slide is None:
                slide = _opened(openslide, path)
                self._slides[key] = slide
            self._slides.move_to_end(key)
            while len(self._slides) > OPEN_SLIDES:
                self._slides.popitem(last=False)
        return slide

    def forget(self, slide: OpenSlide) -> None:
        """Drop a handle: after one error OpenSlide refuses everything else asked of it."""
        with self._lock:
            for key in [key for key, kept in self._slides.items() if kept is slide]:
                del self._slides[key]

    def renew_lock(self) -> None:
        self._lock = threading.Lock()


def _opened(openslide: ModuleType, path: Path) -> OpenSlide:
    try:
        slide: OpenSlide = openslide.OpenSlide(path)
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise UnreadableImage(
            f"{path} is not a slide that can be read: it is damaged, incomplete or of an unknown format.", _MEND_SLIDE
        ) from error
    except openslide.OpenSlideError as error:
        raise unreadable_slide(path, error) from error
    slide.set_cache(_cache(openslide))
    return slide


_caches: dict[int, OpenSlideCache] = {}


def _cache(openslide: ModuleType) -> OpenSlideCache:
    """One cache for all slides of the process."""
    return _caches.setdefault(os.getpid(), openslide.OpenSlideCache(CACHE_BYTES))


_open = _OpenSlides()
os.register_at_fork(after_in_child=_open.renew_lock)  # another thread may have held it


def open_slide(path: Path) -> OpenSlide:
    """Open a slide, or take it from those that are open; never close it.

    Raises:
        UnreadableImage: if it is missing, damaged or no slide.
        MissingResource: if OpenSlide is not installed.
    """
    return _open.get(Path(path))


def forget_slide(slide: OpenSlide) -> None:
    """Let go of a slide that gave an error, so that it is opened anew next time."""
    _open.forget(slide)


def unreadable_slide(path: Path, error: Exception) -> UnreadableImage:
    """Say that a slide, or a part of it, cannot be decoded."""
    detail = str(error).strip().rstrip(".") or type(error).__name__
    return UnreadableImage(f"{path} is damaged and cannot be read as a slide: {detail}.", _MEND_SLIDE)
