"""Builds the tf.Module of an export, from images to answers.

Answers are calibrated probabilities, or numbers.

Encoded images are preprocessed by the TensorFlow Transform graph that also made the records, so that serving cannot
differ from training; `export_check` measures this. Runtimes without image decoders get pixels, which the module only
normalizes.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract
from trainer.models import alignment, view
from trainer.serving import format_check
from trainer.tasks import kinds
from trainer.tasks.task import Fitted

INPUT_SCOPE = "shardmill_input"  # the names of the operations of `PixelServing` in front of the network begin with it


class Serving(tf.Module):
    """Serves encoded images: `serve(image_bytes)`.

    `about()` returns the labels and the contract's digest to a client that has only the model.
    """

    def __init__(self, network: keras.Model, data: str, contract: Contract, fitted: Fitted) -> None:
        super().__init__(name="serving")
        self.transform, self._images = contracts.load_transform(data)
        self.parameters = [variable.value for variable in network.variables]  # tf.Module tracks and saves these
        self.labels = tf.constant(alignment.names(contract))
        self._digest = contract.digest
        self._task, self._fitted = kinds.of(contract), fitted
        self._answers = self._task.answers(network, contract, fitted)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")], autograph=False)
    def serve(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Predicts the answers for encoded images, string (B,).

        The images of one batch may differ in size. They are JPEG, PNG or WebP; see `format_check`.

        Returns:
          Of classes, label: string (B,). label_id: int64 (B,). probabilities: float32 (B, C), in the order of the ids.
          If the model may abstain, also answered: bool (B,), False where it does.
          Of labels, probabilities: float32 (B, K), and answers: bool (B, K). Of numbers, values: float32 (B, K).

        Raises, when the graph runs:
          tf.errors.InvalidArgumentError: an image cannot be read; then no image of the batch gets a prediction.
        """
        encoded = tf.map_fn(format_check.checked, image_bytes)
        return self._task.served(self._answers(self._images(encoded)), self.labels, self._fitted)

    @tf.function(input_signature=[], autograph=False)
    def about(self) -> dict[str, tf.Tensor]:
        """Returns the names of the answers, string (K,), and the contract's digest."""
        return {"labels": tf.identity(self.labels), "contract_digest": tf.constant(self._digest)}


class PixelServing(tf.Module):
    """Serves pixels, for TFLite and ONNX: `serve(pixels)`.

    Normalization and view are in INPUT_SCOPE, so that a converter can treat them otherwise than the network.

    has_view: whether the network sees a part of the stored images, in a size of its own.
    """

    def __init__(self, network: keras.Model, contract: Contract, fitted: Fitted) -> None:
        super().__init__(name="serving")
        self.parameters = [variable.value for variable in network.variables]
        task, core = kinds.of(contract), view.core(network)
        self.has_view = core is not network
        answers = task.answers(core, contract, fitted)
        spec = tf.TensorSpec((None, *contract.image_shape), tf.uint8, name="pixels")

        def served(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
            with tf.name_scope(INPUT_SCOPE):
                images = view.shown(network, contracts.normalize(contract, pixels))
            return {task.output: answers(images)}

        # pixels uint8 (B, H, W, C), in the contract's size and order of channels -> float32 (B, K)
        self.serve = tf.function(served, input_signature=[spec], autograph=False)
