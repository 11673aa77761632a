"""What `prepare` costs at a size: time by phase, CPU and memory by process, bytes shuffled, files that are left.

    python benchmarks/scale.py --count 10000 100000 1000000 --shards 200 --after
    python benchmarks/scale.py --count 100000 --shape equal one-group many-classes half-rejected left-out one-shard
    python benchmarks/scale.py --count 1000000 --shuffled

The inputs are PNG files of 8x8 pixels, each another unless the shape says so: nearly nothing to decode, so that what is
left is what the program does for a reference. Everything runs as it does for a user: `python -m pipelines prepare`.
The phases are told by the files that the run leaves in its work directory.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import measure
import psutil

SIDE = 8  # pixels
LOOK_SECONDS = 0.5
MEMORY_SECONDS = 3.0  # asking for it costs the system a walk over the pages
CLASSES = 100
ROLES = ("program", "forker", "workers", "analysis")
OPENING = """
import json, resource, sys, time
started = time.monotonic()
def since(): return round(time.monotonic() - started, 2)
from pipelines import contract
c = contract.load(sys.argv[1])
told = {"contract": since()}
from trainer import dataset
told["libraries"] = since()
batches = dataset.load(sys.argv[1], "train", batch_size=64)
told["opened"] = since()
next(iter(batches))
told["first batch"] = since()
told["peak MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
print(json.dumps(told))
"""


@dataclasses.dataclass(frozen=True)
class Shape:
    """What is special about an input.

    label, content: of image i of n.
    group: in a manifest; "": the input is a folder.
    flags: that `prepare` is given.
    like: the shape whose input this one takes; "": it has its own.
    """

    label: Callable[[int], str] = lambda i: f"class-{i % CLASSES:03d}"
    content: Callable[[int], bytes] = lambda i: png(i)
    group: Callable[[int], str] | None = None
    flags: tuple[str, ...] = ()
    like: str = ""


SHAPES = {
    "plain": Shape(),
    "manifest": Shape(group=lambda i: ""),
    "groups": Shape(group=lambda i: f"group-{i // 10}"),
    "equal": Shape(content=lambda i: png(0)),
    "one-class": Shape(label=lambda i: "class"),
    "one-group": Shape(group=lambda i: "group"),
    "many-classes": Shape(label=lambda i: f"class-{i % 10_000:05d}"),
    "rejected": Shape(content=lambda i: b"no image"),
    "half-rejected": Shape(content=lambda i: png(i) if i % 2 else b"no image", flags=("--max-reject-rate", "0.6")),
    "left-out": Shape(flags=("--balance", "uniform=10"), like="plain"),
    "copied": Shape(label=lambda i: f"class-{i % 10 == 0:d}", flags=("--balance", "uniform")),
    "one-shard": Shape(flags=("--shards", "1"), like="plain"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--shape", choices=SHAPES, nargs="+", default=["plain"])
    parser.add_argument("--shards", type=int, default=200, help="of each split")
    parser.add_argument("--encoding", default="float16")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for inputs, kept for the next time")
    parser.add_argument("--after", action="store_true", help="also verify, inspect and open what was made")
    parser.add_argument("--shuffled", action="store_true", help="only tell how many bytes are shuffled")
    args, flags = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as temporary:
        for name, count in itertools.product(args.shape, args.count):
            found = make_input(args.keep or pathlib.Path(temporary), name, count)
            out = pathlib.Path(temporary) / "out"
            if args.shuffled:
                told = shuffled(str(found), args.shards)
            else:
                told = run(found, out, args, [*SHAPES[name].flags, *flags])
            print(json.dumps({"shape": name, "count": count, **told}, indent=1), flush=True)
            shutil.rmtree(out, ignore_errors=True)
            if not args.keep:
                shutil.rmtree(folder_of(pathlib.Path(temporary), name, count))


def png(number: int) -> bytes:
    """A PNG file of 8x8 RGB pixels that only this number has."""
    pixels = hashlib.shake_128(number.to_bytes(8, "big")).digest(SIDE * SIDE * 3)
    rows = b"".join(b"\0" + pixels[i : i + 3 * SIDE] for i in range(0, len(pixels), 3 * SIDE))
    header = SIDE.to_bytes(4, "big") * 2 + bytes((8, 2, 0, 0, 0))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def folder_of(where: pathlib.Path, name: str, count: int) -> pathlib.Path:
    return where / f"{SHAPES[name].like or name}-{count}"


def make_input(where: pathlib.Path, name: str, count: int) -> pathlib.Path:
    """The folder, or the manifest, of `count` images of a shape: a folder a class."""
    shape, folder = SHAPES[name], folder_of(where, name, count)
    manifest = folder / "images.csv"
    if not (folder / ".whole").exists():
        shutil.rmtree(folder, ignore_errors=True)
        for label in {shape.label(i) for i in range(count)}:
            (folder / label).mkdir(parents=True)
        rows = ["path,label,group"]
        for i in range(count):
            path = f"{shape.label(i)}/{i:09d}.png"
            with open(folder / path, "wb", buffering=0) as file:
                file.write(shape.content(i))
            if shape.group:
                rows.append(f"{path},{shape.label(i)},{shape.group(i)}")
        if shape.group:
            manifest.write_text("\n".join(rows) + "\n")
        (folder / ".whole").touch()  # hidden: no input
    return manifest if shape.group else folder


def run(source: pathlib.Path, out: pathlib.Path, args: argparse.Namespace, flags: list[str]) -> dict[str, Any]:
    """Prepares the input and tells what it took, and what is there afterwards."""
    command = [
        sys.executable, "-m", "pipelines", "prepare", "--input", str(source), "--output", str(out), "--name", "scale",
        "--size", f"{SIDE}x{SIDE}", "--encoding", args.encoding, "--shards", str(args.shards), *flags,
    ]  # fmt: skip
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=measure.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    watch = Watch(psutil.Process(process.pid), out, started)
    watch.start()
    _, errors = process.communicate()
    wall = time.monotonic() - started
    watch.stop()
    told = {"wall s": round(wall, 1), "exit": process.returncode, **watch.result()}
    if process.returncode:
        return {**told, "said": errors.strip().splitlines()[-1][:600]}
    told["left"] = sizes(out)
    if args.after:
        told["after"] = afterwards(out)
    return told


class Watch(threading.Thread):
    """Notes when each phase of a run ends, and what its processes take: CPU-seconds and peak memory by role."""

    def __init__(self, root: psutil.Process, out: pathlib.Path, started: float):
        super().__init__(daemon=True)
        self._root, self._out, self._work, self._since = root, out, out / ".shardmill", started
        self._done = threading.Event()
        self._roles: dict[psutil.Process, str] = {}
        self._cpu: dict[psutil.Process, float] = {}
        self._peaks: collections.Counter[str] = collections.Counter()
        self._total_peak = 0.0
        self._remembered = 0.0
        self._seen: dict[str, tuple[float, float]] = {}  # phase -> seconds since the start, CPU-seconds
        self._reading: tuple[float, float] = (0.0, 0.0)  # when workers were last busy before the plan
        self._planned = 0
        self._busy = 0.0

    def run(self) -> None:
        while not self._done.wait(LOOK_SECONDS):
            self._look()

    def stop(self) -> None:
        self._done.set()
        self.join()

    def result(self) -> dict[str, Any]:
        phases = dict(self._seen)
        if "plan" in phases:
            phases["fingerprints"] = self._reading
        told, before = {}, (0.0, 0.0)
        for name, at in sorted(phases.items(), key=lambda item: item[1]):
            told[name] = {"wall s": round(at[0] - before[0], 1), "CPU s": round(at[1] - before[1], 1)}
            before = at
        by_role: collections.Counter[str] = collections.Counter()
        for process, seconds in self._cpu.items():
            by_role[self._roles[process]] += seconds  # type: ignore[assignment]
        return {
            "CPU s": round(sum(self._cpu.values()), 1),
            "CPU s by role": {role: round(by_role[role], 1) for role in ROLES},
            "peak MB": round(self._total_peak),
            "peak MB by role": {role: round(self._peaks[role]) for role in ROLES},
            "phases": told,
        }

    def _look(self) -> None:
        now = time.monotonic()
        with_memory = now - self._remembered > MEMORY_SECONDS
        held: collections.Counter[str] = collections.Counter()
        for process in self._tree():
            try:
                times = process.cpu_times()
                self._cpu[process] = times.user + times.system
                unknown = with_memory and "analysis" not in self._roles.values()
                if unknown or process not in self._roles:
                    self._roles[process] = self._role(process)
                if with_memory:
                    held[self._roles[process]] += process.memory_full_info().pss / 1e6
            except psutil.Error:
                continue
        if with_memory:
            self._remembered = now
            self._total_peak = max(self._total_peak, sum(held.values()))
            for role, megabytes in held.items():
                self._peaks[role] = max(self._peaks[role], megabytes)
        self._note_phases(now - self._since, sum(self._cpu.values()))

    def _note_phases(self, seconds: float, cpu: float) -> None:
        present = _names(self._work)
        found = {
            "listed": "listed" in present,
            "plan": "plan.json" in present,
            "analysis": "affine.json" in present,
            "counted": "beside" in present,
            "published": "contract.json" in _names(self._out),
        }
        if found["plan"] and not self._planned:
            with_plan = json.loads((self._work / "plan.json").read_text())
            self._planned = sum(with_plan["shards"].values())
        for phase, folder in (("staged", "staged"), ("finished", "shards")):
            if self._planned and phase not in self._seen:
                found[phase] = sum(n.endswith(".json") for n in _names(self._work / folder)) == self._planned
        for phase, there in found.items():
            if there:
                self._seen.setdefault(phase, (seconds, cpu))
        busy = sum(s for process, s in self._cpu.items() if self._roles.get(process) == "workers")
        if "plan" not in self._seen and busy - self._busy > 0.2 * LOOK_SECONDS:
            self._reading = (seconds, cpu)
        self._busy = busy

    def _role(self, process: psutil.Process) -> str:
        if process == self._root:
            return "program"
        if process.ppid() == self._root.pid:
            return "forker"
        # Of the forked ones, only the process of the analysis loads Beam.
        return "analysis" if any("apache_beam" in m.path for m in process.memory_maps()) else "workers"

    def _tree(self) -> Iterator[psutil.Process]:
        yield self._root
        try:
            yield from self._root.children(recursive=True)
        except psutil.Error:
            return


def _names(folder: pathlib.Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def sizes(out: pathlib.Path) -> dict[str, Any]:
    """Files and bytes of a dataset."""
    files = {path.relative_to(out).as_posix(): path.stat().st_size for path in out.rglob("*") if path.is_file()}
    folders: collections.Counter[str] = collections.Counter()
    for name, size in files.items():
        folders["shards" if ".tfrecord-" in name and "/" not in name else name.partition("/")[0]] += size
    named = ("shards", "ledger", "rejects", "contract.json", "report.html", "stats")
    return {"files": len(files), "bytes": {name: folders[name] for name in named}}


def afterwards(out: pathlib.Path) -> dict[str, Any]:
    """What `verify`, `inspect` and the trainer's opening take."""
    told = {}
    for command in ("verify", "inspect"):
        cost = measure.run([sys.executable, "-m", "pipelines", command, str(out)])
        told[command] = {"wall s": round(cost.wall, 1), "CPU s": round(cost.cpu, 1), "peak MB": round(cost.peak)}
    opened = subprocess.run(
        [sys.executable, "-c", OPENING, str(out)], cwd=measure.ROOT, capture_output=True, text=True, check=True
    )
    return {**told, "trainer": json.loads(opened.stdout.splitlines()[-1])}


def shuffled(source: str, shards: int) -> dict[str, Any]:
    """Bytes that cross each shuffle, a reference: the stages' own functions, called without an engine."""
    sys.path.insert(0, str(measure.ROOT))
    from pipelines.config import PrepareConfig
    from pipelines.core.elements import Ref, unpack
    from pipelines.core.hashing import POSITIONS
    from pipelines.job import split_units, stages, worker_tasks
    from pipelines.plan import balance, plan

    config = PrepareConfig(input=source, output="out/scale", size=(SIDE, SIDE), shards=shards)
    batches = [batch for batch in stages.list_batches("", config.input_spec) if isinstance(batch, tuple)]
    total = sum(count for count, _ in batches)
    crossed: dict[str, list[int]] = {"SpreadBatches": [len(packed) for _, packed in batches]}
    crossed["GroupEqual"], crossed["ShardToItems"] = [], []
    buckets: dict[int, list[bytes]] = collections.defaultdict(list)
    for _, packed in batches:
        read = (worker_tasks.fingerprint(source, config.limits, config.source_policy) for source in unpack([packed]))
        refs = [ref for ref in read if isinstance(ref, Ref)]
        for bucket, part in split_units.in_buckets(((ref.digest, ref) for ref in refs), total):
            crossed["GroupEqual"].append(len(part))
            buckets[bucket].append(part)
    everywhere = collections.defaultdict(lambda: [(POSITIONS, "train")])
    copies: dict[str, balance.Copies] = collections.defaultdict(lambda: balance.Copies(1, 0))
    made = plan.Plan((), {}, {"train": total}, {"train": shards}, copies)
    for item in buckets.items():
        for element in split_units.assign_split(item, config.duplicates, config.seed, everywhere):
            if isinstance(element, bytes):
                crossed["ShardToItems"] += [len(part) for _, part in stages.assign_shard(element, config.seed, made)]
    return {
        name: {"elements": len(parts), "bytes a reference": round(sum(parts) / total, 1)}
        for name, parts in crossed.items()
    }


if __name__ == "__main__":
    main()
