"""The fonts of the documents: the same on every machine, so that equal input gives equal bytes.

Source Sans Pro sets text and tables, Libertinus Serif (inside Typst) the headline, DejaVu Sans (shipped with
matplotlib) whatever Source Sans lacks: Arabic, Hebrew, many symbols. For Chinese alone a font of the machine is taken,
the first of `CHINESE_FAMILIES` that it has: no Chinese font is small enough to ship. The same font gives equal bytes.
"""

from __future__ import annotations

import functools
import importlib.util
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typst

from msht.errors import MissingResource
from reports.words import Language

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


CHINESE_FAMILIES = (
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "Noto Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Heiti SC",
    "SimHei",
    "SimSun",
    "Droid Sans Fallback",
    "AR PL UMing CN",
)
"""Families with all of simplified Chinese, sans serif before others, as they are named on Linux, macOS and Windows."""


@dataclass(frozen=True)
class ChineseFont:
    """A font of this machine: its family, and the file and place in it of each weight."""

    family: str
    faces: tuple[tuple[Path, int], ...]


@functools.cache
def chinese_font() -> ChineseFont:
    """The first of `CHINESE_FAMILIES` on this machine.

    Raises:
        MissingResource: if there is none, naming what to install.
    """
    found: dict[str, dict[int, tuple[Path, int]]] = {}
    for font in machine_fonts():
        if font.family in CHINESE_FAMILIES and font.style == "normal" and font.path:
            found.setdefault(font.family, {}).setdefault(font.weight, (Path(font.path), font.index))
    for family in CHINESE_FAMILIES:
        if family in found:
            return ChineseFont(family, tuple(found[family][weight] for weight in sorted(found[family])))
    raise MissingResource(
        "A report in Chinese needs a Chinese font, and this machine has none of "
        f"{', '.join(CHINESE_FAMILIES[:4])} and {len(CHINESE_FAMILIES) - 4} others.",
        "Install one; on Debian and Ubuntu: sudo apt-get install fonts-noto-cjk.",
    )


def has_chinese_font() -> bool:
    """Whether a report can be set in Chinese on this machine."""
    try:
        chinese_font()
    except MissingResource:
        return False
    return True


def machine_fonts() -> list[Any]:
    """The fonts that Typst finds on this machine."""
    return list(typst.Fonts(include_system_fonts=True, include_embedded_fonts=False, font_paths=[]).fonts())


def text_settings(language: Language, *, chinese_names: bool = False) -> dict[str, Any]:
    """Language, region and fonts of a document, as `theme.typ` reads them.

    Args:
        language: of the document.
        chinese_names: whether an English document holds names in Chinese.

    Raises:
        MissingResource: if there is no font for the language.
    """
    sans, serif, mono = ["Source Sans Pro", "DejaVu Sans"], "Libertinus Serif", ["DejaVu Sans Mono", "DejaVu Sans"]
    if language == "en" and chinese_names:
        family = chinese_font().family
        sans, mono = [*sans, family], [*mono, family]
    if language == "en":
        return {"language": "en", "region": "GB", "sans": sans, "serif": [serif, *sans], "mono": mono}
    family = chinese_font().family
    # Quotation marks and dashes of both scripts share code points: within Chinese they are Chinese.
    beside = [{"name": name, "covers": "latin-in-cjk"} for name in (sans[0], serif)]
    return {
        "language": "zh",
        "region": "CN",
        "sans": [beside[0], family, *sans],
        "serif": [beside[1], family, *sans],
        "mono": [mono[0], family, mono[1]],
    }


@functools.cache
def _font_folder(language: Language) -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="msht-fonts-")
    for path in font_files():
        shutil.copy(path, folder.name)
    if language == "zh":
        for number, path in enumerate(sorted({path for path, _ in chinese_font().faces})):
            link = Path(folder.name) / f"chinese-{number}{path.suffix}"
            try:
                link.symlink_to(path)
            except OSError:  # Windows lets few users make links
                shutil.copy(path, link)
    return folder


@functools.cache
def document_fonts(language: Language = "en") -> typst.Fonts:
    """Load the fonts once in a process: Typst's own, `font_files`, and for Chinese the one of the machine.

    Raises:
        MissingResource: if there is no font for the language.
    """
    # Typst takes folders, and those of the packages hold each face twice (OTF and TTF).
    return typst.Fonts(include_system_fonts=False, font_paths=[_font_folder(language).name])


@functools.cache
def settable_characters(language: Language = "en") -> frozenset[int]:
    """Code points that at least one of the files of `document_fonts` has a shape for.

    Raises:
        MissingResource: if there is no font for the language.
    """
    # fontTools comes with matplotlib and is needed only to word an error and to print names of files.
    from fontTools.ttLib import TTFont

    faces = [(path, -1) for path in font_files()]
    if language == "zh":
        faces.append(chinese_font().faces[0])
    return frozenset(
        point for path, index in faces for point in TTFont(path, lazy=True, fontNumber=index).getBestCmap()
    )
