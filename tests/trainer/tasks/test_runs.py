"""Whole runs of tiny datasets of labels and of numbers: training, resuming, evaluating, exporting, predicting."""

import contextlib
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import contract as contracts
from tests.support import tasks, trainings
from tests.support.log import logged
from trainer import run_dir
from trainer.ablation import datasets as ablated
from trainer.cli.main import main
from trainer.config import TrainConfig, TrainerError
from trainer.data import dataset
from trainer.models import build
from trainer.training import train
from trainer.training.resume import Saver

KINDS = ("multi-label", "regression")


def write(folder, kind, **options):
    return folder / "data", tasks.write(folder / "data", kind, **options)


def trained(data, output, reports=False, **options):
    with logged() as text, contextlib.nullcontext() if reports else trainings.without_reports(export=False):
        made = train.train(TrainConfig(str(data), str(output), **{"epochs": 6, "batch_size": 8, **options}))
    return made, text.getvalue()


@pytest.fixture(scope="module", params=KINDS)
def run(request, tmp_path_factory):
    """(kind, data, run, metrics, log)."""
    folder = tmp_path_factory.mktemp(request.param)
    data, _ = write(folder, request.param)
    made, text = trained(data, folder / "run", reports=True, epochs=30, learning_rate=0.01)
    return request.param, data, folder / "run", made, text


def test_it_learns_and_says_so_without_a_word_of_classes(run):
    kind, _, directory, made, text = run
    test = made["splits"]["test"]
    if kind == "multi-label":
        assert test["mean_average_precision"] > 0.9 > test["constant_answer"]["mean_average_precision"]
        assert test["per_label"]["never"]["average_precision"] is None
        assert "val mean average precision" in text
        assert "split 'train' has no record of never: the model cannot learn it." in text
        assert "kept the weights of epoch" in text
        assert "the best mean average precision on 'validation'" in text
    else:
        for own in test["per_target"].values():
            assert own["mae"] < 0.6 * own["always_the_mean"]["mae"]
        assert test["r2"] > 0.5
        assert "the least mean absolute error on 'validation'" in text
        assert "16 numbers" not in text
        assert "of 2 numbers" in text
    assert "train images" in text  # the advice about few images
    page = (directory / "evaluation.html").read_text()
    for shown in (text, page):
        assert "class " not in shown.replace("class=", "")
        assert "classes" not in shown
    assert json.loads((directory / "metrics.json").read_text())["task"] == kind
    assert {p.name for p in (directory / "plots").iterdir()} == {
        "curves.png", "charts-test.png", "charts-validation.png",
    }  # fmt: skip


def test_the_export_answers_as_the_network_and_as_predict(run, tmp_path, capsys):
    kind, data, directory, _, _ = run
    contract = contracts.load(data)
    pictures = []
    for index in range(70, 74):
        pictures.append(tmp_path / f"{index}.png")
        pictures[-1].write_bytes(tf.io.encode_png(tasks.picture(index)[0]).numpy())
    network = keras.saving.load_model(directory / "model.keras", compile=False)
    pixels = np.stack([tasks.picture(index)[0] for index in range(70, 74)])
    scores = np.asarray(network(contracts.normalize(contract, tf.constant(pixels))))
    content = json.loads((directory / "calibration.json").read_text())
    served = tf.saved_model.load(str(directory / "saved_model")).signatures["serving_default"]
    given = served(image_bytes=tf.constant([p.read_bytes() for p in pictures]))
    assert main(["predict", "--model", str(directory), "--json", *map(str, pictures)]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    if kind == "multi-label":
        fits = [content["labels"][name] for name in contract.labels]
        logits = scores * [f["slope"] for f in fits] + [f["shift"] for f in fits]
        expected = 1 / (1 + np.exp(-logits))
        np.testing.assert_allclose(given["probabilities"], expected, atol=1e-5)
        answers = expected >= [f["threshold"] for f in fits]
        assert given["answers"].numpy().tolist() == answers.tolist()
        for own, line, row in zip(answers, said, expected, strict=True):
            assert line["labels"] == [name for name, has in zip(contract.labels, own, strict=True) if has]
            assert list(line["probabilities"].values()) == pytest.approx(row.tolist(), abs=1e-4)
    else:
        expected = scores * contract.task.std + contract.task.mean
        np.testing.assert_allclose(given["values"], expected, rtol=1e-4)
        assert all(100 < row[0] < 125 for row in expected)  # in the units of the table
        for line, row in zip(said, expected, strict=True):
            assert list(line["values"]) == list(tasks.NUMBERS)
            assert list(line["values"].values()) == pytest.approx(row.tolist(), rel=1e-3)
    assert main(["predict", "--model", str(directory), str(pictures[0])]) == 0
    assert capsys.readouterr().out.startswith(f"{pictures[0]}\t")


@pytest.mark.slow
def test_tflite_answers_the_same(run, tmp_path, capsys):
    kind, data, directory, _, _ = run
    path = tmp_path / "model.tflite"
    assert (
        main(["export", "--model", str(directory), "--data", str(data), "--format", "tflite", "--output", str(path)])
        == 0
    )
    assert "differ from the trained network's by at most" in capsys.readouterr().out
    assert kind.encode() in path.read_bytes()


def test_evaluate_finds_what_training_found(run, tmp_path, capsys):
    _, data, directory, made, _ = run
    command = ["evaluate", "--model", str(directory), "--data", str(data), "--output", str(tmp_path / "report")]
    assert main(command) == 0
    found = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert found["splits"]["test"] == made["splits"]["test"]
    card = (tmp_path / "report" / "model_card.md").read_text()
    assert "class" not in card.split("## Data")[1]
    assert card.split("### test")[1].split("## Limits")[0] in (directory / "model_card.md").read_text()
    assert (tmp_path / "report" / "predictions-test.csv").read_bytes() == (
        directory / "predictions-test.csv"
    ).read_bytes()


def test_only_classes_abstain(run, tmp_path, capsys):
    kind, data, directory, _, _ = run
    assert main(["evaluate", "--model", str(directory), "--data", str(data), "--abstain-error", "0.1"]) == 1
    assert (
        f"--abstain-error is for classes: it compares the largest probability. Answers of this dataset are {kind}."
        in (capsys.readouterr().err)
    )


class Killed(BaseException):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_ends_with_the_same_weights(tmp_path, monkeypatch, kind):
    data, _ = write(tmp_path, kind, weighted=True)
    options = {"epochs": 2, "checkpoint_steps": 2, "mixup": 0.2}
    trained(data, tmp_path / "whole", **options)
    saves = []

    def save(self):
        if len(saves) == 3:
            raise Killed
        saves.append(original(self))

    original = Saver.save
    with monkeypatch.context() as patch:
        patch.setattr(Saver, "save", save)
        with pytest.raises(Killed):
            trained(data, tmp_path / "killed", **options)
    _, text = trained(data, tmp_path / "killed", resume=True, **options)
    assert "continuing from" in text
    one, two = (
        keras.saving.load_model(tmp_path / name / "last.keras", compile=False).get_weights()
        for name in ("whole", "killed")
    )
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("multi-label", {"resample": "uniform"}, "--resample uniform draws records by their class"),
        ("multi-label", {"augment_classes": "top"}, "--augment-classes is for one class an image"),
        ("multi-label", {"loss": "logit-adjusted"}, "--loss logit-adjusted does not fit the task.*multi-label"),
        ("regression", {"loss": "ce"}, "choose auto, which is mse, or one of mae, huber"),
        ("regression", {"label_smoothing": 0.1}, "--label-smoothing is for one class an image.*numbers"),
        ("regression", {"cutmix": 1.0}, "--cutmix is for one class an image"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(tmp_path, kind, options, message):
    data, _ = write(tmp_path, kind)
    with pytest.raises(TrainerError, match=message):
        trained(data, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_only_the_head_is_trained(tmp_path):
    data, contract = write(tmp_path, "multi-label")
    start = tmp_path / "start.keras"
    build.build("cnn", contract).save(start)
    options = {"epochs": 1, "unfreeze": "none", "batch_norm": "freeze", "init_weights": str(start)}
    trained(data, tmp_path / "end", **options)
    paths = start, tmp_path / "end/last.keras"
    one, two = (keras.saving.load_model(path, compile=False).get_weights() for path in paths)
    same = [np.array_equal(a, b) for a, b in zip(one, two, strict=True)]
    assert [shape.shape[-1] for shape, equal in zip(two, same, strict=True) if not equal] == [contract.target_width] * 2


def test_numbers_may_depend_on_the_side_that_a_flip_turns(run):
    kind, data, directory, _, text = run
    told = "use --no-flip if a number depends on the side"
    assert (told in text) is (kind == "regression")
    contract = contracts.load(data)
    without = train.checked(TrainConfig(str(data), str(directory), flip=False), contract, contract)
    assert not any(told in warning for warning in without)


def test_classes_refuse_the_losses_of_others(tmp_path):
    from tests.support.datasets import write_dataset

    write_dataset(tmp_path / "data")
    with pytest.raises(TrainerError, match="--loss huber does not fit the task of dataset 'tiny'"):
        trained(tmp_path / "data", tmp_path / "run", loss="huber")


@pytest.mark.slow
def test_a_sigmoid_is_a_head_of_labels_and_no_head_of_numbers(tmp_path, monkeypatch):
    for kind in KINDS:
        data, _ = write(tmp_path / kind, kind)
        (tmp_path / f"net_{kind[:5]}.py").write_text(
            "import keras\n"
            "def made(contract):\n"
            "    inputs = keras.Input(contract.image_shape)\n"
            "    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))\n"
            "    return keras.Model(inputs, keras.layers.Dense(contract.target_width, 'sigmoid')(x))\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        options = {"model": f"net_{kind[:5]}:made", "epochs": 1}
        if kind == "multi-label":
            assert trained(data, tmp_path / kind / "run", **options)[0]["epochs"]["run"] == 1
        else:
            with pytest.raises(TrainerError, match=r"should end in a layer without activation.*sigmoid"):
                trained(data, tmp_path / kind / "run", **options)


def test_runs_are_compared_and_other_tasks_refused(run, tmp_path, capsys):
    kind, _, directory, _, _ = run
    other = tmp_path / "other"
    shutil.copytree(directory, other)
    assert main(["compare", str(directory), str(other), "--json", str(tmp_path / "c.json")]) == 0
    text = capsys.readouterr().out
    assert "no clear difference" in text
    found = json.loads((tmp_path / "c.json").read_text())
    assert found["task"] == kind
    assert {d["difference"] for d in found["differences"]} == {0.0}
    assert main(["compare", str(directory), str(other), "--html", str(tmp_path / "c.html")]) == 0
    page = (tmp_path / "c.html").read_text()
    assert f"20 records ({kind})" in page
    assert "no clear difference" in page
    for name in found["runs"][0]:
        if name not in ("run", "seed") and not name.endswith("_interval"):
            assert f'<th scope="row">{name.replace("_", " ")}</th>' in page
    head = {"multi-label": "key,true x,answer x\n", "regression": "key,is x,answer x,probability of x\n"}[kind]
    row = {"multi-label": "a,1,2\n", "regression": "a,1,0,0.5\n"}[kind]
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / run_dir.predictions_file("test")).write_text(head + row)
    assert main(["compare", str(directory), str(tmp_path / "strange")]) == 1
    assert "compare runs of one dataset" in capsys.readouterr().err
    (tmp_path / "strange" / run_dir.predictions_file("test")).write_text("key,label,predicted,probability\na,x,x,1\n")
    assert main(["compare", str(directory), str(tmp_path / "strange")]) == 1
    assert "answers classes, and" in capsys.readouterr().err


def test_a_model_of_another_task_is_not_evaluated(run, tmp_path, capsys):
    kind, _, directory, _, _ = run
    other = KINDS[1 - KINDS.index(kind)]
    data, _ = write(tmp_path, other)
    assert main(["evaluate", "--model", str(directory), "--data", str(data)]) == 1
    assert f"(task {kind}), and the dataset has" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_bench_measures_it(tmp_path, kind, capsys):
    data, contract = write(tmp_path, kind)
    assert main(["bench", "--data", str(data), "--batch-size", "8", "--seconds", "1"]) == 0
    assert "images/s" in capsys.readouterr().out
    _, labels = next(iter(dataset.load(data, "train", 8)))
    assert labels.shape == (8, contract.target_width)


def test_the_ablation_refuses_by_name(run):
    with pytest.raises(TrainerError, match=r"ablate is for one class an image.*`python -m trainer compare`"):
        ablated.check_alike({"zscore": str(run[1])}, ablated.records)
