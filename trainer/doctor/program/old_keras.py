"""Finds names of older versions of Keras that Keras 3 does not know any more."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator

from trainer.doctor.subject.training import Place
from trainer.doctor.watching.places import Places


@dataclasses.dataclass(frozen=True)
class Old:
    """Describes a name that is gone.

    place: the line that has it.
    name: as it is written there.
    today: what to write instead.
    """

    place: Place
    name: str
    today: str


# Modules, and names of modules. The longest that fits is taken.
MODULES = {
    "keras.utils.np_utils": "keras.utils (to_categorical is there)",
    "keras.utils.generic_utils": "keras.utils",
    "keras.utils.vis_utils": "keras.utils (plot_model is there)",
    "keras.utils.multi_gpu_utils": "tf.distribute.MirroredStrategy",
    "keras.utils.multi_gpu_model": "tf.distribute.MirroredStrategy",
    "keras.layers.core": "keras.layers",
    "keras.layers.convolutional": "keras.layers",
    "keras.layers.pooling": "keras.layers",
    "keras.layers.normalization": "keras.layers",
    "keras.layers.embeddings": "keras.layers",
    "keras.layers.recurrent": "keras.layers",
    "keras.layers.merge": "keras.layers (Add, Concatenate)",
    "keras.layers.advanced_activations": "keras.layers (LeakyReLU, PReLU, ELU)",
    "keras.layers.noise": "keras.layers",
    "keras.layers.wrappers": "keras.layers",
    "keras.layers.experimental": "keras.layers (Rescaling, RandomFlip and the like are there)",
    "keras.preprocessing.image.ImageDataGenerator": "keras.utils.image_dataset_from_directory, with layers such as "
    "RandomFlip",
    "keras.preprocessing.text": "keras.layers.TextVectorization",
    "keras.preprocessing.sequence.TimeseriesGenerator": "keras.utils.timeseries_dataset_from_array",
    "keras.engine": "keras (Model, Layer)",
    "keras.wrappers.scikit_learn": "scikeras, or Model.fit itself",
    "keras.optimizers.experimental": "keras.optimizers",
    "keras.objectives": "keras.losses",
    "keras.models.Merge": "keras.layers.Concatenate",
    "keras.backend.tensorflow_backend": "keras.ops",
}
# These still work when they are imported from tensorflow.keras.
ONLY_OF_KERAS = (
    "keras.preprocessing.text",
    "keras.preprocessing.image.ImageDataGenerator",
    "keras.preprocessing.sequence.TimeseriesGenerator",
)
METHODS = {
    "fit_generator": "fit, which takes generators as well",
    "evaluate_generator": "evaluate, which takes generators as well",
    "predict_generator": "predict, which takes generators as well",
    "predict_classes": "predict(x).argmax(axis=-1), or predict(x) > 0.5 for one unit",
    "predict_proba": "predict",
}
# Argument -> (the calls that had it, what to write instead).
ARGUMENTS = {
    "lr": (("SGD", "Adam", "RMSprop", "Adagrad", "Adadelta", "Adamax", "Nadam", "Ftrl"), "learning_rate="),
    "decay": (
        ("SGD", "Adam", "RMSprop", "Adagrad", "Adadelta", "Adamax", "Nadam"),
        "a schedule, such as learning_rate=keras.optimizers.schedules.InverseTimeDecay(...)",
    ),
    "nb_epoch": (("fit", "fit_generator"), "epochs="),
    "samples_per_epoch": (("fit", "fit_generator"), "steps_per_epoch="),
    "nb_val_samples": (("fit", "fit_generator"), "validation_steps="),
    "show_accuracy": (("fit", "evaluate"), 'metrics=["accuracy"] in compile'),
    "nb_filter": (("Conv2D", "Conv1D", "Convolution2D", "Convolution1D"), "filters="),
    "border_mode": (("Conv2D", "Conv1D", "Convolution2D", "MaxPooling2D"), "padding="),
    "subsample": (("Conv2D", "Convolution2D"), "strides="),
    "dim_ordering": (("Conv2D", "Convolution2D", "MaxPooling2D"), "data_format="),
    "output_dim": (("Dense",), "units="),
    "init": (("Dense", "Conv2D", "Convolution2D"), "kernel_initializer="),
    "W_regularizer": (("Dense", "Conv2D", "Convolution2D"), "kernel_regularizer="),
    "class_mode": (("compile",), "the loss alone"),
    "period": (("ModelCheckpoint",), "save_freq="),
    "p": (("Dropout", "SpatialDropout2D"), "rate="),
    "workers": (("fit", "fit_generator", "evaluate", "predict"), "keras.utils.PyDataset(workers=...)"),
    "use_multiprocessing": (("fit", "fit_generator", "evaluate"), "keras.utils.PyDataset(use_multiprocessing=...)"),
    "max_queue_size": (("fit", "fit_generator", "evaluate"), "keras.utils.PyDataset(max_queue_size=...)"),
}
LAYERS = {"Merge": "Concatenate", "MaxoutDense": "Dense",
          "CuDNNLSTM": "LSTM", "CuDNNGRU": "GRU"}  # fmt: skip


def find(code: str, file: str, places: Places) -> tuple[Old, ...]:
    """Returns the old names in the code of a program that uses Keras."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return ()
    if "keras" not in code:
        return ()
    modules = _aliases(tree)
    found = [(line, name, today) for node in ast.walk(tree) for line, name, today in _of(node, modules)]
    return tuple(Old(places.of(file, line), name, today) for line, name, today in sorted(dict.fromkeys(found)))


def _aliases(tree: ast.AST) -> dict[str, str]:
    """Returns local name -> module, of imports out of keras.preprocessing."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "keras.preprocessing"
        for alias in node.names
    }


def _of(node: ast.AST, modules: dict[str, str]) -> Iterator[tuple[int, str, str]]:
    if isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            yield from _module(node.lineno, node.module, alias.name)
    elif isinstance(node, ast.Import):
        for alias in node.names:
            yield from _module(node.lineno, alias.name, "")
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
        yield from _module(node.lineno, modules[node.value.id], node.attr)
    elif isinstance(node, ast.Call):
        yield from _call(node)


def _module(line: int, module: str, name: str) -> Iterator[tuple[int, str, str]]:
    plain = module.removeprefix("tensorflow.").removeprefix("python.")
    if name in LAYERS and plain.startswith("keras"):
        yield line, name, LAYERS[name]
        return
    full = f"{plain}.{name}" if name else plain
    known = [old for old in MODULES if full == old or full.startswith(f"{old}.")]
    if not known:
        return
    old = max(known, key=len)
    if old not in ONLY_OF_KERAS or not module.startswith("tensorflow."):
        yield line, f"{module}.{name}" if name else module, MODULES[old]


def _call(node: ast.Call) -> Iterator[tuple[int, str, str]]:
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called in METHODS and isinstance(node.func, ast.Attribute):
        yield node.lineno, f"{called}()", METHODS[called]
    if called in LAYERS:
        yield node.lineno, f"{called}()", LAYERS[called]
    for keyword in node.keywords:
        if keyword.arg in ARGUMENTS and called in ARGUMENTS[keyword.arg][0]:
            yield keyword.value.lineno, f"{called}({keyword.arg}=...)", ARGUMENTS[keyword.arg][1]
