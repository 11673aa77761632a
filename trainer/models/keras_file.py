"""Checks a .keras or .h5 file and loads the model in it.

Keras's safe mode refuses code that is stored in a file. Here the classes and functions that a file names are compared
with a list, too, before Keras makes any of them: they have to be of the rooms of Keras that models are built of, or
registered by the program that runs. The zip and the HDF5 file in it are read within limits.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from typing import Any

import h5py
import keras

from pipelines.core.text import first_line
from trainer.config import TrainerError
from trainer.models import hdf5_file

MAX_CONFIG_BYTES = 64 << 20
MAX_EXPANSION, FREE_BYTES = hdf5_file.MAX_EXPANSION, hdf5_file.FREE_BYTES  # the same bounds as for arrays
HDF5 = (".h5", ".hdf5")
_CONFIG, _METADATA, _WEIGHTS, _ASSETS = "config.json", "metadata.json", "model.weights.h5", "assets/"
_CLASSES = re.compile(
    r"keras(\.src)?(\.(activations|constraints|dtype_policies|initializers|layers|losses|metrics|models|ops|optimizers"
    r"|quantizers|random|regularizers)(\.\w+)*)?"
    r"|keras\.src\.applications\.(convnext|inception_resnet_v2)"  # these have layers of their own
)
_FUNCTIONS = re.compile(
    r"builtins|keras(\.src)?\.(activations|constraints|initializers|losses|metrics|ops|regularizers)(\.\w+)*"
)
_VALUES = ("__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__")
# Keras has these, but they run code or load files that the model file names.
_REFUSED = ("Lambda", "TFSMLayer", "JaxLayer", "FlaxLayer", "TorchModuleWrapper", "__lambda__", "__typespec__")
_MAY_NAME_FILES = ("vocabulary", "idf_weights")  # options of StringLookup, IntegerLookup and TextVectorization


def load(path: str | os.PathLike[str], compile: bool = False) -> keras.Model:
    """Loads a model after the check of its file.

    Args:
      path: a .keras file, or a whole model in an .h5 file.
      compile: True to compile it as it was compiled when it was saved.

    Raises:
      TrainerError: the file has something that a model does not need, or Keras cannot load it.
    """
    name = os.fspath(path)
    try:
        if not os.path.isfile(name):
            raise OSError("there is no such file")
        if name.endswith(HDF5):
            hdf5_file.check(name, name)
            with h5py.File(name, "r") as file:
                for key in ("model_config", *(["training_config"] if compile else [])):
                    _check_config(_json(file.attrs.get(key, "{}"), name), name)
        else:
            _check_zip(name, compile)
        return keras.models.load_model(path, compile=compile, safe_mode=True)
    except TrainerError:
        raise
    except (ValueError, TypeError, OSError, KeyError, zipfile.BadZipFile, NotImplementedError) as e:
        raise TrainerError(
            f"Keras cannot load {name!r} in safe mode ({type(e).__name__}: {first_line(e)}). Own layers have to be "
            "registered with keras.saving.register_keras_serializable; Lambda layers are not loaded."
        ) from e


def _check_zip(path: str, compile: bool) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {item.filename: item for item in archive.infolist()}
        if len(members) != len(archive.infolist()):
            raise _refused(path, "two members of one name")
        for name, item in members.items():
            own = name in (_CONFIG, _METADATA, _WEIGHTS) or name.startswith(_ASSETS)
            if not own or ".." in name.split("/") or "\\" in name:
                raise _refused(path, f"the member {name!r}, which Keras does not write")
            if item.file_size > FREE_BYTES and item.file_size > MAX_EXPANSION * item.compress_size:
                raise _refused(path, f"the member {name!r}, which grows {MAX_EXPANSION} times or more")
        if members[_CONFIG].file_size > MAX_CONFIG_BYTES:
            raise _refused(path, f"a {_CONFIG} of more than {MAX_CONFIG_BYTES >> 20} MiB")
        config = _json(archive.read(_CONFIG), path)
        if not compile and isinstance(config, dict):
            config.pop("compile_config", None)  # Keras does not read it then, and it may name the user's own loss
        _check_config(config, path)
        # In memory, because HDF5 jumps back and forth, which a member of a zip does slowly. Keras does the same.
        hdf5_file.check(io.BytesIO(archive.read(_WEIGHTS)), path)


def own_classes(network: keras.Model) -> dict[str, bool]:
    """Returns the classes of a network that are not Keras's.

    The result is {module and name: whether it is registered}. A program that loads the file has to register them first.
    """
    config = keras.saving.serialize_keras_object(network)
    return {
        f"{item.get('module')}.{item['class_name']}": _is_registered(item.get("registered_name") or item["class_name"])
        for item in _objects(config)
        if item["class_name"] not in (*_VALUES, "function")
        and item.get("module") is not None
        and not _is_of(_CLASSES, item["module"])
    }


def rehearse(network: keras.Model) -> str:
    """Saves a network, loads the file, and throws it away.

    Returns:
      Why the file cannot be loaded; "" if it can.

    Raises:
      TrainerError: the network cannot be saved.
    """
    with tempfile.TemporaryDirectory(prefix="shardmill-model-") as folder:
        path = os.path.join(folder, "model.keras")
        try:
            network.save(path)
        except OSError:
            raise
        except Exception as e:  # of the user's own layers
            raise TrainerError(
                f"Network {network.name!r} cannot be saved ({type(e).__name__}: {first_line(e)}). Give each layer of "
                "your own a get_config that returns the arguments of its __init__ as plain values."
            ) from e
        try:
            load(path)
        except TrainerError as e:
            return str(e).replace(path, os.path.basename(path), 1)
    return ""


def import_modules(names: str) -> None:
    """Imports modules that register classes of a model; --import names them.

    Args:
      names: names with commas between them, or "".

    Raises:
      TrainerError: one cannot be imported.
    """
    for name in filter(None, (part.strip() for part in names.split(","))):
        try:
            importlib.import_module(name)
        except Exception as e:  # the user's code may raise any exception
            raise TrainerError(
                f"--import {name} cannot be imported ({type(e).__name__}: {first_line(e)}). Run from the module's "
                "folder, or set PYTHONPATH."
            ) from e


def _json(text: Any, path: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as e:
        raise _refused(path, "a configuration of too many levels") from e


def _check_config(config: Any, path: str) -> None:
    """Checks each class and function that a configuration names.

    Raises:
      TrainerError: one is not on the list.
    """
    for item in _objects(config):
        kind, module = item["class_name"], item.get("module")
        inner = item.get("config")
        registered = item.get("registered_name") or kind
        shown = f"{module}.{kind}" if module else str(kind)
        if kind in _VALUES:
            continue
        if kind in _REFUSED:
            raise _refused(path, f"{_named(inner)}the class {shown}, which runs code or loads files")
        if kind == "function":
            if not _is_registered(inner) and not (_is_of(_FUNCTIONS, module)):
                raise _refused(path, f"the function {module}.{inner}, which is not one of Keras's for models")
            continue
        if not _is_registered(registered) and not (module is None or _is_of(_CLASSES, module)):
            raise _refused(path, f"{_named(inner)}the class {shown}, which is not one of Keras's for models")
        for option in _MAY_NAME_FILES:
            if isinstance(inner, dict) and isinstance(inner.get(option), str):
                raise _refused(path, f"{_named(inner)}a {option} that is the name of a file")


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Yields every object of a configuration, nested ones included."""
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if "class_name" in item:
                yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _is_of(pattern: re.Pattern[str], module: Any) -> bool:
    return isinstance(module, str) and pattern.fullmatch(module) is not None


def _is_registered(name: Any) -> bool:
    return isinstance(name, str) and keras.saving.get_registered_object(name) is not None


def _named(inner: Any) -> str:
    return f"layer {inner['name']!r} with " if isinstance(inner, dict) and isinstance(inner.get("name"), str) else ""


def _refused(path: str, what: str) -> TrainerError:
    return TrainerError(
        f"{path!r} is not loaded in safe mode, because it has {what}. Own layers have to be registered with "
        "keras.saving.register_keras_serializable, and --import names the module that does so; Lambda layers are not "
        "loaded. Or build the model in a function of your own (--model module:function) and load only its weights."
    )
