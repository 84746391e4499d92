"""Where a cohort comes from: class folders, a pattern of files, or a table beside images; every file accounted for."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath

from msht.errors import InvalidInput
from msht.images.reading import IMAGE_SUFFIXES, is_image_path

ROLES = frozenset(
    ("train", "training", "val", "valid", "validation", "dev", "development", "test", "testing", "holdout")
)
"""Names of folders that say what images are for, not what they show."""
NOT_OURS = frozenset(("__MACOSX", "@eaDir"))
"""Folders that systems lay beside files for themselves."""
OTHER_ENDING = "with an ending in other capitals"
"""How a path is written where the table says `a.JPG` and the disk has `a.jpg`."""


@dataclass
class Skipped:
    """What an import left out: a count and the first example of each reason."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    links: list[tuple[str, str]] = field(default_factory=list)
    """Names of links that were left out, each with the name under which its image is listed."""

    def add(self, reason: str, example: str, number: int = 1) -> None:
        """Count something that is left out."""
        reason = readable(reason)
        self.counts[reason] = self.counts.get(reason, 0) + number
        self.examples.setdefault(reason, readable(example))


def readable(name: str) -> str:
    r"""A name that can be printed and searched for: itself, or with escapes as a shell takes them in `$'\xff.png'`."""
    if name.isprintable():
        return name

    def typed(letter: str) -> str:
        if "\udc80" <= letter <= "\udcff":  # a byte that is no UTF-8, as Python holds it
            return f"\\x{ord(letter) - 0xDC00:02x}"
        if letter in "\\'":
            return f"\\{letter}"
        return letter if letter.isprintable() else letter.encode("unicode_escape").decode()

    return "".join(map(typed, name))


def with_small_ending(name: str) -> str:
    """A file's name with its ending in small letters; the rest as it is."""
    stem, dot, ending = name.rpartition(".")
    return f"{stem}{dot}{ending.lower()}" if dot else name


def is_pattern(source: Path) -> bool:
    """Whether a source that is neither file nor folder is a pattern such as `fields/**/*.jpg`."""
    return not source.exists() and any(letter in str(source) for letter in "*?[")


def split_pattern(source: Path) -> tuple[Path, str]:
    """The folder of a pattern (its parts before the first wildcard) and the rest.

    Raises:
        InvalidInput: if there is no such folder.
    """
    parts = source.parts
    first = next(n for n, part in enumerate(parts) if any(letter in part for letter in "*?["))
    root = Path(*parts[:first]) if first else Path()
    if not root.is_dir():
        raise InvalidInput(f"The pattern {source} starts from {root}, which is no folder.", "Mend the pattern.")
    return root, PurePosixPath(*parts[first:]).as_posix()


def find_images(root: Path, pattern: str | None, skipped: Skipped) -> list[str]:
    """Every image below a folder, by its path below it, in a stable order.

    Links are followed where they stay inside the folder; a file that is found by several names is listed by one.

    Args:
        root: the folder.
        pattern: what the path below it must fit: `*` and `?` within a name, `**` for any folders; None: everything.
        skipped: what is left out is counted here.

    Raises:
        InvalidInput: for a name that no table can hold.
    """
    fits = re.compile(_as_expression(pattern)) if pattern is not None else None
    found: dict[Path, str] = {}
    # Files by their own names first: where a link leads to one of them, the link is what is left out.
    for name, path in sorted(_walk(root, skipped), key=lambda item: (_is_behind_link(root, item[0]), item[0])):
        if fits is not None and not fits.fullmatch(name):
            continue
        if any(part.startswith(".") or part in NOT_OURS for part in PurePosixPath(name).parts):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                skipped.add("hidden", name)
            continue
        if not is_image_path(path):
            skipped.add(f"not an image ({path.suffix.lower() or 'no ending'})", name)
            continue
        if not name.isprintable():
            raise InvalidInput(f"The file $'{readable(name)}' has a name that no table can hold.", "Rename it.")
        target = path.resolve()
        if target in found:
            skipped.add("a link to an image that is listed", name)
            skipped.links.append((name, found[target]))
            continue
        found[target] = name
    return sorted(found.values())


def _walk(root: Path, skipped: Skipped) -> Iterator[tuple[str, Path]]:
    """Every file below a folder with its path below it; links only where they stay inside, each folder once a way."""
    inside = root.resolve()

    def below(folder: Path, above: frozenset[Path]) -> Iterator[tuple[str, Path]]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except PermissionError as error:
            raise InvalidInput(f"The folder {folder} cannot be read.", "Change its permissions.") from error
        for entry in entries:
            path = folder / entry.name
            name = path.relative_to(root).as_posix()
            if entry.is_symlink():
                try:
                    target = path.resolve(strict=True)
                except (OSError, RuntimeError):
                    skipped.add("a link to nothing", name)
                    continue
                if not target.is_relative_to(inside):
                    skipped.add("a link out of the folder", name)
                    continue
            if path.is_dir():
                real = path.resolve()
                if real in above:
                    skipped.add("a link back to a folder it lies in", name)
                    continue
                yield from below(path, above | {real})
            elif path.is_file():
                yield name, path

    yield from below(root, frozenset((inside,)))


def _is_behind_link(root: Path, name: str) -> bool:
    path = root
    for part in PurePosixPath(name).parts:
        path = path / part
        if path.is_symlink():
            return True
    return False


def _as_expression(pattern: str) -> str:
    """A pattern as a regular expression: endings in any case, `**` any folders, `[...]` one letter of these."""
    words = []
    rest = pattern
    while rest:
        if rest.startswith("**/"):
            words.append("(?:.*/)?")
            rest = rest[3:]
        elif rest.startswith("**"):
            words.append(".*")
            rest = rest[2:]
        elif rest[0] == "*":
            words.append("[^/]*")
            rest = rest[1:]
        elif rest[0] == "?":
            words.append("[^/]")
            rest = rest[1:]
        elif rest[0] == "[" and "]" in rest[2:]:
            end = rest.index("]", 2)
            inner = rest[1:end].replace("\\", "\\\\")
            words.append(f"[^{inner[1:]}]" if inner[0] in "!^" else f"[{inner}]")
            rest = rest[end + 1 :]
        else:
            words.append(re.escape(rest[0]))
            rest = rest[1:]
    return "(?i:" + "".join(words) + ")"


def labels_from_folders(images: list[str], root: Path) -> list[str]:
    """The label of each image: the name of the first folder below the root that it lies in.

    Raises:
        InvalidInput: if an image lies in no folder, or the first folders are named train, test and the like.
    """
    folders = [PurePosixPath(image).parts[0] if "/" in image else None for image in images]
    loose = next((image for image, folder in zip(images, folders, strict=True) if folder is None), None)
    if loose is not None:
        raise InvalidInput(
            f"'{loose}' lies in no class folder of {root} ({folders.count(None)} such images).",
            "Move it into a folder per class, or say where the label stands with --label-from.",
        )
    names = {str(folder) for folder in folders}
    if {name.casefold() for name in names} <= ROLES:
        raise InvalidInput(
            f"The folders {', '.join(sorted(names))} of {root} say what images are for, not what they show.",
            "Say where the label stands, for instance --label-from '^[^/]+/([^/]+)/'.",
        )
    return [str(folder) for folder in folders]


class Locator:
    """Finds the file that a table's path means, also where the table was written on another system.

    As written; else below the root where the path is a whole one; else with `/` for Windows's separators; else with
    accents composed the other way (NFC, NFD), which is what copying between systems changes; else with the ending in
    other capitals, where only one file of that name is there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mended: dict[str, tuple[str, str]] = {}
        """For each way of mending: the first path as written and as found."""
        self._by_form: dict[Path, dict[str, list[str]]] = {}
        self._by_ending: dict[Path, dict[str, list[str]]] = {}

    def find(self, written: str) -> str:
        """The path below the root of the file that is meant; as written where there is none."""
        if self._is_file(written):
            return written
        tries = [("in full", self._below(written))]
        if "\\" in written:
            slashed = written.replace("\\", "/")
            tries += [("with backslashes", slashed), ("with backslashes", self._below(slashed))]
        tries += [("with accents composed otherwise", self._other_form(name)) for _, name in list(tries) if name]
        tries.append(("with accents composed otherwise", self._other_form(written)))
        names = dict.fromkeys(name for name in (written, *(name for _, name in tries)) if name)
        for how, name in chain(tries, ((OTHER_ENDING, self._other_ending(name)) for name in names)):
            if name and self._is_file(name):
                self.mended.setdefault(how, (written, name))
                return name
        return written

    def _is_file(self, name: str) -> bool:
        if PurePosixPath(name).is_absolute():
            return False
        try:
            return (self.root / name).is_file()
        except (OSError, ValueError):
            return False

    def _below(self, written: str) -> str | None:
        path = Path(written)
        for root in (self.root.absolute(), self.root.resolve()):
            if path.is_absolute() and path.is_relative_to(root):
                return path.relative_to(root).as_posix()
        return None

    def _other_form(self, written: str) -> str | None:
        """The path whose parts are the same text when accents are composed; None unless there is exactly one."""
        if written.isascii():
            return None
        folder, parts = self.root, []
        for part in PurePosixPath(written).parts:
            names = self._names(folder).get(unicodedata.normalize("NFC", part), [])
            if len(names) != 1:
                return None
            parts.append(names[0])
            folder = folder / names[0]
        return "/".join(parts)

    def _other_ending(self, written: str) -> str | None:
        """The path of the file of this name but for capitals in its ending; None unless there is exactly one."""
        path = PurePosixPath(written)
        if path.is_absolute() or ".." in path.parts or not path.suffix:
            return None
        folder = path.parent.as_posix()
        if not self._names(self.root / folder):
            folder = self._other_form(folder) or folder
        place = self.root / folder
        if place not in self._by_ending:
            endings: dict[str, list[str]] = {}
            for name in _listed(place):
                if self._is_file((PurePosixPath(folder) / name).as_posix()):
                    endings.setdefault(with_small_ending(unicodedata.normalize("NFC", name)), []).append(name)
            self._by_ending[place] = endings
        found = self._by_ending[place].get(with_small_ending(unicodedata.normalize("NFC", path.name)), [])
        return (PurePosixPath(folder) / found[0]).as_posix() if len(found) == 1 else None

    def _names(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._by_form:
            forms: dict[str, list[str]] = {}
            for name in _listed(folder):
                forms.setdefault(unicodedata.normalize("NFC", name), []).append(name)
            self._by_form[folder] = forms
        return self._by_form[folder]


def _listed(folder: Path) -> list[str]:
    """The names in a folder, in order; none where it is no folder, or cannot be read."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except (OSError, ValueError):
        return []
