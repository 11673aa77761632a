"""Bands of TIFFs that are built here byte by byte, and what of them is refused by name."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.images import histogram, preview
from pipelines.images.files import band_values, formats, tiff_bands
from pipelines.images.files.image_error import ImageError
from pipelines.images.graph import decode
from pipelines.images.image_spec import ImageSpec
from pipelines.images.limits import Limits
from pipelines.images.source_policy import SourcePolicy, from_notes
from tests.support.files import images as fx
from tests.support.files.tiffs import tiff


def values(samples: int, dtype: str = "uint8", height: int = 8, width: int = 6) -> np.ndarray:
    return (np.arange(height * width * samples).reshape(height, width, samples) * 7 % 251).astype(dtype)


def read(data: bytes, *bands: int, **changes: object) -> np.ndarray:
    """The pixels of the bands, which the graph has to make of what `canonical` gives."""
    policy = SourcePolicy(bands=bands, **changes)
    header = formats.read_header(data, policy=policy)
    spec = ImageSpec(header.height, header.width, source=policy, channels=len(bands))
    got = decode.decoded(data, header, spec, Limits())
    stack = formats.canonical(data, policy=policy)
    np.testing.assert_array_equal(decode.to_pixels(tf.constant(stack), spec).numpy(), got)
    return got


def deep_png() -> bytes:
    """A PNG in colours with 16 bits."""
    return bytes(tf.io.encode_png(values(4, "uint16")).numpy())


def refusal(data: bytes, *bands: int) -> ImageError:
    with pytest.raises(ImageError) as error:
        read(data, *bands)
    return error.value


# libtiff undoes differences of compressed values only.
@pytest.mark.parametrize(("packed", "differences"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("samples", [1, 2, 3, 4, 5, 13])
def test_bands_are_read_in_the_order_in_which_they_are_named(samples, planar, packed, differences):
    source = values(samples)
    data = tiff(source, planar=planar, packed=packed, differences=differences)
    for bands in {(samples,), (1, samples)[:samples], tuple(range(samples, 0, -1))}:
        np.testing.assert_array_equal(read(data, *bands), source[..., [b - 1 for b in bands]])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
def test_deep_bands_get_one_range(planar, order):
    source = np.zeros((4, 4, 4), np.uint16)
    source[0, 0] = [0, 1501, 3000, 65535]
    data = tiff(source, planar=planar, order=order)
    assert read(data, 4, 3, 2, 1, value_range=(0.0, 3000.0))[0, 0].tolist() == [255, 255, 128, 0]
    assert read(data, 4, 3, 2, 1)[0, 0].tolist() == [255, 12, 6, 0]
    header = formats.read_header(data, policy=SourcePolicy(bands=(2, 3)))
    assert header.conversions == ("bands", "16-bit")
    assert decode.extremes(data, header, Limits(), SourcePolicy(bands=(2, 3))) == (0, 3000)


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32"])
def test_signed_and_floating_point_bands(dtype):
    source = np.zeros((4, 4, 2), dtype)
    source[0, :3, 1] = [-1024, 0, 3071]
    assert read(tiff(source), 2, value_range=(-1024.0, 3071.0))[0, :3, 0].tolist() == [0, 64, 255]
    packed = tiff(source, packed=True, order=">")
    assert "big-endian" in str(refusal(packed, 2))
    with pytest.raises(ImageError, match="big-endian"):  # also without the option: Pillow gives other numbers
        formats.decoded(tiff(source[..., :1], packed=True, order=">"), 100, 1, SourcePolicy(value_range=(0.0, 9.0)))


def test_near_infrared_is_no_alpha():
    """Four bands of which programs mark the last as alpha (338): read as bands, all of it is there."""
    source = values(4)
    data = tiff(source, x338=2, x262=2)
    np.testing.assert_array_equal(read(data, 4, 1, 2), source[..., [3, 0, 1]])


@pytest.mark.parametrize("chosen", [(1, 2, 3), (4, 1, 2), (4,)])
@pytest.mark.parametrize("samples", [4, 2])
def test_bands_of_a_png_are_plain_numbers(samples, chosen):
    chosen = tuple(band for band in chosen if band <= samples) or (2,)
    data = fx.encode(Image.fromarray(values(samples), "RGBA" if samples == 4 else "LA"), "PNG")
    np.testing.assert_array_equal(read(data, *chosen), values(samples)[..., [band - 1 for band in chosen]])
    policy = SourcePolicy(bands=chosen)
    assert formats.read_header(data, policy=policy)[:4] == ("png", 6, 8, 1)
    assert formats.read_header(data, policy=policy).conversions == ("bands",)


def test_a_gray_png_of_16_bits_has_one_band():
    gray = (np.arange(48, dtype=np.uint16) * 1300).reshape(8, 6)
    data = fx.encode(Image.fromarray(gray), "PNG")
    np.testing.assert_array_equal(read(data, 1)[..., 0], np.round(gray / 257).astype(np.uint8))
    assert formats.extremes(data, 100, 1, SourcePolicy(bands=(1,))) == (0, 61100)


def _disc(soft: float) -> np.ndarray:
    """An alpha of a disc on 96x96 pixels, with an edge of so many pixels."""
    y, x = np.mgrid[:96, :96] - 47.5
    return np.clip((40 - np.hypot(y, x)) / max(soft, 1e-9) + 0.5, 0, 1) * 255


@pytest.mark.parametrize(
    ("alpha", "varies"),
    [
        (np.arange(96 * 96).reshape(96, 96) * 37 % 180 + 30, True),  # what a camera measures
        (_disc(0), False),
        (_disc(6), False),  # a soft edge
        (np.full((96, 96), 128), False),  # one transparency for the whole picture
        (np.full((96, 96), 255), False),
        (np.arange(96 * 96).reshape(96, 96) % 40 + 100, False),  # few levels
    ],
)
@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_an_alpha_that_varies_like_a_photograph_is_told_from_a_mask(alpha, varies, format_):
    picture = np.dstack([np.full((96, 96, 3), 90), alpha]).astype(np.uint8)
    data = fx.encode(Image.fromarray(picture), format_)
    header = formats.read_header(data)
    assert "alpha" in header.conversions
    assert decode.alpha_varies(data, header, Limits()) is varies


def test_only_an_alpha_that_may_be_a_band_is_looked_at():
    for picture, format_ in ((Image.new("RGB", (9, 9)), "PNG"), (Image.new("RGBA", (9, 9), (1, 2, 3, 4)), "WEBP")):
        data = fx.encode(picture, format_)
        assert not decode.alpha_varies(data, formats.read_header(data), Limits())
    palette = Image.new("P", (9, 9))
    palette.info["transparency"] = bytes(range(256))
    data = fx.encode(palette, "PNG")
    assert not decode.alpha_varies(data, formats.read_header(data), Limits())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_is_applied(orientation):
    stored = np.array([[0, 40, 80], [120, 160, 200]], np.uint8)
    source = np.stack([stored, stored + 1], -1)
    turned = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1], 5: stored.T,
        6: np.rot90(stored, -1), 7: stored[::-1, ::-1].T, 8: np.rot90(stored),
    }[orientation]  # fmt: skip
    got = read(tiff(source, x274=orientation), 2, 1)
    np.testing.assert_array_equal(got[..., 1], turned)
    np.testing.assert_array_equal(got[..., 0], turned + 1)


def test_padding_and_statistics_have_all_channels():
    data = tiff(values(5))
    policy = SourcePolicy(bands=(1, 2, 3, 4, 5))
    spec = ImageSpec(8, 12, "pad", background=(9, 9, 9), source=policy, channels=5)
    got = decode.decoded(data, formats.read_header(data, policy=policy), spec, Limits())
    np.testing.assert_array_equal(got[:, 3:9], values(5))
    assert (got[:, :3] == 9).all()
    levels = histogram.histogram(values(5))
    assert (levels.shape, levels.dtype) == ((5, 256), np.uint32)
    assert levels[4].tolist() == np.bincount(values(5)[..., 4].ravel(), minlength=256).tolist()


def test_a_small_picture_shows_three_bands():
    header, small = preview.draw(tiff(values(4)), 64, Limits(), policy=SourcePolicy(bands=(4, 2, 1)))
    assert (header.width, header.height) == (6, 8)
    np.testing.assert_array_equal(np.asarray(small), values(4)[..., [3, 1, 0]])


@pytest.mark.parametrize(
    ("data", "bands", "why"),
    [
        (tiff(values(4)), (5,), "It has 4 bands, and --bands names number 5"),
        (fx.encode(values(3), "JPEG"), (1,), "--bands reads TIFF and PNG files, and this is a file of the format JPEG"),
        (fx.encode(values(3), "PNG"), (4, 1), "It has 3 bands, and --bands names number 4"),
        (fx.encode(Image.new("P", (4, 4)), "PNG"), (1,), "Its pixels are a palette"),
        (fx.encode(Image.new("1", (4, 4)), "PNG"), (1,), "or have one bit"),
        (deep_png(), (1,), "Of a PNG in colours with 16 bits --bands reads no bands"),
        (fx.encode(Image.new("CMYK", (4, 4)), "TIFF"), (1,), "Its pixels are CMYK"),
        (fx.encode(Image.new("P", (4, 4)), "TIFF"), (1,), "Its pixels are a palette"),
        (tiff(values(2), x259=7), (1,), "compressed as JPEG"),
        (tiff(values(2), x317=3), (1,), "The predictor 3 of interleaved bands is not read"),
        (tiff(values(2), x258=12), (1,), "values of 8, 16 or 32 bits. It has values of 12"),
        (tiff(values(2, "float64"), planar=True), (1,), "values of 8, 16 or 32 bits. It has values of 64"),
        (b"II*\0\xff\xff\0\0", (1,), "damaged TIFF"),
        (tiff(values(2))[:-100], (1,), "damaged"),
    ],
)
def test_what_cannot_be_read_is_named(data, bands, why):
    error = refusal(data, *bands)
    assert error.reason == "unsupported-pixels"
    assert why in str(error)


def test_without_the_option_many_bands_name_it():
    with pytest.raises(ImageError, match=r"It is a TIFF of 13 bands .* --bands 4,3,2") as error:
        formats.read_header(tiff(values(13)))
    assert error.value.reason == "not-an-image"


def test_interleaved_bands_count_as_pixels(monkeypatch):
    monkeypatch.setattr(band_values, "MOST_SAMPLES", 100)
    data = tiff(values(13))
    with pytest.raises(ImageError, match="with 13 bands is more than the allowed") as error:
        formats.read_header(data, 100, policy=SourcePolicy(bands=(1,)))
    assert error.value.reason == "too-many-pixels"


def test_the_graph_says_what_it_cannot_read():
    spec = ImageSpec(4, 4, source=SourcePolicy(bands=(1, 2, 3)), channels=3)
    for data in (fx.encode(values(3), "PNG"), fx.encode(values(3), "JPEG"), fx.encode(values(1)[:7, :, 0], "PNG")):
        with pytest.raises(tf.errors.InvalidArgumentError, match="Expected the 3 bands of an image one below another"):
            decode.to_pixels(tf.constant(data), spec)


def test_notes_have_the_bands():
    policy = SourcePolicy(bands=(4, 3))
    assert from_notes(policy.noted()) == policy
    assert "bands" not in SourcePolicy().noted()
    for wrong in ([0], [1, 1], list(range(1, 99))):
        with pytest.raises(ValueError, match="should be up to 64 different numbers of bands"):
            from_notes({"bands": wrong})


@given(st.data())
def test_damage_is_a_reject_or_pixels(data):
    whole = tiff(values(3, height=3, width=2), packed=data.draw(st.booleans()))
    position = data.draw(st.integers(0, len(whole) - 1))
    damage = data.draw(st.binary(min_size=1, max_size=4))
    broken = whole[:position] + damage + whole[position + len(damage) :]
    with contextlib.suppress(ImageError):
        got = band_values.band_pixels(broken, 10_000, 10, SourcePolicy(bands=(3, 1)))
        assert got.dtype == np.uint8
    assert isinstance(tiff_bands.number(broken), int)
