"""Which rows choose the epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from msht.errors import InvalidInput

WATCHED = {
    "validation-fold": "the fold held out",
    "inner-split": "groups taken out of the training part",
    "last": "the fold held out, which chooses nothing",
}
"""What the figures of a fold's history are about, by selection."""


def inner_split(
    training: pd.DataFrame, groups: Sequence[str], *, share: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take whole groups out of the training part, stratified by label, to choose the epoch on.

    Args:
        training: rows with `label`.
        groups: of each row; none ends on both sides.
        share: of the rows wanted; 1 / round(1 / share) is drawn.
        seed: of the draw.

    Returns:
        The rows to learn from and the rows to select on.

    Raises:
        InvalidInput: if either side would lack a class.

    Source: scikit-learn's StratifiedGroupKFold.
    """
    labels, names = training["label"].to_numpy(dtype=str), np.asarray(groups, dtype=str)
    parts = max(2, round(1 / share))
    mend = "Change training.selection_share, or use training.selection last."
    if len(set(names)) < parts:
        raise InvalidInput(f"{len(set(names))} groups cannot give an inner split of one in {parts}.", mend)
    splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed % 2**32)
    learn, select = next(iter(splitter.split(np.zeros(len(labels)), labels, names)))
    for rows, side in ((learn, "learn from"), (select, "select on")):
        if len(set(labels[rows])) < 2:
            raise InvalidInput(f"The inner split would leave one class only to {side}.", mend)
    return training.iloc[learn].reset_index(drop=True), training.iloc[select].reset_index(drop=True)
