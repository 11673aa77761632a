"""Whether several devices come to the curve of one, on real data, and what they take for it.

    python benchmarks/strategies.py DATA [--epochs 5] [--batch-size 32]

DATA is a prepared dataset of raw records. Trained are one device, twice; two virtual devices of one process; and two
worker processes; each with the built-in `cnn` less its dropout and without flips, which are drawn for each replica.
All share this machine's cores, so the seconds show what a strategy costs, and not what it gains.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
DEVICES = """
import sys, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from trainer.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
MEASURES = ("loss", "val_loss", "val_balanced_accuracy")


def network(contract: Any) -> Any:
    """The built-in `cnn` without what is random in it."""
    import keras

    from trainer.models.networks import small_cnn

    found = small_cnn(contract.image_shape, len(contract.labels))
    dropout = next(layer for layer in found.layers if isinstance(layer, keras.layers.Dropout))
    return keras.Model(found.input, found.layers[-1](dropout.input))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        options = [
            "train", "--data", os.path.abspath(arguments.data), "--model", "strategies:network", "--no-flip",
            "--epochs", str(arguments.epochs), "--batch-size", str(arguments.batch_size), "--verify", "off",
        ]  # fmt: skip
        command, devices = [sys.executable, "-m", "trainer", *options], [sys.executable, "-c", DEVICES, *options]
        seconds = {
            "one": together(work, "one", [command]),
            "one, again": together(work, "one, again", [command]),
            "mirrored, two virtual devices": together(
                work, "mirrored, two virtual devices", [[*devices, "--strategy", "mirrored"]]
            ),
            "multiworker, two processes": together(
                work, "multiworker, two processes", [[*command, "--strategy", "multiworker"]] * 2, cluster(2)
            ),
        }
        print(
            "| | " + " | ".join(f"{m}: largest difference to one" for m in MEASURES) + " | loss at the end | seconds |"
        )
        print("|---|" + "---|" * (len(MEASURES) + 2))
        wanted = rows(work / "one")
        for name, took in seconds.items():
            found = rows(work / name)
            apart = (max(abs(a[m] - b[m]) for a, b in zip(found, wanted, strict=True)) for m in MEASURES)
            cells = " | ".join(f"{value:.1e}" if value else "0" for value in apart)
            print(f"| {name} | {cells} | {found[-1]['loss']:.6f} | {took:.0f} |")


def together(work: pathlib.Path, name: str, commands: list[list[str]], configs: list[str] | None = None) -> float:
    """Seconds of these commands side by side; stops with the last lines of one that failed."""
    began = time.perf_counter()
    started = []
    for index, command in enumerate(commands):
        own = {"TF_CONFIG": configs[index]} if configs else {}
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]), **own}
        log = work / f"{name}-{index}.log"
        with log.open("w") as file:
            started.append((subprocess.Popen([*command, "--output", str(work / name)], env=environment, cwd=work,
                                             stdout=file, stderr=subprocess.STDOUT), log))  # fmt: skip
    for process, log in started:
        if process.wait() != 0:
            sys.exit(f"{name} ended with status {process.returncode}:\n" + log.read_text()[-2000:])
    return time.perf_counter() - began


def cluster(workers: int) -> list[str]:
    """A TF_CONFIG of this machine for each worker."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(workers)]
    hosts = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return [
        json.dumps({"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}})
        for index in range(workers)
    ]


def rows(run: pathlib.Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


if __name__ == "__main__":
    main()
