"""Freeze, then unfreeze: which part of a network is its head, and how the rest is kept as it is meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import keras

from trainer.config import TrainerError


class Backbone:
    """All of a network but its head, which is its last Dense layer."""

    def __init__(self, network: keras.Model) -> None:
        """Raises TrainerError where the last layer with weights is no Dense layer, or the only one."""
        trained = [layer for layer in leaves(network) if layer.trainable_weights]
        if len(trained) < 2 or not isinstance(trained[-1], keras.layers.Dense):
            raise TrainerError(
                f"--freeze-epochs needs a model that ends in a Dense layer, its head, behind others that are to be "
                f"frozen. Received: {network.name!r} with {', '.join(type(t).__name__ for t in trained[-3:])} last. "
                "Leave --freeze-epochs out."
            )
        self.head = trained[-1]
        self._layers = [layer for layer in leaves(network) if layer is not self.head and layer.trainable]

    def freeze(self) -> None:
        """Its weights are not among the trainable ones, and batch normalization runs in inference mode: its statistics
        stay as they are."""
        self._set(False)

    def unfreeze(self) -> None:
        """All layers that were to be trained at first are trained again."""
        self._set(True)

    def _set(self, trainable: bool) -> None:
        for layer in self._layers:
            layer.trainable = trainable


def leaves(network: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a network in their order, those of nested models instead of these."""
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer)
        else:
            yield layer
