"""The loader against FFCV, Keras and a bare copy, on real photographs, in the same run.

    SHARDMILL_DATA=/folder python benchmarks/loader.py [--ffcv-python /venv/bin/python] [--work /folder]

Reads batches of 64 images of 128x128, shuffled anew every epoch: normalized, float32, or "for the device" as they are
stored. All readers are started and warmed up first (`benchmarks/readers.py`); then they take turns, a few seconds each,
round after round, so that whatever else the machine does meets all of them. Reported are medians over the rounds (least
to greatest) and the medians of the ratios within each round. FFCV (1.0.2 from PyPI) needs pkg-config, OpenCV's and
libturbojpeg's headers, and torch; where --ffcv-python has none, it is left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import measure

READERS = str(pathlib.Path(__file__).with_name("readers.py"))
EXPORT = """
import sys, numpy as np
from trainer import dataset
data, folder = sys.argv[1:]
images, labels = zip(*((x.numpy(), y.numpy()) for x, y in dataset.load(data, "train", 64, dequantize=False)))
np.save(folder + "/images.npy", np.concatenate(images))
np.save(folder + "/labels.npy", np.concatenate(labels))
"""


@dataclasses.dataclass
class Reader:
    """A running reader and what it did.

    first: seconds to its first batch. rates: images/s. costs: CPU-s/1k. begun: milliseconds until an epoch has its
    first batch. memory: MB.
    """

    name: str
    command: list[str]
    first: float = 0.0
    rates: list[float] = dataclasses.field(default_factory=list)
    costs: list[float] = dataclasses.field(default_factory=list)
    begun: list[float] = dataclasses.field(default_factory=list)
    memory: list[float] = dataclasses.field(default_factory=list)

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, cwd=measure.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "PYTHONPATH": str(measure.ROOT)},
        )  # fmt: skip
        self.first = float(self._line())
        self._line()  # ready

    def turn(self, seconds: float) -> None:
        print(seconds, file=self.process.stdin, flush=True)
        images, wall, cpu, begun, memory = map(float, self._line().split())
        self.rates.append(images / wall)
        self.costs.append(1000 * cpu / images)
        if not math.isnan(begun):
            self.begun.append(1000 * begun)
        self.memory.append(memory)

    def stop(self) -> None:
        self.process.communicate()

    def _line(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} failed:\n{self.process.communicate()[1][-2000:]}")
        return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=8000, help="photographs")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3.0, help="of reading, each reader in each round")
    parser.add_argument("--work", type=pathlib.Path, help="keeps the datasets here, and uses those that are there")
    parser.add_argument("--ffcv-python", help="an interpreter with FFCV")
    parser.add_argument("--only", help="readers to run, separated by semicolons")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or pathlib.Path(temporary)
        readers = prepare(work.resolve(), args.count, args.ffcv_python)
        if args.only:
            readers = [r for r in readers if r.name in args.only.split(";")]
        for reader in readers:
            reader.start()
        for _ in range(args.rounds):
            for reader in readers:
                reader.turn(args.seconds)
        for reader in readers:
            reader.stop()
    report(readers, args)


def prepare(work: pathlib.Path, count: int, ffcv_python: str | None) -> list[Reader]:
    """Makes what is not there yet: photographs, two datasets, FFCV's file. Returns the readers, not started."""
    photos, uint8, float16, beton = (work / name for name in ("photos", "uint8", "float16", "ffcv/images.beton"))
    if not photos.exists():
        measure.collect(photos, count)
    for data in (uint8, float16):
        if not (data / "contract.json").exists():
            measure.run([sys.executable, "-m", "pipelines", "prepare", "--input", str(photos), "--output", str(data),
                         "--encoding", data.name, "--splits", "train=1", "--max-reject-rate", "0"])  # fmt: skip
    if ffcv_python and subprocess.run([ffcv_python, "-c", "import ffcv"], capture_output=True).returncode:
        print(f"FFCV is left out: {ffcv_python} cannot import it")
        ffcv_python = None
    if ffcv_python and not beton.exists():
        beton.parent.mkdir(exist_ok=True)
        measure.run([sys.executable, "-c", EXPORT, str(uint8), str(beton.parent)])
        measure.run([ffcv_python, READERS, "write_ffcv", str(beton.parent)])
    ours, peer = sys.executable, ffcv_python
    kinds = [
        ("uint8", ours, "shardmill", str(uint8)),
        ("float16", ours, "shardmill", str(float16)),
        ("uint8 for the device", ours, "shardmill_stored", str(uint8)),
        ("float16 for the device", ours, "shardmill_stored", str(float16)),
        ("uint8, batches", ours, "in_python", str(uint8)),
        ("float16, batches", ours, "in_python", str(float16)),
        ("uint8 for the device, batches", ours, "in_python_stored", str(uint8)),
        ("float16 for the device, batches", ours, "in_python_stored", str(float16)),
        ("uint8 as remote", ours, "shardmill", f"file://{uint8}"),
        ("float16 as remote", ours, "shardmill", f"file://{float16}"),
        ("FFCV", peer, "ffcv", str(beton)),
        ("FFCV, 8-bit", peer, "ffcv_stored", str(beton)),
        ("FFCV, float16", peer, "ffcv_half", str(beton)),
        ("Keras from JPEG", ours, "keras", str(photos)),
        ("memcpy", ours, "memcpy", ""),
        ("memcpy, 8-bit", ours, "memcpy_stored", ""),
    ]
    return [Reader(name, [python, READERS, kind, path]) for name, python, kind, path in kinds if python]


RATIOS = [
    ("uint8", "FFCV"),
    ("uint8, batches", "FFCV"),
    ("uint8, batches", "uint8"),
    ("float16", "FFCV"),
    ("float16, batches", "FFCV"),
    ("float16, batches", "float16"),
    ("uint8 for the device", "FFCV, 8-bit"),
    ("uint8 for the device, batches", "FFCV, 8-bit"),
    ("uint8 for the device, batches", "uint8 for the device"),
    ("uint8 for the device", "memcpy, 8-bit"),
    ("float16 for the device", "FFCV, float16"),
    ("float16 for the device, batches", "FFCV, float16"),
    ("float16 for the device, batches", "float16 for the device"),
    ("uint8 as remote", "uint8"),
    ("float16 as remote", "float16"),
]


def report(readers: list[Reader], args: argparse.Namespace) -> None:
    print(f"{args.count} photographs, {args.rounds} rounds of {args.seconds} s: medians (least to greatest)")
    for r in readers:
        begun = f"{measure.spread(r.begun)} ms" if r.begun else "not read"
        print(
            f"{r.name:<32} images/s {measure.spread(r.rates)}, CPU-s/1k {measure.spread(r.costs)}, first batch "
            f"{r.first:.2f} s, of an epoch {begun}, memory {measure.spread(r.memory)} MB"
        )
    by_name = {r.name: r for r in readers}
    for one, other in RATIOS:
        if one in by_name and other in by_name:
            a, b = by_name[one], by_name[other]
            values = [
                measure.spread([x / y for x, y in zip(*both, strict=True)])
                for both in ((a.rates, b.rates), (a.costs, b.costs), (a.memory, b.memory))
            ]
            print(f"{one} / {other}: images/s {values[0]}, CPU-s {values[1]}, memory {values[2]}")


if __name__ == "__main__":
    main()
