"""Images of one channel in the trainer: reading, augmenting, building, exporting; by hand where it is arithmetic."""

from __future__ import annotations

import base64
import dataclasses
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.config import PrepareConfig
from pipelines.core import pixels as pixel_forms
from pipelines.job import prepare
from tests.support import trainings
from tests.support.datasets import make_contract, normalization, picture, write_dataset
from tests.support.files import images as fx
from trainer.config import TrainConfig, TrainerError
from trainer.data import dataset
from trainer.data.shards import mmap_tfrecord
from trainer.evaluation import inference, mistakes
from trainer.models import alignment, build, pretrained
from trainer.models.alignment import AlignmentError
from trainer.serving import export, export_check, predict
from trainer.serving.predict_config import FileBounds
from trainer.training import train
from trainer.training.augment import augmentation

GRAY = (8, 8, 1)


def contract_of(mode="zscore", shape=GRAY, **changes):
    return make_contract(image_shape=shape, channel_order="L", normalization=normalization(mode, 1), **changes)


@pytest.mark.parametrize("encoding", contracts.ENCODINGS)
def test_mapped_and_streamed_records_are_the_pictures(tmp_path, monkeypatch, encoding):
    contract = write_dataset(tmp_path, encoding=encoding, shape=GRAY, splits={"train": (9, 8)})
    assert contracts.load(tmp_path) == contract
    streams = []
    for mapped in (True, False):
        with monkeypatch.context() as patch:
            if not mapped:
                patch.setattr(mmap_tfrecord, "open_shards", lambda *_: None)
            streams.append([tuple(v.numpy() for v in batch) for batch in dataset.load(tmp_path, "train", 4)])
    numbers = []
    for (images, labels), (others, same) in zip(*streams, strict=True):
        assert images.shape[1:] == GRAY
        np.testing.assert_array_equal(images, others)
        np.testing.assert_array_equal(labels, same)
        levels = np.rint((images + 2) * 64).astype(int)
        for image, label in zip(levels, labels, strict=True):
            if encoding != "jpeg":
                numbers.append(image[0, 0, 0])
                np.testing.assert_array_equal(image, picture(image[0, 0, 0], label, GRAY))
    assert sorted(numbers) == ([] if encoding == "jpeg" else list(range(17)))


@pytest.mark.parametrize(
    "name", ["cnn", "resnet20", "MobileNetV2", pytest.param("EfficientNetV2B0", marks=pytest.mark.slow)]
)
def test_networks_with_random_weights_take_one_channel(name):
    contract = contract_of(shape=(32, 32, 1))
    network = build.build(name, contract)
    assert network.input_shape == (None, 32, 32, 1)
    assert network(np.zeros((2, 32, 32, 1), np.float32)).shape == (2, 2)


def test_the_first_convolution_has_a_third_of_the_weights():
    first = [
        next(w for w in build.make("cnn", contract)[0].trainable_weights if len(w.shape) == 4).shape
        for contract in (contract_of(), make_contract())
    ]
    assert (first[0][2], first[1][2]) == (1, 3)


@pytest.mark.parametrize("mode", ["zscore", "unit", "symmetric", "none"])
@pytest.mark.parametrize("name", ["ResNet50", "MobileNetV2", "DenseNet121"])
def test_published_weights_get_three_equal_channels_of_the_wanted_pixels(name, mode):
    contract = contract_of(mode)
    wanted = pretrained.wanted_pixels(name)
    inputs = keras.Input(contract.image_shape)
    layer = keras.Model(inputs, pretrained.converted(inputs, contract, wanted))
    pixels = picture(5, 0, GRAY)[None].astype(np.float32)
    n = contract.normalization
    found = layer(pixels * np.float32(n.scale) + np.float32(n.offset)).numpy()
    np.testing.assert_allclose(found, np.repeat(pixels, 3, -1) * wanted.scale + wanted.offset, atol=2e-3, rtol=1e-4)


@pytest.mark.slow
def test_a_network_of_published_weights_is_saved_and_known_again(tmp_path):
    shape = (96, 96, 3)
    source = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=shape, pooling="avg")
    source.save_weights(tmp_path / "published.weights.h5")
    contract = contract_of("symmetric", (96, 96, 1))  # its pixels need no other range, so there is only one layer
    network = build.build("MobileNetV2", contract, str(tmp_path / "published.weights.h5"))
    assert network.input_shape == (None, 96, 96, 1)
    pixels = picture(7, 1, (96, 96, 1))[None].astype(np.float32)
    below = keras.Model(network.inputs, network.get_layer("logits").input)
    found = below(pixels * (2 / 255) - 1, training=False).numpy()
    three = np.repeat(pixels, 3, -1)
    np.testing.assert_allclose(found, source(three / 127.5 - 1, training=False).numpy(), atol=1e-4)
    network.save(tmp_path / "again.keras")
    again = build.build("MobileNetV2", contract, str(tmp_path / "again.keras"))
    assert again.get_layer(pretrained.WIDENING)


def test_networks_of_other_channels_are_refused_with_the_option():
    inputs = keras.Input((8, 8, 3))
    network = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)), name="mine")
    with pytest.raises(AlignmentError, match=r"takes 3 channels .* or prepare with --channels 3"):
        alignment.check_model(network, contract_of())


def test_a_model_of_gray_images_is_not_evaluated_on_colours():
    with pytest.raises(AlignmentError, match="prepare it with --size 8x8 --channels 1"):
        alignment.check_contracts(contract_of(), make_contract())


def test_weights_of_colours_are_refused_for_gray(tmp_path):
    write_dataset(tmp_path, splits={"train": (1, 1)})
    with pytest.raises(AlignmentError, match="were trained on images normalized"):
        alignment.check_weights_range(str(tmp_path / "model.keras"), contract_of())


@pytest.mark.parametrize("options", [{"flip": True}, {"rand_augment": 0.5}, {"mixup": 0.4}, {"cutmix": 1.0}])
def test_gray_batches_are_augmented(options):
    contract = contract_of()
    labels = tf.constant([0, 1, 0, 1], tf.int64)
    pixels = np.stack([picture(i, int(label), GRAY) for i, label in enumerate(labels)])
    images = contracts.normalize(contract, tf.constant(pixels))
    layer = augmentation.Augmentation(TrainConfig("d", "o", **{"flip": False, **options}), contract)
    seen = set()
    for _ in range(12):  # RandAugment draws two of its eleven operations for each batch
        made, _ = layer(images, labels, tf.one_hot(labels, 2))
        assert made.shape == (4, *GRAY)
        assert np.isfinite(made.numpy()).all()
        seen.add(made.numpy().tobytes())
    assert len(seen) > 1
    np.testing.assert_array_equal(augmentation.gray_levels(contract, images).numpy(), pixels)


def of_bands(count):
    n = normalization("zscore", 1)
    many = {name: getattr(n, name) * count for name in ("mean", "std", "scale", "offset")}
    return make_contract(
        image_shape=(32, 32, count), channel_order="bands", decode={"bands": list(range(1, count + 1))},
        normalization=dataclasses.replace(n, **many),
    )  # fmt: skip


def test_networks_with_random_weights_take_any_number_of_bands():
    for name in ("cnn", "resnet20", "MobileNetV2"):
        assert build.build(name, of_bands(5)).input_shape == (None, 32, 32, 5)


def test_what_needs_one_or_three_channels_is_refused_by_name():
    with pytest.raises(TrainerError, match=r"Published weights are for images of 3 channels.*band 4"):
        build.make("MobileNetV2", of_bands(4), "imagenet")
    with pytest.raises(TrainerError, match=r"--rand-augment changes colours.*The dataset has 4"):
        augmentation.Augmentation(TrainConfig("d", "o", rand_augment=0.1), of_bands(4))
    assert build.make("MobileNetV2", of_bands(3), "imagenet")[1].input_shape == (None, 32, 32, 3)


def test_pages_show_three_bands_and_the_export_is_asked_with_all(tmp_path):
    pixels = np.arange(4 * 3 * 5, dtype=np.uint8).reshape(4, 3, 5)
    np.testing.assert_array_equal(
        fx.decode(base64.b64decode(mistakes.data_uri(pixels).partition(",")[2])), pixels[..., :3]
    )
    np.testing.assert_array_equal(pixel_forms.shown(pixels[..., :2]), pixels[..., 0])
    stack = tf.io.decode_png(export_check._png(of_bands(5), pixels)).numpy()
    np.testing.assert_array_equal(stack[..., 0].reshape(5, 4, 3).transpose(1, 2, 0), pixels)


def test_pictures_of_pages_are_gray_and_exact(tmp_path):
    write_dataset(tmp_path, encoding="float16", shape=GRAY, splits={"test": (3, 2)})
    [shown] = inference.pixels(tmp_path, "test", np.array([2]), 2)
    assert shown.shape == GRAY
    uri = mistakes.data_uri(shown)
    content = base64.b64decode(uri.partition(",")[2])
    np.testing.assert_array_equal(fx.decode(content), np.repeat(shown, 3, -1))


@pytest.mark.slow
def test_a_gray_dataset_is_trained_evaluated_exported_and_predicted(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(60):
        label = ("dark", "light")[number % 2]
        path = tmp_path / "photos" / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(fx.encode(rng.integers(0, 120, (20, 30), dtype=np.uint8) + 130 * np.uint8(number % 2), "PNG"))
    data, run = tmp_path / "data", tmp_path / "run"
    prepare.prepare(PrepareConfig(input=str(tmp_path / "photos"), output=str(data), size=(16, 16), channels=1))
    with trainings.without_reports(page=True):
        train.train(TrainConfig(str(data), str(run), epochs=3, batch_size=8))
    assert (run / "evaluation.html").exists()

    contract = contracts.load(data)
    network = build.load(run / "model.keras")
    for kind, name in (("savedmodel", "saved"), ("tflite", "model.tflite")):
        found = export.write(network, str(data), contract, str(tmp_path / name), kind=kind)
        assert found.records > 5
        assert found.difference < found.tolerance
    served = predict.load(str(run))
    assert served.spec.channels == 1
    files = sorted(map(str, (tmp_path / "photos").rglob("*.png")))
    color = tmp_path / "color.jpg"
    color.write_bytes(fx.encode(np.full((20, 30, 3), (255, 250, 245), np.uint8), "JPEG"))
    answers = list(predict.predict(served, [*files, str(color)], FileBounds()))
    given = [served.labels[int(a.probabilities.argmax())] for a in answers]
    right = [pathlib.Path(a.path).parent.name == label for a, label in zip(answers[:-1], given, strict=False)]
    assert sum(right) > 55
    assert given[-1] == "light"
