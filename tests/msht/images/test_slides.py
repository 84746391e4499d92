"""Tiles of a slide: the right place, the right scale, the right colours, or one sentence."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from msht.errors import InvalidInput, MissingResource, UnreadableImage
from msht.images.reading import read_image
from msht.images.slide_files import OPEN_SLIDES, is_part_of_slide
from msht.images.slides import Tile, is_slide_path, read_tile

Writer = Callable[..., Path]


def ramp(width: int = 1024, height: int = 768) -> np.ndarray:
    """Every pixel says where it is: red grows to the right, green downwards, both linearly."""
    across = np.linspace(0, 255, width)[None, :].repeat(height, axis=0)
    down = np.linspace(0, 255, height)[:, None].repeat(width, axis=1)
    return np.rint(np.stack([across, down, np.full_like(across, 90)], axis=-1)).astype(np.uint8)


def grain(width: int = 1024, height: int = 768, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_tile_at_full_scale_is_the_slides_own_pixels(tmp_path: Path, write_slide: Writer) -> None:
    pixels = grain()
    path = write_slide(tmp_path / "slide.tif", pixels)
    read = read_tile(path, Tile(131, 77, 300, 300))
    assert np.array_equal(read.pixels, pixels[77:377, 131:431])
    assert read.record.conversions == ()
    assert (read.record.width, read.record.format, read.record.orientation) == (300, "generic-tiff", 1)


@pytest.mark.parametrize(("edge", "size"), [(400, 200), (400, 100), (512, 64), (333, 111), (300, 97)])
def test_a_shrunk_tile_is_the_mean_of_areas_at_its_place(
    tmp_path: Path, write_slide: Writer, edge: int, size: int
) -> None:
    path = write_slide(tmp_path / "slide.tif", ramp())
    read = read_tile(path, Tile(205, 111, edge, size)).pixels.astype(float)
    scale = edge / size
    across = 255 * (205 + scale * (np.arange(size) + 0.5) - 0.5) / 1023
    down = 255 * (111 + scale * (np.arange(size) + 0.5) - 0.5) / 767
    # At most half a px of the level beside it (never more than half a px of the tile), and two roundings to whole
    # grey levels: nothing drifts towards the far edge.
    assert np.abs(read[..., 0] - across[None, :]).max() < 255 / 1023 * scale / 2 + 1.0
    assert np.abs(read[..., 1] - down[:, None]).max() < 255 / 767 * scale / 2 + 1.0


def test_levels_give_what_the_full_scale_gives(tmp_path: Path, write_slide: Writer) -> None:
    pixels = grain()
    with_levels = write_slide(tmp_path / "levels.tif", pixels)
    alone = write_slide(tmp_path / "alone.tif", pixels, levels=1)
    tile = Tile(128, 64, 512, 128)
    expected = pixels[64:576, 128:640].reshape(128, 4, 128, 4, 3).mean(axis=(1, 3))
    from_levels, from_full = read_tile(with_levels, tile), read_tile(alone, tile)
    assert "read from level 2" in from_levels.record.conversions
    assert not any("level" in words for words in from_full.record.conversions)
    assert np.abs(from_levels.pixels - expected).max() <= 1.6  # two levels, each rounded
    assert np.abs(from_full.pixels - expected).max() <= 0.6


def test_a_large_region_is_read_in_blocks_without_a_seam(
    tmp_path: Path, write_slide: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_slide(tmp_path / "slide.tif", ramp(), levels=1)
    whole = read_tile(path, Tile(10, 20, 700, 175)).pixels
    monkeypatch.setattr("msht.images.slide_regions.BLOCK", 96)
    blocks = read_tile(path, Tile(10, 20, 700, 175)).pixels
    assert np.abs(whole.astype(int) - blocks).max() <= 1


def test_what_lies_beyond_the_slide_is_white(tmp_path: Path, write_slide: Writer) -> None:
    path = write_slide(tmp_path / "slide.tif", np.full((512, 512, 3), 40, np.uint8))
    read = read_tile(path, Tile(412, -50, 200, 200))
    assert (read.pixels[:50] == 255).all()
    assert (read.pixels[:, 100:] == 255).all()
    assert (read.pixels[50:, :100] == 40).all()
    assert "transparency laid over white" in read.record.conversions


def test_the_digest_is_of_the_pixels(tmp_path: Path, write_slide: Writer) -> None:
    pixels = grain()
    pixels[:, 512:] = pixels[:, :512]
    path = write_slide(tmp_path / "slide.tif", pixels)
    same = {read_tile(path, Tile(left, 0, 256, 256)).record.sha256 for left in (0, 512)}
    assert len(same) == 1
    assert read_tile(path, Tile(1, 0, 256, 256)).record.sha256 not in same


def test_a_colour_profile_is_applied_as_to_a_photograph(tmp_path: Path, write_slide: Writer) -> None:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    place = profile.index(b"rXYZ") + 4  # the red primary takes the place of the blue one: colours must change
    other = profile.index(b"bXYZ") + 4
    profile[place : place + 8], profile[other : other + 8] = profile[other : other + 8], profile[place : place + 8]
    pixels = grain(512, 512)
    slide = write_slide(tmp_path / "slide.tif", pixels, iccprofile=bytes(profile))
    photograph = tmp_path / "photograph.png"
    Image.fromarray(pixels).save(photograph, icc_profile=bytes(profile))
    read = read_tile(slide, Tile(0, 0, 512, 512))
    assert "colour profile converted to sRGB" in read.record.conversions
    assert np.array_equal(read.pixels, read_image(photograph).pixels)
    assert not np.array_equal(read.pixels, pixels)


def test_slides_are_told_from_photographs(tmp_path: Path, write_slide: Writer) -> None:
    pixels = grain(512, 512)
    pyramid = write_slide(tmp_path / "pyramid.tif", pixels)
    tiled = write_slide(tmp_path / "tiled.tif", pixels, levels=1)
    Image.fromarray(pixels).save(tmp_path / "plain.tiff")
    shutil.copyfile(pyramid, tmp_path / ".hidden.tif")
    (tmp_path / "broken.SVS").write_bytes(b"nothing")
    (tmp_path / "text.tif").write_text("no picture")
    shutil.copyfile(pyramid, tmp_path / "photograph.jpg")
    found = {path.name for path in tmp_path.iterdir() if is_slide_path(path)}
    assert found == {"pyramid.tif", "broken.SVS"}
    assert np.array_equal(read_image(tiled).pixels, pixels), "a tiled photograph is read as one"


def test_a_slide_that_is_cut_off_is_a_slide_all_the_same(tmp_path: Path, write_slide: Writer) -> None:
    data = write_slide(tmp_path / "whole.tif", grain(1024, 1024)).read_bytes()
    for share in (0.5, 0.9, 0.99):
        cut = tmp_path / f"{share}.tif"
        cut.write_bytes(data[: int(len(data) * share)])
        assert is_slide_path(cut)
        with pytest.raises(UnreadableImage, match="damaged"):
            read_tile(cut, Tile(0, 0, 256, 256))
    Image.fromarray(grain(64, 64)).save(tmp_path / "pages.tif", save_all=True, append_images=[Image.new("RGB", (9, 9))])
    assert not is_slide_path(tmp_path / "pages.tif"), "pages that are not tiled are no slide"


def test_the_pictures_that_a_slide_is_made_of_are_no_photographs(tmp_path: Path) -> None:
    (tmp_path / "CMU-1.vms").write_text(
        "[Virtual Microscope Specimen]\r\nNoLayers=1\r\nImageFile=CMU-1 13.24.05.jpg\r\n"
        "ImageFile(1,0)=CMU-1 13.24.05(1,0).JPG\r\nMapFile=CMU-1_map2.jpg\r\nAuthCode=\r\n"
    )
    names = ("CMU-1 13.24.05.jpg", "CMU-1 13.24.05(1,0).jpg", "CMU-1_map2.jpg", "field.jpg")
    assert [is_part_of_slide(tmp_path / name) for name in names] == [True, True, True, False]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert not is_part_of_slide(elsewhere / names[0])
    assert not is_part_of_slide(tmp_path / "missing" / names[0])


def test_slides_that_cannot_be_read_are_one_sentence(tmp_path: Path, write_slide: Writer) -> None:
    whole = write_slide(tmp_path / "whole.tif", grain())
    data = whole.read_bytes()
    (tmp_path / "cut.svs").write_bytes(data[: len(data) // 3])
    (tmp_path / "noise.ndpi").write_bytes(os.urandom(5000))
    (tmp_path / "empty.mrxs").write_bytes(b"")
    for name in ("cut.svs", "noise.ndpi", "empty.mrxs", "missing.svs"):
        with pytest.raises(UnreadableImage) as caught:
            read_tile(tmp_path / name, Tile(0, 0, 256, 256))
        assert name in caught.value.problem
        assert "\n" not in str(caught.value)


def test_a_broken_part_does_not_take_the_rest_with_it(tmp_path: Path, write_slide: Writer) -> None:
    import tifffile

    pixels = grain()
    path = write_slide(tmp_path / "slide.tif", pixels, levels=1)
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[-1]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 64)
    with pytest.raises(UnreadableImage, match="damaged"):
        read_tile(path, Tile(768, 512, 256, 256))
    # OpenSlide refuses a handle for good after an error; the next tile gets a new one.
    assert np.array_equal(read_tile(path, Tile(0, 0, 256, 256)).pixels, pixels[:256, :256])


def test_more_slides_than_are_kept_open_are_read_by_many_threads(tmp_path: Path, write_slide: Writer) -> None:
    slides = [grain(300, 300, seed) for seed in range(OPEN_SLIDES + 3)]
    paths = [write_slide(tmp_path / f"{seed}.tif", pixels, levels=1) for seed, pixels in enumerate(slides)]
    wanted = [(index, Tile(left, 5, 120, 120)) for left in range(0, 160, 20) for index in range(len(paths))]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda item: read_tile(paths[item[0]], item[1]).pixels, wanted))
    for (index, tile), pixels in zip(wanted, found, strict=True):
        assert np.array_equal(pixels, slides[index][5:125, tile.left : tile.left + 120])


def test_a_slide_that_was_replaced_is_read_anew(tmp_path: Path, write_slide: Writer) -> None:
    path = write_slide(tmp_path / "slide.tif", np.full((300, 300, 3), 10, np.uint8), levels=1)
    assert read_tile(path, Tile(0, 0, 64, 64)).pixels.max() == 10
    write_slide(tmp_path / "new.tif", np.full((300, 300, 3), 77, np.uint8), levels=1).replace(path)
    assert read_tile(path, Tile(0, 0, 64, 64)).pixels.min() == 77


def test_without_openslide_the_extra_is_named(
    tmp_path: Path, write_slide: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_slide(tmp_path / "slide.tif", grain(300, 300))
    monkeypatch.setitem(sys.modules, "openslide", None)
    assert not is_slide_path(path)
    with pytest.raises(MissingResource, match=r"msht\[wsi\]"):
        read_tile(path, Tile(0, 0, 64, 64))


def test_a_tile_of_no_size_is_refused() -> None:
    for edge, size in ((0, 10), (10, 0), (10, -1), (10, 10**6)):
        with pytest.raises(InvalidInput, match="tile"):
            Tile(0, 0, edge, size)


def test_a_scanners_slide_is_read_as_openslide_shows_it(shared: Path) -> None:
    import openslide

    path = shared / "data" / "slides" / "cmu-1-small-region.svs"
    assert is_slide_path(path)
    read = read_tile(path, Tile(700, 900, 350, 350))
    shown = openslide.OpenSlide(path).read_region((700, 900), 0, (350, 350)).convert("RGB")
    assert np.array_equal(read.pixels, np.asarray(shown))
    assert read.record.format == "aperio"
    with pytest.raises(UnreadableImage, match=r"broken\.svs"):
        read_tile(path.with_name("broken.svs"), Tile(0, 0, 64, 64))
    stream = io.BytesIO()
    Image.fromarray(read.pixels).save(stream, "PNG")
    assert Image.open(stream).size == (350, 350)
