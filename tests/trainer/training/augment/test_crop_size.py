"""Crops that grow over the epochs: which epoch has which size, and runs that are trained on them."""

import keras
import pytest
import tensorflow as tf
from keras import layers

from pipelines.core.errors import ConfigError
from pipelines.options import config_file
from tests.support import trainings
from tests.support.datasets import make_contract, write_dataset
from tests.support.log import logged
from trainer.cli.main import main
from trainer.config import TrainConfig, TrainerError
from trainer.models import build
from trainer.training.augment import crop, crop_size
from trainer.training.augment.standard import Standard
from trainer.training.resume import Saver
from trainer.training.step import training_model
from trainer.training.train import train


def residual(contract):
    """Builds a network with what resnet20 has, in one block."""
    inputs = keras.Input(contract.image_shape)
    first = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, strides=2, padding="same")(inputs)))
    second = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(first))
    features = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.add([first, second])))
    return keras.Model(inputs, layers.Dense(len(contract.labels), name="logits")(features), name="residual")


def sizes(train_size, epochs):
    config = TrainConfig("d", "o", epochs=epochs, train_size=train_size)
    return [crop_size.of_epoch(config, epoch) for epoch in range(epochs)]


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(128, 224, [128, 160, 192, 224]), (64, 96, [64, 96]), (100, 160, [100, 128, 160]), (4, 8, [4, 8]), (8, 8, [8])],
)
def test_sizes_between_the_two_are_multiples_of_32(first, last, expected):
    assert crop_size.ladder(first, last) == expected


@pytest.mark.parametrize(
    ("train_size", "epochs", "expected"),
    [
        ("128:224", 8, [128, 128, 160, 160, 192, 192, 224, 224]),
        ("128:224", 4, [128, 160, 192, 224]),
        ("64:128", 8, [64, 64, 64, 96, 96, 96, 128, 128]),
        ("64:128", 5, [64, 64, 96, 128, 128]),  # 3 of 5 epochs grow
        ("128:224", 3, [128, 160, 224]),  # 2 epochs have no room for three sizes
        ("64:128", 2, [64, 128]),
        ("64:128", 1, [128]),
        (64, 3, [64, 64, 64]),
        (0, 2, [0, 0]),
    ],
)
def test_the_size_is_a_function_of_the_epoch(train_size, epochs, expected):
    assert sizes(train_size, epochs) == expected


def test_after_the_last_epoch_the_size_is_the_last_one():
    config = TrainConfig("d", "o", epochs=8, train_size="64:128")
    assert crop_size.of_epoch(config, 8) == 128
    assert (config.size_range(), config.view_size) == ((64, 128), 128)


@pytest.mark.parametrize(
    "value", ["128:64", "64:64", "0:64", "64:", ":64", "64:96:128", "a:b", "-8", "", -1, True, 2.5]
)
def test_sizes_that_are_none_are_refused(value):
    with pytest.raises(
        ConfigError, match=r"--train-size should be .* up to 16384, or A:B with A below B, such as 128:224"
    ):
        TrainConfig("d", "o", train_size=value)
    with pytest.raises(ConfigError, match="16384"):
        TrainConfig("d", "o", train_size="64:16385")


def test_without_crops_nothing_can_grow():
    with pytest.raises(ConfigError, match="--train-size 64:96 is of random crops, and --crop-scale none takes the cen"):
        TrainConfig("d", "o", train_size="64:96", crop_scale="none")


@pytest.mark.parametrize(("text", "expected"), [("64", 64), ("64:96", "64:96"), ("0", 0)])
def test_a_file_of_options_keeps_the_sizes(tmp_path, text, expected):
    (tmp_path / "config.yaml").write_text(f"data: d\noutput: o\ntrain-size: {text}\n")
    config = TrainConfig(**config_file.read(tmp_path / "config.yaml", TrainConfig))
    assert config.train_size == expected
    (tmp_path / "again.yaml").write_text(config_file.text(config, "again"))
    assert TrainConfig(**config_file.read(tmp_path / "again.yaml", TrainConfig)) == config


def test_an_epoch_sets_the_size_of_the_step(tmp_path):
    contract = write_dataset(tmp_path, encoding="uint8", shape=(12, 12, 3))
    config = TrainConfig("d", "o", epochs=4, train_size="4:8", freeze_epochs=1)
    model = training_model(config, contract, build.build("cnn", contract, train_size=8), 1)
    assert model.standard.size == 8  # until an epoch begins: `lr` trains at the last size
    changes = [model.enter(epoch) for epoch in range(5)]
    assert changes == [True, True, False, True, False]  # smaller and frozen, unfrozen, -, larger, -
    model.enter(0)
    assert model.core().input_shape == (None, 4, 4, 3)
    images = model.standard.change(tf.zeros((2, 12, 12, 3)), tf.zeros(2, tf.int64), tf.constant(0, tf.int64))
    assert images.shape == (2, 4, 4, 3)
    assert len(model.network.weights) == len({id(v) for v in model.core().weights})  # no weight is another one


def test_the_loader_cuts_parts_of_the_size_of_an_epoch():
    contract = make_contract(encoding="jpeg", image_shape=(24, 20, 3))
    config = TrainConfig("d", "o", train_size="8:16")
    assert crop.for_loader(config, contract, range(1)).size == (16, 16)
    assert crop.for_loader(config, contract, range(1), 8).size == (8, 8)


OPTIONS = {"epochs": 4, "batch_size": 8, "train_size": "4:8", "steps_per_execution": 1}


@pytest.fixture(scope="module", params=["uint8", pytest.param("jpeg", marks=pytest.mark.slow)])
def run(request, tmp_path_factory):
    """(data and run, sizes in the order in which steps were compiled, log) of a training on growing crops."""
    folder, seen, change = tmp_path_factory.mktemp("growing"), [], Standard.change

    def noted(self, images, labels, step):
        made = change(self, images, labels, step)
        seen.append(made.shape[1])
        return made

    write_dataset(folder / "data", encoding=request.param, shape=(12, 10, 3))
    with pytest.MonkeyPatch.context() as patch, trainings.without_reports(export=False), logged() as text:
        patch.setattr(Standard, "change", noted)
        train(TrainConfig(str(folder / "data"), str(folder / "run"), **OPTIONS))
    return folder, seen, text.getvalue()


def test_each_size_is_compiled_once_and_told(run):
    folder, seen, text = run
    assert seen == [4, 8]
    assert "the crops grow: 4 pixels from epoch 1 on, 8 from 4" in text
    assert build.load(folder / "run" / "model.keras").input_shape == (None, 12, 10, 3)
    assert "train_size: '4:8'" in (folder / "run" / "config.yaml").read_text()


@pytest.mark.slow
def test_a_killed_run_goes_on_at_the_size_of_its_epoch(run, tmp_path, monkeypatch):
    """It is killed in each of three epochs, and goes on each time."""
    folder, _, _ = run
    after_step, stops = Saver.after_step, [(1, 2), (2, 3), (3, 1)]

    class Killed(BaseException):
        pass

    def dies(self, epoch_ended):
        after_step(self, epoch_ended)
        if stops and (self._position.epoch, self._position.step) == stops[0]:
            raise Killed

    again = {**OPTIONS, "checkpoint_steps": 1, "resume": True}
    monkeypatch.setattr(Saver, "after_step", dies)
    with trainings.without_reports(export=False):
        while stops:
            with pytest.raises(Killed):
                train(TrainConfig(str(folder / "data"), str(tmp_path / "run"), **again))
            del stops[0]
        train(TrainConfig(str(folder / "data"), str(tmp_path / "run"), **again))
    one, other = (build.load(d / "run" / "last.keras").get_weights() for d in (folder, tmp_path))
    for given, expected in zip(other, one, strict=True):
        assert (given == expected).all()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["savedmodel", "tflite"])
def test_an_export_has_the_last_size_and_agrees(run, form, tmp_path, capsys):
    folder, _, _ = run
    target = str(tmp_path / ("m.tflite" if form == "tflite" else "saved"))
    given = ["--model", str(folder / "run"), "--data", str(folder / "data"), "--format", form, "--output", target]
    assert main(["export", *given]) == 0
    assert "differ from the trained network's by at most" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"mixed_precision": "bfloat16", "ema": 0.5},
        {"fit_head": True, "freeze_epochs": 1, "epochs": 3},  # frozen and not at one size, and then at the other
        {"rand_augment": 0.1, "mixup": 0.2, "cutmix": 1.0, "color_jitter": 0.2, "rotate": 5.0, "random_erasing": 0.5},
        {"model": f"{__name__}:residual", "train_size": "8:10", "batch_norm": "train", "schedule": "cosine"},
    ],
    ids=str,
)
def test_other_options_go_with_growing_crops(run, tmp_path, changes):
    folder, _, _ = run
    config = TrainConfig(str(folder / "data"), str(tmp_path / "run"), **{**OPTIONS, "epochs": 2, **changes})
    assert len({crop_size.of_epoch(config, epoch) for epoch in range(config.epochs)}) == 2
    with trainings.without_reports(export=False):
        assert train(config)["epochs"]["run"] == config.epochs


def test_a_network_of_one_size_is_refused_before_any_work(tmp_path):
    write_dataset(tmp_path / "d", encoding="uint8", shape=(12, 12, 3))
    network = "tests.trainer.models.test_input_size:flattening"
    with pytest.raises(TrainerError, match="At 4x4 pixels the layer 'logits' does not"):
        train(TrainConfig(str(tmp_path / "d"), str(tmp_path / "o"), network, **OPTIONS))
    assert not (tmp_path / "o" / "metrics.csv").exists()
