"""A process that multiplies matrices on demand: what `synthetic_step.ProcessStep` starts in place of an accelerator.

    python benchmarks/matmul_process.py SIDE [CORE]

For each line `ROWS REPEATS` on its input it multiplies (rows, side) x (side, side) so often, float32, and prints a
line when that is done. With CORE it runs on no other.
"""

from __future__ import annotations

import os
import sys


def main(side: int, core: int | None) -> None:
    os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    if core is not None:
        os.sched_setaffinity(0, {core})
    import numpy as np  # after its threads were counted

    # Orthogonal: any number of products neither grows nor vanishes, and denormal numbers would be slow.
    matrix = np.linalg.qr(np.random.default_rng(0).standard_normal((side, side)))[0].astype(np.float32)
    for line in sys.stdin:
        rows, repeats = map(int, line.split())
        x = np.ones((rows, side), np.float32)
        for _ in range(repeats):  # each needs the one before
            x = x @ matrix
        print(x[0, 0], flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
