"""Any sane file becomes upright eight-bit sRGB; anything else is refused in one sentence."""

from __future__ import annotations

import hashlib
import io
import shutil
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from msht.errors import UnreadableImage
from msht.images import reading
from msht.images.reading import IMAGE_SUFFIXES, decode_image, is_image_path, plain_pixels, read_image


def scene(height: int = 40, width: int = 60) -> np.ndarray:
    """A smooth picture in which every corner has its own colour."""
    down, across = np.meshgrid(np.linspace(0, 255, height), np.linspace(0, 255, width), indexing="ij")
    return np.stack([down, across, 255 - down], axis=-1).astype(np.uint8)


def test_a_plain_rgb_file_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "Größe 1.PNG"
    Image.fromarray(scene()).save(path)
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, scene())
    assert image.pixels.flags.writeable
    assert image.record.conversions == ()
    assert (image.record.width, image.record.height, image.record.format) == (60, 40, "PNG")
    assert image.record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert image.record.bytes == path.stat().st_size


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES - {".gif"}))
def test_every_listed_ending_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"field{suffix}"
    Image.fromarray(scene()).save(path, quality=95)
    difference = read_image(path).pixels.astype(int) - scene()
    assert np.abs(difference).mean() < 3  # JPEG and WebP lose a little


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_exif_orientation_is_applied_and_recorded(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"turned{suffix}"
    image = Image.fromarray(scene())
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    read = read_image(path)
    image.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(read.pixels, np.asarray(ImageOps.exif_transpose(image)))
    assert read.record.orientation == orientation
    assert (read.record.height, read.record.width) == read.pixels.shape[:2]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_by_their_full_range(tmp_path: Path, suffix: str, channels: int) -> None:
    deep = (scene().astype(np.uint16) * 257)[:, :, :channels]
    path = tmp_path / f"deep{suffix}"
    parameters = [cv2.IMWRITE_TIFF_COMPRESSION, 1] if suffix == ".tif" else []
    cv2.imwrite(str(path), deep[:, :, ::-1] if channels == 3 else deep, parameters)
    read = read_image(path)
    np.testing.assert_array_equal(read.pixels, np.broadcast_to(scene()[:, :, :channels], scene().shape))
    assert "16 bits scaled to 8" in read.record.conversions


def test_grey_palette_and_bilevel_become_rgb(tmp_path: Path) -> None:
    grey = scene()[:, :, 0]
    for name, image in {
        "grey": Image.fromarray(grey),
        "palette": Image.fromarray(scene()).quantize(64),
        "bilevel": Image.fromarray(grey).convert("1"),
    }.items():
        path = tmp_path / f"{name}.png"
        image.save(path)
        read = read_image(path)
        np.testing.assert_array_equal(read.pixels, np.asarray(image.convert("RGB")))
        assert len(read.record.conversions) == 1, name


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    pixels = np.dstack([scene(), np.full((40, 60), 255, np.uint8)])
    pixels[:, :30, 3] = 0
    path = tmp_path / "clear.png"
    Image.fromarray(pixels).save(path)
    read = read_image(path)
    assert (read.pixels[:, :30] == 255).all()
    np.testing.assert_array_equal(read.pixels[:, 30:], scene()[:, 30:])
    assert read.record.conversions == ("transparency laid over white",)


def test_a_transparent_palette_entry_becomes_white(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putpixel((3, 3), 1)
    path = tmp_path / "palette.png"
    image.save(path, transparency=0)
    pixels = read_image(path).pixels
    assert (pixels[0, 0] == 255).all()
    assert pixels[3, 3].tolist() == [200, 0, 0]


def test_cmyk_is_converted(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path, quality=95)
    read = read_image(path)
    assert read.record.mode == "CMYK"
    assert "CMYK converted to RGB" in read.record.conversions
    red, green, blue = read.pixels[8, 8]
    assert red > 200
    assert green < 60
    assert blue < 60


def wide_gamut_profile() -> bytes:
    """A profile with other primaries than sRGB: littlecms' own Lab-free RGB with swapped tone curves is not
    offered by Pillow, so the green and the gamma are moved inside a real sRGB profile."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = int.from_bytes(profile[128:132], "big")
    for index in range(tags):
        entry = 132 + 12 * index
        if profile[entry : entry + 4] == b"gXYZ":
            offset = int.from_bytes(profile[entry + 4 : entry + 8], "big") + 8
            profile[offset : offset + 12] = b"".join(
                int(value * 65536).to_bytes(4, "big", signed=True) for value in (0.20, 0.63, 0.07)
            )
    return bytes(profile)


def test_a_colour_profile_is_converted_as_littlecms_does(tmp_path: Path) -> None:
    profile = wide_gamut_profile()
    path = tmp_path / "wide.png"
    Image.fromarray(scene()).save(path, icc_profile=profile)
    read = read_image(path)
    expected = ImageCms.profileToProfile(
        Image.fromarray(scene()),
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
    )
    assert np.abs(np.asarray(expected).astype(int) - scene()).max() > 5
    np.testing.assert_array_equal(read.pixels, np.asarray(expected))
    assert read.record.conversions == ("colour profile converted to sRGB",)


def test_a_colour_profile_holds_for_luminance_and_chrominance_too(tmp_path: Path) -> None:
    profile, picture = wide_gamut_profile(), Image.new("RGB", (16, 16), (90, 160, 60))
    picture.save(tmp_path / "rgb.tif", icc_profile=profile)
    picture.convert("YCbCr").save(tmp_path / "ycc.tif", icc_profile=profile)
    rgb, ycc = read_image(tmp_path / "rgb.tif"), read_image(tmp_path / "ycc.tif")
    assert np.abs(rgb.pixels[0, 0].astype(int) - (90, 160, 60)).max() > 10
    np.testing.assert_allclose(ycc.pixels[0, 0].astype(int), rgb.pixels[0, 0].astype(int), atol=6)
    assert ycc.record.conversions == ("YCbCr converted to RGB", "colour profile converted to sRGB")


def test_a_profile_that_means_srgb_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "srgb.png"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(scene()).save(path, icc_profile=profile)
    read = read_image(path)
    np.testing.assert_array_equal(read.pixels, scene())
    assert read.record.conversions == ()


def test_a_broken_profile_is_set_aside_and_said(tmp_path: Path) -> None:
    path = tmp_path / "odd.png"
    Image.fromarray(scene()).save(path, icc_profile=b"not a profile")
    read = read_image(path)
    np.testing.assert_array_equal(read.pixels, scene())
    assert read.record.conversions == ("colour profile unreadable, set aside",)


def saved(path: Path, **options: object) -> bytes:
    Image.fromarray(scene()).save(path, **options)
    return path.read_bytes()


def broken_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that must be refused, each with a word that its message must hold."""
    files: dict[str, tuple[Path, str]] = {}

    def write(name: str, data: bytes, word: str) -> None:
        (folder / name).write_bytes(data)
        files[name] = (folder / name, word)

    jpeg, png, tiff = (saved(folder / f"whole{suffix}") for suffix in (".jpg", ".png", ".tif"))
    write("empty.jpg", b"", "empty")
    write("text.jpg", b"patient, label\n1, positive\n", "not an image")
    write("half.jpg", jpeg[: len(jpeg) // 2], "damaged")
    write("half.png", png[: len(png) // 2], "damaged")
    write("half.tif", tiff[: len(tiff) // 2], "damaged")
    write("no_end.jpg", jpeg[:-2], "damaged")
    write("head_only.jpg", jpeg[:20], "image")
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF
    write("flipped.png", bytes(flipped), "damaged")
    write("png_inside.jpg", png, "PNG data")
    write("float.tif", b"", "kind 'F'")
    Image.fromarray(np.ones((4, 4), np.float32)).save(folder / "float.tif")
    frames = [Image.fromarray(scene()), Image.fromarray(255 - scene())]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    files["moving.gif"] = (folder / "moving.gif", "more than one frame")
    frames[0].save(folder / "pages.tif", save_all=True, append_images=frames[1:])
    files["pages.tif"] = (folder / "pages.tif", "more than one frame")
    Image.new("1", (20_000, 11_000)).save(folder / "bomb.png")
    files["bomb.png"] = (folder / "bomb.png", "too large")
    files["absent.jpg"] = (folder / "absent.jpg", "No such file")
    (folder / "folder.jpg").mkdir()
    files["folder.jpg"] = (folder / "folder.jpg", "cannot be opened")
    return files


def test_broken_files_are_refused_with_what_where_and_how_to_mend(tmp_path: Path) -> None:
    for name, (path, word) in broken_files(tmp_path).items():
        with pytest.raises(UnreadableImage) as caught:
            read_image(path)
        assert str(path) in caught.value.problem, name
        assert word in caught.value.problem, (name, caught.value.problem)
        assert caught.value.mend, name


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp", ".webp", ".gif"])
def test_any_damage_is_either_survived_whole_or_refused(tmp_path: Path, suffix: str) -> None:
    whole = np.frombuffer(saved(tmp_path / f"whole{suffix}"), np.uint8)
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = whole.copy()
        reach = int(generator.choice([64, 400, len(whole)]))
        places = generator.integers(0, min(reach, len(whole)), int(generator.choice([1, 5, 30])))
        damaged[places] = generator.integers(0, 256, len(places))
        try:
            pixels = decode_image(damaged.tobytes(), tmp_path / f"damaged{suffix}").pixels
        except UnreadableImage:
            refused += 1
        else:
            assert pixels.ndim == 3
            assert pixels.dtype == np.uint8
    assert refused > 0


def smear(path: Path, **how: Any) -> bytes:
    """A field with enough in it for its blocks to differ, as a JPEG."""
    coarse = np.random.default_rng(5).integers(40, 240, (30, 40, 3), dtype=np.uint8)
    pixels = Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC)
    pixels.convert(how.pop("mode", "RGB")).save(path, quality=90, **how)
    return path.read_bytes()


TURNED = Image.Exif()
TURNED[0x0112] = 6


@pytest.mark.parametrize(
    "how",
    [{}, {"progressive": True}, {"mode": "L"}, {"mode": "CMYK"}, {"exif": TURNED.tobytes()}, {"subsampling": 0}],
    ids=["plain", "progressive", "grey", "cmyk", "turned", "full colour"],
)
def test_damage_that_the_decoder_only_warns_of_is_refused(tmp_path: Path, how: dict[str, Any]) -> None:
    path = tmp_path / "smear.jpg"
    whole = smear(path, **how)
    assert read_image(path).record.bytes == len(whole)
    half = len(whole) * 2 // 3
    other = np.random.default_rng(1).integers(0, 255, 512, dtype=np.uint8).tobytes()
    hole = whole[:half] + other + whole[half + 512 :]
    closed = whole[:half] + b"\xff\xd9"
    for name, data in {"a block of another file": hole, "cut, and closed": closed}.items():
        path.write_bytes(data)
        with pytest.raises(UnreadableImage, match="damaged and cannot be decoded whole") as caught:
            read_image(path)
        assert "JPEG data" in caught.value.problem or "truncated" in caught.value.problem, name


@pytest.mark.parametrize("how", [{}, {"exif": TURNED.tobytes()}], ids=["plain", "turned"])
def test_padding_before_the_end_of_a_picture_is_no_damage_but_lost_blocks_are(
    tmp_path: Path, how: dict[str, Any]
) -> None:
    path = tmp_path / "smear.jpg"
    whole = smear(path, **how)
    expected = read_image(path).pixels
    for fill in (b"\x00", b"\xff", b" "):
        path.write_bytes(whole[:-2] + 300 * fill + whole[-2:])
        np.testing.assert_array_equal(read_image(path).pixels, expected)
    more = np.random.default_rng(0).integers(0, 255, 300, dtype=np.uint8).tobytes()  # a tail of another picture
    path.write_bytes(whole[:-2] + more + whole[-2:])
    with pytest.raises(UnreadableImage, match="extraneous bytes"):
        read_image(path)


def test_the_pixel_limit_is_the_callers(tmp_path: Path) -> None:
    path = tmp_path / "field.png"
    Image.fromarray(scene()).save(path)
    with pytest.raises(UnreadableImage, match=r"60 x 40 px, 2,400 in all; the limit is 2,399"):
        read_image(path, max_pixels=2_399)
    assert read_image(path, max_pixels=2_400).record.width == 60


def test_broken_metadata_beside_whole_pixels_do_not_stop_reading(tmp_path: Path) -> None:
    path = tmp_path / "odd.jpg"
    Image.fromarray(scene()).save(path, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff", quality=95)
    assert read_image(path).record.orientation == 1


def test_names_say_what_is_an_image() -> None:
    assert is_image_path(Path("a/B.JPG"))
    assert is_image_path(Path("b.tiff"))
    assert not is_image_path(Path("._b.jpg"))
    assert not is_image_path(Path("labels.csv"))
    assert not is_image_path(Path("noending"))


def test_really_truncated_photographs_are_refused(shared: Path, tmp_path: Path) -> None:
    damaged = sorted((shared / "data" / "damaged").glob("*.jpg"))
    assert len(damaged) == 3
    for path in damaged:
        shutil.copy(path, tmp_path)
        with pytest.raises(UnreadableImage, match="truncated"):
            read_image(tmp_path / path.name)


def test_real_fields_are_read(shared: Path) -> None:
    fields = sorted((shared / "data" / "rose-fields").rglob("*.png"))
    assert fields
    assert {read_image(path).pixels.shape for path in fields} == {(384, 384, 3)}


def test_a_plain_photograph_has_pillows_pixels(tmp_path: Path) -> None:
    for options in ({}, {"quality": 95, "subsampling": 0}, {"quality": 60, "subsampling": 1}, {"optimize": True}):
        path = tmp_path / "plain.jpg"
        Image.fromarray(scene()).save(path, **options)
        with Image.open(path) as image:
            np.testing.assert_array_equal(read_image(path).pixels, np.asarray(image))


def endless(scans: int, edge: int = 6000) -> bytes:
    """A small progressive JPEG of many empty scans, each of which goes over all pixels."""
    buffer = io.BytesIO()
    Image.new("L", (edge, edge), 200).save(buffer, "JPEG", progressive=True)
    whole = buffer.getvalue()
    return whole[:-2] + whole[whole.rindex(b"\xff\xda") : -2] * scans + whole[-2:]


@pytest.mark.slow
def test_a_file_built_to_decode_for_minutes_is_stopped_in_time(tmp_path: Path) -> None:
    data = endless(20_000)
    assert len(data) < 2_000_000
    started = time.monotonic()
    with pytest.raises(UnreadableImage, match=r"endless\.jpg was not decoded within 1 s"):
        decode_image(data, tmp_path / "endless.jpg", time_limit=1.0)
    assert time.monotonic() - started < 20  # it would take longer than anyone waits


def test_what_is_decoded_apart_comes_back_as_if_decoded_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(scene()).save(path, exif=exif)
    here = read_image(path)
    monkeypatch.setattr(reading, "BOUNDED_PIXELS", 1)
    apart = read_image(path)
    np.testing.assert_array_equal(apart.pixels, here.pixels)
    assert apart.record == here.record
    assert apart.record.orientation == 6
    apart.pixels[0, 0] = 0
    (tmp_path / "half.jpg").write_bytes(path.read_bytes()[:500])
    with pytest.raises(UnreadableImage) as caught:
        read_image(tmp_path / "half.jpg")
    assert str(tmp_path / "half.jpg") in caught.value.problem
    assert "damaged" in caught.value.problem


def test_large_or_many_passes_are_not_decoded_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    def apart(data: bytes, path: Path, **_: object) -> None:
        sent.append(path.name)

    monkeypatch.setattr("msht.images.apart.decode_apart", apart)
    decode_image(endless(100, edge=1024), Path("scans.jpg"))
    buffer = io.BytesIO()
    Image.new("1", (9000, 9000)).save(buffer, "PNG")
    decode_image(buffer.getvalue(), Path("large.png"))
    buffer = io.BytesIO()
    Image.fromarray(scene()).save(buffer, "TIFF", compression="jpeg")
    decode_image(buffer.getvalue(), Path("inside.tif"))
    assert sent == ["scans.jpg", "large.png", "inside.tif"]
    buffer = io.BytesIO()
    Image.fromarray(scene()).save(buffer, "TIFF", compression="tiff_lzw")
    decode_image(buffer.getvalue(), Path("lzw.tif"))
    assert len(sent) == 3


def test_a_plain_photograph_has_the_same_pixels_with_and_without_its_record(tmp_path: Path) -> None:
    path = tmp_path / "field.jpg"
    Image.fromarray(scene()).save(path)
    np.testing.assert_array_equal(plain_pixels(path.read_bytes(), path), np.asarray(Image.open(path)))
    Image.fromarray(scene()).save(path, progressive=True)
    assert plain_pixels(path.read_bytes(), path) is None
    assert plain_pixels(b"no picture", path) is None


def test_a_header_that_is_known_does_not_vouch_for_what_follows_it(tmp_path: Path) -> None:
    path = tmp_path / "field.jpg"
    Image.fromarray(scene()).save(path)
    whole = path.read_bytes()
    assert plain_pixels(whole, path) is not None
    assert plain_pixels(whole[:-200], path) is None
    with pytest.raises(UnreadableImage, match="damaged"):
        decode_image(whole[:-200], path)
    assert plain_pixels(whole, path.with_suffix(".png")) is None


def test_a_preview_inside_a_photograph_is_not_taken_for_a_pass_over_it(tmp_path: Path) -> None:
    preview = io.BytesIO()
    Image.fromarray(scene()).resize((20, 15)).save(preview, format="JPEG")
    path = tmp_path / "field.jpg"
    Image.fromarray(scene()).save(path)
    plain = path.read_bytes()
    kept = b"preview\0" + preview.getvalue()
    with_preview = plain[:2] + b"\xff\xeb" + (len(kept) + 2).to_bytes(2, "big") + kept + plain[2:]
    np.testing.assert_array_equal(plain_pixels(with_preview, path), decode_image(plain, path).pixels)
