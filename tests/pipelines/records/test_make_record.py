"""Records: deterministic bytes that the contract's reader understands, bit for bit."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import pathlib
import time

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines import contract
from pipelines.config import PrepareConfig
from pipelines.contract import tf_example
from pipelines.core import hashing
from pipelines.core.elements import Ref
from pipelines.core.summary import Rejected
from pipelines.images import augment, histogram
from pipelines.records import make_record, normalize_shard
from pipelines.records.record_spec import RecordSpec
from tests.support import datasets
from tests.support.files import images

SHAPE = (4, 6, 3)


def spec(**options) -> RecordSpec:
    return PrepareConfig(
        **{"input": "in", "allow_outside": True, "output": "out", "size": SHAPE[:2], **options}
    ).record_spec


def contract_of(encoding: str, mode: str = "zscore") -> contract.Contract:
    return datasets.make_contract(encoding=encoding, image_shape=SHAPE, normalization=datasets.normalization(mode))


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, SHAPE, dtype=np.uint8)


def ref_to(path: pathlib.Path, weight: float = 1.0) -> Ref:
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "0" * 64
    return Ref(path.name, str(path), "cat", "train", "", weight, digest)


def source(tmp_path: pathlib.Path, data: bytes, name: str = "a") -> Ref:
    (tmp_path / name).write_bytes(data)
    return ref_to(tmp_path / name)


def parse(serialized: bytes) -> dict[str, object]:
    parsed = tf.io.parse_single_example(serialized, contract.feature_spec(contract_of("uint8")))
    return {name: value.numpy() for name, value in parsed.items()}


def test_an_examples_bytes():
    """Written out after the protobuf encoding specification: fields in order of number, map keys in order of name."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    def entry(name: bytes, feature: bytes) -> bytes:
        return field(1, field(1, name) + field(2, feature))

    image, key = b"\x00\xff", b"k"
    expected = field(
        1,
        entry(b"image", field(1, field(1, image)))
        + entry(b"key", field(1, field(1, key)))
        + entry(b"label", field(3, field(1, bytes([3]))))
        + entry(b"weight", field(2, field(1, np.float32(0.5).tobytes()))),
    )

    assert tf_example.serialize(image, 3, 0.5, "k") == expected


@given(
    st.one_of(st.integers(0, 300), st.integers(16_000, 17_000), st.integers(2_000_000, 2_200_000)),
    st.integers(0, 2**40),
    st.floats(0, 2.0**127, width=32),
    st.text("0123456789abcdef-é", max_size=150),
)
@settings(max_examples=100, deadline=None)
def test_examples_are_to_the_byte_as_protobuf_writes_them(size, label, weight, key):
    """Of all lengths around those where a length takes a byte more, and read back."""
    image = bytes(range(256)) * (size // 256) + bytes(size % 256)
    feature = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "weight": tf.train.Feature(float_list=tf.train.FloatList(value=[weight])),
        "key": tf.train.Feature(bytes_list=tf.train.BytesList(value=[key.encode()])),
    }
    message = tf.train.Example(features=tf.train.Features(feature=feature))
    made = tf_example.serialize(image, label, weight, key)
    assert made == message.SerializeToString(deterministic=True)
    assert parse(made) == {"image": image, "label": label, "weight": weight, "key": key.encode()}


@pytest.mark.parametrize("mode", sorted(datasets.AFFINES))
@pytest.mark.parametrize("encoding", ["float32", "float16"])
def test_finished_records_hold_what_the_contract_says_bit_for_bit(encoding, mode):
    made = contract_of(encoding, mode)
    levels = (np.arange(264) % 256).astype(np.uint8).repeat(3).reshape(-1, *SHAPE)  # every level of every channel
    table = normalize_shard.normalization_table(made.normalization.scale, made.normalization.offset, encoding)
    for pixels in [*levels, picture(), 255 - picture()]:
        staged = tf_example.serialize(pixels.tobytes(), 7, 0.25, "key")

        finished = parse(normalize_shard.finish_example(staged, table))

        exact = contract.normalize(made, tf.constant(pixels)).numpy()
        expected = exact.astype(encoding)
        assert expected.dtype == np.dtype(encoding)
        assert finished == {"image": expected.tobytes(), "label": 7, "weight": 0.25, "key": b"key"}
        read = contract.images_from_records(made, tf.constant([finished["image"]]))[0].numpy()
        np.testing.assert_array_equal(read, expected.astype(np.float32))


def test_every_level_of_every_channel_is_in_the_table():
    made = contract_of("float32", "imagenet")
    table = normalize_shard.normalization_table(made.normalization.scale, made.normalization.offset, "float32")
    levels = np.tile(np.arange(256, dtype=np.uint8)[:, None], (1, 3))

    eager = contract.normalize(made, tf.constant(levels)).numpy()
    traced = tf.function(lambda x: contract.normalize(made, x))(tf.constant(levels)).numpy()

    np.testing.assert_array_equal(table.T, eager)
    np.testing.assert_array_equal(table.T, traced)
    assert (table.shape, table.dtype) == ((3, 256), np.float32)


def test_finishing_is_deterministic():
    table = normalize_shard.normalization_table((0.5,) * 3, (0.0,) * 3, "float16")
    staged = tf_example.serialize(picture().tobytes(), 1, 1.0, "k")

    assert normalize_shard.finish_example(staged, table) == normalize_shard.finish_example(staged, table)


@pytest.mark.parametrize("encoding", ["uint8", "png", "jpeg", "float16"])
def test_image_bytes(encoding):
    data = make_record.image_bytes(picture(), encoding, 100)

    if encoding in ("png", "jpeg"):
        decoded = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
        assert Image.open(io.BytesIO(data)).format == encoding.upper()
        assert np.abs(decoded - picture()).max() <= (0 if encoding == "png" else 6)
    else:
        assert data == picture().tobytes()


def test_jpeg_records_keep_the_full_chroma():
    with Image.open(io.BytesIO(make_record.image_bytes(picture(), "jpeg", 95))) as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


def test_load_reads_decodes_and_resizes(tmp_path):
    data = images.encode(np.kron(picture(), np.ones((2, 2, 1), np.uint8)), "PNG")

    loaded = make_record.load(source(tmp_path, data), "train", spec())

    assert isinstance(loaded, make_record.Decoded)
    np.testing.assert_array_equal(loaded.pixels, picture())
    assert (loaded.header.format, loaded.header.width) == ("png", 12)


def test_load_passes_other_formats_through_pillow(tmp_path):
    loaded = make_record.load(source(tmp_path, images.encode(picture(), "BMP")), "train", spec())

    assert isinstance(loaded, make_record.Decoded)
    np.testing.assert_array_equal(loaded.pixels, picture())


JPEG = images.encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), "JPEG")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"text", "not-an-image"),
        (JPEG[:-2000], "undecodable"),
        (images.encode(picture(), "PNG")[:-60], "undecodable"),
        (images.encode(picture(), "GIF")[:-20], "undecodable"),
        (images.encode(Image.new("F", (2, 2)), "TIFF"), "unsupported-pixels"),
        (images.encode(np.zeros((100, 101, 3), np.uint8), "PNG"), "too-many-pixels"),
    ],
)
def test_load_rejects_what_cannot_be_used(data, reason, tmp_path):
    ref = source(tmp_path, data)

    rejected = make_record.load(ref, "test", spec(max_pixels=10_000))

    assert isinstance(rejected, Rejected)
    assert dataclasses.replace(rejected, detail="") == Rejected(
        ref.uri, "cat", "test", ref.digest, "decode", reason, ""
    )
    assert rejected.detail
    assert "\n" not in rejected.detail
    assert "node" not in rejected.detail  # TensorFlow's own names are no help to who reads rejects/


def test_load_rejects_what_is_missing_changed_or_too_large(tmp_path):
    good = images.encode(picture(), "PNG")
    changed = source(tmp_path, good, "changed")
    (tmp_path / "changed").write_bytes(good + b"\0")
    large = source(tmp_path, good, "large")
    (tmp_path / "folder").mkdir()
    cases = [
        (ref_to(tmp_path / "absent"), spec(), "missing"),
        (changed, spec(), "changed"),
        (large, spec(max_file_bytes=len(good) - 1), "too-large"),
        (ref_to(tmp_path / "folder"), spec(), "not-a-file"),
    ]

    assert [make_record.load(ref, "train", options).reason for ref, options, _ in cases] == [r for _, _, r in cases]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([JPEG, *(images.encode(picture(), kind) for kind in ("PNG", "GIF", "WEBP", "TIFF", "BMP"))]),
    st.integers(0, 300),
    st.binary(max_size=8),
)
def test_load_never_raises_on_damaged_files(tmp_path_factory, data, position, damage):
    data = data[:position] + damage + data[position + len(damage) :]
    ref = source(tmp_path_factory.getbasetemp(), data, "damaged")

    assert isinstance(make_record.load(ref, "train", spec(max_pixels=10_000)), (make_record.Decoded, Rejected))


def test_copies_without_augmentation_are_plain_duplicates():
    ref = Ref("cat/1", "uri", "cat", "train", "", 1.0, "")
    original, copy = (
        parse(make_record.make_example(picture(), ref, n, 9, spec(augment={}))) for n in (0, 4)
    )  # fmt: skip
    assert copy["image"] == original["image"] == picture().tobytes()
    assert copy["key"] != original["key"]


def test_copy_0_is_the_original_and_others_are_drawn_from_the_hash():
    options = spec(seed=5, augment={"flip": 1.0, "brightness": 0.5})
    ref = Ref("cat/1", "uri", "cat", "train", "", 2.0, "")

    assert make_record.stored_pixels(picture(), ref, 0, options) is not None
    np.testing.assert_array_equal(make_record.stored_pixels(picture(), ref, 0, options), picture())
    expected = augment.apply(picture(), augment.draw(options.augment, 5, "cat/1", 3))
    made = parse(make_record.make_example(picture(), ref, 3, 9, options))

    assert made == {
        "image": expected.tobytes(),
        "label": 9,
        "weight": 2.0,
        "key": hashing.record_key("cat/1", 3).encode(),
    }
    assert made["image"] != picture().tobytes()


def test_histogram_and_moments_are_exact():
    pixels = np.array([[[0, 1, 255], [0, 2, 255]], [[5, 3, 255], [0, 4, 254]]], np.uint8)

    levels = histogram.histogram(pixels)

    assert (levels.shape, levels.dtype) == ((3, 256), np.uint32)
    assert [levels[0, 0], levels[0, 5], levels[1, 3], levels[2, 255], levels[2, 254]] == [3, 1, 1, 3, 1]
    assert levels.sum() == 12
    assert histogram.moments(levels) == {
        "pixel_count": [4],
        "pixel_sum": [5, 10, 3 * 255 + 254],
        "pixel_square_sum": [25, 30, 3 * 255**2 + 254**2],
    }
    np.testing.assert_array_equal(histogram.as_levels(levels.tolist()), levels)
    np.testing.assert_array_equal(histogram.add_up([levels.tobytes()] * 3, 3), 3 * levels.astype(np.int64))
    assert histogram.add_up([], 3).tolist() == [[0] * 256] * 3
    assert histogram.add_up([], 1).tolist() == [[0] * 256]


@given(st.integers(0, 99))
def test_moments_against_numpy(seed):
    pixels = picture(seed).astype(object)  # Python's integers: exact

    moments = histogram.moments(histogram.histogram(picture(seed)))

    assert moments["pixel_sum"] == pixels.sum((0, 1)).tolist()
    assert moments["pixel_square_sum"] == (pixels**2).sum((0, 1)).tolist()


def test_mean_and_deviation_by_hand():
    """Of four pixels 10, 10, 30, 30 the population deviates by 10, a sample would by 11.5; of one pixel by 0."""
    assert histogram.statistics(4, [80, 4, 0], [2000, 4, 0]) == ((20, 1, 0), (10, 0, 0))
    assert histogram.statistics(1, [9], [81]) == ((9,), (0,))
    assert histogram.statistics(0, [0], [0]) == ((0,), (0,))


def test_moments_of_billions_of_images_do_not_overflow():
    levels = np.zeros((3, 256), np.int64)
    levels[:, 255] = 8 * 10**9 * 128 * 128

    assert histogram.moments(levels)["pixel_square_sum"] == [8 * 10**9 * 128 * 128 * 255**2] * 3


@pytest.mark.parametrize(
    ("size", "rounded"),
    [(0, 1), (1, 1), (2, 2), (3, 2), (1023, 512), (1024, 1024), ((1 << 49) - 1, 1 << 48), (1 << 49, 1 << 49)],
)
def test_file_sizes_are_rounded_down_to_powers_of_two(size, rounded):
    assert histogram.file_size_bin(size) == rounded


def test_thumbnails_show_the_source_upright_over_the_background_beside_the_record(tmp_path):
    tags = Image.Exif()
    tags[images.ORIENTATION] = 6
    ref = source(tmp_path, images.encode(Image.new("RGBA", (40, 20), (255, 0, 0, 0)), "PNG", exif=tags))
    options = spec(background=(0, 0, 200))
    loaded = make_record.load(ref, "train", options)

    shown = make_record.thumbnail(loaded, ref, 1, "train", options)

    assert (shown.uri, shown.label, shown.split, shown.copy) == (ref.uri, "cat", "train", 1)
    assert (shown.width, shown.height) == (20, 40)
    before = Image.open(io.BytesIO(base64.b64decode(shown.source_jpeg)))
    after = Image.open(io.BytesIO(base64.b64decode(shown.stored_jpeg)))
    assert before.size == (20, 40)
    assert np.abs(np.asarray(before).astype(int) - (0, 0, 200)).max() <= 3
    assert after.size == (6, 4)


def test_the_comment_of_a_source_costs_its_thumbnail_nothing(tmp_path):
    """20 MB of comment: Pillow alone joins them block by block, for a minute."""
    ref = source(tmp_path, images.gif(1, 1, images.gif_comment(20 << 20), images.gif_frame(1, 1)))
    loaded = make_record.load(ref, "train", spec())
    started = time.process_time()
    assert make_record.thumbnail(loaded, ref, 0, "train", spec()) is not None
    assert time.process_time() - started < 2


def test_there_is_no_thumbnail_of_what_is_gone(tmp_path):
    ref = source(tmp_path, images.encode(picture(), "PNG"))
    loaded = make_record.load(ref, "train", spec())
    (tmp_path / "a").unlink()

    assert make_record.thumbnail(loaded, ref, 0, "train", spec()) is None


@given(
    st.integers(0, 300),
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=200),
    st.floats(0, 2.0**127, width=32),
    st.text("0123456789abcdef-é", max_size=150),
)
@settings(max_examples=100, deadline=None)
def test_examples_with_a_target_are_to_the_byte_as_protobuf_writes_them(size, target, weight, key):
    image = bytes(size)
    feature = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "target": tf.train.Feature(float_list=tf.train.FloatList(value=target)),
        "weight": tf.train.Feature(float_list=tf.train.FloatList(value=[weight])),
        "key": tf.train.Feature(bytes_list=tf.train.BytesList(value=[key.encode()])),
    }
    made = tf_example.serialize(image, target, weight, key)
    assert made == tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)
    assert tf_example.parse(made) == (image, tuple(target), weight, key, {})


def test_a_record_has_a_label_or_a_target_and_not_both():
    both = tf_example.serialize(b"i", 3, 1.0, "k"), tf_example.serialize(b"i", (0.5,), 1.0, "k")
    label, target = (tf.train.Example.FromString(record) for record in both)
    label.features.feature["target"].CopyFrom(target.features.feature["target"])
    with pytest.raises(tf_example.ExampleError, match="it should have one of label and target"):
        tf_example.parse(label.SerializeToString(deterministic=True))
    del label.features.feature["label"], label.features.feature["target"]
    with pytest.raises(tf_example.ExampleError, match="it should have one of label and target"):
        tf_example.parse(label.SerializeToString(deterministic=True))
