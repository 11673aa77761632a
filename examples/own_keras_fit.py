"""One's own Keras model and plain `fit` on a prepared dataset.

python examples/own_keras_fit.py DIR [EPOCHS]
"""

from __future__ import annotations

import sys

import keras

from pipelines import contract as contracts
from trainer.data import dataset


def main(directory: str, epochs: int = 3) -> keras.callbacks.History:
    """Trains a small network on `train` and watches `validation`."""
    contract = contracts.load(directory)
    train = dataset.load(directory, "train", 32, shuffle=True, seed=0)  # (images, labels), another order every epoch
    validation = dataset.load(directory, "validation", 64)
    model = keras.Sequential(
        [
            keras.Input(contract.image_shape),  # float32, normalized as the contract says: no Rescaling layer
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(len(contract.labels)),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    print("always answering the commonest class:", max(contract.priors("validation", "stored")))
    return model.fit(train, validation_data=validation, epochs=epochs, verbose=2)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
