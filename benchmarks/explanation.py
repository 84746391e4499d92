"""Which heat map is true, by every check, on phantoms (where the truth is known) and on real smears (where it is not).

Takes finished runs, such as the folder `run` of `msht demo`, and explains held-out development images, labelled and
called positive, each by the network that had not seen it:

    python -m benchmarks.explanation demo/run RUN_OF_SMEARS

writes `benchmarks/results/explanation.md`. Deletion and insertion fill with the image's mean colour; ROAD imputes.
Likeness is the rank correlation with the map of the same network with all weights shuffled. Energy is the share of a
map on atypical nuclei, pointing how often its highest point lies on one (within 4 px of the network's input).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata

from msht.errors import InvalidInput
from msht.explanation.cam import COSTLY, METHODS, class_activation_map
from msht.explanation.checks import chance_maps, localisation
from msht.explanation.faithfulness import deletion, insertion, map_similarity, randomised_copy, road
from msht.files import inside, write_text
from msht.images.preprocessing import to_tensor, view_of
from msht.images.reading import read_image
from msht.network.explain import explanation_layers
from msht.network.logits import binary_logit
from pipelines.ensemble import load_fitted
from pipelines.explain_crops import single_view
from pipelines.explain_maps import PREFERRED_LAYER
from pipelines.explanation_checks import chosen_images
from pipelines.run_folder import RunFolder

OUT = Path(__file__).resolve().parent / "results" / "explanation.md"
STEPS = 8
ROAD_IMAGES = 6
COSTLY_LAYER = PREFERRED_LAYER
"""The layer at which methods that run the network for every channel are tried."""
Row = dict[str, float]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="*", default=[Path("demo/run")], help="Finished runs.")
    parser.add_argument("--images", type=int, default=16, help="Images of each run.")
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    lines, tables = ["# Heat maps against every check", ""], []
    for path in asked.runs:
        made, rows = measured(path, asked.images)
        lines += made
        tables.append(rows)
    lines += ranked(tables)
    write_text(asked.out, "\n".join(lines) + "\n")


def ranked(tables: list[dict[tuple[str, str], Row]]) -> list[str]:
    """Mean rank of each method at the layer that reports use, over all checks of all runs; likeness is pass or fail."""
    methods = [m for m in METHODS if all((m, PREFERRED_LAYER) in table for table in tables)]
    ranks: dict[str, list[float]] = {method: [] for method in methods}
    for table in tables:
        for column, sign in (("deletion", 1), ("insertion", -1), ("road", -1), ("energy", -1), ("pointing", -1)):
            values = [sign * table[method, PREFERRED_LAYER].get(column, np.nan) for method in methods]
            if np.isfinite(values).all():
                for method, rank in zip(methods, rankdata(values), strict=True):
                    ranks[method].append(float(rank))
    lines = [
        f"## Mean rank at {PREFERRED_LAYER}, over all checks of all runs",
        "",
        "| method | mean rank |",
        "|---|---:|",
    ]
    for method in sorted(methods, key=lambda m: np.mean(ranks[m])):
        lines.append(f"| {method} | {np.mean(ranks[method]):.2f} |")
        print(lines[-1], flush=True)
    return lines


def measured(path: Path, count: int) -> tuple[list[str], dict[tuple[str, str], Row]]:
    """The table of one run, as lines and as rows."""
    run = RunFolder(path)
    recipe, split, fitted = run.recipe(), run.split(), load_fitted(run)
    chosen = chosen_images(run, fitted.decision, recipe.seed, count)
    preprocessing = single_view(recipe.preprocessing)
    known = "mask" in chosen
    batches = []
    for fold in fitted.folds:
        held = chosen[chosen["fold"] == fold.number]
        if len(held):
            views = np.stack([view_of(read_image(inside(split.root, p)).pixels, preprocessing) for p in held["image"]])
            masks = None
            if known:
                read = [read_image(inside(split.root, p)).pixels for p in held["mask"]]
                masks = np.stack([view_of(mask, preprocessing)[..., 0] > 127 for mask in read])
            network = fold.network.eval()
            shuffled = randomised_copy(network, seed=recipe.seed)
            batches.append((network, shuffled, to_tensor(views, preprocessing), masks))
    layers = list(explanation_layers(fitted.folds[0].network))
    lines = [
        f"## {split.card or path.name}: {recipe.network.name} at {preprocessing.size} px",
        "",
        f"{len(chosen)} images of {chosen['group'].nunique()} patients.",
        "",
        "| method | layer | deletion (low) | insertion (high) | ROAD (high) | likeness (0) | energy | pointing "
        "| empty |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    tried = [("by chance", ""), *((m, a) for m in METHODS for a in layers if m not in COSTLY or a == COSTLY_LAYER)]
    rows: dict[tuple[str, str], Row] = {}
    for method, layer in tried:
        row = rows[method, layer] = one_row(batches, method, layer)
        cells = [f"{row[name]:.3f}" if name in row else "–" for name in COLUMNS]
        lines.append(f"| {method} | {layer} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return [*lines, ""], rows


COLUMNS = ("deletion", "insertion", "road", "likeness", "energy", "pointing", "empty")


def one_row(
    batches: list[tuple[torch.nn.Module, torch.nn.Module, torch.Tensor, np.ndarray | None]], method: str, layer: str
) -> Row:
    """Mean of every check of one method at one layer."""
    found: dict[str, list[float]] = {name: [] for name in COLUMNS}
    for network, shuffled, images, masks in batches:

        def score(batch: torch.Tensor, network: torch.nn.Module = network) -> torch.Tensor:
            return torch.sigmoid(binary_logit(network(batch)).float())

        if layer:
            maps = class_activation_map(network, images, layer=layer, method=method)
            forgotten = class_activation_map(shuffled, images[:4], layer=layer, method=method)
            found["likeness"] += [map_similarity(a, b) for a, b in zip(maps, forgotten, strict=False)]
        else:
            maps = chance_maps(len(images), images.shape[-1], 6, 1)
        found["empty"] += [float(m.max() <= 1e-8) for m in maps]
        for image, evidence in zip(images, maps, strict=True):
            found["deletion"].append(deletion(score, image, evidence, steps=STEPS).area)
            found["insertion"].append(insertion(score, image, evidence, steps=STEPS).area)
            if len(found["road"]) < ROAD_IMAGES and (not layer or layer == PREFERRED_LAYER):
                found["road"].append(road(score, image, evidence))
        if masks is not None:
            for hit, energy, _ in localisation(maps, masks):
                found["pointing"].append(float(hit))
                found["energy"].append(energy)
    return {name: float(np.nanmean(values)) for name, values in found.items() if values}


if __name__ == "__main__":
    try:
        main()
    except InvalidInput as error:
        raise SystemExit(f"error: {error}") from error
