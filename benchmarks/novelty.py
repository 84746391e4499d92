"""Does the out-of-distribution flag see what is unlike the development cohort, and leave alone what is not?

`python -m benchmarks.novelty BUNDLE NAME=FOLDER_OR_IMAGE ... [--tiles 12]`

Every image of a folder is scored as it is; from an image or slide that is much larger than the view, tiles are cut
first. Noise of three kinds is always added. Written as Markdown: how many are flagged (novelty above 1), and how far
out they lie.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from msht.bundle import read_bundle
from msht.errors import InvalidInput
from msht.images.preprocessing import view_of
from msht.images.reading import read_image

KINDS = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}
EDGE = 384


def pictures(source: Path, tiles: int) -> Iterator[np.ndarray]:
    """The images of a folder, or tiles of one large image or slide, as (H, W, 3) uint8."""
    if source.is_dir():
        for path in sorted(p for p in source.rglob("*") if p.suffix.lower() in KINDS):
            yield read_image(path).pixels
        return
    with Image.open(source) as opened:  # the first level of a pyramid, as Pillow's TIFF reader gives it
        whole = np.asarray(opened.convert("RGB"))
    rows, columns = whole.shape[0] // EDGE, whole.shape[1] // EDGE
    places = [(r, c) for r in range(rows) for c in range(columns)]
    for r, c in places[:: max(1, len(places) // tiles)][:tiles]:
        yield whole[r * EDGE : (r + 1) * EDGE, c * EDGE : (c + 1) * EDGE]


def noise(kind: str, count: int) -> Iterator[np.ndarray]:
    """Pixels without any picture: of every colour, grey, or one colour each."""
    random = np.random.default_rng(517)
    for _ in range(count):
        if kind == "noise, colour":
            yield random.integers(0, 256, (EDGE, EDGE, 3), dtype=np.uint8)
        elif kind == "noise, grey":
            yield np.repeat(random.integers(0, 256, (EDGE, EDGE, 1), dtype=np.uint8), 3, axis=2)
        else:
            yield np.full((EDGE, EDGE, 3), random.integers(0, 256, 3), dtype=np.uint8)


def report(bundle_path: Path, sources: dict[str, Path], tiles: int) -> str:
    """A table with a row for each source."""
    bundle = read_bundle(bundle_path)
    ensemble = bundle.ensemble()
    lines = [
        f"Bundle: {bundle.description.architecture}; {bundle.description.cohort['title']}.",
        "",
        "| images | number | flagged | median novelty | lowest | highest |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    made = {name: list(pictures(path, tiles)) for name, path in sources.items()}
    made |= {kind: list(noise(kind, tiles)) for kind in ("noise, colour", "noise, grey", "one colour")}
    for name, images in made.items():
        if not images:
            raise InvalidInput(f"{sources[name]} holds no image.", "Give a folder of images, an image or a slide.")
        views = [view_of(image, ensemble.preprocessing) for image in images]
        parts = [ensemble.score(np.stack(views[i : i + 32])).novelty for i in range(0, len(views), 32)]
        novelty = np.concatenate(parts)
        lines.append(
            f"| {name} | {len(novelty)} | {(novelty > 1).sum()} ({(novelty > 1).mean():.0%}) "
            f"| {np.median(novelty):.2f} | {novelty.min():.2f} | {novelty.max():.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("sources", nargs="*", help="NAME=PATH")
    parser.add_argument("--tiles", type=int, default=12)
    arguments = parser.parse_args()
    pairs = (source.split("=", 1) for source in arguments.sources)
    print(report(arguments.bundle, {name: Path(path) for name, path in pairs}, arguments.tiles))
