"""Decoding and resizing: every expected pixel is computed here by hand or in float64, not by the code under test."""

from __future__ import annotations

import contextlib
import io
import pathlib
import re
import struct
import time

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image, features

from pipelines.images.files import bounded_header, deep_pixels, exif, formats, opening
from pipelines.images.files.image_error import ImageError
from pipelines.images.graph import decode as images
from pipelines.images.graph import exif_graph, resize
from pipelines.images.image_spec import ImageSpec
from pipelines.images.limits import Limits
from tests.support.files import images as fx

MAX_PIXELS = 1 << 20
BACKGROUND = (0, 100, 200)
_graphs: dict[ImageSpec, tf.types.experimental.PolymorphicFunction] = {}


def in_graph(data: bytes, spec: ImageSpec) -> np.ndarray:
    """`to_pixels` traced, as it is exported."""
    if spec not in _graphs:
        _graphs[spec] = tf.function(lambda b: images.to_pixels(b, spec), input_signature=[tf.TensorSpec([], tf.string)])
    return _graphs[spec](tf.constant(data)).numpy()


def pixels_of(data: bytes, spec: ImageSpec, traced: bool = True) -> np.ndarray:
    """The pixels of a source, which have to be equal as the records hold them and as the exported graph makes them.

    Tracing takes two seconds for each spec: a test of the arithmetic alone does without, and so does one of a format
    that becomes PNG before it comes to the graph.
    """
    header = formats.read_header(data, MAX_PIXELS)
    encoded = formats.canonical(data, MAX_PIXELS)
    assert (encoded == data) == header.in_graph
    hinted = images.decoder(header, spec)(tf.constant(encoded))
    again = in_graph(encoded, spec) if traced else images.to_pixels(tf.constant(encoded), spec).numpy()
    np.testing.assert_array_equal(again, hinted)
    assert hinted.dtype == np.uint8
    assert hinted.shape == (spec.height, spec.width, 3)
    return hinted


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def assert_rounded(got: np.ndarray, exact: np.ndarray) -> None:
    """`got` is `exact` rounded to the nearest; float32 may decide otherwise within 1/500 of a half."""
    assert np.abs(got - exact).max() <= 0.502
    clear = np.abs(np.abs(exact - np.floor(exact)) - 0.5) > 0.002
    np.testing.assert_array_equal(got[clear], np.rint(exact)[clear])


SIZES = [
    ((37, 53), (16, 16)),
    ((101, 33), (9, 50)),  # smaller in one direction, larger in the other
    ((7, 5), (16, 23)),
    ((64, 48), (32, 24)),
    ((1, 1), (3, 5)),
    ((13, 17), (13, 17)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_area_is_the_exact_average_of_the_full_jpeg_decode(source, target):
    data = fx.encode(noise(*source), "JPEG", quality=90)

    got = pixels_of(data, ImageSpec(*target), traced=target == (16, 16))

    assert_rounded(got, fx.area_average(fx.decode(data), *target))


@settings(max_examples=25, deadline=None)
@given(*(st.integers(1, 40) for _ in range(4)), st.integers(0, 99))
def test_area_is_the_exact_average_at_any_size(height, width, to_height, to_width, seed):
    source = noise(height, width, seed)

    got = resize.resize(tf.constant(source), ImageSpec(to_height, to_width)).numpy()

    assert_rounded(got, fx.area_average(source, to_height, to_width))


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_bilinear_equals_pillows_within_one_level(source, target):
    data = fx.encode(noise(*source), "PNG")
    expected = Image.fromarray(fx.decode(data)).resize(target[::-1], Image.Resampling.BILINEAR)

    got = pixels_of(data, ImageSpec(*target, filter="bilinear"), traced=target == (16, 16))

    assert np.abs(got.astype(int) - np.asarray(expected)).max() <= 1


@pytest.mark.parametrize(("source", "target"), [((37, 53), (16, 16)), ((53, 37), (8, 31)), ((9, 40), (30, 30))])
def test_crop_averages_the_central_window(source, target):
    picture = noise(*source)
    height, width = source
    aspect = target[1] / target[0]
    keep_h = min(height, int(width / aspect + 0.5))
    keep_w = min(width, int(height * aspect + 0.5))
    top, left = (height - keep_h) // 2, (width - keep_w) // 2
    window = picture[top : top + keep_h, left : left + keep_w]

    got = pixels_of(fx.encode(picture, "PNG"), ImageSpec(*target, resize="crop"), traced=False)

    assert_rounded(got, fx.area_average(window, *target))


@pytest.mark.parametrize(
    ("source", "target", "inside"),  # inside: (top, left, height, width) of the picture in the target
    [((20, 40), (16, 16), (4, 0, 8, 16)), ((45, 15), (10, 21), (0, 9, 10, 3)), ((100, 1), (8, 8), (0, 3, 8, 1))],
)
def test_pad_keeps_the_aspect_and_fills_with_the_background(source, target, inside):
    picture = noise(*source)
    top, left, height, width = inside
    expected = np.broadcast_to(np.array(BACKGROUND, float), (*target, 3)).copy()
    expected[top : top + height, left : left + width] = fx.area_average(picture, height, width)

    got = pixels_of(fx.encode(picture, "PNG"), ImageSpec(*target, resize="pad", background=BACKGROUND), traced=False)

    assert_rounded(got, expected)


@pytest.mark.parametrize(
    ("source", "target", "taken", "inside"),  # taken: top, left of the source; inside: top, left in the target
    [
        ((20, 41), (16, 16), (2, 12), (0, 0)),  # cut
        ((7, 5), (16, 10), (0, 0), (4, 2)),  # padded
        ((7, 40), (10, 16), (0, 12), (1, 0)),  # both
        ((8, 8), (8, 8), (0, 0), (0, 0)),
    ],
)
def test_none_keeps_the_pixels_as_they_are(source, target, taken, inside):
    picture = noise(*source)
    height, width = min(source[0], target[0]), min(source[1], target[1])
    expected = np.broadcast_to(np.array(BACKGROUND, np.uint8), (*target, 3)).copy()
    expected[inside[0] : inside[0] + height, inside[1] : inside[1] + width] = picture[
        taken[0] : taken[0] + height, taken[1] : taken[1] + width
    ]

    got = pixels_of(
        fx.encode(picture, "PNG"), ImageSpec(*target, resize="none", background=BACKGROUND), traced=source == (7, 40)
    )

    np.testing.assert_array_equal(got, expected)


def columns(*levels: int, rows: int = 1) -> np.ndarray:
    """uint8 (rows, n, 3) gray."""
    return np.tile(np.array(levels, np.uint8)[None, :, None], (rows, 1, 3))


@pytest.mark.parametrize(
    ("levels", "mean"),
    [((0, 0, 0, 3), 1), ((0, 1), 0), ((1, 2), 2), ((254, 255), 254), ((0, 0, 1), 0), ((0, 1, 1), 1), ((255, 255), 255)],
)
def test_levels_are_rounded_half_to_even_and_never_truncated(levels, mean):
    got = pixels_of(fx.encode(columns(*levels), "PNG"), ImageSpec(1, 1))

    assert got.tolist() == [[[mean] * 3]]


def test_crop_on_four_columns():
    data = fx.encode(columns(10, 20, 30, 40, rows=2), "PNG")
    wide = fx.encode(columns(10, 20, 30, 40, 50, rows=2), "PNG")  # 5 - 2 is odd: one column more goes on the right

    assert pixels_of(data, ImageSpec(2, 2, resize="crop"))[..., 0].tolist() == [[20, 30], [20, 30]]
    assert pixels_of(wide, ImageSpec(2, 2, resize="crop"))[..., 0].tolist() == [[20, 30], [20, 30]]


def test_pad_on_four_columns():
    spec = ImageSpec(4, 4, resize="pad", background=(7, 8, 9))

    got = pixels_of(fx.encode(columns(10, 20, 30, 40), "PNG"), spec)

    assert got[1, :, 0].tolist() == [10, 20, 30, 40]
    assert got[[0, 2, 3]].tolist() == [[[7, 8, 9]] * 4] * 3


def test_pad_rounds_the_fitted_side_half_up():
    """Of 8x3 pixels 4 rows are 1.5 columns wide, and become 2."""
    tall, spec = np.zeros((8, 3, 3), np.uint8), ImageSpec(4, 8, resize="pad")
    got = pixels_of(fx.encode(tall, "PNG"), spec, traced=False)[..., 0]
    assert got.tolist() == [[255, 255, 255, 0, 0, 255, 255, 255]] * 4
    wide, spec = tall.transpose(1, 0, 2), ImageSpec(8, 4, resize="pad")
    assert pixels_of(fx.encode(wide, "PNG"), spec, traced=False)[..., 0].tolist() == got.T.tolist()


@pytest.mark.parametrize("turned", [False, True])
def test_shorter_keeps_the_aspect_and_a_model_sees_the_centre(turned):
    """Squares of four pixels become one pixel each: two rows of three, of which the first two columns are seen."""
    squares, spec = np.array([[0, 40, 80], [120, 160, 200]], np.uint8), ImageSpec(2, 2, resize="shorter")
    whole = squares.T if turned else squares
    data = fx.encode(np.kron(whole, np.ones((2, 2), np.uint8))[..., None].repeat(3, 2), "PNG")
    got = images.decoder(formats.read_header(data, MAX_PIXELS), spec)(tf.constant(data))
    assert got[..., 0].tolist() == whole.tolist()
    np.testing.assert_array_equal(images.to_pixels(tf.constant(data), spec), got)
    seen = resize.centre(tf.constant(got), spec).numpy()[..., 0]
    assert seen.tolist() == (whole[:2] if turned else whole[:, :2]).tolist()


@pytest.mark.parametrize(
    ("shape", "expected"), [((5, 2), (3, 1)), ((2, 5), (1, 3)), ((9, 9), (1, 1)), ((7, 3), (2, 1))]
)
def test_shorter_rounds_the_longer_side_half_up(shape, expected):
    spec = ImageSpec(1, 1, resize="shorter")
    data = fx.encode(np.zeros((*shape, 3), np.uint8), "PNG")
    assert images.decoder(formats.read_header(data, MAX_PIXELS), spec)(tf.constant(data)).shape == (*expected, 3)
    assert spec.longer_side(*shape) == max(expected)


@pytest.mark.parametrize("quality", ["exact", "fast"])
def test_shorter_in_the_graph_equals_the_records(quality):
    spec = ImageSpec(8, 8, resize="shorter", quality=quality)
    data = fx.encode(noise(70, 45), "JPEG", quality=90)
    got = images.decoder(formats.read_header(data, MAX_PIXELS), spec)(tf.constant(data))
    assert min(got.shape[:2]) == 8
    np.testing.assert_array_equal(in_graph(data, spec), got)


def letters(block: int = 1) -> np.ndarray:
    """The picture a b c / d e f, each letter a square of `block` pixels."""
    return np.kron(fx.upright(1), np.ones((block, block, 1), np.uint8)).astype(np.uint8)


def turned(format_: str, structure: bytes) -> bytes:
    """The letters with EXIF: JPEG in squares of 16 pixels, so that its losses vanish in their averages."""
    if format_ == "JPEG":
        return fx.jpeg_exif(fx.encode(letters(16), "JPEG", quality=100, subsampling=0), structure)
    if format_ == "PNG":
        data = fx.encode(letters(), "PNG")
        return data[:33] + fx.chunk(b"eXIf", structure) + data[33:]
    return fx.webp_with(fx.encode(letters(), "WEBP", lossless=True), fx.riff(b"EXIF", structure))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations(format_, orientation, order):
    data = turned(format_, fx.tiff(orientation, order))
    expected = fx.upright(orientation)
    height, width = expected.shape[:2]

    header = formats.read_header(data, MAX_PIXELS)
    got = pixels_of(data, ImageSpec(height, width))

    block = 16 if format_ == "JPEG" else 1
    assert (header.height, header.width, header.orientation) == (height * block, width * block, orientation)
    assert ("exif-orientation" in header.conversions) == (orientation != 1)
    assert np.abs(got.astype(int) - expected).max() <= (1 if format_ == "JPEG" else 0)


@pytest.mark.parametrize("format_", ["TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_that_pillow_applies(format_, orientation):
    tags = Image.Exif()
    tags[fx.ORIENTATION] = orientation
    options = {"quality": 100, "subsampling": "4:4:4"} if format_ == "AVIF" else {}
    data = fx.encode(letters(16), format_, exif=tags, **options)
    expected = fx.upright(orientation)
    height, width = expected.shape[:2]

    header = formats.read_header(data, MAX_PIXELS)
    got = pixels_of(data, ImageSpec(height, width))

    assert (header.height, header.width, header.orientation) == (height * 16, width * 16, orientation)
    assert np.abs(got.astype(int) - expected).max() <= (2 if format_ == "AVIF" else 0)


def orientations(data: bytes, format_: str) -> tuple[int, int]:
    """What Python and what the graph reads."""
    graph = _orientation_graph(tf.constant(data), tf.constant(format_ == "JPEG"), tf.constant(format_ == "PNG"))
    return exif.read_orientation(data, format_), int(graph)


@tf.function(input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.bool), tf.TensorSpec([], tf.bool)])
def _orientation_graph(encoded, is_jpeg, is_png):
    return exif_graph.orientation(encoded, is_jpeg, is_png)


JPEG = fx.encode(letters(8), "JPEG")
EXIF_6 = fx.segment(0xE1, b"Exif\0\0" + fx.tiff(6))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (fx.jpeg_exif(JPEG, fx.tiff(6, kind=4)), 6),
        (fx.jpeg_exif(JPEG, fx.tiff(6, ">", kind=4)), 6),
        (fx.jpeg_exif(JPEG, fx.tiff(6, kind=11)), 1),  # FLOAT: no orientation is one
        (fx.jpeg_exif(JPEG, fx.tiff(6, kind=5)), 1),
        (fx.jpeg_exif(JPEG, fx.tiff(0)), 1),
        (fx.jpeg_exif(JPEG, fx.tiff(9)), 1),
        (fx.jpeg_exif(JPEG, fx.tiff(0xFFFFFFFF, kind=4)), 1),
        (fx.jpeg_exif(JPEG, b"XX*\0" + fx.tiff(6)[4:]), 1),
        (fx.jpeg_exif(JPEG, b"II*\0\xff\xff\xff\xff" + fx.tiff(6)[8:]), 1),
        (fx.jpeg_exif(JPEG, b"II*\0\0\0\0\x80" + fx.tiff(6)[8:]), 1),
        (fx.jpeg_exif(JPEG, b"II*\0\0\0\0\0" + fx.tiff(6)[8:]), 1),  # the directory is the header itself
        (fx.jpeg_exif(JPEG, b"II*\0\x08\0\0\0\xff\xff"), 1),  # 65,535 entries, none there
        (fx.jpeg_with(JPEG, fx.segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b'tiff:Orientation="6"')), 1),
        (fx.jpeg_with(JPEG, fx.segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"), EXIF_6), 6),
        (fx.jpeg_with(JPEG, b"\xff\xff\xff", EXIF_6), 6),  # fill bytes before a marker
        (fx.jpeg_with(JPEG, b"\xff\xe0\0\0", EXIF_6), 1),  # a segment of impossible length
        (fx.jpeg_with(JPEG, *[fx.segment(0xFE, b"x")] * 300, EXIF_6), 1),  # beyond what is searched
        (JPEG[:2] + EXIF_6[:20], 1),
        (JPEG + EXIF_6, 1),  # behind the picture
        (b"\xff\xd8", 1),
    ],
)  # fmt: skip
def test_exif_in_strange_jpegs(data, expected):
    assert orientations(data, "JPEG") == (expected, expected)


PNG = fx.encode(letters(), "PNG")
WEBP = fx.webp_with(fx.encode(letters(), "WEBP", lossless=True))


@pytest.mark.parametrize(
    ("data", "format_", "expected"),
    [
        (fx.png(1, 8, 0, [b"\x05"], after=fx.chunk(b"eXIf", fx.tiff(8))), "PNG", 8),
        (PNG[:33] + b"\xff\xff\xff\xffquUX" + fx.chunk(b"eXIf", fx.tiff(8)), "PNG", 1),
        (PNG[:33] + b"\x7f\xff\xff\xffquUX" + fx.chunk(b"eXIf", fx.tiff(8)), "PNG", 1),
        (PNG[:33] + b"\0\0\0\0eXIf", "PNG", 1),
        (WEBP + fx.riff(b"EXIF", b"Exif\0\0" + fx.tiff(3)), "WEBP", 3),
        (WEBP + fx.riff(b"odd ", b"123") + fx.riff(b"EXIF", fx.tiff(3)), "WEBP", 3),
        (WEBP + b"huge\xff\xff\xff\xff" + fx.riff(b"EXIF", fx.tiff(3)), "WEBP", 1),
        (WEBP + b"huge\xff\xff\xff\x7f" + fx.riff(b"EXIF", fx.tiff(3)), "WEBP", 1),
        (WEBP + b"zero\0\0\0\0" * 300 + fx.riff(b"EXIF", fx.tiff(3)), "WEBP", 1),
    ],
)
def test_exif_in_strange_chunks(data, format_, expected):
    assert orientations(data, format_) == (expected, expected)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_truncated_exif_is_read_alike(format_):
    data = turned(format_, fx.tiff(6, ">"))
    start = data.index(b"MM\0*")
    for length in range(start - 12, start + 40, 3):
        python, graph = orientations(data[:length], format_)
        assert python == graph


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP"]), st.binary(max_size=120), st.sampled_from("<>"))
def test_exif_of_random_bytes_is_read_alike(format_, noise_bytes, order):
    prefix = {"JPEG": b"\xff\xd8", "PNG": PNG[:33], "WEBP": WEBP[:12]}[format_]
    tail = fx.tiff(6, order)[:10] + noise_bytes
    for data in (
        prefix + noise_bytes,
        {"JPEG": fx.jpeg_exif(prefix, tail), "PNG": prefix + fx.chunk(b"eXIf", tail)}.get(
            format_, prefix + fx.riff(b"EXIF", tail)
        ),
    ):
        python, graph = orientations(data, format_)
        assert python == graph
        assert 1 <= python <= 8


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([JPEG[:2], JPEG[:200], JPEG[:-40], PNG[:8], PNG[:33], PNG[:50], WEBP[:12], WEBP[:30], b""]),
       st.binary(max_size=200))  # fmt: skip
@example(b"", b"\xff\xd8\xff\xff")  # never ends with try_recover_truncated
def test_random_bytes_end_in_pixels_or_one_kind_of_error(prefix, tail):
    spec = ImageSpec(2, 3)
    with contextlib.suppress(tf.errors.InvalidArgumentError):
        assert in_graph(prefix + tail, spec).shape == (2, 3, 3)
    with contextlib.suppress(ImageError, tf.errors.InvalidArgumentError):
        header = formats.read_header(prefix + tail, MAX_PIXELS)
        images.decoder(header, spec)(tf.constant(formats.canonical(prefix + tail, MAX_PIXELS)))


def over(rgb: tuple[int, int, int], alpha: float) -> list[int]:
    return [round(c * alpha + b * (1 - alpha)) for c, b in zip(rgb, BACKGROUND, strict=True)]


def gray(*levels: int) -> list[list[int]]:
    return [[level] * 3 for level in levels]


PALETTE = fx.chunk(b"PLTE", bytes([10, 20, 30, 200, 100, 0]))
RED, BLUE = [10, 20, 30], [200, 100, 0]
HALF_RED = over((10, 20, 30), 128 / 255)
TRNS = fx.chunk(b"tRNS", bytes([128]))  # of the palette's first colour; the second is opaque


def deep(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


PNG_KINDS = {
    "gray-1": (fx.png(4, 1, 0, [b"\x50"]), gray(0, 255, 0, 255), "gray"),
    "gray-2": (fx.png(4, 2, 0, [b"\x1b"]), gray(0, 85, 170, 255), "gray"),
    "gray-4": (fx.png(4, 4, 0, [b"\x05\xaf"]), gray(0, 85, 170, 255), "gray"),
    "gray-8": (fx.png(4, 8, 0, [b"\x00\x01\x80\xff"]), gray(0, 1, 128, 255), "gray"),
    "gray-16": (fx.png(5, 16, 0, [deep(0, 128, 129, 32767, 65535)]), gray(0, 0, 1, 127, 255), "gray 16-bit"),
    "gray-1-tRNS": (fx.png(4, 1, 0, [b"\x50"], fx.chunk(b"tRNS", deep(1))),
                    [[0] * 3, [*BACKGROUND], [0] * 3, [*BACKGROUND]], "alpha gray"),
    "gray-4-tRNS": (fx.png(4, 4, 0, [b"\x05\xaf"], fx.chunk(b"tRNS", deep(5))),
                    [[0] * 3, [*BACKGROUND], [170] * 3, [255] * 3], "alpha gray"),
    "gray-8-tRNS": (fx.png(3, 8, 0, [b"\x00\x32\xff"], fx.chunk(b"tRNS", deep(50))),
                    [[0] * 3, [*BACKGROUND], [255] * 3], "alpha gray"),
    "gray-16-tRNS": (fx.png(3, 16, 0, [deep(0, 12850, 65535)], fx.chunk(b"tRNS", deep(12850))),
                     [[0] * 3, [*BACKGROUND], [255] * 3], "alpha gray 16-bit"),
    "palette-1": (fx.png(4, 1, 3, [b"\x50"], PALETTE), [RED, BLUE, RED, BLUE], "palette"),
    "palette-2": (fx.png(4, 2, 3, [b"\x11"], PALETTE), [RED, BLUE, RED, BLUE], "palette"),
    "palette-4": (fx.png(4, 4, 3, [b"\x01\x01"], PALETTE), [RED, BLUE, RED, BLUE], "palette"),
    "palette-8": (fx.png(4, 8, 3, [b"\x00\x01\x00\x01"], PALETTE), [RED, BLUE, RED, BLUE], "palette"),
    "palette-1-tRNS": (fx.png(2, 1, 3, [b"\x40"], PALETTE, TRNS), [HALF_RED, BLUE], "alpha palette"),
    "palette-2-tRNS": (fx.png(2, 2, 3, [b"\x10"], PALETTE, TRNS), [HALF_RED, BLUE], "alpha palette"),
    "palette-4-tRNS": (fx.png(2, 4, 3, [b"\x01"], PALETTE, TRNS), [HALF_RED, BLUE], "alpha palette"),
    "palette-8-tRNS": (fx.png(2, 8, 3, [b"\x00\x01"], PALETTE, TRNS), [HALF_RED, BLUE], "alpha palette"),
    "rgb-8": (fx.png(2, 8, 2, [bytes(RED + BLUE)]), [RED, BLUE], ""),
    "rgb-8-tRNS": (fx.png(2, 8, 2, [bytes(RED + BLUE)], fx.chunk(b"tRNS", deep(*RED))), [[*BACKGROUND], BLUE], "alpha"),
    "rgb-16": (fx.png(2, 16, 2, [deep(0, 257, 65535, 129, 385, 386)]), [[0, 1, 255], [1, 1, 2]], "16-bit"),
    "gray-alpha-8": (fx.png(3, 8, 4, [bytes([9, 255, 9, 0, 90, 51])]),
                     [[9] * 3, [*BACKGROUND], over((90, 90, 90), 0.2)], "alpha gray"),
    "gray-alpha-16": (fx.png(2, 16, 4, [deep(0, 65535, 65535, 13107)]), [[0] * 3, over((255,) * 3, 0.2)],
                      "alpha gray 16-bit"),
    "rgba-8": (fx.png(2, 8, 6, [bytes([*RED, 255, *BLUE, 51])]), [RED, over((200, 100, 0), 0.2)], "alpha"),
    "rgba-16": (fx.png(1, 16, 6, [deep(65535, 0, 257, 13107)]), [over((255, 0, 1), 0.2)], "alpha 16-bit"),
}  # fmt: skip


def row_of(data: bytes, count: int) -> list[list[int]]:
    """The pixels of a picture of one row. Each is repeated, which area does exactly: one spec serves any width."""
    pixels = pixels_of(data, ImageSpec(1, 60, background=BACKGROUND))[0].reshape(count, -1, 3)
    assert (pixels == pixels[:, :1]).all()
    return pixels[:, 0].tolist()


@pytest.mark.parametrize("kind", PNG_KINDS)
def test_every_kind_of_png(kind):
    data, expected, conversions = PNG_KINDS[kind]

    header = formats.read_header(data, MAX_PIXELS)

    assert row_of(data, len(expected)) == expected
    # Pillow opens 16-bit gray with alpha as RGBA, which hides only that it was gray.
    assert set(header.conversions) | ({"gray"} & set(conversions.split())) == set(conversions.split())


def as_image(mode: str, *values: object) -> Image.Image:
    image = Image.new(mode, (len(values), 1))
    image.putdata(values)
    return image


def test_webp_alpha_is_composited():
    data = fx.encode(as_image("RGBA", (*RED, 255), (*BLUE, 51), (9, 9, 9, 0)), "WEBP", lossless=True, exact=True)

    assert row_of(data, 3) == [RED, over((200, 100, 0), 0.2), [*BACKGROUND]]
    assert formats.read_header(data, MAX_PIXELS).conversions == ("alpha",)


@pytest.mark.parametrize("flags", [0x00, 0x10])  # the second says alpha where there is none
def test_extended_webp_without_alpha(flags):
    plain = fx.encode(as_image("RGB", tuple(RED), tuple(BLUE)), "WEBP", lossless=True)

    assert row_of(fx.webp_with(plain, flags=flags), 2) == [RED, BLUE]


def test_cmyk_jpeg_of_adobe():
    # Pillow's ink values are stored inverted, as Adobe does: R = (255 - C) * (255 - K) / 255.
    data = fx.encode(Image.new("CMYK", (16, 16), (0, 128, 255, 64)), "JPEG", quality=100, subsampling=0)
    assert b"Adobe" in data

    got = pixels_of(data, ImageSpec(1, 1))

    assert formats.read_header(data, MAX_PIXELS).conversions == ("cmyk",)
    assert np.abs(got[0, 0].astype(int) - [191, 127 * 191 // 255, 0]).max() <= 1


def test_gray_jpeg():
    data = fx.encode(np.full((16, 16), 77, np.uint8), "JPEG", quality=100)

    assert formats.read_header(data, MAX_PIXELS).conversions == ("gray",)
    assert pixels_of(data, ImageSpec(1, 1)).tolist() == [[[77] * 3]]


def palette_image() -> Image.Image:
    image = as_image("P", 0, 1, 0)
    image.putpalette([*RED, *BLUE])
    return image


PILLOW_KINDS = {
    "gif": (fx.encode(palette_image(), "GIF"), [RED, BLUE, RED]),
    "gif-transparent": (fx.encode(palette_image(), "GIF", transparency=1), [RED, [*BACKGROUND], RED]),
    "bmp": (fx.encode(as_image("RGB", tuple(RED), tuple(BLUE)), "BMP"), [RED, BLUE]),
    "bmp-palette": (fx.encode(palette_image(), "BMP"), [RED, BLUE, RED]),
    "bmp-1": (fx.encode(as_image("1", 0, 255), "BMP"), gray(0, 255)),
    "tiff": (fx.encode(as_image("RGB", tuple(RED), tuple(BLUE)), "TIFF"), [RED, BLUE]),
    "tiff-16": (fx.encode(np.array([[0, 128, 129, 386, 65535]], np.uint16), "TIFF"), gray(0, 0, 1, 2, 255)),
    "tiff-32": (fx.encode(np.array([[0, 65535]], np.int32), "TIFF"), gray(0, 255)),
    "tiff-rgba": (fx.encode(as_image("RGBA", (*RED, 255), (*BLUE, 51)), "TIFF"), [RED, over((200, 100, 0), 0.2)]),
    "tiff-gray-alpha": (fx.encode(as_image("LA", (9, 255), (90, 51)), "TIFF"), [[9] * 3, over((90, 90, 90), 0.2)]),
    "tiff-cmyk": (fx.encode(as_image("CMYK", (0, 128, 255, 64)), "TIFF"), [[191, 95, 0]]),
    "tiff-1": (fx.encode(as_image("1", 0, 255), "TIFF"), gray(0, 255)),
}  # fmt: skip


@pytest.mark.parametrize("kind", PILLOW_KINDS)
def test_every_kind_that_pillow_reads(kind):
    data, expected = PILLOW_KINDS[kind]

    assert not formats.read_header(data, MAX_PIXELS).in_graph
    assert row_of(data, len(expected)) == expected


@pytest.mark.parametrize(("format_", "mode"), [("PPM", "RGB"), ("PPM", "L"), ("PPM", "1"), ("JPEG2000", "RGB"),
                                               ("JPEG2000", "L")])  # fmt: skip
def test_formats_without_loss_keep_every_level(format_, mode):
    levels = np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)
    picture = Image.fromarray(levels).convert(mode)
    out = io.BytesIO()
    picture.save(out, format_)
    got = pixels_of(out.getvalue(), ImageSpec(9, 13), traced=False)
    assert got.tolist() == np.asarray(picture.convert("RGB")).tolist()


def test_a_pgm_of_twelve_bits_fills_the_range():
    header = b"P5 2 1 4095\n"
    assert pixels_of(header + b"\x0f\xff\x00\x00", ImageSpec(1, 2), traced=False)[0, :, 0].tolist() == [255, 0]


def test_heic_whatever_its_name():
    picture = Image.fromarray(np.full((16, 24, 3), (200, 40, 90), np.uint8))
    out = io.BytesIO()
    pytest.importorskip("pillow_heif").from_pillow(picture).save(out, quality=-1)
    header = formats.read_header(out.getvalue())
    assert (header.format, header.width, header.height, header.in_graph) == ("heif", 24, 16, False)
    got = pixels_of(out.getvalue(), ImageSpec(16, 24), traced=False).astype(int)
    assert np.abs(got - (200, 40, 90)).max() <= 3


def test_heic_without_its_library_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(opening, "_reads_heif", lambda: False)
    with pytest.raises(ImageError, match=r"needs pillow-heif: pip install 'shardmill\[heif\]'"):
        formats.read_header(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60))


SIDES = (30_000).to_bytes(4, "big") * 2
CODESTREAM = b"\xff\x4f\xff\x51\0\x2f\0\0" + SIDES + bytes(8) + SIDES + bytes(8) + b"\0\3" + b"\7\1\1" * 3


@pytest.mark.parametrize("data", [b"P6 30000 30000 255\n", b"P3 30000 30000 255\n", CODESTREAM])
def test_bombs_of_the_other_formats_are_told_from_the_header(data):
    with pytest.raises(ImageError) as raised:
        formats.read_header(data)
    assert raised.value.reason == "too-many-pixels"


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif():
    picture = np.full((16, 16, 3), (40, 120, 200), np.uint8)

    got = pixels_of(fx.encode(picture, "AVIF", quality=100, subsampling="4:4:4"), ImageSpec(2, 2), traced=False)

    assert np.abs(got.astype(int) - picture[:2, :2]).max() <= 2


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation(format_):
    frames = [Image.new("RGB", (3, 2), color) for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    data = fx.encode(frames[0], format_, save_all=True, append_images=frames[1:], duration=50, lossless=True)

    header = formats.read_header(data, MAX_PIXELS)

    assert "first-frame" in header.conversions
    assert not header.in_graph
    assert pixels_of(data, ImageSpec(2, 3)).tolist() == [[[255, 0, 0]] * 3] * 2


@pytest.mark.parametrize(
    "data",
    [
        fx.encode(columns(1, 2), "GIF"),
        fx.encode(columns(1, 2), "BMP"),
        fx.encode(columns(1, 2), "TIFF"),
        b"RIFF\x04\0\0\0WAVE",
        b"",
    ],
)
def test_the_graph_refuses_other_formats_with_a_sentence(data):
    for decode in (in_graph, lambda b, s: images.to_pixels(tf.constant(b), s)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="Expected JPEG, PNG or WebP bytes"):
            decode(data, ImageSpec(2, 2))


def test_the_graph_refuses_an_animated_webp():
    """TensorFlow's decoder writes beyond its buffer on one: it must not come so far."""
    frames = [Image.new("RGB", (3, 2), color) for color in ((255, 0, 0), (0, 255, 0))]
    data = fx.encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])

    for decode in (in_graph, lambda b, s: images.to_pixels(tf.constant(b), s)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="not animated"):
            decode(data, ImageSpec(2, 2))


def test_a_webp_animation_of_one_frame_is_read_by_pillow():
    still = fx.encode(as_image("RGB", tuple(RED), tuple(BLUE)), "WEBP", lossless=True)
    frame = bytes(6) + b"\1\0\0" + b"\0\0\0" + bytes(4) + still[12:]  # x, y, width - 1, height - 1, duration, flags
    data = fx.webp_with(still[:12], fx.riff(b"ANIM", bytes(6)), fx.riff(b"ANMF", frame), flags=0x02, size=(2, 1))

    assert not formats.read_header(data, MAX_PIXELS).in_graph
    assert row_of(data, 2) == [RED, BLUE]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (fx.encode(Image.new("F", (2, 2), 0.5), "TIFF"), "Floating-point pixels have no stated range"),
        (fx.encode(np.array([[0, 65536]], np.int32), "TIFF"), "beyond 0..65535"),
        (fx.encode(np.array([[-1, 5]], np.int32), "TIFF"), "beyond 0..65535"),
    ],
)
def test_pixels_without_a_stated_range_are_refused(data, message):
    with pytest.raises(ImageError, match=message) as raised:
        formats.canonical(data)
    assert raised.value.reason == "unsupported-pixels"


def huge_png(width: int, height: int) -> bytes:
    """A header and no pixels at all: whoever decodes it fails in another way."""
    return (
        fx.PNG_MAGIC + fx.chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + fx.chunk(b"IDAT", b"")
    )


@pytest.mark.parametrize(("width", "height"), [(1025, 1024), (60_000, 60_000), (2_000_000, 1)])
def test_too_many_pixels_are_refused_from_the_header(width, height):
    with pytest.raises(ImageError, match="ore than the allowed") as raised:
        formats.read_header(huge_png(width, height), MAX_PIXELS)
    assert raised.value.reason == "too-many-pixels"
    with pytest.raises(ImageError, match="ore than the allowed"):
        formats.canonical(huge_png(width, height), MAX_PIXELS)


@pytest.mark.parametrize(
    "webp",
    [
        fx.webp_lossless_header(30, 40),
        fx.webp_with(fx.encode(np.zeros((2, 2, 3), np.uint8), "WEBP"), size=(30, 40)),
        fx.encode(np.zeros((40, 30, 3), np.uint8), "WEBP", lossless=False),
    ],
    ids=["VP8L", "VP8X", "VP8"],
)
def test_the_area_of_a_webp_canvas_is_checked_before_pillow_allocates_it(webp):
    assert bounded_header.slim(webp, 30 * 40, 1) == (webp, 1)
    with pytest.raises(bounded_header.TooMuchError, match="30x40 is more than the allowed 1199 pixels"):
        bounded_header.slim(webp, 30 * 40 - 1, 1)


def test_the_limit_is_inclusive_and_ours_not_pillows(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match="ore than the allowed"):
        formats.read_header(huge_png(100, 100), 10_000)
    assert Image.MAX_IMAGE_PIXELS == 1000  # a library function changes no limit of the process

    opening.allow_pixels(10_000)
    header = formats.read_header(huge_png(100, 100), 10_000)

    assert (header.width, header.height) == (100, 100)


def test_a_png_header_is_read_without_decoding():
    broken = fx.PNG_MAGIC + fx.png(4, 8, 0, [b"1234"])[8:33] + fx.chunk(b"IDAT", b"no zlib data")

    assert formats.read_header(broken, MAX_PIXELS).width == 4


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"a text", "not-an-image"),
        (JPEG[:20], "not-an-image"),
        (b"\xff\xd8\xff\xff", "not-an-image"),
        (PNG[:20], "not-an-image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not-an-image"),
        (fx.encode(columns(1, 2), "TGA"), "not-an-image"),  # Pillow could, but it is not one of ours
    ],
)
def test_what_is_no_image_is_refused(data, reason):
    for function in (formats.read_header, formats.canonical):
        with pytest.raises(ImageError) as raised:
            function(data, MAX_PIXELS)
        assert raised.value.reason == reason


@pytest.mark.parametrize("format_", ["GIF", "TIFF", "AVIF"])
def test_damaged_pixels_of_pillows_formats_are_refused(format_):
    data = fx.encode(noise(40, 40), format_)
    header = formats.read_header(data, MAX_PIXELS)
    assert (header.format, header.width) == (format_.lower(), 40)

    with pytest.raises(ImageError):
        formats.canonical(data[: len(data) // 2], MAX_PIXELS)


def test_a_jpeg_with_extra_pictures_is_its_first_picture():
    first, second = Image.new("RGB", (16, 16), (200, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 200))
    out = io.BytesIO()
    first.save(out, "MPO", save_all=True, append_images=[second])

    header = formats.read_header(out.getvalue(), MAX_PIXELS)

    assert (header.format, header.in_graph, header.conversions) == ("jpeg", True, ())
    assert np.abs(pixels_of(out.getvalue(), ImageSpec(1, 1))[0, 0].astype(int) - [200, 0, 0]).max() <= 2


def blocks(height: int, width: int) -> np.ndarray:
    """uint8 (8 height, 8 width, 3) gray: noise of whole JPEG blocks, which the DCT keeps as one number each."""
    levels = np.random.default_rng(height * width).integers(0, 32, (height, width, 1), dtype=np.uint8) * 8
    return levels.repeat(8, 0).repeat(8, 1).repeat(3, 2)


@pytest.mark.parametrize("orientation", [1, 6])
def test_fast_decoding_of_whole_blocks_loses_nothing(orientation):
    """Each target pixel is one block: at an eighth of the size, the DCT's constant term is the block's average."""
    pixels = blocks(6, 10)
    exif_bytes = b"Exif\0\0" + fx.tiff(orientation)
    data = fx.encode(pixels, "JPEG", quality=100, subsampling=0, exif=exif_bytes)
    height, width = (6, 10) if orientation == 1 else (10, 6)
    exact = pixels_of(data, ImageSpec(height, width), traced=False)
    fast = pixels_of(data, ImageSpec(height, width, quality="fast"))
    np.testing.assert_array_equal(fast, exact)
    expected = pixels[::8, ::8] if orientation == 1 else np.rot90(pixels[::8, ::8], -1)
    assert np.abs(fast.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("resize", "height", "width", "ratio"),
    [
        ("stretch", 127, 300, 1), ("stretch", 128, 128, 2), ("stretch", 256, 256, 4), ("crop", 128, 127, 1),
        ("crop", 128, 600, 2), ("pad", 64, 128, 2), ("pad", 127, 127, 1),
        *(
            pytest.param(*further, marks=pytest.mark.slow)
            for further in (
                ("stretch", 64, 64, 1), ("stretch", 255, 300, 2), ("stretch", 600, 511, 4), ("stretch", 512, 4000, 8),
                ("pad", 10, 300, 4), ("none", 512, 512, 1),
            )
        ),
    ],
)  # fmt: skip
def test_fast_decoding_never_goes_below_the_target(resize, height, width, ratio, monkeypatch):
    asked = []
    decode = tf.io.decode_jpeg
    monkeypatch.setattr(tf.io, "decode_jpeg", lambda *a, **k: asked.append(k["ratio"]) or decode(*a, **k))
    data = fx.encode(noise(height, width), "JPEG")
    spec = ImageSpec(64, 64, resize=resize, quality="fast")
    images._decoder.cache_clear()
    hinted = images.decoder(formats.read_header(data, 1 << 22), spec)(tf.constant(data))
    assert asked == [ratio]
    np.testing.assert_array_equal(in_graph(data, spec), hinted)


@pytest.mark.slow
def test_fast_decoding_is_near_the_exact_one_on_photographs(real_data: pathlib.Path):
    """On average two levels of 255 (2.2 over all 2,412 photographs); with the exact quality nothing changes."""
    paths = sorted((real_data / "trashnet").rglob("*.jpg"))[::100]
    differences = []
    for path in paths:
        fast = pixels_of(path.read_bytes(), ImageSpec(128, 128, quality="fast"))
        exact = pixels_of(path.read_bytes(), ImageSpec(128, 128), traced=False)
        differences.append(np.abs(fast.astype(int) - exact).mean())
    assert 0.1 < np.mean(differences) < 4
    assert max(differences) < 12


@pytest.mark.slow
def test_hostile_files_of_others_are_rejected_in_two_ways_only(real_data: pathlib.Path):
    """No reader raises anything but its own errors, and the graph decodes what the hinted decoder does, and alike."""
    spec = ImageSpec(24, 32)
    reasons: set[str] = set()
    decoded = undecodable = 0
    for path in sorted(p for p in (real_data / "odd").rglob("*") if p.is_file()):
        data = path.read_bytes()
        try:
            header = formats.read_header(data, 16 << 20)
            encoded = formats.canonical(data, 16 << 20)
        except ImageError as e:
            reasons.add(e.reason)
            continue
        try:
            hinted = images.decoder(header, spec)(tf.constant(encoded))
        except tf.errors.OpError:
            with pytest.raises(tf.errors.InvalidArgumentError):
                in_graph(encoded, spec)
            undecodable += 1
            # Numbers of nodes depend on what the process traced before: the ledgers of equal runs would differ.
            with pytest.raises((ImageError, MemoryError), check=lambda e: not re.search(r"{{|\[\[|\[Op:", str(e))):
                images.decoded(data, header, spec, Limits())
            continue
        np.testing.assert_array_equal(in_graph(encoded, spec), hinted, err_msg=str(path))
        decoded += 1
    assert decoded > 80
    assert undecodable > 10
    assert reasons == {"empty", "not-an-image", "too-many-pixels", "undecodable"}


@pytest.mark.slow
def test_each_bomb_is_told_in_under_a_second():
    for name, (data, reason) in fx.bombs().items():
        started = time.monotonic()
        try:
            formats.canonical(data)
            told = ""
        except ImageError as e:
            told = e.reason
        assert (name, told) == (name, reason)
        assert time.monotonic() - started < 1, name


@pytest.mark.parametrize("format_", ["GIF", "TIFF", "WEBP", "PNG", "AVIF"])
def test_the_limit_of_frames_is_inclusive(format_):
    frames = [Image.fromarray(noise(8, 8, seed)) for seed in range(3)]
    data = fx.encode(frames[0], format_, save_all=True, append_images=frames[1:], duration=50)

    assert "first-frame" in formats.read_header(data, MAX_PIXELS, max_frames=3).conversions
    with pytest.raises(ImageError, match=r"more than the allowed 2 frames \(--max-frames\)") as raised:
        formats.read_header(data, MAX_PIXELS, max_frames=2)
    assert raised.value.reason == "too-many-frames"


def test_frames_are_followed_and_not_opened():
    assert bounded_header.slim(fx.tiff_file(1, 1, 5), 9, 9)[1] == 5
    assert bounded_header.slim(fx.tiff_file(1, 1, 50), 9, 9)[1] == 10  # one more than the limit, and no further
    ring = bytearray(fx.tiff_file(1, 1, 1))
    ring[-4:] = ring[4:8]  # the directory follows itself
    assert bounded_header.slim(bytes(ring), 9, 9)[1] == 1
    for offset in (1 << 20, 1 << 63, (1 << 64) - 1):  # of a BigTIFF: in 64 bits
        assert bounded_header.slim(b"II+\0\x08\0\0\0" + offset.to_bytes(8, "little"), 9, 9)[1] <= 1
    movie = fx.gif(4, 4, fx.gif_comment(5000), fx.gif_frame(4, 4), b"?", fx.gif_frame(4, 4), fx.gif_frame(4, 4))
    assert bounded_header.slim(movie, 9, 9) == (fx.gif(4, 4, fx.gif_frame(4, 4)), 3)
    for length in range(len(movie)):  # wherever it is cut
        assert bounded_header.slim(movie[:length], 9, 9)[1] <= 3


def test_only_jpegs_of_many_exif_segments_are_shortened():
    assert bounded_header.slim(turned("JPEG", fx.tiff(6)), 9, 9)[0] == turned("JPEG", fx.tiff(6))
    many = fx.jpeg_with(JPEG, *[EXIF_6] * 50)
    assert bounded_header.slim(many, 9, 9)[0] == JPEG
    assert formats.read_header(many, MAX_PIXELS).orientation == 6


@pytest.mark.parametrize("kind", ["rgba-8", "rgba-16", "rgb-16", "gray-8-tRNS", "palette-8-tRNS"])
def test_bands_change_no_pixel(kind, monkeypatch):
    """A picture of 23 rows in bands of 3, opaque ones among transparent ones."""
    width, depth, color, *_ = struct.unpack(">I4xBB", PNG_KINDS[kind][0][16:26])
    rng = np.random.default_rng(1)
    size = {0: 1, 2: 3, 3: 1, 6: 4}[color] * depth // 8 * width
    top = 2 if color == 3 else 256
    rows = [rng.integers(0, top, size, dtype=np.uint8).tobytes() for _ in range(23)]
    rows[4:9] = [bytes([top - 1]) * size] * 5
    before = [fx.chunk(b"PLTE", bytes(6)), TRNS] if color == 3 else []
    data = fx.png(width, depth, color, rows, *before)
    whole = pixels_of(data, ImageSpec(23, width, background=BACKGROUND), traced=False)
    monkeypatch.setattr(images, "_BAND", 3 * width)
    images._decoder.cache_clear()
    np.testing.assert_array_equal(pixels_of(data, ImageSpec(23, width, background=BACKGROUND), traced=False), whole)
    images._decoder.cache_clear()


def test_deep_gray_is_divided_in_bands_alike(monkeypatch):
    levels = np.random.default_rng(2).integers(0, 65536, (9, 5), dtype=np.uint16)
    monkeypatch.setattr(deep_pixels, "STRIP", 10)
    got = pixels_of(fx.encode(levels, "TIFF"), ImageSpec(9, 5), traced=False)
    np.testing.assert_array_equal(got[..., 0], np.rint(levels / 257))


@pytest.mark.parametrize("format_", ["EPS", "PDF"])
def test_no_program_is_started(format_, tmp_path, monkeypatch):
    """Pillow has Ghostscript draw PostScript: with the formats left open, this test fails."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\necho >> {tmp_path}/started\nexit 1\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # what an earlier look for it found
    data = fx.text_file(format_)
    with pytest.raises(ImageError, match=r"It is a (PostScript|PDF) document\."):
        formats.canonical(data)
    assert not (tmp_path / "started").exists()
    if format_ == "EPS":
        with contextlib.suppress(Exception):
            Image.open(io.BytesIO(data)).load()
        assert (tmp_path / "started").exists()
