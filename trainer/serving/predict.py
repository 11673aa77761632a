"""Predicts the labels of image files with a run or an exported SavedModel.

Worker processes read, decode and resize the files as in `prepare`, with a deadline and a limit of memory for each. The
served graph then gets a PNG of the model's own size, which it reads unchanged: a file that hangs or crashes its decoder
costs one answer. This needs Pillow, but neither Beam nor TensorFlow Transform.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipelines.contract import graph_check
from pipelines.core.console.terminal import silent_imports, stderr_held, without_keras
from pipelines.core.files.urls import is_remote
from pipelines.images import file_reader
from pipelines.images.file_reader import Refused
from pipelines.images.image_spec import ImageSpec
from pipelines.images.limits import Limits
from pipelines.images.source_policy import from_notes
from trainer.config import TrainerError
from trainer.run_dir import Run
from trainer.serving.predict_config import ABSTAINED, FileBounds

if TYPE_CHECKING:
    from trainer.tasks.task import Spoken

BATCH = 32
STANDARD_INPUT = "-"
ABOUT = os.path.join("assets.extra", "shardmill.json")  # the metadata that `export` writes into a SavedModel


class Model(NamedTuple):
    """Holds a loaded SavedModel.

    labels: names of the classes in the order of the ids, or of what else is answered.
    spec: how the model's dataset decodes and resizes an image.
    serve: maps a list of B encoded images to probabilities, float32 (B, C), or to the answers of another task.
    about: the metadata of the export.
    """

    labels: tuple[str, ...]
    spec: ImageSpec
    serve: Callable[[list[bytes]], np.ndarray]
    about: Mapping[str, Any] = MappingProxyType({})

    @property
    def other(self) -> Spoken | None:
        """Returns what says the answers of another task; None for classes."""
        kind = self.about.get("task", {}).get("kind")
        if kind is None:
            return None
        from trainer.tasks import kinds  # imported here, because it takes seconds and classes do not need it

        if kind not in kinds.SPOKEN:
            raise TrainerError(
                f"The model has the task {kind!r}, which this version does not know: predict with the one that made it."
            )
        return kinds.SPOKEN[kind]

    @property
    def least(self) -> float:
        """Returns the probability below which the model abstains; 0 if it never does."""
        return float((self.about.get("abstention") or {}).get("probability", 0.0))


class Answer(NamedTuple):
    """Holds the prediction for one file.

    probabilities: float32 (C,), or the answers of another task. None if the file could not be read; then `error` says
    why.
    """

    path: str
    probabilities: np.ndarray | None
    error: str = ""


def predict(model: Model, paths: Sequence[str], bounds: FileBounds) -> Iterator[Answer]:
    """Yields the prediction for each file.

    Args:
      model: from `load`.
      paths: files, folders (all files in them that are not hidden), and "-" for a list on stdin, one path per line.
      bounds: what reading and decoding one file may take.

    Raises:
      TrainerError: there are no files.
    """
    limits = Limits(image_timeout=bounds.image_timeout, image_memory=bounds.image_memory)
    answer = None
    for answer in answers(model, files(paths), limits):
        yield answer
    if answer is None:
        raise TrainerError(f"There are no files to predict in {', '.join(map(repr, paths))}.")


def load(directory: str) -> Model:
    """Loads the SavedModel of a run, or a SavedModel at its own path.

    Raises:
      TrainerError: there is no SavedModel, or this trainer did not write it.
      GraphError: its graph has an operation that is not allowed.
    """
    file_reader.start_for_records()  # the workers load TensorFlow while this process does and loads the model
    with silent_imports(), without_keras():  # what is served needs no Keras
        import tensorflow as tf

    own = os.fspath(Run(directory).saved_model)
    path = own if os.path.isdir(own) else directory
    if not os.path.isfile(os.path.join(path, "saved_model.pb")):
        raise TrainerError(
            "--model should be the --output directory of a finished training run, or a SavedModel that `export` wrote. "
            f"Received: {directory!r}, where there is no saved_model.pb."
        )
    loaded = graph_check.load(path, {})
    if not {"serving_default", "about"} <= set(loaded.signatures):
        raise TrainerError(
            f"The SavedModel in {path!r} was not written by this trainer: it has the signatures "
            f"{', '.join(loaded.signatures) or 'none'}. Export the model again with `python -m trainer export`."
        )
    about, spec = _about(os.path.join(path, ABOUT))
    labels = tuple(label.decode("utf-8") for label in loaded.signatures["about"]()["labels"].numpy())

    def serve(encoded: list[bytes]) -> np.ndarray:
        return np.asarray(loaded.signatures["serving_default"](image_bytes=tf.constant(encoded))[output])

    model = Model(labels, spec, serve, about)
    output = "probabilities" if model.other is None else model.other.output
    return model


def _about(about: str) -> tuple[dict[str, Any], ImageSpec]:
    """Reads the metadata of an export, and how images are decoded and resized."""
    try:
        with open(about, encoding="utf-8") as file:
            content = json.load(file)
        height, width, channels = map(int, content["image_shape"])
        resize, decode = content["resize"], content["decode"]
        red, green, blue = map(int, decode["background"])
        return content, ImageSpec(
            height,
            width,
            str(resize["mode"]),
            str(resize.get("filter", ImageSpec.filter)),
            (red, green, blue),
            "exact" if decode.get("jpeg_scaling", "none") == "none" else "fast",
            from_notes(decode),
            channels,
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as e:
        raise TrainerError(
            f"{about!r} should say how the model's images were decoded and resized, but cannot be used "
            f"({type(e).__name__}: {e}). Export the model again with `python -m trainer export`."
        ) from e


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


def answers(model: Model, paths: Iterable[str], limits: Limits) -> Iterator[Answer]:
    """Yields the prediction for each file, in the order of the files."""
    asked, read = itertools.tee(paths)  # the reader is a few files ahead
    found = zip(asked, file_reader.records(read, model.spec, limits), strict=True)
    while batch := list(itertools.islice(found, BATCH)):
        yield from _answered(model, batch)


def error_line(answer: Answer) -> str:
    """Formats the path of a file that could not be read, and why."""
    return f"{_shown(answer.path)}: {answer.error}"


def text_line(model: Model, answer: Answer) -> str:
    """Formats a prediction as path, label and probability, separated by tabs.

    The label is ABSTAINED if the model abstains. Other tasks have a part for each label or number.
    """
    values, other = np.asarray(answer.probabilities), model.other
    if other is not None:
        return f"{_shown(answer.path)}\t{other.in_words(model.labels, values, model.about)}"
    best = int(values.argmax())
    label = ABSTAINED if float(values[best]) < model.least else model.labels[best]
    return f"{_shown(answer.path)}\t{label}\t{float(values[best]):.4f}"


def json_line(model: Model, answer: Answer) -> str:
    """Formats a prediction as a JSON object.

    Its keys are path, label, probability and probabilities, or path and error if the file could not be read. The label
    is None if the model abstains. Of labels the keys are path, labels and probabilities, of numbers path and values.
    """
    content: dict[str, Any] = {"path": _shown(answer.path)}
    if answer.probabilities is None:
        content["error"] = answer.error
    elif (other := model.other) is not None:
        content |= other.in_json(model.labels, answer.probabilities, model.about)
    else:
        values = [float(p) for p in answer.probabilities]
        best = int(np.argmax(values))
        content |= {"label": None if values[best] < model.least else model.labels[best], "probability": values[best]}
        content["probabilities"] = dict(zip(model.labels, values, strict=True))
    return json.dumps(content, ensure_ascii=False)


def _answered(model: Model, batch: list[tuple[str, bytes | Refused]]) -> Iterator[Answer]:
    good = [content for _, content in batch if isinstance(content, bytes)]
    with stderr_held():
        served = iter(model.serve(good) if good else ())
    for path, content in batch:
        yield Answer(path, next(served)) if isinstance(content, bytes) else Answer(path, None, content.detail)


def _shown(path: str) -> str:
    """Escapes control characters and non-UTF-8 bytes, so that a path fits one line."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
