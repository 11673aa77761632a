import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import ContractError, Shard, Split
from tests.support.datasets import make_contract, picture, record, write_dataset
from trainer.data import dataset

COUNTS = (11, 6)  # 17 records: not a multiple of the batch


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "set"
    write_dataset(path, splits={"train": COUNTS, "empty": (0, 0)}, shards=3)
    return path


def red_corner(contract, images):
    """Which record each image is: `picture` writes its index there."""
    n = contract.normalization
    return [round((float(image[0, 0, 0]) - n.offset[0]) / n.scale[0]) for image in images]


def indices(directory, **options):
    contract = contracts.load(directory)
    return [i for images, *_ in dataset.load(directory, "train", 4, **options) for i in red_corner(contract, images)]


@pytest.mark.parametrize("encoding", contracts.ENCODINGS)
@pytest.mark.parametrize("mode", ["zscore", "none"])
def test_every_record_once_with_its_exact_pixels(tmp_path, encoding, mode):
    contract = write_dataset(tmp_path / "d", encoding=encoding, mode=mode, splits={"train": COUNTS}, shards=3)
    batches = list(dataset.load(tmp_path / "d", "train", 4))
    assert [len(labels) for _, labels in batches] == [4, 4, 4, 4, 1]
    assert batches[0][0].dtype == tf.float32
    images = np.concatenate([images for images, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    assert np.bincount(labels).tolist() == list(COUNTS)
    if encoding == "jpeg":
        return  # lossy: its pixels are not the drawn ones
    found = red_corner(contract, images)
    assert sorted(found) == list(range(17))
    for index, image, label in zip(found, images, labels, strict=True):
        expected = contracts.normalize(contract, tf.constant(picture(index, label))).numpy()
        if encoding == "float16":
            expected = expected.astype(np.float16).astype(np.float32)
        np.testing.assert_allclose(image, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("encoding", "dtype"), [("uint8", "uint8"), ("float16", "float16"), ("float32", "float32"), ("png", "uint8")]
)
def test_images_can_stay_as_stored(tmp_path, encoding, dtype):
    contract = write_dataset(tmp_path / "d", encoding=encoding, splits={"train": (3, 2)})
    assert dataset.wire_dtype(contract) == dtype
    images, _ = next(iter(dataset.load(tmp_path / "d", "train", 5, dequantize=False)))
    assert images.dtype == dtype
    whole, _ = next(iter(dataset.load(tmp_path / "d", "train", 5)))
    if dtype == "uint8":
        images = contracts.normalize(contract, images)
    np.testing.assert_array_equal(tf.cast(images, tf.float32), whole)


def test_orders(directory):
    plain = indices(directory)
    assert plain == indices(directory)
    first = indices(directory, shuffle=True, seed=3)
    assert first == indices(directory, shuffle=True, seed=3)
    assert first != indices(directory, shuffle=True, seed=4)
    assert sorted(first) == sorted(plain) == list(range(17))
    assert first != plain


def test_each_epoch_has_its_own_order_and_two_runs_agree(directory):
    contract = contracts.load(directory)

    def epochs():
        batches = dataset.load(directory, "train", 4, shuffle=True, seed=0)
        return [[i for images, _ in batches for i in red_corner(contract, images)] for _ in range(3)]

    one, two = epochs(), epochs()
    assert one == two
    assert one[0] != one[1] != one[2]
    assert all(sorted(epoch) == list(range(17)) for epoch in one)


@pytest.mark.slow
@pytest.mark.parametrize("remote", [False, True])
def test_a_pass_is_a_function_of_its_number_and_can_begin_anywhere(directory, remote, monkeypatch):
    contract = contracts.load(directory)
    place = f"file://{directory}" if remote else directory
    assert dataset.is_gathered(place, "train") is not remote
    position = [0, 0]
    batches = dataset.load(place, "train", 4, shuffle=True, seed=3, start=lambda: tuple(position))

    def read(number, skip):
        position[:] = number, skip
        return [red_corner(contract, images) for images, _ in batches]

    passes = [read(number, 0) for number in range(3)]
    assert passes[0] != passes[1] != passes[2]
    tf.random.set_seed(99)  # the program's own seed is no part of it
    assert read(2, 0) == passes[2]
    assert read(0, 0) == passes[0]
    assert [read(1, skip) for skip in range(6)] == [passes[1][skip:] for skip in range(6)]
    by_itself = dataset.load(place, "train", 4, shuffle=True, seed=3)
    assert [[red_corner(contract, images) for images, _ in by_itself] for _ in range(3)] == passes
    options = dataset.ReadOptions("train", 4, shuffle=True, seed=3)
    keys = [
        tf.io.parse_single_example(r, contracts.feature_spec(contract))["key"].numpy()
        for r in dataset.records_of_batch(place, options, 1, 2)
    ]
    assert keys == [b"%016x-000" % index for index in passes[1][2]]


@pytest.mark.parametrize("shuffle", [False, True])
def test_number_of_batches_is_known(directory, shuffle):
    assert dataset.load(directory, "train", 4, shuffle=shuffle).cardinality() == 5
    assert dataset.load(directory, "train", 4, shuffle=shuffle, drop_remainder=True).cardinality() == 4


def test_weights_come_along_where_the_contract_has_them(tmp_path):
    contract = write_dataset(tmp_path / "d", splits={"train": (3, 2)}, weighted=True)
    images, _, weights = next(iter(dataset.load(tmp_path / "d", "train", 5)))
    assert weights.numpy().tolist() == [index / 2 for index in red_corner(contract, images)]


def test_unknown_and_empty_splits(directory):
    with pytest.raises(ContractError, match="No split 'tests' in dataset 'tiny': it has empty, train"):
        dataset.load(directory, "tests", 4)
    with pytest.raises(ContractError, match="holds no records: choose another split"):
        dataset.load(directory, "empty", 4)


def rewrite(directory, records, claimed=None):
    """Puts other records into the only shard and makes the contract agree with its size."""
    contract = contracts.load(directory)
    old = contract.splits["train"].shards[0]
    with tf.io.TFRecordWriter(str(directory / old.file)) as writer:
        for data in records:
            writer.write(data)
    size = (directory / old.file).stat().st_size
    count = len(records) if claimed is None else claimed
    counts = {"ok": count, "broken": 0}
    shard = Shard(old.file, count, size, old.sha256)
    split = Split(counts, counts, {"ok": 0, "broken": 0}, (shard,))
    changed = dataclasses.replace(contract, splits={"train": split})
    (directory / contracts.FILE_NAME).write_text(changed.to_json())


def test_records_that_break_the_contract_stop_the_pass(tmp_path):
    directory = tmp_path / "d"
    write_dataset(directory, splits={"train": (3, 0)}, shards=1)
    good = [record(make_contract(), i, 0) for i in range(3)]
    for bad in (
        record(make_contract(), 3, 2),  # label id beyond the vocabulary
        record(make_contract(), 3, -1),
        record(make_contract(image_shape=(8, 4, 3)), 3, 0),  # half an image
    ):
        rewrite(directory, [*good, bad])
        with pytest.raises(tf.errors.InvalidArgumentError):
            list(dataset.load(directory, "train", 4))
    rewrite(directory, [record(make_contract(image_shape=(16, 8, 3)), i, 0) for i in range(4)])
    with pytest.raises(tf.errors.InvalidArgumentError):  # two images' worth of bytes in each: no shift, no reshape
        list(dataset.load(directory, "train", 4))


def test_a_record_fewer_than_the_contract_says_is_noticed(tmp_path, monkeypatch):
    directory = tmp_path / "d"
    write_dataset(directory, splits={"train": (3, 0)}, shards=1)
    rewrite(directory, [record(make_contract(), i, 0) for i in range(3)], claimed=4)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"record 3: the contract counts 4 records"):
        list(dataset.load(directory, "train", 2))
    with pytest.raises(tf.errors.FailedPreconditionError, match="to contain 4 elements but contained only 3"):
        list(dataset.load(f"file://{directory}", "train", 2))  # remote, for all that is known
    monkeypatch.setattr(dataset.mmap_tfrecord, "open_shards", lambda *_: None)
    with pytest.raises(ContractError, match=r"record 3: the contract counts 4 records"):
        dataset.load(directory, "train", 2)
