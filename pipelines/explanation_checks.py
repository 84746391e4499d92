"""Whether the maps of a run are true: checked on development images by the networks that had not seen them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from msht.cohort.manifest import CLASSES
from msht.cohort.splits import Split
from msht.decision import Decision
from msht.ensemble import Ensemble
from msht.files import inside, write_json
from msht.images.colour import Colour
from msht.images.preprocessing import to_tensor
from msht.images.reading import read_image
from pipelines.evaluation_parts import PartFiles, drawn_by_group
from pipelines.explain_crops import shown_crop, single_view, view_of_box
from pipelines.explain_maps import METHOD, METHODS_IN_WORDS, explained_layer, layer_in_words
from pipelines.performance import read_predictions
from pipelines.progress import Progress, Silent, stage
from pipelines.run_folder import RunFolder

IMAGES = 16
FEWEST = 4
ROAD_IMAGES = 6
"""Images that ROAD, which costs most, is computed for."""
SHARES = (0.0, 0.25, 0.5, 0.75)
GRIDS = (1, 2, 4, 8)


def check_explanations(
    run: RunFolder,
    split: Split,
    ensemble: Ensemble,
    decision: Decision,
    *,
    seed: int,
    method: str = METHOD,
    layer: str | None = None,
    count: int = IMAGES,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Check the maps that reports show, and write the part `explanation`; one that is there is given back.

    Args:
        run: finished.
        split: of the run, with its images at hand.
        ensemble: of the run.
        decision: of the run.
        seed: of the draw of images, of the chance maps and of the shuffled weights.
        method: of the maps.
        layer: public name; None: the one that reports use.
        count: images at most.
        progress: who listens.
    """
    files = PartFiles(run)
    layer = layer or explained_layer(ensemble.folds[0].network)
    kept = files.read(files.explanation, run.fitted_digest())
    if kept is not None and (kept["method"], kept["layer"], kept["wanted"]) == (method, layer, count):
        return kept
    chosen = chosen_images(run, decision, seed, count)
    part: dict[str, Any] = {
        "fitted_digest": run.fitted_digest(),
        "method": method,
        "layer": layer,
        "method_in_words": METHODS_IN_WORDS[method],
        "layer_in_words": layer_in_words(layer),
        "wanted": count,
        "images": len(chosen),
        "patients": int(chosen["group"].nunique()),
        "data": f"{len(chosen)} held-out development images of {chosen['group'].nunique()} groups, labelled and called "
        "positive, each explained by the network that had not seen it",
    }
    if len(chosen) < FEWEST:
        part["reason"] = (
            f"Only {len(chosen)} development images are labelled positive and called so by the network that had not "
            f"seen them; {FEWEST} are needed to check maps."
        )
    else:
        part |= measure_maps(chosen, split, ensemble, seed=seed, method=method, layer=layer, progress=progress)
        part["sentence"] = in_a_sentence(part)
    write_json(files.explanation, part)
    return part


def chosen_images(run: RunFolder, decision: Decision, seed: int, count: int) -> pd.DataFrame:
    """Development images whose positive call there is to explain: evaluable, labelled and called positive."""
    frame = read_predictions(run.out_of_fold_file)
    right = (frame["label"] == CLASSES[1]) & frame["evaluable"]
    called = frame["probability"] >= decision.field_point.threshold
    return drawn_by_group(frame[right & called], count, seed)


def measure_maps(
    chosen: pd.DataFrame,
    split: Split,
    ensemble: Ensemble,
    *,
    seed: int,
    method: str,
    layer: str,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Every check of the maps of these development images.

    Args:
        chosen: rows with `image`, `fold`, `group`, and `mask` where the truth is known.
        split: whose images they are.
        ensemble: of the run.
        seed: of chance maps and shuffled weights.
        method: of the maps.
        layer: public name.
        progress: who listens.
    """
    import torch

    from msht.explanation.cam import COSTLY, class_activation_map, raw_class_activation_map
    from msht.explanation.checks import joined, localisation, randomisation, score_maps
    from msht.explanation.probes import ORDERS, occlusion, shuffling
    from msht.network.logits import binary_logit

    preprocessing = single_view(ensemble.preprocessing)
    known = "mask" in chosen and bool(chosen["mask"].notna().all())
    scores, likeness, places, dropped, shuffled, groups = [], [], [], [], [], []
    with stage(progress or Silent(), "Checking maps", len(chosen)) as steps:
        for fold in ensemble.folds:
            rows = chosen[chosen["fold"] == fold.number]
            if rows.empty:
                continue
            network = fold.network

            def score(images: torch.Tensor, network: Any = network) -> torch.Tensor:
                return torch.sigmoid(binary_logit(network(images)).float())

            def explain(other: Any, batch: torch.Tensor) -> np.ndarray:
                return class_activation_map(other, batch, layer=layer, method=method)

            pixels = [read_image(inside(split.root, image)).pixels for image in rows["image"]]
            # As in a report: the crop that speaks most for the call, which is positive and this network's own.
            alone = Ensemble([fold], ensemble.preprocessing, ensemble.device)
            crops = [shown_crop(alone, picture, positive=True) for picture in pixels]
            views = np.stack([crop.view for crop in crops])
            images = to_tensor(views, preprocessing).to(ensemble.device)
            maps = explain(network, images)
            coarseness = raw_class_activation_map(network, images[:1], layer=layer).shape[-1]
            few = -(-ROAD_IMAGES // len(ensemble.folds))
            scores.append(score_maps(score, images, maps, coarseness=coarseness, road_images=few, seed=seed))
            few_images = images[:4] if method in COSTLY else images
            likeness.append(randomisation(network, few_images, explain, seed=seed))
            dropped.append(
                np.stack([occlusion(score, images, maps, order=o, shares=SHARES, seed=seed) for o in ORDERS])
            )
            shuffled.append(shuffling(score, images, grids=GRIDS, seed=seed))
            groups += [str(group) for group in rows["group"]]
            if known:
                masks = [read_image(inside(split.root, mask)).pixels for mask in rows["mask"]]
                uncoloured = preprocessing.model_copy(update={"colour": Colour()})
                squares = [view_of_box(m, crop.box, uncoloured) for m, crop in zip(masks, crops, strict=True)]
                seen = np.stack(squares)[..., 0] > 127
                places += list(localisation(maps, seen))
            steps.advance(len(rows))
    together = joined(scores)
    alike = np.concatenate(likeness, axis=1)
    occluded = dict(zip(ORDERS, np.concatenate(dropped, axis=2).mean(axis=2), strict=True))
    moved = np.concatenate(shuffled, axis=1)
    return {
        "checks": [*_faithful(together, groups, seed), _weights(alike), *_located(places)],
        "curves": {name: np.round(values, 6).tolist() for name, values in asdict(together).items() if "curve" in name},
        "probes": {
            "shares": list(SHARES),
            "occlusion": {order: np.round(curve, 6).tolist() for order, curve in occluded.items()},
            "grids": list(GRIDS),
            "shuffling": np.round(moved.mean(axis=1), 6).tolist(),
        },
    }


def _faithful(scores: Any, groups: list[str], seed: int) -> list[dict[str, Any]]:
    """Deletion, insertion and ROAD against maps that know nothing, signed so that more is better."""
    made = []
    for name, sign in (("deletion", -1.0), ("insertion", 1.0), ("road", 1.0)):
        own, chance = getattr(scores, name), getattr(scores, f"{name}_chance")
        there = np.isfinite(own)
        better = sign * (own - chance)[there]
        low, high = _interval(better, [g for g, ok in zip(groups, there, strict=True) if ok], seed)
        made.append(
            {
                "name": name,
                "value": round(float(own[there].mean()), 4),
                "chance": round(float(chance[there].mean()), 4),
                "gain": round(float(better.mean()), 4),
                "low": low,
                "high": high,
                "images": int(there.sum()),
                "passed": None if low is None else bool(low > 0),
            }
        )
    return made


def _interval(values: np.ndarray, groups: list[str], seed: int) -> tuple[float | None, float | None]:
    """95 % interval of a mean by resampling patients; (None, None) where there are too few."""
    from msht.statistics.arrays import as_groups
    from msht.statistics.bootstrap import Scale, clustered_bootstrap, mean_statistic

    codes, count = as_groups(groups, len(values))
    interval = clustered_bootstrap(mean_statistic(values[:, None], codes, count), count, Scale(), seed=seed)[0]
    return (round(interval.low, 4), round(interval.high, 4)) if interval.known else (None, None)


def _weights(likeness: np.ndarray) -> dict[str, Any]:
    from msht.explanation.checks import LARGEST_LIKENESS, SHARES_FORGOTTEN

    means = likeness.mean(axis=1)
    return {
        "name": "randomisation",
        "value": round(float(means[-1]), 4),
        "shares": list(SHARES_FORGOTTEN),
        "cascade": np.round(means, 4).tolist(),
        "bar": LARGEST_LIKENESS,
        "images": int(likeness.shape[1]),
        "passed": bool(means[-1] < LARGEST_LIKENESS),
    }


def _located(places: list[tuple[bool, float, float]]) -> list[dict[str, Any]]:
    if not places:
        return []
    hits, energy, chance = (np.array(column, dtype=float) for column in zip(*places, strict=True))
    inside_share = float(np.nanmean(energy)) if np.isfinite(energy).any() else 0.0
    return [
        {"name": "energy", "value": round(inside_share, 4), "chance": round(float(chance.mean()), 4),
         "images": len(places), "passed": bool(inside_share > chance.mean())},
        {"name": "pointing", "value": round(float(hits.mean()), 4), "images": len(places), "passed": None},
    ]  # fmt: skip


def find_check(part: dict[str, Any], name: str) -> dict[str, Any] | None:
    """A check of a part by its name; None where it was not made."""
    return next((check for check in part.get("checks", ()) if check["name"] == name), None)


def in_a_sentence(part: dict[str, Any]) -> str:
    """What the checks found, for the foot of a map."""
    deletion, insertion, weights = (find_check(part, name) for name in ("deletion", "insertion", "randomisation"))
    assert deletion is not None
    assert insertion is not None
    assert weights is not None
    failed = [_failed(check) for check in part["checks"] if check["passed"] is False]
    return (
        f"Such maps were checked on {part['images']} development images: deletion {deletion['value']:.2f} (by chance "
        f"{deletion['chance']:.2f}; less is better), insertion {insertion['value']:.2f} ({insertion['chance']:.2f}; "
        f"more is better), likeness after shuffling the weights {weights['value']:.2f} (0 is right); "
        f"{'not passed: ' + ', '.join(failed) if failed else 'no check failed'}."
    )


def _failed(check: dict[str, Any]) -> str:
    """A check that was not passed; where its mean is better than chance, what keeps it from being surely so."""
    if check.get("low") is None:
        return str(check["name"])
    figures = {name: f"{check[name]:.2f}".replace("-", "\u2212") for name in ("gain", "low", "high")}
    return "{name} (gain over chance {gain} with a 95% interval from {low} to {high})".format(
        name=check["name"], **figures
    )


def for_bundle(part: dict[str, Any]) -> dict[str, Any]:
    """What a bundle keeps: method, layer, scores and the data behind them."""
    scores = {
        check["name"]: {k: check[k] for k in ("value", "chance", "low", "high", "passed") if k in check}
        for check in part.get("checks", ())
    }
    return {
        "method": part["method"],
        "layer": part["layer"],
        "method_in_words": part["method_in_words"],
        "layer_in_words": part["layer_in_words"],
        "data": part["data"],
        "scores": scores,
        "sentence": part.get("sentence", f"These maps were not checked. {part.get('reason', '')}".strip()),
    }
