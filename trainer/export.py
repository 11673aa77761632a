"""The model as it is served: encoded image bytes in, label and probabilities out, with the dataset's own preprocessing.

The preprocessing is the TensorFlow Transform graph that made the records, so that serving cannot drift from training;
`parity` measures that it did not.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract
from trainer import model as models
from trainer.calibration import UNCALIBRATED, Calibration
from trainer.config import TrainerError

# The float16 encoding rounds a value by up to 2**-11 of itself: what that moves a probability by is well below this.
TOLERANCE = 0.01
PARITY_RECORDS = 16
SMALLEST = 1e-37  # a probability counts as at least this much in its logarithm: above float32's subnormal numbers


class Serving(tf.Module):
    """What is exported: `serve(image_bytes)`, with the network's variables and the transform graph's resources."""

    def __init__(self, network: keras.Model, data: str, contract: Contract, calibration: Calibration) -> None:
        super().__init__(name="serving")
        self.transform, self._images = contracts.load_transform(data)
        self.parameters = [variable.value for variable in network.variables]  # tracked: saved with the module
        self.labels = tf.constant(contract.labels)
        self._probabilities = probabilities_function(network, calibration.temperature)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")])
    def serve(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """string (B,) -> label string (B,), label_id int64 (B,), probabilities float32 (B, C) in order of the ids."""
        probabilities = self._probabilities(self._images(image_bytes))
        ids = tf.argmax(probabilities, axis=-1)
        return {"label": tf.gather(self.labels, ids), "label_id": ids, "probabilities": probabilities}


def logits_function(network: keras.Model) -> Any:
    """The network as a function of normalized images, float32 (B, H, W, 3) -> float32 (B, C), whose softmax it answers.

    Logits, or where the network ends in softmax the logarithms of its probabilities.
    """
    logits = models.gives_logits(network)

    def function(images: tf.Tensor) -> tf.Tensor:
        outputs = tf.cast(network(images, training=False), tf.float32)
        return outputs if logits else tf.math.log(tf.maximum(outputs, SMALLEST))

    return function


def probabilities_function(network: keras.Model, temperature: float = 1.0) -> Any:
    """The network as a function of normalized images, float32 (B, H, W, 3) -> probabilities float32 (B, C).

    temperature: of the run's calibration.
    """
    logits = logits_function(network)

    def probabilities(images: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(logits(images) / temperature)

    return probabilities


def write(
    network: keras.Model, data: str, contract: Contract, path: str, calibration: Calibration = UNCALIBRATED
) -> None:
    """Writes the SavedModel to `path`, replacing an earlier one only when the new one is whole.

    Its probabilities are the calibrated ones. Its labels are the network's: a temperature does not change them.

    Raises:
      TrainerError: something else is there; nothing of it is touched.
    """
    if os.path.lexists(path) and not os.path.isfile(os.path.join(path, "saved_model.pb")):
        raise TrainerError(
            f"The SavedModel should go to a new directory or replace an earlier SavedModel. {path!r} holds something "
            "else: choose another directory."
        )
    serving = Serving(network, data, contract, calibration)
    parent = os.path.dirname(os.path.abspath(path))
    os.makedirs(parent, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".export-") as temporary:  # same disk: a rename, not a copy
        whole = os.path.join(temporary, "saved_model")
        tf.saved_model.save(serving, whole, signatures={"serving_default": serving.serve})
        shutil.rmtree(path, ignore_errors=True)
        os.replace(whole, path)


def parity(
    path: str, network: keras.Model, encoded: list[bytes], images: np.ndarray, temperature: float = 1.0
) -> float:
    """The greatest |difference| of a probability between bytes through the SavedModel and images through the network.

    Args:
      path: of the SavedModel.
      encoded: B encoded images.
      images: float32 (B, H, W, 3), what the records hold of the same images.
      temperature: that the SavedModel should have.
    """
    serve = tf.saved_model.load(path).signatures["serving_default"]
    served = serve(image_bytes=tf.constant(encoded))["probabilities"].numpy()
    return float(np.abs(served - probabilities_function(network, temperature)(tf.constant(images)).numpy()).max())


def check(path: str, network: keras.Model, contract: Contract, images: np.ndarray, temperature: float = 1.0) -> float:
    """Parity on a few records: their pixels are recovered, written as PNG, and sent through the SavedModel.

    Images of the contract's size pass decode and resize unchanged, so every encoding has to agree. `images` is float32
    (B, H, W, 3) from `dataset.load`; the first PARITY_RECORDS are used.

    Raises:
      TrainerError: the difference is above TOLERANCE.
    """
    images = images[:PARITY_RECORDS]
    difference = parity(path, network, [_png(contract, image) for image in images], images, temperature)
    if not difference <= TOLERANCE:
        raise TrainerError(
            f"The SavedModel in {path!r} disagrees with the trained network by {difference:.3g} in a probability "
            f"(at most {TOLERANCE} is due to rounding): the dataset's transform graph does not give its records. "
            "Prepare the dataset again."
        )
    return difference


def _png(contract: Contract, image: np.ndarray) -> bytes:
    n = contract.normalization
    pixels = (image - np.asarray(n.offset)) / np.asarray(n.scale)
    return bytes(tf.io.encode_png(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)).numpy())
