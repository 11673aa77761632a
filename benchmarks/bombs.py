"""What decompression bombs cost: peak memory of `prepare` with and without them, and the seconds that each takes.

    SHARDMILL_DATA=/folder python benchmarks/bombs.py --count 1000

The bombs are those of tests/support/files/images.py: a few bytes that claim billions of pixels, thousands of frames or
hundreds of megabytes of text, and the largest pictures that the limits allow.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import sys
import tempfile
import time

import measure
import prepare

sys.path.insert(0, str(measure.ROOT))

from pipelines.config import PrepareConfig
from pipelines.core.elements import Ref, Source
from pipelines.records.record_spec import RecordSpec
from pipelines.workers.pool import Workers
from pipelines.workers.worker_process import TaskLostError
from tests.support.files import images

SIDE = 8192  # 64 Mpx: the largest that --max-pixels allows


def largest() -> dict[str, bytes]:
    """Whole pictures at the limit, of few bytes and many."""
    return {
        f"largest {name}.png": images.flat_png(SIDE, SIDE, depth, color)
        for name, depth, color in (("RGB", 8, 2), ("RGBA", 8, 6), ("RGBA 16-bit", 16, 6))
    }


def outcome(pool: Workers, path: pathlib.Path, spec: RecordSpec) -> tuple[str, float]:
    """(the reason of its reject or "written", seconds) of one file, header and pixels."""
    started = time.monotonic()
    try:
        source = Source(path.name, str(path), "bomb", "", "", 1.0)
        made = pool.submit("fingerprint", (spec.limits,), [(source,)], spec.limits.image_timeout)[0].result()
        if isinstance(made, Ref):
            made = pool.submit("make", (spec,), [(made, 0, 0, "train", False)], spec.limits.image_timeout)[0].result()
        reason = getattr(made, "reason", "written")
    except TaskLostError as e:
        reason = e.reason
    return reason, time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        measure.collect(work / "in", args.count)
        bombs = {name: data for name, (data, _) in images.bombs().items()} | largest()
        (work / "bombs").mkdir()
        for name, data in bombs.items():
            (work / "bombs" / name).write_bytes(data)
        pool, spec = Workers(1), PrepareConfig(input="in", allow_outside=True, output="out").record_spec
        outcome(pool, sorted((work / "in").glob("*/*"))[0], spec)  # not the worker's start
        for name, data in bombs.items():
            reason, seconds = outcome(pool, work / "bombs" / name, spec)
            print(f"{name:<24} {len(data):>10} bytes {seconds:6.2f} s  {reason}", flush=True)
        peaks: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(args.runs):
            for with_bombs in (False, True):
                if with_bombs:
                    shutil.copytree(work / "bombs", work / "in/bomb")
                command = [*prepare.ours(work / "in", work / "out", "uint8")[:-1], "1"]  # --max-reject-rate
                peaks[with_bombs].append(measure.run(command).peak)
                rejected = json.loads((work / "out/contract.json").read_text())["rejected"]
                shutil.rmtree(work / "out")
                shutil.rmtree(work / "in/bomb", ignore_errors=True)
        print(f"rejected: {rejected}")
        more = measure.middle(peaks[True]) - measure.middle(peaks[False])
        print(f"{args.count} photographs: peak MB {measure.spread(peaks[False])}")
        print(f"with the bombs: {measure.spread(peaks[True])}, {more:.0f} more")


if __name__ == "__main__":
    main()
