"""The pictures of a case report as its template names them, each no larger than the page needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.pictures import WHOLE_MM, picture_for_page

if TYPE_CHECKING:
    from reports.case import CaseReport

ALONE_MM = 58.0
"""Width of a field that is shown alone; see `case.typ`."""
BESIDE_MM = 41.5
"""Largest width of a field that is shown beside others."""
TILE_MM = 22.0
"""Width of a tile on the page of tiles."""
SLIDE_MM = 178.0
"""Width of the picture of a whole slide: all of the page between its margins."""


def pictures_for_page(report: CaseReport) -> dict[str, bytes]:
    """Read every picture of a report, by the name under which the template asks for it.

    Raises:
        InvalidInput: if a picture is missing or cannot be read, naming it.
    """
    files = {}
    width_mm = ALONE_MM if len(report.deciding) == 1 else BESIDE_MM
    for index, field in enumerate(report.deciding):
        for kind, path in (("crop", field.crop), ("overlay", field.overlay)):
            what = f"the {kind} of field {field.name}"
            files[f"{kind}-{index}.jpg"] = picture_for_page(path, what=what, width_mm=width_mm)
        if field.whole is not None:
            what = f"the whole field {field.name}"
            files[f"whole-{index}.jpg"] = picture_for_page(field.whole, what=what, width_mm=WHOLE_MM)
    for index, tile in enumerate(report.tiles):
        for kind, path in (("crop", tile.crop), ("overlay", tile.overlay)):
            what = f"the {kind} of tile {tile.name}"
            files[f"tile-{kind}-{index}.jpg"] = picture_for_page(path, what=what, width_mm=TILE_MM)
    for index, slide in enumerate(report.slides):
        what = f"the heat map of slide {slide.name}"
        files[f"slide-{index}.jpg"] = picture_for_page(slide.picture, what=what, width_mm=SLIDE_MM)
    for index, shown in enumerate(report.rejected_pictures):
        what = f"the rejected field {shown.name}"
        files[f"rejected-{index}.jpg"] = picture_for_page(shown.picture, what=what, width_mm=BESIDE_MM)
    return files
