import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from torch import nn

from msht.calibration.novelty import FEWEST_BEYOND, FeatureReference
from msht.ensemble import (
    ORIENTATIONS,
    SMALLEST_PROBABILITY,
    Ensemble,
    FieldScores,
    FoldModel,
    TestTime,
    combine,
    oriented,
)
from msht.images.preprocessing import Preprocessing, to_tensor
from msht.network.factory import create_network

SQUARE = Preprocessing(size=32, mean=(0.7, 0.6, 0.7), std=(0.2, 0.2, 0.2))


def views(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (count, 32, 32, 3), dtype=np.uint8)


def fold(number: int, temperature: float = 1.0) -> FoldModel:
    torch.manual_seed(number)
    network = create_network("test_resnet", num_classes=2, img_size=32).eval()
    with torch.inference_mode():
        features = network.forward_head(network.forward_features(to_tensor(views(12, 9), SQUARE)), pre_logits=True)
    return FoldModel(number, network, temperature, FeatureReference.fit(features.numpy(), np.arange(12).astype(str)))


def plain_logits(network: nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        logits = network.eval()(to_tensor(images, SQUARE)).double().numpy()
    return logits[:, 1] - logits[:, 0]


def test_one_fold_at_temperature_one_is_the_sigmoid_of_its_logit() -> None:
    member = fold(1)
    scores = Ensemble([member], SQUARE).score(views(5))
    logits = plain_logits(member.network, views(5))
    assert scores.fold_logits == pytest.approx(logits[None], abs=1e-5)
    assert scores.probability == pytest.approx(expit(logits), abs=1e-6)
    assert scores.logit == pytest.approx(logits, abs=1e-5)
    assert scores.spread == pytest.approx(np.zeros(5), abs=1e-12)


def test_the_mean_is_taken_over_probabilities_each_at_its_own_temperature() -> None:
    members = [fold(1, 0.5), fold(2, 3.0), fold(3)]
    scores = Ensemble(members, SQUARE).score(views(4))
    calibrated = np.stack([expit(plain_logits(m.network, views(4)) / m.temperature) for m in members])
    assert scores.fold_probabilities == pytest.approx(calibrated, abs=1e-6)
    assert scores.probability == pytest.approx(calibrated.mean(axis=0), abs=1e-6)
    assert scores.spread == pytest.approx(calibrated.std(axis=0), abs=1e-6)
    assert expit(scores.logit) == pytest.approx(scores.probability)


def test_a_field_has_the_same_answer_alone_and_in_any_company() -> None:
    ensemble = Ensemble([fold(1), fold(2)], SQUARE)
    together = ensemble.score(views(6))
    for index in range(6):
        alone = ensemble.score(views(6)[index : index + 1])
        assert alone.logit[0] == pytest.approx(together.logit[index], abs=1e-5)
        assert alone.novelty[0] == pytest.approx(together.novelty[index], abs=1e-4)


def test_networks_answer_in_evaluation_mode_whatever_mode_they_came_in() -> None:
    member = fold(1)
    expected = Ensemble([member], SQUARE).score(views(3)).logit
    member.network.train()
    assert np.array_equal(Ensemble([member], SQUARE).score(views(3)).logit, expected)


def test_novelty_is_the_distance_relative_to_the_limit() -> None:
    member = fold(1)
    ensemble = Ensemble([member], SQUARE)
    with torch.inference_mode():
        features = member.network.forward_head(
            member.network.forward_features(to_tensor(views(3), SQUARE)), pre_logits=True
        ).numpy()
    expected = member.reference.distance(features) / member.reference.threshold
    assert ensemble.score(views(3)).novelty == pytest.approx(expected, rel=1e-4)
    seen = ensemble.score(views(12, 9)).novelty
    strange = ensemble.score(np.zeros((1, 32, 32, 3), dtype=np.uint8)).novelty
    assert (seen > 1).sum() <= FEWEST_BEYOND
    assert strange[0] > max(1, seen.max())


def test_a_cohort_of_identical_images_still_gives_finite_novelty() -> None:
    member = fold(1)
    same = FeatureReference.fit(np.ones((6, member.reference.features.shape[1])), np.arange(6).astype(str))
    assert same.threshold == pytest.approx(0, abs=1e-6)
    scores = Ensemble([FoldModel(1, member.network, 1.0, same)], SQUARE).score(views(2))
    assert np.isfinite(scores.novelty).all()
    assert (scores.novelty > 1).all()


def combined(logits: np.ndarray) -> FieldScores:
    return combine(logits, logits, np.zeros_like(logits))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(-60, 60), min_size=3, max_size=3), min_size=1, max_size=5))
def test_the_mean_lies_between_its_members_and_its_logit_is_finite(members: list[list[float]]) -> None:
    logits = np.array(members)
    scores = combined(logits)
    low, high = expit(logits).min(axis=0), expit(logits).max(axis=0)
    edge = SMALLEST_PROBABILITY
    assert (scores.probability >= np.clip(low, edge, 1 - edge) - 1e-12).all()
    assert (scores.probability <= np.clip(high, edge, 1 - edge) + 1e-12).all()
    assert np.isfinite(scores.logit).all()
    assert (scores.spread <= 0.5 + 1e-12).all()
    order = np.random.default_rng(0).permutation(len(members))
    assert combined(logits[order]).probability == pytest.approx(scores.probability, abs=1e-12)


def test_certain_members_are_kept_from_certainty() -> None:
    assert combined(np.array([[800.0, -800.0]])).probability.tolist() == [
        1 - SMALLEST_PROBABILITY,
        SMALLEST_PROBABILITY,
    ]


@pytest.mark.parametrize(("test_time", "count"), [("none", 1), ("flips", 4), ("dihedral", 8)])
def test_orientations_are_different_squares_of_the_same_pixels(test_time: TestTime, count: int) -> None:
    square = np.arange(5 * 5 * 3, dtype=np.uint8).reshape(1, 5, 5, 3)
    seen = {oriented(square, *way).tobytes() for way in ORIENTATIONS[test_time]}
    assert len(seen) == count
    assert all(sorted(pixels) == sorted(square.tobytes()) for pixels in seen)


def test_the_answer_over_orientations_is_the_mean_of_their_raw_logits() -> None:
    ensemble = Ensemble([fold(1, 0.5), fold(2)], SQUARE)
    found = ensemble.score(views(3), test_time="flips")
    turned = [views(3), views(3)[:, :, ::-1], views(3)[:, ::-1], views(3)[:, ::-1, ::-1]]
    each = [ensemble.score(np.ascontiguousarray(way)).fold_logits for way in turned]
    assert found.fold_logits == pytest.approx(np.mean(each, axis=0), abs=1e-6)
    assert found.probability == pytest.approx(
        expit(np.mean(each, axis=0) / np.array([[0.5], [1.0]])).mean(axis=0), abs=1e-6
    )


def test_over_orientations_a_field_and_its_mirror_image_have_the_same_answer() -> None:
    ensemble = Ensemble([fold(1)], SQUARE)
    field, other = views(2), np.ascontiguousarray(views(2)[:, :, ::-1])
    turned = np.ascontiguousarray(np.rot90(field, axes=(1, 2)))
    ways: list[tuple[TestTime, np.ndarray]] = [("flips", other), ("dihedral", other), ("dihedral", turned)]
    for way, twin in ways:
        first, second = ensemble.score(field, test_time=way), ensemble.score(twin, test_time=way)
        assert second.logit == pytest.approx(first.logit, abs=1e-6)
        assert second.novelty == pytest.approx(first.novelty, abs=1e-5)
    assert abs(ensemble.score(other).logit - ensemble.score(field).logit).max() > 1e-4
