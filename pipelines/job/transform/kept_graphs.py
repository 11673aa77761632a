"""Keeps graphs that TensorFlow Transform wrote, and fills in other numbers.

TensorFlow Transform takes seconds for a few rows. What it writes depends on the image policy and the versions. Besides,
it holds the labels and the totals of the columns. So a graph of an earlier run gets those of this run, and is then byte
for byte what TensorFlow Transform would write here, with the names of `canonical_graph`. Only `fingerprint.pb` has
another random number, as in every run.

The graphs are in the user's cache folder, a file each. A file that is damaged, of another user or of another key is not
used. Where nothing can be written, nothing is kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils

from pipelines import storage
from pipelines.contract import graph_check
from pipelines.contract.task import TARGET_COLUMNS
from pipelines.core.elements import Affine
from pipelines.core.files.cache_folder import cache_folder
from pipelines.job import worker_versions
from pipelines.job.transform import analysis_rows, canonical_graph, normalization
from pipelines.job.transform.analysis import Analysis
from pipelines.job.transform.analysis_rows import PIXELS, Totals

MOST_KEPT = 64  # graphs; the oldest ones are removed
MAX_BYTES = 64 << 20  # of all files of a graph
MOST_NUMBERS = 64  # of a column; TensorFlow compresses longer constants in several ways
LABEL_COUNTS = 3  # constants of a graph that hold the number of its labels
FOLDER = "transform"  # in the cache folder, and in `Analysis.folder`
TEMPORARY = "tft"  # in `Analysis.folder`: the folder of TensorFlow Transform
GRAPH, FINGERPRINT, LABELS = "transform_fn/saved_model.pb", "transform_fn/fingerprint.pb", "transform_fn/assets/labels"
SCHEMA = "transformed_metadata/schema.pbtxt"
_ABOUT = "about.json"
_UNUSABLE = (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, DecodeError, RecursionError)

Targets = dict[str, list[float]]  # "mean" and "std"


class Kept(NamedTuple):
    """Holds a graph as it was written.

    totals: what it holds. files: name -> content. folders: their names.
    """

    totals: Totals
    files: dict[str, bytes]
    folders: list[str]


class _UnfitError(Exception):
    """Says that a graph is not of the form in which numbers can be filled in."""


def is_kept(analysis: Analysis) -> bool:
    """Tells whether there is a graph of this policy."""
    path = _path(analysis)
    with contextlib.suppress(OSError):  # a folder that may not be entered
        return path is not None and path.is_file()
    return False


def fill(analysis: Analysis) -> tuple[Affine, Targets] | None:
    """Writes the graph of this analysis if there is a kept one that fits.

    Returns:
      What `numbers` returns; None if there is no such graph. Then nothing is written.
    """
    path, found = _path(analysis), totals(analysis)
    if path is None or not is_kept(analysis) or not _are_plain(found.labels):
        return None
    try:
        kept = _read(path, _policy(analysis))
        files = filled(kept, found, analysis)
    except (*_UNUSABLE, _UnfitError):  # damaged, or of another program: it is replaced by a new one
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    target = os.path.join(analysis.folder, FOLDER)
    storage.remove(target)
    for name in ("", *kept.folders):
        os.makedirs(os.path.join(target, name), exist_ok=True)
    for name, content in files.items():
        Path(target, name).write_bytes(content)
    fingerprinting_utils.write_fingerprint(os.path.dirname(os.path.join(target, GRAPH)))
    with contextlib.suppress(OSError):
        os.utime(path)  # it was used
    return numbers(analysis, found)


def rename(analysis: Analysis) -> None:
    """Gives a graph of TensorFlow Transform the names of `canonical_graph`.

    A graph of an unknown form stays as it is, and is not kept.
    """
    source = Path(analysis.folder, FOLDER)
    graph, labels = source / GRAPH, source / LABELS
    vocabulary = labels.read_bytes() if labels.exists() else b""
    with contextlib.suppress(ValueError):
        graph.write_bytes(canonical_graph.canonical(graph.read_bytes(), vocabulary, analysis.folder))
        fingerprinting_utils.write_fingerprint(str(graph.parent))


def keep(analysis: Analysis, read: tuple[Affine, Targets]) -> None:
    """Keeps the graph that TensorFlow Transform has written for other runs.

    It keeps nothing if the places of the numbers in it are not certain.

    Args:
      read: the numbers that were read back from the graph.
    """
    path, found = _path(analysis), totals(analysis)
    if path is None or not _are_plain(found.labels) or numbers(analysis, found) != read:
        return
    source = Path(analysis.folder, FOLDER)
    names = sorted(p.relative_to(source).as_posix() for p in source.rglob("*"))
    files = {name: (source / name).read_bytes() for name in names if (source / name).is_file()}
    kept = Kept(found, files, [name for name in names if name not in files])
    try:
        again = filled(kept, found, analysis)
        if any(again[name] != files[name] for name in files if name != FINGERPRINT):
            return
        _write(path, kept, _policy(analysis))
        _remove_oldest(path.parent)
    except (_UnfitError, OSError):  # a read-only home or a full disk
        return


def totals(analysis: Analysis) -> Totals:
    """Returns what the graph of an analysis holds."""
    rows = analysis_rows.analysis_rows(None, analysis.dataset, analysis.spec, analysis.work, analysis.targets)
    return analysis_rows.totals(rows, _columns(analysis))


def numbers(analysis: Analysis, found: Totals) -> tuple[Affine, Targets]:
    """Computes what the graph of an analysis computes.

    `transform.read_numbers` reads the same numbers from the graph.

    Returns:
      (scale, offset) of the pixels, and "mean" and "std" of the targets, if there are any.
    """

    def total(name: str) -> tf.Tensor:
        return tf.cast(tf.constant(found.columns[name], _dtype(name)), tf.float64)

    scale, offset = (
        normalization.of_pixels(analysis.normalize, analysis.spec.image.channels, total)
        if analysis.affine is None
        else normalization.constant(analysis.affine)
    )
    of_targets = normalization.of_targets(total) if analysis.targets else {}
    return (
        (tuple(scale.numpy().tolist()), tuple(offset.numpy().tolist())),
        {name: tf.cast(value, tf.float32).numpy().tolist() for name, value in of_targets.items()},
    )


def filled(kept: Kept, found: Totals, analysis: Analysis) -> dict[str, bytes]:
    """Returns the files of a kept graph with the totals of an analysis.

    `fingerprint.pb` is not among them.

    Raises:
      _UnfitError: the numbers have no certain place in the graph.
    """
    files = {name: content for name, content in kept.files.items() if name != FINGERPRINT}
    if LABELS in files:
        if files[LABELS] != _vocabulary(kept.totals.labels):
            raise _UnfitError("The vocabulary does not hold the labels.")
        files[LABELS] = _vocabulary(found.labels)
        files[SCHEMA] = _schema(files[SCHEMA], len(kept.totals.labels), len(found.labels))
    graph = saved_model_pb2.SavedModel()
    graph.ParseFromString(files[GRAPH])
    if graph.SerializeToString(deterministic=True) != files[GRAPH] or len(graph.meta_graphs) != 1:
        raise _UnfitError("The graph is not written as this library writes it.")
    for node, column, sign in _places(graph, kept.totals, _columns(analysis)):
        node.attr["value"].tensor.CopyFrom(_tensor(column, found.columns[column], sign))
    for node in _label_counts(graph, len(kept.totals.labels)):
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(len(found.labels), tf.int64))
    for node in canonical_graph.all_nodes(graph.meta_graphs[0].graph_def):
        if node.op == canonical_graph.TABLE:
            if node.attr["shared_name"].s != canonical_graph.table_name(_vocabulary(kept.totals.labels)):
                raise _UnfitError("A table is not named after the labels.")
            node.attr["shared_name"].s = canonical_graph.table_name(_vocabulary(found.labels))
    files[GRAPH] = graph.SerializeToString(deterministic=True)
    graph_check.check(files[GRAPH], GRAPH)
    return files


def _columns(analysis: Analysis) -> list[str]:
    """Returns the columns whose totals are in the graph."""
    of_pixels = PIXELS if analysis.affine is None and analysis.normalize == normalization.ZSCORE else ()
    return [*of_pixels, *(TARGET_COLUMNS if analysis.targets else ())]


def _dtype(column: str) -> str:
    return TARGET_COLUMNS.get(column, "int64")


def _tensor(column: str, values: list[Any], sign: int = 1) -> Any:
    """Returns the numbers of a column as TensorFlow writes a constant.

    It writes one number if all are equal.

    Raises:
      _UnfitError: there are so many that TensorFlow would leave out some of them.
    """
    array = sign * np.array(values, _dtype(column))
    if len(array) >= MOST_NUMBERS:
        raise _UnfitError(f"{len(array)} numbers of {column} are compressed.")
    if len(array) > 1 and (array == array[0]).all():
        return tf.make_tensor_proto(array[0], _dtype(column), array.shape)
    return tf.make_tensor_proto(array)


def _places(graph: Any, held: Totals, columns: list[str]) -> list[tuple[Any, str, int]]:
    """Returns each constant that holds a total, its column, and its sign.

    TensorFlow Transform finds a minimum as the negative maximum of negative numbers, so that it holds these, too.

    Raises:
      _UnfitError: the place of a column is not certain.
    """
    nodes = [node for node in graph.meta_graphs[0].graph_def.node if node.op == "Const"]
    found = []
    for column in columns:
        signs = (1, -1) if column in analysis_rows.REDUCE else (1,)
        # As bytes, in which 0.0 and -0.0 differ.
        tensors = [(sign, _tensor(column, held.columns[column], sign).SerializeToString()) for sign in signs]
        of_column = [
            (node, column, sign)
            for sign, tensor in tensors
            for node in nodes
            if node.attr["value"].tensor.SerializeToString() == tensor
        ]
        if not 1 <= len(of_column) <= len(signs):
            raise _UnfitError(f"{len(of_column)} constants hold the total of {column}.")
        found += of_column
    if len({node.name for node, *_ in found}) != len(found):
        raise _UnfitError("Two columns have equal totals.")
    return found


def _label_counts(graph: Any, labels: int) -> list[Any]:
    """Returns the constants that hold the number of labels.

    Raises:
      _UnfitError: there are fewer or more than in the graphs of today.
    """
    if not labels:
        return []
    count = tf.make_tensor_proto(labels, tf.int64).SerializeToString()
    nodes = [node for node in graph.meta_graphs[0].graph_def.node if node.op == "Const"]
    found = [node for node in nodes if node.attr["value"].tensor.SerializeToString() == count]
    if len(found) != LABEL_COUNTS:
        raise _UnfitError(f"{len(found)} constants hold the number of labels.")
    return found


def _schema(content: bytes, before: int, after: int) -> bytes:
    """Returns the schema of the outputs for another number of labels.

    Raises:
      _UnfitError: it does not hold the last id of a label, or holds it twice.
    """
    last = b"    max: %d\n"
    if content.count(last % (before - 1)) != 1:
        raise _UnfitError("The place of the last id of a label is not certain.")
    return content.replace(last % (before - 1), last % (after - 1))


def _are_plain(labels: tuple[str, ...]) -> bool:
    """Tells whether TensorFlow Transform writes all labels.

    It leaves out those that are empty or have several lines.
    """
    return all(label and not {"\n", "\r"} & set(label) for label in labels)


def _vocabulary(labels: tuple[str, ...]) -> bytes:
    return "".join(f"{label}\n" for label in labels).encode()


def _policy(analysis: Analysis) -> dict[str, Any]:
    """Returns all that a graph depends on, except for numbers of the run.

    The values are those that JSON gives back.
    """
    spec = analysis.spec
    policy = {
        "image": dataclasses.asdict(spec.image),
        "encoding": spec.encoding,
        "jpeg_quality": spec.jpeg_quality,
        "normalize": analysis.normalize,
        "affine": analysis.affine,
        "task": analysis.task,
        "targets": analysis.targets,
        "versions": dict(worker_versions.here()),
        "libraries": {name: metadata.version(name) for name in ("tensorflow-transform", "protobuf")},
    }
    of_json: dict[str, Any] = json.loads(json.dumps(policy))
    return of_json


def _path(analysis: Analysis) -> Path | None:
    cache = cache_folder()
    text = json.dumps(_policy(analysis), sort_keys=True)
    return None if cache is None else cache / FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.zip"


def _read(path: Path, key: dict[str, Any]) -> Kept:
    """Reads a kept graph.

    It raises one of _UNUSABLE if the file is damaged, of another user or of another key.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise ValueError("It belongs to another user, or others may write to it.")
        with zipfile.ZipFile(file) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
                raise ValueError("It is too large.")
            content = {name: archive.read(name) for name in archive.namelist()}  # compares the checksums
    about = json.loads(content.pop(_ABOUT))
    if about["key"] != key or {name: _digest(data) for name, data in content.items()} != about["files"]:
        raise ValueError("It is of another key, or was changed.")
    return Kept(Totals(tuple(about["labels"]), about["columns"]), content, about["folders"])


def _write(path: Path, kept: Kept, key: dict[str, Any]) -> None:
    """Writes a kept graph completely or not at all.

    Several runs may write it at once.
    """
    about = {
        "key": key,
        "labels": kept.totals.labels,
        "columns": kept.totals.columns,
        "files": {name: _digest(data) for name, data in kept.files.items()},
        "folders": kept.folders,
    }
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in {_ABOUT: json.dumps(about).encode(), **kept.files}.items():
            archive.writestr(name, data)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
        try:
            file.write(whole.getvalue())
            file.close()
            os.replace(file.name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(file.name)
            raise


def _remove_oldest(folder: Path) -> None:
    """Removes all but the last MOST_KEPT graphs, by the time of their last use."""
    by_time = sorted(folder.glob("*.zip"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in by_time[MOST_KEPT:]:
        path.unlink(missing_ok=True)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
