"""Heat maps of the fields that decided a case, on one scale, kept beside the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from msht.bundle import Bundle
from msht.errors import InvalidInput, MissingResource
from msht.explanation.overlay import overlay
from msht.files import atomic_path, read_json, sha256_of_text, write_json
from msht.images.reading import read_image
from pipelines.explain_crops import ShownCrop, crops_key, field_with_crop, shown_crop
from pipelines.explain_maps import METHOD, METHODS_IN_WORDS, case_scale, mean_maps, unknown_method
from pipelines.fields import read_scored
from pipelines.inputs import file_name_for

SHOWN = 4
TILES_SHOWN = 20
"""Of a case of whole slides, whose tiles are many."""
PICTURE_EDGE = 480
"""Edge in px of the stored pictures: sharp at the size a page shows them."""
RECORD = "maps.json"
FILES = {"crop": "crop.jpg", "overlay": "overlay.jpg", "field": "field.jpg", "array": "map.npy"}
"""Endings of a field's files, by what they hold."""


@dataclass(frozen=True)
class Gone:
    """A field that is not shown, since its photograph is no longer where it was scored."""

    image: str
    path: Path
    probability: float


@dataclass(frozen=True)
class Maps:
    """Heat maps of a case as they lie on disk."""

    folder: Path
    layer: str
    method: str
    scale: float
    fields: list[dict[str, Any]]
    gone: tuple[Gone, ...] = ()
    """Fields that decided and cannot be shown."""


def gone_in_words(gone: Sequence[Gone]) -> str:
    """What has no picture, why, and how to get it back."""
    example = f"{gone[0].path}"
    said = (
        f"1 field that decided has no picture, since its photograph is no longer where it was scored: {example}."
        if len(gone) == 1
        else f"{len(gone)} fields that decided have no picture, since their photographs are no longer where they were "
        f"scored, for example {example}."
    )
    return f"{said} Put back what was moved, and the same command adds the pictures."


@dataclass(frozen=True)
class _Shown:
    """A field with its map, wherever the map comes from."""

    row: dict[str, Any]
    """What the record says of it, without the names of its files."""
    picture: np.ndarray
    """Of the crop, RGB uint8 of shape (E, E, 3)."""
    evidence: np.ndarray
    """The map, float32 of shape (S, S)."""
    whole: np.ndarray | None
    """The field with its crop outlined, RGB uint8, where there are several crops."""
    earlier: bool = False
    """Whether all this was read from the pictures that were kept."""


def deciding_fields(fields: pd.DataFrame, call: str) -> pd.DataFrame:
    """The evaluable fields that weighed most in the call, most weighty first, up to `SHOWN`, of slides `TILES_SHOWN`.

    For a positive call those with the highest log-odds. Else the lowest and the highest in turn, for a negative call
    beginning with the lowest: whoever must exclude a miss looks for what speaks against the call.
    """
    good = fields[fields["evaluable"]]
    falling = good["logit"].sort_values(ascending=False, kind="stable").index
    of_slides = "slide" in good and bool((good["slide"].notna() & (good["slide"] != "")).any())
    most = TILES_SHOWN if of_slides else SHOWN
    if call == "positive":
        return good.loc[falling[:most]]
    ends = (falling[::-1], falling) if call == "negative" else (falling, falling[::-1])
    in_turn = [place for pair in zip(*ends, strict=True) for place in pair][: len(falling)]
    return good.loc[list(dict.fromkeys(in_turn))[:most]]


def explain_case(
    bundle: Bundle,
    scores: Path,
    fields: pd.DataFrame,
    case: str,
    call: str,
    *,
    method: str | None = None,
    layer: str | None = None,
    device: str = "cpu",
    networks: Any = None,
    folds: Sequence[int] = (),
) -> Maps:
    """Make the maps of a case, or give those that are there already and still fit.

    Where a field's score is the mean over several crops, the map is of the crop that speaks most for the call: of a
    positive case, else of the field. A field whose photograph is no longer there keeps the map that
    was made before; without one it is listed as gone.

    Args:
        bundle: that scored the case.
        scores: folder of the scores.
        fields: the case's rows of `images.parquet`.
        case: its id.
        call: of the case.
        method: of `msht.explanation.cam.METHODS`; None: that of the maps that are there, else the bundle's.
        layer: public name of the layer; None: that of the maps that are there, else the bundle's.
        device: where the networks run.
        networks: an ensemble loaded before, for many cases; None: loaded here if needed.
        folds: numbers of the networks that scored, where they were but some of the bundle's; empty: all.

    Raises:
        InvalidInput: if an image changed since it was scored.
    """
    if method is not None and method not in METHODS_IN_WORDS:
        raise unknown_method(method)
    folder = scores / "maps" / file_name_for(case)
    chosen = deciding_fields(fields, call)
    made_by = {
        "bundle": bundle.model_digest,
        **crops_key(bundle.description.preprocessing),
        **({"folds": list(folds)} if folds else {}),
    }
    key = {**made_by, "images": list(chosen["sha256"]), "names": list(chosen["image"])}
    described = folder / RECORD
    kept = read_json(described, what="description of the maps") if described.is_file() else None
    if kept is not None:
        same = method in (None, kept["asked"]["method"]) and layer in (None, kept["asked"]["layer"])
        if kept["key"] == key and same and not any(Path(gone["path"]).is_file() for gone in kept.get("gone", ())):
            return _as_kept(folder, kept)
        if {name: kept["key"].get(name) for name in made_by} != made_by or not same:
            kept = None
    choice = bundle.description.explanation
    method = method or str(choice.get("method", METHOD))
    if chosen.empty:
        return Maps(folder, "", METHODS_IN_WORDS[method], 1.0, [])
    if networks is None:
        from pipelines.ensemble import choose_device

        networks = bundle.ensemble(choose_device(device), folds=list(folds) or None)
    number = len(networks.folds)
    method_words = f"{METHODS_IN_WORDS[method]}{f', mean over {number} networks' if number > 1 else ''}"
    of_call = True if call == "positive" else None
    found, gone, layer_words = [], [], ""
    waiting: list[tuple[int, ShownCrop]] = []
    for row in chosen.to_dict("records"):
        positive = row["call"] == "positive" if of_call is None else of_call
        pixels = _pixels_of({str(column): value for column, value in row.items()})
        if pixels is None:
            earlier = None if kept is None else _earlier(folder, kept, row, positive, (method_words, layer))
            if earlier is None:
                gone.append(Gone(str(row["image"]), Path(str(row["path"])), float(row["probability"])))
            else:
                found.append(earlier)
                layer_words = layer_words or str(kept["layer"] if kept else "")
            continue
        crop = shown_crop(networks, pixels, positive=positive)
        waiting.append((len(found), crop))
        found.append(_without_map(row, pixels, crop, positive))
    if waiting:
        views = np.stack([crop.view for _, crop in waiting])
        maps, layer_words = mean_maps(networks, views, method=method, layer=layer or choice.get("layer"))
        for (place, _), evidence in zip(waiting, maps, strict=True):
            found[place] = replace(found[place], evidence=evidence)
    scale = case_scale(np.stack([shown.evidence for shown in found])) if found else 1.0
    rows = [_written(folder, shown, scale) for shown in found]
    record = {
        "key": key,
        "asked": {"method": method, "layer": layer},
        "layer": layer_words,
        "method": method_words,
        "scale": scale,
        "fields": rows,
        "gone": [{"image": one.image, "path": str(one.path), "probability": one.probability} for one in gone],
    }
    write_json(described, record)
    _clear(folder, rows)
    return _as_kept(folder, record)


def _as_kept(folder: Path, kept: Mapping[str, Any]) -> Maps:
    gone = tuple(Gone(one["image"], Path(one["path"]), one["probability"]) for one in kept.get("gone", ()))
    return Maps(folder, kept["layer"], kept["method"], kept["scale"], kept["fields"], gone)


def _pixels_of(row: dict[str, Any]) -> np.ndarray | None:
    """The picture of a scored row; None where its file is not there any more."""
    path = Path(str(row["path"]))
    if not path.is_file():
        return None
    try:
        return read_scored(row).pixels
    except (InvalidInput, MissingResource, OSError):
        if path.is_file():
            raise
        return None  # taken away while it was read


def _without_map(row: Mapping[Any, Any], pixels: np.ndarray, crop: ShownCrop, positive: bool) -> _Shown:
    box = crop.box
    edge = box.right - box.left
    picture = cv2.resize(
        pixels[box.top : box.bottom, box.left : box.right],
        (PICTURE_EDGE, PICTURE_EDGE),
        interpolation=cv2.INTER_AREA if edge > PICTURE_EDGE else cv2.INTER_CUBIC,
    )
    said = {
        "image": str(row["image"]),
        "sha256": str(row["sha256"]),
        "positive": bool(positive),
        "crop_width": edge,
        "shown": crop.row(),
        "probability": float(row["probability"]),
    }
    whole = field_with_crop(pixels, box) if crop.of > 1 else None
    return _Shown(said, np.asarray(picture, dtype=np.uint8), np.zeros((1, 1), dtype=np.float32), whole)


def _earlier(
    folder: Path, kept: Mapping[str, Any], row: Mapping[Any, Any], positive: bool, way: tuple[str, str | None]
) -> _Shown | None:
    """The field as it was shown before, from the pictures that were kept; None where it was not."""
    if (kept["method"], kept["asked"]["layer"]) != way:
        return None
    for field in kept["fields"]:
        # Older records do not say which photograph and which side a map is of.
        if (field.get("sha256"), field.get("positive")) != (row["sha256"], positive) or "array" not in field:
            continue
        try:
            evidence = np.load(folder / field["array"], allow_pickle=False)
            picture = read_image(folder / field["crop"]).pixels
            whole = read_image(folder / field["field"]).pixels if field["field"] else None
        except (InvalidInput, OSError, ValueError):
            return None
        said = {name: field[name] for name in ("sha256", "positive", "crop_width", "shown")}
        said |= {"image": str(row["image"]), "probability": float(row["probability"])}
        return _Shown(said, picture, evidence, whole, earlier=True)
    return None


def _written(folder: Path, shown: _Shown, scale: float) -> dict[str, Any]:
    """Write the files of a field, and give its row of the record.

    They are named by what they show: a record that was not replaced yet never leads to pictures of another field.
    """
    stem = sha256_of_text(f"{shown.row['image']}\n{shown.row['sha256']}\n{shown.row['positive']}")[:16]
    names = {what: f"{stem}-{ending}" for what, ending in FILES.items()}
    large = np.asarray(
        cv2.resize(shown.evidence, (PICTURE_EDGE, PICTURE_EDGE), interpolation=cv2.INTER_LINEAR), dtype=np.float32
    )
    write_picture(folder / names["overlay"], overlay(shown.picture, large, scale=scale))
    # What was read from these very files is not written again: JPEG would lose a little each time.
    if not (shown.earlier and (folder / names["crop"]).is_file()):
        write_picture(folder / names["crop"], shown.picture)
    if shown.whole is not None and not (shown.earlier and (folder / names["field"]).is_file()):
        write_picture(folder / names["field"], shown.whole)
    with atomic_path(folder / names["array"]) as temporary:
        np.save(temporary, shown.evidence, allow_pickle=False)
    return {
        **shown.row,
        **names,
        "field": None if shown.whole is None else names["field"],
        "peak": float(shown.evidence.max()),
    }


def _clear(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Remove what earlier maps of the case left."""
    named = {row[what] for row in rows for what in FILES}
    for ending in FILES.values():
        for path in folder.glob(f"*-{ending}"):
            if path.name not in named:
                path.unlink(missing_ok=True)


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Write an RGB picture as JPEG, whole or not at all."""
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, quality=90, subsampling=0)
