"""The accounts of all shards, added up one by one: what they say in sum takes the same memory however many they are."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelines.core.summary import Rejected, Thumbnail
from pipelines.images import histogram

_COUNTED = ("formats", "conversions", "widths", "heights", "file_bytes")


class Totals:
    """What accounts (see `shard_writer.write_shard`) say in sum.

    records: of each file. stored, copies: of each split, by label. levels: of each split, int64 (3, 256).
    counted: name of what is counted -> counts. source_digest: of all originals. weighted: whether any record is.
    """

    def __init__(self) -> None:
        self.records: dict[str, int] = {}
        self.stored: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self.copies: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self.counted: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in _COUNTED}
        self.levels: dict[str, Any] = {}
        self.thumbnails: list[Thumbnail] = []
        self.source_digest = 0
        self.weighted = False

    def take(self, accounts: Iterable[Mapping[str, Any]]) -> Iterator[Rejected]:
        """Adds them up; gives what they reject, to be taken to the end."""
        for account in accounts:
            split = account["split"]
            self.records[account["file"]] = account["records"]
            self.stored[split].update(account["stored"])
            self.copies[split].update(account["copies"])
            for name, counts in self.counted.items():
                counts.update(account[name])
            self.levels[split] = self.levels.get(split, 0) + histogram.as_levels(account["levels"])
            self.thumbnails += (Thumbnail(**picture) for picture in account["thumbnails"])
            self.source_digest = (self.source_digest + int(account["source_digest"], 16)) % (1 << 256)
            self.weighted = self.weighted or account["weighted"]
            yield from (Rejected(**reject) for reject in account["rejects"])
