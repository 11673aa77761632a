"""A network for each fold: who answers what, what is written, and how an interrupted run goes on."""

from __future__ import annotations

import csv
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines import contract as contracts
from tests.support import tasks
from tests.support.datasets import write_dataset
from tests.support.folds import divide, index_of, write_ledgers
from tests.support.log import logged
from trainer.config import ConfigError, TrainConfig, TrainerError
from trainer.evaluation import compare, evaluate
from trainer.models import build
from trainer.serving.export_check import Parity
from trainer.tasks import answer_comparison, kinds
from trainer.training import finalize, folds, loop, train

pytestmark = pytest.mark.slow  # a network is trained for each fold

OPTIONS = {"epochs": 2, "batch_size": 8, "verify": "off", "seed": 1}
COPIES = [i for i in range(32) if i % 4 == 0]


class Killed(BaseException):
    """What stands for SIGKILL: no handler in the product sees it."""


@pytest.fixture(autouse=True, scope="module")
def without_pictures_and_exports_of_folds():
    """They are no part of this and take most of the time. The export of the whole run is made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finalize.plots, "write_all", lambda *_: None)
        patch.setattr(finalize, "export", SimpleNamespace(write=lambda *_: Parity(0.0, 0.0, 0, 0, 0.0)))
        patch.setattr(finalize.tensorboard, "write", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("folds") / "data"
    write_dataset(path, encoding="uint8", splits={"train": (20, 12), "test": (5, 4)}, shards=2)
    divide(path, 3, copies=True)
    write_ledgers(path)
    return path


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "run"
    return output, folds.run(TrainConfig(str(data), str(output), folds="all", **OPTIONS))


def rows(path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_each_original_is_answered_once_by_the_network_that_has_not_seen_it(whole):
    output, _ = whole
    found = rows(output / "predictions-out-of-fold.csv")

    assert list(found[0]) == [
        "key", "source", "fold", "label", "predicted", "probability", "probability of ok", "probability of broken",
    ]  # fmt: skip
    indices = [index_of(row["key"]) for row in found]
    assert sorted(indices) == [i for i in range(32) if i not in COPIES]
    assert [row["source"] for row in found] == [f"in/{i}.png" for i in indices]
    assert [int(row["fold"]) for row in found] == [i % 3 for i in indices]
    for fold in range(3):
        own = {row["key"]: row["predicted"] for row in rows(output / f"fold-{fold}" / f"predictions-fold-{fold}.csv")}
        assert {row["key"]: row["predicted"] for row in found if int(row["fold"]) == fold} == own


def test_the_run_has_one_evaluation_with_the_spread_over_folds(whole, data):
    output, metrics = whole
    assert metrics == json.loads((output / "metrics.json").read_text())
    about = metrics["folds"]
    assert (about["count"], about["repeats"], about["served"]) == (3, 1, "the mean of the 3 networks")
    assert about["digest"] == contracts.load(data).files["folds.json"]
    assert set(metrics["splits"]) == {"out-of-fold", "test"}
    assert metrics["splits"]["out-of-fold"]["records"] == 24
    each = [fold["scores"]["accuracy"] for fold in about["per_fold"]]
    assert about["spread"]["accuracy"]["mean"] == pytest.approx(np.mean(each))
    assert about["spread"]["accuracy"]["deviation"] == pytest.approx(np.std(each, ddof=1))
    right = sum(fold["scores"]["accuracy"] * fold["records"] for fold in about["per_fold"])
    assert metrics["splits"]["out-of-fold"]["accuracy"] == pytest.approx(right / 24)
    for fold in about["per_fold"]:
        history = rows(output / f"fold-{fold['fold']}" / "metrics.csv")
        assert fold["at_last_epoch"] == pytest.approx(float(history[-1]["val_balanced_accuracy"]))
        assert fold["at_kept_epoch"] == max(float(row["val_balanced_accuracy"]) for row in history)
    page = (output / "evaluation.html").read_text()
    assert "<h3>Folds</h3>" in page
    assert page.index("<h3>Folds</h3>") < page.index("<h2>out-of-fold</h2>") < page.index("<h2>test</h2>")


def test_the_mean_of_the_networks_is_served_and_evaluated(whole, data):
    output, metrics = whole
    images = np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype(np.float32)
    each = [build.load(output / f"fold-{i}" / "model.keras")(images).numpy() for i in range(3)]

    np.testing.assert_allclose(build.load(output / "model.keras")(images).numpy(), np.mean(each, axis=0), atol=1e-5)
    assert (output / "saved_model" / "saved_model.pb").is_file()
    again = evaluate.evaluate(output, data, "test", verify="off")
    assert again.to_dict()["accuracy"] == metrics["splits"]["test"]["accuracy"]
    with pytest.raises(TrainerError, match=r"only `train --folds all` finds out: this model has seen the images"):
        evaluate.evaluate(output, data, "out-of-fold", verify="off")
    alone = evaluate.evaluate(output / "fold-1", data, "fold-1", verify="off")
    assert alone.records == metrics["folds"]["per_fold"][1]["records"]


def test_class_weights_are_those_of_what_is_trained_on(data, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(train, "training_model", lambda _, contract, *__: seen.append(contract) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train.train(TrainConfig(str(data), str(tmp_path / "run"), fold=2, **OPTIONS))

    labels = [int(row) for row in seen[0].split("train").stored.values()]
    rest = [i for i in range(32) if i % 3 != 2]
    assert sum(labels) == len(rest)
    assert seen[0].split("fold-2").records == len([i for i in range(32) if i % 3 == 2 and i % 4])


def of_finished_folds(whole, target, *unfinished):
    """Copies a run as it was before these folds were trained, and what comes after all folds."""
    shutil.copytree(whole[0], target)
    for path in (target / "metrics.json", target / "model.keras"):
        path.unlink()
    for name in ("saved_model", *unfinished):
        shutil.rmtree(target / name)


def test_a_killed_run_goes_on_and_does_not_train_finished_folds_again(data, whole, tmp_path, monkeypatch):
    of_finished_folds(whole, tmp_path / "run", "fold-2")
    resumed = TrainConfig(str(data), str(tmp_path / "run"), folds="all", resume=True, **OPTIONS)

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop, "run", killed)
        with pytest.raises(Killed):
            folds.run(resumed)
    assert (tmp_path / "run/fold-2/config.yaml").exists()
    assert not (tmp_path / "run/metrics.json").exists()
    written = [(tmp_path / f"run/fold-{number}/model.keras").stat().st_mtime_ns for number in range(2)]
    metrics = folds.run(resumed)

    assert [(tmp_path / f"run/fold-{number}/model.keras").stat().st_mtime_ns for number in range(2)] == written
    assert metrics["folds"]["per_fold"] == whole[1]["folds"]["per_fold"]
    name = "predictions-out-of-fold.csv"
    assert (tmp_path / "run" / name).read_text() == (whole[0] / name).read_text()
    with logged() as lines:
        assert folds.run(resumed) == metrics
    assert "are finished" in lines.getvalue()
    other = TrainConfig(**{**vars(resumed), "seed": 2})
    with pytest.raises(TrainerError, match=re.escape("--seed (was 1, is 2)")):
        folds.run(other)


def test_refit_trains_once_more_on_all_of_train(data, whole, tmp_path):
    """The folds are those of the run without refit."""
    output = tmp_path / "run"
    of_finished_folds(whole, output)
    said = (output / "config.yaml").read_text()
    assert said.count("refit: false") == 1
    (output / "config.yaml").write_text(said.replace("refit: false", "refit: true"))
    with logged() as lines:
        metrics = folds.run(TrainConfig(str(data), str(output), folds="all", refit=True, resume=True, **OPTIONS))

    kept = sorted(fold["kept_epoch"] for fold in metrics["folds"]["per_fold"])[1]
    assert metrics["folds"]["served"] == f"a network of {kept} epochs on all folds"
    assert json.loads((output / "refit/metrics.json").read_text())["epochs"] == {
        "asked": kept, "run": kept, "kept": kept,
    }  # fmt: skip
    assert "32 train records" in lines.getvalue()
    one, two = (build.load(output / name / "model.keras").get_weights() for name in (".", "refit"))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(("kind", "repeats"), [("multi-label", 2), ("regression", 1)])
def test_labels_and_numbers_have_out_of_fold_predictions(kind, repeats, tmp_path):
    tasks.write(tmp_path / "data", kind)
    divide(tmp_path / "data", 2, repeats)
    config = TrainConfig(
        str(tmp_path / "data"), str(tmp_path / "run"), folds="all", validation="none", epochs=1, verify="off"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finalize, "write_page", lambda *_: None)  # of the folds; that of the whole run is written
        metrics = folds.run(config)

    names = ("out-of-fold", "out-of-fold-1")[:repeats]
    assert {name for name in metrics["splits"] if name.startswith("out")} == set(names)
    assert len(metrics["folds"]["per_fold"]) == 2 * repeats
    assert metrics["folds"]["epochs_kept_by"] is None
    for repeat, name in enumerate(names):
        found = rows(tmp_path / "run" / f"predictions-{name}.csv")
        expected = {i: 2 * repeat + (i % 2, i // 2 % 2)[repeat] for i in range(48)}
        assert {index_of(row["key"]): int(row["fold"]) for row in found} == expected
        assert found[0]["source"] == ""
    task = kinds.of(contracts.load(tmp_path / "data"))
    assert set(metrics["folds"]["spread"]) <= set(metrics["splits"]["out-of-fold"])
    assert task.kind == kind


def test_compare_pairs_by_fold_and_refuses_other_folds(whole, data, tmp_path):
    output, _ = whole
    other = tmp_path / "other"
    other.mkdir()
    for name in ("metrics.json", "predictions-out-of-fold.csv"):
        (other / name).write_text((output / name).read_text())
    found = rows(other / "predictions-out-of-fold.csv")
    for row in found:  # another run: it has all of fold 0 right, and answers ok in the others
        row["predicted"] = row["label"] if row["fold"] == "0" else "ok"
    with open(other / "predictions-out-of-fold.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows(found)
    [difference] = compare.compare([str(output), str(other)], "out-of-fold").differences

    first = {row["key"]: row["predicted"] == row["label"] for row in rows(output / "predictions-out-of-fold.csv")}
    values = []
    for fold in "012":
        own = [row for row in found if row["fold"] == fold]
        of_class = [
            np.mean([(row["predicted"] == label) - first[row["key"]] for row in own if row["label"] == label])
            for label in ("broken", "ok")
        ]
        values.append(np.mean(of_class))
    half = 4.3027 * np.std(values, ddof=1) * np.sqrt(1 / 3 + 1 / 2)
    assert difference.folds_interval == pytest.approx((np.mean(values) - half, np.mean(values) + half))
    about = json.loads((other / "metrics.json").read_text())
    about["folds"]["digest"] = "0" * 64
    (other / "metrics.json").write_text(json.dumps(about))
    with pytest.raises(TrainerError, match=r"Runs should be compared on the same folds\..*folds.json differs"):
        compare.compare([str(output), str(other)], "out-of-fold")
    (other / "metrics.json").write_text("{}")
    with pytest.raises(TrainerError, match=r"should be a run of `train --folds all` to be compared by fold"):
        answer_comparison.compare_runs([str(output), str(other)], "out-of-fold")


def test_a_head_is_fitted_to_the_other_folds_and_an_earlier_run_of_folds_is_removed(data, tmp_path):
    for name in ("fold-0", "refit", "fold-mine"):
        (tmp_path / "run" / name).mkdir(parents=True)
        (tmp_path / "run" / name / "config.yaml").write_text("data: d\noutput: o\n" if "mine" not in name else "a: 1\n")
    (tmp_path / "run/config.yaml").write_text("data: d\noutput: o\n")
    with logged() as lines:
        train.train(TrainConfig(str(data), str(tmp_path / "run"), fold=1, fit_head=True, epochs=0, verify="off"))

    rest = len([i for i in range(32) if i % 3 != 1])
    assert f"features of {rest} images, {2 * rest} views" in lines.getvalue()  # and their mirror images
    assert {path.name for path in (tmp_path / "run").glob("*") if path.is_dir()} & {"fold-0", "refit"} == set()
    assert (tmp_path / "run/fold-mine").is_dir()
    assert (tmp_path / "run/predictions-fold-1.csv").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"refit": True}, "--refit trains once more after --folds all. Give both or none of them."),
        ({"folds": "all", "fold": 1}, "--fold 1 trains one fold, and --folds all every one."),
        ({"folds": "all", "strategy": "mirrored"}, "which --strategy mirrored cannot. Train each fold on its own"),
        ({"fold": -2}, "--fold should be from -1 to"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        TrainConfig("data", "run", **options)


def test_folds_that_cannot_be_are_refused(data, tmp_path, monkeypatch):
    with pytest.raises(TrainerError, match=r"The fold should be one from 0 to 2"):
        train.train(TrainConfig(str(data), str(tmp_path / "a"), fold=3, **OPTIONS))
    with pytest.raises(TrainerError, match=r"each fold is validated on in turn. Received: --validation test"):
        folds.run(TrainConfig(str(data), str(tmp_path / "b"), folds="all", validation="test", **OPTIONS))
    with pytest.raises(TrainerError, match=r"To validate on a fold of train, give --fold, or --folds all."):
        train.train(TrainConfig(str(data), str(tmp_path / "c"), **OPTIONS))
    (tmp_path / "lambda_for_test.py").write_text(
        "import keras\n"
        "def network(contract):\n"
        "    layers = [keras.layers.Lambda(lambda x: x), keras.layers.Flatten(), keras.layers.Dense(2)]\n"
        "    return keras.Sequential([keras.Input(contract.image_shape), *layers])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    own = TrainConfig(str(data), str(tmp_path / "e"), folds="all", model="lambda_for_test:network", **OPTIONS)
    with pytest.raises(TrainerError, match=r"'model.keras' is not loaded in safe mode, .*Lambda"):
        folds.run(own)
    write_dataset(tmp_path / "plain")
    with pytest.raises(TrainerError, match=r"--folds all needs a dataset with folds"):
        folds.run(TrainConfig(str(tmp_path / "plain"), str(tmp_path / "d"), folds="all", **OPTIONS))
    assert not any((tmp_path / name).exists() for name in "abcde")
