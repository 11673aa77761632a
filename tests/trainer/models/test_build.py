import sys

import keras
import numpy as np
import pytest
from keras import layers

from tests.support.datasets import make_contract, normalization
from trainer.config import TrainerError
from trainer.models import build

LABELS = ("a", "b", "c")


@pytest.mark.parametrize("name", ["cnn", "resnet20"])
@pytest.mark.parametrize("shape", [(8, 8, 3), (33, 50, 3), (1, 5, 3), (96, 96, 3)])
def test_built_in_networks_take_any_shape(name, shape):
    network = build.build(name, make_contract(image_shape=shape, labels=LABELS))
    assert network(np.zeros((2, *shape), np.float32)).shape == (2, 3)
    assert build.gives_logits(network)


def test_resnet20_is_the_papers():
    network = build.build("resnet20", make_contract(image_shape=(32, 32, 3), labels=tuple("abcdefghij")))
    weighted = [layer for layer in network.layers if isinstance(layer, (layers.Conv2D, layers.Dense))]
    on_shortcuts = [layer for layer in weighted if getattr(layer, "kernel_size", None) == (1, 1)]
    assert len(weighted) - len(on_shortcuts) == 20
    assert 0.26e6 < network.count_params() < 0.28e6


def test_the_small_cnn_is_small_and_has_no_batch_norm():
    network = build.build("cnn", make_contract(image_shape=(128, 128, 3)))
    assert 50_000 < network.count_params() < 300_000
    assert not any(isinstance(layer, layers.BatchNormalization) for layer in network.layers)


def test_a_network_of_keras_by_name():
    network = build.build("MobileNetV2", make_contract(image_shape=(32, 32, 3), labels=LABELS))
    assert network.output_shape == (None, 3)
    assert network.name == "mobilenetv2"


def test_its_own_preprocessing_is_left_out_for_normalized_images_and_kept_for_raw_ones():
    def rescalings(mode):
        contract = make_contract(image_shape=(32, 32, 3), normalization=normalization(mode))
        backbone = build.build("MobileNetV3Small", contract).layers[1]
        return sum(isinstance(layer, layers.Rescaling) for layer in backbone.layers)

    assert rescalings("none") == rescalings("zscore") + 1


def test_preprocessing_that_cannot_be_left_out_is_refused():
    contract = make_contract(image_shape=(32, 32, 3))
    with pytest.raises(TrainerError, match=r"scales its input itself .* normalized already .zscore"):
        build.build("EfficientNetB0", contract)


@pytest.mark.parametrize("name", ["nothing", "mobilenet_v2", "MobilenetV2", "__name__"])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(TrainerError) as error:
        build.build(name, make_contract())
    assert f"Received: {name!r}" in str(error.value)
    assert "MobileNetV2" in str(error.value)


def test_too_small_an_image_for_a_network_is_told():
    with pytest.raises(TrainerError, match=r"MobileNetV2 does not take the contract's \(8, 8, 3\)"):
        build.build("MobileNetV2", make_contract())


def test_one_class_cannot_be_trained_on():
    with pytest.raises(TrainerError, match=r"at least two classes. Dataset 'tiny' has 1: ok"):
        build.build("cnn", make_contract(labels=("ok",)))


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine_for_test.py").write_text(
        "import keras\n"
        "def net(contract):\n"
        "    return keras.Sequential([keras.Input(contract.image_shape), keras.layers.Flatten(),\n"
        "                             keras.layers.Dense(len(contract.labels), activation='softmax')])\n"
        "def wrong(contract):\n    return 3\n"
        "class Graphless(keras.Model):\n    pass\n"
        "def graphless(contract):\n    return Graphless()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "mine_for_test"
    sys.modules.pop("mine_for_test", None)


def test_a_function_of_ones_own(mine):
    network = build.build(f"{mine}:net", make_contract(labels=LABELS))
    assert network.output_shape == (None, 3)
    assert not build.gives_logits(network)
    with pytest.raises(TrainerError, match=r"should return a keras.Model. It returned a int"):
        build.build(f"{mine}:wrong", make_contract())
    with pytest.raises(TrainerError, match="should name an importable module and a function in it"):
        build.build(f"{mine}:absent", make_contract())
    with pytest.raises(TrainerError, match="should name an importable module"):
        build.build("no_such_module_here:f", make_contract())
    with pytest.raises(TrainerError, match=r":graphless should return a network with a graph\. Graphless is"):
        build.build(f"{mine}:graphless", make_contract())


def test_a_sigmoid_head_is_refused():
    network = keras.Sequential([keras.Input((4,)), layers.Dense(2, activation="sigmoid", name="head")])
    with pytest.raises(TrainerError, match="layer 'head' with sigmoid"):
        build.gives_logits(network)
    softmax = keras.Sequential([keras.Input((4,)), layers.Dense(2), layers.Softmax()])
    assert not build.gives_logits(softmax)


def test_weights_come_from_a_model_or_a_weights_file(tmp_path):
    contract = make_contract()
    trained = build.build("cnn", contract)
    trained.save(tmp_path / "m.keras")
    trained.save_weights(tmp_path / "m.weights.h5")
    for file in ("m.keras", "m.weights.h5"):
        network = build.build("cnn", contract, str(tmp_path / file))
        for given, kept in zip(network.get_weights(), trained.get_weights(), strict=True):
            np.testing.assert_array_equal(given, kept)


def test_weights_of_a_network_without_its_head(tmp_path):
    contract = make_contract(image_shape=(32, 32, 3), normalization=normalization("symmetric"))
    published = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(32, 32, 3), alpha=1.0, pooling="avg"
    )
    published.save_weights(tmp_path / "p.weights.h5")
    network = build.build("MobileNetV2", contract, str(tmp_path / "p.weights.h5"))
    for given, kept in zip(network.layers[1].get_weights(), published.get_weights(), strict=True):
        np.testing.assert_array_equal(given, kept)


def test_weights_that_do_not_fit_or_are_not_there(tmp_path):
    build.build("resnet20", make_contract()).save(tmp_path / "other.keras")
    with pytest.raises(TrainerError, match="do not fit cnn"):
        build.build("cnn", make_contract(), str(tmp_path / "other.keras"))
    with pytest.raises(TrainerError, match="There is no file"):
        build.build("cnn", make_contract(), str(tmp_path / "no.keras"))
    (tmp_path / "text.weights.h5").write_text("no weights")
    with pytest.raises(TrainerError, match=r"cannot read .*text.weights.h5.* it is no HDF5 file"):
        build.build("cnn", make_contract(), str(tmp_path / "text.weights.h5"))


def test_a_saved_model_cannot_bring_code_along(tmp_path):
    network = keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x * 2), layers.Dense(2)])
    network.save(tmp_path / "lambda.keras")
    with pytest.raises(TrainerError, match="in safe mode"):
        build.load(tmp_path / "lambda.keras")
    with pytest.raises(TrainerError, match="No model at"):
        build.load(tmp_path / "absent.keras")
