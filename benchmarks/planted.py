"""How many planted copies of real images the audit finds, and how many look-alikes it takes for copies.

Run with `python -m benchmarks.planted MANIFEST`: copies of nine kinds are planted beside the images of a manifest, all
of it is audited with the bounds that are shipped, and every pair that the audit calls a copy is compared with what was
planted. Nothing is written beside the manifest.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from msht.cohort.manifest import read_manifest
from pipelines.audit import audit_cohort
from pipelines.audit_result import read_audit

SEED = 517
Planted = tuple[Image.Image, int]
"""A copy, and the JPEG quality that it is saved with."""


def main() -> None:
    """Plant, audit and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--each", type=int, default=150, help="copies of each kind")
    options = parser.parse_args()
    manifest = read_manifest(options.manifest)
    with tempfile.TemporaryDirectory(prefix="msht-") as scratch:
        root = Path(scratch) / "cohort"
        origins = plant(manifest.frame, manifest.root, root, options.each)
        audit_cohort(root / "manifest.csv", out=Path(scratch) / "audit")
        pairs = {frozenset(pair) for pair in read_audit(Path(scratch) / "audit").pairs}
    kinds = Counter(name.split("/")[0] for name in origins)
    found = Counter(name.split("/")[0] for name, origin in origins.items() if frozenset((name, origin)) in pairs)
    print("| planted | found | of |\n|---|---:|---:|")
    for kind, count in kinds.items():
        print(f"| {kind} | {found[kind]} | {count} |")
    strangers = [pair for pair in pairs if len({origins.get(name, name) for name in pair}) > 1]
    print(f"\n{len(manifest.frame):,} images; {len(pairs):,} pairs called copies, {len(strangers)} of them no copies:")
    for pair in strangers:
        print("-", *sorted(pair))


def kinds_of(generator: np.random.Generator) -> dict[str, Callable[[Image.Image], Planted]]:
    """Each kind of copy, from an image."""

    def cropped(image: Image.Image, share: float) -> Image.Image:
        width, height = round(image.width * (1 - share)), round(image.height * (1 - share))
        left = int(generator.integers(image.width - width + 1))
        top = int(generator.integers(image.height - height + 1))
        return image.crop((left, top, left + width, top + height))

    def resized(image: Image.Image, factor: float) -> Image.Image:
        return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)

    return {
        "re-compressed at 40": lambda image: (image, 40),
        "half the size": lambda image: (resized(image, 0.5), 90),
        "twice the size": lambda image: (resized(image, 2), 90),
        "cropped by 2 %": lambda image: (cropped(image, 0.02), 90),
        "cropped by 5 %": lambda image: (cropped(image, 0.05), 90),
        "cropped by 10 %": lambda image: (cropped(image, 0.1), 90),
        "turned": lambda image: (image.transpose(Image.Transpose.ROTATE_90), 90),
        "mirrored": lambda image: (ImageOps.mirror(image), 90),
        "all at once": lambda image: (
            resized(ImageOps.mirror(cropped(image, 0.05).transpose(Image.Transpose.ROTATE_270)), 0.75),
            60,
        ),
    }


def plant(frame: pd.DataFrame, images: Path, root: Path, each: int) -> dict[str, str]:
    """Copy a cohort, and plant copies under new names; their origins by their names."""
    generator = np.random.default_rng(SEED)
    rows, origins = frame.to_dict("records"), {}
    for row in rows:
        (root / row["image"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(images / row["image"], root / row["image"])
    for kind, make in kinds_of(generator).items():
        (root / kind).mkdir()
        for number in generator.choice(len(frame), min(each, len(frame)), replace=False):
            origin = rows[number]["image"]
            name = f"{kind}/{number}.jpg"
            with Image.open(images / origin) as image:
                copy, quality = make(image.convert("RGB"))
            copy.save(root / name, quality=quality)
            origins[name] = origin
            rows.append({**rows[number], "image": name})
    pd.DataFrame(rows).to_csv(root / "manifest.csv", index=False)
    return origins


if __name__ == "__main__":
    main()
