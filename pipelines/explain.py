"""Heat maps of the fields that decided a case, on one scale, kept beside the scores."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from msht.bundle import Bundle
from msht.errors import InvalidInput
from msht.explanation.overlay import overlay
from msht.files import atomic_path, read_json, write_json
from pipelines.explain_crops import crops_key, field_with_crop, shown_crop
from pipelines.explain_maps import METHOD, METHODS_IN_WORDS, case_scale, mean_maps, unknown_method
from pipelines.fields import read_scored
from pipelines.inputs import file_name_for
from pipelines.progress import Progress, Silent, stage
from pipelines.score_folder import KIND

__all__ = ["METHOD", "METHODS_IN_WORDS", "Maps", "case_scale", "explain_case", "explain_cases", "mean_maps"]

SHOWN = 4
TILES_SHOWN = 20
"""Of a case of whole slides, whose tiles are many."""
PICTURE_EDGE = 480
"""Edge in px of the stored pictures: sharp at the size a page shows them."""


@dataclass(frozen=True)
class Maps:
    """Heat maps of a case as they lie on disk."""

    folder: Path
    layer: str
    method: str
    scale: float
    fields: list[dict[str, Any]]


def deciding_fields(fields: pd.DataFrame, call: str) -> pd.DataFrame:
    """The evaluable fields that weighed most in the call, most weighty first, up to `SHOWN`, of slides `TILES_SHOWN`.

    For a positive call those with the highest log-odds, for a negative one the lowest; else the highest and the lowest
    in turn, since what speaks for either side is what a reader of an indeterminate case must weigh.
    """
    good = fields[fields["evaluable"]]
    falling = good["logit"].sort_values(ascending=False, kind="stable").index
    of_slides = "slide" in good and bool((good["slide"].notna() & (good["slide"] != "")).any())
    most = TILES_SHOWN if of_slides else SHOWN
    if call == "positive":
        return good.loc[falling[:most]]
    if call == "negative":
        return good.loc[falling[::-1][:most]]
    in_turn = [place for pair in zip(falling, falling[::-1], strict=True) for place in pair][: len(falling)]
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

    Where a field's score is the mean over several crops, the map is of the crop that speaks most for the call: of the
    case, or, where that is indeterminate, of the field.

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
    key = {
        "bundle": bundle.model_digest,
        "images": list(chosen["sha256"]),
        "names": list(chosen["image"]),
        **crops_key(bundle.description.preprocessing),
        **({"folds": list(folds)} if folds else {}),
    }
    described = folder / "maps.json"
    if described.is_file():
        kept = read_json(described, what="description of the maps")
        same = method in (None, kept["asked"]["method"]) and layer in (None, kept["asked"]["layer"])
        if kept["key"] == key and same:
            return Maps(folder, kept["layer"], kept["method"], kept["scale"], kept["fields"])
    kept_choice = bundle.description.explanation
    method = method or str(kept_choice.get("method", METHOD))
    if chosen.empty:
        return Maps(folder, "", METHODS_IN_WORDS[method], 1.0, [])
    if networks is None:
        from pipelines.ensemble import choose_device

        networks = bundle.ensemble(choose_device(device), folds=list(folds) or None)
    ensemble = networks
    shown, pictures, fields_with_crop = [], [], []
    for row in chosen.to_dict("records"):
        image = read_scored({str(column): value for column, value in row.items()})
        side = call if call in ("positive", "negative") else row["call"]
        crop = shown_crop(ensemble, image.pixels, positive=str(side) == "positive")
        shown.append(crop)
        box, shrinking = crop.box, crop.box.right - crop.box.left > PICTURE_EDGE
        pictures.append(
            cv2.resize(
                image.pixels[box.top : box.bottom, box.left : box.right],
                (PICTURE_EDGE, PICTURE_EDGE),
                interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC,
            )
        )
        fields_with_crop.append(field_with_crop(image.pixels, box) if crop.of > 1 else None)
    views = np.stack([crop.view for crop in shown])
    maps, shown_layer = mean_maps(ensemble, views, method=method, layer=layer or kept_choice.get("layer"))
    method_words = f"{METHODS_IN_WORDS[method]}, mean over {len(ensemble.folds)} networks"
    scale = case_scale(maps)
    rows = []
    drawn = zip(chosen.to_dict("records"), shown, pictures, fields_with_crop, maps, strict=True)
    for index, (field, crop, picture, whole, heat) in enumerate(drawn, start=1):
        large = cv2.resize(heat, (PICTURE_EDGE, PICTURE_EDGE), interpolation=cv2.INTER_LINEAR)
        write_picture(folder / f"{index}-crop.jpg", picture)
        write_picture(folder / f"{index}-overlay.jpg", overlay(np.asarray(picture, dtype=np.uint8), large, scale=scale))
        if whole is not None:
            write_picture(folder / f"{index}-field.jpg", whole)
        with atomic_path(folder / f"{index}-map.npy") as temporary:
            np.save(temporary, heat, allow_pickle=False)
        rows.append(
            {
                "image": str(field["image"]),
                "crop": f"{index}-crop.jpg",
                "overlay": f"{index}-overlay.jpg",
                "crop_width": crop.box.right - crop.box.left,
                "shown": crop.row(),
                "field": None if whole is None else f"{index}-field.jpg",
                "probability": float(field["probability"]),
                "peak": float(heat.max()),
            }
        )
    write_json(
        described,
        {
            "key": key,
            "asked": {"method": method, "layer": layer},
            "layer": shown_layer,
            "method": method_words,
            "scale": scale,
            "fields": rows,
        },
    )
    return Maps(folder, shown_layer, method_words, scale, rows)


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Write an RGB picture as JPEG, whole or not at all."""
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, quality=90, subsampling=0)


def cases_of_scores(scores: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Tables of a scoring (images, cases, rejected) and its record.

    Raises:
        InvalidInput: if the folder holds no finished scoring.
    """
    record = read_json(scores / "run.json", what="record of a scoring")
    if record.get("kind") != KIND:
        raise InvalidInput(f"{scores} holds no scores.", "Give a folder written by `msht score`.")
    if "finished" not in record:
        raise InvalidInput(f"The scoring in {scores} is unfinished.", "Call `msht score` again; it goes on.")
    try:
        images, cases, rejected = (pd.read_parquet(scores / f"{n}.parquet") for n in ("images", "cases", "rejected"))
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise InvalidInput(f"The tables in {scores} cannot be read ({error}).", "Score into a new folder.") from error
    return images, cases, rejected, record


def is_scoring(path: Path) -> bool:
    """Whether a folder was written by `msht score`."""
    return (path / "run.json").is_file() and read_json(path / "run.json", what="record of a scoring").get(
        "kind"
    ) == KIND


def explain_cases(
    bundle_path: Path,
    scores: Path,
    *,
    cases: Sequence[str] | None = None,
    method: str | None = None,
    layer: str | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[Maps]:
    """Make the maps of several cases with the networks loaded once.

    Args:
        bundle_path: that scored them.
        scores: folder of the scores.
        cases: their ids; None: all that could be evaluated.
        method: of `msht.explanation.cam.METHODS`; None: that of the maps that are there, else the bundle's.
        layer: public name of the layer; None: that of the maps that are there, else the bundle's.
        device: `auto`, `cpu` or `cuda`.
        progress: who listens.

    Raises:
        InvalidInput: if a case is unknown, or the scores are of another bundle.
    """
    from pipelines.ensemble import choose_device

    progress = progress or Silent()
    from pipelines.report_case_scoring import read_scoring

    scoring = read_scoring(bundle_path, scores)
    bundle, table, folds = scoring.bundle, scoring.cases, scoring.facts.folds
    names = cases or [str(case) for case in table["case"]]
    wanted = [row for case in names if (row := require_case(table, case, scores))["call"] != "not evaluable"]
    ensemble = bundle.ensemble(choose_device(device), folds=list(folds) or None) if wanted else None
    made = []
    with stage(progress, "Explaining", len(wanted)) as steps:
        for row in wanted:
            fields = scoring.fields_of(str(row["case"]))
            made.append(
                explain_case(
                    bundle,
                    scores,
                    fields,
                    str(row["case"]),
                    row["call"],
                    method=method,
                    layer=layer,
                    device=device,
                    networks=ensemble,
                    folds=folds,
                )
            )
            steps.advance()
    return made


def require_same_bundle(bundle: Bundle, path: Path, record: dict[str, Any], scores: Path) -> None:
    """Refuse scores that another bundle made; an export that was added since changes no answer."""
    scored = record["bundle"]
    if bundle.digest != scored["digest"] and bundle.model_digest != scored.get("model_digest", scored["digest"]):
        raise InvalidInput(
            f"{scores} was scored with the bundle '{record['bundle']['name']}' "
            f"({record['bundle']['digest'][:12]}), not with {path} ({bundle.short_digest}).",
            "Give the bundle that scored it, or score again.",
        )


def require_case(table: pd.DataFrame, case: str, scores: Path) -> dict[str, Any]:
    """The row of a case; an unknown one is refused with the nearest name."""
    rows = table[table["case"] == case].to_dict("records")
    if not rows:
        close = difflib.get_close_matches(case, [str(c) for c in table["case"]], n=1, cutoff=0.5)
        mend = f"Did you mean '{close[0]}'?" if close else f"{scores / 'cases.csv'} lists them."
        raise InvalidInput(f"There is no case '{case}' in {scores}.", mend)
    return {str(column): value for column, value in rows[0].items()}
