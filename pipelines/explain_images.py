"""`msht explain BUNDLE IMAGE…`: overlays, arrays and a contact sheet of any images, without a scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from msht.bundle import read_bundle
from msht.errors import InvalidInput
from msht.explanation.overlay import overlay
from msht.files import atomic_path, read_json, write_json
from msht.images.preprocessing import Box, resized, view_of
from msht.images.reading import read_image
from pipelines.case_maps import write_picture
from pipelines.explain_crops import crop_in_words, crops_key, shown_crop
from pipelines.explain_maps import METHOD, METHODS_IN_WORDS, explained_layer, mean_maps, scale_of, unknown_method
from pipelines.inputs import ScoreInput, file_name_for, find_inputs
from pipelines.progress import Progress, Silent, stage

EDGE = 480
"""Edge in px of the overlays."""
AT_ONCE = 8
TILE = 220
ACROSS = 3
ROWS = 5
"""Pairs of a picture and its map, across and down a contact sheet."""


@dataclass(frozen=True)
class Explained:
    """What was written."""

    folder: Path
    images: int
    sheets: tuple[Path, ...]
    layer: str
    method: str


def explain_images(
    bundle_path: Path,
    sources: Sequence[Path],
    out: Path,
    *,
    method: str | None = None,
    layer: str | None = None,
    attention: bool = False,
    fold: int | None = None,
    case_from: str | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Explained:
    """Map the evidence for positive over images: `overlays`, `arrays`, `maps.csv` and `contact-sheet-N.png`.

    The images of a case share one scale, as in a report. A stopped call goes on when it is called again.

    Args:
        bundle_path: whose networks are explained.
        sources: images, folders or tables, as `msht score` takes them.
        out: folder to write.
        method: of `msht.explanation.cam.METHODS`; None: the bundle's.
        layer: public name of the layer; None: the bundle's.
        attention: also write what the network attends to, into `attention`.
        fold: whose network's attention is written; None: the first.
        case_from: regular expression whose first group is the case.
        device: `auto`, `cpu` or `cuda`.
        progress: who listens.

    Raises:
        InvalidInput: if nothing can be explained, or `out` holds maps of another bundle, method or layer.
    """
    from pipelines.ensemble import choose_device

    progress = progress or Silent()
    bundle = read_bundle(bundle_path)
    kept = bundle.description.explanation
    method = method or str(kept.get("method", METHOD))
    if method not in METHODS_IN_WORDS:
        raise unknown_method(method)
    inputs = find_inputs(sources, case_from=case_from)
    ensemble = bundle.ensemble(choose_device(device))
    layer = layer or str(kept.get("layer") or explained_layer(ensemble.folds[0].network))
    key = {"bundle": bundle.digest, "method": method, "layer": layer, **crops_key(ensemble.preprocessing)}
    record = out / "explain.json"
    done: dict[str, dict[str, Any]] = {}
    if record.is_file():
        before = read_json(record, what="record of an explanation")
        if before.get("key") != key:
            raise InvalidInput(
                f"{out} holds maps of another bundle, method or layer.", "Choose another folder with --out."
            )
        done = {row["image"]: row for row in before["rows"]}
    threshold = bundle.description.decision.field_point.threshold
    rows, words = _mapped(inputs, done, ensemble, threshold, out, method, layer, record, key, progress)
    _overlaid(rows, inputs, out, progress)
    if attention:
        from pipelines.explain_attention import write_attention

        boxes = [Box(*row["shown"]["box"]) for row in rows]
        write_attention(ensemble, inputs, boxes, out / "attention", fold=fold, progress=progress)
    sheets = _sheets(rows, out, f"{METHODS_IN_WORDS[method].partition(' (')[0]}, {words}")
    table = pd.DataFrame(rows)
    table["crop"] = [f"{row['shown']['number']} of {row['shown']['of']}" for row in rows]
    columns = ["image", "case", "probability", "crop", "largest", "scale", "overlay", "array"]
    with atomic_path(out / "maps.csv") as temporary:
        table[columns].to_csv(temporary, index=False)
    return Explained(out, len(rows), sheets, words, METHODS_IN_WORDS[method])


def _mapped(
    inputs: Sequence[ScoreInput],
    done: dict[str, dict[str, Any]],
    ensemble: Any,
    threshold: float,
    out: Path,
    method: str,
    layer: str,
    record: Path,
    key: dict[str, str],
    progress: Progress,
) -> tuple[list[dict[str, Any]], str]:
    """Write the array of each image, and give a row for each."""
    from pipelines.explain_maps import layer_in_words

    rows = dict(done)
    with stage(progress, "Explaining", len(inputs)) as steps:
        for start in range(0, len(inputs), AT_ONCE):
            part, pictures = [], []
            for given in inputs[start : start + AT_ONCE]:
                image = read_image(given.path)
                kept = rows.get(given.name, {})
                # Versions that knew of one crop only wrote no "shown".
                same = bool(kept) and "shown" in kept and kept["sha256"] == image.record.sha256
                if same and (out / kept["array"]).is_file():
                    continue
                part.append((given, image.record.sha256))
                pictures.append(image.pixels)
            if part:
                fields = np.stack([view_of(pixels, ensemble.preprocessing) for pixels in pictures])
                probabilities = ensemble.score(fields).probability
                crops = [
                    shown_crop(ensemble, pixels, positive=bool(probability >= threshold))
                    for pixels, probability in zip(pictures, probabilities, strict=True)
                ]
                maps, _ = mean_maps(ensemble, np.stack([crop.view for crop in crops]), method=method, layer=layer)
                made = zip(part, crops, maps, probabilities, strict=True)
                for (given, digest), crop, evidence, probability in made:
                    name = file_name_for(given.name)
                    with atomic_path(out / "arrays" / f"{name}.npy") as temporary, temporary.open("wb") as stream:
                        np.save(stream, evidence, allow_pickle=False)
                    rows[given.name] = {
                        "image": given.name,
                        "case": given.case,
                        "sha256": digest,
                        "probability": round(float(probability), 6),
                        "shown": crop.row(),
                        "largest": float(evidence.max()),
                        "array": f"arrays/{name}.npy",
                        "overlay": f"overlays/{name}.jpg",
                    }
                write_json(record, {"key": key, "rows": list(rows.values())})
            steps.advance(len(inputs[start : start + AT_ONCE]))
    return [rows[given.name] for given in inputs], layer_in_words(layer)


def _overlaid(rows: list[dict[str, Any]], inputs: Sequence[ScoreInput], out: Path, progress: Progress) -> None:
    """Draw each map over its image, on the scale of its case."""
    largest = pd.DataFrame(rows).groupby("case")["largest"]
    scales = {case: scale_of(values.to_numpy()) for case, values in largest}
    with stage(progress, "Drawing", len(rows)) as steps:
        for row, given in zip(rows, inputs, strict=True):
            row["scale"] = scales[row["case"]]
            pixels = read_image(given.path).pixels
            box = Box(*row["shown"]["box"])
            crop = resized(pixels[box.top : box.bottom, box.left : box.right], EDGE)
            evidence = np.load(out / row["array"], allow_pickle=False)
            large = cv2.resize(evidence, (EDGE, EDGE), interpolation=cv2.INTER_LINEAR)
            picture = np.concatenate([crop, overlay(crop, large, scale=row["scale"])], axis=1)
            write_picture(out / row["overlay"], picture)
            steps.advance()


def _sheets(rows: list[dict[str, Any]], out: Path, title: str) -> tuple[Path, ...]:
    """Contact sheets of all images, case by case."""
    from reports.contact_sheet import Tile, contact_sheet

    for old in out.glob("contact-sheet-*.png"):
        old.unlink()
    ordered = sorted(rows, key=lambda row: (row["case"], -row["probability"], row["image"]))
    per_sheet, written = ACROSS * ROWS, []
    for start in range(0, len(ordered), per_sheet):
        tiles = [
            Tile(
                picture=out / row["overlay"],
                name=row["image"].rpartition("/")[2],
                words=_tile_words(row),
            )
            for row in ordered[start : start + per_sheet]
        ]
        path = out / f"contact-sheet-{start // per_sheet + 1}.png"
        with atomic_path(path) as temporary:
            temporary.write_bytes(contact_sheet(tiles, title=title, across=ACROSS, width=TILE))
        written.append(path)
    return tuple(written)


def _tile_words(row: dict[str, Any]) -> str:
    facts = [f"case {row['case']}", f"score {row['probability']:.2f}", crop_in_words(row["shown"])]
    return ", ".join(filter(None, [*facts, f"full colour from {row['scale']:.2g}"]))
