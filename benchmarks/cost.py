"""What preparing so many images takes: CPU, bytes, requests, machines, time and money, from costs of one image.

    python benchmarks/cost.py --images 1e6 1e8 1e9
    python benchmarks/cost.py --images 1e9 --latency 0 --vcpu-hour 0.04 --file-bytes 200e3

The costs of one image are measured (docs/performance.md, docs/scale.md); the prices are assumptions: give your own.
"""

from __future__ import annotations

import argparse
import dataclasses
import math

MAX_SHARDS = 100_000  # pipelines.plan.MAX_SHARDS
VALUE_BYTES = {"uint8": 1, "float16": 2, "float32": 4}


@dataclasses.dataclass(frozen=True)
class Model:
    """One image's costs, the machines, and the prices in dollars.

    Measured, with photographs of 50 kB to 128x128 on cores of one kind: see docs/scale.md for where each is from.
    """

    cpu_ms: float = 1.86  # marginal, of all processes: docs/performance.md
    float_cpu_ms: float = 0.4  # more where records hold floats: each is read, looked up and written again
    serial_us: float = 10.0  # of the one process that lists and publishes
    file_bytes: float = 50e3
    side: int = 128
    encoding: str = "float16"
    shuffled_bytes: float = 470.0
    ledger_bytes: float = 205.0
    shard_bytes: float = 128 * 2**20
    # Assumptions.
    latency: float = 0.03  # seconds from a request to a remote store to its answer; 0: local disks
    workers_a_core: float = 1.0  # `--workers` / cores: what waits for a remote store leaves its core to others
    opens: int = 2  # of each file: fingerprint and decoding
    requests_an_open: int = 1  # pipelines/storage/object_stores.py
    at_once: int = 8  # requests that a worker has under way: pipelines/storage/read_ahead.py
    requests_a_shard: int = 20  # written, looked for, copied, read: about
    vcpus: int = 16  # of a machine
    memory_gb: float = 64.0
    busy: float = 0.8  # share of the time that cores are at work
    hours: float = 1.0  # in which it should be done
    vcpu_hour: float = 0.056
    gb_hour: float = 0.003557
    shuffled_gb: float = 0.011
    read_1k: float = 0.0004
    write_1k: float = 0.005
    stored_gb_month: float = 0.02

    @property
    def values(self) -> int:
        return self.side * self.side * 3

    @property
    def record_bytes(self) -> float:
        return self.values * VALUE_BYTES[self.encoding] + 120

    @property
    def is_float(self) -> bool:
        return self.encoding != "uint8"


def estimate(images: float, m: Model) -> dict[str, str]:
    """Name -> value and unit of everything that so many images take."""
    staged = m.values + 120
    shard_bytes = m.shard_bytes
    while images * m.record_bytes / shard_bytes > MAX_SHARDS:
        shard_bytes *= 2
    shards = math.ceil(images * m.record_bytes / shard_bytes)
    core_seconds = (m.cpu_ms + m.float_cpu_ms * m.is_float) / 1e3  # of an image
    waiting = m.opens * m.requests_an_open * m.latency / m.at_once  # of an image, without a core
    rate = m.vcpus * min(m.busy / core_seconds, m.workers_a_core / (core_seconds + waiting))  # images/s of a machine
    machines = max(1, math.ceil(images / rate / 3600 / m.hours))
    in_parallel = images / rate / 3600 / machines
    serial = images * m.serial_us / 1e6 / 3600
    read = images * (m.opens * m.file_bytes + m.record_bytes + staged * m.is_float + m.ledger_bytes)
    written = images * (staged + m.record_bytes * m.is_float + m.ledger_bytes)
    machine_hours = machines * in_parallel + serial
    remote = m.latency > 0
    gets = images * m.opens * m.requests_an_open if remote else 0.0
    puts = (shards * m.requests_a_shard + images / 1000) if remote else 0.0
    money = {
        "machines": machine_hours * (m.vcpus * m.vcpu_hour + m.memory_gb * m.gb_hour),
        "shuffle": images * m.shuffled_bytes / 1e9 * m.shuffled_gb,
        "requests": gets / 1e3 * m.read_1k + puts / 1e3 * m.write_1k,
        "a month of storage": images * m.record_bytes / 1e9 * m.stored_gb_month,
    }
    return {
        "core-hours": _short(images * core_seconds / 3600),
        "read": _bytes(read),
        "written": _bytes(written),
        "shuffled": _bytes(images * m.shuffled_bytes),
        "kept": _bytes(images * m.record_bytes),
        "shards": f"{shards:,}",
        "--shard-size": f"{shard_bytes / 2**20:.0f}M",
        f"machines of {m.vcpus} cores": f"{machines:,}",
        "images/s of a machine": _short(rate),
        "hours in parallel": _short(in_parallel),
        "hours in one process": _short(serial),
        **{f"$, {name}": _short(dollars) for name, dollars in money.items()},
    }


def table(counts: list[float], model: Model) -> str:
    """A Markdown table: a row for each thing, a column for each number of images."""
    columns = [estimate(count, model) for count in counts]
    rows = [["", *(f"{count:,.0f}" for count in counts)], ["---", *("---:" for _ in counts)]]
    rows += [[name, *(column[name] for column in columns)] for name in columns[0]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _bytes(value: float) -> str:
    power = min(5, int(math.log(max(value, 1), 1000)))
    return f"{value / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB', 'PB')[power]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=float, nargs="+", default=[1e6, 1e8, 1e9])
    for field in dataclasses.fields(Model):
        kind = type(field.default)
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    args = vars(parser.parse_args())
    print(table(args.pop("images"), Model(**args)))


if __name__ == "__main__":
    main()
