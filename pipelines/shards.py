"""One shard is one unit of work: read, decode, resize, augment and write its own records, in hash order.

Memory is bounded by a window of images and not by the shard or the data set. A shard that was finished by an earlier
run with the same options and the same inputs is recognized by its task digest and not made again.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from pipelines import hashing, progress, records, storage
from pipelines.config import PrepareConfig
from pipelines.source import Ref
from pipelines.summary import Rejected
from pipelines.workspace import Work

# Part of every task digest: raise it when the bytes of a record change for the same options.
RECORD_VERSION = 1
# Sources in flight for each thread: enough to hide an uneven decode, few enough to stay small (8 x 49 kB at 128x128).
WINDOW = 8
MAX_THUMBNAILS = 120


class Item(NamedTuple):
    """One record to make: copy number `copy` of `ref`, at `position` in the split's hash order."""

    position: int
    ref: Ref
    copy: int


def file_name(name: str, split: str, index: int, total: int) -> str:
    """The shard's name as TFDS expects it."""
    return f"{name}-{split}.tfrecord-{index:05d}-of-{total:05d}"


def write_shard(
    file: str,
    split: str,
    items: Iterable[Item],
    labels: Sequence[str],
    config: PrepareConfig,
    work: Work,
    pool: concurrent.futures.Executor,
    window: int,
    picture: bool = False,
) -> dict[str, Any]:
    """Decodes and stages the shard's records as 8-bit pixels (or JPEG, PNG) and tells what is in it.

    Returns:
      The shard's account, plain JSON values: counts per label, pixel histogram, rejects, formats, sizes, pictures.
      It is also kept beside the staged shard, with the ledger (one line a record: key, uri, label, digest, copy).
    """
    ordered = sorted(items)
    account_path, ledger_path = work.path("staged", f"{file}.json"), work.path("ledger", f"{file}.jsonl")
    digest = _task_digest(file, ordered, labels, config)
    if (known := _known(account_path, digest, work.path("staged", file), ledger_path)) is not None:
        progress.advance(len(ordered))
        return known
    copied = {item.ref.label for item in ordered if item.copy}
    account = _Account(file, split)
    label_ids = {label: i for i, label in enumerate(labels)}
    staged = work.path("staged", file)
    with storage.writing(ledger_path) as ledger, _RecordWriter(staged) as writer:
        for item, decoded, record in _in_order(ordered, split, label_ids, config, pool, window):
            progress.advance(1)
            if isinstance(decoded, Rejected):
                account.reject(decoded)
                continue
            writer.write(record)
            ledger.write(_ledger_line(item))
            account.add(item, decoded, config)
            if picture and (item.copy > 0) == (item.ref.label in copied):
                account.picture(item, decoded, config)
    originals = [(i.ref.key, i.ref.label, i.ref.digest) for i in ordered if not i.copy]
    result = {
        "task_digest": digest,
        "source_digest": hashing.multiset_digest(originals),
        "weighted": any(i.ref.weight != 1.0 for i in ordered),
        **account.result(),
    }
    storage.write_text(account_path, json.dumps(result))
    return result


def finish_shard(
    account: Mapping[str, Any],
    affine: tuple[tuple[float, ...], tuple[float, ...]],
    config: PrepareConfig,
    work: Work,
    pool: concurrent.futures.Executor,
) -> dict[str, Any]:
    """Staged shard -> finished shard: normalized and encoded where the encoding holds floats, else moved as it is.

    Returns:
      {"file", "split", "records", "bytes", "sha256"} of the finished file.
    """
    file = account["file"]
    target, note = work.path("shards", file), work.path("shards", f"{file}.json")
    digest = hashing.text_digest(f"{account['task_digest']} {affine}")
    if (known := _known(note, digest, target)) is not None:
        return known
    staged = work.path("staged", file)
    if config.encoding in ("float16", "float32"):
        table = records.normalization_table(*affine, config.encoding)
        with _RecordWriter(target) as writer:
            source = (bytes(r.numpy()) for r in tf.data.TFRecordDataset(staged))
            for batch in _batches(source, 64):
                for record in pool.map(lambda r: records.finish_example(r, table), batch):
                    writer.write(record)
    else:
        storage.copy(staged, target)
    sha256, size = storage.digest_and_size(target)
    result = {"file": file, "split": account["split"], "records": account["records"], "bytes": size, "sha256": sha256}
    storage.write_text(note, json.dumps({**result, "task_digest": digest}))
    return result


class _RecordWriter:
    """A TFRecord file that appears whole or not at all. TensorFlow writes the framing and its CRCs in C++."""

    def __init__(self, path: str):
        self._path, self._temporary = path, f"{path}.tmp"
        storage.make_directory(path.rpartition("/")[0])

    def __enter__(self) -> tf.io.TFRecordWriter:
        self._writer = tf.io.TFRecordWriter(self._temporary)
        return self._writer

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._writer.close()
        if kind is None:
            storage.rename(self._temporary, self._path)


class _Account:
    """Adds up what a shard holds."""

    def __init__(self, file: str, split: str):
        self._fixed = {"file": file, "split": split}
        self._counts: dict[str, collections.Counter[Any]] = collections.defaultdict(collections.Counter)
        self._levels = np.zeros((3, 256), np.int64)
        self._rejects: dict[str, Rejected] = {}
        self._thumbnails: list[dict[str, Any]] = []
        self._pictured: collections.Counter[str] = collections.Counter()

    def reject(self, rejected: Rejected) -> None:
        self._rejects[rejected.uri] = rejected  # once, however many copies were wanted

    def add(self, item: Item, decoded: records.Decoded, config: PrepareConfig) -> None:
        """Counts a written record, and the source of it where it is an original."""
        label, copy = item.ref.label, item.copy
        self._counts["stored"][label] += 1
        if copy:
            self._counts["copies"][label] += 1
        else:
            header = decoded.header
            self._levels += records.histogram(decoded.pixels)
            self._counts["formats"][header.format] += 1
            self._counts["conversions"].update(header.conversions)
            self._counts["conversions"]["enlarged"] += header.height < config.size[0] or header.width < config.size[1]
            self._counts["widths"][header.width // 16 * 16] += 1
            self._counts["heights"][header.height // 16 * 16] += 1
            self._counts["file_bytes"][records.file_size_bin(decoded.file_bytes)] += 1

    def picture(self, item: Item, decoded: records.Decoded, config: PrepareConfig) -> None:
        """Keeps a few sources of each class as pictures; where one is a copy, its original and the copy."""
        if self._pictured[item.ref.label] >= config.thumbnails or len(self._thumbnails) >= MAX_THUMBNAILS:
            return
        self._pictured[item.ref.label] += 1
        for copy in sorted({0, item.copy}):
            picture = records.thumbnail(decoded, item.ref, copy, str(self._fixed["split"]), config)
            if picture is not None:
                self._thumbnails.append(dataclasses.asdict(picture))

    def result(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        counts = {n: dict(self._counts[n]) for n in ("stored", "copies", "formats", "conversions")}
        sizes = {n: {str(k): v for k, v in self._counts[n].items()} for n in ("widths", "heights", "file_bytes")}
        return {
            **self._fixed,
            "records": sum(counts["stored"].values()),
            **counts,
            **sizes,
            "levels": self._levels.tolist(),
            "rejects": [dataclasses.asdict(r) for r in self._rejects.values()],
            "thumbnails": self._thumbnails,
        }


_Made = tuple[records.Decoded | Rejected, bytes]


def _in_order(
    items: Sequence[Item],
    split: str,
    label_ids: Mapping[str, int],
    config: PrepareConfig,
    pool: concurrent.futures.Executor,
    window: int,
) -> Iterator[tuple[Item, records.Decoded | Rejected, bytes]]:
    """Makes records in parallel and yields them in order; each source is decoded once, however many copies it has.

    A source and the first record of it are one task: were they two, every second thread would wait for the first.
    """
    uses = collections.Counter(item.ref.key for item in items)
    sources: dict[str, concurrent.futures.Future[_Made]] = {}
    queue: collections.deque[tuple[Item, concurrent.futures.Future[_Made]]] = collections.deque()
    upcoming = iter(items)

    def make(item: Item, decoded: records.Decoded | Rejected) -> _Made:
        if isinstance(decoded, Rejected):
            return decoded, b""
        return decoded, records.make_example(decoded, item.ref, item.copy, label_ids[item.ref.label], config)

    def first(item: Item) -> _Made:
        return make(item, records.load(item.ref, split, config))

    def again(item: Item, source: concurrent.futures.Future[_Made]) -> _Made:
        # The pool is first in, first out, and the source was submitted before: waiting for it cannot deadlock.
        return make(item, source.result()[0])

    while True:
        while len(queue) < window and (item := next(upcoming, None)) is not None:
            key = item.ref.key
            if key in sources:
                queue.append((item, pool.submit(again, item, sources[key])))
            else:
                sources[key] = pool.submit(first, item)
                queue.append((item, sources[key]))
        if not queue:
            return
        item, made = queue.popleft()
        yield item, *made.result()
        uses[item.ref.key] -= 1
        if not uses[item.ref.key]:
            del sources[item.ref.key]


def _ledger_line(item: Item) -> bytes:
    ref = item.ref
    line = {
        "key": hashing.record_key(ref.key, item.copy),
        "uri": ref.uri,
        "label": ref.label,
        "digest": ref.digest,
        "copy": item.copy,
    }
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _task_digest(file: str, items: Sequence[Item], labels: Sequence[str], config: PrepareConfig) -> str:
    content = [[i.ref.key, i.ref.digest, i.ref.label, i.ref.weight, i.copy] for i in items]
    versions = [RECORD_VERSION, tf.__version__]
    return hashing.text_digest(json.dumps([file, config.digest(), versions, list(labels), content]))


def _known(note_path: str, digest: str, *file_paths: str) -> dict[str, Any] | None:
    """What an earlier run noted of the same task, if its files are still there (publishing moves them)."""
    if not all(storage.exists(path) for path in (note_path, *file_paths)):
        return None
    try:
        note = json.loads(storage.read_text(note_path))
    except (OSError, ValueError):  # half-written or foreign: make the shard again
        return None
    return note if isinstance(note, dict) and note.get("task_digest") == digest else None


def _batches(items: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
