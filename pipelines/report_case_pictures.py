"""Pictures of the fields that did not pass, kept beside the maps of a case."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from pipelines.case_maps import write_picture
from pipelines.fields import read_scored
from pipelines.inputs import file_name_for

MOST = 4
EDGE = 480
"""Longest edge in px: sharp at the size a page shows them."""


def rejected_pictures(scores: Path, case: str, fields: pd.DataFrame) -> tuple[list[tuple[str, Path]], list[str]]:
    """Name and small picture of the first readable fields that did not pass, made unless they are there.

    Returns:
        Those that can be shown, and names of those whose photographs are no longer there.

    Raises:
        InvalidInput: if a photograph changed since it was scored.
    """
    folder = scores / "maps" / file_name_for(case)
    shown, gone = [], []
    refused = fields[~fields["evaluable"].astype(bool)].head(MOST) if len(fields) else fields
    for row in refused.to_dict("records"):
        target = folder / f"rejected-{str(row['sha256'])[:16]}.jpg"
        source = Path(str(row["path"]))
        if not target.is_file():
            if not source.is_file():
                gone.append(str(row["image"]))
                continue
            image = read_scored({str(column): value for column, value in row.items()})
            factor = min(1.0, EDGE / max(image.pixels.shape[:2]))
            height, width = (max(1, round(edge * factor)) for edge in image.pixels.shape[:2])
            small = cv2.resize(image.pixels, (width, height), interpolation=cv2.INTER_AREA)
            write_picture(target, np.asarray(small, dtype=np.uint8))
        shown.append((str(row["image"]), target))
    return shown, gone
