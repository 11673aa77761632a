"""Training as a job of Vertex AI: where things go, and going on after a restart."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tests.support import trainings
from tests.support.datasets import write_dataset
from trainer import task
from trainer.cloud_mirror import Mirror
from trainer.config import TrainConfig, TrainerError
from trainer.models import build
from trainer.training.train import train


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("task") / "data"
    write_dataset(path, encoding="uint8", splits={"train": (6, 6), "validation": (2, 2)})
    return path


def test_flags_then_file_then_environment(data, tmp_path):
    (tmp_path / "c.yaml").write_text(f"data: {data}\nseed: 3\nepochs: 2\n")
    environment = {
        "AIP_TRAINING_DATA_URI": "/nowhere", "AIP_MODEL_DIR": "gs://b/m", "AIP_CHECKPOINT_DIR": "gs://b/c",
        "AIP_TENSORBOARD_LOG_DIR": "gs://b/l",
    }  # fmt: skip
    job = task.job({"config": str(tmp_path / "c.yaml"), "epochs": 1}, environment)
    assert (job.config.data, job.config.seed, job.config.epochs) == (str(data), 3, 1)
    assert (job.run, job.model, job.logs) == ("gs://b/c", "gs://b/m", "gs://b/l")
    assert pathlib.Path(job.config.output).is_dir()
    assert task.job({}, environment | {"AIP_TRAINING_DATA_URI": str(data)}).config.data == str(data)
    remote = task.job({"data": str(data), "output": "gs://b/o"}, environment)
    assert (remote.run, remote.config.output.startswith("gs://")) == ("gs://b/o", False)
    local = task.job({"data": str(data), "output": str(tmp_path / "o")}, {})
    assert local[1:] == ("", "", "")
    assert local.config.output == str(tmp_path / "o")


def test_a_managed_dataset_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "training-00000.jsonl").write_text("{}")
    with pytest.raises(TrainerError, match=r"AIP_TRAINING_DATA_URI should be a directory .* prepare them first"):
        task.job({}, {"AIP_TRAINING_DATA_URI": str(tmp_path)})


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["", "ram://"])
def test_a_job_that_is_killed_goes_on_where_it_was(data, tmp_path, monkeypatch, scheme, capsys):
    """`ram://` is a file system of TensorFlow's that the os module does not know, as gs:// is."""
    place = f"{scheme}{tmp_path}/bucket"
    for name, folder in (("MODEL", "model"), ("TENSORBOARD_LOG", "logs"), ("CHECKPOINT", "run")):
        monkeypatch.setenv(f"AIP_{name}_DIR", f"{place}/{folder}/")
    argv = ["--data", str(data), "--epochs", "2", "--batch_size", "4", "--verify", "off"]
    push, pushed = Mirror.push, []

    def killed(self):
        push(self)
        pushed.append(self.place)
        if len(pushed) == 2:  # logs and run, after the first epoch
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "push", killed)
        assert task.main(argv) == 130
    assert not tf.io.gfile.exists(f"{place}/model/saved_model.pb")
    assert tf.io.gfile.glob(f"{place}/run/checkpoints/*")
    assert task.main(argv) == 0  # on another machine: in another folder
    out = capsys.readouterr().out
    assert "continuing from" in out
    assert task.main([*argv, "--learning-rate", "0.5"]) == 1
    assert f"({place}/run/ holds an earlier run: a new run needs another place.)" in capsys.readouterr().err
    assert f"SavedModel copied to {place}/model/" in out
    assert tf.io.gfile.glob(f"{place}/logs/train/events*")
    assert not tf.io.gfile.glob(f"{place}/run/checkpoints/*")
    for name in ("config.yaml", "metrics.csv", "metrics.json", "versions.json", "contract.json", "plots/curves.png"):
        assert tf.io.gfile.exists(f"{place}/run/{name}"), name
    about = tf.saved_model.load(f"{place}/model").signatures["about"]()
    assert about["labels"].numpy().tolist() == [b"ok", b"broken"]
    if not scheme:
        with trainings.without_reports(export=False):
            train(TrainConfig(str(data), str(tmp_path / "whole"), epochs=2, batch_size=4, verify="off"))
        both = [
            build.load(folder / "model.keras").get_weights() for folder in (tmp_path / "whole", tmp_path / "bucket/run")
        ]
        for one, other in zip(*both, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_mirror_copies_what_changed_and_removes_only_its_own(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "a").mkdir(parents=True)
    (here / "a" / "one").write_text("1")
    (here / "two.tmp").write_text("half")
    there.mkdir()
    (there / "theirs").write_text("keep")
    mirror = Mirror(str(here), str(there))
    mirror.push()
    assert sorted(str(p.relative_to(there)) for p in there.rglob("*")) == ["a", "a/one", "theirs"]
    copied = []
    copy = tf.io.gfile.copy
    monkeypatch.setattr(tf.io.gfile, "copy", lambda s, t, overwrite: (copied.append(s), copy(s, t, overwrite)))
    mirror.push()
    assert copied == []
    (here / "a" / "one").write_text("22")
    (here / "three").write_text("3")
    mirror.push()
    assert copied == [str(here / "a" / "one"), str(here / "three")]
    assert (there / "a" / "one").read_text() == "22"
    (here / "three").unlink()
    mirror.push()
    assert sorted(str(p.relative_to(there)) for p in there.rglob("*")) == ["a", "a/one", "theirs"]
    back = Mirror(str(tmp_path / "back"), str(there))
    assert back.pull()
    assert (tmp_path / "back" / "a" / "one").read_text() == "22"
    assert not Mirror(str(tmp_path / "back"), str(tmp_path / "none")).pull()


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "x").write_text("1")
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainerError, match="cannot be copied to"):
        Mirror(str(tmp_path / "here"), str(tmp_path / "file")).push()
