"""Drawing roles and folds: groups that are merged by copies, the draw itself, and its balance.

Everything here works on plain columns, one value per image, and is the same again for the same seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from msht.cohort.manifest import CLASSES
from msht.errors import InvalidInput

Pair = tuple[str, str]

LARGEST_SEED = 2**31
LARGEST_SHARE_GAP = 0.10
"""A fold whose share of a class is further than this from that of all folds is warned of."""
LARGEST_SIZE_GAP = 0.25
"""A fold that is larger or smaller than the mean by more than this share of it is warned of."""


def _labels_of_components(first: Sequence[int], second: Sequence[int], size: int) -> np.ndarray:
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(size, size))
    return connected_components(graph, directed=False)[1]


def check_settings(folds: int, seed: int, test_fraction: float) -> None:
    """Refuse numbers that no draw can be made with.

    Raises:
        InvalidInput: naming the option.
    """
    if folds < 2:
        raise InvalidInput(f"--folds is {folds}.", "Ask for at least 2 folds.")
    if not 0 <= seed <= LARGEST_SEED:
        raise InvalidInput(f"--seed is {seed}.", f"Give a whole number from 0 to {LARGEST_SEED}.")
    if not 0.005 <= test_fraction <= 0.5:
        raise InvalidInput(f"--test-fraction is {test_fraction}.", "Give a share from 0.005 to 0.5.")


def merge_groups(groups: pd.Series, images: pd.Series, same: Iterable[Pair]) -> pd.Series:
    """Groups in which images that are the same picture are together: union-find over groups.

    Args:
        groups: of each row, text; shape (N,).
        images: of each row, text, no two alike; shape (N,).
        same: pairs of images.

    Returns:
        The name of each row's merged group: the first, in alphabetical order, of those that were merged.

    Raises:
        InvalidInput: if a pair names an image that is not there.

    Source: connected components, as SciPy computes them.
    """
    codes, names = pd.factorize(groups, sort=True)
    place = dict(zip(images, codes, strict=True))
    pairs = [(place[a], place[b]) for a, b in _known(same, place)]
    if not pairs:
        return groups
    component = _labels_of_components([a for a, _ in pairs], [b for _, b in pairs], len(names))
    first = pd.Series(np.asarray(names)).groupby(component).transform("min").to_numpy()
    return pd.Series(first[codes], index=groups.index, name=groups.name)


def duplicate_sets(images: pd.Series, same: Iterable[Pair]) -> pd.Series:
    """The number, as text, of the set of copies that each image belongs to; missing where it has no copy.

    Sets are numbered by their first image in alphabetical order.
    """
    order = {image: number for number, image in enumerate(sorted(images))}
    pairs = [(order[a], order[b]) for a, b in _known(same, order)]
    numbers: dict[int, str] = {}
    if pairs:
        component = _labels_of_components([a for a, _ in pairs], [b for _, b in pairs], len(order))
        for number in np.flatnonzero(np.bincount(component)[component] > 1):
            numbers.setdefault(int(component[number]), str(len(numbers) + 1))
        found = [numbers.get(int(component[order[image]])) for image in images]
    else:
        found = [None] * len(images)
    return pd.Series(found, index=images.index, dtype="string")


def _known(same: Iterable[Pair], places: Mapping[str, int]) -> list[Pair]:
    pairs = list(same)
    strange = next((image for pair in pairs for image in pair if image not in places), None)
    if strange is not None:
        raise InvalidInput(
            f"The audit names the image '{strange}', which the manifest lacks.", "Audit this manifest and split again."
        )
    return pairs


def draw_parts(labels: pd.Series, groups: pd.Series | None, parts: int, seed: int) -> list[np.ndarray]:
    """Positions of the rows of each part, stratified by label, whole groups in one part.

    Args:
        labels: of each row.
        groups: of each row, or None where every row stands by itself.
        parts: how many.
        seed: of the draw.

    Source: scikit-learn's StratifiedGroupKFold and StratifiedKFold.
    """
    kinds = labels == CLASSES[1] if set(labels) <= set(CLASSES) else labels.astype(str)
    splitter: StratifiedGroupKFold | StratifiedKFold
    if groups is None:
        splitter = StratifiedKFold(parts, shuffle=True, random_state=seed)
    else:
        splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    return [held_out for _, held_out in splitter.split(np.zeros(len(labels)), kinds.to_numpy(), groups)]


MOST_PARTS = 20
"""Parts of which a test role takes several, at the most."""

NEAR_ENOUGH = 0.01
"""One part is taken, of as many as come nearest, unless several come nearer by this share of the images."""


def share_of_test(fraction: float, labels: pd.Series, groups: pd.Series) -> Fraction:
    """The share of the test role that can be drawn and is near to a fraction: 0.2 is 1 in 5, 0.4 is 2 in 5.

    Args:
        fraction: of the images, wanted in the test role.
        labels: of each row.
        groups: of each row.

    Returns:
        Parts that are the test role, out of equal parts.
    """
    one = Fraction(1, max(2, round(1 / fraction)))
    rarest = min(groups[labels == name].nunique() for name in labels.unique())
    several = Fraction(fraction).limit_denominator(max(2, min(MOST_PARTS, rarest)))
    return several if abs(several - fraction) <= abs(one - fraction) - NEAR_ENOUGH else one


def check_size(labels: pd.Series, groups: pd.Series, *, folds: int, test: Fraction | None, unit: str) -> None:
    """Refuse a cohort with too few groups for what is asked, with what is needed and what is there.

    Args:
        labels: of each row that is divided.
        groups: of each row.
        folds: wanted.
        test: the test role is drawn as so many parts out of so many; None: it is not drawn.
        unit: what a group is, in the plural.

    Raises:
        InvalidInput: naming the class, the numbers, and what to change.
    """
    available = groups.nunique()
    role = "" if test is None else f"A test role of {test.numerator} in {test.denominator}"
    if test is not None and available < test.denominator:
        raise InvalidInput(
            f"{role} is drawn from at least {test.denominator} {unit}; there are {available}.",
            f"Ask for a larger --test-fraction, choose the role with --test-where, or add {unit}.",
        )
    drawn = 0 if test is None else 1
    # `check_parts` refuses a fold of one group alone, so no more folds than that are advised.
    most = (available - (0 if test is None else math.ceil(available * test))) // 2
    asked = f"{folds} folds and a test role" if drawn else f"{folds} folds"
    where = "" if drawn else " outside the test role"
    for name in sorted(labels.unique()):
        there = groups[labels == name].nunique()
        if there < folds + drawn:
            possible = min(most, there - (0 if test is None else math.ceil(there * test)))
            mend = f"Ask for --folds {possible}, or add" if possible >= 2 else "Add"
            what = f"{name} images" if unit == "images" else f"{unit} with {name} images"
            raise InvalidInput(
                f"{asked} need at least {folds + drawn} {what}{where}; there {'is' if there == 1 else 'are'} {there}.",
                f"{mend} {what}.",
            )
    if test is not None:
        rarest = labels.value_counts()
        if int(rarest.min()) < test.denominator:
            raise InvalidInput(
                f"{role} needs at least {test.denominator} {rarest.idxmin()} images; there are {rarest.min()}.",
                "Ask for a larger --test-fraction, or add images of that class.",
            )


def check_parts(frame: pd.DataFrame, groups: pd.Series, *, folds: int, classes: Sequence[str], unit: str) -> None:
    """Check that every class is in every fold and in the test role, and no fold is a single group.

    Args:
        frame: a split's table.
        groups: of each row.
        folds: how many there are.
        classes: that must be everywhere.
        unit: what a group is, in the plural.

    Raises:
        InvalidInput: naming the fold or role, and what to change.
    """
    parts = {f"Fold {n}": frame[frame["fold"] == n] for n in range(1, folds + 1)}
    for name, part in {**parts, "The test role": frame[frame["role"] == "test"]}.items():
        missing = [label for label in classes if label not in set(part["label"])]
        if missing:
            there = groups[frame["label"] == missing[0]].nunique()
            raise InvalidInput(
                f"{name} has no {' and no '.join(missing)} image; {there} {unit} in all have {missing[0]} images.",
                f"Ask for fewer folds, change --seed, or add {unit} with {missing[0]} images.",
            )
        if name != "The test role" and groups[part.index].nunique() < 2:
            there = groups[frame["role"] == "development"].nunique()
            fewer = f"for --folds {min(folds - 1, there // 2)} or fewer" if folds > 2 else "for another test role"
            raise InvalidInput(f"{name} has a single one of the {unit}.", f"Ask {fewer}, change --seed, or add {unit}.")


@dataclass(frozen=True)
class Balance:
    """How far the folds are from each other.

    Attributes:
        share_gap: largest difference between a class's share in a fold and in all folds together.
        share_fold: the fold where it is.
        share_class: the class.
        share_there: the class's share in that fold.
        share_in_all: its share in all folds together.
        size_gap: largest difference of a fold's size from the mean, as a share of the mean.
        size_fold: the fold where it is.
        size_there: images in that fold.
        size_mean: images in a fold on average.
    """

    share_gap: float
    share_fold: int
    share_class: str
    share_there: float
    share_in_all: float
    size_gap: float
    size_fold: int
    size_there: int
    size_mean: float

    @property
    def words(self) -> str:
        """One sentence."""
        return (
            f"Folds differ by at most {self.share_gap:.1%} in the share of a class ({self.share_class}: "
            f"{self.share_there:.1%} in fold {self.share_fold}, {self.share_in_all:.1%} in all) and "
            f"{self.size_gap:.1%} in size ({self.size_there} images in fold {self.size_fold}, {self.size_mean:.1f} on "
            "average)."
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What goes beyond the bounds, with what to do."""
        found = []
        if self.share_gap > LARGEST_SHARE_GAP:
            found.append(
                f"Fold {self.share_fold} has {self.share_there:.0%} {self.share_class} images, all folds together "
                f"{self.share_in_all:.0%} (bound: {LARGEST_SHARE_GAP:.0%} apart). Try fewer folds or another --seed."
            )
        if self.size_gap > LARGEST_SIZE_GAP:
            found.append(
                f"Fold {self.size_fold} has {self.size_there} images, a fold on average {self.size_mean:.1f} (bound: "
                f"{LARGEST_SIZE_GAP:.0%} apart). Try fewer folds or another --seed; one large group may be the cause."
            )
        return tuple(found)


def balance_of(labels: pd.Series, folds: pd.Series) -> Balance:
    """The balance of folds.

    Args:
        labels: of each development row.
        folds: number of the fold of each.
    """
    table = pd.crosstab(folds, labels)
    counts = table.to_numpy(dtype=float)
    sizes = counts.sum(axis=1)
    shares, in_all = counts / sizes[:, None], counts.sum(axis=0) / counts.sum()
    gaps = np.abs(shares - in_all)
    fold, kind = (int(n) for n in np.unravel_index(int(gaps.argmax()), gaps.shape))
    size_gaps = np.abs(sizes / sizes.mean() - 1)
    largest = int(size_gaps.argmax())
    numbers, names = [int(n) for n in table.index], [str(name) for name in table.columns]
    return Balance(
        share_gap=float(gaps[fold, kind]),
        share_fold=numbers[fold],
        share_class=names[kind],
        share_there=float(shares[fold, kind]),
        share_in_all=float(in_all[kind]),
        size_gap=float(size_gaps[largest]),
        size_fold=numbers[largest],
        size_there=int(sizes[largest]),
        size_mean=float(sizes.mean()),
    )
