"""Images with colour profiles become sRGB: compared with LittleCMS called directly, and with the formula of sRGB."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageCms

from pipelines.images import preview
from pipelines.images.files import formats
from pipelines.images.graph import decode
from pipelines.images.image_spec import ImageSpec
from pipelines.images.limits import Limits
from pipelines.images.source_policy import SourcePolicy, from_notes
from tests.support.files import images as fx
from tests.support.files import profiles

IGNORE = SourcePolicy("ignore")
P3 = profiles.rgb(profiles.P3_PRIMARIES, 2.2, "Display P3 like")
ADOBE = profiles.rgb(profiles.ADOBE_PRIMARIES, 2.2, "Adobe RGB like")
LINEAR = profiles.rgb(profiles.SRGB_PRIMARIES, 1.0, "linear sRGB")  # its name is no proof
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RNG = np.random.default_rng(3)
PIXELS = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)


def by_lcms(pixels: Image.Image, icc: bytes, mode: str = "RGB") -> np.ndarray:
    """What LittleCMS makes of it with the stated intent."""
    made = ImageCms.profileToProfile(
        pixels, ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB"), 1, mode,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )  # fmt: skip
    return np.asarray(made)


def read(data: bytes, policy: SourcePolicy | None = None) -> tuple[np.ndarray, tuple[str, ...], bool]:
    """The pixels as `prepare` makes them at the size of the source, the conversions, and whether the graph reads it."""
    policy = policy or SourcePolicy()
    header = formats.read_header(data, policy=policy)
    spec = ImageSpec(header.height, header.width, background=(0, 100, 200), source=policy)
    return decode.decoded(data, header, spec, Limits()), header.conversions, header.in_graph


@pytest.mark.parametrize("icc", [P3, ADOBE, LINEAR], ids=["p3", "adobe", "linear"])
@pytest.mark.parametrize("format_", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_a_profile_of_another_space_is_converted(format_, icc):
    options = {"lossless": True, "exact": True} if format_ == "WEBP" else {}
    data = fx.encode(PIXELS, format_, icc_profile=icc, **options)

    got, conversions, in_graph = read(data)

    assert (conversions, in_graph) == (("color-profile",), False)
    np.testing.assert_array_equal(got, by_lcms(Image.fromarray(fx.decode(data)), icc))
    assert np.abs(got.astype(int) - fx.decode(data)).max() > 10


def test_linear_light_becomes_srgb_by_the_formula():
    levels = np.arange(256, dtype=np.uint8)
    linear = levels / 255
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255  # IEC 61966-2-1

    got, _, _ = read(fx.encode(np.tile(levels[None, :, None], (1, 1, 3)), "PNG", icc_profile=LINEAR))

    assert np.abs(got[0] - expected[:, None]).max() <= 1.1


@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
def test_the_profile_of_srgb_changes_nothing(format_):
    data, plain = fx.encode(PIXELS, format_, icc_profile=SRGB), fx.encode(PIXELS, format_)

    got, conversions, in_graph = read(data)

    assert (conversions, in_graph) == ((), True)
    assert formats.canonical(data) is data
    np.testing.assert_array_equal(got, read(plain)[0])


def test_profiles_are_ignored_by_option():
    data = fx.encode(PIXELS, "PNG", icc_profile=P3)

    got, conversions, in_graph = read(data, IGNORE)

    assert (conversions, in_graph) == ((), True)
    np.testing.assert_array_equal(got, PIXELS)
    assert formats.canonical(data, policy=IGNORE) is data


@pytest.mark.parametrize(
    "icc",
    [b"no profile", P3[:200], P3[:16] + b"WHAT" + P3[20:], profiles.cmyk(), profiles.gray(1.0)],
    ids=["text", "cut", "unknown space", "of CMYK", "of gray"],
)
def test_a_profile_that_cannot_be_used_is_ignored_and_counted(icc):
    got, conversions, in_graph = read(fx.encode(PIXELS, "PNG", icc_profile=icc))

    assert (conversions, in_graph) == (("broken-profile",), True)
    np.testing.assert_array_equal(got, PIXELS)


def test_alpha_stays_and_is_composited_after_the_conversion():
    alpha = np.full((6, 9, 1), 255, np.uint8)
    alpha[2:] = 102  # 0.4
    data = fx.encode(np.concatenate([PIXELS, alpha], -1), "PNG", icc_profile=P3)
    over = by_lcms(Image.fromarray(PIXELS), P3).astype(float)
    expected = over * (alpha / 255) + np.array([0, 100, 200]) * (1 - alpha / 255)

    got, conversions, _ = read(data)

    assert conversions == ("alpha", "color-profile")
    np.testing.assert_array_equal(got, np.rint(expected))


def test_gray_is_converted_by_its_curve_and_by_the_profile_of_an_rgb_space():
    levels = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    for icc in (profiles.gray(1.0), LINEAR):
        source = levels if icc != LINEAR else levels.convert("RGB")
        for data in (fx.encode(levels, "PNG", icc_profile=icc), fx.encode(levels, "TIFF", icc_profile=icc)):
            got, conversions, _ = read(data)
            assert conversions == ("gray", "color-profile")
            np.testing.assert_array_equal(got, by_lcms(source, icc))
            assert (got.max(-1).astype(int) - got.min(-1)).max() <= 1
    clear = Image.merge("LA", [levels, Image.new("L", levels.size, 255)])
    got, _, _ = read(fx.encode(clear, "PNG", icc_profile=profiles.gray(1.0)))
    np.testing.assert_array_equal(got, by_lcms(levels, profiles.gray(1.0)))


def test_deep_gray_is_divided_and_then_converted():
    deep = Image.fromarray(np.arange(0, 65536, 257, dtype=np.uint16)[None])

    got, conversions, _ = read(fx.encode(deep, "PNG", icc_profile=LINEAR))

    assert conversions == ("gray", "16-bit", "color-profile")
    levels = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (1, 1, 3))
    np.testing.assert_array_equal(got, by_lcms(Image.fromarray(levels), LINEAR))


@pytest.mark.parametrize("format_", ["JPEG", "TIFF"])
def test_inks_are_converted_by_their_profile(format_):
    inks = Image.fromarray(RNG.integers(0, 256, (8, 8, 4), dtype=np.uint8), "CMYK")
    white = Image.new("CMYK", (8, 8), (0, 0, 0, 0))
    for picture in (inks, white):
        data = fx.encode(picture, format_, icc_profile=profiles.cmyk())
        got, conversions, in_graph = read(data)
        assert (conversions, in_graph) == (("cmyk", "color-profile"), False)
        np.testing.assert_array_equal(got, by_lcms(Image.open(io.BytesIO(data)), profiles.cmyk()))
    assert (got >= 254).all()  # no ink is white


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_converted_image_is_upright(format_, orientation):
    tags = Image.Exif()
    tags[fx.ORIENTATION] = orientation
    stored = np.kron(fx.upright(1), np.ones((16, 16, 1), np.uint8))
    options = {"lossless": True} if format_ == "WEBP" else {}
    data = fx.encode(stored, format_, exif=tags, icc_profile=LINEAR, **options)
    flat = fx.encode(fx.decode(fx.encode(stored, format_, **options)), "PNG", icc_profile=LINEAR)
    turns = np.kron(fx.upright(orientation), np.ones((16, 16, 1), np.uint8))

    got, conversions, _ = read(data)

    assert conversions == (("exif-orientation",) if orientation > 1 else ()) + ("color-profile",)
    middle = (slice(8, None, 16), slice(8, None, 16), 0)
    levels = dict(zip(stored[middle].flat, read(flat)[0][middle].flat, strict=True))
    assert [levels[v] for v in turns[middle].flat] == got[middle].ravel().tolist()


def test_a_jpeg_that_loses_its_exif_segments_keeps_its_profile():
    whole = fx.encode(PIXELS, "JPEG", icc_profile=P3)
    exif = fx.segment(0xE1, b"Exif\0\0" + fx.tiff(6))

    got, conversions, _ = read(fx.jpeg_with(whole, *[exif] * 5))

    assert conversions == ("exif-orientation", "color-profile")
    np.testing.assert_array_equal(got, np.rot90(read(whole)[0], -1))


def test_what_canonical_makes_is_srgb_and_reads_as_such():
    data = fx.encode(PIXELS, "JPEG", icc_profile=P3)

    made = formats.canonical(data)

    assert formats.canonical(made) is made
    got = decode.to_pixels(tf.constant(made), ImageSpec(6, 9)).numpy()
    np.testing.assert_array_equal(got, read(data)[0])


def test_small_pictures_show_the_colours_that_are_stored():
    data = fx.encode(np.full((8, 8, 3), 60, np.uint8), "PNG", icc_profile=LINEAR)
    [[stored]] = by_lcms(Image.new("RGB", (1, 1), (60, 60, 60)), LINEAR).tolist()

    assert preview.draw(data, 8, Limits())[1].getpixel((0, 0)) == tuple(stored)
    assert abs(stored[0] - 132.2) <= 1.1  # the formula above
    assert preview.draw(data, 8, Limits(), policy=IGNORE)[1].getpixel((0, 0)) == (60, 60, 60)


def test_a_contract_of_an_earlier_version_took_pixels_as_they_are():
    assert from_notes({}) == IGNORE
    assert from_notes(SourcePolicy().noted()) == SourcePolicy("srgb")
    with pytest.raises(ValueError, match=r"color_profile should be one of srgb, ignore. Received: 'cmyk'"):
        from_notes({"color_profile": "cmyk"})
