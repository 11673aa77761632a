"""Published weights: the pixels they want, and how a network of any contract gets them."""

import functools
import http.server
import threading

import h5py
import keras
import numpy as np
import pytest
from keras.src.applications import mobilenet_v2
from keras.src.legacy.saving import legacy_h5_format

from tests.support.datasets import make_contract, normalization, picture, write_dataset
from trainer.config import TrainerError
from trainer.models import alignment, build, pretrained

SIZE = (32, 32, 3)
FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """(network of random weights, the file of them under the name that Keras downloads)."""
    network = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=SIZE, pooling="avg")
    path = tmp_path_factory.mktemp("published") / FILE
    with h5py.File(path, "w") as file:  # published files have this older layout
        legacy_h5_format.save_weights_to_hdf5_group(file, network)
    return network, path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Keras's cache, in a folder of the test."""
    from keras.src.backend import config

    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path / "keras"))
    (tmp_path / "keras").mkdir()  # Keras takes /tmp/.keras in place of a folder that is not there
    return tmp_path / "keras" / "models"


def test_every_network_of_keras_has_known_pixels():
    names = [name for name in dir(keras.applications) if name[0].isupper()]
    assert len(names) > 30
    for name in names:
        assert len(pretrained.wanted_pixels(name).scale) == 3


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("mobilenet_v2", "MobileNetV2"),
        ("mobilenet", "MobileNet"),
        ("xception", "Xception"),
        ("resnet_v2", "ResNet50V2"),
        ("inception_v3", "InceptionV3"),
        ("inception_resnet_v2", "InceptionResNetV2"),
        ("nasnet", "NASNetMobile"),
        ("densenet", "DenseNet121"),
        ("resnet", "ResNet50"),
        ("vgg16", "VGG16"),
        ("efficientnet", "EfficientNetB0"),
    ],
)
def test_they_are_those_of_preprocess_input(module, name):
    pixels = picture(3, 1)[None].astype(np.float32)
    wanted = pretrained.wanted_pixels(name)
    ours = (pixels[..., ::-1] if wanted.reversed else pixels) * np.float32(wanted.scale) + np.float32(wanted.offset)
    theirs = getattr(keras.applications, module).preprocess_input(pixels.copy())
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    ["MobileNetV3Small", "EfficientNetV2B0", pytest.param("EfficientNetV2S", marks=pytest.mark.slow), "ConvNeXtTiny"],
)
def test_they_are_those_of_the_layers_that_a_network_puts_in_front(name):
    network = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=SIZE, include_preprocessing=True
    )
    low, high = (alignment.range_at_first_weights(network, SIZE, (v, v))[0] for v in (0.0, 255.0))
    wanted = pretrained.wanted_pixels(name)
    assert low == pytest.approx(min(wanted.offset), abs=1e-4)
    assert high == pytest.approx(min(255 * s + o for s, o in zip(wanted.scale, wanted.offset, strict=True)), abs=1e-4)


@pytest.mark.parametrize("mode", ["zscore", "unit", "imagenet", "none"])
@pytest.mark.parametrize("name", ["ResNet50", "EfficientNetV2S", "DenseNet121"])
def test_the_layer_makes_the_wanted_pixels_of_any_normalization(name, mode):
    contract = make_contract(normalization=normalization(mode))
    wanted = pretrained.wanted_pixels(name)
    inputs = keras.Input(contract.image_shape)
    layer = keras.Model(inputs, pretrained.converted(inputs, contract, wanted))
    pixels = picture(5, 0)[None].astype(np.float32)
    n = contract.normalization
    found = layer(pixels * np.float32(n.scale) + np.float32(n.offset)).numpy()
    straight = pixels[..., ::-1] if wanted.reversed else pixels
    np.testing.assert_allclose(found, straight * wanted.scale + wanted.offset, atol=2e-3, rtol=1e-4)


def test_no_layer_where_nothing_changes():
    contract = make_contract(normalization=normalization("symmetric"))
    inputs = keras.Input(contract.image_shape)
    assert pretrained.converted(inputs, contract, pretrained.wanted_pixels("MobileNetV2")) is inputs


@pytest.mark.slow
def test_a_file_of_published_weights_suits_every_contract(published, tmp_path):
    """The backbone sees the pixels it wants, and gives the features it gives on them."""
    source, path = published
    contract = make_contract(image_shape=SIZE)  # z-scored
    network = build.build("MobileNetV2", contract, str(path))
    pixels = picture(7, 1, SIZE)[None].astype(np.float32)
    n = contract.normalization
    below = keras.Model(network.inputs, network.get_layer("logits").input)
    found = below(pixels * np.float32(n.scale) + np.float32(n.offset), training=False).numpy()
    np.testing.assert_allclose(found, source(pixels / 127.5 - 1, training=False).numpy(), atol=1e-5)

    network.save(tmp_path / "again.keras")
    again = build.build("MobileNetV2", contract, str(tmp_path / "again.keras"))
    assert again.get_layer(pretrained.CONVERSION)
    for one, other in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_beside_a_contract_are_of_a_run_and_not_converted(published, tmp_path):
    contract = write_dataset(tmp_path, shape=SIZE, mode="zscore", splits={"train": (1, 1)})
    source, _ = published
    source.save_weights(tmp_path / "mine.weights.h5")
    network = build.build("MobileNetV2", contract, str(tmp_path / "mine.weights.h5"))
    assert pretrained.CONVERSION not in [layer.name for layer in network.layers]
    for one, other in zip(source.get_weights(), network.layers[1].get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_imagenet_comes_from_kerass_cache(published, cache):
    source, path = published
    cache.mkdir()
    (cache / FILE).write_bytes(path.read_bytes())
    with pytest.warns(UserWarning, match="224"):
        network = build.build("MobileNetV2", make_contract(image_shape=SIZE), "imagenet")
    backbone = next(layer for layer in network.layers if isinstance(layer, keras.Model))
    for one, other in zip(source.get_weights(), backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_imagenet_is_downloaded_once(published, cache, monkeypatch):
    source, path = published
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(path.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", f"http://127.0.0.1:{server.server_port}/")
    with pytest.warns(UserWarning, match="224"):
        build.build("MobileNetV2", make_contract(image_shape=SIZE), "imagenet")
    server.shutdown()
    server.server_close()
    assert (cache / FILE).read_bytes() == path.read_bytes()
    with pytest.warns(UserWarning, match="224"):  # the server is gone: this is from the cache
        network = build.build("MobileNetV2", make_contract(image_shape=SIZE), "imagenet")
    backbone = next(layer for layer in network.layers if isinstance(layer, keras.Model))
    np.testing.assert_array_equal(backbone.get_weights()[0], source.get_weights()[0])


def test_without_a_network_the_error_says_what_to_get_and_where_to_put_it(cache, monkeypatch):
    monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", "http://127.0.0.1:9/models/")
    with pytest.warns(UserWarning, match="224"), pytest.raises(TrainerError) as error:
        build.build("MobileNetV2", make_contract(image_shape=SIZE), "imagenet")
    text = str(error.value)
    assert text.startswith("The ImageNet weights of MobileNetV2 could not be downloaded ([Errno ")
    assert f"download http://127.0.0.1:9/models/{FILE} and put the file there as {cache / FILE}," in text
    assert text.endswith("or name the file with --init-weights FILE.")


def test_imagenet_is_for_networks_of_keras():
    for name in ("cnn", "resnet20", "some.module:function"):
        with pytest.raises(TrainerError, match="--init-weights imagenet is for networks of"):
            build.build(name, make_contract(), "imagenet")


def test_what_wastes_a_published_network_is_told(tmp_path):
    small = write_dataset(tmp_path / "small", splits={"train": (3, 2)}, shape=(96, 224, 3))
    large = write_dataset(tmp_path / "large", splits={"train": (3, 2)}, shape=(224, 128, 3))
    [random] = pretrained.warnings("MobileNetV2", "", large)
    assert random.startswith("MobileNetV2 begins with random weights. On 5 train records, published weights are likely")
    assert pretrained.warnings("MobileNetV2", "imagenet", large) == []
    [said] = pretrained.warnings("MobileNetV2", "imagenet", small)
    assert said.endswith("the dataset's are 96x224: on so small ones they see little. Prepare with --size 224x224.")
    (tmp_path / "small/model.keras").touch()
    assert pretrained.warnings("MobileNetV2", str(tmp_path / "small/model.keras"), small) == []
    assert pretrained.warnings("cnn", "", small) == []
