"""What planning, reading and mapping a whole slide costs in time and memory.

Run with `python -m benchmarks.slides`: writes a synthetic slide of 40,000 x 40,000 px (tiled TIFF, three levels), once
more with a single level, and measures each in a process of its own. `--slide` measures a slide of your own instead.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

EDGE = 40_000
TILE = 512
FACTOR = 4
"""Between one level and the next."""

PATTERNS = 8
STAINED = 0.06
"""Share of the file's tiles that hold cells."""


def write_large_slide(path: Path, *, edge: int = EDGE, levels: int = 3, microns_per_pixel: float = 0.25) -> Path:
    """Write a square slide of any size in little memory: clusters of cells on glass, each tile one of a few.

    Args:
        path: a `.tif`.
        edge: of level 0 in px.
        levels: each a quarter of the one before along each side.
        microns_per_pixel: written as the TIFF's resolution.
    """
    import tifffile

    patterns = _patterns()
    count = -(-edge // TILE)
    layout = _layout(count)
    resolution = {"resolution": (1e4 / microns_per_pixel,) * 2, "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level in range(levels):
            size = edge // FACTOR**level
            file.write(
                _tiles(patterns, layout, level, -(-size // TILE)),
                shape=(size, size, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                compression="zlib",
                photometric="rgb",
                subfiletype=int(level > 0),
                **(resolution if level == 0 else {}),
            )
    return path


def _patterns() -> np.ndarray:
    """Bare glass and a few tiles of stained cells, uint8 of shape (PATTERNS, TILE, TILE, 3)."""
    import cv2

    random = np.random.default_rng(517)
    patterns = np.full((PATTERNS, TILE, TILE, 3), 246, np.uint8)
    for pattern in patterns[1:]:
        for x, y in random.integers(30, TILE - 30, (60, 2)).tolist():
            cv2.circle(pattern, (x, y), 26, (170, 130, 190), -1)
            cv2.circle(pattern, (x, y), 14, (90, 40, 120), -1)
    return patterns


def _layout(count: int) -> np.ndarray:
    """Which pattern lies where, (count, count): stained tiles lie together."""
    random = np.random.default_rng(3)
    down, across = np.mgrid[:count, :count] / count
    distance = np.hypot(across - 0.45, down - 0.55) + random.normal(0, 0.03, (count, count))
    limit = np.quantile(distance, STAINED)
    return np.where(distance <= limit, random.integers(1, PATTERNS, (count, count)), 0)


def _tiles(patterns: np.ndarray, layout: np.ndarray, level: int, count: int) -> Iterator[bytes]:
    """Compressed tiles of a level, row by row."""
    step = FACTOR**level
    small = patterns.reshape(PATTERNS, TILE // step, step, TILE // step, step, 3).mean(axis=(2, 4)).astype(np.uint8)
    packed: dict[bytes, bytes] = {}
    for row in range(count):
        for column in range(count):
            part = np.zeros((step, step), dtype=int)
            known = layout[row * step : (row + 1) * step, column * step : (column + 1) * step]
            part[: known.shape[0], : known.shape[1]] = known
            key = part.tobytes()
            if key not in packed:
                if len(packed) > 64:
                    packed.clear()
                tile = small[part].swapaxes(1, 2).reshape(TILE, TILE, 3)
                packed[key] = zlib.compress(tile.tobytes(), 1)
            yield packed[key]


def measure(path: Path, *, tile: int = 700, microns: float = 0.25, most_tiles: int = 400, threads: int = 2) -> dict:
    """Plan a slide, read its tiles and draw its map in this process; seconds, and growth of memory in MiB."""
    from msht.images.slide_files import open_slide
    from msht.images.slide_plan import read_low_power
    from msht.images.slides import plan_slide, read_tile
    from pipelines.score_slides import MAP_EDGE
    from reports.slide_map import MapTile, SlideMap, draw_slide_map

    found: dict[str, Any] = {"baseline_mib": round(_peak(), 1)}
    started = time.perf_counter()
    plan = plan_slide(path, field_microns_per_pixel=microns, tile_size=tile, slide_microns_per_pixel=None)
    found |= {
        "width": plan.width,
        "height": plan.height,
        "places": plan.places,
        "tiles": len(plan.tiles),
        "plan_seconds": round(time.perf_counter() - started, 2),
        "plan_growth_mib": round(_peak() - found["baseline_mib"], 1),
    }
    chosen = plan.tiles[:: max(1, len(plan.tiles) // most_tiles)][:most_tiles]
    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        brightness = list(pool.map(lambda place: float(read_tile(path, place).pixels.mean()), chosen))
    seconds = time.perf_counter() - started
    found |= {
        "read": len(chosen),
        "threads": threads,
        "tiles_per_second": round(len(chosen) / seconds, 1),
        "read_growth_mib": round(_peak() - found["baseline_mib"], 1),
        "brightness": round(float(np.mean(brightness)), 3),
    }
    started = time.perf_counter()
    low_power = read_low_power(open_slide(path), path, plan.low_power.region, MAP_EDGE)
    draw_slide_map(
        SlideMap(
            name=path.name,
            bundle="none",
            threshold="no threshold",
            picture=low_power.pixels,
            foreground=low_power.foreground,
            left=low_power.region.left,
            top=low_power.region.top,
            pixels_per_pixel=low_power.region.width / low_power.pixels.shape[1],
            microns_per_pixel=plan.scale.microns_per_pixel,
            tiles=[MapTile(t.left, t.top, t.edge, value / 255) for t, value in zip(chosen, brightness, strict=True)],
        )
    )
    found |= {
        "map_seconds": round(time.perf_counter() - started, 2),
        "growth_mib": round(_peak() - found["baseline_mib"], 1),
    }
    return found


def measure_apart(path: Path, **options: int) -> dict[str, Any]:
    """Measure in a process of its own, so that the peak is of nothing else."""
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "benchmarks.slides", "--measure", str(path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _peak() -> float:
    """Largest resident memory so far in MiB; what is imported for it counts to the baseline."""
    import cv2  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import openslide  # noqa: F401

    import msht.images.slides  # noqa: F401
    import reports.slide_map  # noqa: F401

    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count the process that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slide", type=Path, help="A slide of your own.")
    parser.add_argument("--edge", type=int, default=EDGE, help="Of the synthetic slide, in px.")
    parser.add_argument("--most-tiles", type=int, default=400, help="Tiles that are read.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    options = {"most_tiles": given.most_tiles, "threads": given.threads}
    if given.measure:
        print(json.dumps(measure(given.measure, **options)))
        return
    if given.slide:
        print(json.dumps(measure_apart(given.slide, **options), indent=2))
        return
    with tempfile.TemporaryDirectory() as folder:
        for levels in (3, 1):
            started = time.perf_counter()
            path = write_large_slide(Path(folder) / f"{levels}.tif", edge=given.edge, levels=levels)
            print(
                f"{given.edge:,} x {given.edge:,} px, {levels} level(s): {path.stat().st_size / 2**20:.0f} MiB, "
                f"written in {time.perf_counter() - started:.1f} s"
            )
            print(json.dumps(measure_apart(path, **options), indent=2))


if __name__ == "__main__":
    main()
