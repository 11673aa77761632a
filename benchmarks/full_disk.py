"""Runs `prepare` on disks that are too small, gives it room, and compares the shards.

    SHARDMILL_DATA=/folder python benchmarks/full_disk.py [--disks 8] [--photographs 120]   # as root

The output lies on a tmpfs of so many sizes, from a few KB to one that is only just too small: so the disk fills in
every stage of a run. On each, the run ends with one sentence and not with a traceback, and an earlier dataset in the
same folder is as it was. The same command with more room continues, and comes to the shards of a run that never
lacked any. Linux only, because it mounts file systems. A line for each disk; exit status 1 where that is not so.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import measure
from soak_prepare import SoakError, digests

OPTIONS = ["--size", "64", "--encoding", "float16", "--shards", "3", "--balance", "uniform", "--seed", "0"]
OLD = ["--size", "16", "--encoding", "uint8"]
STEP = 64 << 10  # bytes; a disk is that much larger than the one before the last that is too small


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--disks", type=int, default=8)
    parser.add_argument("--photographs", type=int, default=120)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="full-disk-") as folder:
        try:
            fill(pathlib.Path(folder), arguments.disks, arguments.photographs)
        except SoakError as e:
            print(f"failed: {e}")
            return 1
    return 0


def fill(work: pathlib.Path, disks: int, photographs: int) -> None:
    """Raises SoakError where a full disk does harm."""
    measure.collect(work / "photographs", photographs)
    expected, most = _needed(work)
    print(f"a run of {photographs} photographs writes at most {most:,} bytes at a time")
    (work / "disk").mkdir()
    out = work / "disk" / "out"
    for number in range(disks):
        # Half of the disks are spread over all sizes. The others are close to the end, where publishing begins.
        share = number / disks if number % 2 == 0 else 1 - 0.4 / (number + 1) ** 1.5
        size = max(STEP, int(share * most) // STEP * STEP)
        with _mounted(work / "disk", 16 * most):
            _run(work, out, OLD)
            old = digests(out)
            used = sum(f.stat().st_size for f in (work / "disk").rglob("*") if f.is_file())
            _resize(work / "disk", used + size)
            ended = _run(work, out, OPTIONS, check=False)
            told = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
            if ended.returncode and digests(out) != old:
                raise SoakError(f"{size:,} bytes: the earlier dataset has changed:\n{ended.stderr}")
            if ended.returncode and (len(told) != 1 or "Traceback" in ended.stderr):
                raise SoakError(f"{size:,} bytes: not one sentence:\n{ended.stderr}")
            _resize(work / "disk", 16 * most)
            _run(work, out, OPTIONS)
            if digests(out) != expected:
                raise SoakError(f"{size:,} bytes: with room the run came to other shards")
        print(f"{size:>12,} bytes of room: status {ended.returncode}, {told[0] if told else 'enough'}", flush=True)


def _needed(work: pathlib.Path) -> tuple[dict[str, str], int]:
    """Returns the shards of a run with room, and the most bytes that its folder took at a time."""
    (work / "wide").mkdir()
    with _mounted(work / "wide", 8 << 30):
        program = subprocess.Popen(_line(work, work / "wide" / "out", OPTIONS), cwd=measure.ROOT,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        most = 0
        while program.poll() is None:
            told = os.statvfs(work / "wide")
            most = max(most, (told.f_blocks - told.f_bfree) * told.f_frsize)
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(0.02)
        if program.returncode:
            raise SoakError(f"the run with room ended with status {program.returncode}")
        return digests(work / "wide" / "out"), most


def _line(work: pathlib.Path, out: pathlib.Path, options: list[str]) -> list[str]:
    return [sys.executable, "-m", "pipelines", "prepare", "--input", str(work / "photographs"), "--output", str(out),
            *options]  # fmt: skip


def _run(
    work: pathlib.Path, out: pathlib.Path, options: list[str], check: bool = True
) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(_line(work, out, options), cwd=measure.ROOT, capture_output=True, text=True, timeout=600)
    if check and ended.returncode:
        raise SoakError(f"status {ended.returncode} with room:\n{ended.stderr}")
    return ended


@contextlib.contextmanager
def _mounted(folder: pathlib.Path, size: int) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _resize(folder: pathlib.Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


if __name__ == "__main__":
    sys.exit(main())
