"""The shortcut baseline: does something that is no cell predict the label?

A model that can tell the classes by the colour of a slide, by the size of a file or by the site has learnt the
laboratory and not the disease. So small models are cross-validated by patient on nothing but that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipelines.audit_measure import BACKGROUND, COLOURS

BOUND = 0.60
"""AUROC above which, at the lower end of its interval, a shortcut is reported as a finding."""

FOLDS = 5
FEWEST = 20
"""Images of each class below which nothing is fitted."""

FEATURES: dict[str, tuple[str, ...]] = {
    "colour": COLOURS,
    "background": BACKGROUND,
    "size and file": ("width", "height", "bytes", "bytes_per_pixel", "jpeg_quality", "exif_tags", "has_profile"),
    "focus and exposure": ("focus", "brightness", "contrast", "clipped_dark", "clipped_bright"),
    "site": ("site",),
}
"""Measurements from which each baseline predicts."""

MEANS: dict[str, str] = {
    "colour": "Mean and spread of L*, a*, b* over the field and over its stained pixels. Part of this may be biology "
    "(dark nuclei are dark): compare it with a model trained on the images, which must be clearly better.",
    "background": "Colour of the empty glass. No cell is in it: what it tells is the slide, the lamp or the camera.",
    "size and file": "Width, height, bytes, JPEG quality and notes in the file. Nothing of it is biology.",
    "focus and exposure": "How the field was photographed.",
    "site": "The site alone: what a model could win by recognising the laboratory.",
}


TURNED = (
    "Below 0.5 throughout: what holds in some patients is the other way round in others, as chance has it where "
    "they are few. It is no skill."
)
"""What an interval that lies wholly below chance means: folds by patient make this likely in small cohorts."""


@dataclass(frozen=True)
class Baseline:
    """How well something that is no cell predicts the label."""

    name: str
    """Which measurements."""
    label: str
    """The class that is told from the rest."""
    images: int
    """Rows that the estimate rests on."""
    groups: int
    """Patients (or what stands for them)."""
    auroc: float | None
    """Cross-validated by group; None where it could not be estimated."""
    low: float | None
    """Lower end of the 95 % interval; None where there is none."""
    high: float | None
    """Upper end."""
    method: str
    """How the interval was made, or why nothing was estimated."""

    @property
    def exceeds(self) -> bool:
        """Whether the lower end lies above the bound."""
        return self.low is not None and self.low > BOUND

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        means = f"{MEANS[self.name]} {TURNED}" if self.high is not None and self.high < 0.5 else MEANS[self.name]
        return asdict(self) | {"exceeds": self.exceeds, "bound": BOUND, "means": means}


def shortcut_baselines(table: pd.DataFrame, classes: Sequence[str], groups: pd.Series | None) -> list[Baseline]:
    """Estimate every baseline that the cohort allows; with more than two classes each against the rest.

    Args:
        table: a row per readable image, with the label and the measurements.
        classes: in order; of two, the second is told from the first.
        groups: patient of each row; None where no group is known.
    """
    wanted = list(classes[1:]) if len(classes) == 2 else list(classes)
    codes = np.arange(len(table)) if groups is None else pd.factorize(groups)[0]
    answers = []
    for name, columns in FEATURES.items():
        # A table of measurements leaves out what no image has; a site that is the only one predicts nothing.
        present = [column for column in columns if column in table and table[column].nunique(dropna=False) > 1]
        if not present:
            continue
        features = _features(table, present)
        answers += [
            _estimate(name, label, features, (table["label"] == label).to_numpy(dtype=int), codes) for label in wanted
        ]
    return answers


def _features(table: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    if list(columns) == ["site"]:
        return pd.get_dummies(table["site"].fillna("unknown")).to_numpy(dtype=float)
    values = table[list(columns)].apply(pd.to_numeric, errors="coerce").astype(float)
    unknown = values.isna()
    known = values.fillna(values.median()).fillna(0.0)
    extra = unknown.loc[:, unknown.any()].astype(float)
    return np.column_stack([known.to_numpy(), extra.to_numpy()])


def _estimate(name: str, label: str, features: np.ndarray, truth: np.ndarray, codes: np.ndarray) -> Baseline:
    from msht.statistics.summary import summarise

    n_groups = len(np.unique(codes))
    grouped = n_groups < len(truth)
    fewest = min(int(truth.sum()), int((1 - truth).sum()))
    per_class = [len(np.unique(codes[truth == value])) for value in (0, 1)]
    folds = min(FOLDS, *per_class) if fewest else 0
    if fewest < FEWEST or folds < 2:
        words = (
            f"not estimated: {fewest} images in the smaller class, {FEWEST} are needed"
            if fewest < FEWEST
            else f"not estimated: only {min(per_class)} group has images of one class"
        )
        return Baseline(name, label, len(truth), n_groups, None, None, None, words)
    scores = _out_of_fold(features, truth, codes, folds)
    area = summarise(truth, scores, threshold=0.5, groups=codes if grouped else None).auroc
    known = not np.isnan(area.low)
    return Baseline(
        name=name,
        label=label,
        images=len(truth),
        groups=n_groups,
        auroc=float(area.value),
        low=float(area.low) if known else None,
        high=float(area.high) if known else None,
        method=(area.method or area.note) + ("" if grouped else "; no patient is known, so images were drawn singly"),
    )


def _out_of_fold(features: np.ndarray, truth: np.ndarray, codes: np.ndarray, folds: int) -> np.ndarray:
    """Scores of each row by models that saw none of its group: logistic, with squares."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = np.full(len(truth), truth.mean())
    for train, test in StratifiedGroupKFold(folds, shuffle=True, random_state=517).split(features, truth, codes):
        if len(np.unique(truth[train])) < 2:
            continue
        # Squares of the standardised measurements, so that "neither too dark nor too bright" can be said, too.
        first = StandardScaler().fit(features[train])
        seen, unseen = (np.clip(first.transform(features[rows]), -8, 8) for rows in (train, test))
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
        model.fit(np.hstack([seen, seen**2]), truth[train])
        scores[test] = model.predict_proba(np.hstack([unseen, unseen**2]))[:, 1]
    return scores
