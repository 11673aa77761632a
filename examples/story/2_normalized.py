"""Second try: all photographs of one size, and pixels between 0 and 1.

DATA=photos python examples/story/2_normalized.py
"""

import os
import pathlib
import random

import keras
import tensorflow as tf
from keras import layers

DATA = pathlib.Path(os.environ.get("DATA", "build/sample"))
CLASSES = sorted(folder.name for folder in DATA.iterdir() if folder.is_dir())
SIZE = (64, 64)


def load(path, label):
    image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
    return tf.image.resize(image, SIZE) / 255.0, label


def read(files):
    paths, labels = zip(*files, strict=True)
    return tf.data.Dataset.from_tensor_slices((list(paths), list(labels)))


def dataset():
    files = [(str(path), i) for i, name in enumerate(CLASSES) for path in sorted((DATA / name).glob("*.jpg"))]
    random.Random(1).shuffle(files)
    held_out = len(files) // 5
    train = read(files[held_out:]).shuffle(len(files)).map(load).batch(32)
    validation = read(files[:held_out]).map(load).batch(32)
    return train, validation


def model():
    network = keras.Sequential(
        [
            keras.Input((*SIZE, 3)),
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
    train, validation = dataset()
    model().fit(train, validation_data=validation, epochs=10)
