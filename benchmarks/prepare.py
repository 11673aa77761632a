"""`prepare` against a bare loop with the same decode and resize calls, on real photographs, in the same run.

    SHARDMILL_DATA=/folder python benchmarks/prepare.py --count 8000

The bare loop is two processes that read, decode (`INTEGER_ACCURATE`), resize (`area`) and write TFRecords, and do
nothing else: no digests, no splits, no statistics, no contract. Start-up is included in both.
"""

from __future__ import annotations

import argparse
import pathlib
import shutil
import sys
import tempfile

import measure

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--encoding", default="uint8")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        paths = measure.collect(work / "photos", args.count)
        lists = [work / "list0", work / "list1"]
        for i, file in enumerate(lists):
            file.write_text("\n".join(map(str, paths[i::2])))
        bare = [[sys.executable, "-c", BARE, str(work / f"bare{i}"), str(file)] for i, file in enumerate(lists)]
        ours = [sys.executable, "-m", "pipelines", "prepare", "--input", str(work / "photos"), "--output",
                str(work / "out"), "--encoding", args.encoding, "--max-reject-rate", "0"]  # fmt: skip
        rows: dict[str, list[measure.Cost]] = {"bare loop, 2 processes": [], "prepare": []}
        for _ in range(args.runs):
            rows["bare loop, 2 processes"].append(measure.run(*bare))
            rows["prepare"].append(measure.run(ours))
            shutil.rmtree(work / "out")
    print(f"{args.count} photographs, 128x128, medians of {args.runs} (least to greatest)")
    for name, costs in rows.items():
        print(
            f"{name:<24} images/s {measure.spread([args.count / c.wall for c in costs])}, "
            f"CPU-s/1k {measure.spread([1000 * c.cpu / args.count for c in costs])}, "
            f"peak MB {measure.spread([c.peak for c in costs])}"
        )
    bare_loop, prepare = rows.values()
    cpu = measure.middle([b.cpu / a.cpu for a, b in zip(bare_loop, prepare, strict=True)])
    rate = measure.middle([a.wall / b.wall for a, b in zip(bare_loop, prepare, strict=True)])
    print(f"ratio: CPU-seconds {cpu:.2f}, images/s {rate:.2f}")


if __name__ == "__main__":
    main()
