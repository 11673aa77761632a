"""What every benchmark shares: real photographs in any number, and the cost of commands with all their children.

CPU-seconds are user plus system of the whole process tree: the steadiest figure on a shared machine. Peak memory is
the largest sum over the tree, sampled ten times a second, of what each process holds for itself plus its part of what
it shares (PSS); where the system does not tell that, of resident sets.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import psutil

ROOT = pathlib.Path(__file__).resolve().parent.parent
SAMPLE_SECONDS = 0.1


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


def collect(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    """`count` JPEGs of distinct content: the real ones, repeated under other names with some bytes after the end."""
    sources = photographs()
    made = []
    for i in range(count):
        source = sources[i % len(sources)]
        target = folder / source.parent.name / f"{i:06d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes() + b"%06d" % i)
        made.append(target)
    return made


def run(*commands: Sequence[str], env: dict[str, str] | None = None) -> Cost:
    """The cost of commands run side by side; stops with their last lines if one fails."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, **(env or {})}
    running = [
        subprocess.Popen(c, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for c in commands
    ]
    peak, done = [0.0], threading.Event()
    watcher = threading.Thread(target=_watch, args=([p.pid for p in running], peak, done), daemon=True)
    watcher.start()
    for process in running:
        _, errors = process.communicate()
        if process.returncode:
            sys.exit(f"{' '.join(process.args)[:300]} failed ({process.returncode}):\n{errors.decode()[-2000:]}")
    wall = time.monotonic() - started
    done.set()
    watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak[0])


def middle(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """median (least to greatest)"""
    return f"{middle(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def _watch(pids: list[int], peak: list[float], done: threading.Event) -> None:
    while not done.wait(SAMPLE_SECONDS):
        peak[0] = max(peak[0], sum(_tree_megabytes(pid) for pid in pids))


def _tree_megabytes(pid: int) -> float:
    total = 0.0
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0.0
    for process in tree:
        try:
            # PSS costs the kernel a walk over the pages: only where there is something shared to divide.
            info = process.memory_full_info() if len(tree) > 1 else process.memory_info()
            total += getattr(info, "pss", info.rss) / 1e6
        except psutil.Error:
            continue
    return total
