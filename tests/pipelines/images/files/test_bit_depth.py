"""The range of deep pixels: hand-computed levels, and PNG in the graph equal to TIFF by NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pipelines.images.files import deep_pixels, formats
from pipelines.images.files.image_error import ImageError
from pipelines.images.graph import decode
from pipelines.images.image_spec import ImageSpec
from pipelines.images.limits import Limits
from pipelines.images.source_policy import SourcePolicy, check_bit_depth, from_notes, stated, value_range
from tests.support.files import images as fx
from tests.support.files import profiles

TWELVE = SourcePolicy(value_range=(0.0, 4095.0))


def read(data: bytes, policy: SourcePolicy) -> np.ndarray:
    header = formats.read_header(data, policy=policy)
    spec = ImageSpec(header.height, header.width, background=(0, 0, 0), source=policy)
    got = decode.decoded(data, header, spec, Limits())
    again = decode.to_pixels(formats.canonical(data, policy=policy), spec).numpy()  # as it is exported
    np.testing.assert_array_equal(got, again)
    return got


def ends(data: bytes) -> tuple[float, float] | None:
    return decode.extremes(data, formats.read_header(data), Limits())


def row(dtype: type, *values: float) -> np.ndarray:
    return np.array([values], dtype)


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_twelve_bits_fill_the_whole_range(format_):
    # 255 / 4095 levels a value; 2047 is 127.47, 2048 is 127.53, 8 is 0.498, 9 is 0.56
    data = fx.encode(row(np.uint16, 0, 8, 9, 2047, 2048, 4095, 4096, 65535), format_)

    assert read(data, TWELVE)[0, :, 0].tolist() == [0, 0, 1, 127, 128, 255, 255, 255]
    assert read(data, SourcePolicy())[0, :, 0].tolist() == [0, 0, 0, 8, 8, 16, 16, 255]
    assert ends(data) == (0, 65535)


def test_every_value_of_png_and_tiff_becomes_the_same_level():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for low, high in ((0, 4095), (32768, 36863), (100.5, 60000.25), (0, 65535)):
        policy = SourcePolicy(value_range=(low, high))
        exact = np.clip((values.astype(np.float64) - low) / (high - low) * 255, 0, 255)
        png, tiff = (read(fx.encode(values, format_), policy) for format_ in ("PNG", "TIFF"))
        np.testing.assert_array_equal(png, tiff)
        assert np.abs(png[..., 0] - exact).max() <= 0.5 + 1e-9


def test_signed_and_floating_point_pixels_get_the_stated_range():
    hounsfield = SourcePolicy(value_range=(-1024.0, 3071.0))
    signed = fx.encode(row(np.int32, -2000, -1024, 0, 1023, 1024, 3071, 9999), "TIFF")
    assert read(signed, hounsfield)[0, :, 0].tolist() == [0, 0, 64, 127, 128, 255, 255]  # 1024 / 4095 * 255 = 63.77
    assert ends(signed) == (-2000, 9999)
    floats = fx.encode(Image.fromarray(row(np.float32, -1, 0, 0.25, 0.5, 1, np.inf)), "TIFF")
    assert read(floats, SourcePolicy(value_range=(0.0, 1.0)))[0, :, 0].tolist() == [0, 0, 64, 128, 255, 255]
    assert ends(floats) == (-1, 1)  # infinite values do not count


def test_32_bits_without_a_sign_are_no_negative_numbers():
    pixels = row(np.uint32, 0, 1 << 31, (1 << 32) - 1)
    data = bytearray(fx.encode(pixels.astype(np.int32), "TIFF"))  # Pillow writes the sample format 2, signed
    at = data.index(b"\x53\x01\x03\x00\x01\x00\x00\x00\x02\x00")
    data[at + 8] = 1

    assert ends(bytes(data)) == (0, (1 << 32) - 1)
    assert read(bytes(data), SourcePolicy(value_range=(0.0, 2.0**32 - 1)))[0, :, 0].tolist() == [0, 128, 255]


def test_alpha_and_colours_of_a_deep_png():
    pixels = [4095, 2048, 0, 65535, 4095, 0, 4095, 0]  # two pixels, the second transparent
    data = fx.png(2, 16, 6, [b"".join(v.to_bytes(2, "big") for v in pixels)])

    assert read(data, TWELVE).tolist() == [[[255, 128, 0], [0, 0, 0]]]
    assert ends(data) == (0, 4095)  # alpha does not count
    gray = fx.png(1, 16, 4, [(300).to_bytes(2, "big") + b"\xff\xff"])
    assert ends(gray) == (300, 300)


def test_a_format_that_states_its_range_keeps_it():
    pgm = b"P5 3 1 4095\n" + b"".join(v.to_bytes(2, "big") for v in (0, 2048, 4095))

    assert read(pgm, TWELVE)[0, :, 0].tolist() == read(pgm, SourcePolicy())[0, :, 0].tolist() == [0, 128, 255]
    assert ends(pgm) is None


def test_8_bits_are_not_touched():
    data = fx.encode(row(np.uint8, 0, 15, 255), "PNG")

    assert read(data, TWELVE)[0, :, 0].tolist() == [0, 15, 255]
    assert ends(data) is None


def test_what_cannot_be_brought_to_a_range_is_refused_with_the_remedy():
    for data, message in (
        (fx.encode(Image.new("F", (2, 2), 0.5), "TIFF"), r"no stated range: give --bit-depth LOW\.\.HIGH"),
        (
            fx.encode(row(np.int32, -5, 7), "TIFF"),
            r"-5\.\.7, beyond 0\.\.65535, have no stated range: give --bit-depth",
        ),
    ):
        with pytest.raises(ImageError, match=message):
            formats.canonical(data)
    nan = fx.encode(Image.fromarray(row(np.float32, 0, np.nan)), "TIFF")
    with pytest.raises(ImageError, match="no number"):
        formats.canonical(nan, policy=TWELVE)
    profile = profiles.rgb(profiles.SRGB_PRIMARIES, 1.0)
    deep = fx.png(1, 16, 2, [bytes(6)], fx.chunk(b"iCCP", b"icc\0\0" + __import__("zlib").compress(profile)))
    with pytest.raises(ImageError, match="Only 8 of the 16 bits"):
        formats.canonical(deep, policy=TWELVE)
    assert read(deep, SourcePolicy()).tolist() == [[[0, 0, 0]]]


def test_deep_pixels_are_stretched_in_bands_alike(monkeypatch):
    values = np.random.default_rng(0).integers(0, 5000, (23, 7), dtype=np.uint16)
    data = fx.encode(values, "TIFF")
    whole = read(data, TWELVE)
    monkeypatch.setattr(deep_pixels, "STRIP", 3 * 7)

    np.testing.assert_array_equal(read(data, TWELVE), whole)
    assert ends(data) == (values.min(), values.max())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None), ("16", None), ("12", (0, 4095)), ("8", (0, 255)), ("15", (0, 32767)),
        ("-1024..3071", (-1024, 3071)), ("0..1", (0, 1)), ("-0.5..1e3", (-0.5, 1000)),
    ],
)  # fmt: skip
def test_a_bit_depth_states_a_range(text, expected):
    assert value_range(text) == expected
    assert check_bit_depth(text) == ("" if expected is None else stated(*expected))
    if expected is not None:
        assert value_range(stated(*expected)) == expected
        assert from_notes(SourcePolicy(value_range=expected).noted()).value_range == expected


@pytest.mark.parametrize("text", ["7", "17", "012", "1..", "..4", "5..5", "9..2", "0..inf", "0..1e999", "auto", "1,2"])
def test_other_texts_are_no_bit_depth(text):
    with pytest.raises(ValueError, match="should be a"):
        check_bit_depth(text)
