"""`prepare` against a bare loop with the same decode and resize calls, on real photographs, in the same run.

    SHARDMILL_DATA=/folder python benchmarks/prepare.py --count 8000

The bare loop is two processes that read, decode (`INTEGER_ACCURATE`), resize (`area`) and write TFRecords, and do
nothing else: no digests, no splits, no statistics, no contract. Start-up is included in both. CPU-seconds are user
plus system of the whole process tree, the steadiest figure on a shared machine; peak memory is the largest resident
set of a process of it.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BARE = """
import sys, tensorflow as tf
out, *paths = sys.argv[1:]
paths = open(paths[0]).read().split("\\n")
with tf.io.TFRecordWriter(out) as writer:
    for path in paths:
        image = tf.io.decode_jpeg(open(path, "rb").read(), channels=3, dct_method="INTEGER_ACCURATE")
        pixels = tf.saturate_cast(tf.round(tf.image.resize(image, (128, 128), method="area")), tf.uint8)
        feature = {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[pixels.numpy().tobytes()]))}
        writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
"""


def collect(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    """`count` JPEGs of distinct content: the real ones, repeated under other names with some bytes after the end."""
    sources = sorted(p for p in pathlib.Path(os.environ["SHARDMILL_DATA"]).glob("*/*/*.jpg") if "odd" not in p.parts)
    made = []
    for i in range(count):
        source = sources[i % len(sources)]
        target = folder / source.parent.name / f"{i:06d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes() + b"%06d" % i)
        made.append(target)
    return made


def measured(commands: list[list[str]]) -> tuple[float, float, float]:
    """(wall seconds, CPU-seconds, peak MB of a process) of commands run side by side."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    running = [subprocess.Popen(c, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for c in commands]
    for process in running:
        _, errors = process.communicate()
        if process.returncode:
            sys.exit(f"{process.args} failed:\n{errors.decode()[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - started, cpu, after.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--encoding", default="uint8")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        paths = collect(work / "photos", args.count)
        lists = [work / "list0", work / "list1"]
        for i, file in enumerate(lists):
            file.write_text("\n".join(map(str, paths[i::2])))
        bare = [[sys.executable, "-c", BARE, str(work / f"bare{i}"), str(file)] for i, file in enumerate(lists)]
        ours = [sys.executable, "-m", "pipelines", "prepare", "--input", str(work / "photos"), "--output",
                str(work / "out"), "--encoding", args.encoding, "--max-reject-rate", "0"]  # fmt: skip
        rows: dict[str, list[tuple[float, float, float]]] = {"bare loop, 2 processes": [], "prepare": []}
        for _ in range(args.runs):
            rows["bare loop, 2 processes"].append(measured(bare))
            rows["prepare"].append(measured([ours]))
            shutil.rmtree(work / "out")
    print(f"{args.count} photographs, 128x128, medians of {args.runs}")
    middle = {name: [statistics.median(column) for column in zip(*runs, strict=True)] for name, runs in rows.items()}
    for name, (wall, cpu, peak) in middle.items():
        print(f"{name:<24} {args.count / wall:7.0f} images/s  {1000 * cpu / args.count:6.2f} CPU-s/1k  {peak:6.0f} MB")
    (wall0, cpu0, _), (wall1, cpu1, _) = middle.values()
    print(f"ratio: CPU-seconds {cpu1 / cpu0:.2f}, images/s {wall0 / wall1:.2f}")


if __name__ == "__main__":
    main()
