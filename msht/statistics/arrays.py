"""Checks that every statistic makes of its arrays, in one place and with one wording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from msht.errors import InvalidInput

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


def as_binary(values: ArrayLike, name: str = "labels") -> Integers:
    """Give `values` as integers 0 and 1.

    Args:
        values: (N,) of 0/1 or booleans, at least one.
        name: what the caller calls them, for the message.

    Returns:
        (N,) integers.

    Raises:
        InvalidInput: if the array is empty, not one-dimensional, or holds anything but 0 and 1.
    """
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise InvalidInput(
            f"Expected `{name}` to be one-dimensional with at least one row, but got shape {array.shape}.",
            "Give a row per image or per case.",
        )
    if not np.isin(array, (0, 1)).all():
        odd = next(value for value in array.tolist() if value not in (0, 1))
        raise InvalidInput(
            f"Expected `{name}` to hold only 0 (negative) and 1 (positive), but got {odd!r}.",
            "Map the classes to 0 and 1 first.",
        )
    return array.astype(np.int64)


def as_scores(values: ArrayLike, length: int, name: str = "scores") -> Floats:
    """Give `values` as finite floats, one for each of `length` rows.

    Raises:
        InvalidInput: if the shape differs or a value is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (length,):
        raise InvalidInput(
            f"Expected `{name}` to have shape ({length},), but got {array.shape}.",
            "Give one value for each label.",
        )
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InvalidInput(f"`{name}` holds {array[row]} at row {row}.", "Leave out rows that could not be evaluated.")
    return array


def as_probabilities(values: ArrayLike, length: int, name: str = "probabilities") -> Floats:
    """Give `values` as probabilities of the positive class, one for each of `length` rows.

    Raises:
        InvalidInput: if the shape differs or a value lies outside [0, 1].
    """
    array = as_scores(values, length, name)
    if ((array < 0) | (array > 1)).any():
        worst = array[np.argmax(np.abs(array - 0.5))]
        raise InvalidInput(f"`{name}` holds {worst}, outside [0, 1].", "Give probabilities, not logits.")
    return array


def as_groups(values: ArrayLike | Sequence[Any] | None, length: int, name: str = "groups") -> tuple[Integers, int]:
    """Number the groups (patients) of the rows.

    Args:
        values: (N,) ids of any kind; None makes each row a group of its own.
        length: N.
        name: what the caller calls them, for the message.

    Returns:
        (N,) group numbers from 0, in the order of the sorted ids, and how many groups there are.

    Raises:
        InvalidInput: if the length differs or an id is missing.
    """
    if values is None:
        return np.arange(length), length
    array = np.asarray(values)
    if array.shape != (length,):
        raise InvalidInput(
            f"Expected `{name}` to have shape ({length},), but got {array.shape}.", "Give an id for each row."
        )
    codes, uniques = pd.factorize(pd.Series(array), sort=True)
    if (codes < 0).any():
        row = int(np.flatnonzero(codes < 0)[0])
        raise InvalidInput(f"`{name}` has no id at row {row}.", "Every row needs the id of its patient.")
    return codes.astype(np.int64), len(uniques)


def check_fraction(value: float, name: str) -> float:
    """Check that a number lies strictly between 0 and 1.

    Raises:
        InvalidInput: if it does not.
    """
    if not 0 < value < 1:
        raise InvalidInput(f"Expected `{name}` to lie between 0 and 1, but got {value}.", "Say 0.95 for 95 %.")
    return float(value)
