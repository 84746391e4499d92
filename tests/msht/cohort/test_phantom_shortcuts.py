"""Neither colour nor density tells the phantom's classes apart; the nuclei do.

The classifiers are scikit-learn's, cross-validated with whole patients left out, on the default 24 patients
with 10 fields each, drawn small.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from msht.cohort.phantom_field import PhantomField, field_seed, patient_appearance, render_field
from msht.cohort.phantom_roster import PhantomSettings, plan_cohort

pytestmark = pytest.mark.slow

NEAR_CHANCE = 0.62


@dataclass
class Drawn:
    fields: list[PhantomField]
    positive: NDArray[np.bool_]
    patients: NDArray[np.int64]

    def auroc(self, features: NDArray[np.float64], model: ClassifierMixin) -> float:
        folds = StratifiedGroupKFold(4, shuffle=True, random_state=0)
        scores = cross_val_predict(
            model, features, self.positive, groups=self.patients, cv=folds, method="predict_proba"
        )
        return roc_auc_score(self.positive, scores[:, 1])


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    settings = PhantomSettings(24, 10, 1, 3, 96, 72, 517)
    planned = plan_cohort(settings)
    fields = [
        render_field(
            patient_appearance(settings.seed, field.patient, field.site),
            positive=field.positive,
            width=settings.width,
            height=settings.height,
            seed=field_seed(settings.seed, field.patient, field.number),
        )
        for field in planned
    ]
    positive = np.array([field.positive for field in planned])
    return Drawn(fields, positive, np.array([field.patient for field in planned]))


def models() -> list[ClassifierMixin]:
    return [
        make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)),
        RandomForestClassifier(200, min_samples_leaf=3, random_state=0),
    ]


def colour_histogram(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    spaces = (image, cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    counts = [np.histogram(space[..., i], 16, (0, 256))[0] for space in spaces for i in range(3)]
    return np.concatenate(counts) / image[..., 0].size


def density(field: PhantomField) -> list[float]:
    grey = field.image.mean(axis=2)
    absorbed = -np.log((grey + 1) / (np.percentile(grey, 95) + 1))
    return [(absorbed > 0.15).mean(), grey.mean(), field.nuclear_share]


@pytest.mark.parametrize("model", models(), ids=["logistic regression", "random forest"])
def test_colour_alone_is_near_chance(drawn: Drawn, model: ClassifierMixin) -> None:
    histograms = np.array([colour_histogram(field.image) for field in drawn.fields])
    assert drawn.auroc(histograms, model) < NEAR_CHANCE


@pytest.mark.parametrize("model", models(), ids=["logistic regression", "random forest"])
def test_foreground_darkness_and_nuclear_area_are_near_chance(drawn: Drawn, model: ClassifierMixin) -> None:
    assert drawn.auroc(np.array([density(field) for field in drawn.fields]), model) < NEAR_CHANCE


@pytest.mark.parametrize("part", range(3), ids=["foreground", "brightness", "nuclear area"])
def test_no_single_measure_of_density_orders_the_classes_either_way(drawn: Drawn, part: int) -> None:
    values = [density(field)[part] for field in drawn.fields]
    assert 0.38 < roc_auc_score(drawn.positive, values) < NEAR_CHANCE


def test_the_spread_of_nuclear_size_separates_the_classes(drawn: Drawn) -> None:
    spread = [np.std([nucleus.diameter for nucleus in field.nuclei]) for field in drawn.fields]
    assert roc_auc_score(drawn.positive, spread) > 0.9
