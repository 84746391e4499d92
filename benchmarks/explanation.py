"""Which heat map finds the atypical nuclei of phantoms, where the truth is known, and which does not.

Run after `make demo` with `python -m benchmarks.explanation` (or `make bench`): takes the networks and the positive
test fields of the folder `demo`, and writes `benchmarks/results/explanation.md`. Energy is the share of a map that lies
on atypical nuclei; pointing is how often its highest point lies on one (or within 4 px of the network's input).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from msht.bundle import read_bundle
from msht.errors import InvalidInput
from msht.explanation.cam import METHODS, class_activation_map
from msht.files import write_text
from msht.images.preprocessing import to_tensor, view_of
from msht.images.reading import read_image
from msht.network.explain import explanation_layers

OUT = Path(__file__).resolve().parent / "results" / "explanation.md"
NEAR = 9


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="Folder written by `msht demo`.")
    demo = parser.parse_args().demo
    if not (demo / "run" / "test.csv").is_file():
        raise SystemExit(f"{demo} holds no demo; make it first with `make demo`.")
    bundle = read_bundle(demo / "bundle")
    ensemble = bundle.ensemble()
    table = pd.read_csv(demo / "run" / "test.csv")
    table = table[table["label"] == "positive"]
    views = np.stack([view_of(read_image(demo / "cohort" / p).pixels, ensemble.preprocessing) for p in table["image"]])
    masks = np.stack(
        [view_of(read_image(demo / "cohort" / p).pixels, ensemble.preprocessing)[..., 0] > 127 for p in table["mask"]]
    )
    shown = masks.reshape(len(masks), -1).mean(axis=1) > 0.01
    views, masks = views[shown], masks[shown]
    near = np.stack([cv2.dilate(m.astype(np.uint8), np.ones((NEAR, NEAR), np.uint8)) > 0 for m in masks])
    images = to_tensor(views, ensemble.preprocessing)
    lines = [
        "# Heat maps against the truth of phantoms",
        "",
        f"Demo phantom, bundle {bundle.short_digest}, {len(views)} positive test fields of "
        f"{table.loc[shown, 'patient_id'].nunique()} patients, mean over {len(ensemble.folds)} networks. By chance: "
        f"energy {masks.mean():.3f}, pointing {near.mean():.2f}.",
        "",
        "| method | layer | energy on atypical nuclei | pooled over fields | pointing | maps without evidence |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for method in METHODS:
        for layer in explanation_layers(ensemble.folds[0].network):
            maps = np.mean(
                [class_activation_map(f.network, images, layer=layer, method=method) for f in ensemble.folds], axis=0
            )
            total = np.maximum(maps.sum(axis=(1, 2)), 1e-12)
            energy = float(np.mean((maps * masks).sum(axis=(1, 2)) / total))
            pooled = float((maps * masks).sum() / max(maps.sum(), 1e-12))
            pointing = float(np.mean([n.flat[m.argmax()] for m, n in zip(maps, near, strict=True)]))
            empty = float((maps.max(axis=(1, 2)) <= 1e-8).mean())
            row = f"| {method} | {layer} | {energy:.3f} | {pooled:.3f} | {pointing:.2f} | {empty:.0%} |"
            print(row, flush=True)
            lines.append(row)
    write_text(OUT, "\n".join(lines) + "\n")


if __name__ == "__main__":
    try:
        main()
    except InvalidInput as error:
        raise SystemExit(f"error: {error}") from error
