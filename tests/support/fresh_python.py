"""Executes code in a new interpreter, for what is about its start and its end."""

import os
import subprocess
import sys


def output_of(code: str) -> bytes:
    """Returns what a program writes, which has to end by itself with status 0."""
    # Importing TensorFlow Transform, as other tests do in this process, sets this in the environment.
    inherited = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    environment = {**inherited, "PYTHONPATH": os.getcwd()}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout
