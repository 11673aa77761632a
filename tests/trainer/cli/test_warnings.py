"""Commands with `python -W error`, which turns each warning into an error."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest
from PIL import Image

from tests.support.datasets import write_dataset

ROOT = pathlib.Path(__file__).parents[3]
# One process for all: to load TensorFlow takes longer than a command.
PROGRAM = """
import json, sys
from trainer.cli.main import main
for command in json.loads(sys.argv[1]):
    print("status", main(command))
"""


@pytest.mark.slow
def test_train_evaluate_and_predict_end_without_a_warning(tmp_path):
    write_dataset(tmp_path / "data", encoding="uint8")
    Image.new("RGB", (20, 20), "red").save(tmp_path / "photo.png")
    run = str(tmp_path / "run")
    commands = [
        ["train", "--data", str(tmp_path / "data"), "--output", run, "--epochs", "1"],
        ["evaluate", "--model", run, "--data", str(tmp_path / "data"), "--output", str(tmp_path / "scores")],
        ["predict", "--model", run, str(tmp_path / "photo.png")],
    ]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, json.dumps(commands)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stdout.count("status 0\n")) == (0, 3), done.stderr
