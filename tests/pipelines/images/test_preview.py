"""Small pictures of hostile and of turned files: what they cost, and that they are upright."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image

from pipelines.images import preview
from pipelines.images.files import bounded_header, formats
from pipelines.images.files.image_error import ImageError
from pipelines.images.limits import Limits
from tests.support.files import images as fx

EXIF_CUT = b"\xff\xd8\xff\xe0\0\x14" + b"Exif\0\0" * 3 + b"\xff"  # ends in the middle of a marker


@pytest.mark.slow
def test_a_bomb_is_drawn_or_refused_in_a_moment():
    for name, (data, reason) in fx.bombs().items():
        started = time.process_time()
        if reason:
            with pytest.raises(ImageError) as refused:
                preview.draw(data, 32, Limits())
            assert (name, refused.value.reason) == (name, reason)
        else:
            _, small = preview.draw(data, 32, Limits())
            assert small.mode == "RGB"
            assert max(small.size) <= 32
        assert time.process_time() - started < 2, name  # Pillow alone takes a minute for the comment


def test_a_jpeg_that_ends_in_the_middle_of_a_marker_is_no_image():
    assert len(EXIF_CUT) == 25
    assert bounded_header.slim(EXIF_CUT, 100, 1)[1] == 1
    with pytest.raises(ImageError) as refused:
        formats.canonical(EXIF_CUT)
    assert refused.value.reason == "not-an-image"


def test_a_jpeg_whose_exif_is_cut_keeps_its_picture():
    picture = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    whole = fx.encode(picture, "JPEG", quality=95)  # some 190 kB of scan
    parts = [fx.segment(0xE1, b"Exif\0\0" + fx.tiff(6)), *[fx.segment(0xE1, b"Exif\0\0")] * 2]
    _, expected = preview.draw(whole, 400, Limits())
    header, small = preview.draw(fx.jpeg_with(whole, *parts), 400, Limits())
    assert (header.orientation, header.conversions) == (6, ("exif-orientation",))
    np.testing.assert_array_equal(np.asarray(small), np.rot90(np.asarray(expected), -1))


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright(format_, orientation):
    tags = Image.Exif()
    tags[fx.ORIENTATION] = orientation
    stored = np.kron(fx.upright(1), np.ones((16, 16, 1), np.uint8))
    options = {"lossless": True} if format_ == "WEBP" else {} if format_ in ("PNG", "TIFF") else {"quality": 100}
    data = fx.encode(stored, format_, exif=tags, **options)
    expected = np.kron(fx.upright(orientation), np.ones((16, 16, 1), np.uint8))

    header, small = preview.draw(data, 48, Limits())

    assert (header.height, header.width) == expected.shape[:2]
    assert np.abs(np.asarray(small).astype(int) - expected).max() <= 4


def test_transparent_pixels_show_the_background_and_deep_ones_are_divided():
    clear = fx.encode(Image.new("RGBA", (4, 3), (9, 9, 9, 0)), "PNG")
    assert preview.draw(clear, 8, Limits(), (1, 2, 3))[1].getpixel((0, 0)) == (1, 2, 3)
    assert preview.draw(clear, 8, Limits())[1].getpixel((0, 0)) == preview.WHITE
    deep = fx.encode(Image.fromarray(np.full((4, 4), 257 * 100, np.uint16)), "PNG")
    assert preview.draw(deep, 8, Limits())[1].getpixel((0, 0)) == (100, 100, 100)


def test_a_plain_picture_shows_what_is_in_the_file_and_no_policy():
    tags = Image.Exif()
    tags[fx.ORIENTATION] = 6
    lying = fx.encode(Image.new("RGBA", (40, 20), (9, 8, 7, 0)), "PNG", exif=tags)
    plain = preview.plain(lying, 40, Limits())
    assert (plain.size, plain.getpixel((0, 0))) == ((40, 20), (9, 8, 7))
    deep = fx.encode(Image.fromarray(np.array([[0, 200, 300, 65535]], np.uint16)), "PNG")
    assert [preview.plain(deep, 8, Limits()).getpixel((x, 0))[0] for x in range(4)] == [0, 200, 255, 255]
    with pytest.raises(ImageError):
        preview.plain(lying[:60], 40, Limits())


def test_stretching_gives_a_square_and_else_nothing_is_enlarged():
    wide = fx.encode(np.zeros((10, 40, 3), np.uint8), "PNG")
    assert preview.draw(wide, 16, Limits(), stretch=True)[1].size == (16, 16)
    assert preview.draw(wide, 16, Limits())[1].size == (16, 4)
    assert preview.draw(wide, 99, Limits())[1].size == (40, 10)
