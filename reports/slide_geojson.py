"""Tiles of a slide as GeoJSON, as QuPath 0.4 and later opens it.

A feature is a tile: a closed square in px of the picture that QuPath shows, `objectType` "tile", a classification
with its colour, and measurements that QuPath's tables and measurement maps use. QuPath counts px from the scanned
part of a slide where the scanner wrote its bounds, and from the corner of the slide where not; so does this file.

Source: QuPath's documentation ("Exporting annotations") and its reader's behaviour on bounds.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from msht.files import atomic_path

CLASS_COLOURS: dict[str, tuple[int, int, int]] = {
    "positive": (213, 94, 0),
    "negative": (0, 114, 178),
    "not evaluable": (153, 153, 153),
}
"""Told apart by every reader. Source: Okabe and Ito (2008), Color Universal Design."""


@dataclass(frozen=True)
class TileFeature:
    """A tile as QuPath shows it.

    Attributes:
        name: of the tile, unique in its scoring.
        left: in px of the picture that QuPath shows.
        top: the same.
        edge: the same.
        classification: one of `CLASS_COLOURS`.
        measurements: numbers by name; all finite.
    """

    name: str
    left: int
    top: int
    edge: int
    classification: str
    measurements: Mapping[str, float]


def write_slide_geojson(path: Path, features: Iterable[TileFeature], *, scoring: str) -> None:
    """Write the tiles, whole or not at all, one on a line.

    Args:
        path: the file.
        features: tiles, in any order.
        scoring: tells scorings apart: the same tile of the same scoring gets the same id.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, feature in enumerate(features):
            file.write(",\n" if number else "\n")
            json.dump(_as_geojson(feature, scoring), file, ensure_ascii=False, allow_nan=False)
        file.write("\n]}\n")


def _as_geojson(feature: TileFeature, scoring: str) -> dict[str, object]:
    left, top = feature.left, feature.top
    right, bottom = left + feature.edge, top + feature.edge
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{scoring}/{feature.name}")),
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]],
        },
        "properties": {
            "objectType": "tile",
            "name": feature.name,
            "classification": {
                "name": feature.classification,
                "color": list(CLASS_COLOURS[feature.classification]),
            },
            "isLocked": True,
            "measurements": dict(feature.measurements),
        },
    }
