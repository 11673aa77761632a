"""Random resized crops of JPEG records beside tf.data, Pillow and FFCV, on real photographs, in the same run.

    SHARDMILL_DATA=/folder python benchmarks/jpeg_crops.py [--ffcv-python /venv/bin/python] [--work /folder]

Photographs are stored at 256x256 as JPEG (`prepare --encoding jpeg`), and each reader gives shuffled batches of 64
random resized crops of 224x224, with shares of the area from 0.25 to 1 (--crop-scale). All of them decode the same
bytes: FFCV's file is written with the JPEGs of the records. The readers are

- `shardmill`: what `train --train-size 224` reads, 8-bit crops;
- `shardmill, whole images`: the same crops cut from whole decoded images in the step, on the same cores;
- `tf.data`: `decode_and_crop_jpeg` and `tf.image.resize` for each image, in parallel, without antialiasing and not
  rounded (float32); `tf.data, 8 bit` also rounds;
- `Pillow`: decode, cut and resize, as torchvision does it with images of Pillow, in one thread;
- `FFCV jpeg`: `RandomResizedCropRGBImageDecoder` (1.0.2 from PyPI), 8 bit.

Each reader may use --cores cores. They are warmed up first and then take turns of --seconds, round after round.
Reported are medians over the rounds (least to greatest), and the medians of the ratios within each round. CPU-seconds
are those of all threads of a reader. FFCV's interpreter also needs psutil and Pillow.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import measure
import readers
from loader import Reader

SELF = str(pathlib.Path(__file__).resolve())
STORED, SIDE, BATCH, RATIO = 256, 224, 64, (3 / 4, 4 / 3)
MODULES = {"shardmill": "tensorflow", "whole": "tensorflow", "tfdata": "tensorflow", "tfdata8": "tensorflow",
           "pillow": "PIL.Image", "ffcv": "ffcv.loader"}  # fmt: skip


def records(path: str) -> list[bytes]:
    """The JPEGs of all records."""
    import tensorflow as tf

    from pipelines import contract as contracts

    contract = contracts.load(path)
    files = tf.data.TFRecordDataset(contract.shard_paths(path, "train"))
    spec = {"image": tf.io.FixedLenFeature([], tf.string)}
    return [tf.io.parse_single_example(record, spec)["image"].numpy() for record in files]


def shardmill(path: str, scale: tuple[float, float], whole: bool = False) -> readers.Epoch:
    import tensorflow as tf

    from pipelines import contract as contracts
    from trainer.cli.commands import keep_memory
    from trainer.config import TrainConfig
    from trainer.data import dataset
    from trainer.training.augment import crop
    from trainer.training.augment.draws import Draws

    keep_memory()
    contract = contracts.load(path)
    config = TrainConfig(path, "not written", train_size=SIDE, crop_scale=f"{scale[0]}-{scale[1]}")
    crops = None if whole else crop.for_loader(config, contract, range(1))
    batches = dataset.load(path, "train", BATCH, shuffle=True, seed=0, dequantize=False, crops=crops)
    if not whole:
        return lambda: batches

    def cut(number: tf.Tensor, batch: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        images, *others = batch
        return crop.random_crop(tf.cast(images, tf.float32), scale, SIDE, Draws(0, number)), *others

    return lambda: batches.enumerate().map(cut)


def tfdata(path: str, scale: tuple[float, float], rounds: bool = False) -> readers.Epoch:
    import tensorflow as tf

    from pipelines import contract as contracts

    contract = contracts.load(path)
    spec = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
    whole = tf.constant([[[0.0, 0.0, 1.0, 1.0]]])

    def read(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parsed = tf.io.parse_single_example(record, spec)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.io.extract_jpeg_shape(parsed["image"]), whole, min_object_covered=0, aspect_ratio_range=RATIO,
            area_range=scale, max_attempts=10, use_image_if_no_bounding_boxes=True,
        )  # fmt: skip
        window = tf.stack([begin[0], begin[1], size[0], size[1]])
        image = tf.image.resize(tf.io.decode_and_crop_jpeg(parsed["image"], window, channels=3), (SIDE, SIDE))
        return tf.cast(tf.round(image), tf.uint8) if rounds else image, parsed["label"]

    files = tf.data.Dataset.from_tensor_slices(contract.shard_paths(path, "train")).shuffle(1024)
    found = files.interleave(tf.data.TFRecordDataset, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
    found = found.shuffle(4096).map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
    batches = found.batch(BATCH).prefetch(tf.data.AUTOTUNE)
    return lambda: batches


def pillow(path: str, scale: tuple[float, float]) -> readers.Epoch:
    """One thread, with the JPEGs in memory; `path` is a folder of them."""
    import io
    import math

    import numpy as np
    from PIL import Image

    images = [file.read_bytes() for file in sorted(pathlib.Path(path).glob("*.jpg"))]
    draws = np.random.default_rng(0)

    def part() -> tuple[int, int, int, int]:
        for _ in range(10):
            area = STORED * STORED * draws.uniform(*scale)
            ratio = math.exp(draws.uniform(*map(math.log, RATIO)))
            width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if width <= STORED and height <= STORED:
                left, top = (int(draws.integers(0, STORED - length + 1)) for length in (width, height))
                return left, top, left + width, top + height
        return 0, 0, STORED, STORED

    def one(number: int) -> np.ndarray:
        image = Image.open(io.BytesIO(images[number])).crop(part())
        return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))

    def epoch() -> Iterator[object]:
        order = draws.permutation(len(images))
        for first in range(0, len(order), BATCH):
            yield np.stack([one(number) for number in order[first : first + BATCH]]), None

    return epoch


def ffcv(path: str, scale: tuple[float, float]) -> readers.Epoch:
    from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import Squeeze, ToTensor

    images = [RandomResizedCropRGBImageDecoder((SIDE, SIDE), scale, RATIO), ToTensor()]
    loader = Loader(
        path, batch_size=BATCH, num_workers=len(os.sched_getaffinity(0)), order=OrderOption.RANDOM, os_cache=True,
        drop_last=False, seed=0, pipelines={"image": images, "label": [IntDecoder(), ToTensor(), Squeeze()]},
    )  # fmt: skip
    return lambda: loader


def write_files(path: str, folder: str) -> None:
    """The JPEGs of the records of `path`, as files in `folder`."""
    os.makedirs(folder)
    for number, image in enumerate(records(path)):
        pathlib.Path(folder, f"{number:06d}.jpg").write_bytes(image)


def write_ffcv(folder: str, target: str) -> None:
    """FFCV's file of the JPEGs in `folder`, with their bytes as they are."""
    import io

    import numpy as np
    from ffcv.fields import IntField, RGBImageField, rgb_image
    from ffcv.writer import DatasetWriter
    from PIL import Image

    files = sorted(pathlib.Path(folder).glob("*.jpg"))
    contents = [file.read_bytes() for file in files]
    pixels = [np.asarray(Image.open(io.BytesIO(content))) for content in contents]
    stored = {image.tobytes(): content for image, content in zip(pixels, contents, strict=True)}
    # FFCV would encode the pixels again, with colours at half the size.
    rgb_image.encode_jpeg = lambda image, quality: np.frombuffer(stored[image.tobytes()], np.uint8)

    class Pairs:
        def __len__(self) -> int:
            return len(pixels)

        def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
            return pixels[number], 0

    fields = {"image": RGBImageField(write_mode="jpg"), "label": IntField()}
    DatasetWriter(target, fields, num_workers=1).from_indexed_dataset(Pairs())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--crop-scale", default="0.25-1", help="least and greatest share of the area")
    parser.add_argument("--cores", type=int, default=1, help="cores that each reader may use")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of reading, each reader in each round")
    parser.add_argument("--work", type=pathlib.Path, help="keeps the dataset here, and uses one that is there")
    parser.add_argument("--ffcv-python", help="an interpreter with FFCV")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = (args.work or pathlib.Path(temporary)).resolve()
        running = prepare(work, args)
        for reader in running:
            reader.start()
        for _ in range(args.rounds):
            for reader in running:
                reader.turn(args.seconds)
        for reader in running:
            reader.stop()
    report(running, args)


def prepare(work: pathlib.Path, args: argparse.Namespace) -> list[Reader]:
    """Makes what is not there yet: the dataset, its JPEGs, FFCV's file. Returns the readers, not started."""
    data, files, beton = (work / name for name in ("jpeg256", "files", "images.beton"))
    work.mkdir(parents=True, exist_ok=True)
    if not (data / "contract.json").exists():
        photos = work / "photos"
        measure.collect(photos, len(measure.photographs()))
        measure.run([sys.executable, "-m", "pipelines", "prepare", "--input", str(photos), "--output", str(data),
                     "--size", str(STORED), "--encoding", "jpeg", "--splits", "train=1",
                     "--max-reject-rate", "0"])  # fmt: skip
    if not files.exists():
        measure.run([sys.executable, SELF, "write_files", str(data), str(files)], env=environment())
    ffcv_python = args.ffcv_python
    if ffcv_python and subprocess.run([ffcv_python, "-c", "import ffcv"], capture_output=True).returncode:
        print(f"FFCV is left out: {ffcv_python} cannot import it")
        ffcv_python = None
    if ffcv_python and not beton.exists():
        measure.run([ffcv_python, SELF, "write_ffcv", str(files), str(beton)])
    kinds = [
        ("shardmill", sys.executable, "shardmill", data),
        ("shardmill, whole images", sys.executable, "whole", data),
        ("tf.data", sys.executable, "tfdata", data),
        ("tf.data, 8 bit", sys.executable, "tfdata8", data),
        ("Pillow", sys.executable, "pillow", files),
        *([("FFCV jpeg", ffcv_python, "ffcv", beton)] if ffcv_python else []),
    ]
    return [
        Reader(name, [python, SELF, kind, str(path), args.crop_scale, str(args.cores)])
        for name, python, kind, path in kinds
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(measure.ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}


def report(running: list[Reader], args: argparse.Namespace) -> None:
    print(
        f"{args.rounds} rounds of {args.seconds} s, {args.cores} core(s) each, crops of {args.crop_scale}: medians "
        "(least to greatest)"
    )
    for r in running:
        cost = measure.spread(r.costs)
        print(f"{r.name:<24} images/s {measure.spread(r.rates)}, CPU-s/1k {cost}, first batch {r.first:.2f} s")
    ours = running[0]
    for r in running[1:]:
        rate = [a / b for a, b in zip(ours.rates, r.rates, strict=True)]
        cost = [a / b for a, b in zip(ours.costs, r.costs, strict=True)]
        print(f"{ours.name} / {r.name:<24} images/s {measure.spread(rate)}, CPU-s {measure.spread(cost)}")


def read(kind: str, path: str, crop_scale: str, cores: str) -> None:
    """Is one reader; see `readers.serve`."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    least, _, greatest = crop_scale.partition("-")
    scale = float(least), float(greatest)
    importlib.import_module(MODULES[kind])  # what importing takes is not the reader's
    imported = time.perf_counter()
    made = {
        "shardmill": lambda: shardmill(path, scale),
        "whole": lambda: shardmill(path, scale, whole=True),
        "tfdata": lambda: tfdata(path, scale),
        "tfdata8": lambda: tfdata(path, scale, rounds=True),
        "pillow": lambda: pillow(path, scale),
        "ffcv": lambda: ffcv(path, scale),
    }[kind]()
    readers.serve(made, imported)
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["write_files"]:
        write_files(*sys.argv[2:])
    elif sys.argv[1:2] == ["write_ffcv"]:
        write_ffcv(*sys.argv[2:])
    elif sys.argv[1:2] and sys.argv[1] in MODULES:
        read(*sys.argv[1:])
    else:
        main()
