"""Writes and runs TFLite and ONNX files, which map pixels to answers.

Neither runtime decodes images. Both files contain the labels, the contract's digest and how an image must be resized.
ONNX holds this as metadata. TFLite holds it as `shardmill.json` in a zip after the model, which is where TFLite's tools
keep associated files.
"""

from __future__ import annotations

import contextlib
import io
import json
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.core.console.terminal import stderr_held
from trainer.config import TrainerError
from trainer.serving import portable_file
from trainer.serving.serving_module import INPUT_SCOPE, PixelServing

ABOUT = "shardmill.json"
OPSET = 18  # ONNX opset that tf2onnx 1.17 writes without deprecated operators
ONNX_NEEDED = (
    "--format onnx needs the packages tf2onnx, onnx and onnxruntime ({error}): pip install -r requirements-onnx.in"
)


def write_tflite(serving: PixelServing, about: dict[str, Any], path: Path) -> None:
    """Converts the model in float32 and writes the TFLite file."""
    path.write_bytes(_converter(serving).convert() + _associated(about))


def write_int8(serving: PixelServing, about: dict[str, Any], path: Path, pixels: np.ndarray) -> None:
    """Converts the model to 8 bits and writes the TFLite file.

    Operations that have no form of 8 bits stay in float32, and so does all that makes a view. Pixels and answers have
    the types of the float file.

    Args:
      pixels: uint8 (N, H, W, C), from which the ranges of activations are taken.
    """
    converter = _converter(serving)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ({"pixels": image[None]} for image in pixels)
    with stderr_held(native_only=True), _without_notice():  # the converter writes there what it is about to do
        content = _with_float_input(converter) if serving.has_view else converter.convert()
    path.write_bytes(content + _associated(about))


def _with_float_input(converter: Any) -> bytes:
    """Converts a model to 8 bits, but for the operations in front of the network.

    XNNPACK, which TFLite uses by default, computes the products of matrices that make a view wrongly in 8 bits: with
    TensorFlow 2.21, photographs become 65 gray levels brighter. TFLite's own operations stay within two.
    """
    lite = tf.lite.experimental  # the one public part of the converter that leaves out operations by their names
    quantizer = lite.QuantizationDebugger(converter=converter, debug_dataset=converter.representative_dataset)
    left_out = _names_of_input(quantizer.calibrated_model)
    quantizer.options = lite.QuantizationDebugOptions(denylisted_nodes=left_out)
    return bytes(quantizer.get_nondebug_quantized_model())


def _names_of_input(model: bytes) -> list[str]:
    """Returns the names of the operations in front of the network.

    The name of an operation is that of its first output. It joins the names of all that was merged into it by `;`.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    graph = schema.Model.GetRootAs(model).Subgraphs(0)
    operators = [graph.Operators(i) for i in range(graph.OperatorsLength())]
    names = [graph.Tensors(operator.Outputs(0)).Name().decode() for operator in operators]
    return [name for name in names if all(part.startswith(f"{INPUT_SCOPE}/") for part in name.split(";"))]


@contextlib.contextmanager
def _without_notice() -> Iterator[None]:
    """Leaves out the warning of tf.lite that it moves to a separate package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _converter(serving: PixelServing) -> Any:
    return tf.lite.TFLiteConverter.from_concrete_functions([serving.serve.get_concrete_function()], serving)


def answer_tflite(path: Path, pixels: np.ndarray, output: str = "probabilities") -> np.ndarray:
    """Computes the answers for pixels with a TFLite file.

    Args:
      pixels: uint8 (N, H, W, C). output: the name of the answers.

    Returns:
      float32 (N, K).

    Raises:
      TrainerError: as `portable_file.tflite`.
    """
    with _without_notice(), stderr_held(native_only=True):  # XNNPACK says there that it is used
        interpreter = tf.lite.Interpreter(model_content=portable_file.tflite(path))
        runner = interpreter.get_signature_runner("serving_default")
    return np.asarray(runner(pixels=pixels)[output])


def write_onnx(serving: PixelServing, about: dict[str, Any], path: Path) -> None:
    """Converts the model and writes the ONNX file.

    Raises:
      TrainerError: the converter is not installed.
    """
    try:
        import onnx
        import tf2onnx
    except ImportError as e:
        raise TrainerError(ONNX_NEEDED.format(error=e)) from e
    model, _ = tf2onnx.convert.from_function(serving.serve, input_signature=serving.serve.input_signature, opset=OPSET)
    texts = {name: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for name, v in about.items()}
    onnx.helper.set_model_props(model, texts)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def answer_onnx(path: Path, pixels: np.ndarray, output: str = "probabilities") -> np.ndarray:
    """Computes the answers for pixels with an ONNX file.

    Args:
      pixels: uint8 (N, H, W, C). output: the name of the answers.

    Returns:
      float32 (N, K).

    Raises:
      TrainerError: onnx or onnxruntime is not installed, or as `portable_file.onnx`.
    """
    try:
        import onnxruntime

        content = portable_file.onnx(path)
    except ImportError as e:
        raise TrainerError(ONNX_NEEDED.format(error=e)) from e
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.asarray(session.run([output], {"pixels": pixels})[0])


def _associated(about: dict[str, Any]) -> bytes:
    """Builds the zip of ABOUT and labels.txt that follows the TFLite model.

    Offsets in it count from the start of the zip and not of the file, which every zip reader handles.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in (
            (ABOUT, json.dumps(about, indent=2, sort_keys=True, ensure_ascii=False) + "\n"),
            ("labels.txt", "".join(f"{label}\n" for label in about["labels"])),
        ):
            archive.writestr(zipfile.ZipInfo(name), text)  # ZipInfo has a fixed time, so equal models give equal files
    return out.getvalue()
