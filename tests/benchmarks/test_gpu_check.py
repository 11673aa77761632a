"""`make gpu-check` on a machine without a GPU, and what it writes of a measurement."""

import importlib
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def gpu_check():
    """The program, which finds its neighbours in its own folder."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module("gpu_check")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.mark.slow
def test_no_gpu_is_status_2_and_says_what_tensorflow_says(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_check.py"), "--small", "s", "--large", "l", "--output",
               str(tmp_path)]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    )
    assert done.returncode == 2
    assert done.stderr.startswith("TensorFlow finds no GPU here. What it says:\n")


FOUND = {
    "model": "cnn", "batch": 256, "precision": "none", "jit": "on", "deterministic": False, "shape": [128, 128, 3],
    "xla": True, "loader": 20000.4, "loader_cores": 1.26, "network": 90000, "both": 19000, "wait": 0.7891,
    "utilization": "21 %",
}  # fmt: skip


def test_a_measured_setting_is_a_row(gpu_check):
    assert gpu_check.row(FOUND) == (
        "cnn at 128", "256", "none", "on", "no", "20,000", "1.3", "90,000", "19,000", "78.9%", "21 %",
    )  # fmt: skip


def test_a_setting_that_failed_is_a_row_with_the_reason(gpu_check):
    found = {**FOUND, "error": "XLA cannot compile this"}
    assert gpu_check.row(found) == ("cnn", "256", "none", "on", "no", "XLA cannot compile this", "", "", "", "", "")
    assert len(gpu_check.row(found)) == len(gpu_check.row(FOUND)) == len(gpu_check.STEPS_HEAD)


def test_what_does_not_hold_is_kept_and_marked(gpu_check):
    results = gpu_check.Results([], {}, [])
    results.say("Two runs are equal.")
    results.say("The loss is 0.5 apart.", holds=False)
    results.table("T", ("a", "b"), [("1", "2")])
    assert results.failed == ["The loss is 0.5 apart."]
    assert results.lines == [
        "", "Two runs are equal.", "", "**Does not hold:** The loss is 0.5 apart.",
        "", "## T", "", "| a | b |", "|---|---|", "| 1 | 2 |",
    ]  # fmt: skip
