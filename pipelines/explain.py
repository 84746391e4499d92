"""Heat maps of the fields that decided the scored cases, and the tables that they are chosen from."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from msht.bundle import Bundle
from msht.errors import InvalidInput
from msht.files import read_json
from pipelines.case_maps import Maps, explain_case
from pipelines.progress import Progress, Silent, stage
from pipelines.score_folder import KIND


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
