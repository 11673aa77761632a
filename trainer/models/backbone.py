"""Freezes all layers of a network but its head, and unfreezes them later."""

from __future__ import annotations

from collections.abc import Iterator

import keras

from trainer.config import TrainerError


class Backbone:
    """Holds all layers of a network but its head, which is its last Dense layer."""

    def __init__(self, network: keras.Model) -> None:
        """Finds the head of the network.

        Raises:
          TrainerError: the last layer with weights is no Dense layer, or it is the only one.
        """
        trained = [layer for layer in leaves(network) if layer.trainable_weights]
        if len(trained) < 2 or not isinstance(trained[-1], keras.layers.Dense):
            raise TrainerError(
                "--freeze-epochs needs a model that ends in a Dense layer (its head) after other layers, which are "
                f"to be frozen. Received: {network.name!r} with {', '.join(type(t).__name__ for t in trained[-3:])} "
                "last. "
                "Leave --freeze-epochs out."
            )
        self.head = trained[-1]
        self._layers = [layer for layer in leaves(network) if layer is not self.head and layer.trainable]

    def freeze(self) -> None:
        """Freezes the layers of the backbone.

        Their weights are no longer trainable. Batch normalization runs in inference mode, so its statistics do not
        change.
        """
        self._set(False)

    def unfreeze(self) -> None:
        """Makes all layers trainable again that were trainable at first."""
        self._set(True)

    def _set(self, trainable: bool) -> None:
        for layer in self._layers:
            layer.trainable = trainable


def leaves(network: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yields the layers of a network in their order.

    A nested model is replaced by its layers.
    """
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer)
        else:
            yield layer
