"""What the deadline of each image costs: the same calls to one worker with it and without it, in turn.

SHARDMILL_DATA=/folder python benchmarks/deadline.py
"""

from __future__ import annotations

import argparse
import sys
import time

import measure

sys.path.insert(0, str(measure.ROOT))

from pipelines.config import PrepareConfig
from pipelines.core.elements import Source
from pipelines.records.record_spec import RecordSpec
from pipelines.workers.pool import Workers

BATCH = 8  # as ordered_records.py asks


def seconds(pool: Workers, spec: RecordSpec, sources: list[Source], deadline: float | None) -> float:
    """How long reading the headers of the sources and making a record of each takes."""
    started = time.perf_counter()
    parts = [sources[i : i + BATCH] for i in range(0, len(sources), BATCH)]
    asked = [f for part in parts for f in pool.submit("fingerprint", (spec.limits,), [(s,) for s in part], deadline)]
    refs = [future.result() for future in asked]
    items = [[(ref, 0, 0, "train", False) for ref in refs[i : i + BATCH]] for i in range(0, len(refs), BATCH)]
    made = [f for part in items for f in pool.submit("make", (spec,), part, deadline)]
    for future in made:
        future.result()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--chunk", type=int, default=250, help="photographs before the other takes its turn")
    args = parser.parse_args()
    paths = measure.photographs()
    sources = [Source(str(i), str(paths[i % len(paths)]), "x", "", "", 1.0) for i in range(args.count)]
    pool, spec = Workers(2), PrepareConfig(input="in", allow_outside=True, output="out", encoding="uint8").record_spec
    seconds(pool, spec, sources[: args.chunk], None)  # files cached, kernels found
    ratios, totals = [], {None: 0.0, 60.0: 0.0}
    for number, start in enumerate(range(0, args.count, args.chunk)):
        took = {}
        for deadline in (None, 60.0) if number % 2 else (60.0, None):
            took[deadline] = seconds(pool, spec, sources[start : start + args.chunk], deadline)
            totals[deadline] += took[deadline]
        ratios.append(took[60.0] / took[None])
    print(f"{args.count} photographs, {len(ratios)} turns each: with a deadline / without {measure.spread(ratios)}; "
          f"{args.count / totals[60.0]:.0f} and {args.count / totals[None]:.0f} images/s in all")  # fmt: skip


if __name__ == "__main__":
    main()
