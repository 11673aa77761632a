"""A model file brings layers and weights; whatever else it brings is refused before Keras sees it."""

from __future__ import annotations

import io
import json
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pipelines.contract import graph_check
from tests.support.datasets import make_contract
from trainer.config import TrainerError
from trainer.doctor.subject.load import subject_of
from trainer.models import build, keras_file

IMAGE = (16, 16, 3)


def dense():
    return keras.Sequential([keras.Input((4,)), layers.Dense(2, name="head")])


def rewrite(path, change):
    """Replaces members of a .keras file: `change` gets a dictionary of their contents."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def with_layer(layer):
    """Puts a layer from a configuration in the place of the last one."""

    def change(members):
        config = json.loads(members["config.json"])
        config["config"]["layers"][-1] = layer
        members["config.json"] = json.dumps(config)

    return change


def refuse(path, match):
    for load in (build.load, lambda file: keras_file.load(file, compile=True)):
        with pytest.raises(TrainerError, match=match):
            load(path)
    with pytest.raises(TrainerError, match=match):
        build.build("cnn", make_contract(), str(path))
    with pytest.raises(TrainerError, match=match):
        subject_of(model=str(path))


def named(module, kind, config):
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


@pytest.mark.parametrize(
    ("layer", "what"),
    [
        (named("keras.layers", "Lambda", {"name": "x"}), "layer 'x' with the class keras.layers.Lambda"),
        (named("keras.layers", "TFSMLayer", {"filepath": "/tmp/m"}), "the class keras.layers.TFSMLayer"),
        (named("os", "system", {"command": "touch ran"}), "the class os.system"),
        (named("keras.utils", "get_file", {"origin": "http://x"}), "the class keras.utils.get_file"),
        (named("keras_hub.layers", "Any", {}), "the class keras_hub.layers.Any"),
        (named("keras.layersX", "Dense", {}), "the class keras.layersX.Dense"),
        (named("keras.layers", "__lambda__", {"value": ["", None, None]}), "the class keras.layers.__lambda__"),
        (named("keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}), "a vocabulary that is the name of a"),
        (named("keras.layers", "Activation", {"activation": named("keras.utils", "function", "get_file")}),
         "the function keras.utils.get_file"),
        (named("keras.layers", "Dense", {"units": 2, "kernel_initializer": named("mine", "Init", {})}),
         "the class mine.Init"),
    ],
)  # fmt: skip
def test_a_class_or_function_that_is_not_for_models_is_refused(tmp_path, layer, what):
    path = tmp_path / "m.keras"
    dense().save(path)
    rewrite(path, with_layer(layer))
    refuse(path, f"not loaded in safe mode, because it has .*{what}")


def test_the_same_in_the_old_format(tmp_path):
    path = tmp_path / "m.h5"
    dense().save(path)
    assert keras_file.load(path, compile=True).layers[-1].units == 2
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][-1] = {"class_name": "Lambda", "config": {"name": "x"}}
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(TrainerError, match="layer 'x' with the class Lambda"):
        subject_of(model=str(path))


@keras.saving.register_keras_serializable("test_keras_file")
class Own(layers.Layer):
    def call(self, x):
        return x * 2


def test_a_layer_that_the_running_program_registered_is_loaded(tmp_path):
    path = tmp_path / "m.keras"
    keras.Sequential([keras.Input((4,)), Own(), layers.Dense(2)]).save(path)
    assert isinstance(build.load(path).layers[0], Own)


class Unregistered(layers.Layer):
    def call(self, x):
        return x


def test_classes_that_are_not_kerass_are_named():
    plain = keras.Sequential([keras.Input((4,)), layers.Dense(2, activation="relu", kernel_initializer="zeros")])
    assert keras_file.own_classes(plain) == {}
    own = keras.Sequential([keras.Input((4,)), Own(), Unregistered(), keras.Sequential([layers.Dense(2), Own()])])
    assert keras_file.own_classes(own) == {f"{__name__}.Own": True, f"{__name__}.Unregistered": False}


class WithArray(layers.Layer):
    """Is made of what no configuration can hold."""

    def __init__(self, factors, **options):
        super().__init__(**options)
        self.factors = factors

    def call(self, x):
        return x * self.factors


def test_what_a_file_loses_is_told_before_there_is_one():
    def network(layer):
        return keras.Sequential([keras.Input((4,)), layer, layers.Dense(2)], name="net")

    assert keras_file.rehearse(network(layers.Dense(3))) == ""
    assert keras_file.rehearse(network(Own())) == ""
    said = keras_file.rehearse(network(layers.Lambda(lambda x: x * 2, name="twice")))
    assert said.startswith("'model.keras' is not loaded in safe mode, because it has layer 'twice'")
    assert f"with the class {__name__}.Unregistered" in keras_file.rehearse(network(Unregistered()))
    with pytest.raises(TrainerError, match=r"Network 'net' cannot be saved \(NotImplementedError: .*get_config"):
        keras_file.rehearse(network(WithArray(np.ones(4))))


def test_modules_are_imported_before_a_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("one_of_mine", "other_of_mine"):
        (tmp_path / f"{name}.py").write_text("value = 1\n")
        monkeypatch.delitem(sys.modules, name, raising=False)
    keras_file.import_modules("")
    keras_file.import_modules("one_of_mine, other_of_mine")
    assert {"one_of_mine", "other_of_mine"} <= set(sys.modules)
    (tmp_path / "broken_one_of_mine.py").write_text("raise KeyError('x')\n")
    with pytest.raises(TrainerError, match=r"--import broken_one_of_mine cannot be imported.*KeyError.*PYTHONPATH"):
        keras_file.import_modules("broken_one_of_mine")


def test_the_users_own_loss_is_not_asked_for_where_the_model_is_not_compiled(tmp_path):
    path = tmp_path / "m.keras"
    model = dense()
    model.compile("adam", loss=lambda true, given: given)
    model.save(path)
    assert build.load(path).layers[-1].units == 2


def _grown(members):
    members["assets/x"] = bytes(80 << 20)


def _outside(members):
    members["assets/../../x"] = b""


def _npz(members):
    members["model.weights.npz"] = members.pop("model.weights.h5")


def _deep(members):
    members["config.json"] = "[" * 100_000


@pytest.mark.parametrize(
    ("change", "what"),
    [(_grown, "which grows 100 times"), (_outside, "which Keras does not write"), (_npz, "'model.weights.npz'"),
     (_deep, "too many levels")],
)  # fmt: skip
def test_a_zip_that_is_not_keras_s_is_refused(tmp_path, change, what):
    path = tmp_path / "m.keras"
    dense().save(path)
    rewrite(path, change)
    refuse(path, what)


def test_a_member_that_is_there_twice_is_refused(tmp_path):
    path = tmp_path / "m.keras"
    dense().save(path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("config.json", "{}")
    refuse(path, "two members of one name")


# -------------------- HDF5


def _external_link(file, other):
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = h5py.ExternalLink(other, "secret")


def _soft_link(file, _):
    file["layers/dense/again"] = h5py.SoftLink("/layers")


def _external_array(file, other):
    del file["layers/dense/vars/0"]
    file.create_dataset("layers/dense/vars/0", (4, 2), "f4", external=[(other, 0, 32)])


def _virtual_array(file, other):
    del file["layers/dense/vars/0"]
    layout = h5py.VirtualLayout((4, 2), "f4")
    layout[:] = h5py.VirtualSource(other, "secret", (4, 2))
    file.create_virtual_dataset("layers/dense/vars/0", layout)


def _shape_bomb(file, _):
    file.create_dataset("layers/dense/vars/2", (1 << 20, 1 << 20), "f4", chunks=(256, 256), compression="gzip")


@pytest.fixture
def secret(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.ones((4, 2), np.float32)
    return str(tmp_path / "other.h5")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_external_link, "a link, which may lead into another file"),
        (_soft_link, "a link, which may lead into another file"),
        (_external_array, "an array that lies in another file"),
        (_virtual_array, "an array that lies in another file"),
        (_shape_bomb, "an array of 4,398,046,511,104 bytes that has 0 bytes"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_weights_do_not_lead_out_of_their_file(tmp_path, secret, change, what, whole):
    def changed(content):
        out = io.BytesIO(content)
        with h5py.File(out, "r+") as file:
            if "layers/dense" not in file:
                file.move("layers/head", "layers/dense")
            change(file, secret)
        return out.getvalue()

    model = dense()
    if whole:
        path = tmp_path / "m.keras"
        model.save(path)
        rewrite(path, lambda members: members.update({"model.weights.h5": changed(members["model.weights.h5"])}))
        refuse(path, what)
    else:
        for name in ("m.weights.h5", "m.h5"):
            path = tmp_path / name
            model.save_weights(tmp_path / "m.weights.h5")
            path.write_bytes(changed((tmp_path / "m.weights.h5").read_bytes()))
            with pytest.raises(TrainerError, match=what):
                build.build("cnn", make_contract(), str(path))


def test_a_cycle_of_hard_links_ends(tmp_path):
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_group("a")["again"] = file["/"]
    with pytest.raises(TrainerError, match="do not fit cnn"):
        build.build("cnn", make_contract(), str(path))


def test_files_of_other_kinds_are_not_weights(tmp_path):
    for name in ("m.weights.json", "m.npz", "m.pkl"):
        (tmp_path / name).write_text("{}")
        with pytest.raises(TrainerError, match=rf"should be a \.keras, \.weights\.h5 or \.h5 file. Received: .*{name}"):
            build.build("cnn", make_contract(), str(tmp_path / name))


# -------------------- what people build is still loaded


def chain(shape, *stack, dtype="float32"):
    inputs = x = keras.Input(shape, dtype=dtype)
    for layer in stack:
        x = layer(x)
    return keras.Model(inputs, x)


def merged(count, *stack, dtype="float32", shape=(4, 6)):
    inputs = [keras.Input(shape, dtype=dtype) for _ in range(count)]
    return keras.Model(inputs, [layer(inputs) for layer in stack])


def adapted(layer, examples):
    layer.adapt(examples)
    return layer


def images():
    return chain(
        IMAGE, layers.Rescaling(2.0), layers.Resizing(20, 20), layers.CenterCrop(16, 16),
        adapted(layers.Normalization(), np.random.default_rng(0).random((4, 16, 16, 3), np.float32)),
        layers.ZeroPadding2D(), layers.Conv2D(4, 3, activation="gelu", kernel_regularizer="l2"),
        layers.BatchNormalization(), layers.ReLU(6.0), layers.DepthwiseConv2D(3, padding="same"), layers.PReLU(),
        layers.SeparableConv2D(4, 3, padding="same"), layers.LeakyReLU(), layers.MaxPooling2D(2),
        layers.Conv2DTranspose(4, 3, strides=2), layers.ELU(), layers.GroupNormalization(2), layers.Cropping2D(1),
        layers.UpSampling2D(interpolation="bilinear"), layers.AveragePooling2D(2), layers.SpatialDropout2D(0.1),
        layers.SpectralNormalization(layers.Conv2D(4, 3)), layers.UnitNormalization(), layers.LayerNormalization(),
        layers.RMSNormalization(), layers.AdaptiveAveragePooling2D(4), layers.AdaptiveMaxPooling2D(3),
        layers.EinsumDense("abcd,de->abce", output_shape=(None, None, 5)), layers.Permute((2, 1, 3)),
        layers.Reshape((3, 15)), layers.Identity(), layers.Flatten(), layers.Dropout(0.1), layers.GaussianNoise(0.1),
        layers.GaussianDropout(0.1), layers.AlphaDropout(0.1), layers.ActivityRegularization(0.1),
        layers.Dense(4, kernel_constraint="max_norm"), layers.Activation("swish"), layers.Softmax(),
    )  # fmt: skip


def augmented():
    return chain(
        IMAGE, layers.RandomFlip(), layers.RandomRotation(0.1), layers.RandomZoom(0.1),
        layers.RandomTranslation(0.1, 0.1), layers.RandomContrast(0.1), layers.RandomBrightness(0.1),
        layers.RandomCrop(12, 12), layers.RandomShear(), layers.RandomPerspective(), layers.RandomHue(0.1),
        layers.RandomSaturation(0.1), layers.RandomSharpness(0.1), layers.RandomGrayscale(), layers.RandomInvert(),
        layers.RandomPosterization(4), layers.RandomColorJitter(), layers.RandomColorDegeneration(0.1),
        layers.RandomGaussianBlur(), layers.RandomErasing(), layers.Solarization(), layers.AutoContrast(),
        layers.AugMix(), layers.RandAugment(), layers.Pipeline([layers.RandomFlip(), layers.Rescaling(2.0)]),
        layers.GlobalAveragePooling2D(),
    )  # fmt: skip


def sequences():
    return chain(
        (8, 6), layers.Masking(), layers.Conv1D(4, 3), layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
        layers.GRU(3, return_sequences=True), layers.SimpleRNN(3, return_sequences=True),
        layers.TimeDistributed(layers.Dense(3)), layers.SeparableConv1D(4, 2), layers.UpSampling1D(),
        layers.MaxPooling1D(), layers.DepthwiseConv1D(2), layers.Conv1DTranspose(3, 2), layers.ZeroPadding1D(),
        layers.Cropping1D(), layers.RNN([layers.LSTMCell(3), layers.GRUCell(3)]), layers.RepeatVector(2),
        layers.GlobalMaxPooling1D(),
    )  # fmt: skip


def volumes():
    return chain(
        (4, 8, 8, 2), layers.ConvLSTM2D(2, 2, return_sequences=True), layers.Conv3D(2, 2), layers.UpSampling3D(),
        layers.MaxPooling3D(), layers.Conv3DTranspose(2, 2), layers.AveragePooling3D(2), layers.ZeroPadding3D(),
        layers.Cropping3D(), layers.GlobalAveragePooling3D(),
    )  # fmt: skip


def attention():
    inputs = keras.Input((8, 6))
    x = layers.MultiHeadAttention(2, 3)(inputs, inputs)
    x = layers.GroupQueryAttention(3, 4, 2)(x, x)
    x = layers.Attention()([x, inputs]) + layers.AdditiveAttention()([x, inputs])
    return keras.Model(inputs, x)


def merging():
    return merged(
        2, layers.Add(), layers.Subtract(), layers.Multiply(), layers.Average(), layers.Maximum(), layers.Minimum(),
        layers.Concatenate(), layers.Dot(axes=1),
    )  # fmt: skip


def texts():
    examples = np.array([["a b"], ["b c"]])
    return chain(
        (1,), adapted(layers.TextVectorization(ngrams=2), examples), layers.Embedding(20, 2, mask_zero=True),
        layers.LSTM(2), dtype="string",
    )  # fmt: skip


def words():
    inputs = keras.Input((1,), dtype="string")
    known = adapted(layers.StringLookup(), np.array([["a"], ["b"]]))
    back = layers.StringLookup(vocabulary=known.get_vocabulary()[1:], invert=True)
    return keras.Model(
        inputs,
        [
            back(known(inputs)),
            layers.StringLookup(vocabulary=["a"], output_mode="one_hot")(inputs),
            layers.Hashing(4)(inputs),
            layers.Hashing(4, salt=7)(inputs),
            adapted(layers.TextVectorization(output_mode="tf_idf"), np.array([["a"], ["b"]]))(inputs),
            layers.HashedCrossing(5)([inputs, inputs]),
        ],
    )


def numbers():
    inputs = keras.Input((3,), dtype="int64")
    return keras.Model(
        inputs,
        [
            layers.IntegerLookup(vocabulary=[3, 4])(inputs),
            layers.CategoryEncoding(4, output_mode="multi_hot")(inputs),
            layers.Discretization([0.1, 0.5])(inputs),
        ],
    )


def sound():
    return chain((4096,), layers.MelSpectrogram())


def operations():
    inputs = keras.Input(IMAGE)
    x = keras.ops.concatenate([inputs, inputs * 2 + 1], axis=-1)
    x = keras.ops.image.resize(keras.ops.transpose(x, (0, 2, 1, 3))[:, 1:5, ::2, ...], (6, 6))
    x = keras.ops.mean(keras.ops.where(x > 0, keras.ops.sqrt(keras.ops.abs(x)), x), axis=(1, 2))
    x = keras.ops.slice_update(keras.ops.softmax(x @ keras.ops.ones((6, 4))), (0, 0), keras.ops.zeros((1, 2)))
    x = keras.ops.sort(keras.ops.cumsum(x, 1))
    return keras.Model(inputs, keras.ops.one_hot(keras.ops.argmax(x, -1), 3))


def activations():
    names = ("relu", "elu", "selu", "gelu", "silu", "softplus", "softsign", "tanh", "sigmoid", "mish", "log_softmax")
    return chain((4,), *(layers.Dense(4, activation=name) for name in names), layers.Activation(keras.ops.relu))


def compiled():
    ones = keras.initializers.Constant(np.ones((3, 3)))
    model = chain(
        (4,), layers.Dense(4, kernel_initializer=keras.initializers.Orthogonal(seed=3), bias_constraint="non_neg"),
        layers.Dense(3, dtype="mixed_float16", kernel_regularizer=keras.regularizers.L1L2(1, 1)),
        keras.Sequential([layers.Dense(3, kernel_initializer=ones)]),
    )  # fmt: skip
    model.compile(
        keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.1, 10)),
        keras.losses.Huber(),
        metrics=["mae", keras.metrics.MeanAbsoluteError(name="x"), keras.losses.huber],
    )
    model.fit(np.zeros((2, 4)), np.zeros((2, 3)), verbose=0)
    return model


USUAL = (
    images, augmented, sequences, volumes, attention, merging, texts, words, numbers, sound, operations, activations,
    compiled,
)  # fmt: skip


class Holder(tf.Module):
    """Saves a network as an export does."""

    def __init__(self, network):
        super().__init__()
        self.parameters = [variable.value for variable in network.variables]
        self.layers = list(network._flatten_layers())  # the lookup tables are in the layers
        specs = [tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype) for tensor in network.inputs]
        self.serve = tf.function(
            lambda *given: network(list(given) if len(given) > 1 else given[0], training=False), input_signature=specs
        )


@pytest.mark.slow
@pytest.mark.parametrize("make", USUAL)
def test_a_model_of_usual_layers_is_loaded_as_a_model_and_as_an_export(tmp_path, make):
    model = make()
    model.save(tmp_path / "m.keras")
    loaded = keras_file.load(tmp_path / "m.keras", compile=True)
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in model.layers]
    tf.saved_model.save(Holder(model), str(tmp_path / "m"))
    assert graph_check.load(str(tmp_path / "m"), {}).serve is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MobileNetV3Small", "ConvNeXtTiny"])
def test_a_published_network_is_loaded_as_a_model_and_as_an_export(tmp_path, name):
    network = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(96, 96, 3), pooling="avg")
    network.save(tmp_path / "m.keras")
    assert build.load(tmp_path / "m.keras").count_params() == network.count_params()
    tf.saved_model.save(Holder(network), str(tmp_path / "m"))
    graph_check.check_folder(str(tmp_path / "m"), {})
