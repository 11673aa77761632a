"""Builds the tf.Module of an export: preprocessing, the network, then calibrated probabilities and labels.

The preprocessing of encoded images is the TensorFlow Transform graph that made the records, so that serving cannot
drift from training; `export_check` measures that it did not. Runtimes without image decoders get pixels, which are only
normalized.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract
from trainer.evaluation.calibration import Calibration
from trainer.models.outputs import probabilities_function
from trainer.serving import format_check


class Serving(tf.Module):
    """`serve(image_bytes)`, and `about()` for who has only the model."""

    def __init__(self, network: keras.Model, data: str, contract: Contract, calibration: Calibration) -> None:
        super().__init__(name="serving")
        self.transform, self._images = contracts.load_transform(data)
        self.parameters = [variable.value for variable in network.variables]  # tracked: saved with the module
        self.labels = tf.constant(contract.labels)
        self._digest = contract.digest
        self._probabilities = probabilities_function(network, calibration.temperature)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")], autograph=False)
    def serve(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """string (B,) -> label string (B,), label_id int64 (B,), probabilities float32 (B, C) in order of the ids.

        Images of any size, together: JPEG, PNG, WebP; see `format_check`.

        Raises, when run:
          tf.errors.InvalidArgumentError: one of them cannot be read; none of the batch is answered.
        """
        encoded = tf.map_fn(format_check.checked, image_bytes)
        probabilities = self._probabilities(self._images(encoded))
        ids = tf.argmax(probabilities, axis=-1)
        return {"label": tf.gather(self.labels, ids), "label_id": ids, "probabilities": probabilities}

    @tf.function(input_signature=[], autograph=False)
    def about(self) -> dict[str, tf.Tensor]:
        """labels, string (C,) in order of the ids, and the contract's digest, string ()."""
        return {"labels": tf.identity(self.labels), "contract_digest": tf.constant(self._digest)}


class PixelServing(tf.Module):
    """`serve(pixels)`, for TFLite and ONNX."""

    def __init__(self, network: keras.Model, contract: Contract, calibration: Calibration) -> None:
        super().__init__(name="serving")
        self.parameters = [variable.value for variable in network.variables]
        probabilities = probabilities_function(network, calibration.temperature)
        spec = tf.TensorSpec((None, *contract.image_shape), tf.uint8, name="pixels")
        # uint8 (B, H, W, 3), RGB, of the contract's size -> probabilities float32 (B, C)
        self.serve = tf.function(
            lambda pixels: {"probabilities": probabilities(contracts.normalize(contract, pixels))},
            input_signature=[spec],
            autograph=False,
        )
