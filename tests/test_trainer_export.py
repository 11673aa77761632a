import keras
import numpy as np
import pytest
import tensorflow as tf
from trainer_fixtures import picture, write_dataset

from pipelines import contract as contracts
from trainer import dataset, export
from trainer import model as models
from trainer.calibration import Calibration, softmax
from trainer.config import TrainerError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(data directory, contract, network, SavedModel): random weights, whose outputs differ from image to image."""
    folder = tmp_path_factory.mktemp("export")
    keras.utils.set_random_seed(0)
    contract = write_dataset(folder / "data", encoding="float16", splits={"test": (9, 8)})
    network = models.build("cnn", contract)
    export.write(network, str(folder / "data"), contract, str(folder / "saved"))
    return folder / "data", contract, network, str(folder / "saved")


def test_bytes_through_the_saved_model_equal_records_through_the_network(made):
    data, contract, network, saved = made
    batches = list(dataset.load(data, "test", 32))
    images, labels = batches[0]
    n = contract.normalization
    red = np.rint((images.numpy()[:, 0, 0, 0] - n.offset[0]) / n.scale[0]).astype(int)
    encoded = [
        bytes(tf.io.encode_png(picture(index, label)).numpy()) for index, label in zip(red, labels.numpy(), strict=True)
    ]
    assert len(encoded) == 17
    assert export.parity(saved, network, encoded, images.numpy()) < 1e-3  # float16 records
    wrong = [*encoded[1:], encoded[0]]
    assert export.parity(saved, network, wrong, images.numpy()) > 1e-3  # the measure sees a difference


def test_signature(made):
    _, contract, network, saved = made
    serve = tf.saved_model.load(saved).signatures["serving_default"]
    (spec,) = serve.structured_input_signature[1].values()
    assert (spec.name, spec.dtype, spec.shape.as_list()) == ("image_bytes", tf.string, [None])
    encoded = [bytes(tf.io.encode_jpeg(np.full((20, 30, 3), v, np.uint8)).numpy()) for v in (0, 200)]  # any size
    out = serve(image_bytes=tf.constant(encoded))
    assert sorted(out) == ["label", "label_id", "probabilities"]
    assert (out["label"].dtype, out["label_id"].dtype) == (tf.string, tf.int64)
    assert (out["probabilities"].dtype, out["probabilities"].shape) == (tf.float32, (2, 2))
    np.testing.assert_allclose(out["probabilities"].numpy().sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(out["label_id"], out["probabilities"].numpy().argmax(axis=1))
    assert [label.decode() for label in out["label"].numpy()] == [contract.labels[i] for i in out["label_id"].numpy()]
    flat = np.full((1, 8, 8, 3), 200, np.uint8)
    alone = export.probabilities_function(network)(contracts.normalize(contract, tf.constant(flat)))
    np.testing.assert_allclose(out["probabilities"][1:], alone, atol=1e-6)


@pytest.mark.parametrize("encoding", contracts.ENCODINGS)
@pytest.mark.parametrize("mode", contracts.NORMALIZATIONS)
def test_the_check_recovers_the_pixels_of_every_encoding(tmp_path, encoding, mode):
    contract = write_dataset(tmp_path / "d", encoding=encoding, mode=mode, splits={"test": (2, 2)})
    images, labels = next(iter(dataset.load(tmp_path / "d", "test", 4)))
    for image, label in zip(images.numpy(), labels.numpy(), strict=True):
        pixels = tf.io.decode_png(export._png(contract, image)).numpy()
        if encoding != "jpeg":
            np.testing.assert_array_equal(pixels, picture(int(pixels[0, 0, 0]), label))
        np.testing.assert_allclose(contracts.normalize(contract, tf.constant(pixels)), image, rtol=1e-3, atol=1e-3)


def test_a_transform_graph_that_is_not_the_records_is_refused(made, tmp_path):
    _, contract, network, saved = made
    images, _ = next(iter(dataset.load(made[0], "test", 8)))
    assert export.check(saved, network, contract, images.numpy()) < 1e-3
    write_dataset(tmp_path / "other", mode="none", splits={"test": (2, 2)})
    export.write(network, str(tmp_path / "other"), contract, str(tmp_path / "saved"))
    with pytest.raises(TrainerError, match="the dataset's transform graph does not give its records"):
        export.check(str(tmp_path / "saved"), network, contract, images.numpy())


def test_only_an_earlier_saved_model_is_replaced(made, tmp_path):
    data, contract, network, _ = made
    home = tmp_path / "home"
    home.mkdir()
    (home / "letter.txt").write_text("dear")
    with pytest.raises(TrainerError, match="holds something else: choose another directory"):
        export.write(network, str(data), contract, str(home))
    assert (home / "letter.txt").read_text() == "dear"
    for _ in range(2):
        export.write(network, str(data), contract, str(tmp_path / "new" / "saved"))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["saved"]


def test_softmax_outputs_are_not_softmaxed_again():
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, activation="softmax")])
    given = export.probabilities_function(network)(tf.constant([[3.0]]))
    np.testing.assert_allclose(given, network(tf.constant([[3.0]])))


def test_the_probabilities_are_the_calibrated_ones(made, tmp_path):
    data, contract, network, plain = made
    images = next(iter(dataset.load(data, "test", 17)))[0].numpy()
    path = str(tmp_path / "saved")
    export.write(network, str(data), contract, path, Calibration(0.05))
    assert export.check(path, network, contract, images, 0.05) < 1e-2
    with pytest.raises(TrainerError, match="disagrees with the trained network"):
        export.check(path, network, contract, images)
    encoded = tf.constant([export._png(contract, image) for image in images])
    one, other = (tf.saved_model.load(p).signatures["serving_default"](image_bytes=encoded) for p in (plain, path))
    np.testing.assert_array_equal(one["label_id"], other["label_id"])
    scaled = softmax(np.log(one["probabilities"].numpy()), 0.05)
    np.testing.assert_allclose(other["probabilities"], scaled, atol=1e-4)


def test_a_temperature_for_a_network_that_ends_in_softmax():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Softmax()])
    given = export.probabilities_function(network, 2.0)(tf.constant([[0.0, 2 * np.log(3)]], tf.float32))
    np.testing.assert_allclose(given, [[0.25, 0.75]], rtol=1e-6)
