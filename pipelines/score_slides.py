"""Slides in a scoring: the tiles that stand for a slide, and its maps when they are scored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from msht.errors import InvalidInput, MissingResource, UnreadableImage
from msht.files import atomic_path, read_json
from pipelines.inputs import ScoreInput, file_name_for
from pipelines.score_folder import SLIDES

if TYPE_CHECKING:
    import pandas as pd

    from msht.bundle import Bundle
    from msht.images.preprocessing import Preprocessing
    from reports.slide_geojson import TileFeature
    from reports.slide_map import MapTile, SlideMap

MAPS = ("heatmap.png", "heatmap.geojson")

MAP_EDGE = 1400
"""Longer edge in px of the picture below a map: as many as it has on the figure."""

SMALLEST_TILE, LARGEST_TILE = 64, 4096
TILE_COLUMNS = ("slide", "tile_left", "tile_top", "tile_edge", "tile_size")
MEASURES = ("probability", "logit", "raw_logit", "spread", "novelty")


class SlideSettings(BaseModel):
    """How slides are cut into tiles; part of what a scoring remembers, since it decides which tiles there are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slide_microns_per_pixel: float | None = None
    """Size of a px of level 0 in um, where the file does not say it; it goes before what the file says."""
    field_microns_per_pixel: float | None = None
    """Scale of the fields that the networks learned from in um a px, where the bundle does not say it."""
    overlap: float = 0.0
    """Share of a tile's edge that its neighbour shows too."""
    tile: int | None = None
    """Edge of a tile in px of such a field, where the bundle has no crop."""
    max_tiles: int | None = None
    """Most tiles of a slide, those with most stained material; None: all that hold any."""

    def check(self) -> None:
        """Refuse what no slide can be cut by.

        Raises:
            InvalidInput: naming the option.
        """
        for option, value in (
            ("--slide-microns-per-pixel", self.slide_microns_per_pixel),
            ("--field-microns-per-pixel", self.field_microns_per_pixel),
        ):
            if value is not None and not 0.02 <= value <= 100:
                raise InvalidInput(f"{option} is {value}.", "Give the size of a pixel in um, from 0.02 to 100.")
        if not 0 <= self.overlap <= 0.75:
            raise InvalidInput(f"--overlap is {self.overlap}.", "Give a share of the tile's edge from 0 to 0.75.")
        if self.tile is not None and not SMALLEST_TILE <= self.tile <= LARGEST_TILE:
            raise InvalidInput(f"--tile is {self.tile}.", f"Give px from {SMALLEST_TILE} to {LARGEST_TILE}.")
        if self.max_tiles is not None and self.max_tiles < 1:
            raise InvalidInput(f"--max-tiles is {self.max_tiles}.", "Give a number from 1, or leave it out for all.")


def expand_slide(path: Path, name: str, case: str, bundle: Bundle, settings: SlideSettings) -> list[ScoreInput]:
    """Find the tiles of a slide that are scored for it.

    Args:
        path: the slide.
        name: of the slide in the tables; a tile's name is `NAME#y012345-x067890`, its corner in px of level 0.
        case: that the tiles belong to.
        bundle: whose scale and crop the tiles have.
        settings: of the user.

    Raises:
        UnreadableImage: if this slide cannot be read, says no resolution or holds nothing stained; a rejected row.
        InvalidInput: if the bundle and the settings do not say what a tile is; nothing can be scored then.
        MissingResource: if OpenSlide is not installed.
    """
    from msht.images.slides import plan_slide

    microns, size = tile_geometry(bundle.description.preprocessing, settings)
    plan = plan_slide(
        path,
        field_microns_per_pixel=microns,
        tile_size=size,
        slide_microns_per_pixel=settings.slide_microns_per_pixel,
        overlap=settings.overlap,
        most_tiles=settings.max_tiles,
    )
    return [
        ScoreInput(f"{name}#y{tile.top:06d}-x{tile.left:06d}", path.absolute(), case, tile=tile) for tile in plan.tiles
    ]


def tile_geometry(preprocessing: Preprocessing, settings: SlideSettings) -> tuple[float, int]:
    """Say at which scale (um a px) and how large (px) a tile is read, by the bundle or else by the user.

    Raises:
        InvalidInput: if neither says it, or they differ.
    """
    settings.check()
    microns = preprocessing.microns_per_pixel
    given = settings.field_microns_per_pixel
    if microns is None and given is None:
        raise InvalidInput(
            "The bundle does not say at which scale its fields were taken, so no slide can be read as they were.",
            "Give it with --field-microns-per-pixel (um a px of the photographs that it was trained on).",
        )
    if microns is not None and given is not None and not math.isclose(microns, given, rel_tol=0.01):
        raise InvalidInput(
            f"--field-microns-per-pixel is {given}, but the bundle's fields have {microns:g} um a px.",
            "Leave the option out.",
        )
    crop, tile = preprocessing.crop, settings.tile
    if crop is None and tile is None:
        raise InvalidInput(
            "The bundle takes whole fields of any size, so it does not say how large a tile of a slide is.",
            "Give its edge with --tile (px at the scale of the fields).",
        )
    if crop is not None and tile is not None and crop != tile:
        raise InvalidInput(f"--tile is {tile}, but the bundle's networks see {crop} px.", "Leave the option out.")
    return float(microns or given or 0.0), int(crop or tile or 0)


def write_slide_maps(out: Path, images_table: Path) -> list[str]:
    """Write the heat map of every slide as `slides/NAME/heatmap.png` and `.geojson`.

    Args:
        out: folder of the scoring, with its `run.json`.
        images_table: `images.parquet`; refused tiles are read from `rejected.parquet` beside it.

    Returns:
        A sentence for each slide that has no maps, since it cannot be read any more.
    """
    import pyarrow.parquet as pq

    if "slide" not in pq.read_schema(images_table).names:
        return []
    run = read_json(out / "run.json", what="record of a scoring")
    refused = images_table.with_name("rejected.parquet")
    problems = []
    for name in _slides_of(images_table):
        scored = _rows_of(images_table, name)
        lost = _rows_of(refused, name) if refused.is_file() else scored.iloc[:0]
        problems += _write_maps(out / SLIDES / file_name_for(name), name, scored, lost, run)
    return problems


def clear_slide_maps(out: Path, slides: Iterable[str]) -> None:
    """Remove the maps of slides that a scoring no longer holds, or can no longer read: nobody shall take them for its.

    Args:
        out: folder of the scoring.
        slides: names of those that it holds.
    """
    names = {file_name_for(name) for name in slides}
    for folder in (out / SLIDES).iterdir():
        if folder.is_dir() and folder.name not in names:
            for name in MAPS:
                (folder / name).unlink(missing_ok=True)
            with suppress(OSError):  # what else lies there is not ours
                folder.rmdir()


def _slides_of(table: Path) -> list[str]:
    import pyarrow.parquet as pq

    names: dict[str, None] = {}
    with pq.ParquetFile(table) as file:
        for batch in file.iter_batches(columns=["slide"]):
            names.update(dict.fromkeys(value for value in batch.column(0).unique().to_pylist() if value))
    return list(names)


def _rows_of(table: Path, slide: str) -> pd.DataFrame:
    """Rows of one slide, which lie together in the table: only the groups of rows that hold it are read."""
    import pandas as pd
    import pyarrow.parquet as pq

    there = pq.read_schema(table).names
    if "slide" not in there:
        return pd.DataFrame(columns=["slide"])
    wanted = ("image", "path", *TILE_COLUMNS, "evaluable", "call", "out_of_distribution", *MEASURES)
    columns = [column for column in wanted if column in there]
    frame: pd.DataFrame = pq.read_table(table, columns=columns, filters=[("slide", "==", slide)]).to_pandas()
    return frame


def _write_maps(folder: Path, name: str, scored: pd.DataFrame, lost: pd.DataFrame, run: dict[str, Any]) -> list[str]:
    from msht.images.slide_files import open_slide
    from msht.images.slide_plan import read_low_power, scanned_region
    from msht.images.slide_scale import slide_scale
    from reports.slide_geojson import write_slide_geojson
    from reports.slide_map import SlideMap, draw_slide_map

    path = Path(str(scored["path"].iloc[0]))
    try:
        slide = open_slide(path)
        region = scanned_region(slide)
        low_power = read_low_power(slide, path, region, MAP_EDGE)
        given = (run.get("slides") or {}).get("slide_microns_per_pixel")
        scale = slide_scale(slide.properties, path, given)
    except (UnreadableImage, MissingResource) as error:
        return [f"{name} has no heat map: {error}"]
    slide_map = SlideMap(
        name=name,
        bundle=str(run["bundle"]["name"]),
        threshold=_threshold_in_words(run),
        picture=low_power.pixels,
        foreground=low_power.foreground,
        left=region.left,
        top=region.top,
        pixels_per_pixel=region.width / low_power.pixels.shape[1],
        microns_per_pixel=scale.microns_per_pixel,
        tiles=[*_map_tiles(scored), *_map_tiles(lost)],
    )
    features = _features(scored, lost, slide_map)
    write_slide_geojson(folder / "heatmap.geojson", features, scoring=f"{run['bundle']['digest']}/{name}")
    with atomic_path(folder / "heatmap.png") as temporary:
        temporary.write_bytes(draw_slide_map(slide_map))
    return []


def _threshold_in_words(run: dict[str, Any]) -> str:
    overridden = " (set by the user)" if run.get("threshold_overridden") else ""
    return f"case threshold {float(run['threshold']):.3g}{overridden}"


def _map_tiles(rows: pd.DataFrame) -> Iterator[MapTile]:
    from reports.slide_map import MapTile

    for row in rows.to_dict("records"):
        place = int(row["tile_left"]), int(row["tile_top"]), int(row["tile_edge"])
        if row.get("evaluable"):
            yield MapTile(*place, float(row["probability"]), bool(row["out_of_distribution"]))
        else:
            yield MapTile(*place, None)


def _features(scored: pd.DataFrame, lost: pd.DataFrame, slide_map: SlideMap) -> Iterator[TileFeature]:
    import numpy as np

    from reports.slide_geojson import TileFeature
    from reports.slide_map import MapTile, cover, tile_place

    mean = cover(slide_map).probability
    for row in [*scored.to_dict("records"), *lost.to_dict("records")]:
        evaluable = bool(row.get("evaluable"))
        measurements: dict[str, float] = {"evaluable": float(evaluable)}
        if evaluable:
            measurements |= {measure.replace("_", " "): float(row[measure]) for measure in MEASURES}
            measurements["out of distribution"] = float(row["out_of_distribution"])
            tile = MapTile(int(row["tile_left"]), int(row["tile_top"]), int(row["tile_edge"]), None)
            measurements["probability, mean with overlapping tiles"] = float(
                np.nanmean(mean[tile_place(slide_map, tile)])
            )
        yield TileFeature(
            name=str(row["image"]),
            left=int(row["tile_left"]) - slide_map.left,
            top=int(row["tile_top"]) - slide_map.top,
            edge=int(row["tile_edge"]),
            classification=str(row["call"]) if evaluable else "not evaluable",
            measurements={name: value for name, value in measurements.items() if math.isfinite(value)},
        )
