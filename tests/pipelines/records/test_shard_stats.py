"""What a shard's account counts."""

from __future__ import annotations

import numpy as np

from pipelines.core.elements import Item, Made, Ref
from pipelines.images import histogram
from pipelines.records import shard_writer


def test_gray_levels_are_added_up_as_they_come_and_not_kept(monkeypatch):
    monkeypatch.setattr(shard_writer, "COUNTED", 2)
    account = shard_writer._Account("file", "train", 3)
    held = []
    for value in range(5):
        ref = Ref(str(value), f"in/{value}", "bee", "train", "", 1.0, "0" * 64, 9, ("png", 4, 4, 1, (), True))
        made = Made(b"", histogram.histogram(np.full((2, 3, 3), value, np.uint8)).tobytes())
        account.add(Item(value, ref, 0), made)
        account.add(Item(value, ref, 1), made)  # a copy counts for nothing here
        held.append(len(account._levels))

    levels = account.result((4, 4), None)["levels"]
    assert levels == [[6] * 5 + [0] * 251] * 3
    assert held == [1, 0, 1, 0, 1]
    assert shard_writer._Account("none", "test", 3).result((4, 4), None)["levels"] == [[0] * 256] * 3
