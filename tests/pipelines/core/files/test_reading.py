"""Reading files of unknown size within a limit."""

from __future__ import annotations

import io
import tracemalloc

import pytest

from pipelines.core.files import reading


@pytest.mark.parametrize("limit", [0, 1, reading.PART - 1, reading.PART, 2 * reading.PART, 9 * reading.PART])
def test_as_much_as_the_limit_and_no_byte_more(limit):
    content = bytes(range(256)) * (3 * reading.PART // 256 + 1)
    assert reading.at_most(io.BytesIO(content), limit) == content[:limit]


def test_the_limit_is_not_reserved(tmp_path):
    (tmp_path / "small").write_bytes(b"abc")
    tracemalloc.start()
    try:
        with (tmp_path / "small").open("rb") as file:
            assert reading.at_most(file, 1 << 40) == b"abc"
        assert tracemalloc.get_traced_memory()[1] < 4 * reading.PART
    finally:
        tracemalloc.stop()
