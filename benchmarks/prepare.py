"""`prepare` against a bare loop with the same decode and resize calls, on real photographs, in the same run.

    SHARDMILL_DATA=/folder python benchmarks/prepare.py --count 8000

The bare loop is two processes that read, decode (`INTEGER_ACCURATE`), resize (`area`) and write TFRecords, and do
nothing else: no digests, no splits, no statistics, no contract. Start-up is included in both.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Sequence

import measure
import numpy as np

BARE = """
import sys, tensorflow as tf
out, *paths = sys.argv[1:]
paths = open(paths[0]).read().split("\\n")
with tf.io.TFRecordWriter(out) as writer:
    for path in paths:
        image = tf.io.decode_jpeg(open(path, "rb").read(), channels=3, dct_method="INTEGER_ACCURATE")
        pixels = tf.cast(tf.round(tf.image.resize(image, (128, 128), method="area")), tf.uint8)
        feature = {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[pixels.numpy().tobytes()]))}
        writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
"""


def bare_loop(paths: Sequence[pathlib.Path], work: pathlib.Path) -> list[list[str]]:
    """The commands of the two processes."""
    lists = [work / "list0", work / "list1"]
    for i, file in enumerate(lists):
        file.write_text("\n".join(map(str, paths[i::2])))
    return [[sys.executable, "-c", BARE, str(work / f"bare{i}"), str(file)] for i, file in enumerate(lists)]


def ours(folder: pathlib.Path, out: pathlib.Path, encoding: str) -> list[str]:
    """The command of `prepare`."""
    return [sys.executable, "-m", "pipelines", "prepare", "--input", str(folder), "--output", str(out), "--name", "x",
            "--encoding", encoding, "--max-reject-rate", "0"]  # fmt: skip


def records(out: pathlib.Path) -> int:
    """How many a prepared dataset holds."""
    contract = json.loads((out / "contract.json").read_text())
    return sum(split["records"] for split in contract["splits"].values())


def difference(one: pathlib.Path, other: pathlib.Path) -> str:
    """How far the 8-bit pixels of two datasets of the same images and shards are apart."""
    import tensorflow as tf

    sums, most, count = 0.0, 0, 0
    for file in sorted(one.glob("*.tfrecord-*")):
        pairs = tf.data.Dataset.zip(tf.data.TFRecordDataset(file), tf.data.TFRecordDataset(other / file.name))
        for pair in pairs.as_numpy_iterator():
            features = [tf.train.Example.FromString(r).features.feature for r in pair]
            if features[0]["key"] != features[1]["key"]:
                sys.exit(f"{file.name} holds other records in the two datasets.")
            a, b = (np.frombuffer(f["image"].bytes_list.value[0], np.uint8).astype(int) for f in features)
            sums, most, count = sums + np.abs(a - b).mean(), max(most, np.abs(a - b).max()), count + 1
    return f"mean {sums / count:.2f}, greatest {most} gray levels, over {count} images"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], epilog="Further options are passed on to a third row of `prepare`."
    )
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--encoding", default="uint8")
    args, flags = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        photos, out, other = work / "photos", work / "out", work / "other"
        bare = bare_loop(measure.collect(photos, args.count), work)
        command = ours(photos, out, args.encoding)
        varied = " ".join(["prepare", *flags])
        rows: dict[str, list[measure.Cost]] = {"bare loop, 2 processes": [], "prepare": []}
        written = dict.fromkeys(rows, args.count)
        for _ in range(args.runs):
            shutil.rmtree(out, ignore_errors=True)
            shutil.rmtree(other, ignore_errors=True)
            rows["bare loop, 2 processes"].append(measure.run(*bare))
            rows["prepare"].append(measure.run(command))
            if flags:
                rows.setdefault(varied, []).append(measure.run([*ours(photos, other, args.encoding), *flags]))
                written[varied] = records(other)
        print(f"{args.count} photographs, 128x128, medians of {args.runs} (least to greatest)")
        for name, costs in rows.items():
            print(
                f"{name:<24} images/s {measure.spread([args.count / c.wall for c in costs])}, "
                f"CPU-s/1k {measure.spread([1000 * c.cpu / args.count for c in costs])}, "
                f"peak MB {measure.spread([c.peak for c in costs])}, {written[name]} records"
            )
        baseline = rows.pop("bare loop, 2 processes")
        for name, costs in rows.items():
            cpu = measure.middle([b.cpu / a.cpu for a, b in zip(baseline, costs, strict=True)])
            rate = measure.middle([a.wall / b.wall for a, b in zip(baseline, costs, strict=True)])
            print(f"{name} / bare loop: CPU-seconds {cpu:.2f}, images/s {rate:.2f}")
        if "--quality" in flags and args.encoding == "uint8":
            print(f"pixels against those without {' '.join(flags)}: {difference(out, other)}")


if __name__ == "__main__":
    main()
