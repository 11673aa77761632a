"""First try: decode the photographs and give them to a CNN.

DATA=photos python examples/story/1_raw.py        # photos/ holds a folder for each class
"""

import os
import pathlib

import keras
import tensorflow as tf
from keras import layers

DATA = pathlib.Path(os.environ.get("DATA", "build/sample"))
CLASSES = sorted(folder.name for folder in DATA.iterdir() if folder.is_dir())


def load(path, label):
    return tf.io.decode_jpeg(tf.io.read_file(path), channels=3), label


def dataset():
    files = [(str(path), i) for i, name in enumerate(CLASSES) for path in sorted((DATA / name).glob("*.jpg"))]
    paths, labels = zip(*files, strict=True)
    data = tf.data.Dataset.from_tensor_slices((list(paths), list(labels)))
    return data.shuffle(len(files)).map(load).batch(32)


def model():
    network = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(len(CLASSES), activation="softmax"),
        ]
    )
    network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return network


if __name__ == "__main__":
    model().fit(dataset(), epochs=10)
