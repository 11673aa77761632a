"""Batches are made ahead, also where training has to be reproducible."""

import time

import pytest
import tensorflow as tf

from tests.support.datasets import write_dataset
from trainer.data import dataset, jpeg_crops
from trainer.training import train

SHUFFLED = {"shuffle": True, "seed": 3}
UPPER_HALF = jpeg_crops.Crops(
    (4, 8), lambda _, sizes: (0 * sizes[:, 0], 0 * sizes[:, 0], sizes[:, 0] / 2, sizes[:, 1]), longest=1.0
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    for encoding in ("uint8", "jpeg"):
        write_dataset(directory / encoding, encoding=encoding, splits={"train": (11, 6)}, shards=3)
    return directory


def made_while_one_is_used(directory, monkeypatch, **options):
    """The number of batches that tf.data has made when the first one was taken and the next is not yet asked for."""
    made = []

    def counted(*batch):
        number = tf.size(tf.nest.flatten(batch)[0])
        # Not stateful, as the functions of the loader.
        return tf.numpy_function(lambda size: (made.append(size), size)[1], [number], tf.int32, stateful=False), batch

    prefetch = tf.data.Dataset.prefetch
    monkeypatch.setattr(tf.data.Dataset, "prefetch", lambda self, size: prefetch(self.map(counted), size))
    iterator = iter(dataset.load(directory, "train", 1, **options))
    next(iterator)
    end = time.monotonic() + 10
    while len(made) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    return len(made)


@pytest.mark.parametrize("streamed", [False, True], ids=["local", "streamed"])
@pytest.mark.parametrize(
    ("encoding", "options"),
    [
        ("uint8", {}),
        ("uint8", SHUFFLED),
        ("uint8", SHUFFLED | {"resample": "uniform"}),
        ("uint8", SHUFFLED | {"share": (0, 2)}),
        pytest.param("jpeg", SHUFFLED, marks=pytest.mark.slow),
        pytest.param("jpeg", SHUFFLED | {"resample": "uniform"}, marks=pytest.mark.slow),
        pytest.param("jpeg", SHUFFLED | {"crops": UPPER_HALF}, marks=pytest.mark.slow),
    ],
    ids=["in order", "shuffled", "resampled", "shared", "jpeg", "jpeg, resampled", "jpeg, cropped"],
)
def test_batches_are_made_ahead_where_training_is_reproducible(prepared, encoding, options, streamed, monkeypatch):
    train.start_keras(0, deterministic=True)
    if streamed:
        monkeypatch.setattr(dataset.mmap_tfrecord, "open_shards", lambda *_: None)
    assert made_while_one_is_used(prepared / encoding, monkeypatch, **options) > 1
