"""One reader of images, timed on demand: what `benchmarks/loader.py` starts, each in a process of its own.

    python benchmarks/readers.py KIND PATH

It reads for WARM_UP seconds, prints the seconds from the end of its imports to the first batch, and then for each line
on its input reads that many seconds and prints images, seconds, CPU-seconds (user and system, all threads), the median
seconds from the beginning of an epoch to its first batch (nan if none began) and the memory in MB (PSS). Epochs follow
one another, with all that starting one takes. Every batch is 64 images of 128x128, in an order of its own in every
epoch. They are normalized, float32; of the kinds that end with "stored" they are as they are sent to a device, and of
"ffcv_half" normalized in float16.
"""

from __future__ import annotations

import functools
import importlib
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator

BATCH, SIDE, WORKERS = 64, 128, 2
WARM_UP, UNCOUNTED = 3.0, 0.3  # seconds; of each reading the first part is what was read ahead while waiting
MEAN, STD = (122.5, 114.25, 102.75), (60.5, 59.25, 61.0)  # gray levels; the cost does not depend on them

Epoch = Callable[[], Iterable[object]]


def shardmill(path: str, dequantize: bool = True) -> Epoch:
    """`path` is a prepared dataset; as file:// it is read as a remote one."""
    from trainer.cli.commands import keep_memory
    from trainer.data import dataset

    keep_memory()
    batches = dataset.load(path, "train", BATCH, shuffle=True, seed=0, dequantize=dequantize)
    return lambda: batches


def in_python(path: str, dequantize: bool = True) -> Epoch:
    """As `shardmill`, by `dataset.batches`: made ahead by threads of Python."""
    from trainer.cli.commands import keep_memory
    from trainer.data import dataset

    keep_memory()
    batches = dataset.batches(path, "train", BATCH, shuffle=True, seed=0, dequantize=dequantize)
    return lambda: batches


def keras(path: str) -> Epoch:
    """image_dataset_from_directory over the folder of photographs, then normalized."""
    import keras
    import numpy as np
    import tensorflow as tf

    scale, offset = (tf.constant(np.tile(np.float32(v), SIDE)) for v in ([1 / s for s in STD], MEAN))

    def normalized(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rows = (tf.reshape(images, (-1, SIDE, SIDE * 3)) - offset) * scale
        return tf.reshape(rows, (-1, SIDE, SIDE, 3)), labels

    batches = keras.utils.image_dataset_from_directory(
        path, image_size=(SIDE, SIDE), batch_size=BATCH, shuffle=True, seed=0, verbose=False
    )
    batches = batches.map(normalized, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    return lambda: batches


def ffcv(path: str, dtype: str | None = "float32") -> Epoch:
    """`path` is a .beton of raw images. dtype: of the normalized images; None for 8-bit ones."""
    import numpy as np
    from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import NormalizeImage, Squeeze, ToTensor

    normalize = [NormalizeImage(np.array(MEAN), np.array(STD), np.dtype(dtype).type)] if dtype else []
    images = [SimpleRGBImageDecoder(), *normalize, ToTensor()]
    labels = [IntDecoder(), ToTensor(), Squeeze()]
    loader = Loader(
        path, batch_size=BATCH, num_workers=WORKERS, order=OrderOption.RANDOM, os_cache=True, drop_last=False, seed=0,
        pipelines={"image": images, "label": labels},
    )  # fmt: skip
    return lambda: loader


def memcpy(path: str, dtype: str = "float32") -> Epoch:
    """The floor: batches copied, one thread, from memory into memory that is used again."""
    import numpy as np

    source, target = (np.ones((BATCH, SIDE, SIDE, 3), dtype) for _ in range(2))

    def epoch() -> Iterator[object]:
        for _ in range(125):
            np.copyto(target, source)
            yield target, None

    return epoch


def write_ffcv(folder: str) -> None:
    """FOLDER/images.npy (uint8) and labels.npy -> FOLDER/images.beton."""
    import numpy as np
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    class Pairs:
        images, labels = (np.load(os.path.join(folder, f"{name}.npy"), mmap_mode="r") for name in ("images", "labels"))

        def __len__(self) -> int:
            return len(self.labels)

        def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
            return np.ascontiguousarray(self.images[i]), int(self.labels[i])

    fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
    DatasetWriter(os.path.join(folder, "images.beton"), fields, num_workers=1).from_indexed_dataset(Pairs())


READERS: dict[str, tuple[list[str], Callable[[str], Epoch]]] = {  # what each imports, and how its epochs are made
    "shardmill": (["tensorflow", "trainer.dataset"], shardmill),
    "shardmill_stored": (["tensorflow", "trainer.dataset"], functools.partial(shardmill, dequantize=False)),
    "in_python": (["tensorflow", "trainer.dataset"], in_python),
    "in_python_stored": (["tensorflow", "trainer.dataset"], functools.partial(in_python, dequantize=False)),
    "keras": (["tensorflow", "keras"], keras),
    "ffcv": (["ffcv.loader"], ffcv),
    "ffcv_stored": (["ffcv.loader"], functools.partial(ffcv, dtype=None)),
    "ffcv_half": (["ffcv.loader"], functools.partial(ffcv, dtype="float16")),
    "memcpy": (["numpy"], memcpy),
    "memcpy_stored": (["numpy"], functools.partial(memcpy, dtype="uint8")),
}


class Reading:
    """Reads epoch after epoch. begun: seconds from the beginning of each to its first batch."""

    def __init__(self, epoch: Epoch) -> None:
        self.begun: list[float] = []
        self._batches = self._all(epoch)
        next(self._batches)

    def read(self, seconds: float) -> tuple[int, float, float, float, float]:
        self.begun.clear()
        before, start, images = _cpu(), time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            images += len(next(self._batches)[0])  # type: ignore[index]
        wall, used = time.perf_counter() - start, _cpu() - before
        return images, wall, used, statistics.median(self.begun or [float("nan")]), _memory()

    def _all(self, epoch: Epoch) -> Iterator[object]:
        while True:
            start = time.perf_counter()
            batches = first = None  # as a `for` loop does: an old iterator delays the next one
            batches = iter(epoch())
            first = next(batches)
            self.begun.append(time.perf_counter() - start)
            yield first
            yield from batches


def serve(epoch: Epoch, imported: float) -> None:
    reading = Reading(epoch)
    print(time.perf_counter() - imported, flush=True)
    reading.read(WARM_UP)
    print("ready", flush=True)
    for line in sys.stdin:
        reading.read(UNCOUNTED)
        print(*reading.read(float(line)), flush=True)


def _memory() -> float:
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1000


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    kind, path = sys.argv[1:]
    if kind == "write_ffcv":
        write_ffcv(path)
        return
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    modules, epochs = READERS[kind]
    for module in modules:  # what importing takes is not the reader's
        importlib.import_module(module)
    imported = time.perf_counter()
    serve(epochs(path), imported)
    os._exit(0)


if __name__ == "__main__":
    main()
