"""Scoring with a bundle: a row per image, a row per case, and every refused image with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msht import __version__
from msht.bundle import Bundle, read_bundle
from msht.cohort.tables import harmless
from msht.decision import Decision, decide_case, override_threshold
from msht.ensemble import Ensemble
from msht.errors import InvalidInput, UnreadableImage
from msht.files import atomic_path, write_json
from msht.images.preprocessing import Preprocessing, view_of
from msht.images.quality import Quality, measure_quality
from msht.images.reading import ReadingRecord, read_image
from pipelines.ensemble import choose_device
from pipelines.inputs import ScoreInput, find_inputs
from pipelines.progress import Interrupted, Progress, Silent, stage
from pipelines.score_parts import KIND, Parts, stamp_of
from pipelines.words import now

PART = 256
"""Images a part: what a kill can cost."""
BATCH = 32


@dataclass(frozen=True)
class ScoreResult:
    """What a scoring gave."""

    out: Path
    images: int
    not_evaluable: int
    rejected: int
    cases: pd.DataFrame
    seconds: float
    images_per_second: float


@dataclass(frozen=True)
class _Decoded:
    item: ScoreInput
    view: np.ndarray
    record: ReadingRecord
    quality: Quality


def score_images(
    bundle_path: Path,
    sources: Sequence[Path],
    out: Path,
    *,
    case_from: str | None = None,
    images: Path | None = None,
    threshold: float | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> ScoreResult:
    """Score every image of the sources; a stopped scoring goes on where it was.

    Args:
        bundle_path: a bundle.
        sources: image files, folders, or tables with a column `image`.
        out: folder of the tables.
        case_from: see `find_inputs`.
        images: folder that the paths of a table start from.
        threshold: another case threshold than the bundle's; said in every output.
        device: `auto`, `cpu` or `cuda`.
        progress: who listens.

    Raises:
        InvalidInput: if the bundle is broken, nothing is to be scored, or `out` holds the scores of another
            bundle; nothing is written then.
    """
    import time

    progress = progress or Silent()
    if threshold is not None and not 0 < threshold < 1:
        raise InvalidInput(f"--threshold is {threshold}.", "Give a probability between 0 and 1.")
    bundle = read_bundle(bundle_path)
    decision = bundle.description.decision
    if threshold is not None:
        decision = override_threshold(decision, threshold)
    inputs = find_inputs(sources, case_from=case_from, images=images)
    settings = {
        "kind": KIND,
        "bundle": {
            "path": str(bundle_path.resolve()),
            "digest": bundle.digest,
            "name": bundle.description.name,
        },
        "threshold": decision.case_point.threshold,
        "threshold_overridden": decision.case_point.overridden,
        "case_from": case_from,
        "software": f"msht {__version__}",
    }
    chosen_device = choose_device(device)
    parts = Parts(out, settings)
    done = parts.done()
    waiting = [item for item in inputs if done.get(item.name) != stamp_of(item.path)]
    ensemble = bundle.ensemble(chosen_device)
    started = time.monotonic()
    try:
        _score_parts(waiting, ensemble, decision, bundle, parts, progress)
    except KeyboardInterrupt as error:
        raise Interrupted(f"Stopped; what was scored is kept. The same command goes on in {out}.") from error
    seconds = time.monotonic() - started
    scores, refused = parts.read({item.name for item in inputs})
    scores, refused = _with_cases(scores, inputs), _with_cases(refused, inputs)
    cases = case_table(scores, refused, decision)
    _write_twins(scores, out / "images")
    _write_twins(cases, out / "cases")
    _write_twins(refused, out / "rejected")
    summary: dict[str, Any] = {
        "images": len(scores) + len(refused),
        "scored": len(scores),
        "not_evaluable": int((~scores["evaluable"]).sum()) if len(scores) else 0,
        "rejected": len(refused),
        "cases": len(cases),
        "seconds": round(seconds, 2),
    }
    write_json(out / "run.json", {**settings, "finished": now(), "summary": summary})
    return ScoreResult(
        out=out,
        images=len(scores),
        not_evaluable=summary["not_evaluable"],
        rejected=len(refused),
        cases=cases,
        seconds=seconds,
        images_per_second=len(waiting) / seconds if seconds > 0 and waiting else 0.0,
    )


def _score_parts(
    waiting: Sequence[ScoreInput],
    ensemble: Ensemble,
    decision: Decision,
    bundle: Bundle,
    parts: Parts,
    progress: Progress,
) -> None:
    """Score what is waiting, and keep it part by part."""
    with stage(progress, "Scoring", len(waiting)) as steps:
        for start in range(0, len(waiting), PART):
            part = waiting[start : start + PART]
            scored: list[dict[str, Any]] = []
            rejected: list[dict[str, Any]] = []
            for batch in _decoded(part, bundle.description.preprocessing):
                good = [b for b in batch if isinstance(b, _Decoded)]
                rejected += [b for b in batch if isinstance(b, dict)]
                if good:
                    scored += _rows(good, ensemble.score(np.stack([g.view for g in good])), decision, bundle)
                steps.advance(len(batch))
            parts.write(scored, rejected)


def _decoded(part: Sequence[ScoreInput], preprocessing: Preprocessing) -> Iterator[list[_Decoded | dict[str, Any]]]:
    def decode(item: ScoreInput) -> _Decoded | dict[str, Any]:
        try:
            image = read_image(item.path)
        except UnreadableImage as error:
            return {
                "image": item.name,
                "path": str(item.path),
                "stamp": stamp_of(item.path),
                "reason": error.problem,
            }
        except OSError as error:
            reason = f"It cannot be opened: {error.strerror or error}."
            return {"image": item.name, "path": str(item.path), "stamp": stamp_of(item.path), "reason": reason}
        return _Decoded(item, view_of(image.pixels, preprocessing), image.record, measure_quality(image.pixels))

    with ThreadPoolExecutor(max_workers=2) as pool:
        batches = [part[i : i + BATCH] for i in range(0, len(part), BATCH)]
        # One batch is decoded ahead while the networks work on the one before.
        ahead = [pool.submit(decode, item) for item in batches[0]] if batches else []
        for following in [*batches[1:], ()]:
            current, ahead = ahead, [pool.submit(decode, item) for item in following]
            yield [future.result() for future in current]


def _rows(good: list[_Decoded], scores: Any, decision: Decision, bundle: Bundle) -> list[dict[str, Any]]:
    rows = []
    for index, field in enumerate(good):
        reasons = decision.quality.judge(field.quality)
        evaluable = not reasons
        probability = float(scores.probability[index])
        side = "positive" if probability >= decision.field_point.threshold else "negative"
        row: dict[str, Any] = {
            "image": field.item.name,
            "path": str(field.item.path),
            "stamp": stamp_of(field.item.path),
            "sha256": field.record.sha256,
            "width": field.record.width,
            "height": field.record.height,
            "format": field.record.format,
            "orientation": field.record.orientation,
            "conversions": "; ".join(field.record.conversions),
            **{f"quality_{name}": value for name, value in asdict(field.quality).items()},
            "evaluable": evaluable,
            "not_evaluable_because": "; ".join(reasons),
        }
        for number, fold in enumerate(bundle.description.folds):
            row[f"logit_fold_{fold.number}"] = float(scores.fold_logits[number, index])
        row.update(
            raw_logit=float(scores.fold_logits[:, index].mean()),
            logit=float(scores.logit[index]),
            probability=probability,
            spread=float(scores.spread[index]),
            novelty=float(scores.novelty[index]),
            out_of_distribution=bool(scores.novelty[index] > 1),
            call=side if evaluable else "not evaluable",
        )
        rows.append(row)
    return rows


def case_table(scores: pd.DataFrame, refused: pd.DataFrame, decision: Decision) -> pd.DataFrame:
    """A row per case: the call, what it rests on, and whether and why it is referred."""
    names = sorted({*scores.get("case", []), *refused.get("case", [])})
    rows = []
    for case in names:
        fields = scores[scores["case"] == case] if len(scores) else scores
        good = fields[fields["evaluable"]] if len(fields) else fields
        novel = int(good["out_of_distribution"].sum()) if len(good) else 0
        logits = good["logit"].to_numpy(dtype=float) if len(good) else np.array([])
        answer = decide_case(decision, logits, share_novel=novel / len(good) if len(good) else 0.0)
        rows.append(
            {
                "case": case,
                "call": answer.call,
                "probability": answer.probability,
                "logit": answer.logit,
                "threshold": decision.case_point.threshold,
                "threshold_overridden": decision.case_point.overridden,
                "conformal_set": " ".join(answer.conformal),
                "refer": bool(answer.reasons),
                "reasons": " ".join(answer.reasons),
                "fields": len(fields),
                "evaluable_fields": len(good),
                "positive_fields": int((good["call"] == "positive").sum()) if len(good) else 0,
                "out_of_distribution_fields": novel,
                "rejected_images": int((refused["case"] == case).sum()) if len(refused) else 0,
            }
        )
    return pd.DataFrame(rows)


def _with_cases(frame: pd.DataFrame, inputs: Sequence[ScoreInput]) -> pd.DataFrame:
    cases = {item.name: item.case for item in inputs}
    if frame.empty:
        return pd.DataFrame({"image": pd.Series(dtype=str), "case": pd.Series(dtype=str), **dict(frame.items())})
    frame.insert(1, "case", [cases[name] for name in frame["image"]])
    return frame


def _write_twins(frame: pd.DataFrame, base: Path) -> None:
    with atomic_path(base.with_suffix(".parquet")) as temporary:
        frame.to_parquet(temporary, index=False)
    with atomic_path(base.with_suffix(".csv")) as temporary:
        harmless(frame).to_csv(temporary, index=False)
