"""Adds up the accounts of all shards, one shard at a time, in constant memory."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipelines.core.summary import Rejected, Thumbnail
from pipelines.images import histogram
from pipelines.records.metadata_counts import MetadataTotals

_COUNTED = ("formats", "conversions", "widths", "heights", "file_bytes")


class Totals:
    """Adds up accounts of shards (see `shard_writer.write_shard`).

    records: file -> number of records.
    ledgers: file -> SHA-256 of its ledger, as it was written.
    stored, copies: split -> label -> number of stored records, and of those the copies.
    counted: name in _COUNTED -> value -> number of images.
    levels: split -> histogram of the pixels of the originals, int64 (C, 256).
    thumbnails: the thumbnails of all shards, for the report.
    source_digest: the sum of the shards' digests modulo 2**256, which does not depend on their order.
    depth: the images with more than 8 bits whose values were measured, and the least and the greatest of the values.
    weighted: whether the weight of any record differs from 1.
    folds: file -> for each repeat of --folds the folds of its records, as `contract.folds.Folds` has them.
    is_copy: file -> which of its records are copies, in the same form.
    in_folds: (repeat, fold) -> the stored records by answer, and of those the copies.
    metadata: of each column that travels along.
    """

    def __init__(self, columns: int = 0) -> None:
        self.metadata = [MetadataTotals() for _ in range(columns)]
        self.records: dict[str, int] = {}
        self.ledgers: dict[str, str] = {}
        self.stored: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self.copies: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self.counted: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in _COUNTED}
        self.levels: dict[str, Any] = {}
        self.thumbnails: list[Thumbnail] = []
        self.source_digest = 0
        self.weighted = False
        self.folds: dict[str, tuple[str, ...]] = {}
        self.is_copy: dict[str, str] = {}
        self.in_folds: dict[tuple[int, int], tuple[collections.Counter[str], collections.Counter[str]]] = {}
        self.depth: tuple[int, float, float] | None = None

    def take(self, accounts: Iterable[Mapping[str, Any]]) -> Iterator[Rejected]:
        """Adds up accounts and yields their rejects.

        The totals are complete when the caller has consumed all rejects.
        """
        for account in accounts:
            split = account["split"]
            self.records[account["file"]] = account["records"]
            self.ledgers[account["file"]] = account["ledger_sha256"]
            self.stored[split].update(account["stored"])
            self.copies[split].update(account["copies"])
            for name, counts in self.counted.items():
                counts.update(account[name])
            self.levels[split] = self.levels.get(split, 0) + histogram.as_levels(account["levels"])
            self.thumbnails += (Thumbnail(**picture) for picture in account["thumbnails"])
            self.source_digest = (self.source_digest + int(account["source_digest"], 16)) % (1 << 256)
            self.weighted = self.weighted or account["weighted"]
            self._add_folds(account)
            for column, counts in zip(self.metadata, account["metadata"], strict=True):
                column.add(counts)
            if account["depth"]:
                number, low, high = account["depth"]
                before = self.depth or (0, low, high)
                self.depth = before[0] + number, min(before[1], low), max(before[2], high)
            yield from (Rejected(**reject) for reject in account["rejects"])

    def _add_folds(self, account: Mapping[str, Any]) -> None:
        if "folds" not in account:  # no folds, or no records in a shard of train
            return
        self.folds[account["file"]] = tuple(account["folds"])
        self.is_copy[account["file"]] = account["is_copy"]
        for name, counts in account["in_folds"].items():
            repeat, fold = map(int, name.split(":"))
            found = self.in_folds.setdefault((repeat, fold), (collections.Counter(), collections.Counter()))
            found[0].update(counts["stored"])
            found[1].update(counts["copies"])
