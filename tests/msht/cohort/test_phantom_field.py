"""One phantom field: the same specimen at every size, benign and malignant as described."""

import numpy as np
import pytest

from msht.cohort.phantom_field import field_seed, patient_appearance, render_field


def fields(positive: bool, count: int = 12) -> list:
    drawn = []
    for patient in range(count):
        appearance = patient_appearance(517, patient, patient % 3)
        drawn.append(
            render_field(appearance, positive=positive, width=128, height=96, seed=field_seed(517, patient, 0))
        )
    return drawn


@pytest.mark.parametrize("positive", [False, True])
def test_a_field_is_the_same_twice(positive: bool) -> None:
    appearance = patient_appearance(1, 2, 0)
    one, two = (render_field(appearance, positive=positive, width=128, height=96, seed=4) for _ in range(2))
    assert np.array_equal(one.image, two.image)
    assert np.array_equal(one.mask, two.mask)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (65, 97), (200, 90)])
def test_images_are_rgb_bytes_of_the_size_asked_for(width: int, height: int) -> None:
    field = render_field(patient_appearance(1, 0, 0), positive=True, width=width, height=height)
    assert field.image.shape == (height, width, 3)
    assert field.mask.shape == (height, width)
    assert field.image.dtype == field.mask.dtype == np.uint8


def test_more_pixels_show_the_same_specimen() -> None:
    appearance = patient_appearance(1, 0, 1)
    small = render_field(appearance, positive=True, width=160, height=120, seed=9)
    large = render_field(appearance, positive=True, width=480, height=360, seed=9)
    assert [nucleus.shape for nucleus in small.nuclei] == [nucleus.shape for nucleus in large.nuclei]
    shrunk = large.mask.reshape(120, 3, 160, 3).mean(axis=(1, 3)) > 127
    assert ((small.mask > 127) == shrunk).mean() > 0.98


def test_the_stain_of_a_patient_knows_nothing_of_the_label() -> None:
    for positive in (False, True):
        appearance = patient_appearance(517, 3, 1)
        assert appearance == patient_appearance(517, 3, 1)
        render_field(appearance, positive=positive, width=64, height=64)


def test_atypical_nuclei_are_larger_less_even_and_less_regular_than_benign_ones() -> None:
    benign = [nucleus for field in fields(False) for nucleus in field.nuclei]
    atypical = [nucleus for field in fields(True) for nucleus in field.nuclei if nucleus.atypical]
    assert not any(nucleus.atypical for nucleus in benign)
    sizes, large = (np.array([n.diameter for n in kind]) for kind in (benign, atypical))
    assert 26 < np.median(sizes) < 36 < np.median(large) < 60
    assert large.std() / large.mean() > 1.3 * sizes.std() / sizes.mean()
    assert np.mean([n.roughness for n in atypical]) > 2 * np.mean([n.roughness for n in benign])


def test_benign_nuclei_keep_their_distance_and_atypical_ones_overlap() -> None:
    def closest(field) -> list[float]:
        points = np.array([(n.shape.x, n.shape.y) for n in field.nuclei])
        radii = np.array([n.shape.radius for n in field.nuclei])
        gaps = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1)) / (radii[:, None] + radii)
        return list(gaps[np.triu_indices(len(points), 1)])

    assert min(gap for field in fields(False) for gap in closest(field)) > 0.75
    assert np.mean([min(closest(field)) < 0.8 for field in fields(True)]) > 0.5
