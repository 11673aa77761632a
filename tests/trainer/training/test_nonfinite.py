"""NaN and infinity stop the training, and the sentence names the step and the records."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from pipelines import contract as contracts
from tests.support.datasets import write_dataset
from trainer import run_dir
from trainer.cli.main import main
from trainer.config import TrainConfig, TrainerError
from trainer.data import dataset
from trainer.models import build
from trainer.training import checkpoint_file, train

COUNTS = {"train": (30, 10), "validation": (2, 2)}
OPTIONS = {"batch_size": 2, "epochs": 2, "verify": "off", "checkpoint_steps": 1}
MARKED = 5  # the record that breaks everything


def key(index):
    return f"{index:016x}-000"


def change(directory, name, make):
    """Puts another value into a feature of record MARKED, in a shard with right checksums."""
    contract = contracts.load(directory)
    for shard in contract.splits["train"].shards:
        path = str(directory / shard.file)
        examples = [tf.train.Example.FromString(r.numpy()) for r in tf.data.TFRecordDataset(path)]
        with tf.io.TFRecordWriter(path) as writer:
            for example in examples:
                feature = example.features.feature
                if feature["key"].bytes_list.value[0].decode() == key(MARKED):
                    make(feature[name])
                writer.write(example.SerializeToString())


def where_it_is(config, epoch=0):
    """The step of the record MARKED, counted from 1, and all keys of its batch."""
    spec = {"key": tf.io.FixedLenFeature([], tf.string)}
    options = dataset.ReadOptions("train", config.batch_size, shuffle=True, seed=config.seed)
    for step in range(20):
        records = dataset.records_of_batch(config.data, options, epoch, step)
        keys = [k.decode() for k in tf.io.parse_example(records, spec)["key"].numpy()]
        if key(MARKED) in keys:
            return step + 1, keys
    raise LookupError


@pytest.mark.slow
@pytest.mark.parametrize(("encoding", "value"), [("float32", np.nan), ("float16", -np.inf)])
def test_a_pixel_that_is_no_number_is_named(tmp_path, encoding, value, capsys):
    contract = write_dataset(tmp_path / "d", encoding=encoding, splits=COUNTS)

    def spoil(feature):
        pixels = np.frombuffer(feature.bytes_list.value[0], contract.encoding).copy()
        pixels[7] = value
        feature.bytes_list.value[0] = pixels.tobytes()

    change(tmp_path / "d", "image", spoil)
    out = tmp_path / "o"
    argv = ["train", "--data", str(tmp_path / "d"), "--output", str(out), "--batch-size", "2", "--verify", "off",
            "--checkpoint-steps", "1"]  # fmt: skip
    assert main(argv) == 1
    step, _ = where_it_is(TrainConfig(str(tmp_path / "d"), "o", **OPTIONS))
    err = capsys.readouterr().err
    assert err == (
        f"train: Training failed in epoch 1, step {step}: the input is not finite: NaN or infinite pixels or "
        f"weights in 1 record: {key(MARKED)}. Prepare the dataset again.\n"
    )
    kept = [int(re.sub(r"\D", "", path.name)) for path in checkpoint_file.found(run_dir.Run(out).checkpoints)]
    assert all(number < step for number in kept)  # no checkpoint holds what came out


@pytest.mark.slow
def test_a_weight_that_is_no_number_is_named(tmp_path):
    write_dataset(tmp_path / "d", encoding="uint8", splits=COUNTS, weighted=True)
    change(tmp_path / "d", "weight", lambda feature: feature.float_list.value.__setitem__(0, np.nan))
    with pytest.raises(TrainerError, match=rf"the input is not finite: .* weights in 1 record: {key(MARKED)}\."):
        train.train(TrainConfig(str(tmp_path / "d"), str(tmp_path / "o"), **OPTIONS))


def network(contract, burst):
    """Logits burst(x, logits), where x is 0 for the record MARKED and above 0 for all others."""
    inputs = keras.Input(contract.image_shape)
    pixel = ops.round((inputs[:, 0, 0, :1] + 2) * 64)  # `picture` writes the index of the record there
    logits = layers.Dense(2)(layers.Flatten()(inputs))
    return keras.Model(inputs, burst(ops.square(pixel - MARKED), logits))


def infinite(contract):
    return network(contract, lambda x, logits: logits / x)


def steep(contract):
    """The loss is finite, and the slope of the root at 0 is not."""
    return network(contract, lambda x, logits: logits + ops.sqrt(x * ops.square(logits)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "what", "encoding"), [("infinite", "the loss", "uint8"), ("steep", "a gradient", "png")]
)
def test_a_loss_and_a_gradient_that_are_no_numbers_name_their_batch(tmp_path, made, what, encoding):
    write_dataset(tmp_path / "d", encoding=encoding, splits=COUNTS)
    config = TrainConfig(
        str(tmp_path / "d"), str(tmp_path / "o"), model=f"{__name__}:{made}", flip=False, learning_rate=1e-5, **OPTIONS
    )
    step, keys = where_it_is(config)
    with pytest.raises(TrainerError) as error:
        train.train(config)
    assert str(error.value) == (
        f"Training failed in epoch 1, step {step}: {what} is not a finite number, although its input is; the batch "
        "held "
        f"2 records: {keys[0]}, {keys[1]}. Use a --learning-rate below 1e-05, or prepare with --normalize zscore."
    )


@pytest.mark.slow
def test_the_step_is_exact_however_seldom_it_is_looked_at(tmp_path, monkeypatch):
    write_dataset(tmp_path / "d", encoding="uint8", splits=COUNTS)
    options = {**OPTIONS, "checkpoint_steps": 0}
    config = TrainConfig(str(tmp_path / "d"), str(tmp_path / "o"), model=f"{__name__}:infinite", flip=False, **options)
    step, _ = where_it_is(config)
    monkeypatch.setattr(train.loop, "CHECK_STEPS", 1000)
    with pytest.raises(TrainerError, match=f"in epoch 1, step {step}: "):
        train.train(config)


def test_start_weights_that_are_no_numbers_are_refused(tmp_path):
    contract = write_dataset(tmp_path / "d", splits={"train": (2, 2)})
    made = build.build("cnn", contract)
    made.set_weights([np.full(w.shape, np.nan) for w in made.get_weights()])
    made.save(tmp_path / "w.keras")
    with pytest.raises(TrainerError, match="should be finite numbers"):
        build.build("cnn", contract, str(tmp_path / "w.keras"))
