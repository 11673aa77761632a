"""The perceptual hash: its bits on pictures of a few cells, and what it takes for one photograph."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from pipelines.images.limits import Limits
from pipelines.images.perceptual_hash import BITS, perceptual_hash
from pipelines.images.source_policy import DEFAULT
from tests.support.files.images import draw_photo


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def hashed(image: Image.Image, form: str = "PNG", **options) -> bytes:
    return perceptual_hash(encoded(image, form, **options), Limits(), DEFAULT)


def distance(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def test_each_bit_says_whether_a_cell_is_brighter_than_the_one_before_it():
    to_the_right = Image.fromarray(np.tile(np.arange(0, 256, 2, dtype=np.uint8), (128, 1)))
    assert hashed(to_the_right) == b"\xff" * 8 + b"\x00" * 8
    assert hashed(to_the_right.transpose(Image.Transpose.ROTATE_270)) == b"\x00" * 8 + b"\xff" * 8  # brighter downwards
    assert hashed(to_the_right.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) == bytes(16)


def test_pictures_without_structure_or_pixels_have_no_hash():
    assert hashed(Image.new("RGB", (50, 40), "red")) == b""
    noisy = np.random.default_rng(0).integers(100, 104, (200, 200, 3), dtype=np.uint8)
    assert hashed(Image.fromarray(noisy)) == b""
    assert perceptual_hash(encoded(Image.new("L", (60, 60), 3))[:-30], Limits(), DEFAULT) == b""
    assert perceptual_hash(b"GIF89a", Limits(), DEFAULT) == b""


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Image.Image]:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(12):
        draw_photo(folder / f"{i}.png", i, (320, 240))
    return [Image.open(folder / f"{i}.png").convert("RGB") for i in range(12)]


@pytest.mark.slow
def test_other_sizes_and_qualities_of_a_photograph_are_near_and_other_photographs_are_not(photos):
    for photo in photos:
        own = hashed(photo)
        assert len(own) * 8 == BITS
        assert distance(own, hashed(photo, "JPEG", quality=60)) <= 10
        assert distance(own, hashed(photo.resize((111, 90), Image.Resampling.BICUBIC))) <= 10
        assert distance(own, hashed(ImageEnhance.Brightness(photo).enhance(0.9))) <= 10
        assert distance(own, hashed(photo.convert("L"))) <= 10
    for one, other in itertools.combinations(photos, 2):
        assert distance(hashed(one), hashed(other)) > 20


def test_the_orientation_of_exif_counts(photos):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees to the right
    lying = photos[0].transpose(Image.Transpose.ROTATE_90)
    assert distance(hashed(photos[0]), hashed(lying, "JPEG", quality=95, exif=exif)) <= 4
    assert distance(hashed(photos[0]), hashed(lying, "JPEG", quality=95)) > 20
