"""What cannot be written ends the command with one sentence; what is read cannot run."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pipelines import work_dir
from pipelines.core.errors import BusyError
from pipelines.core.files import atomic
from tests.support import trainings, warm
from tests.support.datasets import make_contract, write_dataset
from trainer import run_dir
from trainer.cli.main import main
from trainer.config import TrainConfig, TrainerError
from trainer.models import build
from trainer.reporting import plots
from trainer.training import checkpoint_file, finalize, train


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("outputs") / "data"
    write_dataset(path, encoding="uint8", splits={"train": (4, 4), "validation": (2, 2), "test": (2, 2)})
    return path


@pytest.fixture(autouse=True)
def without_reports(request):
    """Leaves the export only where its folder cannot be written."""
    with trainings.without_reports(export="saved_model" in request.node.name):
        yield


def argv(data, out, *more):
    return ["train", "--data", str(data), "--output", str(out), "--epochs", "1", "--verify", "off", *more]


def one_sentence(text):
    lines = [line for line in text.splitlines() if not line.startswith(("E0000", "I0000", "W0000", "WARNING"))]
    assert len(lines) == 1, text
    return lines[0]


def full(*_, **__):
    raise OSError(28, "No space left on device")


def full_for_tensorflow(*_, **__):
    raise tf.errors.ResourceExhaustedError(None, None, "/x/y; No space left on device\nmore")


def full_at(name):
    """A disk that is full when the model of this name is saved."""
    save = keras.Model.save

    def at(network, path, *args, **more):
        if pathlib.Path(path).name == name:
            full()
        return save(network, path, *args, **more)

    return at


STAGES = {
    "checkpoints": (checkpoint_file, "write", full),
    "logs": (tf.summary, "create_file_writer", full_for_tensorflow),
    "last.keras": (keras.Model, "save", full_at("last.keras")),
    "model.keras": (keras.Model, "save", full_at("model.keras")),
    "saved_model": (tf.saved_model, "save", full_for_tensorflow),
    "plots": (plots, "write_all", full),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(STAGES))
def test_a_full_disk_is_one_sentence_at_every_stage(data, tmp_path, monkeypatch, capsys, name):
    monkeypatch.setattr(*STAGES[name])
    out = tmp_path / "o"
    assert main(argv(data, out)) == 1
    said = one_sentence(capsys.readouterr().err)
    assert said.startswith(f"train: '{out / name}' cannot be written (")
    assert "No space left on device" in said
    assert said.endswith("with --resume the run continues from its last checkpoint.")
    assert not (out / "metrics.json").exists()
    assert not list(out.rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["metrics.json", "metrics.csv", "config.yaml", "versions.json"])
def test_a_full_disk_while_texts_are_written(data, tmp_path, monkeypatch, capsys, name):
    write_text = atomic.write_text

    def sometimes(path, text):
        if path.name == name:
            raise OSError(28, "No space left on device", str(path))
        write_text(path, text)

    monkeypatch.setattr(atomic, "write_text", sometimes)
    assert main(argv(data, tmp_path / "o")) == 1
    said = one_sentence(capsys.readouterr().err)
    assert "No space left on device" in said
    assert str(tmp_path / "o" / name) in said
    assert not (tmp_path / "o" / "metrics.json").exists()


LIMITED = """
import resource, sys
from trainer.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("size", [1_000, 20_000, 300_000])
def test_a_limit_of_the_system_on_files_is_one_sentence(data, tmp_path, size):
    """As a full disk, in a process of its own: texts, a checkpoint, then model.keras would be larger."""
    ended = warm.run(
        [sys.executable, "-c", LIMITED, size, *argv(data, tmp_path / "o")],
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},  # cut short, a module is imported all the same
        timeout=120,
    )
    assert ended.returncode == 1, ended.stderr[-2000:]
    said = one_sentence(ended.stderr)
    assert said.startswith("train: ")
    assert "File too large" in said
    assert not list((tmp_path / "o").rglob("*.tmp"))


@pytest.mark.slow
def test_files_that_vanish_while_the_run_is_ending_leave_it_unfinished(data, tmp_path, monkeypatch, capsys):
    out = tmp_path / "o"

    def removed(*_):
        shutil.rmtree(out)
        out.mkdir()  # as what is written next would

    monkeypatch.setattr(finalize.plots, "write_all", removed)
    assert main(argv(data, out)) == 1
    said = one_sentence(capsys.readouterr().err)
    lost = "config.yaml, contract.json, metrics.csv, model.keras"
    assert said.startswith(f"train: '{out}' has lost {lost} while the run was ending")
    assert not (out / "metrics.json").exists()


@pytest.mark.slow
def test_an_output_that_vanishes_while_training_is_one_sentence_and_a_resume_starts_over(data, tmp_path):
    out = tmp_path / "o"
    config = TrainConfig(str(data), str(out), epochs=2, batch_size=2, checkpoint_steps=1, verify="off")
    whole = train.train(config)
    with pytest.raises(TrainerError, match=r"cannot be written .*No such file or directory.*choose another --output"):
        train.train(config, saved=lambda: shutil.rmtree(out))
    assert not out.exists()
    assert train.train(dataclasses.replace(config, resume=True)) == whole


def test_an_output_that_cannot_be_made_is_one_sentence(data, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert main(argv(data, tmp_path / "file" / "o")) == 1
    assert one_sentence(capsys.readouterr().err) == f"train: Not a directory: {tmp_path / 'file' / 'o'}"


def test_a_second_trainer_and_one_that_prepares_there_are_told(data, tmp_path, capsys):
    """Both used to write to one directory, and both said that all was well."""
    out = tmp_path / "o"
    with work_dir.locked(str(out)):
        assert main(argv(data, out)) == 1
        assert one_sentence(capsys.readouterr().err) == (
            f"train: Another run is writing to '{out}'. Wait until it has ended, or choose another --output."
        )
        assert list(out.iterdir()) == []
    with run_dir.locked(out):
        (out / "x").touch()
        with pytest.raises(BusyError), work_dir.locked(str(out)):
            pass
    assert out.exists()


def test_a_directory_in_which_nothing_was_written_is_not_left_behind(tmp_path):
    with run_dir.locked(tmp_path / "a/b"):
        assert (tmp_path / "a/b").is_dir()
    assert list((tmp_path / "a").iterdir()) == []
    with run_dir.locked(tmp_path / "a"):  # it was there before
        pass
    assert (tmp_path / "a").is_dir()


def test_a_read_only_output_is_one_sentence(data, tmp_path, monkeypatch, capsys):
    def read_only(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(pathlib.Path, "open", read_only)  # the tests may run as one who may write anywhere
    assert main(argv(data, tmp_path / "o")) == 1
    assert one_sentence(capsys.readouterr().err).startswith(f"train: Permission denied: {tmp_path / 'o'}")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_a_file_that_cannot_be_finished_leaves_the_one_before(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("before")
    (tmp_path / "x.json.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as error:
        atomic.write_text(path, "after")
    assert error.value.filename == str(path)
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def change_config(path, change):
    """Rewrites config.json inside of a .keras file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] = json.dumps(change(json.loads(members["config.json"]))).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def lambda_layer(path):
    keras.Sequential([keras.Input((8, 8, 3)), layers.Lambda(lambda x: x * 2), layers.Flatten(), layers.Dense(2)]).save(
        path
    )


def command(path):
    """A "layer" that is a function of the standard library."""
    keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2)]).save(path)

    def change(config):
        marker = str(path.parent / "ran")
        config["config"]["layers"][1] = {
            "module": "os", "class_name": "system", "config": {"command": f"touch {marker}"}, "registered_name": None,
        }  # fmt: skip
        return config

    change_config(path, change)


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda_layer, command])
def test_a_model_that_brings_code_along_is_refused_in_one_sentence(data, tmp_path, capsys, make):
    assert main(argv(data, tmp_path / "o")) == 0
    make(tmp_path / "o" / "model.keras")
    capsys.readouterr()
    for line in (
        ["evaluate", "--data", str(data), "--model", str(tmp_path / "o")],
        ["export", "--data", str(data), "--model", str(tmp_path / "o"), "--output", str(tmp_path / "e")],
        argv(data, tmp_path / "n", "--init-weights", str(tmp_path / "o" / "model.keras")),
    ):
        assert main(line) == 1
        assert "in safe mode" in one_sentence(capsys.readouterr().err)
    assert not (tmp_path / "o" / "ran").exists()


def test_of_a_whole_model_in_h5_only_the_weights_are_read(tmp_path):
    network = build.build("cnn", make_contract())
    network.save(tmp_path / "whole.h5")
    with h5py.File(tmp_path / "whole.h5", "r+") as file:
        file.attrs["model_config"] = json.dumps(
            {"class_name": "system", "module": "os", "config": {"command": "false"}}
        )
    again = build.build("cnn", make_contract(), str(tmp_path / "whole.h5"))
    for given, expected in zip(again.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(given, expected)
