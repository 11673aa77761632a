"""Keeps Beam counters of what a job reads, writes and rejects.

An engine's own page shows them.

All are in the namespace "shardmill". An engine that repeats a bundle may count it twice, as Beam says of its counters:
the numbers of the report come from the shards' accounts and not from here.

| counter | counts |
|---|---|
| `images_read` | listed inputs whose bytes were read, rejects among them |
| `bytes_read` | bytes of the files of images that were accepted |
| `rejected` and `rejected_REASON` | inputs that are rejects, in all and by reason |
| `records_written`, `bytes_written` | records of staged shards, and the bytes of finished shards |
"""

from __future__ import annotations

from apache_beam.metrics import Metrics

from pipelines.core.summary import Rejected

NAMESPACE = "shardmill"


def count(name: str, number: int = 1) -> None:
    """Adds `number` to a counter; only a thread that runs a bundle can do so."""
    if number:
        Metrics.counter(NAMESPACE, name).inc(number)


def count_reject(rejected: Rejected) -> None:
    """Adds one reject, in all and under its reason."""
    count("rejected")
    count(f"rejected_{rejected.reason.replace('-', '_')}")
