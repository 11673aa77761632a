"""`make prism-test` and `make spark-test`: that engine makes the same shards as one process and as several."""

from __future__ import annotations

import sys

from runs import bench

# Name on the command line -> what the table calls it, and the flags.
ENGINES = {
    "prism": ("PrismRunner", "--runner=PrismRunner"),
    "spark": ("SparkRunner, embedded", "--runner=SparkRunner", "--spark_master_url=local[2]"),
    "processes": ("DirectRunner, 2 processes", "--direct_running_mode=multi_processing", "--direct_num_workers=2"),
}


def main() -> None:
    names = sys.argv[1:]
    if not names or not set(names) <= set(ENGINES):
        sys.exit(f"Usage: {sys.argv[0]} {'|'.join(ENGINES)} ...")
    with bench(", ".join(names).capitalize()) as b:
        b.prepare("local", "DirectRunner")
        for name in names:
            engine, *flags = ENGINES[name]
            b.prepare(name, engine, *flags)


if __name__ == "__main__":
    main()
