"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Option

Images = Annotated[Path | None, Option(help="Folder that the table's paths start from, if not its own.")]
TrackingUri = Annotated[
    str | None, Option(help="MLflow: sqlite:///file.db or http://server. Default: mlflow.db in this folder.")
]
Device = Annotated[str, Option(help="auto, cpu or cuda.")]


class Language(StrEnum):
    """Languages of a case report."""

    en = "en"
    zh = "zh"
