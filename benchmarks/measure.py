"""What every benchmark shares: real photographs in any number, and the cost of commands with all their children.

CPU-seconds are user plus system of the whole process tree: the steadiest figure on a shared machine. Peak memory is
the largest sum over the tree, sampled twice a second, of what each process holds for itself plus its part of what
it shares (PSS, which Linux tells).
"""

from __future__ import annotations

import dataclasses
import io
import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import psutil
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
SAMPLE_SECONDS = 0.1
MEMORY_EVERY = 5  # samples: asking for memory costs the system a walk over its pages


@dataclasses.dataclass(frozen=True)
class Cost:
    """What running some commands side by side took."""

    wall: float  # seconds
    cpu: float  # seconds, user and system
    peak: float  # MB, of all processes together


def photographs() -> list[pathlib.Path]:
    """The real photographs below SHARDMILL_DATA; stops with a sentence where there are none."""
    folder = os.environ.get("SHARDMILL_DATA")
    if not folder:
        sys.exit("Set SHARDMILL_DATA to a folder of collections of class folders of JPEG photographs.")
    found = sorted(p for p in pathlib.Path(folder).glob("*/*/*.jpg") if "odd" not in p.parts)
    if not found:
        sys.exit(f"SHARDMILL_DATA={folder} holds no COLLECTION/CLASS/*.jpg.")
    return found


def collect(folder: pathlib.Path, count: int, side: tuple[int, int] | None = None) -> list[pathlib.Path]:
    """`count` JPEGs of distinct content: the real ones, repeated under other names with some bytes after the end.

    side: width and height in pixels to enlarge them to, ten of them only; None: as they are.
    """
    sources = photographs()
    if side:
        sources = sources[:: len(sources) // 10]
    contents = {source: _enlarged(source, side) for source in sources} if side else {}
    made = []
    for i in range(count):
        source = sources[i % len(sources)]
        target = folder / source.parent.name / f"{i:06d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((contents.get(source) or source.read_bytes()) + b"%06d" % i)
        made.append(target)
    return made


def _enlarged(source: pathlib.Path, side: tuple[int, int]) -> bytes:
    out = io.BytesIO()
    Image.open(source).convert("RGB").resize(side, Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def run(*commands: Sequence[str], env: dict[str, str] | None = None) -> Cost:
    """The cost of commands run side by side; stops with their last lines if one fails."""
    started = time.monotonic()
    environment = {**os.environ, **(env or {})}
    running = [
        subprocess.Popen(c, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for c in commands
    ]
    watch = _Watch([psutil.Process(p.pid) for p in running])
    watch.start()
    for process in running:
        _, errors = process.communicate()
        if process.returncode:
            sys.exit(f"{' '.join(process.args)[:300]} failed ({process.returncode}):\n{errors.decode()[-2000:]}")
    wall = time.monotonic() - started
    watch.stop()
    return Cost(wall, sum(watch.cpu.values()), watch.peak)


class _Watch(threading.Thread):
    """Looks at whole process trees ten times a second, at their memory twice.

    The system's own account of ended children leaves out those that nobody waited for; this one adds up what each
    process had used when last seen, at most a tenth of a second before its end.
    """

    def __init__(self, roots: list[psutil.Process]):
        super().__init__(daemon=True)
        self._roots = roots
        self._done = threading.Event()
        self._looks = 0
        self.cpu: dict[tuple[int, float], float] = {}
        self.peak = 0.0

    def run(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self._look()

    def stop(self) -> None:
        self._done.set()
        self.join()

    def _look(self) -> None:
        total = 0.0
        self._looks += 1
        for process in self._tree():
            try:
                times = process.cpu_times()
                self.cpu[process.pid, process.create_time()] = times.user + times.system
                if self._looks % MEMORY_EVERY == 0:
                    total += process.memory_full_info().pss / 1e6
            except psutil.Error:
                continue
        self.peak = max(self.peak, total)

    def _tree(self) -> list[psutil.Process]:
        tree = list(self._roots)
        for root in self._roots:
            try:
                tree += root.children(recursive=True)
            except psutil.Error:
                continue
        return tree


def limited(command: Sequence[str], megabytes: int) -> list[str]:
    """The command in a control group with so much memory for its whole tree, page cache included; needs root."""
    for root, file in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = pathlib.Path(root) / "shardmill-benchmark"
        try:
            group.mkdir(exist_ok=True)
            (group / file).write_text(str(megabytes << 20))
        except OSError:
            continue
        return ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command]
    sys.exit("No control group can be made here to limit memory with: run as root on a system with control groups.")


def middle(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """median (least to greatest)"""
    return f"{middle(values):.3g} ({min(values):.3g} to {max(values):.3g})"
