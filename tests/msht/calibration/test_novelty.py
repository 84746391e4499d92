"""The novelty score: neighbours by scikit-learn, patients left out, strangers flagged."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from msht.calibration.novelty import FeatureReference
from msht.errors import InvalidInput


def cohort(seed: int, patients: int = 30, fields: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Features in two clouds, with a patient effect."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), fields)
    centres = random.normal(size=(2, 32)) * 0 + np.eye(2, 32) * 6
    own = centres[groups % 2] + 0.5 * random.normal(size=(patients, 32))[groups]
    return own + 0.3 * random.normal(size=(len(groups), 32)), groups


def test_the_distance_is_that_of_scikit_learns_neighbours() -> None:
    features, groups = cohort(1)
    new, _ = cohort(2)
    reference = FeatureReference.fit(features, groups, neighbours=5)
    expected, _ = NearestNeighbors(n_neighbors=5).fit(normalize(features)).kneighbors(normalize(new))
    assert reference.distance(new) == pytest.approx(expected[:, 4], abs=1e-3)


def test_calibration_distances_leave_out_the_patient() -> None:
    features, groups = cohort(3)
    unit = normalize(features)
    expected = []
    for row in range(len(unit)):
        others = unit[groups != groups[row]]
        expected.append(np.sort(np.linalg.norm(others - unit[row], axis=1))[4])
    found = FeatureReference.fit(features, groups).calibration
    assert found == pytest.approx(np.sort(expected), abs=1e-3)


def test_new_patients_pass_at_about_the_chosen_share_and_would_not_without_their_groups() -> None:
    passed, passed_without = [], []
    for seed in range(20):
        features, groups = cohort(seed, 60)
        new = cohort(1000 + seed, 60)[0]
        passed.append(1 - FeatureReference.fit(features, groups, share=0.95).is_novel(new).mean())
        passed_without.append(1 - FeatureReference.fit(features, share=0.95).is_novel(new).mean())
    assert np.mean(passed) == pytest.approx(0.95, abs=0.03)
    assert np.mean(passed_without) < np.mean(passed) - 0.1


def test_strangers_are_flagged_even_between_the_clouds() -> None:
    features, groups = cohort(4)
    reference = FeatureReference.fit(features, groups)
    random = np.random.default_rng(5)
    assert reference.is_novel(random.normal(size=(50, 32))).mean() > 0.95
    between = np.full((1, 32), 0.0)
    between[0, :2] = 6.0
    assert reference.is_novel(between).all()
    assert reference.p_values(between)[0] == pytest.approx(1 / (len(features) + 1))


def test_brightness_of_the_features_does_not_matter() -> None:
    features, groups = cohort(6)
    reference = FeatureReference.fit(features, groups)
    assert reference.distance(7 * features) == pytest.approx(reference.distance(features), abs=1e-3)


def test_a_reference_survives_safetensors(tmp_path: Path) -> None:
    features, groups = cohort(7)
    reference = FeatureReference.fit(features, groups)
    save_file(reference.to_arrays(), tmp_path / "reference.safetensors")
    again = FeatureReference.from_arrays(load_file(tmp_path / "reference.safetensors"))
    assert (again.distance(features) == reference.distance(features)).all()
    assert (again.threshold, again.neighbours, again.share) == (
        reference.threshold,
        reference.neighbours,
        reference.share,
    )


def test_a_large_cohort_is_thinned() -> None:
    features, groups = cohort(8, 100)
    reference = FeatureReference.fit(features, groups, most=200)
    assert reference.features.shape == (200, 32)
    assert len(reference.calibration) == 200


def test_a_blank_feature_row_is_far_from_everything_and_no_error() -> None:
    features, groups = cohort(9)
    assert FeatureReference.fit(features, groups).distance(np.zeros((1, 32)))[0] >= 1.0


def test_bad_input_is_refused() -> None:
    features, groups = cohort(10)
    reference = FeatureReference.fit(features, groups)
    with pytest.raises(InvalidInput, match="32 features"):
        reference.distance(np.ones((1, 31)))
    with pytest.raises(InvalidInput, match="row 0"):
        reference.distance(np.full((1, 32), np.nan))
    with pytest.raises(InvalidInput, match="two patients"):
        FeatureReference.fit(features, np.zeros(len(features)))
    with pytest.raises(InvalidInput, match="missing: threshold"):
        FeatureReference.from_arrays({k: v for k, v in reference.to_arrays().items() if k != "threshold"})
