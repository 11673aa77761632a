"""Which record got which answer: keys and pixels stand beside the labels that they belong to."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.support.datasets import picture, write_dataset
from trainer.data import dataset
from trainer.evaluation import inference, out_of_fold


@pytest.fixture(scope="module")
def network():
    """Its first logit is the red value of the pixel at the top left, which numbers the records; see `picture`."""
    made = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2, use_bias=False)])
    weights = np.zeros((192, 2), np.float32)
    weights[0, 0] = 1
    made.set_weights([weights])
    return made


@pytest.mark.parametrize(("encoding", "shards"), [("uint8", 3), ("png", 3), ("uint8", 19)])
def test_keys_stand_beside_their_records(tmp_path, network, encoding, shards):
    """Gathered and streamed, and more shards than are read side by side."""
    contract = write_dataset(tmp_path / "d", encoding=encoding, mode="none", splits={"test": (30, 15)}, shards=shards)
    found = inference.predict(network, tmp_path / "d", "test", 7)
    assert found.names == contract.labels
    numbers = found.logits[:, 0].astype(int)
    assert sorted(numbers) == list(range(45))
    assert found.keys == tuple(f"{n:016x}-000" for n in numbers)
    assert np.bincount(found.labels).tolist() == [30, 15]
    assert found.answers().tolist() == [1 if n < 0 else 0 for n in numbers]
    np.testing.assert_allclose(found.probabilities(2.0)[:, 0], 1 / (1 + np.exp(-numbers / 2)), atol=1e-12)


def test_splits_and_last_batches_are_of_one_graph(tmp_path):
    write_dataset(tmp_path, encoding="uint8", mode="none", splits={"validation": (5, 4), "test": (6, 7)})
    traced = []

    def function(images):
        traced.append(images.shape)
        return images[:, 0, 0, :2]

    on_split = inference.outputs(function, tmp_path, 4)
    for split, records in (("validation", 9), ("test", 13)):
        _, keys, _, values = on_split(split)
        assert len(keys) == records
        assert values[:, 0].tolist() == [int(key[:16], 16) for key in keys]
    assert [shape.as_list() for shape in traced] == [[None, 8, 8, 3]]


@pytest.mark.parametrize("streamed", [False, True], ids=["local", "streamed"])
@pytest.mark.parametrize(("encoding", "mode"), [("float16", "zscore"), ("uint8", "imagenet"), ("png", "none")])
def test_the_pixels_of_some_records(tmp_path, encoding, mode, streamed, monkeypatch):
    write_dataset(tmp_path / "d", encoding=encoding, mode=mode, splits={"test": (6, 5)})
    if streamed:
        monkeypatch.setattr(dataset.mmap_tfrecord, "open_shards", lambda *_: None)
    keys, labels = inference.keys(tmp_path / "d", "test")
    positions = np.array([10, 0, 4])
    images = inference.pixels(tmp_path / "d", "test", positions, 4)
    for position, image in zip(positions, images, strict=True):
        np.testing.assert_array_equal(image, picture(int(keys[position][:16], 16), labels[position]))
    assert inference.pixels(tmp_path / "d", "test", np.zeros(0, np.int64), 4) == []
    batches, read = dataset.load_at(tmp_path / "d", "test", positions, 2)
    assert read.tolist() == (list(range(11)) if streamed else [10, 0, 4])  # of local shards, no other record is read
    found = [label for _, of_batch in batches for label in of_batch.numpy().tolist()]
    assert found == labels[read].tolist()


def test_a_line_has_the_path_of_its_image_and_its_fold():
    table = "key,label\r\na-000,cat\r\nb-000,dog\r\n"
    sources = {"a-000": "in/cat/1, old.jpg"}
    expected = 'key,source,label\r\na-000,"in/cat/1, old.jpg",cat\r\nb-000,,dog\r\n'
    assert out_of_fold.with_places(table, sources) == expected
    expected = 'key,source,fold,label\r\na-000,"in/cat/1, old.jpg",2,cat\r\nb-000,,0,dog\r\n'
    assert out_of_fold.with_places(table, sources, {"a-000": 2, "b-000": 0}) == expected
