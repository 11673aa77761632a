"""The order in which shards are streamed, and how many records are shuffled at a time."""

from __future__ import annotations

from pipelines.contract import Shard, Split
from tests.support.datasets import make_contract
from trainer.data import parts, record_stream


def test_order_takes_shards_in_turn():
    assert record_stream.order([3, 1, 2], 16).tolist() == [0, 3, 4, 1, 5, 2]
    assert record_stream.order([2, 2, 2], 2).tolist() == [0, 2, 1, 3, 4, 5]
    assert record_stream.order([2], 1).tolist() == [0, 1]


def test_the_shuffle_buffer_is_bounded_by_bytes(monkeypatch):
    shards = (Shard("a", 1000, 4_000_000, "0" * 64), Shard("b", 1000, 4_000_000, "0" * 64))
    split = Split({"ok": 2000}, {"ok": 2000}, {"ok": 0}, shards)
    contract = make_contract(splits={"train": split})
    assert record_stream.shuffle_buffer(parts.find(contract, "unread", "train")) == 2000
    monkeypatch.setattr(record_stream, "SHUFFLE_BYTES", 400_000)
    assert record_stream.shuffle_buffer(parts.find(contract, "unread", "train")) == 100
