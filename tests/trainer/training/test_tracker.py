"""What trackers of experiments are told, by modules that stand in for their packages."""

from __future__ import annotations

import json
import sys
import types

import pytest

from tests.support.datasets import write_dataset
from tests.support.trainings import without_reports
from trainer.config import TrainConfig, TrainerError
from trainer.serving.export_check import ExportError
from trainer.training import finalize, tracker
from trainer.training.train import train


@pytest.fixture
def mlflow(monkeypatch):
    """A module that notes its calls; `start_run` gives the id that it is asked for, or "id-1"."""
    module = types.ModuleType("mlflow")
    calls: list[tuple] = []

    def start_run(run_id=None, run_name=None):
        calls.append(("start_run", run_id, run_name))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id or "id-1"))

    def noted(name):
        return lambda *args, **kwargs: calls.append((name, *args, *kwargs.values()))

    module.start_run, module.calls = start_run, calls
    for name in ("log_params", "log_metrics", "log_artifact", "end_run"):
        setattr(module, name, noted(name))
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return module


@pytest.fixture
def wandb(monkeypatch):
    module = types.ModuleType("wandb")
    calls: list[tuple] = []

    class Run:
        id = "abc"
        summary = types.SimpleNamespace(update=lambda values: calls.append(("summary", values)))

        def log(self, values, step):
            calls.append(("log", values, step))

        def log_artifact(self, artifact):
            calls.append(("log_artifact", artifact.name, artifact.files))

        def finish(self, exit_code):
            calls.append(("finish", exit_code))

    class Artifact:
        def __init__(self, name, type):
            self.name, self.files = name, []

        def add_file(self, path):
            self.files.append(path)

    def init(**options):
        calls.append(("init", options))
        return Run()

    module.init, module.Artifact, module.calls = init, Artifact, calls
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


@pytest.mark.slow
def test_a_training_tells_mlflow_options_epochs_scores_and_files(mlflow, tmp_path):
    write_dataset(tmp_path / "data", encoding="uint8")
    config = TrainConfig(str(tmp_path / "data"), str(tmp_path / "run"), epochs=2, batch_size=8, log="mlflow")
    with without_reports(export=False):
        metrics = train(config)
    names = [call[0] for call in mlflow.calls]
    assert names == [
        "start_run", "log_params", "log_metrics", "log_metrics", "log_metrics", "log_artifact", "log_artifact",
        "log_artifact", "end_run",
    ]  # fmt: skip
    assert mlflow.calls[0] == ("start_run", None, "run")
    assert mlflow.calls[1][1]["learning_rate"] == 1e-3
    (_, first, one), (_, _, two) = mlflow.calls[2:4]
    assert (one, two) == (1, 2)
    assert {"loss", "val_balanced_accuracy", "images_per_second"} <= set(first)
    scores = mlflow.calls[4][1]
    assert scores["test/accuracy"] == metrics["splits"]["test"]["accuracy"]
    assert scores["validation/records"] == 12
    files = [call[1].rpartition("/")[2] for call in mlflow.calls if call[0] == "log_artifact"]
    assert files == ["config.yaml", "metrics.json", "model_card.md"]
    assert mlflow.calls[-1] == ("end_run", "FINISHED")
    assert json.loads((tmp_path / "run" / "tracker.json").read_text()) == {"tracker": "mlflow", "id": "id-1"}


def test_a_run_whose_export_fails_tells_its_scores_and_has_failed(mlflow, tmp_path, monkeypatch):
    def without_export(*_):
        raise ExportError("an operation is unknown.")

    write_dataset(tmp_path / "data", encoding="uint8")
    config = TrainConfig(str(tmp_path / "data"), str(tmp_path / "run"), epochs=1, batch_size=8, log="mlflow")
    with without_reports(), monkeypatch.context() as patch:  # ends before what it is within
        patch.setattr(finalize.export, "write", without_export)
        with pytest.raises(ExportError, match=r"The run is complete and evaluated, but has no export\."):
            train(config)
    assert [call[0] for call in mlflow.calls[3:]] == ["log_metrics", *["log_artifact"] * 3, "end_run"]
    splits = json.loads((tmp_path / "run" / "metrics.json").read_text())["splits"]
    assert mlflow.calls[3][1]["test/accuracy"] == splits["test"]["accuracy"]
    assert mlflow.calls[-1] == ("end_run", "FAILED")


def test_a_resumed_run_continues_at_the_tracker(mlflow, tmp_path):
    note = tmp_path / "tracker.json"

    def failing():
        with tracker.opened("mlflow", tmp_path, {}, note) as told:
            told.epoch({"epoch": 1, "loss": 0.5, "val_loss": float("nan")})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert mlflow.calls[-2:] == [("log_metrics", {"loss": 0.5}, 1), ("end_run", "FAILED")]
    with tracker.opened("mlflow", tmp_path, {}, note):
        pass
    assert mlflow.calls[-2:] == [("start_run", "id-1", None), ("end_run", "FINISHED")]


def test_weights_and_biases(wandb, tmp_path):
    (tmp_path / "metrics.json").write_text("{}")
    with tracker.opened("wandb", tmp_path, {"seed": 3}, tmp_path / "tracker.json") as told:
        told.epoch({"epoch": 4, "loss": 0.5})
        told.finished({"test": {"accuracy": 0.9, "per_class": {}}}, [tmp_path / "metrics.json", tmp_path / "none"])
    assert wandb.calls == [
        ("init", {"project": "shardmill", "name": tmp_path.name, "config": {"seed": 3}}),
        ("log", {"loss": 0.5}, 4),
        ("summary", {"test/accuracy": 0.9}),
        ("log_artifact", "evaluation-abc", [str(tmp_path / "metrics.json")]),
        ("finish", 0),
    ]
    with tracker.opened("wandb", tmp_path, {}, tmp_path / "tracker.json"):
        pass
    assert wandb.calls[5][1]["id"] == "abc"
    assert wandb.calls[5][1]["resume"] == "allow"


def test_a_tracker_that_fails_does_not_end_the_training(mlflow, tmp_path, caplog):
    def broken(*_, **__):
        raise ConnectionError("no route to host")

    mlflow.log_metrics = broken
    with tracker.opened("mlflow", tmp_path, {}, tmp_path / "tracker.json") as told:
        told.epoch({"epoch": 1, "loss": 0.5})
        told.epoch({"epoch": 2, "loss": 0.4})
    assert [record.message for record in caplog.records] == [
        "--log stopped: the tracker could not take what was sent (ConnectionError: no route to host). The training "
        "goes on without it, and the directory of the run has all numbers."
    ]


def test_a_package_that_is_missing_or_begins_nothing_is_told_before_the_training(mlflow, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    write_dataset(tmp_path / "data", encoding="uint8")
    with pytest.raises(
        TrainerError, match=r"--log wandb needs the package wandb \(.*\). Install it with: pip install wandb, or"
    ):
        train(TrainConfig(str(tmp_path / "data"), str(tmp_path / "run"), log="wandb"))
    assert not (tmp_path / "run").exists()
    mlflow.start_run = lambda **_: 1 / 0
    with (
        pytest.raises(TrainerError, match=r"--log mlflow could not begin a run \(ZeroDivisionError"),
        tracker.opened("mlflow", tmp_path, {}, tmp_path / "tracker.json"),
    ):
        pass
    with tracker.opened("none", tmp_path, {}, tmp_path / "x.json") as told:
        told.epoch({"epoch": 1, "loss": 0.5})
    assert not (tmp_path / "x.json").exists()
