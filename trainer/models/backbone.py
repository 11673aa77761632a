"""Freezes the layers of a network below its head, and unfreezes them later."""

from __future__ import annotations

from collections.abc import Iterator

import keras

from trainer.config import TrainerError


class Backbone:
    """Holds all layers of a network but its head, which is its last Dense layer."""

    def __init__(self, network: keras.Model, unfrozen: int | None = None) -> None:
        """Finds the head of the network.

        Args:
          unfrozen: number of layers with weights before the head that `unfreeze` makes trainable; None for all.

        Raises:
          TrainerError: the last layer with weights is no Dense layer, or it is the only one.
        """
        trained = [layer for layer in leaves(network) if layer.weights]
        if len(trained) < 2 or not isinstance(trained[-1], keras.layers.Dense):
            raise TrainerError(
                "--freeze-epochs, --unfreeze and --fit-head need a model that ends in a Dense layer (its head) after "
                f"other layers. Received: {network.name!r} with {', '.join(type(t).__name__ for t in trained[-3:])} "
                "last. Leave these options out."
            )
        self.head = trained[-1]
        layers = [layer for layer in leaves(network) if layer is not self.head and layer.trainable]
        weighty = [layer for layer in layers if layer.weights]
        self._layers = layers
        self._unfrozen = layers if unfrozen is None else weighty[len(weighty) - min(unfrozen, len(weighty)) :]

    def freeze(self) -> None:
        """Freezes the layers of the backbone.

        Their weights are no longer trainable. Batch normalization runs in inference mode, so its statistics do not
        change.
        """
        for layer in self._layers:
            layer.trainable = False

    def unfreeze(self) -> None:
        """Makes those layers trainable that train with the head."""
        self.freeze()
        for layer in self._unfrozen:
            layer.trainable = True


def freeze_batch_norm(network: keras.Model) -> None:
    """Freezes the batch normalizations of a network.

    Their statistics then stay as they are, also in a training step (Keras runs a frozen BatchNormalization in inference
    mode), and so do their scales and offsets.
    """
    for layer in leaves(network):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def depths(network: keras.Model) -> dict[int, float]:
    """Returns how deep each weight lies, by its id.

    The weights of the first layer that has some have depth 0, and those of the last one, the head, depth 1.
    """
    layers = [layer for layer in leaves(network) if layer.weights]
    last = max(1, len(layers) - 1)
    return {id(variable): number / last for number, layer in enumerate(layers) for variable in layer.weights}


def leaves(network: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yields the layers of a network in their order.

    A nested model is replaced by its layers.
    """
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer)
        else:
            yield layer
