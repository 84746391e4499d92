import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from msht.cohort import dataset
from msht.cohort.dataset import OVERSAMPLING, EpochSampler, EvaluationFields, FieldStore, TrainingFields
from msht.cohort.manifest import Manifest
from msht.errors import InvalidInput, UnreadableImage
from msht.files import sha256_of
from msht.images.augmentation import Augmentation, Augmenter
from msht.images.colour import Colour
from msht.images.preprocessing import Preprocessing, normalised, planes_of, to_tensor, view_of
from msht.images.quality import measure_quality
from msht.images.reading import DecodedImage, decode_image, read_image

SMALL = Preprocessing(size=16, mean=(0.7, 0.6, 0.7), std=(0.2, 0.2, 0.2))
PLENTY = 2**30


@pytest.fixture(scope="module")
def fields(cohort: Callable[..., Manifest]) -> Manifest:
    return cohort(patients=3, fields=2, edge=48)


def store_of(fields: Manifest, limit: int = PLENTY, preprocessing: Preprocessing = SMALL) -> FieldStore:
    return FieldStore(fields.root, preprocessing, limit)


def training_set(store: FieldStore, fields: Manifest, seed: int = 1) -> TrainingFields:
    augmenter = Augmenter(Augmentation(name="standard"), store.source_preprocessing, seed=seed)
    images = list(fields.frame["image"])
    return TrainingFields(store, images, [0, 0, 1, 1, 0, 0], augmenter)


def test_the_evaluation_view_is_that_of_the_file(fields: Manifest) -> None:
    store = store_of(fields)
    images = list(fields.frame["image"])
    data = EvaluationFields(store, images, [0] * len(images))
    assert len(data) == len(images)
    for index, image in enumerate(images):
        pixels = read_image(fields.root / image).pixels
        view = view_of(pixels, SMALL)
        assert np.array_equal(store[image].view, view)
        assert torch.equal(normalised(data[index][0], SMALL), to_tensor(view, SMALL)[0])
        assert store[image].quality == measure_quality(pixels)
        assert store[image].sha256 == sha256_of(fields.root / image)


@pytest.mark.parametrize("crop", [None, 30, 40, 700])
def test_the_evaluation_view_is_exact_for_any_crop(fields: Manifest, crop: int | None) -> None:
    preprocessing = Preprocessing(crop=crop, size=16)
    store = store_of(fields, preprocessing=preprocessing)
    image = fields.frame["image"].iloc[2]
    assert np.array_equal(store[image].view, view_of(read_image(fields.root / image).pixels, preprocessing))


def test_a_pixel_format_that_is_not_rgb_reaches_the_network_as_rgb(tmp_path: Path) -> None:
    red = np.zeros((20, 20, 3), dtype=np.uint8)
    red[:, :, 0] = 200
    assert cv2.imwrite(str(tmp_path / "red.png"), red[:, :, ::-1])
    tensor, label = EvaluationFields(FieldStore(tmp_path, Preprocessing(size=16), PLENTY), ["red.png"], [1])[0]
    assert label == 1
    assert tensor.shape == (3, 16, 16)
    assert torch.equal(tensor.float().mean(dim=(1, 2)), torch.tensor([200.0, 0, 0]))


def test_the_stored_field_is_just_large_enough_to_augment(fields: Manifest) -> None:
    store = store_of(fields)
    source = store.source(fields.frame["image"].iloc[0])
    assert source.pixels.shape == (OVERSAMPLING * 16, OVERSAMPLING * 16, 3)
    assert source.squares == ((0, 0, OVERSAMPLING * 16, OVERSAMPLING * 16),)


def test_the_stored_crop_shows_the_same_share_of_the_field(tmp_path: Path) -> None:
    # A white square of 80 px in the middle of a black field; the crop of 80 px sees nothing else.
    pixels = np.zeros((120, 200, 3), dtype=np.uint8)
    pixels[20:100, 60:140] = 255
    assert cv2.imwrite(str(tmp_path / "square.png"), pixels)
    store = FieldStore(tmp_path, Preprocessing(crop=80, size=16), PLENTY)
    source = store.source("square.png")
    assert source.pixels.shape == (30, 50, 3)
    left, top, right, bottom = (round(edge) for edge in source.squares[0])
    assert (left, top, right, bottom) == (15, 5, 35, 25)
    assert source.pixels[top + 1 : bottom - 1, left + 1 : right - 1].min() == 255
    assert source.pixels[: top - 1].max() == source.pixels[:, right + 1 :].max() == 0


def test_a_field_smaller_than_the_network_is_kept_whole(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (10, 12, 3), dtype=np.uint8)
    assert cv2.imwrite(str(tmp_path / "tiny.png"), pixels[:, :, ::-1])
    assert np.array_equal(FieldStore(tmp_path, SMALL, PLENTY).source("tiny.png").pixels, pixels)


def test_beyond_its_memory_the_store_gives_the_same_pixels(fields: Manifest) -> None:
    images = list(fields.frame["image"])
    plenty = store_of(fields)
    plenty.load(images)
    one = plenty[images[0]]
    assert one.source is not None
    view, source = one.view.nbytes, one.source.pixels.nbytes
    for limit, views, sources in ((0, 0, 0), (2 * view + 1, 2, 0), (6 * view + source, 6, 1)):
        scarce = store_of(fields, limit=limit)
        scarce.load(images)
        kept = [scarce[image].view is scarce[image].view for image in images]
        assert sum(kept) == views
        assert sum(scarce[image].source is not None for image in images) == sources
        for image in images:
            assert np.array_equal(scarce.source(image).pixels, plenty.source(image).pixels)
            assert scarce.source(image).squares == plenty.source(image).squares
            assert np.array_equal(scarce[image].view, plenty[image].view)
            assert scarce[image].quality == plenty[image].quality
        assert scarce.decoded == len(images)


@pytest.mark.parametrize("asked_one_by_one", [False, True])
def test_a_store_holds_no_more_memory_than_its_bound(fields: Manifest, asked_one_by_one: bool) -> None:
    images = list(fields.frame["image"])
    plenty = store_of(fields)
    plenty.load(images)
    whole = len(pickle.dumps(plenty))
    view, source = plenty[images[0]].view.nbytes, plenty.source(images[0]).pixels.nbytes
    for limit in (0, 3 * view, 3 * (view + source), 6 * view + 2 * source):
        scarce = store_of(fields, limit=limit)
        if not asked_one_by_one:
            scarce.load(images)
        for image in images:
            scarce.source(image)
            assert len(scarce[image].sha256) == 64
        # What a store holds is what goes to another process with it, and each was given all but the same otherwise.
        held = 6 * (view + source) - (whole - len(pickle.dumps(scarce)))
        assert limit - source < held <= limit + 100


def test_quality_and_digest_of_a_field_that_was_not_kept_read_no_file(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 50, 3), 99, np.uint8))
    store = FieldStore(tmp_path, SMALL, 0)
    store.load(["a.png"])
    digest = sha256_of(tmp_path / "a.png")
    (tmp_path / "a.png").unlink()
    assert store["a.png"].sha256 == digest
    assert store["a.png"].quality.brightness == pytest.approx(99 / 255, abs=0.01)


def test_a_field_that_changed_is_not_evaluated_under_the_digest_of_the_former(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 50, 3), 99, np.uint8))
    store = FieldStore(tmp_path, SMALL, 0)
    store.load(["a.png"])
    assert cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 50, 3), 98, np.uint8))
    with pytest.raises(InvalidInput, match=r"a\.png changed"):
        EvaluationFields(store, ["a.png"], [0])[0]


def test_one_slow_image_does_not_let_the_others_pile_up(fields: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "AHEAD", 2)
    images = list(fields.frame["image"])
    begun: list[str] = []
    go_on = threading.Event()

    def slow(data: bytes, path: Path) -> DecodedImage:
        begun.append(path.name)
        if path.name == Path(images[0]).name:
            go_on.wait(timeout=0.5)
            assert len(begun) <= 2
        return decode_image(data, path)

    monkeypatch.setattr(dataset, "decode_image", slow)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    store = store_of(fields)
    store.load(images)
    assert store.decoded == len(begun) == len(images)


def test_each_field_is_decoded_once_and_progress_is_told(fields: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []

    def counting(data: bytes, path: Path) -> object:
        decoded.append(path)
        return decode_image(data, path)

    monkeypatch.setattr(dataset, "decode_image", counting)
    store = store_of(fields)
    images = list(fields.frame["image"])
    steps: list[tuple[int, int]] = []
    store.load(images, lambda done, total: steps.append((done, total)))
    store.load(images)
    for image in images:
        store.source(image)
    assert len(decoded) == store.decoded == len(images)
    assert steps == [(n, len(images)) for n in range(1, len(images) + 1)]


def test_a_damaged_image_stops_the_reading_with_its_name(fields: Manifest, tmp_path: Path) -> None:
    whole = (fields.root / fields.frame["image"].iloc[0]).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableImage, match=r"cut\.png"):
        FieldStore(tmp_path, SMALL, PLENTY).load(["cut.png"])


def test_a_path_that_leaves_the_folder_is_never_opened(fields: Manifest) -> None:
    with pytest.raises(InvalidInput, match="leaves the folder"):
        FieldStore(fields.root / "nowhere", SMALL, PLENTY).load([f"../{fields.frame['image'].iloc[0]}"])


def test_the_same_epoch_and_row_give_the_same_picture_and_another_epoch_another(fields: Manifest) -> None:
    one, two = training_set(store_of(fields), fields), training_set(store_of(fields, limit=0), fields)
    for index in range(len(one)):
        picture, label = one[0, index]
        assert torch.equal(picture, two[0, index][0])
        assert label == [0, 0, 1, 1, 0, 0][index]
        assert not torch.equal(picture, one[1, index][0])


def test_another_seed_gives_another_picture(fields: Manifest) -> None:
    store = store_of(fields)
    assert not torch.equal(training_set(store, fields, seed=1)[0, 0][0], training_set(store, fields, seed=2)[0, 0][0])


@pytest.mark.parametrize("limit", [0, PLENTY])
@pytest.mark.parametrize("crop", [None, 45, 31])
def test_without_augmentation_training_sees_the_evaluation_view(fields: Manifest, limit: int, crop: int | None) -> None:
    preprocessing = Preprocessing(crop=crop, size=16, colour=Colour(white=True))
    store = FieldStore(fields.root, preprocessing, limit, augmentation=Augmentation())
    images = list(fields.frame["image"])
    store.load(images)
    plain = TrainingFields(store, images, [0] * 6, Augmenter(Augmentation(), store.source_preprocessing, seed=1))
    for index, image in enumerate(images):
        expected = view_of(read_image(fields.root / image).pixels, preprocessing)
        assert torch.equal(plain[0, index][0], planes_of(expected))


@pytest.mark.parametrize("limit", [0, PLENTY])
def test_without_augmentation_training_sees_each_crop_as_evaluation_does(fields: Manifest, limit: int) -> None:
    preprocessing = Preprocessing(crop=29, size=16, crops=(2, 2))
    store = store_of(fields, limit=limit, preprocessing=preprocessing)
    image = fields.frame["image"].iloc[0]
    store.load([image])
    crops = view_of(read_image(fields.root / image).pixels, preprocessing)
    augmenter = Augmenter(Augmentation(), store.source_preprocessing, seed=1)
    for epoch in range(20):
        expected = crops[augmenter.crop(4, epoch, 0)]
        assert np.array_equal(store.view(image, augmenter, epoch=epoch, index=0), expected)
    assert len({augmenter.crop(4, epoch, 0) for epoch in range(20)}) == 4


def test_writing_on_a_view_leaves_the_kept_field_alone(fields: Manifest) -> None:
    store = store_of(fields)
    image = fields.frame["image"].iloc[0]
    before = store[image].view.copy()
    store.view(image, Augmenter(Augmentation(), SMALL, seed=1), epoch=0, index=0)[:] = 0
    assert np.array_equal(store[image].view, before)


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_images(fields: Manifest, workers: int) -> None:
    def pictures(count: int) -> list[torch.Tensor]:
        data = training_set(store_of(fields), fields)
        sampler = EpochSampler(len(data), seed=5)
        loader = DataLoader(data, batch_size=4, sampler=sampler, num_workers=count, persistent_workers=count > 0)
        found = []
        for epoch in range(2):
            sampler.set_epoch(epoch)
            found += [images for images, _ in loader]
        return found

    expected = pictures(0)
    found = pictures(workers)
    assert len(expected) == len(found) == 4
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert not torch.equal(expected[0], expected[2])


def test_every_row_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    sampler = EpochSampler(20, seed=3)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        drawn = list(sampler)
        assert drawn == list(sampler)
        assert {found for found, _ in drawn} == {epoch}
        assert sorted(index for _, index in drawn) == list(range(20))
        orders.append(tuple(index for _, index in drawn))
    assert len(sampler) == 20
    assert len(set(orders)) == 3
    assert list(EpochSampler(20, seed=4)) != list(EpochSampler(20, seed=3))


def test_what_no_view_can_reach_is_cut_away_and_no_view_changes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (240, 480, 3), dtype=np.uint8)
    pixels = cv2.GaussianBlur(pixels, (0, 0), 3)
    assert cv2.imwrite(str(tmp_path / "wide.png"), pixels)
    settings = Augmentation(rotation=(-180, 180), scale=(0.9, 1.1), shift=0.05)
    for crops in ((1, 1), (2, 1)):
        preprocessing = Preprocessing(crop=80, size=64, crops=crops)
        whole = FieldStore(tmp_path, preprocessing, PLENTY)
        cut = FieldStore(tmp_path, preprocessing, PLENTY, augmentation=settings)
        large, small = whole.source("wide.png"), cut.source("wide.png")
        assert large.pixels.shape == (240, 480, 3)
        assert small.pixels.shape[0] == 80 + 2 * 29  # ceil((sqrt(2) / 0.9 + 0.1 - 1) * 40) + 2 px beyond the crop
        assert len(small.squares) == crops[0]
        for index in range(20):
            augmenter = Augmenter(settings, preprocessing, seed=1)
            views = [
                augmenter(source.pixels, epoch=0, index=index, squares=source.squares) for source in (large, small)
            ]
            assert np.abs(views[0].astype(int) - views[1]).max() <= 1


def test_a_field_of_several_crops_reaches_the_network_with_an_axis_for_them(fields: Manifest) -> None:
    preprocessing = Preprocessing(crop=30, size=16, crops=(2, 2))
    store = store_of(fields, preprocessing=preprocessing)
    image = fields.frame["image"].iloc[0]
    tensor, _ = EvaluationFields(store, [image], [1])[0]
    assert tensor.shape == (4, 3, 16, 16)
    pixels = read_image(fields.root / image).pixels
    corner = view_of(pixels[-30:, -30:], Preprocessing(size=16))
    assert torch.equal(normalised(tensor, preprocessing)[3], to_tensor(corner, preprocessing)[0])
    training = TrainingFields(store, [image], [1], Augmenter(Augmentation(), store.source_preprocessing, seed=1))
    assert training[0, 0][0].shape == (3, 16, 16)


def test_the_colour_of_the_recipe_is_seen_to_once_in_training_and_in_evaluation(tmp_path: Path) -> None:
    pixels = np.full((40, 40, 3), (200, 180, 160), np.uint8)  # BGR: a yellowish light
    pixels[10:20, 10:20] = (150, 40, 90)
    assert cv2.imwrite(str(tmp_path / "warm.png"), pixels)
    preprocessing = Preprocessing(size=16, colour=Colour(white=True))
    store = FieldStore(tmp_path, preprocessing, PLENTY)
    np.testing.assert_array_equal(store["warm.png"].view[-1, -1], [240, 240, 240])
    np.testing.assert_array_equal(store.source("warm.png").pixels[-1, -1], [240, 240, 240])
    assert store["warm.png"].quality == measure_quality(pixels[:, :, ::-1])  # of the field as it came
    assert store.source_preprocessing.colour == Colour()


@pytest.mark.parametrize("name", ["paper", "standard", "strong-colour"])
def test_a_view_of_a_photograph_is_the_same_whether_it_was_kept_or_not(tmp_path: Path, name: str) -> None:
    """Not kept, only what the view reads is reduced, band by band; kept, the whole is."""
    rough = np.random.default_rng(5).integers(0, 255, (104, 139, 3), dtype=np.uint8)
    assert cv2.imwrite(str(tmp_path / "field.jpg"), cv2.resize(rough, (556, 416), interpolation=cv2.INTER_CUBIC))
    preprocessing, settings = Preprocessing(crop=280, size=160), Augmentation(name=name)
    kept, scarce = (FieldStore(tmp_path, preprocessing, limit, augmentation=settings) for limit in (PLENTY, 0))
    assert kept["field.jpg"].source is not None
    assert scarce["field.jpg"].source is None
    augmenter = Augmenter(settings, preprocessing, seed=3)
    for epoch in range(25):
        view = scarce.view("field.jpg", augmenter, epoch=epoch, index=0)
        assert np.array_equal(view, kept.view("field.jpg", augmenter, epoch=epoch, index=0))
