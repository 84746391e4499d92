"""The fonts of the documents: the same on every machine, so that equal input gives equal bytes.

Source Sans Pro sets text and tables, Libertinus Serif (inside Typst) the headline, DejaVu Sans (shipped with
matplotlib) whatever Source Sans lacks: Arabic, Hebrew, many symbols. Fonts of the machine are not used.
"""

from __future__ import annotations

import functools
import importlib.util
import shutil
import tempfile
from pathlib import Path

import typst

from msht.errors import MissingResource

SOURCES: dict[tuple[str, str], tuple[str, ...]] = {
    ("font_source_sans_pro", "files"): tuple(
        f"SourceSansPro-{style}.ttf" for style in ("Regular", "It", "Semibold", "SemiboldIt", "Bold", "BoldIt")
    ),
    ("matplotlib", "mpl-data/fonts/ttf"): ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSans-Oblique.ttf"),
}
"""(package, folder inside it) to the font files taken from there."""


def font_files() -> tuple[Path, ...]:
    """Find the font files that are not inside Typst.

    Raises:
        MissingResource: if a package or a file of it is not installed.
    """
    found = []
    for (package, folder), names in SOURCES.items():
        # The packages are found, not imported: matplotlib takes longer to import than a report to set.
        spec = importlib.util.find_spec(package)
        locations = spec.submodule_search_locations if spec else None
        paths = [Path(location) / folder / name for location in locations or () for name in names]
        missing = [path.name for path in paths if not path.is_file()] if paths else list(names)
        if missing:
            distribution = package.replace("_", "-")
            raise MissingResource(
                f"The font {missing[0]} of the package {distribution} is not installed.",
                f"Install it with: pip install {distribution}",
            )
        found.extend(paths)
    return tuple(found)


@functools.cache
def _font_folder() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="msht-fonts-")
    for path in font_files():
        shutil.copy(path, folder.name)
    return folder


@functools.cache
def document_fonts() -> typst.Fonts:
    """Load the fonts once in a process: Typst's own and `font_files`, none of the machine's."""
    # Typst takes folders, and those of the packages hold each face twice (OTF and TTF).
    return typst.Fonts(include_system_fonts=False, font_paths=[_font_folder().name])


@functools.cache
def settable_characters() -> frozenset[int]:
    """Code points that at least one of `font_files` has a shape for."""
    # fontTools comes with matplotlib and is needed only to word an error.
    from fontTools.ttLib import TTFont

    return frozenset(point for path in font_files() for point in TTFont(path, lazy=True).getBestCmap())
