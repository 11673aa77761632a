"""Whole epochs of `train` beside plain Keras `fit` on one array in memory, which is the limit of what computing takes.

    SHARDMILL_DATA=/folder python benchmarks/steps.py

The photographs are prepared once. In each round, each network is trained by both, one after the other and each in a
process of its own, with batches of the same size and no augmentation; the figure is the images/s of the best epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import gpu_check
import measure

NETWORKS = ("cnn", "resnet20", "MobileNetV2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2400, help="photographs (default: 2400)")
    parser.add_argument("--size", default="64x64", help="of the records (default: 64x64)")
    parser.add_argument("--batch-size", type=int, default=64, help="images a step (default: 64)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="NETWORK", default=NETWORKS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        data = prepared(folder, args.count, args.size)
        head = (
            f"network, {args.count} photographs of {args.size}",
            "images/s of plain Keras",
            "`train`, images/s",
            "ratio",
        )
        print(f"| {' | '.join(head)} |")
        print("|---|---|---|---|", flush=True)
        for network in args.only:
            pairs = [rates(network, args.batch_size, data, folder / f"{network}-{i}") for i in range(args.rounds)]
            plain, ours = zip(*pairs, strict=True)
            ratios = [mine / theirs for theirs, mine in pairs]
            cells = f"`{network}`", *map(measure.spread, (plain, ours, ratios))
            print(f"| {' | '.join(cells)} |", flush=True)


def prepared(folder: pathlib.Path, count: int, size: str) -> pathlib.Path:
    measure.collect(folder / "photos", count)
    command = [sys.executable, "-m", "pipelines", "prepare", "--input", str(folder / "photos"), "--output",
               str(folder / "data"), "--size", size, "--encoding", "uint8"]  # fmt: skip
    measure.run(command)
    return folder / "data"


def rates(network: str, batch_size: int, data: pathlib.Path, output: pathlib.Path) -> tuple[float, float]:
    """The images/s of the best epoch of plain Keras and of `train`."""
    command = [sys.executable, __file__, network, str(batch_size), str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=gpu_check.environment(CHILD="1"))
    if done.returncode:
        sys.exit(f"Plain Keras with {network} failed ({done.returncode}):\n{done.stderr[-2000:]}")
    plain = json.loads(done.stdout.splitlines()[-1])
    options = ["--model", network, "--batch-size", str(batch_size), "--validation", "none"]
    gpu_check.train(data, output, *options)
    return plain, max(gpu_check.rates(output))


def child(network: str, batch_size: str, folder: str) -> None:
    """Prints the images/s of the best epoch of plain Keras, with its input as arrays in memory."""
    import keras
    import numpy as np

    from pipelines import contract as contracts
    from trainer.data import dataset
    from trainer.models import build
    from trainer.training import train as training

    training.start_keras(0)
    contract = contracts.load(folder)
    model = build.build(network, contract)
    model.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    batches = list(dataset.load(folder, "train", int(batch_size)))
    images, labels = (np.concatenate(values) for values in zip(*[batch[:2] for batch in batches], strict=True))
    seconds = []
    for _ in range(gpu_check.EPOCHS):
        began = time.monotonic()
        model.fit(images, labels, batch_size=int(batch_size), epochs=1, verbose=0)
        seconds.append(time.monotonic() - began)
    print(json.dumps(len(images) / min(seconds)))


if __name__ == "__main__":
    if os.environ.get("CHILD"):
        child(*sys.argv[1:])
    else:
        main()
