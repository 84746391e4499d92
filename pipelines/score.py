"""Scoring with a bundle: a row per image, a row per case, and every refused image with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msht import __version__
from msht.bundle import read_bundle
from msht.cohort.tables import harmless
from msht.decision import Decision, decide_case
from msht.errors import InvalidInput
from msht.files import atomic_path, write_json
from pipelines.ensemble import choose_device
from pipelines.inputs import ScoreInput, find_inputs
from pipelines.progress import Interrupted, Progress, Silent, stage
from pipelines.score_fields import FieldScorer, Row, ScoreSettings, decision_of, stamp_of
from pipelines.score_parts import KIND, Parts
from pipelines.words import now

PART = 256
"""Images a part: what a kill can cost."""


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
    chosen = ScoreSettings(threshold=threshold, device=device)
    decision = decision_of(bundle, chosen)
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
    choose_device(device)  # an unknown one is refused before anything is written
    parts = Parts(out, settings)
    done = parts.done()
    waiting = [item for item in inputs if done.get(item.name) != stamp_of(item.path)]
    scorer = FieldScorer(bundle, chosen)
    started = time.monotonic()
    try:
        _score_parts(waiting, scorer, parts, progress)
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


def _score_parts(waiting: Sequence[ScoreInput], scorer: FieldScorer, parts: Parts, progress: Progress) -> None:
    """Score what is waiting, and keep it part by part."""
    with stage(progress, "Scoring", len(waiting)) as steps:
        for start in range(0, len(waiting), PART):
            rows: list[Row] = []
            for batch in scorer.batches(waiting[start : start + PART]):
                rows += batch
                steps.advance(len(batch))
            plain = [{k: v for k, v in row.items() if k not in ("status", "case")} for row in rows]
            kinds = [row["status"] for row in rows]
            parts.write(
                [row for row, kind in zip(plain, kinds, strict=True) if kind == "scored"],
                [row for row, kind in zip(plain, kinds, strict=True) if kind == "rejected"],
            )


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
