"""Predicts the labels of image files with a run or an exported SavedModel.

Files go through the same conversion as in `prepare`, `pipelines.formats.canonical`: it converts the formats that the
served graph refuses to PNG. This needs Pillow, but neither Beam nor TensorFlow Transform.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from pipelines.core.terminal import stderr_held
from pipelines.core.text import first_line
from pipelines.core.urls import is_remote
from pipelines.images import formats
from pipelines.images.formats import ImageError
from trainer.config import TrainerError
from trainer.run_dir import Run

BATCH = 32
MAX_BYTES = 256 << 20  # of one file, the same as the default of `prepare --max-file-bytes`
STANDARD_INPUT = "-"


class Model(NamedTuple):
    """Holds a loaded SavedModel.

    labels: class names in the order of the ids.
    serve: maps a list of B encoded images to probabilities, float32 (B, C).
    """

    labels: tuple[str, ...]
    serve: Callable[[list[bytes]], np.ndarray]


class Answer(NamedTuple):
    """Holds the prediction for one file.

    probabilities: float32 (C,), or None if the file could not be read; then `error` says why.
    """

    path: str
    probabilities: np.ndarray | None
    error: str = ""


def predict(model: Model, paths: Sequence[str]) -> Iterator[Answer]:
    """Yields the prediction for each file, for a program that does nothing else.

    Args:
      model: from `load`.
      paths: files, folders (all files in them that are not hidden), and "-" for a list on stdin, one path per line.

    Raises:
      TrainerError: there are no files.
    """
    formats.silence_pillow()  # a damaged file is one line of ours
    answer = None
    for answer in answers(model, files(paths)):
        yield answer
    if answer is None:
        raise TrainerError(f"There are no files to predict in {', '.join(map(repr, paths))}.")


def load(directory: str) -> Model:
    """Loads the SavedModel of a run, or a SavedModel at its own path.

    Raises:
      TrainerError: there is no SavedModel, or this trainer did not write it.
    """
    own = os.fspath(Run(directory).saved_model)
    path = own if os.path.isdir(own) else directory
    if not os.path.isfile(os.path.join(path, "saved_model.pb")):
        raise TrainerError(
            "--model should be the --output directory of a finished training run, or a SavedModel that `export` wrote. "
            f"Received: {directory!r}, where there is no saved_model.pb."
        )
    loaded = tf.saved_model.load(path)
    if not {"serving_default", "about"} <= set(loaded.signatures):
        raise TrainerError(
            f"The SavedModel in {path!r} was not written by this trainer: it has the signatures "
            f"{', '.join(loaded.signatures) or 'none'}. Export the model again with `python -m trainer export`."
        )
    labels = tuple(label.decode("utf-8") for label in loaded.signatures["about"]()["labels"].numpy())

    def serve(encoded: list[bytes]) -> np.ndarray:
        return np.asarray(loaded.signatures["serving_default"](image_bytes=tf.constant(encoded))["probabilities"])

    return Model(labels, serve)


def files(paths: Iterable[str]) -> Iterator[str]:
    """Yields the files of all paths.

    A folder yields the files in it, sorted and without hidden ones. "-" yields the paths that stdin lists.
    """
    for path in paths:
        if path == STANDARD_INPUT:
            listed = (os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer)
            yield from files(name for name in listed if name and name != STANDARD_INPUT)
        elif not is_remote(path) and os.path.isdir(path):
            for folder, folders, names in os.walk(path):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                yield from (os.path.join(folder, name) for name in sorted(names) if not name.startswith("."))
        else:
            yield path


def answers(model: Model, paths: Iterable[str]) -> Iterator[Answer]:
    """Yields the prediction for each file, in the order of the files."""
    batch: list[tuple[str, bytes | str]] = []
    for path in paths:
        with stderr_held():  # libraries also write to stderr about a damaged file; the user gets one line
            batch.append((path, _read(path)))
        if len(batch) == BATCH:
            yield from _answered(model, batch)
            batch = []
    yield from _answered(model, batch)


def error_line(answer: Answer) -> str:
    """Formats the path of a file that could not be read, and why."""
    return f"{_shown(answer.path)}: {answer.error}"


def text_line(model: Model, answer: Answer) -> str:
    """Formats a prediction as path, label and probability, separated by tabs."""
    values = np.asarray(answer.probabilities)
    best = int(values.argmax())
    return f"{_shown(answer.path)}\t{model.labels[best]}\t{float(values[best]):.4f}"


def json_line(model: Model, answer: Answer) -> str:
    """Formats a prediction as a JSON object.

    Its keys are path, label, probability and probabilities, or path and error if the file could not be read.
    """
    content: dict[str, Any] = {"path": _shown(answer.path)}
    if answer.probabilities is None:
        content["error"] = answer.error
    else:
        values = [float(p) for p in answer.probabilities]
        best = int(np.argmax(values))
        content |= {"label": model.labels[best], "probability": values[best]}
        content["probabilities"] = dict(zip(model.labels, values, strict=True))
    return json.dumps(content, ensure_ascii=False)


def _read(path: str) -> bytes | str:
    """Reads a file as bytes that the served graph accepts, or returns why it cannot."""
    try:
        if is_remote(path):
            with tf.io.gfile.GFile(path, "rb") as file:
                content = file.read(MAX_BYTES + 1)
        else:
            if os.path.exists(path) and not os.path.isfile(path):
                return "not a regular file"  # reading a FIFO would block for ever
            with open(path, "rb") as file:
                content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            return f"larger than {MAX_BYTES >> 20} MiB"
        return formats.canonical(content)
    except ImageError as e:
        return str(e)
    except (OSError, tf.errors.OpError) as e:
        return getattr(e, "strerror", None) or first_line(e)
    except MemoryError:
        return "it takes more memory to decode than there is"


def _answered(model: Model, batch: list[tuple[str, bytes | str]]) -> Iterator[Answer]:
    good = [content for _, content in batch if isinstance(content, bytes)]
    with stderr_held():
        given = iter(_served(model, good))
    for path, content in batch:
        if isinstance(content, str):
            yield Answer(path, None, content)
            continue
        found = next(given)
        yield Answer(path, None, found) if isinstance(found, str) else Answer(path, found)


def _served(model: Model, encoded: list[bytes]) -> list[np.ndarray | str]:
    """Returns for each encoded image its probabilities, or a sentence on the error.

    One image that cannot be decoded makes its batch fail. Then every image is served on its own.
    """
    if not encoded:
        return []
    try:
        return list(model.serve(encoded))
    except tf.errors.InvalidArgumentError as e:
        if len(encoded) == 1:
            return [f"it cannot be decoded: {first_line(e)}"]
        return [found for one in encoded for found in _served(model, [one])]


def _shown(path: str) -> str:
    """Escapes control characters and non-UTF-8 bytes, so that a path fits one line."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
