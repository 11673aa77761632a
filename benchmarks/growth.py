"""How the cost of `prepare` grows: start-up, CPU-seconds and peak memory from 100 images up.

    SHARDMILL_DATA=/folder python benchmarks/growth.py --counts 100 2000 5000 16000 50000

Start-up is held against importing the libraries alone, and the slope between two counts against that of the bare loop
of `prepare.py`. Real photographs, repeated under other names with another end, so that no two are equal.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import sys
import tempfile

import measure
import prepare

IMPORTS = "import tensorflow, apache_beam, tensorflow_transform"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 2000, 5000, 16000, 50000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--slope", type=int, nargs=2, default=[2000, 16000], metavar=("FROM", "TO"))
    parser.add_argument("--encoding", default="uint8")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the photographs, kept for the next time")
    parser.add_argument("--side", help="WIDTHxHEIGHT in pixels to enlarge the photographs to; default: as they are")
    parser.add_argument("--megabytes", type=int, default=0, help="run `prepare` in a control group with so much memory")
    args, flags = parser.parse_known_args()
    width, _, height = (args.side or "").partition("x")
    side = (int(width), int(height)) if args.side else None
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        imports = [measure.run([sys.executable, "-c", IMPORTS]) for _ in range(args.runs)]
        print(f"imports alone: wall {measure.spread([c.wall for c in imports])} s, "
              f"CPU {measure.spread([c.cpu for c in imports])} s")  # fmt: skip
        print(f"{'images':>7}  {'wall s':<22} {'CPU s':<22} {'peak MB':<22} bare loop's CPU s")
        ours: dict[int, list[measure.Cost]] = {}
        bare: dict[int, list[measure.Cost]] = {}
        for count in sorted(args.counts):
            folder = (args.keep or work) / f"photos-{args.side or ''}{count}"
            paths = sorted(folder.glob("*/*.jpg")) if folder.is_dir() else measure.collect(folder, count, side)
            commands = prepare.bare_loop(paths, work)
            for _ in range(args.runs):
                if count in args.slope:
                    bare.setdefault(count, []).append(measure.run(*commands))
                command = [*prepare.ours(folder, work / "out", args.encoding), *flags]
                if args.megabytes:
                    command = measure.limited(command, args.megabytes)
                ours.setdefault(count, []).append(measure.run(command))
                shutil.rmtree(work / "out")
            print(f"{count:>7}  " + " ".join(
                f"{measure.spread([getattr(c, what) for c in ours[count]]):<22}" for what in ("wall", "cpu", "peak")
            ) + (f" {measure.spread([c.cpu for c in bare[count]])}" if count in bare else ""), flush=True)  # fmt: skip
            if not args.keep:
                shutil.rmtree(folder)
        report(ours, bare, imports, args.slope)


def report(
    ours: dict[int, list[measure.Cost]],
    bare: dict[int, list[measure.Cost]],
    imports: list[measure.Cost],
    slope: list[int],
) -> None:
    """Prints the three ratios: start-up, memory and marginal cost."""

    def middle(costs: list[measure.Cost], what: str) -> float:
        return measure.middle([getattr(c, what) for c in costs])

    first, last = min(ours), max(ours)
    print(f"start-up: {first} images take {middle(ours[first], 'wall') / middle(imports, 'wall'):.2f} x the imports")
    ratio = middle(ours[last], "peak") / middle(ours[first], "peak")
    print(f"memory: peak at {last} images is {ratio:.2f} x that at {first}")
    if set(slope) <= set(ours):
        per_thousand = [
            1000 * (middle(costs[slope[1]], "cpu") - middle(costs[slope[0]], "cpu")) / (slope[1] - slope[0])
            for costs in (ours, bare)
        ]
        print(
            f"marginal cost, {slope[0]} to {slope[1]} images: {per_thousand[0]:.2f} CPU-s/1k, the bare loop's "
            f"{per_thousand[1]:.2f}: {per_thousand[0] / per_thousand[1]:.2f} x ({os.cpu_count()} cores)"
        )


if __name__ == "__main__":
    main()
