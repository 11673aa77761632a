"""Exports a trained model for serving, after a check of its predictions.

A SavedModel takes encoded image bytes and returns labels and probabilities, or what else the task answers. TFLite and
ONNX files take pixels and return probabilities or numbers. All of them contain the contract's digest and the names of
the answers.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from pipelines.contract import Contract
from pipelines.core.console import timings
from pipelines.core.errors import ShardmillError
from pipelines.core.files import atomic, wildcards
from pipelines.core.text import first_line
from trainer.config import INT8
from trainer.models import alignment
from trainer.serving import export_check, export_path, quantized, tflite_onnx
from trainer.serving.export_check import ExportError, Parity, Samples
from trainer.serving.serving_module import PixelServing, Serving
from trainer.tasks import kinds
from trainer.tasks.task import Fitted

ABOUT = os.path.join("assets.extra", tflite_onnx.ABOUT)  # TensorFlow Serving's folder for files outside the graph


_TOO_COARSE = "Numbers of 8 bits are too coarse for this network: export it with --format tflite."


class Format(NamedTuple):
    """Describes one kind of export by two functions.

    write: writes the file or directory. answer: computes the output of this name of samples, float32 (N, K).
    """

    write: Callable[[keras.Model, str, Contract, Fitted, Path], None]
    answer: Callable[[Path, Samples, str], np.ndarray]


def write(
    network: keras.Model,
    data: str,
    contract: Contract,
    path: str,
    calibration: Fitted | None = None,
    kind: str = "savedmodel",
) -> Parity:
    """Writes the model to `path`, if the export's predictions match the network's.

    An earlier export is replaced only when the new one is complete and passed the check. The export's probabilities
    are calibrated. Its labels are the network's, because a temperature does not change them. Numbers are in the units
    of the table.

    Args:
      network: trained on `data`, a dataset of `contract`.
      calibration: what the run fitted; None for nothing.
      path: a directory for "savedmodel", a file for the others.

    Returns:
      The result of the check.

    Raises:
      TrainerError: something else is at `path`. It stays unchanged.
      ExportError: the probabilities differ too much, or this network cannot be exported. `path` stays unchanged.
    """
    form, task = FORMATS[kind], kinds.of(contract)
    fitted = task.unfitted(contract) if calibration is None else calibration
    export_path.check(path, kind)
    with timings.part("parity"):
        drawn = export_check.samples(data, contract)
        expected = task.answers(network, contract, fitted)(tf.constant(drawn.images)).numpy()
    parent = os.path.dirname(os.path.abspath(path))
    os.makedirs(parent, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".export-") as temporary:  # same disk: a rename, not a copy
        whole = Path(temporary, "new")
        with timings.part("export"):
            _write(form, network, data, contract, fitted, whole)
        with timings.part("parity"):
            given, scale = _answers(form, kind, whole, drawn, task.output), task.scale(fitted)
        allowed = export_check.tolerance(kind, contract, network, drawn)
        found = export_check.judge(given / scale, expected / scale, drawn, allowed, on_average=kind == INT8)
        export_check.refuse(found, path, task.unit, _TOO_COARSE if kind == INT8 else export_check.AGAIN)
        if os.path.lexists(path):
            os.replace(path, Path(temporary, "old"))
        os.replace(whole, path)
    return found


def rehearse(network: keras.Model, data: str, contract: Contract) -> None:
    """Exports a network and throws the export away.

    A network that somebody else wrote may train and evaluate, but have no SavedModel. That is better known before the
    first step than after the last one.

    Raises:
      ExportError: the network cannot be exported, or the export answers otherwise.
    """
    with tempfile.TemporaryDirectory(prefix="shardmill-export-") as folder:
        write(network, data, contract, os.path.join(folder, "saved_model"))


def _write(form: Format, network: keras.Model, data: str, contract: Contract, fitted: Fitted, path: Path) -> None:
    """Calls `form.write`.

    Raises:
      ExportError: TensorFlow or a converter cannot export this network.
    """
    try:
        form.write(network, data, contract, fitted, path)
    except (OSError, MemoryError, RuntimeError, tf.errors.OpError, ShardmillError):
        raise
    except Exception as e:  # each converter has its own types, and most faults are a ValueError or a TypeError
        remedy = "Change the layer that it names, or build the network of other layers."
        if "scope name" in str(e):
            remedy = "Names of layers should begin with a letter, a digit or a dot."
        raise ExportError(
            f"Network {network.name!r} cannot be exported ({type(e).__name__}: {first_line(e)}). {remedy}"
        ) from e


def _answers(form: Format, kind: str, path: Path, drawn: Samples, output: str) -> np.ndarray:
    """Calls `form.answer`.

    Raises:
      ExportError: TensorFlow Lite cannot run the file, as where a scale of 8 bits is out of its range.
    """
    try:
        return form.answer(path, drawn, output)
    except RuntimeError as e:
        other = "Export it with --format tflite" if kind == INT8 else "Export it in another format"
        raise ExportError(f"The file of format {kind} cannot be run ({first_line(e)}). {other}.") from e


def about(contract: Contract, fitted: Fitted) -> dict[str, Any]:
    """Returns the metadata that an export contains, as values for JSON."""
    return {
        "contract_digest": contract.digest,
        "dataset": contract.name,
        "labels": list(alignment.names(contract)),
        "image_shape": list(contract.image_shape),
        "channel_order": contract.channel_order,
        "resize": dict(contract.resize),
        "decode": dict(contract.decode),
        **kinds.of(contract).about(contract, fitted),
    }


def _write_savedmodel(network: keras.Model, data: str, contract: Contract, fitted: Fitted, path: Path) -> None:
    serving = Serving(network, data, contract, fitted)
    signatures = {"serving_default": serving.serve, "about": serving.about}
    tf.saved_model.save(serving, str(path), signatures=signatures)
    extra = path / ABOUT
    extra.parent.mkdir()
    atomic.write_text(extra, atomic.to_json(about(contract, fitted)))


def _answer_savedmodel(path: Path, drawn: Samples, output: str) -> np.ndarray:
    serve = tf.saved_model.load(wildcards.hidden(str(path))).signatures["serving_default"]
    return np.asarray(serve(image_bytes=tf.constant(drawn.encoded))[output])


def _write_pixels(write: Callable[[PixelServing, dict[str, Any], Path], None]) -> Callable[..., None]:
    def written(network: keras.Model, _: str, contract: Contract, fitted: Fitted, path: Path) -> None:
        write(PixelServing(network, contract, fitted), about(contract, fitted), path)

    return written


def _write_int8(network: keras.Model, data: str, contract: Contract, fitted: Fitted, path: Path) -> None:
    quantized.measured_split(data, contract)  # reports that there is none before anything is written
    pixels = quantized.calibrating_pixels(data, contract)
    of_export = about(contract, fitted) | {"quantization": {"bits": 8, "calibrated_on": len(pixels)}}
    tflite_onnx.write_int8(PixelServing(network, contract, fitted), of_export, path, pixels)


FORMATS = {
    "savedmodel": Format(_write_savedmodel, _answer_savedmodel),
    "tflite": Format(
        _write_pixels(tflite_onnx.write_tflite),
        lambda path, drawn, output: tflite_onnx.answer_tflite(path, drawn.pixels, output),
    ),
    INT8: Format(
        _write_int8,
        lambda path, drawn, output: tflite_onnx.answer_tflite(path, drawn.pixels, output),
    ),
    "onnx": Format(
        _write_pixels(tflite_onnx.write_onnx),
        lambda path, drawn, output: tflite_onnx.answer_onnx(path, drawn.pixels, output),
    ),
}
