"""Reads a prepared dataset and makes batches of normalized images.

    from trainer.data import dataset
    train = dataset.load("OUT", "train", 32, shuffle=True, seed=0)     # (images, labels) batches, one epoch
    test = dataset.load("OUT", "test", 32)                             # in the order of the shards

Local shards are read by position from memory maps: those of a raw encoding are gathered (`gather.py`), and records of
compressed images are found by an index (`indexed_records.py`). All other shards are read as streams.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any, TypedDict, Unpack

import numpy as np
import tensorflow as tf

from pipelines import contract as contracts
from pipelines.contract import Contract, ContractError
from pipelines.core.files.urls import is_remote
from trainer.config import CACHES, NATURAL, NO_CACHE, TrainerError
from trainer.data import (
    batch_functions,
    class_sampling,
    decoded_cache,
    epoch_order,
    jpeg_crops,
    metadata_columns,
    parts,
    prefetch,
    record_stream,
)
from trainer.data.shards import gather, indexed_records, integrity, mmap_tfrecord
from trainer.data.shards.example_layout import Rows

CALLS = 4  # batches of raw encodings made in parallel: more are not faster
AHEAD = 2  # batches that are prefetched


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """Describes how a split is read; `load` explains each option but `positions`.

    positions: of the records to read, in this order, int64 (N,); None: all. They count records in the order of `load`
      without shuffling. It is for shards that are read by position.

    Raises:
      TrainerError: `cache` is none of its values or is used with `crops`, or `resample` or `crops` is given without
        `shuffle`.
    """

    split: str
    batch_size: int
    shuffle: bool = False
    seed: int | None = None
    drop_remainder: bool = False
    dequantize: bool = True
    start: epoch_order.Start | None = None
    resample: str = NATURAL
    share: tuple[int, int] | None = None
    cache: str = NO_CACHE
    crops: jpeg_crops.Crops | None = None
    positions: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.cache not in CACHES:
            raise TrainerError(f"cache should be one of {', '.join(CACHES)}. Received: {self.cache!r}.")
        if self.resample != NATURAL and not self.shuffle:
            raise TrainerError(f"A resampled pass has no order without shuffle. Received: resample={self.resample!r}.")
        if self.crops is not None and (self.cache != NO_CACHE or not self.shuffle):
            raise TrainerError(
                "crops are drawn anew in every pass: they need shuffle=True, and go with no cache, which keeps whole "
                "images."
            )


class LoadOptions(TypedDict, total=False):
    """Lists the options of `load` by name and type; `load` explains them.

    Those but the last two are fields of ReadOptions, which has their defaults.
    """

    shuffle: bool
    seed: int | None
    drop_remainder: bool
    dequantize: bool
    start: epoch_order.Start | None
    resample: str
    share: tuple[int, int] | None
    cache: str
    crops: jpeg_crops.Crops | None
    fold: int | None
    with_metadata: bool


def load(
    directory: str | os.PathLike[str], split: str, batch_size: int, **options: Unpack[LoadOptions]
) -> tf.data.Dataset:
    """Reads one pass over a split, each record exactly once.

    Iterate the result again for the next epoch. This example runs in the root of the repository:

        >>> from trainer.data import dataset
        >>> train = dataset.load("tests/data/format_1/uint8", "train", batch_size=4, shuffle=True, seed=0)
        >>> int(train.cardinality())  # batches of 15 records
        4
        >>> images, labels = next(iter(train))
        >>> images.shape, images.dtype.name
        (TensorShape([4, 8, 8, 3]), 'float32')
        >>> labels.numpy().tolist()  # 0 is "cracked", 1 is "sound"
        [1, 1, 1, 0]

    Args:
      directory: of the prepared dataset.
      split: name of a split, such as "train"; the contract lists the splits. "unlabelled" has the images without a
        label, if the dataset has such: their labels are -1, or their targets NaN. Of a dataset with folds it may also
        be "fold-N" or "train-without-fold-N", see `fold`.
      batch_size: images a batch; the last batch holds the remaining records, unless `drop_remainder` is set.
      **options: each can be left out.
        shuffle (False): gives another order in every epoch. The order is over the complete split if the shards are
          local; streams are shuffled in a buffer of 256 MB. Without it there is one order, which takes the records of
          16 shards in turn, and is not sorted by class.
        seed (None): with it, the orders are the same in every run; without it, each run draws its own.
        drop_remainder (False): omits a last batch that is not full.
        dequantize (True): False leaves the images as they are stored, 8-bit pixels or float16, for `Dequantize` to
          convert inside the compiled step. Then a quarter or half of the bytes is sent to the device.
        start (None): with `shuffle`, a function that is called at the beginning of each pass. It returns the number of
          the pass, which with the seed decides its order, and how many of its batches to leave out. Without it:
          complete passes 0, 1, 2 ...
        resample ("none"): with `shuffle`, of the train split: "uniform" or "temperature=T" give records of rare classes
          more often and records of frequent classes less often, in passes of the same length; see `class_sampling`.
          The numbers of times that two records of one class come differ by at most one.
        share (None): (index, number of shares): reads only this part of each batch; the parts of two indices have no
          record in common. The elements are then pairs of (the batch as below, number of its records that count, int32
          ()). If a batch has fewer records than there are parts, a part without a record gets the first record of the
          batch, which does not count.
        cache ("none"): "memory" decodes compressed images once, see `trainer.data.decoded_cache`. Raw images need no
          decoding and are read as without a cache.
        crops (None): with `shuffle`, of a dataset of the encoding jpeg: the part of each image that is decoded and
          resized, see `jpeg_crops`. The images are then of its size, and gray levels are rounded to whole numbers.
        fold (None): of a dataset that was prepared with --folds: with the split "train", all records of train that are
          not in this fold, and with "validation" the originals of the fold, without the copies that balance classes.
        with_metadata (False): adds a dictionary as the last element of a batch: column -> values (B,) of the columns
          that `prepare --keep` named, int64, float32 or string. A missing value is -2**63, NaN or an empty string.
          These tensors stay on the host: leave them out with `map` where a batch goes to a device or to `fit`.

    Returns:
      Batches of (images float32 (B, H, W, C) normalized as the contract says, labels int64 (B,)), and if the contract
      is weighted (images, labels, weights float32 (B,)). If its task is not classes, targets float32 (B, K) stand in
      the place of labels, as the records hold them: 0 and 1, or the numbers of the table, not standardized.

    Raises:
      ContractError: there is no dataset or no such split, the split is empty, shards are missing or not of the recorded
        size, the record lengths of a local shard of compressed images are wrong, or `crops` is given and the encoding
        is not jpeg.
      TrainerError: there is no such fold; `resample` is none of its forms, is given without `shuffle`, or for another
        task than classes; `cache` is none of its values, or there is not enough memory for it; `crops` goes with
        `cache` or without `shuffle`; or there are no columns for `with_metadata`.
      TypeError: there is no option of a given name.
      tf.errors.InvalidArgumentError, DataLossError, FailedPreconditionError, while iterating: a record is damaged,
        breaks the contract or is missing. Every checksum is compared at least once in a run.
    """
    return _as_dataset(*_opened(os.fspath(directory), *_read_options(split, batch_size, options)))


class Batches:
    """Iterates over the batches of a split, one pass each time; `batches` makes it.

    `len` is the number of batches of a pass. It raises TypeError with the option `start`, which may leave some out.
    """

    def __init__(self, one_pass: Callable[[], Iterator[Any]], number: int, numpy: bool) -> None:
        self._one_pass, self._number, self._numpy = one_pass, number, numpy

    def __iter__(self) -> Iterator[Any]:
        return map(prefetch.arrays, self._one_pass()) if self._numpy else self._one_pass()

    def __len__(self) -> int:
        if self._number < 0:
            raise TypeError("With the option start the number of batches is not known.")
        return self._number


def batches(
    directory: str | os.PathLike[str],
    split: str,
    batch_size: int,
    *,
    numpy: bool = False,
    **options: Unpack[LoadOptions],
) -> Batches:
    """Reads the batches of `load` for a loop of Python, in less time.

    Local shards of a raw encoding are read without tf.data: threads make the batches ahead. Other shards are read as
    `load` reads them. The batches and their order are those of `load`.

        >>> from trainer.data import dataset
        >>> train = dataset.batches("tests/data/format_1/uint8", "train", 4, shuffle=True, seed=0, numpy=True)
        >>> len(train)
        4
        >>> [labels.tolist() for _, labels in train][0]
        [1, 1, 1, 0]

    Args:
      directory, split, batch_size, **options: as for `load`.
      numpy: gives read-only NumPy arrays in place of tensors. They share the memory of the tensors.

    Returns:
      Batches, to be iterated again for each pass. An iterator that is deleted, or left by an error, ends its threads.

    Raises:
      The errors of `load`, also while iterating.
    """
    order, read, raw = _opened(os.fspath(directory), *_read_options(split, batch_size, options))
    by_position = raw and order.begin is not None
    one_pass = prefetch.passes(order, read) if by_position else _as_dataset(order, read, raw).__iter__
    return Batches(one_pass, int(order.elements.cardinality()), numpy)


def load_at(
    directory: str | os.PathLike[str], split: str, positions: np.ndarray, batch_size: int
) -> tuple[tf.data.Dataset, np.ndarray]:
    """Reads some records of a split as they are stored.

    Local shards are read by position, so that only these records are decoded. Streams give all records.

    Args:
      directory, split, batch_size: as for `load`.
      positions: of the records, int64 (N,), counted in the order of `load` without shuffling.

    Returns:
      Batches of `load(..., dequantize=False)`, and the positions of their records, int64 (M,).

    Raises:
      The errors of `load`, also while iterating.
    """
    if not is_gathered(directory, split):
        records = parts.find(contracts.load(directory), os.fspath(directory), split).records
        return load(directory, split, batch_size, dequantize=False), np.arange(records)
    options = ReadOptions(split, batch_size, dequantize=False, positions=positions)
    return _as_dataset(*_opened(os.fspath(directory), options, with_metadata=False)), positions


def _read_options(split: str, batch_size: int, given: LoadOptions) -> tuple[ReadOptions, bool]:
    """Returns the options of a call of `load`, and whether batches have metadata.

    Raises:
      TypeError: there is no option of a given name.
    """
    unknown = sorted(given.keys() - LoadOptions.__annotations__.keys())
    if unknown:
        raise TypeError(f"The options are {', '.join(LoadOptions.__annotations__)}. Received: {', '.join(unknown)}.")
    fields: dict[str, Any] = dict(given)
    fold, with_metadata = fields.pop("fold", None), fields.pop("with_metadata", False)
    return ReadOptions(parts.name_of(split, fold), batch_size, **fields), with_metadata


def _opened(
    directory: str, options: ReadOptions, with_metadata: bool
) -> tuple[epoch_order.Order, Callable[..., tuple[Any, ...]], bool]:
    """Opens a split.

    Returns:
      (the order of its batches, a function that maps an element of the order to what `load` gives, whether the encoding
        is a raw one).
    """
    contract, dequantize, crops = contracts.load(directory), options.dequantize, options.crops
    if crops is not None:
        jpeg_crops.check(contract)
    shards, order = _batches(contract, directory, options)
    stored = parts.stored_split(options.split)
    labelled = stored in contract.splits
    raw = contract.encoding in contracts.RAW_DTYPES
    if shards is not None and raw:
        read = batch_functions.gathered(contract, shards, dequantize, labelled)
    elif shards is not None and options.cache != NO_CACHE:
        store = decoded_cache.open_store(contract, stored, shards)
        read = batch_functions.decoded_once(contract, store, dequantize, labelled)
    else:
        if crops is not None:
            read = batch_functions.cropped(contract, crops, dequantize, labelled)
        else:
            read = batch_functions.streamed(contract, dequantize, labelled)
        read = read if shards is None else batch_functions.indexed(shards, read)
    if with_metadata:
        read = metadata_columns.added(contract, read, shards)
    return order, _read_batch(order, read, options.share), raw


def _as_dataset(order: epoch_order.Order, read: Callable[..., tuple[Any, ...]], raw: bool) -> tf.data.Dataset:
    auto = tf.data.AUTOTUNE  # tunes decoding; copying needs little tuning
    calls, ready = (CALLS, AHEAD) if raw else (auto, auto)
    # Batches are formed before records are read: one call reads B records instead of B small calls.
    return order.elements.map(epoch_order.plain(read), num_parallel_calls=calls, deterministic=True).prefetch(ready)


def _read_batch(
    order: epoch_order.Order, read: batch_functions.Read, share: tuple[int, int] | None
) -> Callable[..., tuple[Any, ...]]:
    """Returns a function that maps an element of the order to what `load` gives."""

    def read_batch(*element: tf.Tensor) -> tuple[Any, ...]:
        batch, *number = order.batch(*element)
        if share is None:
            return read(batch, *number)
        part, records = _share(*share, batch)
        return read(part, *number), records

    return read_batch


def _share(number: int, parts: int, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns part `number` of a batch (B,) of positions or records, and its size.

    A part without a record is the first record of the batch, with size 0.
    """
    size = tf.shape(batch)[0]
    start, stop = number * size // parts, (number + 1) * size // parts
    first = tf.minimum(start, size - 1)
    return tf.ensure_shape(batch[first : tf.maximum(stop, first + 1)], (None,)), stop - start


def records_of_batch(directory: str | os.PathLike[str], options: ReadOptions, number: int, batch: int) -> list[bytes]:
    """Reads the serialized records of one batch, as `load` reads them.

    `number` is the pass and `batch` the batch in it, both counted from 0. The complete batch is read, whatever the
    share. Raises the errors of `load`.
    """
    contract = contracts.load(directory)
    options = dataclasses.replace(options, start=lambda: (number, batch))
    shards, order = _batches(contract, os.fspath(directory), options)
    found = order.batch(*next(iter(order.elements)))[0].numpy()
    return list(found) if shards is None else mmap_tfrecord.records(shards, found)


def is_gathered(directory: str | os.PathLike[str], split: str, cache: str = NO_CACHE, resample: str = NATURAL) -> bool:
    """Tells whether the split is read by position, from memory maps or a cache.

    If not, it is streamed. The two have different orders.
    """
    contract, stored = contracts.load(directory), parts.stored_split(split)
    return _mapped(contract, os.fspath(directory), stored, cache, resample) is not None


def _mapped(
    contract: Contract, directory: str, split: str, cache: str, resample: str
) -> list[mmap_tfrecord.Shard] | None:
    """Maps the shards of a split, or returns None if they are to be streamed.

    Raises:
      ContractError: the lengths in a shard of compressed images do not lead from record to record to its end.
    """
    raw = contract.encoding in contracts.RAW_DTYPES
    if not raw and cache == NO_CACHE and resample != NATURAL:  # all records would be read before the first batch
        return None
    shards = mmap_tfrecord.open_shards(contract, directory, split)
    for shard in () if raw or shards is None else shards:
        shard.place(0)
    return shards


def wire_dtype(contract: Contract) -> str:
    """Returns the dtype of the images of `load(..., dequantize=False)`."""
    return contracts.RAW_DTYPES.get(contract.encoding, "uint8")


def _batches(
    contract: Contract, directory: str, options: ReadOptions
) -> tuple[list[mmap_tfrecord.Shard] | None, epoch_order.Order]:
    """Returns the mapped shards and batches of positions in them, int64 (B,).

    For streamed shards it returns None and batches of serialized records, string (B,); with `crops`, pairs of such a
    batch and its number, int64 (). The number of batches is known, unless `start` may leave some out.
    """
    part = parts.find(contract, directory, options.split)
    split = part.split
    class_sampling.refuse(contract, options.resample)
    paths = integrity.checked_shards(contract, directory, split)
    shards = _mapped(contract, directory, split, options.cache, options.resample)
    if shards is None and options.cache != NO_CACHE and contract.encoding not in contracts.RAW_DTYPES:
        raise TrainerError(
            f"--cache {options.cache} needs local shards, {mmap_tfrecord.MAX_SHARDS} at most and no larger than the "
            f"memory. Received: {directory!r} with {len(paths)}. Copy the dataset to a local disk, or leave --cache "
            "out."
        )
    if shards is None and not is_remote(directory):  # TensorFlow's reader trusts the lengths in a file
        for shard in contract.split(split).shards:
            mmap_tfrecord.check_framing(os.path.join(directory, shard.file), shard.records)
    arranged = _shuffled if options.shuffle else _in_order
    return shards, arranged(part, options, paths, shards)


def _in_order(
    part: parts.Part, options: ReadOptions, paths: list[str], shards: list[mmap_tfrecord.Shard] | None
) -> epoch_order.Order:
    size, drop_remainder = options.batch_size, options.drop_remainder
    if shards is not None:
        every = record_stream.in_order(part)
        wanted = every if options.positions is None else every[options.positions]
        return epoch_order.in_order(wanted, size, drop_remainder)
    return epoch_order.Order.of(record_stream.stream(part, paths).batch(size, drop_remainder))


def _shuffled(
    part: parts.Part, options: ReadOptions, paths: list[str], shards: list[mmap_tfrecord.Shard] | None
) -> epoch_order.Order:
    batch_size, drop_remainder, resample = options.batch_size, options.drop_remainder, options.resample
    records, quotas = part.records, class_sampling.epoch_counts(part.contract, resample, part.name)
    seed = secrets.randbits(31) if options.seed is None else options.seed
    numbered = options.crops is not None
    begin = epoch_order.Passes(seed, options.start or epoch_order.from_zero())
    if shards is None:
        stream: Callable[[tf.Tensor], tf.data.Dataset] = functools.partial(record_stream.stream, part, paths)
        if resample != NATURAL:
            stream = epoch_order.repeated(stream, class_sampling.counts(part.contract, part.name), quotas)
        buffer = record_stream.shuffle_buffer(part)
        batches = epoch_order.count(records, batch_size, drop_remainder) if numbered else 0
        order = epoch_order.buffered(begin, stream, buffer, batch_size, drop_remainder, batches)
    elif resample != NATURAL:
        order = epoch_order.drawn(begin, _by_class(part, shards), quotas, batch_size, drop_remainder, numbered)
    elif part.chosen is not None:
        positions = tf.constant(part.positions, tf.int64)  # the graph captures the tensor and does not copy it
        order = epoch_order.permutation(
            begin, records, batch_size, drop_remainder, lambda slots, _: tf.gather(positions, slots), numbered
        )
    else:
        order = epoch_order.permutation(begin, records, batch_size, drop_remainder, numbered=numbered)
    if options.start is None:  # progress bars and step counts need the number
        count = epoch_order.count(records, batch_size, drop_remainder)
        elements = order.elements.apply(tf.data.experimental.assert_cardinality(count))
        return dataclasses.replace(order, elements=elements)
    return order


def _by_class(part: parts.Part, shards: list[mmap_tfrecord.Shard]) -> list[np.ndarray]:
    """Returns for each class, by label id, the positions of its records, int64 (n,)."""
    contract, positions = part.contract, part.positions
    if contract.encoding in contracts.RAW_DTYPES:
        labels = gather.Gather(Rows(contract, *gather.FRAME), shards).labels()[positions]
    else:
        labels = indexed_records.labels(contract, shards)[positions]
    members = [positions[labels == label] for label in range(len(contract.labels))]
    found, expected = [len(of_class) for of_class in members], class_sampling.counts(contract, part.name)
    if found != expected:
        raise ContractError(
            f"Split {part.name!r} should hold {expected} records of its classes by its contract. Received: {found}. "
            "Find what is damaged with `python -m pipelines verify`, then copy or prepare the dataset again."
        )
    return members
