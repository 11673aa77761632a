"""One channel: gray pixels as they are, and of colours the luma by a formula that is computed here in whole numbers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.images import histogram
from pipelines.images.files import formats
from pipelines.images.graph import decode
from pipelines.images.image_spec import ImageSpec, luma
from pipelines.images.limits import Limits
from pipelines.images.source_policy import SourcePolicy
from tests.support.files import images as fx
from tests.support.files import profiles

BACKGROUND = (10, 200, 30)


def read(data: bytes, **changes: object) -> np.ndarray:
    """The gray pixels of an image, which the graph has to make, too."""
    policy = changes.get("source", SourcePolicy())
    header = formats.read_header(data, policy=policy)
    spec = ImageSpec(**{"height": header.height, "width": header.width, "channels": 1, **changes})
    got = decode.decoded(data, header, spec, Limits())
    again = decode.to_pixels(tf.constant(formats.canonical(data, policy=policy)), spec).numpy()
    np.testing.assert_array_equal(got, again)
    assert got.shape == (spec.height, spec.width, 1)
    return got[..., 0]


def grays(pixels: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(pixels.astype(np.int64), -1, 0)
    return (19595 * red + 38470 * green + 7471 * blue + 32768) // 65536


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF", "PPM", "GIF"])
def test_gray_pixels_stay_as_they_are(format_):
    pixels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    np.testing.assert_array_equal(read(fx.encode(pixels, format_)), pixels)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_gray_of_few_bits_fills_the_whole_range(depth):
    top = 2**depth - 1
    row = bytes([sum((i * top // (8 // depth - 1)) << (8 - depth * (i + 1)) for i in range(8 // depth))])
    levels = [i * top // (8 // depth - 1) * 255 // top for i in range(8 // depth)]
    assert read(fx.png(8 // depth, depth, 0, [row])).tolist() == [levels]


def test_a_gray_jpeg_has_the_values_of_its_three_equal_channels():
    data = fx.encode(noise(40, 30), "JPEG", quality=90)
    np.testing.assert_array_equal(read(data), fx.decode(data)[..., 0])


@pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF", "JPEG"])
def test_of_colours_the_luma_is_taken(format_):
    data = fx.encode(noise(40, 30, 3), format_)
    np.testing.assert_array_equal(read(data), grays(fx.decode(data)))


def test_the_formula_is_that_of_pillow_for_every_colour_of_a_grid():
    levels = np.arange(0, 256, 3, dtype=np.uint8)
    pixels = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(len(levels), -1, 3)
    np.testing.assert_array_equal(read(fx.encode(pixels, "PNG")), np.asarray(Image.fromarray(pixels).convert("L")))
    assert [luma(*color) for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9))] == [76, 150, 29, 9]


def test_transparent_pixels_are_composited_before_they_become_gray():
    pixels = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [255, 0, 0, 51]]], np.uint8)
    # 51 / 255 is a fifth: red 0.2 * 255 + 0.8 * 10 = 59, green 0.8 * 200 = 160, blue 0.8 * 30 = 24
    assert read(fx.encode(pixels, "PNG"), background=BACKGROUND).tolist() == [
        [76, luma(*BACKGROUND), luma(59, 160, 24)]
    ]


def test_a_palette_is_looked_up_before_it_becomes_gray():
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 255, 255, 0, 0])
    image.putpixel((1, 0), 1)
    assert read(fx.encode(image, "PNG")).tolist() == [[29, 76]]


def test_a_colour_profile_is_applied_before():
    pixels = np.array([[[200, 60, 30]]], np.uint8)
    data = fx.encode(pixels, "PNG", icc_profile=profiles.rgb(profiles.P3_PRIMARIES, 2.2))
    header = formats.read_header(data)
    color = decode.decoded(data, header, ImageSpec(1, 1), Limits())[0, 0].tolist()
    assert color != [200, 60, 30]
    assert read(data).tolist() == [[luma(*color)]]
    assert read(data, source=SourcePolicy("ignore")).tolist() == [[luma(200, 60, 30)]]


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_twelve_bits_get_their_range(format_):
    data = fx.encode(np.array([[0, 9, 2047, 4095, 65535]], np.uint16), format_)
    assert read(data, source=SourcePolicy(value_range=(0.0, 4095.0))).tolist() == [[0, 1, 127, 255, 255]]


@pytest.mark.parametrize("filter_", ["area", "bilinear"])
@pytest.mark.parametrize("mode", ["stretch", "crop", "pad", "none"])
def test_a_gray_image_is_resized_as_each_of_its_three_channels(mode, filter_):
    data = fx.encode(noise(37, 53), "PNG")
    header = formats.read_header(data)
    three = decode.decoded(data, header, ImageSpec(16, 24, mode, filter_, (40, 40, 40)), Limits())
    one = read(data, height=16, width=24, resize=mode, filter=filter_, background=(40, 40, 40))
    np.testing.assert_array_equal(one, three[..., 0])


def test_the_padding_is_gray():
    got = read(fx.encode(noise(4, 8, 3), "PNG"), height=8, width=8, resize="pad", background=BACKGROUND)
    assert set(np.concatenate([got[:2], got[6:]]).ravel().tolist()) == {luma(*BACKGROUND)}


def test_large_colour_pictures_are_converted_in_bands(monkeypatch):
    pixels = noise(23, 31, 3)
    monkeypatch.setattr(decode, "_BAND", 64)  # two rows
    np.testing.assert_array_equal(read(fx.encode(pixels, "PNG")), grays(pixels))


def test_an_orientation_is_applied():
    tags = Image.Exif()
    tags[fx.ORIENTATION] = 6
    picture = fx.upright(1)
    assert read(fx.encode(picture, "PNG", exif=tags)).tolist() == np.rot90(picture[..., 0], -1).tolist()


def test_the_histogram_has_one_channel():
    levels = histogram.histogram(np.array([[[0], [5]], [[5], [255]]], np.uint8))
    assert levels.shape == (1, 256)
    assert (levels[0, 0], levels[0, 5], levels[0, 255]) == (1, 2, 1)
    assert histogram.moments(levels) == {
        "pixel_count": [4],
        "pixel_sum": [265],
        "pixel_square_sum": [50 + 255**2],
    }
