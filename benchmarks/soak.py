"""Everything that looks for rare faults, in rounds with other seeds, until the time is over.

    SHARDMILL_DATA=/folder python benchmarks/soak.py --minutes 20

A round: 100,000 damaged contracts, manifests and image headers each (`fuzz.py`), `prepare` killed 20 times
(`soak_prepare.py`), and training killed 10 times (`soak_resume.py`). The first round is always whole. Exit status 1
at the first part that fails; its output says how to run that part alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import measure

PARTS = {
    "fuzz.py": ["--inputs", "100000", "--target", "all"],
    "soak_prepare.py": ["--kills", "20"],
    "soak_resume.py": ["--kills", "10"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    arguments = parser.parse_args()
    measure.photographs()  # stops with a sentence where there are none
    began, seed = time.monotonic(), arguments.seed
    while seed == arguments.seed or time.monotonic() - began < 60 * arguments.minutes:
        for script, options in PARTS.items():
            line = [sys.executable, str(measure.ROOT / "benchmarks" / script), *options, "--seed", str(seed)]
            print(f"== {time.monotonic() - began:.0f} s: {' '.join(line[1:])}", flush=True)
            if subprocess.run(line, cwd=measure.ROOT, check=False).returncode:
                print(f"failed: {' '.join(line)}")
                return 1
            if seed > arguments.seed and time.monotonic() - began >= 60 * arguments.minutes:
                break
        seed += 1
    print(f"clean: {seed - arguments.seed} rounds in {(time.monotonic() - began) / 60:.0f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
