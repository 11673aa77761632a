"""Reads data in every form that Keras takes, as passes of batches.

train, validation = splits(((x, y), (x_val, y_val)))
for x, y in train.new_pass(): ...
"""

from __future__ import annotations

import collections
import dataclasses
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.doctor.subject import held_arrays
from trainer.doctor.subject.folder import SPLIT_NAMES
from trainer.doctor.subject.held_arrays import HeldArrays
from trainer.doctor.subject.sample import DatasetError, choose
from trainer.doctor.subject.training import ARRAYS, DATALOADER, GENERATOR, ITERABLE, PYDATASET, TFDATA

BATCH = 32  # Keras' own, for arrays
FEW = 8  # inputs or labels of a model
MOST_BATCHES = 1 << 20  # of a PyDataset without a length
IMAGES, LABELS = ("image", "images", "x", "inputs"), ("label", "labels", "y", "target", "targets", "class")


@dataclasses.dataclass(frozen=True)
class Form:
    """Describes data that can be read as batches.

    kind: one of the forms of `training`.
    new_pass: begins a pass and returns its batches, (x, y) or (x, y, weight).
    again: False where a second pass would get nothing or something else, as from a generator.
    dataset: the tf.data.Dataset; None for another form.
    samples: number of images; None where it is not known.
    held: follows the arrays that the data are read from; None where they are not known.
    """

    kind: str
    new_pass: Callable[[], Iterable[Any]]
    again: bool = True
    dataset: Any = None
    samples: int | None = None
    held: HeldArrays | None = None


class Peeked:
    """Reads ahead in a generator, and gives everything back.

    `peek` yields elements and keeps copies, because some generators change the same array again and again. `restored`
    is a generator of all elements, those that were peeked first.

    held: follows the arrays of the generator, also in what is read by `restored`.
    """

    def __init__(self, source: Iterator[Any]) -> None:
        self._source = source
        self.held = HeldArrays(source)
        self._kept: collections.deque[Any] = collections.deque()

    def peek(self) -> Iterator[Any]:
        """Yields elements that `restored` yields once more."""
        self.held.begin()
        for element in self._source:
            self.held.read_on(element)
            self._kept.append(_copied(element))
            yield self._kept[-1]

    def restored(self) -> Iterator[Any]:
        """Yields the elements that were peeked, then the rest."""
        while self._kept:
            yield self._kept.popleft()
        for element in self._source:
            self.held.read_on(element)
            yield element


def _copied(element: Any) -> Any:
    return keras.tree.map_structure(lambda part: part.copy() if isinstance(part, np.ndarray) else part, element)


def of(x: Any, y: Any = None, weight: Any = None, batch: int | None = None) -> Form:
    """Returns the form of data that is given as Model.fit takes it.

    Raises:
      DatasetError: it is none of the forms. The message describes it.
    """
    if isinstance(x, Peeked):
        return Form(GENERATOR, x.peek, again=False, held=x.held)
    if isinstance(x, tf.data.Dataset):
        return _of_tfdata(x)
    if isinstance(x, keras.utils.PyDataset):
        held = HeldArrays(x)
        return Form(PYDATASET, lambda: _items(x, held), held=held)
    if is_generator(x):
        peeked = Peeked(iter(x))
        return Form(GENERATOR, peeked.peek, again=False, held=peeked.held)
    if y is not None:
        return _of_arrays(x, y, weight, batch or BATCH)
    if hasattr(x, "__iter__") and not isinstance(x, str | bytes | Mapping) and not hasattr(x, "__array__"):
        torch = type(x).__module__.partition(".")[0] == "torch"
        held = HeldArrays(getattr(x, "dataset", x) if torch else x)
        return Form(DATALOADER if torch else ITERABLE, lambda: _followed(x, held), held=held)
    raise DatasetError(f"data of (images, labels) were expected. Received: {type(x).__name__}")


def is_generator(given: Any) -> bool:
    """Tells whether a pass over the object uses it up."""
    own = isinstance(given, tf.data.Dataset | keras.utils.PyDataset | np.ndarray)
    return isinstance(given, types.GeneratorType) or (hasattr(given, "__next__") and not own)


def _of_tfdata(dataset: Any) -> Form:
    count = int(dataset.cardinality())
    form = Form(TFDATA, lambda: dataset, dataset=dataset, samples=0 if count == 0 else None)
    generator = held_arrays.generator_of(dataset)
    if generator is None:
        return form
    held = HeldArrays(generator)
    return dataclasses.replace(form, new_pass=lambda: _followed(dataset, held), held=held)


def _items(data: Any, held: HeldArrays) -> Iterator[Any]:
    """Yields the batches of a PyDataset, and ends the pass as Keras does."""
    count = data.num_batches
    yield from _followed((data[index] for index in range(MOST_BATCHES if count is None else int(count))), held)
    data.on_epoch_end()


def _followed(batches: Iterable[Any], held: HeldArrays) -> Iterator[Any]:
    """Yields copies of batches, because the array that they are slices of may change."""
    held.begin()
    try:
        for batch in batches:
            held.batch(batch)
            yield _copied(batch)
    finally:
        held.end()


def _of_arrays(x: Any, y: Any, weight: Any, batch: int) -> Form:
    parts = keras.tree.map_structure(_array, tuple(_unlisted(part) for part in (x, y, weight) if part is not None))
    sizes = {len(part) if part.ndim else 0 for part in keras.tree.flatten(parts)}
    if len(sizes) != 1:
        raise DatasetError(f"arrays of equal length were expected. Their lengths are {sorted(sizes)}")
    count = sizes.pop()

    def new_pass() -> Iterator[Any]:
        for start in range(0, count, batch):
            yield keras.tree.map_structure(_narrow, choose(parts, slice(start, start + batch)))

    return Form(ARRAYS, new_pass, samples=count)


def _unlisted(part: Any) -> Any:
    """Returns a list as one array, unless it is a list of several inputs or labels.

    Of those there are fewer than FEW, and each is an array of at least FEW.
    """
    if not isinstance(part, list):
        return part
    several = bool(part) and len(part) < FEW and all(getattr(one, "ndim", 0) > 0 and len(one) >= FEW for one in part)
    return part if several else _array(part)


def _array(part: Any) -> np.ndarray:
    return np.asarray(part.numpy() if hasattr(part, "numpy") else part)


def _narrow(part: np.ndarray) -> np.ndarray:
    """Returns float64 as float32, as Keras gives arrays to a model."""
    return part.astype(np.float32) if part.dtype == np.float64 else part


def splits(made: Any) -> tuple[Form, Form | None]:
    """Returns training and validation data out of what a user gives.

    Taken are: one dataset, a pair, three (the last is the test split, and left out), a dictionary of splits, arrays
    (x, y), (x, y, weight), ((x, y), (x, y)), (x, y, x, y) and (x, x, y, y) as train_test_split gives them.

    Raises:
      DatasetError: it is none of them. The message describes it.
    """
    if isinstance(made, Mapping):
        return _of_names(made)
    if not isinstance(made, tuple | list):
        return of(made), None
    if len(made) == 4 and all(map(_is_array, made)):
        x, y, x_val, y_val = made if len(made[0]) == len(made[1]) else (made[0], made[2], made[1], made[3])
        return of(x, y), of(x_val, y_val)
    if len(made) in (2, 3) and _is_array(made[-1]) and not isinstance(made[0], tf.data.Dataset):
        return of(*made), None
    if isinstance(made, list) and len(made) > 3 and all(isinstance(part, tuple | list) for part in made):
        return of(made), None  # a list of batches
    if not 1 <= len(made) <= 3 or not all(map(_is_split, made)):
        kinds = ", ".join(type(part).__name__ for part in made)
        raise DatasetError(
            "a tf.data.Dataset, arrays, a PyDataset, a generator, or two or three of them (training, validation, test) "
            f"were expected. Received: {kinds}"
        )
    parts = [_one(part) for part in made]
    return parts[0], parts[1] if len(parts) > 1 else None


def _of_names(made: Mapping[Any, Any]) -> tuple[Form, Form | None]:
    found: dict[str, Any] = {}
    for name, part in made.items():
        found.setdefault(SPLIT_NAMES.get(str(name).lower(), ""), part)
    if "train" in found:
        other = found.get("validation", found.get("test"))
        return _one(found["train"]), None if other is None else _one(other)
    image, label = key_of(made, IMAGES), key_of(made, LABELS)
    if image is not None and label is not None and _is_array(made[image]):
        return of(made[image], made[label]), None
    raise DatasetError(f"a dictionary of 'train' and 'validation' was expected. Its keys are {list(made)}")


def key_of(made: Mapping[Any, Any], names: Sequence[str]) -> Any:
    """Returns the key of a dictionary that has one of the names; None without."""
    return next((key for key in made if str(key).lower() in names), None)


def _one(part: Any) -> Form:
    return of(*part) if isinstance(part, tuple | list) and len(part) in (2, 3) and _is_array(part[-1]) else of(part)


def _is_split(part: Any) -> bool:
    if isinstance(part, tuple | list):
        return len(part) in (2, 3) and _is_array(part[-1])
    return isinstance(part, keras.utils.PyDataset) or (hasattr(part, "__iter__") and not _is_array(part))


def _is_array(part: Any) -> bool:
    if isinstance(part, list):
        return bool(part) and isinstance(part[0], int | float | np.number)
    return hasattr(part, "__array__") and hasattr(part, "shape")
