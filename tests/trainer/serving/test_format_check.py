"""The served graph lets JPEG, PNG and WebP through as they are, and says of other bytes what they are."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.images.files import formats
from pipelines.images.files.image_error import ImageError
from pipelines.images.source_policy import SourcePolicy
from trainer.serving import format_check

_traced = tf.function(format_check.checked, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


def graph(data: bytes) -> bytes | None:
    """Returns what the graph gives; None where it refuses."""
    try:
        return bytes(_traced(tf.constant(data)).numpy())
    except tf.errors.InvalidArgumentError:
        return None


def saved(format_: str, mode: str = "RGB", size: tuple[int, int] = (32, 24), **options: object) -> bytes:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)
    out = io.BytesIO()
    image.save(out, format_, **options)
    return out.getvalue()


def animated(format_: str) -> bytes:
    frames = [Image.new("RGB", (16, 16), (value, 0, 0)) for value in (10, 200)]
    out = io.BytesIO()
    frames[0].save(out, format_, save_all=True, append_images=frames[1:])
    return out.getvalue()


@pytest.mark.parametrize("size", [(1, 1), (33, 9)])
@pytest.mark.parametrize(
    ("format_", "mode"),
    [("JPEG", "L"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "1"), ("PNG", "LA"), ("PNG", "P"), ("PNG", "RGB"),
     ("PNG", "RGBA"), ("WEBP", "RGB"), ("WEBP", "RGBA")],
)  # fmt: skip
def test_what_the_datasets_graph_reads_stays_as_it_is(format_, mode, size):
    data = saved(format_, mode, size)
    assert graph(data) == data


def test_an_extended_webp_that_does_not_move_stays_as_it_is():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved("WEBP", "RGBA", lossless=True, exif=exif)
    assert data[12:16] == b"VP8X"
    assert graph(data) == data


@pytest.mark.parametrize(
    ("data", "received"),
    [(saved("GIF", "P"), "a GIF"), (animated("GIF"), "a GIF"), (b"GIF87a", "a GIF"), (saved("BMP"), "a BMP"),
     (saved("BMP", "1"), "a BMP"), (b"BM", "a BMP"), (saved("TIFF"), "a TIFF"), (b"MM\0*", "a TIFF"),
     (saved("AVIF"), "an AVIF or HEIC"), (animated("WEBP"), "an animated WebP"), (b"", "no bytes"),
     (b"hello", "bytes of no image that is known"), (b"RIFF\0\0\0\0WAVE", "bytes of no image that is known"),
     (b"B", "bytes of no image that is known"), (b"\0" * 99, "bytes of no image that is known")],
)  # fmt: skip
def test_the_refusal_says_what_is_read_what_came_and_what_to_do(data, received):
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        _traced(tf.constant(data))
    assert (
        f"The model reads JPEG, PNG and WebP (not animated). Received: {received}. Convert it first: "
        "pipelines.formats.canonical(bytes), or use `python -m trainer predict`."
    ) in str(raised.value)


@pytest.mark.parametrize("format_", ["GIF", "BMP", "TIFF", "AVIF", "WEBP"])
def test_what_canonical_makes_of_a_refused_image_is_read(format_):
    data = animated("WEBP") if format_ == "WEBP" else saved(format_)
    assert graph(data) is None
    assert graph(formats.canonical(data)) == formats.canonical(data)


@pytest.mark.slow
def test_of_odd_files_the_graph_lets_through_what_canonical_leaves_as_it_is(real_data):
    through, refused = [], []
    for path in sorted((real_data / "odd").rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        try:
            same = formats.canonical(data, policy=SourcePolicy("ignore")) == data  # the graph looks for no profile
        except ImageError:
            continue
        if data.startswith(b"\x89PNG"):  # of an animated one TensorFlow reads the first frame, too
            same = True
        assert graph(data) == (data if same else None), path.name
        (through if same else refused).append(path.name)
    assert len(through) >= 50
    assert len(refused) >= 50
