"""Gathering from memory maps: the same tensors as a stream of the same shards gives, and every kind of damage named."""

from __future__ import annotations

import collections
import dataclasses
import gc
import mmap
import struct
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines import contract as contracts
from pipelines.contract import ContractError, Shard, Split, tf_example, tfrecord
from pipelines.core import machine
from tests.support import fresh_python
from tests.support.datasets import AFFINES, frame, make_contract, masked, normalization, picture, record, write_dataset
from trainer.data import dataset, epoch_order, xla_normalize
from trainer.data.shards import gather, mmap_array, mmap_tfrecord
from trainer.data.shards.example_layout import Layout, LayoutError, Rows, expected, read_label

RAW = sorted(contracts.RAW_DTYPES)
COUNTS = (11, 6)


def everything(directory, **options):
    """All batches of the train split, each as a tuple of arrays."""
    return [tuple(v.numpy() for v in batch) for batch in dataset.load(directory, "train", 4, **options)]


def assert_same(one, other):
    assert len(one) == len(other)
    for batch, same in zip(one, other, strict=True):
        for values, others in zip(batch, same, strict=True):
            assert values.dtype == others.dtype
            np.testing.assert_array_equal(values, others)


@pytest.fixture
def streamed(monkeypatch):
    """A function that reads as from a remote directory."""

    def read(directory, **options):
        with monkeypatch.context() as patch:
            patch.setattr(mmap_tfrecord, "open_shards", lambda *_: None)
            return everything(directory, **options)

    return read


@pytest.mark.slow
@pytest.mark.parametrize("encoding", RAW)
@pytest.mark.parametrize(("dequantize", "weighted"), [(True, False), (False, True)])
def test_gathered_and_streamed_are_the_same(tmp_path, streamed, encoding, dequantize, weighted):
    contract = write_dataset(
        tmp_path / "d", encoding=encoding, mode="imagenet", splits={"train": COUNTS}, shards=3, weighted=weighted
    )
    assert mmap_tfrecord.open_shards(contract, str(tmp_path / "d"), "train") is not None
    for drop_remainder in (True, False):
        options = {"dequantize": dequantize, "drop_remainder": drop_remainder}
        gathered = everything(tmp_path / "d", **options)
        assert len(gathered) == (4 if drop_remainder else 5)
        assert_same(gathered, streamed(tmp_path / "d", **options))


def test_records_of_two_lengths_are_read_alike(tmp_path, streamed):
    """Labels from 128 on take two bytes, so the records of a shard are not all of one length."""
    names = [f"c{i:03d}" for i in range(200)]
    counts = [0] * 200
    counts[5], counts[127], counts[128], counts[199] = 6, 3, 2, 4
    write_dataset(tmp_path / "d", encoding="uint8", labels=names, splits={"train": counts}, shards=2, weighted=True)
    gathered = everything(tmp_path / "d")
    assert collections.Counter(np.concatenate([b[1] for b in gathered]).tolist()) == {5: 6, 127: 3, 128: 2, 199: 4}
    assert sorted(np.concatenate([b[2] for b in gathered]).tolist()) == [i / 2 for i in range(15)]
    assert_same(gathered, streamed(tmp_path / "d"))


@pytest.mark.parametrize("first", [1, 0])
def test_records_that_are_written_in_another_way_are_read_alike(tmp_path, streamed, first):
    """Features in another order, as protobuf may write its maps: among records that are as expected.

    If the first of a shard is one of them, all records are copied. Otherwise each of them gets a row of its own.
    """
    contract = make_contract(encoding="uint8", weighted=True)
    frames = []
    for index in range(6):
        example = tf.train.Example.FromString(record(contract, index, index % 2))
        names = ["weight", "key", "label", "image"] if index % 3 == first else ["image", "key", "label", "weight"]
        parts = [tf.train.Features(feature={n: example.features.feature[n]}).SerializeToString() for n in names]
        body = b"".join(parts)
        frames.append(frame(b"\x0a" + tf_example.to_varint(len(body)) + body))
    one_shard(tmp_path / "d", b"".join(frames), 6, weighted=True)
    shards = mmap_tfrecord.open_shards(contracts.load(tmp_path / "d"), str(tmp_path / "d"), "train")
    assert (gather.Gather(Rows(contract, *gather.FRAME), shards).whole is None) is (first == 0)
    gathered = everything(tmp_path / "d")
    images, labels, weights = (np.concatenate(values) for values in zip(*gathered, strict=True))
    assert labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert weights.tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    drawn = np.stack([picture(i, i % 2) for i in range(6)])
    np.testing.assert_array_equal(images, contracts.normalize(contract, tf.constant(drawn)))
    assert_same(gathered, streamed(tmp_path / "d"))


def test_shards_without_records_are_left_out(tmp_path, streamed):
    write_dataset(tmp_path / "d", encoding="uint8", splits={"train": (2, 1)}, shards=5)
    assert_same(everything(tmp_path / "d"), streamed(tmp_path / "d"))


def test_what_cannot_be_mapped_is_streamed(tmp_path, monkeypatch):
    contract = write_dataset(tmp_path / "d", encoding="uint8", splits={"train": (2, 1)})
    directory = str(tmp_path / "d")
    assert mmap_tfrecord.open_shards(contract, f"gs://{directory}", "train") is None
    for module, name, value in ((mmap_tfrecord, "MAX_SHARDS", 1), (machine, "memory_bytes", lambda: 10)):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            assert mmap_tfrecord.open_shards(contract, directory, "train") is None
    with monkeypatch.context() as patch:
        patch.setattr(mmap_tfrecord.mmap, "mmap", lambda *_, **__: (_ for _ in ()).throw(OSError(19, "No such device")))
        assert mmap_tfrecord.open_shards(contract, directory, "train") is None
        assert len(everything(tmp_path / "d")) == 1


def positions(seed, records, batch_size, drop_remainder):
    order = epoch_order.permutation(
        epoch_order.Passes(seed, epoch_order.from_zero()), records, batch_size, drop_remainder
    )
    return order.elements.map(lambda *element: order.batch(*element)[0])


@pytest.mark.slow
@given(st.integers(1, 70), st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_a_permutation_has_every_position_once(records, batch_size, seed):
    for drop_remainder in (False, True):
        if drop_remainder and records < batch_size:
            continue
        batches = positions(seed, records, batch_size, drop_remainder)
        epochs = [[b.tolist() for b in batches.as_numpy_iterator()] for _ in range(2)]
        kept = records - records % batch_size if drop_remainder else records
        for epoch in epochs:
            flat = [position for batch in epoch for position in batch]
            assert len(set(flat)) == len(flat) == kept
            assert all(batch == sorted(batch) for batch in epoch)  # the records of a shard side by side
            assert set(flat) <= set(range(records))
            assert all(len(batch) == batch_size for batch in epoch[:-1])
        assert epoch_order.count(records, batch_size, drop_remainder) == len(epochs[0])


@pytest.mark.slow
def test_shuffling_is_over_the_whole_split():
    """The first batch of a hundred orders of 1,000 records is from everywhere."""
    batches = positions(7, 1000, 10, False)
    firsts = np.concatenate([next(iter(batches)).numpy() for _ in range(100)])
    counts = np.histogram(firsts, bins=10, range=(0, 1000))[0]
    assert counts.min() > 60  # of 100 each
    assert counts.max() < 140


@pytest.mark.parametrize("mode", sorted(AFFINES))
def test_compiled_normalizes_to_the_same_bits(mode):
    contract = make_contract(encoding="uint8", normalization=normalization(mode), image_shape=(16, 16, 3))
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, -1)
    found = xla_normalize.dequantizer(contract)(tf.constant(pixels[None])).numpy()
    expected = contracts.normalize(contract, tf.constant(pixels)).numpy()
    np.testing.assert_array_equal(found, expected[None])
    n = contract.normalization
    by_hand = np.float32(pixels) * np.float32(n.scale) + np.float32(n.offset)
    np.testing.assert_array_equal(expected, by_hand)


@pytest.mark.parametrize("encoding", ["uint8", "jpeg"])
def test_nothing_in_the_input_is_stateful(tmp_path, encoding):
    """tf.data takes threads and buffers from such a dataset where training is reproducible: seen as 4 ms a batch."""
    write_dataset(tmp_path / "d", encoding=encoding, splits={"train": COUNTS}, shards=2)
    found, waiting = set(), [dataset.load(tmp_path / "d", "train", 4, shuffle=True, seed=0)]
    while waiting:
        part = waiting.pop()
        waiting += part._inputs()
        for wrapped in part._functions():
            found |= {op.type for op in wrapped.function.graph.get_operations()}
    assert found & {"PyFunc", "PyFuncStateless", "EagerPyFunc"} == {"PyFuncStateless"}


def test_files_of_equal_rows_are_one_array(tmp_path):
    """By hand: rows of 6,144 bytes begin at every second page of 4,096; and nothing stays mapped behind the array."""
    counts = [1, 3, 2]
    contents = [np.arange(n * 6144, dtype=np.int64).astype(np.uint8) + i for i, n in enumerate(counts)]
    paths = [str(tmp_path / f"shard-{i}") for i in range(3)]
    for path, content in zip(paths, contents, strict=True):
        content.tofile(path)
    mapped = mmap_array.lay(paths, counts, 6144)
    rows, firsts = mapped.rows, mapped.firsts
    assert (6144 * firsts % mmap.PAGESIZE).tolist() == [0, 0, 0]
    assert (np.diff(firsts) >= counts[:-1]).all()
    for content, first, count in zip(contents, firsts, counts, strict=True):
        assert rows[first : first + count].tobytes() == content.tobytes()
    assert not rows.flags.writeable
    assert not rows[mapped.spare :].any()
    for number in (5, 2, 0):  # each in pages that others lie in, too
        mapped.write(number, np.full(6144, number + 1, np.uint8))
    assert [set(row.tolist()) for row in rows[mapped.spare :]] == [{1}, {0}, {3}, {0}, {0}, {6}]
    taken = tf.numpy_function(lambda found=rows: found, [], tf.uint8)
    assert paths[0] in Path("/proc/self/maps").read_text()
    del mapped, rows, taken
    gc.collect()
    assert paths[0] not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("answer", [None, mmap_array.FAILED])
def test_what_cannot_be_one_array_is_copied_record_by_record(tmp_path, monkeypatch, streamed, answer):
    write_dataset(tmp_path / "d", encoding="uint8", splits={"train": COUNTS}, shards=3, weighted=True)
    whole = everything(tmp_path / "d")
    monkeypatch.setattr(mmap_array, "_call", lambda _: lambda *_: answer)
    contract = contracts.load(tmp_path / "d")
    shards = mmap_tfrecord.open_shards(contract, str(tmp_path / "d"), "train")
    assert gather.Gather(Rows(contract, *gather.FRAME), shards).whole is None
    assert_same(everything(tmp_path / "d"), whole)


def test_a_file_of_another_size_or_none_is_no_array(tmp_path):
    (tmp_path / "shard").write_bytes(bytes(4097))
    assert mmap_array.lay([str(tmp_path / "shard")], [1], 4096) is None
    with pytest.raises(OSError, match="no-shard"):
        mmap_array.lay([str(tmp_path / "no-shard")], [1], 4096)


def test_records_are_gathered_from_all_shards_at_once(tmp_path, monkeypatch):
    contract = write_dataset(tmp_path / "d", encoding="uint8", splits={"train": COUNTS}, shards=3)
    shards = mmap_tfrecord.open_shards(contract, str(tmp_path / "d"), "train")
    records = gather.Gather(Rows(contract, *gather.FRAME), shards)
    rows, whole, labels, _ = records.find(np.array([0, 7, 16]))
    for row, data in zip(rows, mmap_tfrecord.records(shards, np.array([0, 7, 16])), strict=True):
        assert whole[row, tfrecord.HEADER_BYTES : tfrecord.HEADER_BYTES + len(data)].tobytes() == data
    assert labels.tolist() == [records.labels()[i] for i in (0, 7, 16)]
    monkeypatch.setattr(gather.Gather, "__call__", lambda *_: pytest.fail("copied"))
    assert len(everything(tmp_path / "d")) == 5


def test_lengths_that_make_up_for_each_other_are_copied(tmp_path, streamed):
    """A file of the size of four records that are as expected, in which two are a byte longer and shorter."""

    def with_key(data, length):
        example = tf.train.Example.FromString(data)
        example.features.feature["key"].bytes_list.value[0] = b"k" * length
        return example.SerializeToString(deterministic=True)

    content = b"".join(map(frame, [GOOD[0], with_key(GOOD[1], 21), with_key(GOOD[2], 19), GOOD[3]]))
    assert len(content) == 4 * SIZE
    one_shard(tmp_path / "d", content, 4)
    assert_same(everything(tmp_path / "d"), streamed(tmp_path / "d"))


def test_every_record_is_checked_once_in_a_run(tmp_path, monkeypatch):
    write_dataset(tmp_path / "d", encoding="uint8", splits={"train": COUNTS}, shards=2)
    checked = collections.Counter()
    check = mmap_tfrecord.Shard.check

    def counts(self, number):
        checked[self.path, number] += 1
        check(self, number)

    monkeypatch.setattr(mmap_tfrecord.Shard, "check", counts)
    batches = dataset.load(tmp_path / "d", "train", 4, shuffle=True, seed=0)
    for _ in range(3):
        list(batches)
    assert len(checked) == 17
    assert set(checked.values()) == {1}


def one_shard(directory, content, records, weighted=False):
    """A dataset whose only shard holds these bytes, with a contract that agrees with their number."""
    write_dataset(directory, encoding="uint8", splits={"train": (3, 0)}, shards=1, weighted=weighted)
    contract = contracts.load(directory)
    old = contract.splits["train"].shards[0]
    (directory / old.file).write_bytes(content)
    counts = {"ok": records, "broken": 0}
    split = Split(counts, counts, {"ok": 0, "broken": 0}, (Shard(old.file, records, len(content), old.sha256),))
    changed = dataclasses.replace(contract, splits={"train": split})
    (directory / contracts.FILE_NAME).write_text(changed.to_json())


GOOD = [record(make_contract(encoding="uint8"), i, 0) for i in range(4)]
SIZE = len(frame(GOOD[0]))


@pytest.mark.parametrize("place", [0, 9, 12, 60, 100, SIZE - 2])
def test_a_flipped_bit_is_found_and_named(tmp_path, place):
    """In a length, its checksum, the tags, the pixels, and the record's checksum."""
    content = bytearray(b"".join(map(frame, GOOD)))
    content[2 * SIZE + place] ^= 1
    one_shard(tmp_path / "d", bytes(content), 4)
    with pytest.raises(tf.errors.OpError, match=r"Shard .*tiny-train.*, record [0-9]: .*verify"):
        everything(tmp_path / "d")


@pytest.mark.parametrize("length", [1 << 40, 1 << 62, (1 << 64) - 1, SIZE])
def test_a_crafted_length_is_found_and_ends_nothing(tmp_path, length):
    """With a valid checksum of the length, TensorFlow's reader would ask for that much memory."""
    header = struct.pack("<Q", length)
    frames = [frame(g) for g in GOOD]
    frames[1] = header + masked(header) + frames[1][12:]
    one_shard(tmp_path / "d", b"".join(frames), 4)
    with pytest.raises(tf.errors.OpError, match=r"record [0-9]"):
        everything(tmp_path / "d")


@pytest.mark.parametrize(("kept", "told"), [(3, 4), (4, 3), (2, 4)])
def test_another_number_of_records_than_the_contract_tells_is_found(tmp_path, kept, told):
    one_shard(tmp_path / "d", b"".join(map(frame, GOOD[:kept])), told)
    with pytest.raises(tf.errors.OpError, match=r"should hold 3 records|the contract counts 4 records"):
        everything(tmp_path / "d")


@pytest.mark.parametrize(
    "bad",
    [
        record(make_contract(encoding="uint8"), 3, 2),
        record(make_contract(encoding="uint8"), 3, -1),
        record(make_contract(encoding="uint8", image_shape=(8, 4, 3)), 3, 0),
        b"",
        b"not a record at all",
        GOOD[0][:-1],
        GOOD[0] + GOOD[1],
    ],
    ids=["label-beyond", "label-below", "half-an-image", "empty", "text", "cut", "two-in-one"],
)
def test_a_record_with_right_checksums_that_breaks_the_contract_is_named(tmp_path, bad):
    one_shard(tmp_path / "d", b"".join(map(frame, [*GOOD[:3], bad])), 4)
    with pytest.raises(tf.errors.OpError, match=r"tiny-train.*, record 3: "):
        everything(tmp_path / "d")


def test_the_layout_of_a_record():
    contract = make_contract(encoding="uint8")
    data = record(contract, 7, 1)
    layout = Layout.of(data)
    assert {name: stop - start for name, (start, stop) in layout.values.items()} == {
        "image": 192, "key": 20, "label": 1, "weight": 4,
    }  # fmt: skip
    values = {name: data[start:stop] for name, (start, stop) in layout.values.items()}
    assert values["key"] == b"0000000000000007-000"
    assert values["weight"] == struct.pack("<f", 3.5)
    assert values["label"] == b"\x01"
    assert layout.fits(record(contract, 8, 0), 0)
    assert not layout.fits(data.replace(b"label", b"lapel"), 0)


@pytest.mark.parametrize(("classes", "labels"), [(1, [0]), (128, [127]), (129, [0, 128]), (20000, [1, 200, 19999])])
def test_expected_layouts_are_those_that_prepare_writes(classes, labels):
    contract = make_contract(encoding="uint8", labels=tuple(f"{i:05d}" for i in range(classes)))
    found = [Layout.of(tf_example.serialize(bytes(range(192)), label, 2.5, "0123456789abcdef-001")) for label in labels]
    assert expected(contract) == found


def test_what_is_cut_out_of_rows():
    """By hand: three bytes before the record, and a row that is longer than it."""
    contract = make_contract(encoding="uint8", labels=tuple(f"{i:05d}" for i in range(20000)), weighted=True)
    rows = Rows(contract, 3, 1)
    given = [(7, 0.5), (300, 1.5), (17000, -2.0)]
    data = [tf_example.serialize(bytes([label % 256]) * 192, label, weight, "k" * 20) for label, weight in given]
    batch = tf.constant([list((b"...." + d)[1:].ljust(rows.width, b"\xff")) for d in data], tf.uint8)
    labels, weights = rows.numbers(batch)
    assert labels.numpy().tolist() == [7, 300, 17000]
    assert weights.numpy().tolist() == [0.5, 1.5, -2.0]
    images = xla_normalize.cutter(contract, rows.image, False)(batch).numpy()
    assert images.shape == (3, 8, 8, 3)
    assert [np.unique(image).tolist() for image in images] == [[7], [300 % 256], [17000 % 256]]
    sizes = tf.constant([len(d) for d in data])
    assert bool(rows.fit(batch, sizes))
    assert not bool(rows.fit(batch, sizes + tf.constant([0, 1, 0])))
    for at in (3, 10, 3 + len(data[0]) - 5):  # tags and lengths
        broken = batch.numpy()
        broken[0, at] ^= 1
        assert not bool(rows.fit(tf.constant(broken), sizes)), at


def test_a_label_beyond_the_contract_fits_nothing():
    contract = make_contract(encoding="uint8")
    data = [tf_example.serialize(bytes(192), label, 1.0, "k" * 20) for label in (0, 1, 2, 127)]
    rows = Rows(contract)
    fits = [bool(rows.fit(tf.constant([list(d)], tf.uint8), tf.constant([len(d)]))) for d in data]
    assert fits == [True, True, False, False]


@given(st.binary(max_size=80))
def test_random_bytes_have_no_layout(data):
    with pytest.raises(LayoutError):
        Layout.of(data)


@given(st.integers(0, len(GOOD[0]) - 1), st.binary(min_size=1, max_size=3))
@example(262, b"\x80")  # a label without an end
@settings(max_examples=1000)
def test_changed_records_have_a_layout_only_if_protobuf_reads_the_same(at, change):
    data = GOOD[0][:at] + change + GOOD[0][at + len(change) :]
    try:
        layout = Layout.of(data)
        values = {name: data[start:stop] for name, (start, stop) in layout.values.items()}
        label = read_label(values["label"])
    except LayoutError:
        return
    if len(values["weight"]) != 4:  # which the reader asks besides: see Rows.kind
        return
    features = tf.train.Example.FromString(data).features.feature
    assert features["image"].bytes_list.value[0] == values["image"]
    assert list(features["label"].int64_list.value) == [label]
    np.testing.assert_equal(
        np.float32(features["weight"].float_list.value[0]), np.frombuffer(values["weight"], "<f4")[0]
    )


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_varints_are_those_of_protobuf(value):
    data = tf.train.Int64List(value=[value]).SerializeToString()
    if value:
        assert read_label(data[2:]) == value
    if value > 0:
        assert tf_example.to_varint(value) == data[2:]
    with pytest.raises(LayoutError):
        read_label(data[2:] + b"\x01")


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 3])
def test_no_varint(data):
    with pytest.raises(LayoutError, match="should be one number"):
        read_label(data)


def test_a_shard_of_the_wrong_count_is_told_before_any_memory_is_asked_for(tmp_path):
    path = tmp_path / "shard"
    path.write_bytes(frame(GOOD[0]))
    with pytest.raises(ContractError, match="the contract counts 5 records, and the file ends before this one"):
        mmap_tfrecord.Shard(str(path), 5).place(0)


@pytest.mark.slow
def test_a_program_may_end_while_batches_are_read(tmp_path):
    """TensorFlow's threads are in Python then; see `gather.Calls`."""
    write_dataset(tmp_path / "d", encoding="uint8", splits={"train": (200, 100)})
    code = (
        "from trainer import dataset\n"
        f"batches = iter(dataset.load({str(tmp_path / 'd')!r}, 'train', 2, shuffle=True, seed=0).repeat())\n"
        "for _ in range(20): next(batches)\n"
        "print('read', flush=True)\n"
    )
    assert fresh_python.output_of(code) == b"read\n"
