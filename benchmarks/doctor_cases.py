"""Faults between input, labels and model, each beside healthy set-ups on the same photographs."""

from __future__ import annotations

import pathlib
import shutil
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from doctor_registry import Given, Room, fault, healthy
from keras import layers
from PIL import Image

from pipelines import contract as contracts
from tests.support import doctor as make
from tests.support.doctor import CLASSES, CONTRADICTORY, batches, cnn, unit
from trainer.models import networks

SIDE = 64
SPARSE = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def photos(room: Room, collection: str, each: int, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return make.photos(room.data, collection, each, SIDE, start)


def pair(room: Room, collection: str = "trashnet", each: int = 36, other: int = 16) -> list[Any]:
    """[train images, train labels, validation images, validation labels], uint8; the smallest class has 54 photos."""
    return [*photos(room, collection, each), *photos(room, collection, other, each)]


def given(parts: list[Any], change: Any = unit, other: Any = None, model: Any = None, **more: Any) -> Given:
    """A dataset of the parts, train changed by one function and validation by it or another."""
    x, y, vx, vy = parts
    return {
        "dataset": (batches(change(x), y, 32), batches((other or change)(vx), vy, 32)),
        "model": model if model is not None else net(6),
        **more,
    }


def net(classes: int, *front: Any, activation: str | None = None, loss: Any = None) -> keras.Model:
    return cnn(classes, front, (SIDE, SIDE, 3), activation, loss)


def compiled(model: keras.Model) -> keras.Model:
    model.compile("adam", SPARSE)
    return model


def application(constructor: Any, classes: int = 6, **options: Any) -> keras.Model:
    base = constructor(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3), pooling="avg", **options)
    return compiled(keras.Sequential([keras.Input((SIDE, SIDE, 3)), base, layers.Dense(classes)]))


def floats(images: np.ndarray) -> np.ndarray:
    return images.astype(np.float32)


def symmetric(images: np.ndarray) -> np.ndarray:
    return floats(images) / 127.5 - 1


def zscore(images: np.ndarray) -> np.ndarray:
    return (floats(images) - 140) / 62


def bgr(images: np.ndarray) -> np.ndarray:
    return unit(images)[..., ::-1]


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[labels]


def files(room: Room, collection: str, each: int, start: int = 0) -> tuple[list[str], np.ndarray]:
    """Paths and labels, mixed in order."""
    paths, labels = [], []
    for label, name in enumerate(CLASSES[collection]):
        here = [p for p in sorted((room.data / collection / name).iterdir()) if p.name not in CONTRADICTORY]
        paths += [str(p) for p in here[start : start + each]]
        labels += [label] * len(here[start : start + each])
    order = np.random.default_rng(1).permutation(len(paths))
    return [paths[i] for i in order], np.array(labels)[order]


def reader(method: str, antialias: bool, pad: bool = False) -> Any:
    """A map function as people write it: read, decode, resize, scale."""

    def read(path: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        if pad:
            image = tf.image.resize_with_pad(image, SIDE, SIDE, method, antialias)
        else:
            image = tf.image.resize(image, (SIDE, SIDE), method, antialias=antialias)
        return tf.cast(image, tf.float32) / 255.0, label

    return read


def from_files(paths: list[str], labels: np.ndarray, read: Any) -> tf.data.Dataset:
    dataset = tf.data.Dataset.from_tensor_slices((paths, labels)).shuffle(len(paths), seed=0)
    return dataset.map(read, num_parallel_calls=2).batch(32)


def clean_folder(room: Room, collection: str, share: int = 1) -> str:
    """A copy of a collection without the equal files under two labels; of the second class every `share`-th photo."""
    target = room.folder / f"{collection}-{share}"
    for number, name in enumerate(CLASSES[collection]):
        here = [p for p in sorted((room.data / collection / name).iterdir()) if p.name not in CONTRADICTORY]
        (target / name).mkdir(parents=True, exist_ok=True)
        for path in here[:: share if number == 1 else 1]:
            if not (target / name / path.name).exists():
                shutil.copy(path, target / name / path.name)
    return str(target)


def waste_and_pets(room: Room) -> tuple[np.ndarray, np.ndarray]:
    """1,000 photos of two classes that are easy to tell apart, uint8."""
    waste, pets = photos(room, "trashnet", 84)[0][:500], photos(room, "dogcat", 250)[0][:500]
    order = np.random.default_rng(0).permutation(len(waste) + len(pets))
    labels = np.array([0] * len(waste) + [1] * len(pets))
    return np.concatenate([waste, pets])[order], labels[order]


# ---- healthy set-ups


@healthy("trashnet, own arrays, 0..1, small CNN, logits")
def _(room: Room) -> Given:
    return given(pair(room))


@healthy("trashnet, own arrays, one-hot labels, softmax")
def _(room: Room) -> Given:
    x, y, vx, vy = pair(room)
    parts = [x, one_hot(y, 6), vx, one_hot(vy, 6)]
    return given(parts, model=net(6, activation="softmax", loss="categorical_crossentropy"))


@healthy("trashnet, tf.data from files, area resize, 0..1, small CNN; compared with its folder")
def _(room: Room) -> Given:
    train, other = files(room, "trashnet", 34), files(room, "trashnet", 20, 34)
    read = reader("area", False)
    return {
        "dataset": lambda: (from_files(*train, read), from_files(*other, read)),
        "model": lambda: net(6),
        "data": clean_folder(room, "trashnet"),
    }


@healthy("dogcat, tf.data from files of many sizes, antialiased; sigmoid; compared with its folder")
def _(room: Room) -> Given:
    train, other = files(room, "dogcat", 150), files(room, "dogcat", 60, 150)
    read = reader("bilinear", True)
    return {
        "dataset": lambda: (from_files(*train, read), from_files(*other, read)),
        "model": lambda: net(1, activation="sigmoid", loss="binary_crossentropy"),
        "data": clean_folder(room, "dogcat"),
    }


@healthy("dogcat, -1..1, sigmoid of one unit")
def _(room: Room) -> Given:
    parts = pair(room, "dogcat", 200, 60)
    return given(parts, symmetric, model=net(1, activation="sigmoid", loss="binary_crossentropy"))


@healthy("dogcat, 0..255 into flips and Rescaling in the model")
def _(room: Room) -> Given:
    model = net(2, layers.RandomFlip("horizontal"), layers.RandomRotation(0.05), layers.Rescaling(1 / 255))
    return given(pair(room, "dogcat", 200, 60), floats, model=model)


@healthy("trashnet, augmented training set: flips, zoom, brightness")
def _(room: Room) -> Given:
    change = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomZoom(0.2), layers.RandomBrightness(0.1)])
    x, y, vx, vy = pair(room)
    train = batches(floats(x), y, 32).map(lambda a, b: (change(a, training=True) / 255.0, b))
    return {"dataset": (train, batches(unit(vx), vy, 32)), "model": net(6)}


@healthy("trashnet, resnet20, standardized")
def _(room: Room) -> Given:
    return given(pair(room), zscore, model=compiled(networks.resnet20((SIDE, SIDE, 3), 6)))


@healthy("trashnet, MobileNetV2, -1..1")
def _(room: Room) -> Given:
    return given(pair(room), symmetric, model=application(keras.applications.MobileNetV2))


@healthy("dogcat, EfficientNetB0, 0..255")
def _(room: Room) -> Given:
    parts = pair(room, "dogcat", 150, 50)
    return given(parts, floats, model=application(keras.applications.EfficientNetB0, 2))


@healthy("waste and pets, 1,000 images, 0..1")
def _(room: Room) -> Given:
    x, y = waste_and_pets(room)
    return given([x[:800], y[:800], x[800:], y[800:]], model=net(2))


@healthy("raw folder: trashnet without its equal files")
def _(room: Room) -> Given:
    return {"data": clean_folder(room, "trashnet")}


@healthy("raw folder: dogcat")
def _(room: Room) -> Given:
    return {"data": clean_folder(room, "dogcat")}


def trash_prepared(room: Room) -> str:
    return room.prepared(clean_folder(room, "trashnet"), "--size", "64x64", "--balance", "uniform")


@healthy("trashnet prepared: float16, z-scored, balanced by augmented copies; cnn")
def _(room: Room) -> Given:
    return {"data": trash_prepared(room), "model": "cnn"}


@healthy("dogcat 9:1 prepared: uint8, symmetric, balanced; MobileNetV2")
def _(room: Room) -> Given:
    options = ("--size", "64x64", "--encoding", "uint8", "--normalize", "symmetric", "--balance", "uniform")
    return {"data": room.prepared(clean_folder(room, "dogcat", 9), *options), "model": "MobileNetV2"}


@healthy("dogcat prepared: JPEG, 0..255, cropped; EfficientNetB0")
def _(room: Room) -> Given:
    options = ("--size", "64x64", "--encoding", "jpeg", "--normalize", "none", "--resize", "crop")
    return {"data": room.prepared(clean_folder(room, "dogcat"), *options), "model": "EfficientNetB0"}


@healthy("a training run on trashnet with its history")
def _(room: Room) -> Given:
    return {"model": room.trained(trash_prepared(room), "--epochs", "8")}


@healthy("trashnet, own reader of prepared shards; compared with them")
def _(room: Room) -> Given:
    return {"dataset": lambda: shards(room), "model": net(6), "data": trash_prepared(room)}


def shards(room: Room, change: Any = lambda x, y: (x, y)) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """Plain tf.data over prepared shards, as the README has it."""
    directory = trash_prepared(room)
    contract = contracts.load(directory)
    spec = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}

    def parse(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parsed = tf.io.parse_example(batch, spec)
        images = tf.reshape(tf.io.decode_raw(parsed["image"], tf.float16), (-1, *contract.image_shape))
        return change(tf.cast(images, tf.float32), parsed["label"])

    return tuple(
        tf.data.TFRecordDataset(contract.shard_paths(directory, split)).shuffle(2048, seed=0).batch(32).map(parse)
        for split in ("train", "validation")
    )


# ---- input against model


@fault("0..255 into a CNN that expects small values", "range-large")
def _(room: Room) -> Given:
    return given(pair(room), floats)


@fault("uint8 into a CNN that expects small values", "range-large")
def _(room: Room) -> Given:
    parts = pair(room, "dogcat", 200, 60)
    return given(parts, lambda x: x, model=net(1, activation="sigmoid", loss="binary_crossentropy"))


@fault("divided by 255, and Rescaling in the model", "scaled-twice")
def _(room: Room) -> Given:
    return given(pair(room), model=net(6, layers.Rescaling(1 / 255)))


@fault("z-scored, and Normalization in the model", "scaled-twice")
def _(room: Room) -> Given:
    return given(pair(room), zscore, model=net(6, layers.Normalization(mean=140.0, variance=62.0**2)))


@fault("divided by 255 twice", "scaled-twice")
def _(room: Room) -> Given:
    return given(pair(room), lambda x: unit(x) / 255)


@fault("0..1 into EfficientNetB0, which scales itself", "scaled-twice")
def _(room: Room) -> Given:
    return given(pair(room), model=application(keras.applications.EfficientNetB0))


@fault("-1..1 into MobileNetV3, which scales itself", "scaled-twice")
def _(room: Room) -> Given:
    return given(pair(room), symmetric, model=application(keras.applications.MobileNetV3Small))


@fault("0..1 into ConvNeXt, which scales itself", "scaled-twice")
def _(room: Room) -> Given:
    return given(pair(room), model=application(keras.applications.ConvNeXtTiny))


@fault("0..1 into MobileNetV2, which wants -1..1", "wrong-range")
def _(room: Room) -> Given:
    return given(pair(room), model=application(keras.applications.MobileNetV2))


@fault("0..1 into VGG16, which wants BGR minus means", "wrong-range")
def _(room: Room) -> Given:
    return given(pair(room), model=application(keras.applications.VGG16))


@fault("0..1 into a network trained on -1..1", "wrong-range")
def _(room: Room) -> Given:
    parts = pair(room)
    model = compiled(networks.resnet20((SIDE, SIDE, 3), 6))
    model.fit(symmetric(parts[0]), parts[1], epochs=2, verbose=0)
    return given(parts, model=model)


@fault("0..255 into a network trained on standardized images", "wrong-range")
def _(room: Room) -> Given:
    parts = pair(room)
    model = compiled(networks.resnet20((SIDE, SIDE, 3), 6))
    model.fit(zscore(parts[0]), parts[1], epochs=2, verbose=0)
    return given(parts, floats, model=model)


@fault("BGR, against the folder", "channel-order")
def _(room: Room) -> Given:
    return given(pair(room), bgr, data=clean_folder(room, "trashnet"))


@fault("BGR, against the contract", "channel-order")
def _(room: Room) -> Given:
    data = trash_prepared(room)
    return {"dataset": lambda: shards(room, lambda x, y: (x[..., ::-1], y)), "model": net(6), "data": data}


@fault("BGR in validation alone", "splits-differ-channels")
def _(room: Room) -> Given:
    return given(pair(room, "dogcat", 200, 100), unit, bgr, net(2))


@fault("channels first", "channels-first")
def _(room: Room) -> Given:
    return given(pair(room), lambda x: np.moveaxis(unit(x), -1, 1))


@fault("integer division: images of 0 and 1", "integer-division")
def _(room: Room) -> Given:
    return given(pair(room), lambda x: floats(x // 255))


@fault("cast to integers after scaling: images of 0", "integer-division")
def _(room: Room) -> Given:
    return given(pair(room), lambda x: (x / 256).astype(np.uint8))


@fault("float64", "float64")
def _(room: Room) -> Given:
    return given(pair(room), lambda x: x / 255)


@fault("photos of different sizes in one batch", "sizes-differ")
def _(room: Room) -> Given:
    train = files(room, "dogcat", 20)

    def read(path: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.cast(tf.io.decode_jpeg(tf.io.read_file(path), channels=3), tf.float32) / 255.0, label

    return {"dataset": lambda: from_files(*train, read), "model": lambda: net(2)}


@fault("Flatten and Dense on an undefined size", "size-undefined")
def _(room: Room) -> Given:
    return given(pair(room), model=lambda: keras.Sequential([keras.Input((None, None, 3)), layers.Flatten(),
                                                             layers.Dense(6)]))  # fmt: skip


@fault("a model for another size", "input-shape")
def _(room: Room) -> Given:
    model = keras.Sequential([keras.Input((128, 128, 3)), layers.Flatten(), layers.Dense(6)])
    return given(pair(room), model=compiled(model))


def panoramas(room: Room) -> str:
    """Every third photo is cut to a strip of three to one, lying or standing: as scans and panoramas are."""
    target = room.folder / "panoramas"
    for name in CLASSES["dogcat"]:
        for i, path in enumerate(sorted((room.data / "dogcat" / name).iterdir())[:150]):
            to = target / name / path.name
            to.parent.mkdir(parents=True, exist_ok=True)
            if to.exists():
                continue
            with Image.open(path) as image:
                w, h = image.size
                box = [(0, 0, w, h), (0, h // 3, w, h // 3 + w // 3), (w // 3, 0, w // 3 + h // 3, h)][i % 3]
                image.convert("RGB").crop(box).save(to, quality=95)
    return str(target)


@fault("panoramas and portraits stretched to a square", "aspect-destroyed")
def _(room: Room) -> Given:
    root = panoramas(room)
    paths = sorted(str(p) for p in pathlib.Path(root).glob("*/*.jpg"))
    labels = np.array([CLASSES["dogcat"].index(pathlib.Path(p).parent.name) for p in paths])
    return {"dataset": lambda: from_files(paths, labels, reader("area", False)), "model": net(2), "data": root}


@fault("panoramas and portraits prepared with --resize stretch", "aspect-destroyed")
def _(room: Room) -> Given:
    return {"data": room.prepared(panoramas(room), "--size", "64x64"), "model": "cnn"}


@fault("train 0..1, validation 0..255", "splits-differ-normalization")
def _(room: Room) -> Given:
    return given(pair(room), unit, floats)


@fault("train -1..1, validation 0..1", "splits-differ-normalization")
def _(room: Room) -> Given:
    return given(pair(room, "dogcat", 200, 60), symmetric, unit, net(2))


@fault("train resized by area, validation by nearest", "splits-differ-resize")
def _(room: Room) -> Given:
    train, other = files(room, "trashnet", 34), files(room, "trashnet", 20, 34)
    return {
        "dataset": (from_files(*train, reader("area", False)), from_files(*other, reader("nearest", False))),
        "model": net(6),
    }


@fault("train resized by plain bilinear, validation antialiased", "splits-differ-resize")
def _(room: Room) -> Given:
    train, other = files(room, "dogcat", 150), files(room, "dogcat", 60, 150)
    return {
        "dataset": (from_files(*train, reader("bilinear", False)), from_files(*other, reader("bilinear", True))),
        "model": net(2),
    }


@fault("train and validation of different sizes", "splits-differ-size")
def _(room: Room) -> Given:
    return given(pair(room), unit, lambda x: unit(x)[:, ::2, ::2], compiled(networks.small_cnn((None, None, 3), 6)))


@fault("a quarter of the images are constant", "constant-images")
def _(room: Room) -> Given:
    parts = pair(room)
    parts[0] = parts[0].copy()
    parts[0][::4] = 127
    return given(parts)


@fault("NaN in one image", "not-finite")
def _(room: Room) -> Given:
    def spoil(images: np.ndarray) -> np.ndarray:
        found = unit(images)
        found[5, 3, 3, 0] = np.nan
        return found

    return given(pair(room), spoil, unit)


@fault("infinity from a division by a deviation of 0", "not-finite")
def _(room: Room) -> Given:
    def spoil(images: np.ndarray) -> np.ndarray:
        found = unit(images)
        found[7] = np.inf
        return found

    return given(pair(room), spoil, unit)


# ---- labels and head


@fault("labels outside of the head", "labels-out-of-range")
def _(room: Room) -> Given:
    return given(pair(room), model=net(4))


@fault("labels that count from 1", "labels-off-by-one")
def _(room: Room) -> Given:
    x, y, vx, vy = pair(room)
    return given([x, y + 1, vx, vy + 1])


@fault("softmax with one unit", "softmax-one-unit")
def _(room: Room) -> Given:
    model = net(1, activation="softmax", loss="binary_crossentropy")
    return given(pair(room, "dogcat", 200, 60), model=model)


@fault("sigmoid with sparse categorical cross-entropy", "sigmoid-categorical")
def _(room: Room) -> Given:
    return given(pair(room), model=net(6, activation="sigmoid", loss="sparse_categorical_crossentropy"))


@fault("one sigmoid unit with categorical cross-entropy", "sigmoid-categorical")
def _(room: Room) -> Given:
    x, y, vx, vy = pair(room, "dogcat", 200, 60)
    parts = [x, y[:, None].astype(np.float32), vx, vy[:, None].astype(np.float32)]
    return given(parts, model=net(1, activation="sigmoid", loss="categorical_crossentropy"))


@fault("from_logits=True after softmax", "probabilities-as-logits")
def _(room: Room) -> Given:
    return given(pair(room), model=net(6, activation="softmax", loss=SPARSE))


@fault("logits into a loss for probabilities", "logits-as-probabilities")
def _(room: Room) -> Given:
    return given(pair(room), model=net(6, loss="sparse_categorical_crossentropy"))


@fault("logits of one unit into binary cross-entropy", "logits-as-probabilities")
def _(room: Room) -> Given:
    return given(pair(room, "dogcat", 200, 60), model=net(1, loss="binary_crossentropy"))


@fault("one-hot labels for a sparse loss", "one-hot-sparse")
def _(room: Room) -> Given:
    x, y, vx, vy = pair(room)
    return given([x, one_hot(y, 6), vx, one_hot(vy, 6)])


@fault("integer labels for a categorical loss", "integers-categorical")
def _(room: Room) -> Given:
    return given(pair(room), model=net(6, activation="softmax", loss="categorical_crossentropy"))


@fault("labels shuffled against their images: trashnet", "labels-shuffled")
def _(room: Room) -> Given:
    x, y = photos(room, "trashnet", 160)
    return given([x[:600], np.random.default_rng(3).permutation(y[:600]), x[600:], y[600:]])


@fault("labels shuffled against their images: dogcat", "labels-shuffled")
def _(room: Room) -> Given:
    x, y = photos(room, "dogcat", 500)
    return given([x[:800], np.random.default_rng(4).permutation(y[:800]), x[800:], y[800:]], model=net(2))


@fault("labels shuffled, against the folder", "labels-shuffled")
def _(room: Room) -> Given:
    x, y, vx, vy = pair(room)
    parts = [x, np.random.default_rng(5).permutation(y), vx, np.random.default_rng(6).permutation(vy)]
    return given(parts, data=clean_folder(room, "trashnet"))


ORDER = np.array([3, 0, 5, 1, 2, 4])  # as os.listdir may give six folders


@fault("label ids in another order than the folder's", "labels-other-order")
def _(room: Room) -> Given:
    x, y, vx, vy = pair(room)
    return given([x, ORDER[y], vx, ORDER[vy]], data=clean_folder(room, "trashnet"))


@fault("label ids in another order than the contract's", "labels-other-order")
def _(room: Room) -> Given:
    data, order = trash_prepared(room), tf.constant(ORDER, tf.int64)
    return {"dataset": lambda: shards(room, lambda x, y: (x, tf.gather(order, y))), "model": net(6), "data": data}


@fault("a trained model, evaluated on labels in another order", "labels-other-order")
def _(room: Room) -> Given:
    x, y = waste_and_pets(room)
    model = net(2)
    model.fit(unit(x[:800]), y[:800], epochs=8, verbose=0)
    return given([x[:800], 1 - y[:800], x[800:], 1 - y[800:]], model=model)


@fault("the same photo under two labels: trashnet as it is", "contradictory-duplicates")
def _(room: Room) -> Given:
    return {"data": str(room.data / "trashnet")}


@fault("the same image under two labels in one's own arrays", "contradictory-duplicates")
def _(room: Room) -> Given:
    x, y, vx, vy = pair(room)
    return given([np.concatenate([x, x[:4]]), np.concatenate([y, (y[:4] + 1) % 6]), vx, vy])


@fault("4 % of the labels wrong", "labels-doubtful")
def _(room: Room) -> Given:
    x, y = waste_and_pets(room)
    wrong = np.random.default_rng(7).random(len(y)) < 0.04
    y = np.where(wrong, 1 - y, y)
    return given([x[:900], y[:900], x[900:], y[900:]], model=net(2))
