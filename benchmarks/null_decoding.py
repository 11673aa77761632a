"""How many images a second the program's own process keeps up with, if decoding costs nothing.

    python benchmarks/null_decoding.py [--counts 2000 20000] [--runs 3] [--side 128]

The workers answer with a reference and with a record of gray pixels at once (`null_tasks.py`), so what is left is the
work of the process that lists, plans and publishes: the limit of a machine with many cores. The inputs are empty files.
The slope between the counts leaves out what a run costs once.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipelines.workers import pool  # noqa: E402

ONE_RUN = """
import json, sys, time
from benchmarks import null_decoding
from pipelines.cli import main
from pipelines.workers import pool
pool.decoders = null_decoding.decoders
source, output, side, workers, *flags = sys.argv[1:]
wall, cpu = time.perf_counter(), time.process_time()
sys.argv = ["prepare"]
status = main.main(["prepare", "--input", source, "--output", output, "--size", f"{side}x{side}", "--encoding", "uint8",
                    "--workers", workers, *flags])
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]))
sys.exit(status)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--counts", type=int, nargs=2, default=[2000, 20000], metavar=("FROM", "TO"))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--side", type=int, default=128, help="of the gray images, in pixels (default: 128)")
    parser.add_argument("--workers", type=int, default=2)
    arguments, flags = parser.parse_known_args()
    medians = []
    for count in arguments.counts:
        runs = [one_run(count, arguments, flags) for _ in range(arguments.runs)]
        walls, cpus = zip(*runs, strict=True)
        print(f"{count:>7} images: wall {spread(walls)} s, CPU of this process {spread(cpus)} s", flush=True)
        medians.append((statistics.median(walls), statistics.median(cpus)))
    more = arguments.counts[1] - arguments.counts[0]
    wall, cpu = (after - before for before, after in zip(*medians, strict=True))
    print(f"slope: {more / wall:,.0f} images/s, {1000 * cpu / more:.3f} CPU-s for a thousand images")


def one_run(count: int, arguments: argparse.Namespace, flags: list[str]) -> tuple[float, float]:
    """Returns the wall time and this process's CPU time of a run, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        for i in range(count):
            name = pathlib.Path(folder, "in", f"class-{i % 10}", f"{i:07d}.jpg")
            name.parent.mkdir(parents=True, exist_ok=True)
            name.touch()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-c", ONE_RUN, f"{folder}/in", f"{folder}/out", str(arguments.side)]
        done = subprocess.run(
            [*command, str(arguments.workers), *flags], capture_output=True, text=True, env=environment, cwd=ROOT
        )
        if done.returncode:
            sys.exit(done.stderr[-3000:])
        wall, cpu = json.loads(done.stdout.splitlines()[-1])
        return wall, cpu


def decoders(configured: int, source: str) -> pool.Workers:
    """Returns workers that run the tasks of `null_tasks`; it stands in the place of `pool.decoders`."""
    return pool.shared(pool.usual_count(configured), "decoders", source, module="benchmarks.null_tasks")


def spread(values: tuple[float, ...]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
