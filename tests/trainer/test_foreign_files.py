"""No command runs what a stranger's dataset, run or model brings along."""

from __future__ import annotations

import shutil

import pytest
import tensorflow as tf

from pipelines import contract as contracts
from tests.support import trainings
from tests.support.datasets import write_dataset
from tests.support.files import hostile_graphs
from tests.support.files.hostile_graphs import Hostile, HostileTable, in_while, write
from trainer.cli.main import main
from trainer.serving.format_check import checked

pytestmark = pytest.mark.slow
SPLITS = {"train": (4, 4), "validation": (2, 2), "test": (2, 2)}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """(dataset, finished run) that are harmless."""
    folder = tmp_path_factory.mktemp("foreign")
    write_dataset(folder / "data", encoding="uint8", splits=SPLITS)
    with trainings.without_reports():
        assert main(["train", "--data", str(folder / "data"), "--output", str(folder / "run"), "--epochs", "1"]) == 0
    return folder / "data", folder / "run"


@pytest.fixture(params=[Hostile, HostileTable])
def hostile(good, tmp_path, request):
    """(dataset whose graph writes a file, the file). Every digest agrees."""
    shutil.copytree(good[0], tmp_path / "data")
    marker = tmp_path / "written"
    contract = contracts.load(tmp_path / "data")
    hostile_graphs.put(tmp_path / "data", contract, request.param(contract, in_while(write(marker))))
    assert not marker.exists()
    return tmp_path / "data", marker


def test_no_command_writes_what_a_datasets_graph_would(good, hostile, tmp_path, capsys):
    (data, marker), run = hostile, str(good[1])
    capsys.readouterr()
    for line in (
        ["train", "--data", str(data), "--output", str(tmp_path / "o"), "--epochs", "1"],
        ["export", "--data", str(data), "--model", run, "--output", str(tmp_path / "e")],
    ):
        assert main(line) == 1
        assert "the operation 'WriteFile' in node" in capsys.readouterr().err
    for line in (
        ["evaluate", "--data", str(data), "--model", run],
        ["export", "--data", str(data), "--model", run, "--output", str(tmp_path / "e.tflite"), "--format", "tflite"],
    ):
        assert main(line) == 0  # these do not need the graph
    main(["doctor", "--data", str(data), "--model", run])  # its status is that of its findings
    assert "few-images" in capsys.readouterr().out
    assert not marker.exists()
    assert not (tmp_path / "o").exists()
    assert not (tmp_path / "e").exists()


class Served(tf.Module):
    """A SavedModel with the signatures of an export, that writes a file when it serves."""

    def __init__(self, marker):
        super().__init__()

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")], autograph=False)
        def serve(image_bytes):
            encoded = tf.map_fn(checked, image_bytes + in_while(write(marker))())
            return {"probabilities": tf.ones((tf.shape(encoded)[0], 2)) / 2}

        @tf.function(input_signature=[], autograph=False)
        def about():
            return {"labels": tf.constant(["a", "b"])}

        self.serve, self.about = serve, about


def test_predict_does_not_run_a_strangers_model(good, tmp_path, capsys):
    run, marker, photo = tmp_path / "run", tmp_path / "written", tmp_path / "photo.png"
    photo.write_bytes(tf.io.encode_png(tf.zeros((8, 8, 3), tf.uint8)).numpy())
    shutil.copytree(good[1], run)
    assert main(["predict", "--model", str(run), str(photo)]) == 0
    made = Served(marker)
    signatures = {"serving_default": made.serve, "about": made.about}
    tf.saved_model.save(made, str(run / "saved_model"), signatures=signatures)
    capsys.readouterr()
    for model in (run, run / "saved_model"):
        assert main(["predict", "--model", str(model), str(photo)]) == 1
        assert "the operation 'WriteFile' in node" in capsys.readouterr().err
    assert not marker.exists()
