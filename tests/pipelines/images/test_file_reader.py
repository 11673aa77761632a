"""Files that other programs read: answers in order, and a fault costs one file."""

from __future__ import annotations

import hashlib
import sys

import numpy as np
import pytest
from PIL import Image

from pipelines.images import file_reader
from pipelines.images.file_reader import Refused
from pipelines.images.files import formats
from pipelines.images.graph import decode
from pipelines.images.image_spec import ImageSpec
from pipelines.images.limits import Limits
from tests.support.files import images as fx
from tests.support.files.images import draw_photo

SPEC = ImageSpec(8, 6)


@pytest.fixture
def faulty(monkeypatch):
    """Has the workers hang and crash at files whose names say so."""
    monkeypatch.setattr(file_reader, "PICTURES", "tests.support.files.faulty_files")
    monkeypatch.setattr(file_reader, "RECORDS", "tests.support.files.faulty_files")


def reasons(found) -> list[str]:
    return [one.reason if isinstance(one, Refused) else "" for one in found]


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [pytest.param("sizes", marks=pytest.mark.slow), pytest.param("pictures", marks=pytest.mark.slow), "records"]
)
def test_a_file_that_hangs_or_crashes_costs_one_answer(faulty, tmp_path, kind):
    names = ["a.jpg", "hangs.jpg", "b.jpg", "crashes.jpg", "c.jpg", "gone.jpg", "d.jpg"]
    for i, name in enumerate(names):
        if name != "gone.jpg":
            draw_photo(tmp_path / name, i, (40 + i, 30))
    paths, limits = [str(tmp_path / name) for name in names], Limits(image_timeout=2.0)
    read = {
        "sizes": lambda: file_reader.sizes(paths, limits),
        "pictures": lambda: file_reader.pictures(paths, 16, limits),
        "records": lambda: file_reader.records(paths, SPEC, limits),
    }[kind]

    found = list(read())

    assert reasons(found) == ["", "timeout", "", "crashed", "", "missing", ""]
    if kind == "sizes":
        assert [found[i] for i in (0, 2, 4, 6)] == [(40, 30), (42, 30), (44, 30), (46, 30)]


def test_no_other_format_is_tried(tmp_path):
    for name in ("EPS", "PDF", "TGA", "ICNS"):
        Image.new("RGB", (16, 16)).save(tmp_path / f"{name}.jpg", name)
    paths = sorted(map(str, tmp_path.iterdir()))
    for found in (file_reader.sizes(paths, Limits()), file_reader.pictures(paths, 8, Limits())):
        assert reasons(found) == ["not-an-image"] * 4


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts a process's writable memory")
@pytest.mark.slow
def test_a_file_that_takes_too_much_memory_is_refused_and_the_next_is_read(tmp_path):
    (tmp_path / "a.png").write_bytes(fx.flat_png(6000, 6000))
    draw_photo(tmp_path / "b.jpg", 1, (40, 30))
    paths, limits = [str(tmp_path / name) for name in ("a.png", "b.jpg")], Limits(image_memory=64 << 20)
    assert reasons(file_reader.pictures(paths, 16, limits)) == ["out-of-memory", ""]
    assert reasons(file_reader.records(paths, SPEC, limits)) == ["out-of-memory", ""]


def test_a_picture_says_what_its_file_is(tmp_path, monkeypatch):
    draw_photo(tmp_path / "a.jpg", 1, (40, 30))
    monkeypatch.chdir(tmp_path)
    [found] = file_reader.pictures(["a.jpg"], 16, Limits())
    assert (found.width, found.height) == (40, 30)
    assert found.digest == hashlib.sha256((tmp_path / "a.jpg").read_bytes()).hexdigest()
    assert (found.pixels.shape, found.pixels.dtype) == ((12, 16, 3), np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
def test_a_record_has_the_pixels_that_prepare_would_store(tmp_path, format_):
    draw_photo(tmp_path / "a", 1, (40, 30), format=format_)
    data = (tmp_path / "a").read_bytes()
    [found] = file_reader.records([str(tmp_path / "a")], SPEC, Limits())
    expected = decode.to_pixels(formats.canonical(data), SPEC).numpy()
    np.testing.assert_array_equal(fx.decode(found), expected)


def test_files_are_read_a_few_ahead_and_not_all_at_once(tmp_path):
    draw_photo(tmp_path / "a.png", 1, (8, 8))
    taken = []

    def paths():
        for i in range(10_000):
            taken.append(i)
            yield str(tmp_path / "a.png")

    found = file_reader.sizes(paths(), Limits())
    assert next(found) == (8, 8)
    assert len(taken) <= file_reader.AHEAD * file_reader.MOST_WORKERS + 1
