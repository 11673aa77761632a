"""One's own Keras model and plain `fit` on a prepared dataset of any task.

python examples/own_keras_fit.py DIR [EPOCHS]
"""

from __future__ import annotations

import sys

import keras
import numpy as np

from pipelines import contract as contracts
from trainer.data import dataset


def main(directory: str, epochs: int = 3) -> keras.callbacks.History:
    """Trains a small network on `train` and watches `validation`."""
    contract = contracts.load(directory)
    train = dataset.load(directory, "train", 32, shuffle=True, seed=0)  # (images, y), another order every epoch
    validation = dataset.load(directory, "validation", 64)
    if contract.task.kind == "classes":  # y: the id of the class
        loss, metric = keras.losses.SparseCategoricalCrossentropy(from_logits=True), "accuracy"
        print("always answering the commonest class:", max(contract.priors("validation", "stored")))
    elif contract.task.kind == "multi-label":  # y: 1 or 0 for each label
        loss, metric = keras.losses.BinaryCrossentropy(from_logits=True), keras.metrics.BinaryAccuracy(threshold=0)
        shares = contract.priors("validation", "stored")
        print("the commoner of yes and no for each label:", np.mean([max(p, 1 - p) for p in shares]))
    else:  # y: numbers in the units of the table; the network learns them in standard deviations of train
        loss, metric = keras.losses.MeanSquaredError(), "mean_absolute_error"
        mean, std = np.float32(contract.task.mean), np.float32(contract.task.std)
        train, validation = (
            split.map(lambda images, y, *weights: (images, (y - mean) / std, *weights)) for split in (train, validation)
        )
        errors = np.concatenate([abs(y) for _, y, *_ in validation.as_numpy_iterator()])
        print("always answering the mean of train:", np.mean(errors))
    model = keras.Sequential(
        [
            keras.Input(contract.image_shape),  # float32, normalized as the contract says: no Rescaling layer
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(contract.target_width or len(contract.labels)),
        ]
    )
    model.compile("adam", loss, metrics=[metric])
    return model.fit(train, validation_data=validation, epochs=epochs, verbose=2)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    try:
        main(sys.argv[1], *map(int, sys.argv[2:]))
    except contracts.ContractError as error:  # one sentence that says what is wrong and what to do
        sys.exit(str(error))
