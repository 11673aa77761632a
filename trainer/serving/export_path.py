"""Checks the path of an export. It imports no TensorFlow."""

from __future__ import annotations

import os

from trainer.config import INT8, TrainerError

SUFFIXES = {"tflite": ".tflite", INT8: ".tflite", "onnx": ".onnx"}  # of the kinds of export that are files


def check(path: str, kind: str) -> None:
    """Checks that an export of a kind may be written to a path.

    Raises:
      TrainerError: its name ends otherwise, or something else is there.
    """
    suffix = SUFFIXES.get(kind, "")
    if not path.endswith(suffix):
        raise TrainerError(f"--output should be a file that ends in {suffix}. Received: {path!r}.")
    same = os.path.isfile(path) if suffix else os.path.isfile(os.path.join(path, "saved_model.pb"))
    if os.path.lexists(path) and not same:
        raise TrainerError(
            f"An export should go to a new path or replace an earlier one of its kind ({kind}). {path!r} holds "
            "something else: choose another path."
        )
