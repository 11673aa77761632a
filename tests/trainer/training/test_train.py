import concurrent.futures
import contextlib
import csv
import io
import json
import platform
import shutil
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import pipelines
from pipelines import contract as contracts
from pipelines.options import config_file
from tests.support import trainings
from tests.support.datasets import picture, write_dataset
from tests.support.log import logged
from trainer import run_dir
from trainer.cli.main import main
from trainer.config import TrainConfig, TrainerError
from trainer.data import dataset
from trainer.evaluation import evaluate
from trainer.evaluation.scores import calibration
from trainer.models import build
from trainer.reporting import evaluation_files
from trainer.serving import export_check
from trainer.training import step, train
from trainer.training.epoch_reports import Progress


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("train") / "data"
    write_dataset(path, encoding="uint8")
    return path


def quiet(config, reports=False):
    with logged() as text, contextlib.nullcontext() if reports else trainings.without_reports(export=False):
        return train.train(config), text.getvalue().splitlines()


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """(directory, metrics, lines) of a run that learns bright-on-top against bright-at-the-bottom."""
    directory = tmp_path_factory.mktemp("run") / "out"
    metrics, lines = quiet(TrainConfig(str(data), str(directory), epochs=4, batch_size=8), reports=True)
    return directory, metrics, lines


def test_it_learns_and_says_so(run):
    _, metrics, lines = run
    assert metrics["splits"]["test"]["balanced_accuracy"] == 1
    assert metrics["splits"]["test"]["majority_baseline"] == {"label": "ok", "accuracy": 9 / 12}
    assert metrics["splits"]["test"]["confusion_matrix"] == [[9, 0], [0, 3]]
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert len(epochs) == 4
    assert all("val balanced accuracy" in line and "images/s" in line for line in epochs)
    text = "\n".join(lines)
    assert f"kept the weights of epoch {metrics['epochs']['kept']}: the best balanced accuracy on 'validation'" in text
    assert "broken      1.000   1.000  0.439-1.000  1.000  1.000  1.000        3" in text


def test_what_a_run_leaves(run, data):
    directory, metrics, _ = run
    assert json.loads((directory / "metrics.json").read_text()) == metrics
    assert contracts.load(directory) == contracts.load(data)
    assert TrainConfig(**config_file.read(directory / "config.yaml", TrainConfig)) == TrainConfig(
        str(data), str(directory), epochs=4, batch_size=8
    )
    about = json.loads((directory / "versions.json").read_text())
    assert about["dataset"] == metrics["dataset"]
    assert about["versions"].items() > metrics["versions"].items()
    assert about["versions"]["python"] == platform.python_version()
    assert about["versions"]["shardmill"] == pipelines.__version__
    rows = list(csv.DictReader((directory / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    pictures = {path.name for path in (directory / "plots").iterdir()}
    splits = ("validation", "test")
    kinds = ("confusion", "recall", "probabilities")
    assert pictures == {"curves.png", *(f"{kind}-{s}.png" for kind in kinds for s in splits)}
    assert all((directory / "plots" / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    logs = {path.parent.name for path in (directory / "logs").rglob("events.out.tfevents.*")}
    assert logs == {"train", "validation", "evaluation-validation", "evaluation-test"}
    assert (directory / "evaluation.html").is_file()
    card = (directory / "model_card.md").read_text()
    assert f"| parameters | {metrics['parameters']:,} |" in card
    assert card.index("### test") < card.index("### validation")
    assert {path.name for path in directory.glob("*.csv")} == {
        "metrics.csv", "predictions-validation.csv", "predictions-test.csv",
    }  # fmt: skip
    assert not list(directory.glob("*.tmp"))


def test_evaluate_chooses_when_to_abstain_and_changes_nothing_in_the_run(run, data, tmp_path, capsys):
    directory, metrics, _ = run
    before = (directory / "calibration.json").read_bytes()
    command = ["evaluate", "--model", str(directory), "--data", str(data), "--output", str(tmp_path)]
    assert main([*command, "--abstain-error", "0.3"]) == 0
    assert "leaves answers to 12 of 12 records of validation, 0 of them wrong" in capsys.readouterr().out
    found = json.loads((tmp_path / "metrics.json").read_text())["splits"]["test"]
    own = found.pop("abstention")
    assert (own["wanted_error"], own["promised"], own["threshold"], own["answered"]) == (0.3, True, 0, 12)
    assert found == metrics["splits"]["test"]
    assert (directory / "calibration.json").read_bytes() == before
    with pytest.raises(SystemExit):
        main([*command, "--abstain-error", "5"])
    assert "should be above 0 and at most 0.5. Received: '5'" in capsys.readouterr().err


def test_what_a_run_says_is_what_its_export_serves(run, data):
    directory, metrics, _ = run
    fitted = calibration.read(directory)
    assert (fitted.split, fitted.records) == ("validation", 12)
    assert fitted.temperature != 1
    assert fitted.threshold.label == "broken"
    assert metrics["splits"]["test"]["calibration"]["temperature"] == fitted.temperature
    assert metrics["splits"]["test"]["decision"]["threshold"] == fitted.threshold.probability
    rows = list(csv.DictReader((directory / "predictions-test.csv").open()))
    assert [row["label"] for row in rows].count("ok") == 9
    ids = [int(row["key"][:16], 16) for row in rows]
    pictures = [picture(i, ("ok", "broken").index(row["label"])) for i, row in zip(ids, rows, strict=True)]
    encoded = tf.constant([tf.io.encode_png(pixels).numpy() for pixels in pictures])
    served = tf.saved_model.load(directory / "saved_model").signatures["serving_default"](image_bytes=encoded)
    said = [[float(row[f"probability of {name}"]) for name in ("ok", "broken")] for row in rows]
    np.testing.assert_allclose(served["probabilities"], said, atol=1e-5)
    assert [label.decode() for label in served["label"].numpy()] == [row["predicted"] for row in rows]


def test_tensorboard_shows_the_evaluation(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    directory, metrics, _ = run
    found = EventAccumulator(str(directory / "logs" / "evaluation-test")).Reload()
    kinds = {tag: found.SummaryMetadata(tag).plugin_data.plugin_name for tag in found.Tags()["tensors"]}
    assert {tag for tag, kind in kinds.items() if kind == "images"} == {"confusion", "probabilities", "recall"}
    scalars = [tag for tag, kind in kinds.items() if kind == "scalars"]
    values = {tag: tf.make_ndarray(found.Tensors(tag)[0].tensor_proto).item() for tag in scalars}
    assert values["evaluation/majority_baseline"] == 0.75
    assert values["evaluation/balanced_accuracy"] == 1
    assert values["recall/broken"] == 1
    assert found.Tensors("evaluation/accuracy")[0].step == metrics["epochs"]["kept"] - 1
    width, height, png = found.Tensors("recall")[0].tensor_proto.string_val
    assert png == (directory / "plots/recall-test.png").read_bytes()
    assert Image.open(io.BytesIO(png)).size == (int(width), int(height))


def test_the_kept_weights_are_the_best_of_validation(run):
    directory, metrics, _ = run
    rows = list(csv.DictReader((directory / "metrics.csv").open()))
    ranks = [(float(row["val_balanced_accuracy"]), -float(row["val_loss"])) for row in rows]
    kept = metrics["epochs"]["kept"]
    assert ranks.index(max(ranks)) == kept - 1
    validation = metrics["splits"]["validation"]
    assert validation["balanced_accuracy"] == pytest.approx(ranks[kept - 1][0], abs=1e-6)
    assert validation["loss"] == pytest.approx(-ranks[kept - 1][1], abs=1e-4)


@pytest.mark.slow
def test_evaluate_repeats_the_numbers_from_the_files(run, data, tmp_path, capsys):
    directory, metrics, _ = run
    for split in ("test", "validation"):
        assert evaluation_files.splits([evaluate.evaluate(directory, data, split)])[split] == metrics["splits"][split]
    file = tmp_path / "e.json"
    argv = ["evaluate", "--model", str(directory), "--data", str(data), "--split", "validation", "--output", str(file)]
    assert main(argv) == 0
    assert "accuracy           1.000 0.758-1.000  (always answering 'ok': 0.500)" in capsys.readouterr().out
    assert json.loads(file.read_text())["splits"]["validation"] == metrics["splits"]["validation"]


def test_another_encoding_of_the_same_images_gives_the_same_answers(run, tmp_path):
    write_dataset(tmp_path / "png", encoding="png")
    assert evaluate.evaluate(run[0], tmp_path / "png").matrix.tolist() == [[9, 0], [0, 3]]


def test_a_dataset_that_disagrees_is_refused(run, tmp_path, capsys):
    write_dataset(tmp_path / "unit", mode="unit")
    assert main(["evaluate", "--model", str(run[0]), "--data", str(tmp_path / "unit")]) == 1
    err = capsys.readouterr().err
    assert "evaluate: The model was trained on images normalized 'zscore' (-2..1.984" in err
    assert "the dataset's are 'unit' (0..1" in err
    assert main(["evaluate", "--model", str(run[0]), "--data", str(tmp_path / "unit"), "--split", "x"]) == 1


def test_no_model_there(data, tmp_path, capsys):
    assert main(["evaluate", "--model", str(tmp_path), "--data", str(data)]) == 1
    assert "has no model.keras, contract.json, metrics.json: train first." in capsys.readouterr().err


def test_threads_train_one_after_another(data, tmp_path, monkeypatch):
    """The seeds of Keras belong to the process: two trainings at once would take random numbers from one another."""
    running, most = [], []

    def instead(config, *_):
        running.append(config.output)
        most.append(len(running))
        time.sleep(0.2)
        running.remove(config.output)
        return {}

    monkeypatch.setattr(train, "_train", instead)
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda i: train.train(TrainConfig(str(data), str(tmp_path / str(i)))), range(3)))
    assert most == [1, 1, 1]


@pytest.mark.slow
def test_two_runs_of_one_config_agree_exactly(run, data, tmp_path):
    quiet(TrainConfig(str(data), str(tmp_path), epochs=4, batch_size=8))
    assert (tmp_path / "metrics.json").read_bytes() == (run[0] / "metrics.json").read_bytes()
    one, two = (build.load(directory / "model.keras").get_weights() for directory in (run[0], tmp_path))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)
    one, two = (list(csv.DictReader((directory / "metrics.csv").open())) for directory in (run[0], tmp_path))
    assert [row["loss"] for row in one] == [row["loss"] for row in two]


def test_flips_are_fresh_every_epoch_and_repeat_with_the_seed():
    def epochs(seed):
        layer = keras.layers.RandomFlip("horizontal", seed=seed)
        images = tf.reshape(tf.range(64.0), (32, 1, 2, 1))
        return [(layer(images, training=True).numpy() == images.numpy()).all(axis=(1, 2, 3)).tolist() for _ in range(2)]

    one = epochs(0)
    assert one == epochs(0)
    assert one[0] != one[1]
    assert 5 < sum(one[0]) < 27


@pytest.mark.slow
@pytest.mark.parametrize(("encoding", "flip"), [("uint8", True), ("float16", False), ("jpeg", True)])
def test_the_training_model_sees_what_the_reader_reads(tmp_path, encoding, flip):
    contract = write_dataset(tmp_path / "d", encoding=encoding, splits={"train": (3, 2)})
    network = build.build("cnn", contract)
    config = TrainConfig(str(tmp_path / "d"), "o", flip=flip)
    model = step.training_model(config, contract, network, 1)
    stored, _ = next(iter(dataset.load(tmp_path / "d", "train", 5, dequantize=False)))
    images, _ = next(iter(dataset.load(tmp_path / "d", "train", 5)))
    np.testing.assert_allclose(model(stored, training=False), network(images, training=False), atol=1e-5)


@pytest.mark.slow
def test_a_run_without_validation_with_limits_and_start_weights(run, data, tmp_path):
    config = TrainConfig(
        str(data), str(tmp_path / "o"), epochs=2, steps=1, batch_size=4, validation="none", flip=False,
        loss="weighted", init_weights=str(run[0] / "model.keras"),
    )  # fmt: skip
    metrics, lines = quiet(config)
    assert metrics["epochs"] == {"asked": 2, "run": 2, "kept": 2}
    assert metrics["splits"]["test"]["balanced_accuracy"] > 0.9  # it began with weights that know the answer
    assert any("kept the weights of epoch 2: the last one" in line for line in lines)


def test_early_stopping_and_the_best_weights(tmp_path):
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    progress = Progress(network, 9, 4, 4, 2, run_dir.Run(tmp_path))
    stopped = []
    for epoch, (score, loss) in enumerate([(0.5, 1.0), (0.75, 1.0), (0.75, 0.5), (0.75, 0.5), (0.7, 0.1)]):
        progress.begin(0)
        network.set_weights([np.full((1, 1), epoch + 1.0), np.zeros(1)])
        progress.trained(1)
        progress.end(epoch + 1, {"loss": 1.0, "val_loss": loss, "val_balanced_accuracy": score})
        stopped.append(progress.exhausted())
    assert stopped == [False, False, False, False, True]  # two epochs without a better one
    progress.put_back()
    assert progress.best_epoch == 3  # of equal balanced accuracy the lower loss, of all equal the first
    assert network.get_weights()[0].item() == 3
    assert progress.history()["val_loss"] == [1.0, 1.0, 0.5, 0.5, 0.1]


@pytest.mark.parametrize(("over", "kept"), [(1, 2), (2, 5), (3, 6)])
def test_the_mean_of_the_last_epochs_chooses_the_one_that_is_kept(tmp_path, over, kept):
    """Epoch 2 was lucky. The means of two are 0.5, 0.7, 0.7, 0.6, 0.75, 0.72, and of three 0.5 … 0.667, 0.68."""
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    progress = Progress(network, 9, 4, 4, 0, run_dir.Run(tmp_path))
    progress.over = over
    for epoch, score in enumerate([0.5, 0.9, 0.5, 0.7, 0.8, 0.64], 1):
        progress.begin(0)
        network.set_weights([np.full((1, 1), float(epoch)), np.zeros(1)])
        progress.trained(1)
        progress.end(epoch, {"loss": 1.0, "val_loss": 1.0, "val_balanced_accuracy": score})
    progress.put_back()
    assert (progress.best_epoch, network.get_weights()[0].item()) == (kept, kept)


def test_too_little_space_is_told_before_the_first_step(data, tmp_path, monkeypatch):
    usage = run_dir.shutil.disk_usage(tmp_path)
    network_bytes = 4 * build.build("cnn", contracts.load(data)).count_params()
    monkeypatch.setattr(run_dir.shutil, "disk_usage", lambda _: usage._replace(free=7 * network_bytes - 1))
    with pytest.raises(TrainerError, match=r"takes 2\.6. MiB or more in .* and 2\.6. MiB are free: free disk space"):
        quiet(TrainConfig(str(data), str(tmp_path / "o"), epochs=1))
    assert not (tmp_path / "o").exists()
    run_dir.check_space(tmp_path, network_bytes // 4, 0)


@pytest.mark.slow
def test_a_run_that_breaks_down_stops_and_leaves_no_metrics(data, tmp_path, monkeypatch):
    config = TrainConfig(str(data), str(tmp_path / "o"), epochs=5)
    monkeypatch.setattr(step.Dequantize, "call", lambda self, images: tf.cast(images, tf.float32) * np.inf)
    with pytest.raises(TrainerError, match=r"Training failed in epoch 1, step 1: .* --learning-rate below 0.001"):
        quiet(config)
    assert not (tmp_path / "o" / "metrics.json").exists()
    with pytest.raises(TrainerError, match=r"has no model.keras, metrics.json: train first"):
        run_dir.finished(tmp_path / "o")


def test_output_directories(run, data, tmp_path):
    contract, config = contracts.load(data), TrainConfig("d", "o")
    other = tmp_path / "papers"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(TrainerError, match="holds something else: choose another directory"):
        run_dir.begin(other, config, contract, {})
    with pytest.raises(TrainerError, match="holds something else"):
        run_dir.begin(data, config, contract, {})
    with pytest.raises(TrainerError, match="is a file"):
        run_dir.begin(other / "thesis.txt", config, contract, {})
    (other / "config.yaml").write_text("model_type: bert\n")  # another program's
    with pytest.raises(TrainerError, match="holds something else"):
        run_dir.begin(other, config, contract, {})
    assert (other / "thesis.txt").read_text() == "mine"
    copy = tmp_path / "run"
    shutil.copytree(run[0], copy)
    run_dir.begin(copy, config, contract, {})  # an earlier run: cleared
    assert sorted(path.name for path in copy.iterdir()) == ["config.yaml", "contract.json", "versions.json"]


def test_splits_are_checked_before_training(data, tmp_path):
    with pytest.raises(TrainerError, match=r"no split 'valid' to choose the best epoch by; .* has test, train"):
        quiet(TrainConfig(str(data), str(tmp_path / "o"), validation="valid"))
    with pytest.raises(TrainerError, match="a split that is not trained on"):
        quiet(TrainConfig(str(data), str(tmp_path / "o"), validation="train"))
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_a_damaged_record_is_one_sentence(data, tmp_path, capsys):
    bad = tmp_path / "bad"
    shutil.copytree(data, bad)
    contract = contracts.load(bad)
    shard = bad / contract.splits["train"].shards[0].file
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    shard.write_bytes(damaged)
    argv = ["train", "--data", str(bad), "--output", str(tmp_path / "o"), "--epochs", "1", "--verify", "off"]
    assert main(argv) == 1
    err = capsys.readouterr().err
    assert "train: a shard holds a damaged record" in err
    assert "pipelines verify" in err
    assert "Traceback" not in err
    assert not (tmp_path / "o" / "metrics.json").exists()


@pytest.mark.slow
def test_three_classes_one_of_them_absent_from_test(tmp_path):
    write_dataset(
        tmp_path / "d", labels=("a", "b", "c"), splits={"train": (8, 8, 4), "validation": (2, 2, 2), "test": (3, 3, 0)}
    )
    metrics, _ = quiet(TrainConfig(str(tmp_path / "d"), str(tmp_path / "o"), epochs=1))
    absent = metrics["splits"]["test"]["per_class"]["c"]
    assert (absent["support"], absent["recall"]) == (0, None)
    assert len(metrics["splits"]["test"]["confusion_matrix"]) == 3


UNNAMEABLE = """
import keras

def network(contract):
    inputs = keras.Input(contract.image_shape)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, name="_conv")(inputs))
    return keras.Model(inputs, keras.layers.Dense(len(contract.labels))(x), name="mine")
"""


OWN_LAYERS = """
import keras

@keras.saving.register_keras_serializable("own_layers")
class Kept(keras.layers.Layer):
    def call(self, x):
        return x

class Passed(keras.layers.Layer):
    def call(self, x):
        return x

def network(contract, layer=Kept):
    head = [keras.layers.Flatten(), keras.layers.Dense(len(contract.labels))]
    return keras.Sequential([keras.Input(contract.image_shape), layer(), *head])

def unregistered(contract):
    return network(contract, Passed)
"""


@pytest.mark.slow
def test_layers_of_a_library_are_named_and_evaluated_with_their_module(data, tmp_path, monkeypatch, capsys):
    (tmp_path / "own_layers.py").write_text(OWN_LAYERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    with trainings.without_reports():
        for function in ("network", "unregistered"):
            with logged() as text:
                train.train(TrainConfig(str(data), str(tmp_path / function), model=f"own_layers:{function}", epochs=1))
            first = text.getvalue().partition("epoch 1/1")[0]
            assert ("own_layers.Kept). `evaluate`, `export`" in first) == (function == "network")
            assert ("not registered (own_layers.Passed)" in first) == (function == "unregistered")
    # A later program has imported nothing of it.
    keras.saving.get_custom_objects().pop("own_layers>Kept")
    sys.modules.pop("own_layers")
    command = ["evaluate", "--model", str(tmp_path / "network"), "--data", str(data)]
    assert main(command) == 1
    assert "the class own_layers.Kept, which is not one of Keras's" in capsys.readouterr().err
    assert main([*command, "--import", "own_layers"]) == 0
    assert "test, 12 records" in capsys.readouterr().out


@pytest.mark.slow
def test_a_finished_run_that_is_replaced_is_told(data, tmp_path):
    with trainings.without_reports(export=False):
        for said in (False, True):
            with logged() as text:
                train.train(TrainConfig(str(data), str(tmp_path / "o"), epochs=1))
            assert ("the finished run in" in text.getvalue()) == said


@pytest.fixture
def unnameable(tmp_path, monkeypatch):
    """A network that trains, but whose names TensorFlow cannot save."""
    (tmp_path / "unnameable.py").write_text(UNNAMEABLE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "unnameable:network"


def test_what_cannot_be_exported_is_told_before_the_first_step(data, tmp_path, unnameable):
    with pytest.raises(export_check.ExportError, match=r"'mine' cannot be exported .*should begin with a letter"):
        train.train(TrainConfig(str(data), str(tmp_path / "o"), model=unnameable, epochs=1))
    assert not (tmp_path / "o/metrics.csv").exists()


def test_what_no_scores_can_be_shown_by_is_told_before_the_first_step(data, tmp_path):
    with pytest.raises(TrainerError, match="--slice-by folder reads the paths of the sources from the ledger"):
        train.train(TrainConfig(str(data), str(tmp_path / "o"), epochs=1, slice_by="brightness,folder"))
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_a_failed_export_loses_nothing_else(data, tmp_path, unnameable, monkeypatch):
    monkeypatch.setattr(train.export, "rehearse", lambda *_: None)
    with logged() as text, pytest.raises(export_check.ExportError, match="complete and evaluated, but has no export"):
        train.train(TrainConfig(str(data), str(tmp_path / "o"), model=unnameable, epochs=1))
    assert "test, 12 records" in text.getvalue()
    assert "saved model" not in text.getvalue()
    assert json.loads((tmp_path / "o/metrics.json").read_text())["epochs"]["run"] == 1
    assert (tmp_path / "o/evaluation.html").is_file()
    assert not (tmp_path / "o/saved_model").exists()
    assert not (tmp_path / "o/checkpoints").exists()
